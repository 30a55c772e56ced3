// What the fleet did: figures of a period, and how they ran.
import { call, curl_with, get } from "./api.js";
import { chart } from "./chart.js";
import { copied, count, empty, h, ms, percent, periods, table, tile, tiles, usd } from "./dom.js";

const HOUR = 3_600_000;
const CHOICES = [["24 hours", "24h"], ["7 days", "7d"], ["30 days", "30d"]];
const SPANS = { "24h": [24 * HOUR, "hour"], "7d": [7 * 24 * HOUR, "hour"], "30d": [30 * 24 * HOUR, "day"] };
let chosen = "24h";

export function period_query(key) {
  const [span, step] = SPANS[key];
  return `from=${Date.now() - span + HOUR}&to=${Date.now()}&step=${step}`;
}

export function overview() {
  async function load(refresh) {
    const { json: metrics, degraded } = await call("GET", `metrics?${period_query(chosen)}`);
    const choose = (key) => { chosen = key; refresh(); };
    const title = h("div.bar", h("div", h("h1", "Overview"), h("p.lead", "The whole fleet, from the ledger. Times are UTC.")), periods(CHOICES, chosen, choose));
    return [title, ...warnings(metrics, degraded), ...(metrics.requests_total ? figures(metrics) : [await first_step()])];
  }
  return { title: "Overview", load, every_ms: 4000 };
}

function warnings({ process }, degraded) {
  const notes = [];
  if (degraded) notes.push(`The ${degraded} is down: health and breakers are not known now.`);
  for (const [what, why] of Object.entries(process.faults ?? {})) notes.push(`${what}: ${typeof why === "string" ? why : JSON.stringify(why)}`);
  if (process.receipts_lost_total) notes.push(`${process.receipts_lost_total} receipts could be written nowhere.`);
  return notes.map((note) => h("p.note.bad", { role: "alert" }, note));
}

async function first_step() {
  const tenants = (await get("tenants?limit=2")).data;
  const curl = await curl_with("KEY");
  const first = tenants.length
    ? ["Send the first one with a tenant's key; it shows here within seconds. ", h("a", { href: `#/tenant/${encodeURIComponent(tenants[0].id)}` }, `Keys of ${tenants[0].id}`)]
    : [h("a", { href: "#/tenants" }, "Make a tenant"), " and give out a key; then send a request with it:"];
  return h("section", empty("No requests in this period", h("p", first), copied(curl, "Copy the command")));
}

function figures(metrics) {
  const { series } = metrics;
  const xs = series.map(({ from_ms }) => from_ms);
  const of = (pick) => series.map(pick);
  const tenants = Object.entries(metrics.tenants ?? {}).sort(([, a], [, b]) => Number(b.cost_usd) - Number(a.cost_usd)).slice(0, 10);
  const models = Object.entries(metrics.models).filter(([, model]) => model.requests).sort(([, a], [, b]) => b.requests - a.requests).slice(0, 10);
  const calls = models.reduce((sum, [, { requests }]) => sum + requests, 0);
  return [
    tiles(
      tile("Requests", count(metrics.requests_total), `${count(metrics.errors_total)} failed`),
      tile("Cost", usd(metrics.cost_usd), `${count(metrics.input_tokens + metrics.output_tokens)} tokens`),
      tile("Latency, median", ms(metrics.latency_ms.p50), `p95 ${ms(metrics.latency_ms.p95)}`),
      tile("Gateway's own share", ms(metrics.overhead_ms.p50), `p95 ${ms(metrics.overhead_ms.p95)}`),
      tile("From the cache", percent(metrics.cache_hit_rate), count(metrics.cache_hits_total)),
      tile("Failed over", percent(metrics.failover_rate), count(metrics.failovers_total)),
      tile("Upgraded", percent(metrics.upgrade_rate), count(metrics.upgrades_total)),
    ),
    h("div.grid",
      chart("Requests", xs, [
        { name: "requests", values: of((s) => s.requests_total), say: count }, { name: "failed", values: of((s) => s.errors_total), say: count }], { kind: "bars" }),
      chart("Cost", xs, [{ name: "cost", values: of((s) => Number(s.cost_usd)), say: usd }], { kind: "bars" }),
      chart("Latency", xs, ["p50", "p95", "p99"].map((q) => ({ name: q, values: of((s) => (s.requests_total ? s.latency_ms[q] : null)), say: ms }))),
      chart("Cache hits, failovers, upgrades", xs, [
        ["from the cache", "cache_hit_rate"], ["failed over", "failover_rate"], ["upgraded", "upgrade_rate"],
      ].map(([name, rate]) => ({ name, values: of((s) => (s.requests_total ? s[rate] : null)), say: percent })))),
    h("div.grid",
      h("section", h("h2", "Tenants by cost"), table("Tenants by cost", [
        ["Tenant", "", ([id]) => h("a", { href: `#/tenant/${encodeURIComponent(id)}` }, id)], ["Requests", "n", ([, t]) => count(t.requests)],
        ["Tokens", "n", ([, t]) => count(t.tokens)], ["Cost", "n", ([, t]) => usd(t.cost_usd)]], tenants)),
      h("section", h("h2", "Models by calls"), table("Models by calls", [
        ["Model", "", ([name]) => h("a", { href: "#/models" }, name)], ["Calls", "n", ([, m]) => count(m.requests)],
        ["Share", "n", ([, m]) => percent(m.requests / calls)], ["Failed", "n", ([, m]) => count(m.failures)]], models))),
  ];
}
