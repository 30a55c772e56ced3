// A receipt: what one request did, as a timeline of its attempts with money.
import { enc, get } from "./api.js";
import { badge, count, facts, h, ms, percent, time, usd } from "./dom.js";

const KINDS = { first: "first", retry: "retry", failover: "failover", upgrade: "upgrade", classifier: "classifier", embedding: "embedding", continuation: "continuation", hedge: "hedge" };

export function receipt(tenant, id) {
  async function load() {
    const receipt = await get(`receipts/${enc(id)}?tenant=${enc(tenant)}`);
    const { status, usage, intent, tags, attempts } = receipt;
    const price_notes = attempts.map(({ price_note }) => price_note).filter(Boolean);
    return [
      h("p", h("a", { href: "#/tenants" }, "Tenants"), " / ", h("a", { href: `#/tenant/${enc(tenant)}` }, tenant)),
      h("h1", "Receipt ", badge(String(status), status < 400 ? "good" : status < 500 ? "warn" : "bad")),
      h("p.lead", h("code", receipt.id), " of ", time(receipt.created_at_ms), " UTC"),
      h("section", h("h2", "Attempts"), timeline(receipt)),
      h("div.grid",
        h("section", h("h2", "Decision"), facts([
          ["Asked for", receipt.requested_model], ["Answered by", receipt.model ?? "nobody"], ["Tier", receipt.tier ?? "–"],
          ["Intent", intent ? `${intent.name}, ${percent(intent.confidence)} sure, by ${intent.source}` : "not looked for"],
          receipt.difficulty != null && ["Difficulty", `${receipt.difficulty.toFixed(3)} (chance that the cheap tier would not do)`],
          receipt.quality != null && ["Quality dial", receipt.quality], ["Cache", receipt.cache], ["Upgraded", receipt.upgraded ? "yes" : "no"],
          ["Streamed", receipt.streamed ? "yes" : "no"], ["Key", `…${receipt.key_last4}`],
          Object.keys(tags ?? {}).length > 0 && ["Tags", Object.entries(tags).map(([name, value]) => `${name}=${value}`).join(", ")],
          receipt.feedback && ["Feedback", JSON.stringify(receipt.feedback)]])),
        h("section", h("h2", "Account"), facts([
          ["Cost", [usd(receipt.cost_usd), receipt.estimated && [" ", badge("estimate", "warn")]]], ["Exactly", h("code", `${receipt.cost_usd} USD`)],
          ["Input", `${count(usage.input_tokens)} tokens, ${count(usage.cached_input_tokens)} of them cached`],
          ["Output", `${count(usage.output_tokens)} tokens, ${count(usage.reasoning_tokens)} of them thoughts`],
          ["Took", ms(receipt.latency_ms)], ["Gateway's own share", ms(receipt.overhead_ms)], receipt.ttft_ms != null && ["To the first token", ms(receipt.ttft_ms)],
          ...price_notes.map((note) => ["Price", note])]))),
      h("section", h("h2", "Why"), h("ul", why(receipt).map((reason) => h("li", reason)))),
      h("section", h("details", h("summary", "As JSON"), h("pre", { tabindex: 0 }, JSON.stringify(receipt, null, 2)))),
    ];
  }
  return { title: "Receipt", load };
}

/** What was noted, and what the attempts show by themselves. */
function why({ reasons, attempts, intent, tier, requested_model, cache }) {
  const asked = intent ? `${intent.name} goes to the tier ${tier}` : `${requested_model} was asked for`;
  const failed = attempts.filter(({ outcome }) => !["ok", "client_gone"].includes(outcome));
  return [cache.startsWith("hit") ? "the same was asked before, and the answer was remembered" : asked, ...failed.map(({ model, outcome }) => `${model}: ${outcome.replaceAll("_", " ")}`), ...reasons];
}

/** One lane for each attempt, one after the other: how long it waited for its first token, how long it took, what it cost. */
function timeline({ attempts, latency_ms, cache }) {
  if (!attempts.length) return h("p.soft", cache.startsWith("hit") ? "None: a remembered answer was sent." : "None: no model was called.");
  const whole = Math.max(latency_ms, attempts.reduce((sum, attempt) => sum + attempt.latency_ms, 0), 0.001);
  let from = 0;
  const lane = (attempt) => {
    const { model, kind, outcome, status, cause, latency_ms: took, ttft_ms, cost_usd, estimated } = attempt;
    const good = ["ok", "client_gone"].includes(outcome) ? "good" : ["low_confidence", "refused"].includes(outcome) ? "warn" : "bad";
    const piece = (kind, begin, length) => {
      const bar = h(`i.${kind}`);
      Object.assign(bar.style, { left: `${(100 * begin) / whole}%`, width: `${(100 * length) / whole}%` });
      return bar;
    };
    const first = Math.min(ttft_ms ?? took, took);
    const words = `${model}: ${KINDS[kind] ?? kind}, ${outcome}, ${ms(took)}${ttft_ms != null ? `, first token after ${ms(ttft_ms)}` : ""}`;
    const track = h("div.track", { role: "img", "aria-label": words }, piece(`wait.${good}`, from, first), piece(good, from + first, took - first));
    from += took;
    return h("div.lane",
      h("div", h("strong", model), h("br"), badge(KINDS[kind] ?? kind), " ", badge([outcome.replaceAll("_", " "), status && status !== 200 && status, cause].filter(Boolean).join(" "), good)),
      track, h("div.money", usd(cost_usd), estimated && h("span.warn", " est."), h("br"), h("span.soft", ms(took))));
  };
  return h("div.lanes", attempts.map(lane), h("p.soft", "Pale until the first token. Attempts are drawn one after the other; a call that ran beside another is drawn behind it."));
}
