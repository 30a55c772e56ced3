// One tenant: its windows, keys, settings and last requests.
import { call, curl_with, enc, get, patch, post, remove, session } from "./api.js";
import { badge, confirmed, copied, count, dialog, empty, field, form, h, ms, table, time, toast, trend, usd, used } from "./dom.js";

const LIMITS = [
  ["requests_per_minute", "Requests a minute"], ["tokens_per_minute", "Tokens a minute"], ["concurrency", "Requests at once"],
  ["daily_requests", "Requests a day"], ["daily_tokens", "Tokens a day"], ["daily_cost_usd", "US dollars a day"], ["monthly_cost_usd", "US dollars a month"],
];

const USES_READ = 20; // Of so many keys at most the use is read.

export function tenant(id) {
  const path = `tenants/${enc(id)}`;
  async function load(refresh) {
    const hours = Array.from({ length: 24 }, (_, at) => `${new Date(Date.now() - (23 - at) * 3_600_000).toISOString().slice(0, 13)}:00Z`);
    const [{ json: settings, etag }, { json: usage, degraded }, keys, receipts, by_hour] = await Promise.all([
      call("GET", path), call("GET", `${path}/usage`), get(`${path}/keys`), get(`receipts?tenant=${enc(id)}`),
      get(`usage?group_by=hour&tenant=${enc(id)}&from=${hours[0]}`).catch(() => ({ data: [] }))]);
    const of_hours = (name) => hours.map((hour) => Number(by_hour.data.find((row) => row.hour === hour)?.[name] ?? 0));
    await Promise.all(keys.data.filter(({ limits }) => limits).slice(0, USES_READ).map(async (key) => { key.usage = await get(`${path}/keys/${enc(key.id)}/usage`); }));
    const last = receipts.data.sort((a, b) => b.created_at_ms - a.created_at_ms).slice(0, 50);
    return [
      h("p", h("a", { href: "#/tenants" }, "Tenants")),
      h("div.bar", h("div", h("h1", id, " ", !settings.enabled && badge("disabled", "bad")), h("p.lead", settings.name)),
        session.edits && h("div.row", h("button", { click: () => edit(path, settings, etag, refresh) }, "Change settings"), h("button.main", { click: () => give_key(path, id, refresh) }, "New key"))),
      degraded && h("p.note.bad", { role: "alert" }, "The store is down: what is in flight is not known, and use is the ledger's."),
      h("div.grid",
        h("section", h("h2", "This day"), used("Requests", usage.requests, count), used("Tokens", usage.tokens, count), used("Cost", usage.cost_usd, usd),
          h("p.soft", "Resets at ", time(usage.window.resets_at_ms), " UTC."), used("Cost of this month", usage.month.cost_usd, usd),
          h("p", "Requests by hour, last 24 hours ", trend(of_hours("requests"), count, "24 hours")),
          h("p", "Cost by hour, last 24 hours ", trend(of_hours("cost_usd"), usd, "24 hours"))),
        h("section", h("h2", "Settings"), shown(settings))),
      h("section", h("h2", "Keys"), key_table(path, id, keys.data, refresh)),
      h("section", h("h2", "Last requests"), last.length ? receipt_table(id, last) : await first_request(id)),
      session.edits && danger(path, id, settings, refresh),
    ].filter(Boolean);
  }
  return { title: id, load, every_ms: 3000 };
}

function shown({ limits, allowed_models, quality, cache, upgrade, outage_share }) {
  const say = (name) => (limits[name] == null ? "no limit" : name.endsWith("_usd") ? usd(limits[name]) : count(limits[name]));
  const rows = LIMITS.map(([name, title]) => h("div", { hidden: false }, h("dt", title), h("dd", say(name))));
  return h("dl.facts", rows.map((row) => [...row.children]),
    h("dt", "Models"), h("dd", allowed_models.join(", ")),
    h("dt", "Quality dial"), h("dd", `${quality} (0 is cheapest, 1 is best)`),
    h("dt", "Cache"), h("dd", cache.enabled ? `${cache.ttl_seconds} s${cache.semantic ? ", also for the same meaning" : ""}` : "off"),
    h("dt", "Upgrade"), h("dd", upgrade.enabled ? "on" : "off"),
    h("dt", "While the store is down"), h("dd", `${Math.round(100 * outage_share)} % of the day`));
}

