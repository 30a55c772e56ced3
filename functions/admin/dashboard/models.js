// The models: how each does, where the traffic went, and why.
import { call, enc, get } from "./api.js";
import { badge, count, empty, h, ms, percent, share, table, time, usd } from "./dom.js";
import { period_query } from "./overview.js";

const BREAKERS = { closed: ["closed", "good"], open: ["open", "bad"], half_open: ["half open", "warn"] };
const WHY = { first: "first choice", retry: "tried again", failover: "after another failed", upgrade: "the cheaper answer looked unreliable", classifier: "asked what a request is about", embedding: "asked what a request is about", continuation: "went on with a cut stream", hedge: "the first was slow to begin" };

export function models() {
  return { title: "Models", load, every_ms: 5000 };
}

async function load() {
  const [{ json: { data }, degraded }, metrics] = await Promise.all([call("GET", "models"), get(`metrics?${period_query("24h")}`)]);
  const known = new Map(data.map((model) => [model.name, model]));
  const called = Object.entries(metrics.models).filter(([name, model]) => known.has(name) || model.requests);
  const rows = called.map(([name, figures]) => ({ name, ...figures, ...known.get(name) }));
  rows.sort((a, b) => b.requests - a.requests || a.name.localeCompare(b.name));
  const calls = rows.reduce((sum, { requests }) => sum + requests, 0);
  const percent_of = (health) => [share("health", health / 100, health >= 90 ? "good" : health >= 60 ? "warn" : "bad"), h("span.soft", `${health} of 100`)];
  const columns = [
    ["Model", "", ({ name, provider }) => [h("strong", name), provider && h("span.soft", ` ${provider}`)]],
    ["Tiers", "", ({ tiers = [] }) => tiers.join(", ") || "–"],
    ["Health", "", ({ health }) => percent_of(health)],
    ["Breaker", "", ({ breaker, cooldown_until_ms }) => [
      badge(...(BREAKERS[breaker] ?? [breaker, "soft"])), cooldown_until_ms > Date.now() && h("div.soft", "cools down until ", time(cooldown_until_ms))]],
    ["Expected", "n", ({ score_ms }) => ms(score_ms)],
    ["First token", "n", ({ ttft_ms_mean, requests }) => (requests ? ms(ttft_ms_mean) : "–")],
    ["Whole call", "n", ({ latency_ms_mean, latency_ms_stddev, requests }) => (requests ? [h("div", ms(latency_ms_mean)), h("div.soft", `± ${ms(latency_ms_stddev)}`)] : "–")],
    ["Calls", "n", ({ requests }) => [count(requests), h("div.soft", percent(requests / Math.max(1, calls)))]],
    ["Failed", "n", ({ failures, requests }) => (failures ? [h("span.bad", count(failures)), h("div.soft", percent(failures / requests))] : "0")],
    ["Per million", "n", ({ usd_per_million: price }) => (price ? [h("div", usd(price.input), " in"), h("div", usd(price.output), " out")] : "unknown")],
  ];
  const is_busy = ({ requests, tiers, health }) => requests > 0 || tiers?.length > 0 || health < 90;
  const [busy, idle] = [rows.filter(is_busy), rows.filter((row) => !is_busy(row))];
  return [
    h("h1", "Models"), h("p.lead", "Health, breaker and cooldown as they are now, fleet-wide; calls and times of the last 24 hours."),
    degraded && h("p.note.bad", { role: "alert" }, "The store is down: health, breakers and cooldowns are not known now."),
    h("section", busy.length ? table("Models", columns, busy) : empty("No models were called or are in a tier")),
    idle.length > 0 && h("section", h("details", h("summary", `${count(idle.length)} more, in no tier and not called`), table("Other models", columns, idle))),
    await reasons(metrics),
  ].filter(Boolean);
}

/** Why the last requests went where they went, from the receipts of the busiest tenants. */
async function reasons(metrics) {
  const busiest = Object.entries(metrics.tenants ?? {}).sort(([, a], [, b]) => b.requests - a.requests).slice(0, 5);
  const pages = await Promise.all(busiest.map(([id]) => get(`receipts?tenant=${enc(id)}`).catch(() => ({ data: [] }))));
  const receipts = pages.flatMap(({ data }) => data).sort((a, b) => b.created_at_ms - a.created_at_ms).slice(0, 500);
  if (!receipts.length) return null;
  const ways = new Map();
  for (const { attempts, intent, requested_model, tier, cache } of receipts) {
    if (cache.startsWith("hit")) continue;
    for (const { model, kind } of attempts) {
      const asked = intent ? `auto: ${intent.name} → ${tier}` : `asked for ${requested_model}`;
      const key = JSON.stringify([model, kind === "first" ? asked : WHY[kind] ?? kind]);
      ways.set(key, (ways.get(key) ?? 0) + 1);
    }
  }
  const rows = [...ways].map(([key, calls]) => [...JSON.parse(key), calls]).sort((a, b) => b[2] - a[2]).slice(0, 20);
  const title = `Where the last ${count(receipts.length)} requests went, and why`;
  return h("section", h("h2", title), table(title, [["Model", "", ([model]) => model], ["Why", "", ([, why]) => why], ["Calls", "n", ([, , calls]) => count(calls)]], rows));
}
