//! How much a request may cost, before it is sent (M1, M3).
//!
//! Output is bounded exactly, by what is sent upstream. Input is bounded twice. A token is at least one byte of text in
//! every tokenizer in use, so the body's bytes, with an allowance per message and image, can hardly be exceeded: the
//! *upper bound*. It is some four times too high for English, so where a tenant has ample headroom an *estimate* is held
//! instead: two bytes a token, which prose in Latin script does not reach and code, CJK and emoji mostly stay under.

use crate::catalog::Model;
use crate::money::{Amounts, Usage};
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
        Self {
            estimated_tokens: text_bytes.div_ceil(ESTIMATED_BYTES_PER_TOKEN) + around,
            upper_bound_tokens: text_bytes + around,
        }
    }
}

/// The most tokens that each answer of `model` may have for this request: the client's bound, else the model's default.
#[must_use]
pub fn max_output_tokens(facts: &Facts, model: &Model) -> u64 {
    facts.max_output_tokens.unwrap_or(model.default_max_output_tokens).min(model.max_output_tokens)
}

/// What a call of `model` may use at most, with this many input tokens.
#[must_use]
pub fn worst_case(facts: &Facts, model: &Model, input_tokens: u64) -> Amounts {
    let output_tokens = max_output_tokens(facts, model).saturating_mul(facts.n);
    // The dearer price of each pair bounds what the split between them may come to.
    let price = &model.price;
    let tokens = |input, cached, output, reasoning| Usage {
        input_tokens: input,
        cached_input_tokens: cached,
        output_tokens: output,
        reasoning_tokens: reasoning,
        ..Usage::default()
    };
    let cached = if price.cached_input > price.input { input_tokens } else { 0 };
    let reasoning = if price.reasoning > price.output { output_tokens } else { 0 };
    // Each kind of token is rounded up for itself: one nano-dollar more for each kind that this split leaves out, unless
    // that is free. What is free for all its kinds costs nothing, also where there is no money at all.
    let left_out = [price.input.min(price.cached_input), price.output.min(price.reasoning)];
    let rounding = left_out.into_iter().map(|nusd_per_million| nusd_per_million.min(1)).sum();
    let cost_nusd = price.cost_nusd(&tokens(input_tokens, cached, output_tokens, reasoning)).saturating_add(rounding);
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
/// upward and flagged (M3). Input and output are believed each for itself.
pub fn bill(attempt: &mut Attempt, facts: &Facts, model: &Model, came: Came) {
    let (said, estimate) = (came.usage.unwrap_or_default(), missing_usage(facts, model, came.answer_bytes));
    let input = is_believable_input(&said, facts, model);
    let output = is_believable_output(&said, facts, model, came.answer_bytes);
    let (of_input, of_output) = (if input { said } else { estimate }, if output { said } else { estimate });
    attempt.estimated = !(input && output);
    attempt.usage = Usage {
        input_tokens: of_input.input_tokens,
        cached_input_tokens: of_input.cached_input_tokens,
        cache_write_tokens: of_input.cache_write_tokens,
        cache_write_1h_tokens: of_input.cache_write_1h_tokens,
        output_tokens: of_output.output_tokens,
        reasoning_tokens: of_output.reasoning_tokens,
    };
    attempt.cost_nusd = model.price.cost_nusd(&attempt.usage);
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::catalog::{Api, Capabilities, Timeouts};
    use crate::money::PriceNusdPerMillion;
    use crate::wire::format::Format;
    use crate::wire::openai::CHAT;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn model(price: PriceNusdPerMillion) -> Model {
        Model {
            name: "m".into(),
            provider: "p".into(),
            provider_model: "m".into(),
            api: Api::Chat,
            price,
            context_tokens: 1_000_000,
            max_output_tokens: 1_000_000,
            default_max_output_tokens: 4_096,
            capabilities: Capabilities::ALL,
            timeouts: Timeouts { connect_ms: 1, first_token_ms: 1, idle_ms: 1, total_ms: 1 },
        }
    }

    fn facts(max_tokens: u64) -> Facts {
        let body = format!(r#"{{"model":"m","max_tokens":{max_tokens},"messages":[{{"role":"user","content":"a"}}]}}"#);
        CHAT.read(Bytes::from(body)).unwrap().1
    }

    #[test]
    fn what_is_free_holds_no_money() {
        let of = |input, cached_input, output, reasoning| {
            let price = PriceNusdPerMillion { input, cached_input, output, reasoning };
            worst_case(&facts(10), &model(price), 10).cost_nusd
        };
        assert_eq!(of(0, 0, 0, 0), 0);
        assert_eq!(of(1_000_000, 0, 0, 0), 10, "input costs something, and cached input nothing to be rounded");
        assert_eq!(of(1_000_000, 1, 0, 0), 11);
        assert_eq!(of(0, 0, 1_000_000, 1_000_000), 11);
        assert_eq!(of(1_000_000, 1_000_000, 1_000_000, 1_000_000), 22);
    }

    proptest! {
        #[test]
        fn no_split_of_the_tokens_costs_more(
            prices in prop::array::uniform4(prop_oneof![Just(0_u64), 1..50_u64, 1..2_000_000_000_u64]),
            (input, output) in (0..10_000_u64, 1..10_000_u64),
            (cached, reasoning) in (0..10_000_u64, 0..10_000_u64),
        ) {
            let [input_price, cached_input, output_price, reasoning_price] = prices;
            let price = PriceNusdPerMillion {
                input: input_price,
                cached_input,
                output: output_price,
                reasoning: reasoning_price,
            };
            let usage = Usage {
                input_tokens: input,
                cached_input_tokens: cached.min(input),
                output_tokens: output,
                reasoning_tokens: reasoning.min(output),
                ..Usage::default()
            };
            let worst = worst_case(&facts(output), &model(price), input);
            prop_assert!(price.cost_nusd(&usage) <= worst.cost_nusd);
        }
    }
}
