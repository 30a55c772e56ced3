//! Pieces: what an event of a stream, or a whole answer, adds to the answers, in no format's words.
//!
//! The pipeline reads these and nothing else of an answer: whether it has begun, what it says, how it ended. A writer of
//! another format than the provider's writes from them. What only such a writer needs (thoughts, the parts of a call of a
//! tool) is a place in the payload's JSON and no text, so that an answer which passes on as it came pays for none of it.

use crate::steps;
use crate::wire::json::text_of;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// Where a JSON value stands in a payload; nowhere if it is empty.
pub type Place = Range<usize>;

/// What is added to one of the answers to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Nothing yet: the answer has begun.
    Begin {
        /// Which of the `n` answers; not all providers count from 0.
        choice: u64,
    },
    /// Some of its text.
    Text {
        /// Which of the `n` answers.
        choice: u64,
        /// The text.
        text: String,
    },
    /// The model refuses, in so many words.
    Refusal {
        /// Which of the `n` answers.
        choice: u64,
        /// The words.
        text: String,
    },
    /// Some of the thoughts that come beside the answer.
    Thought {
        /// Which of the `n` answers.
        choice: u64,
        /// Where they stand.
        text: Place,
    },
    /// A call of a tool, or more of one that has begun.
    ToolCall {
        /// Which of the `n` answers.
        choice: u64,
        /// Which of its calls.
        call: u64,
        /// The call's name for the tool's result, sent once, if at all.
        id: Place,
        /// The tool's name, sent once.
        name: Place,
        /// Some of the arguments, which are JSON.
        arguments: Place,
    },
    /// What its provider wants back with a call of a tool, and no client carries: the gateway keeps it. Or what seals a
    /// thought, which the client carries: then whose it is is kept.
    Signature {
        /// Which of the `n` answers.
        choice: u64,
        /// The call's id, or what seals the thought.
        id: Place,
        /// What goes back with the call; nothing with a thought.
        signature: Place,
    },
    /// How likely its tokens were, where the provider says.
    Logprobs {
        /// Which of the `n` answers.
        choice: u64,
        /// Of these tokens.
        logprobs: TokenLogprobs,
    },
    /// Its end.
    Finish {
        /// Which of the `n` answers.
        choice: u64,
        /// Why it ended.
        why: Finish,
    },
    /// Something that only its own format knows: it passes on there, and is left out elsewhere.
    Native {
        /// Which of the `n` answers.
        choice: u64,
    },
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model had said all.
    Stop,
    /// It waits for the results of tools.
    ToolCalls,
    /// It was cut by a bound on its length.
    Length,
    /// It was cut by a filter.
    Filter,
    /// The model refused.
    Refusal,
    /// Something else.
    Other,
}

impl Finish {
    /// Whether the answer is all that the model had to say.
    #[must_use]
    pub fn is_complete(self) -> bool {
        matches!(self, Self::Stop | Self::ToolCalls)
    }
}

/// The least log-probability of each step of a [`TokenLogprobs`]; what is less likely still has the last.
const STEPS: [f64; 8] = [-0.1, -0.3, -0.7, -1.2, -2.0, -3.0, -5.0, f64::NEG_INFINITY];
/// Where a quantile is looked for among tokens less likely than all steps.
const LEAST_STEP: f64 = -8.0;

/// How likely the tokens of an answer were, as natural logarithms.
///
/// Small and mergeable, for every event of a stream brings some: of their distribution only a count for each of eight steps
/// is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TokenLogprobs {
    /// How many tokens.
    tokens: u64,
    /// The sum over them.
    sum: f64,
    /// How many of them are as likely as each step, and less than the one before.
    steps: [u32; STEPS.len()],
}

impl TokenLogprobs {
    /// Those of some tokens. What is no logarithm of a probability is taken for the nearest one.
    pub fn of(logprobs: impl IntoIterator<Item = f64>) -> Self {
        logprobs.into_iter().fold(Self::default(), |mut known, logprob| {
            let logprob = if logprob.is_nan() { 0.0 } else { logprob.clamp(-100.0, 0.0) };
            known.tokens += 1;
            known.sum += logprob;
            let step = STEPS.iter().position(|least| logprob >= *least).unwrap_or(STEPS.len() - 1);
            known.steps[step] = known.steps[step].saturating_add(1);
            known
        })
    }