function edit(path, settings, etag, refresh) {
  dialog(`Settings of ${settings.id}`, (close) => {
    const inputs = Object.fromEntries(LIMITS.map(([name]) => [name, h("input", { name, inputmode: "decimal", value: plain(settings.limits[name]), placeholder: "no limit" })]));
    const name = h("input", { name: "name", value: settings.name });
    const enabled = h("input", { type: "checkbox", name: "enabled", checked: settings.enabled });
    const models = h("input", { name: "models", value: settings.allowed_models.join(", ") });
    const quality = h("input", { type: "range", name: "quality", min: 0, max: 1, step: 0.05, value: settings.quality });
    const cache = h("input", { type: "checkbox", name: "cache", checked: settings.cache.enabled });
    const ttl = h("input", { type: "number", name: "ttl", min: 1, value: settings.cache.ttl_seconds });
    const upgrade = h("input", { type: "checkbox", name: "upgrade", checked: settings.upgrade.enabled });
    const submit = async () => {
      const change = changed(settings, {
        name: name.value, enabled: enabled.checked, quality: Number(quality.value),
        allowed_models: models.value.split(",").map((word) => word.trim()).filter(Boolean),
        cache: { enabled: cache.checked, ttl_seconds: Number(ttl.value) }, upgrade: { enabled: upgrade.checked },
        limits: Object.fromEntries(LIMITS.map(([limit]) => [limit, limit_of(limit, inputs[limit].value, settings.limits[limit])])),
      });
      if (change) {
        try {
          await patch(path, change, etag);
        } catch (error) {
          throw error.status === 412 ? new Error("Somebody else changed this tenant meanwhile. Close this and look at it anew.") : error;
        }
        toast("Changed. It holds from the next request on.");
      }
      close();
      refresh();
    };
    const fields = h("div.fields", field("Name", name), LIMITS.map(([limit, title]) => field(title, inputs[limit])),
      field("Models and tiers it may use", models), field("Seconds an answer is remembered", ttl), field(`Quality dial (cheapest to best)`, quality));
    const checks = h("div.fields", h("label.check", enabled, "Requests are served"), h("label.check", cache, "Answers are remembered"), h("label.check", upgrade, "Doubtful answers are upgraded"));
    return form([fields, checks], "Change", submit);
  });
}

/** A limit as a person would write it: money without the zeros at its end. */
const plain = (limit) => String(limit ?? "").replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");

function limit_of(name, text, was) {
  const value = text.trim();
  if (!value) return null;
  if (name.endsWith("_usd")) return Number(value) === Number(was ?? NaN) ? was : value;
  if (!/^\d+$/.test(value)) throw new Error(`${name} must be a whole number, or empty for no limit.`);
  return Number(value);
}

/** What of `now` differs from `was`; null if nothing does. */
function changed(was, now) {
  const out = {};
  for (const [name, value] of Object.entries(now)) {
    const inner = value && typeof value === "object" && !Array.isArray(value) ? changed(was[name], value) : JSON.stringify(value) === JSON.stringify(was[name]) ? null : { value };
    if (inner) out[name] = "value" in inner ? inner.value : inner;
  }
  return Object.keys(out).length ? out : null;
}

function give_key(path, id, refresh) {
  dialog("New key", (close) => {
    const name = h("input", { name: "name", required: true, autocomplete: "off" });
    const dollars = h("input", { name: "dollars", inputmode: "decimal", placeholder: "as the tenant" });
    const days = h("input", { name: "days", type: "number", min: 1, placeholder: "never" });
    const submit = async () => {
      const expires_at_ms = days.value ? Date.now() + Number(days.value) * 86_400_000 : null;
      const limits = dollars.value.trim() ? { daily_cost_usd: dollars.value.trim() } : null;
      const made = await post(`${path}/keys`, { name: name.value, expires_at_ms, limits });
      close();
      await show_key(made.key, id);
      refresh();
    };
    return form(h("div.fields", field("What it is for", name), field("US dollars a day it may spend, within the tenant's", dollars), field("Days until it expires", days)), "Create", submit);
  });
}

async function show_key(key, id) {
  const curl = await curl_with(key);
  dialog(`The new key of ${id}`, (close) => h("div",
    h("p", "It is shown this once. Give it to whoever calls the gateway for this tenant."), copied(key, "Copy the key"),
    h("p", "Try it:"), copied(curl, "Copy the command"), h("div.row", h("button.main", { click: close }, "Done"))));
}

