// Routing: what would be decided about a prompt, and what the receipts say of the dial.
import { all, enc, get, post } from "./api.js";
import { chart } from "./chart.js";
import { badge, count, empty, facts, field, form, h, ms, percent, share, table, usd } from "./dom.js";

export function routing() {
  let tenant = null;
  async function load(refresh) {
    const tenants = await all("tenants?limit=1000");
    if (!tenants.length) return [h("h1", "Routing"), h("section", empty("No tenants yet", h("p", "What is decided depends on a tenant's dial and models. ", h("a", { href: "#/tenants" }, "Make one"), " first.")))];
    tenant ??= tenants[0].id;
    const chosen = h("select", { name: "tenant", change: (event) => { tenant = event.target.value; refresh(); } }, tenants.map(({ id }) => h("option", { value: id, selected: id === tenant }, id)));
    const said = h("div", { "aria-live": "polite" }, h("p.soft", "Enter a prompt: here stand its intent, its tier, and which models may answer it."));
    const prompt = h("textarea", { name: "prompt", required: true, placeholder: "Prove that there are infinitely many primes." });
    const system = h("input", { name: "system", autocomplete: "off" });
    const ask = async () => {
      const messages = [...(system.value ? [{ role: "system", content: system.value }] : []), { role: "user", content: prompt.value }];
      said.replaceChildren(...decision(await post(`route?tenant=${enc(tenant)}`, { model: "auto", messages })));
    };
    const settings = tenants.find(({ id }) => id === tenant);
    return [
      h("div.bar", h("div", h("h1", "Routing"), h("p.lead", "Nothing is sent to a model, counted or kept here.")), field("As this tenant", chosen)),
      h("div.grid",
        h("section", h("h2", "Try a prompt"), form([field("Prompt", prompt), field("System prompt (if any)", system)], "Decide", ask)),
        h("section", h("h2", "Decision"), said)),
      await dial(settings),
    ];
  }
  return { title: "Routing", load };
}

function decision({ intent, difficulty, tier, candidates }) {
  const scores = Object.entries(intent?.scores ?? {}).sort(([, a], [, b]) => b - a).slice(0, 6);
  return [
    facts([
      ["Intent", intent ? `${intent.name}, ${percent(intent.confidence)} sure, by ${intent.source}` : "none"],
      difficulty != null && ["Difficulty", `${difficulty} (chance that the cheap tier would not do)`], ["Tier", h("strong", tier ?? "–")]]),
    h("h2", "Scores"), h("div.scores", scores.map(([name, score]) => [h("span", name), share(name, score), h("span.n", percent(score))])),
    h("h2", "Candidates"), table("Candidates", [
      ["Model", "", ({ model }) => model], [".Eligible", "", ({ eligible }) => (eligible ? badge("may answer", "good") : badge("cannot", "warn"))],
      ["Expected", "n", ({ score_ms }) => ms(score_ms)], ["Reason", "", ({ reason }) => reason]], candidates)];
}

/** What each setting of the dial would have cost, and sent where. */
async function dial({ id, quality }) {
  const replay = await get(`replay?tenant=${enc(id)}`);
  const head = h("p.soft", `This tenant's dial is at ${quality}. From ${count(replay.requests)} requests of the last 7 days whose tier the gateway chose${replay.is_all ? "" : " (there are more; these are the first that were read)"}.`);
  if (!replay.requests) return h("section", h("h2", "The dial"), empty("Nothing to replay yet", h("p", "Send requests for the model ", h("code", "auto"), "; then this shows what each setting of the dial would have cost.")));
  const xs = replay.data.map((would) => would.quality);
  const tiers = Object.keys(replay.sent);
  const plain = (x) => x.toFixed(1);
  return h("div", h("h2", "The dial: cheapest (0) to best (1)"), head, h("div.grid",
    chart("Cost at each setting", xs, [{ name: "cost", values: replay.data.map((would) => Number(would.cost_usd)), say: usd }], { plain }),
    chart("Where requests go at each setting", xs, tiers.map((tier) => ({ name: tier, values: replay.data.map((would) => would.sent[tier] / replay.requests), say: percent })), { plain })));
}
