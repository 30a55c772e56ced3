//! How much a request may cost, before it is sent (M1, M3).
//!
//! Output is bounded exactly, by what is sent upstream. Input is bounded twice. A token is at least one byte of text in
//! every tokenizer in use, so the body's bytes, with an allowance per message and image, can hardly be exceeded: the
//! *upper bound*. It is some four times too high for English, so where a tenant has ample headroom an *estimate* is held
//! instead: two bytes a token, which prose in Latin script does not reach and code, CJK and emoji mostly stay under.

use crate::catalog::Model;
use crate::money::{Amounts, Price, Reach, Usage, format_usd};
use crate::receipt::Attempt;
use crate::wire::answer::Came;
use crate::wire::facts::Facts;

/// Tokens that a chat template adds around each message, at most.
const MESSAGE_TOKENS: u64 = 16;
/// Tokens of one image, at most, at the resolutions that models see images in.
const IMAGE_TOKENS: u64 = 3000;
/// Bytes of text per token that are counted on where there is headroom.
const ESTIMATED_BYTES_PER_TOKEN: u64 = 2;
/// Tokens of an answer that the token rate is charged at first when the client sets no bound; corrected at settle.
const USUAL_OUTPUT_TOKENS: u64 = 256;

/// The least that any request takes of the token rate.
pub(crate) const LEAST_TOKENS: u64 = MESSAGE_TOKENS / 2;

/// Input tokens of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputEstimate {
    /// Seldom exceeded.
    pub estimated_tokens: u64,
    /// Hardly ever exceeded.
    pub upper_bound_tokens: u64,
}

impl InputEstimate {
    /// Estimates the input of a request.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let text_bytes = facts.body_bytes.saturating_sub(facts.image_bytes) as u64;
        let around = facts.messages as u64 * MESSAGE_TOKENS + facts.images as u64 * IMAGE_TOKENS;
        if let Some(tokens) = facts.inputs.and_then(|inputs| inputs.tokens) {
            return Self { estimated_tokens: tokens + around, upper_bound_tokens: tokens + around };
        }
        Self {
            estimated_tokens: text_bytes.div_ceil(ESTIMATED_BYTES_PER_TOKEN) + around,
            upper_bound_tokens: text_bytes + around,
        }
    }
}

/// Bytes of text per token that are told to who asks how long a request is: about what prose and code have in the tokenizers
/// in use.
const TOLD_BYTES_PER_TOKEN: u64 = 3;

/// How many tokens a request has, as far as can be told without its model's tokenizer.
#[must_use]
pub fn told_tokens(facts: &Facts) -> u64 {
    let InputEstimate { upper_bound_tokens, .. } = InputEstimate::of(facts);
    let text_bytes = facts.body_bytes.saturating_sub(facts.image_bytes) as u64;
    upper_bound_tokens - text_bytes + text_bytes.div_ceil(TOLD_BYTES_PER_TOKEN)
}

/// The most tokens that each answer of `model` may have for this request: the client's bound, else the model's default.
#[must_use]
pub fn max_output_tokens(facts: &Facts, model: &Model) -> u64 {
    facts.max_output_tokens.unwrap_or(model.default_max_output_tokens).min(model.max_output_tokens)
}

/// The time in which a call may be made and billed, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Now.
    pub from_ms: u64,
    /// When it is certainly over.
    pub until_ms: u64,
}

/// What a call of `model` may use at most, with this many input tokens, whenever in this time it is made.
#[must_use]
pub fn worst_case(facts: &Facts, model: &Model, input_tokens: u64, span: Span) -> Amounts {
    let output_tokens = max_output_tokens(facts, model).saturating_mul(facts.n);
    let cost_nusd = model.price.most_nusd(&Reach {
        input_tokens,
        output_tokens,
        cache_write: facts.cache_write,
        service_tier: facts.service_tier,
        from_ms: span.from_ms,
        until_ms: span.until_ms,
    });
    Amounts { requests: 0, tokens: input_tokens.saturating_add(output_tokens), cost_nusd }
}

/// The most expensive of several, part by part.
#[must_use]
pub fn most_expensive(amounts: impl Iterator<Item = Amounts>) -> Amounts {
    amounts.fold(Amounts::default(), |highest, one| Amounts {
        requests: highest.requests.max(one.requests),
        tokens: highest.tokens.max(one.tokens),
        cost_nusd: highest.cost_nusd.max(one.cost_nusd),
    })
}