    /// How many tokens there are.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        for (step, more) in self.steps.iter_mut().zip(other.steps) {
            *step = step.saturating_add(more);
        }
        Self { tokens: self.tokens + other.tokens, sum: self.sum + other.sum, steps: self.steps }
    }

    /// The mean over the tokens.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn mean(&self) -> f64 {
        self.sum / self.tokens.max(1) as f64
    }

    /// What the unlikeliest tenth of the tokens is at most, within its step.
    #[must_use]
    pub fn low(&self) -> f64 {
        let all: u64 = self.steps.iter().map(|tokens| u64::from(*tokens)).sum();
        let mut rest = f64::from(u32::try_from(all).unwrap_or(u32::MAX)) / 10.0;
        for (place, tokens) in self.steps.iter().enumerate().rev() {
            let (tokens, least) = (f64::from(*tokens), STEPS[place].max(LEAST_STEP));
            let most = if place == 0 { 0.0 } else { STEPS[place - 1] };
            if tokens > 0.0 && rest <= tokens {
                return least + (most - least) * rest / tokens;
            }
            rest -= tokens;
        }
        0.0
    }
}

impl Piece {
    /// Which of the `n` answers it belongs to.
    #[must_use]
    pub fn choice(&self) -> u64 {
        match self {
            Self::Begin { choice }
            | Self::Text { choice, .. }
            | Self::Refusal { choice, .. }
            | Self::Thought { choice, .. }
            | Self::ToolCall { choice, .. }
            | Self::Signature { choice, .. }
            | Self::Logprobs { choice, .. }
            | Self::Finish { choice, .. }
            | Self::Native { choice } => *choice,
        }
    }

    /// Bytes of text in it.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Text { text, .. } | Self::Refusal { text, .. } => text.len(),
            _ => 0,
        }
    }

    /// Bytes of what was generated: of text as it says, of thoughts and calls of tools as they stand in the payload.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        let said = |place: &Place| place.len().saturating_sub("\"\"".len());
        match self {
            Self::Thought { text, .. } => said(text),
            Self::ToolCall { name, arguments, .. } => said(name) + said(arguments),
            _ => self.text_bytes(),
        }
    }

    /// Whether only its own format can say it. Log-probabilities count where the client wants them.
    #[must_use]
    pub fn is_left_out_elsewhere(&self, wants_logprobs: bool) -> bool {
        matches!(self, Self::Native { .. }) || wants_logprobs && matches!(self, Self::Logprobs { .. })
    }

    /// Whether it says something, and does not only begin or end.
    #[must_use]
    pub fn has_content(&self) -> bool {
        match self {
            Self::Text { text, .. } | Self::Refusal { text, .. } => !text.is_empty(),
            Self::Thought { .. } | Self::ToolCall { .. } | Self::Native { .. } => true,
            Self::Begin { .. } | Self::Signature { .. } | Self::Logprobs { .. } | Self::Finish { .. } => false,
        }
    }
}

/// Whether these pieces of a whole answer are a refusal, or a filter's end, and nothing else.
pub fn refuses<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> bool {
    let mut refuses = false;
    for piece in pieces {
        match piece {
            Piece::Begin { .. } | Piece::Native { .. } => {}
            Piece::Finish { why: Finish::Filter | Finish::Refusal, .. } => refuses = true,
            piece if piece.answer_bytes() == 0 && !matches!(piece, Piece::Finish { .. }) => {}
            _ => return false,
        }
    }
    refuses
}

/// What the JSON at a place of a payload says: the text of a string, anything else as it is written.
#[must_use]
pub fn said<'a>(payload: &'a [u8], place: &Place) -> Cow<'a, str> {
    text_of(payload.get(place.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default())
}

/// The calls and the thoughts in these pieces of a payload that are signed: each one's id, or what seals it, and its signature.
pub fn signatures<'a>(pieces: &'a [Piece], payload: &'a [u8]) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Signature { id, signature, .. } => Some((said(payload, id), said(payload, signature))),
        _ => None,
    })
}

/// One of the answers to a request, put together from its pieces, for the judge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice<'a> {
    /// Which of the `n` answers.
    pub index: u64,
    /// Its text.
    pub text: Cow<'a, str>,
    /// Whether the model refused, in so many words.
    pub refused: bool,
    /// Whether it calls tools.
    pub calls_tools: bool,
    /// Why it ended, if it has.
    pub finish: Option<Finish>,
    /// How likely its tokens were, where the provider says.
    pub logprobs: Option<TokenLogprobs>,
}

impl<'a> Choice<'a> {
    fn add(&mut self, piece: &'a Piece) {
        match piece {
            Piece::Text { text, .. } if self.text.is_empty() => self.text = Cow::Borrowed(text),
            Piece::Text { text, .. } => self.text.to_mut().push_str(text),
            Piece::Refusal { .. } => self.refused = true,
            Piece::ToolCall { .. } => self.calls_tools = true,
            Piece::Logprobs { logprobs, .. } => {
                self.logprobs = Some(self.logprobs.map_or(*logprobs, |before| before.plus(*logprobs)));
            }
            Piece::Finish { why, .. } => {
                self.finish = Some(*why);
                self.refused |= *why == Finish::Refusal;
            }
            Piece::Begin { .. } | Piece::Signature { .. } | Piece::Thought { .. } | Piece::Native { .. } => {}
        }
    }
}