function key_table(path, id, keys, refresh) {
  if (!keys.length) return empty("No keys", h("p", session.edits ? "Without one nobody can call the gateway for this tenant." : "An operator can give one out."));
  const state = ({ expires_at_ms, retires_at_ms }) => {
    const ends = Math.min(expires_at_ms ?? Infinity, retires_at_ms ?? Infinity);
    return ends <= Date.now() ? badge("expired", "bad") : ends < Infinity ? ["until ", time(ends)] : "does not expire";
  };
  const own = ({ limits, usage }) => LIMITS.filter(([limit]) => limits?.[limit] != null).map(([limit, title]) => {
    const of = usage && { daily_requests: usage.requests, daily_tokens: usage.tokens, daily_cost_usd: usage.cost_usd, monthly_cost_usd: usage.month.cost_usd }[limit];
    const say = limit.endsWith("_usd") ? usd : count;
    return of ? used(title, of, say) : h("div", `${title}: ${say(limits[limit])}`);
  });
  const rotate = async (key) => {
    const made = await post(`${path}/keys/${enc(key.id)}/rotate`, {});
    await show_key(made.key, id);
    refresh();
  };
  const revoke = async (key) => {
    if (!(await confirmed("Revoke this key?", `${key.name} (…${key.last4}) stops working within seconds, and for good.`, "Revoke it"))) return;
    await remove(`${path}/keys/${enc(key.id)}`);
    refresh();
  };
  const act = (what) => (event) => what().catch((error) => toast(error.message)).finally(() => event.target.blur());
  return table("Keys", [
    ["Name", "", ({ name }) => name], ["Key", "", ({ prefix, last4 }) => h("code", `${prefix}…${last4}`)],
    ["Made", "", ({ created_at_ms }) => time(created_at_ms)], ["Works", "", state],
    ...(keys.some(({ limits }) => limits) ? [["Own limits", "", own]] : []),
    ...(session.edits ? [[".Actions", "", (key) => h("div.row", h("button", { click: act(() => rotate(key)), "aria-label": `Rotate ${key.name}` }, "Rotate"), h("button.danger", { click: act(() => revoke(key)), "aria-label": `Revoke ${key.name}` }, "Revoke"))]] : []),
  ], keys);
}

function receipt_table(id, receipts) {
  const outcome = ({ status, cache, upgraded, attempts }) => [
    badge(String(status), status < 400 ? "good" : status < 500 ? "warn" : "bad"), cache.startsWith("hit") && [" ", badge(cache)],
    attempts.some(({ kind }) => kind === "failover") && [" ", badge("failed over", "warn")], upgraded && [" ", badge("upgraded", "warn")]];
  return table("Last requests", [
    ["When (UTC)", "", ({ id: request, created_at_ms }) => h("a", { href: `#/receipt/${enc(id)}/${request}` }, time(created_at_ms))],
    ["Asked for", "", ({ requested_model }) => requested_model], ["Answered by", "", ({ model }) => model ?? "–"],
    ["Intent", "", ({ intent }) => intent?.name ?? "–"], [".Outcome", "", outcome], ["Took", "n", ({ latency_ms }) => ms(latency_ms)],
    ["Tokens", "n", ({ usage }) => count(usage.input_tokens + usage.output_tokens)], ["Cost", "n", ({ cost_usd }) => usd(cost_usd)],
  ], receipts);
}

async function first_request(id) {
  const curl = await curl_with("KEY");
  return empty("No requests yet", h("p", `Send one with a key of ${id}; it shows here within seconds.`), copied(curl, "Copy the command"));
}

function danger(path, id, { enabled }, refresh) {
  const act = (title, text, verb, what, after) => async (event) => {
    if (!(await confirmed(title, text, verb))) return;
    event.target.disabled = true;
    try {
      await what();
      toast("Done.");
      after ? after() : refresh();
    } catch (error) {
      toast(error.message);
    } finally {
      event.target.disabled = false;
    }
  };
  const erase = async () => { let next = ""; do { next = (await remove(`${path}/data${next && `?cursor=${enc(next)}`}`)).next; } while (next); };
  const button = (name, ...rest) => h("button.danger", { click: act(...rest) }, name);
  return h("section", h("details", h("summary", "Purge, erase, delete"), h("div.row",
    button("Purge the cache", "Purge the cache?", `No remembered answer of ${id} is used again.`, "Purge it", () => remove(`${path}/cache`)),
    h("button.danger", { disabled: enabled, title: enabled ? "Disable the tenant first" : null, click: act("Erase what is kept?", `Receipts, usage and remembered answers of ${id} are erased for good.`, "Erase it", erase) }, "Erase its data"),
    button("Delete the tenant", `Delete ${id}?`, "Its keys stop working within seconds. What it used stays in the books until it is erased.", "Delete it", () => remove(path), () => { location.hash = "#/tenants"; }))));
}