/// What the token rate is charged until the answer is there.
#[must_use]
pub fn rate_tokens(facts: &Facts, input: InputEstimate) -> u64 {
    let output = facts.max_output_tokens.unwrap_or(USUAL_OUTPUT_TOKENS).min(100_000).saturating_mul(facts.n);
    (input.estimated_tokens / 2).saturating_add(output)
}

/// Writes down what an attempt used and cost: what the provider said, or what is estimated from the bytes that came, rounded
/// upward and flagged (M3). Input and output are believed each for itself; nothing is written for what is free. `at_ms` is the instant whose price counts.
pub fn bill(attempt: &mut Attempt, facts: &Facts, model: &Model, came: Came, at_ms: u64) {
    if came.is_free() {
        return;
    }
    (attempt.usage, attempt.estimated) = usage_of(facts, model, came);
    let listed_nusd = listed_nusd(&attempt.usage, facts, model, at_ms);
    let reported_nusd = attempt.usage.reported_cost_nusd.filter(|_| model.price.is_reported);
    attempt.cost_nusd = reported_nusd.unwrap_or(listed_nusd);
    attempt.price_note = note_on_price(&model.price, listed_nusd, reported_nusd, at_ms);
}

/// What a call used, and whether any of that is an estimate.
#[must_use]
pub fn usage_of(facts: &Facts, model: &Model, came: Came) -> (Usage, bool) {
    let (said, estimate) = (came.usage.unwrap_or_default(), missing_usage(facts, model, came.answer_bytes));
    let input = is_believable_input(&said, facts, model);
    let output = is_believable_output(&said, facts, model, came.answer_bytes);
    let (of_input, of_output) = (if input { said } else { estimate }, if output { said } else { estimate });
    let usage = Usage {
        output_tokens: of_output.output_tokens,
        reasoning_tokens: of_output.reasoning_tokens,
        service_tier: said.service_tier,
        reported_cost_nusd: said.reported_cost_nusd,
        ..of_input
    };
    (usage, !(input && output))
}

/// What the price list says. An answer that does not say how it was served is charged as what was asked for, unless that is
/// the cheaper.
fn listed_nusd(usage: &Usage, facts: &Facts, model: &Model, at_ms: u64) -> u64 {
    let listed_nusd = model.price.cost_nusd(usage, at_ms);
    if usage.service_tier.is_some() || facts.service_tier.is_none() {
        return listed_nusd;
    }
    let as_asked = Usage { service_tier: facts.service_tier, ..*usage };
    listed_nusd.max(model.price.cost_nusd(&as_asked, at_ms))
}

/// What a reader of the receipt should know of the price.
fn note_on_price(price: &Price, listed_nusd: u64, reported_nusd: Option<u64>, at_ms: u64) -> Option<String> {
    match reported_nusd {
        Some(reported_nusd) if !price.is_unknown() && reported_nusd != listed_nusd => Some(format!(
            "the provider reports a cost of {} USD, which is charged; by the price list it is {} USD",
            format_usd(reported_nusd),
            format_usd(listed_nusd)
        )),
        Some(_) => None,
        None if price.is_unknown() => Some("the price is unknown; the cost counts as nothing".to_owned()),
        None if price.has_run_out(at_ms) => {
            Some("the price list says nothing of this time; the dearest of it is charged".to_owned())
        }
        None => None,
    }
}

/// A request has some tokens, and no more than its model's window takes; than there are bytes in it if that is more.
fn is_believable_input(said: &Usage, facts: &Facts, model: &Model) -> bool {
    let most = InputEstimate::of(facts).upper_bound_tokens.max(model.context_tokens);
    (1..=most).contains(&said.input_tokens)
}

/// What was answered has some tokens, and no more than the model may have; than it has bytes if the model heeds no bound.
fn is_believable_output(said: &Usage, facts: &Facts, model: &Model, answer_bytes: usize) -> bool {
    let most = model.max_output_tokens.saturating_mul(facts.n).max(answer_bytes as u64);
    said.output_tokens <= most && (said.output_tokens > 0 || answer_bytes == 0)
}

/// The usage of an answer whose provider did not say, rounded upward (M3): no more than the bounds that were sent.
fn missing_usage(facts: &Facts, model: &Model, answer_bytes: usize) -> Usage {
    let output = (answer_bytes as u64).div_ceil(ESTIMATED_BYTES_PER_TOKEN);
    let max_tokens = max_output_tokens(facts, model).saturating_mul(facts.n);
    Usage {
        input_tokens: InputEstimate::of(facts).estimated_tokens,
        output_tokens: output.min(max_tokens),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests;