/// Puts answers together from their pieces, each of the `n` for itself, in the order of their numbers.
pub fn choices<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> Vec<Choice<'a>> {
    let mut choices = BTreeMap::<u64, Choice<'a>>::new();
    for piece in pieces {
        steps::count(1);
        let index = piece.choice();
        choices.entry(index).or_insert_with(|| Choice { index, ..Choice::default() }).add(piece);
    }
    choices.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps that putting `rounds` pieces of each of 128 answers together takes.
    fn steps_for(rounds: u64) -> u64 {
        let piece = |i| Piece::Text { choice: i % 128, text: format!("{},", i % 128) };
        let pieces: Vec<Piece> = (0..rounds * 128).map(piece).collect();
        let (put_together, steps) = steps::of(u64::MAX, || choices(&pieces));
        let times = usize::try_from(rounds).unwrap_or_default();
        for (index, choice) in (0_u64..).zip(&put_together) {
            assert_eq!((choice.index, &*choice.text), (index, &*format!("{index},").repeat(times)));
        }
        steps
    }

    #[test]
    fn pieces_of_many_answers_are_put_together_in_a_step_each() {
        assert_eq!((steps_for(10), steps_for(20)), (1_280, 2_560));
    }

    #[test]
    fn what_the_pieces_say_is_said_of_their_answer() {
        let logprobs = |two: [f64; 2]| Piece::Logprobs { choice: 3, logprobs: TokenLogprobs::of(two) };
        let pieces = [
            Piece::Begin { choice: 3 },
            Piece::Text { choice: 3, text: "On".into() },
            logprobs([-0.25, -0.75]),
            Piece::Text { choice: 3, text: "ce.".into() },
            logprobs([-0.5, -2.5]),
            Piece::Finish { choice: 3, why: Finish::Length },
            Piece::Refusal { choice: 1, text: "No.".into() },
            Piece::ToolCall { choice: 0, call: 0, id: 0..0, name: 0..0, arguments: 0..0 },
            Piece::Finish { choice: 2, why: Finish::Refusal },
        ];
        let of = |index| Choice { index, ..Choice::default() };
        let logprobs = Some(TokenLogprobs::of([-0.25, -0.75, -0.5, -2.5]));
        let expected = [
            Choice { calls_tools: true, ..of(0) },
            Choice { refused: true, ..of(1) },
            Choice { refused: true, finish: Some(Finish::Refusal), ..of(2) },
            Choice { text: "Once.".into(), finish: Some(Finish::Length), logprobs, ..of(3) },
        ];
        assert_eq!(choices(&pieces), expected);
    }

    #[test]
    fn the_low_quantile_lies_within_the_step_of_the_exact_one() {
        for (tokens, low) in [
            (vec![], 0.0..=0.0),
            (vec![-0.01; 50], -0.1..=0.0),
            (vec![-4.0; 50], -5.0..=-3.0),
            ([vec![-0.01; 95], vec![-9.0; 5]].concat(), -0.1..=0.0),
            ([vec![-0.01; 80], vec![-2.5; 20]].concat(), -3.0..=-2.0),
            (vec![f64::NEG_INFINITY, f64::NAN, 3.0], -8.0..=-5.0),
        ] {
            let known = TokenLogprobs::of(tokens.iter().copied());
            assert!(low.contains(&known.low()), "{}: {tokens:?}", known.low());
            let (one, other) = tokens.split_at(tokens.len() / 2);
            let of = |part: &[f64]| TokenLogprobs::of(part.iter().copied());
            assert_eq!(of(one).plus(of(other)).low(), known.low());
        }
    }

    #[test]
    fn a_place_says_the_text_of_a_string_and_anything_else_as_it_is_written() {
        for (json, place, text) in [
            (r#"{"a":"b c"}"#, 5..10, "b c"),
            (r#"{"a":"b\nc"}"#, 5..11, "b\nc"),
            (r#"{"a":{"b":"c"}}"#, 5..14, r#"{"b":"c"}"#),
            (r#"{"a":1}"#, 0..0, ""),
            (r#"{"a":1}"#, 5..99, ""),
            ("\"\u{e4}\"", 0..2, ""),
        ] {
            assert_eq!(said(json.as_bytes(), &place), text, "{json} {place:?}");
        }
    }
}
