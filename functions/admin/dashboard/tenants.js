// The tenants: what each has used of its day, how its cost runs, and a form for a new one.
import { all, enc, get, post, session } from "./api.js";
import { badge, count, dialog, empty, field, form, h, share, table, trend, usd } from "./dom.js";

const DAY = 86_400_000;
const PAGE = 25;

export function tenants() {
  let asked = "";
  let page = 0;
  async function load(refresh) {
    const from = new Date(Date.now() - 13 * DAY).toISOString().slice(0, 10);
    const [rows, usage] = await Promise.all([all("tenants?limit=1000"), all(`usage?group_by=day,tenant&from=${from}&limit=1000`, 20_000)]);
    const days = Array.from({ length: 14 }, (_, at) => new Date(Date.now() - (13 - at) * DAY).toISOString().slice(0, 10));
    const costs = new Map();
    for (const { day, tenant, cost_usd } of usage) {
      if (!costs.has(tenant)) costs.set(tenant, new Map());
      costs.get(tenant).set(day, Number(cost_usd));
    }
    const wanted = rows.filter(({ id, name }) => `${id} ${name}`.toLowerCase().includes(asked));
    page = Math.min(page, Math.max(0, Math.ceil(wanted.length / PAGE) - 1));
    const here = wanted.slice(page * PAGE, (page + 1) * PAGE);
    const live = await Promise.all(here.map(({ id }) => get(`tenants/${enc(id)}/usage`).catch(() => null)));
    here.forEach((row, at) => { row.live = live[at]; row.days = days.map((day) => costs.get(row.id)?.get(day) ?? 0); });
    const search = h("input", { type: "search", value: asked, "aria-label": "Find a tenant", placeholder: "Find a tenant", input: (event) => { asked = event.target.value.toLowerCase(); page = 0; refresh(); } });
    const make = session.edits && h("button.main", { click: create }, "New tenant");
    const turn = (by) => () => { page += by; refresh(); };
    const pages = wanted.length > PAGE && h("div.row",
      h("button", { disabled: page === 0, click: turn(-1) }, "Previous"), h("span.soft", `${page * PAGE + 1} to ${page * PAGE + here.length} of ${count(wanted.length)}`),
      h("button", { disabled: (page + 1) * PAGE >= wanted.length, click: turn(1) }, "Next"));
    const nobody = empty("No tenants yet",
      h("p", session.edits ? "A tenant is a team or a customer: it has keys, limits and a bill of its own." : "An operator can make one."),
      make && h("button.main", { click: create }, "Make the first tenant"));
    const body = here.length ? [table("Tenants", COLUMNS, here), pages] : rows.length ? empty("No tenant of this name") : nobody;
    const title = h("div", h("h1", "Tenants"), h("p.lead", "Use of the present day, and cost of the last 14 days."));
    return [h("div.bar", title, rows.length > 0 && [search, make]), h("section", body)];
  }
  return { title: "Tenants", load, every_ms: 5000 };
}

function today(name, say) {
  return ({ live }) => {
    if (!live) return "–";
    const { used, limit } = live[name];
    const part = limit == null ? 0 : Math.min(1, Number(used) / Math.max(Number(limit), 1e-9));
    return [limit != null && share(`${name} of the day's limit`, part, part >= 1 ? "bad" : part >= 0.8 ? "warn" : "good"), h("span", say(used), h("span.soft", ` of ${limit == null ? "no limit" : say(limit)}`))];
  };
}

const COLUMNS = [
  ["Tenant", "", ({ id, name }) => [h("a", { href: `#/tenant/${enc(id)}` }, id), name !== id && h("span.soft", ` ${name}`)]],
  [".State", "", ({ enabled }) => (enabled ? "" : badge("disabled", "bad"))],
  ["Requests today", "", today("requests", count)],
  ["Tokens today", "", today("tokens", count)],
  ["Cost today", "", today("cost_usd", usd)],
  ["14 days", "", ({ days }) => trend(days, usd, "14 days")],
];

function create() {
  dialog("New tenant", (close) => {
    const id = h("input", { name: "id", required: true, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}", autocomplete: "off" });
    const name = h("input", { name: "name", autocomplete: "off" });
    const cost = h("input", { name: "cost", inputmode: "decimal", placeholder: "default" });
    const rate = h("input", { name: "rate", type: "number", min: 1, placeholder: "default" });
    const submit = async () => {
      const limits = {};
      if (cost.value.trim()) limits.daily_cost_usd = cost.value.trim();
      if (rate.value) limits.requests_per_minute = Number(rate.value);
      await post("tenants", { id: id.value, ...(name.value && { name: name.value }), ...(Object.keys(limits).length && { limits }) });
      close();
      location.hash = `#/tenant/${enc(id.value)}`;
    };
    const fields = h("div.fields", field("Id (letters, digits, . _ -)", id), field("Name", name), field("US dollars a day", cost), field("Requests a minute", rate));
    return form([fields, h("p.soft", "Everything can be changed later. What is left empty is the installation's default.")], "Create", submit);
  });
}
