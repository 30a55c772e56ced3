//! The simulated provider: models inside the process, so that demonstrations, tests and benchmarks need no network.
//!
//! What a model does is in its name ([`Behaviour`]): it answers, answers late, fails, is rate limited, breaks off or goes
//! silent. Nothing is random and no clock is read: an answer follows from the request alone, and `fail-N` fails by
//! counting, so that a test can say which call fails. Answers are written as OpenAI's JSON and read by the same parser as
//! a real provider's, so that what holds for one (A1: no end, no answer) is seen to hold for the other.
//!
//! Only `slow-N` and `stall` take time. The rest answer at once, so that a benchmark measures the gateway.

mod answer;
mod instance;
mod topic;
mod wire;

use answer::Answer;
use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::catalog::Behaviour;
use gateway_core::provider::{Call, Came, Chunk, Chunks, Fault, NotACompletion, Provider, ProviderError, Reply};
use gateway_core::receipt::AttemptOutcome;
use gateway_core::wire::answer::Flaw;
use gateway_core::wire::format::Spoken;
use gateway_core::wire::openai::CHAT;
use gateway_core::wire::openai::answer::{Answers, completion};
use gateway_core::wire::request::Request;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// The `retry-after` of a rate-limited caller.
const RATE_LIMITED_FOR_MS: u64 = 1_000;

/// The provider inside the process.
#[derive(Debug)]
pub struct Simulated {
    /// How often each of `fail-0` to `fail-100` was called.
    calls: [AtomicU64; 101],
}

impl Simulated {
    /// A provider whose models were never called.
    #[must_use]
    pub fn new() -> Self {
        Self { calls: [const { AtomicU64::new(0) }; 101] }
    }

    /// Counts a call of `fail-N` and says whether it fails: exactly N of each 100 do, evenly spread.
    fn fails(&self, percent: u8) -> bool {
        let Some(calls) = self.calls.get(usize::from(percent)) else { return true };
        let call = calls.fetch_add(1, Ordering::Relaxed) % 100;
        let failures_after = |calls: u64| calls * u64::from(percent) / 100;
        failures_after(call + 1) > failures_after(call)
    }
}

impl Default for Simulated {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Provider for Simulated {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        if call.request.format.name() == CHAT.name() {
            return self.answer(call).await;
        }
        let translated = Request::read(&CHAT, call.body_for(&CHAT)?);
        let request = translated.map_err(|_| malformed(Flaw::Malformed.into()))?;
        self.answer(Call { request: &request, ..call }).await
    }
}

impl Simulated {
    /// Answers a request that is in this provider's own format.
    async fn answer(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        let refused = |fault, outcome, status, detail| {
            Err(ProviderError { fault, ..ProviderError::retryable(outcome, detail) }.with_status(status))
        };
        let Some(behaviour) = Behaviour::parse(&call.model.provider_model) else {
            return refused(Fault::CandidateDown, AttemptOutcome::HttpError, 404, "no such simulated model");
        };
        let (first_token_ms, end) = match behaviour {
            Behaviour::Fail { percent } if self.fails(percent) => {
                return refused(Fault::Retryable, AttemptOutcome::HttpError, 500, "a simulated failure");
            }
            Behaviour::RateLimited => {
                let until_ms = Some(call.now_ms.saturating_add(RATE_LIMITED_FOR_MS));
                let fault = Fault::RateLimited { until_ms };
                return refused(fault, AttemptOutcome::RateLimited, 429, "a simulated rate limit");
            }
            Behaviour::Cheap | Behaviour::Reasoning | Behaviour::Unsure | Behaviour::Fail { .. } => (0, End::Whole),
            Behaviour::Slow { first_token_ms } => (first_token_ms, End::Whole),
            Behaviour::Cut => (0, End::Cut),
            Behaviour::Stall => (0, End::Silence),
        };
        let delay = (first_token_ms > 0).then(|| Box::pin(sleep(Duration::from_millis(first_token_ms))));
        let answer = Answer::compose(&call, behaviour);
        if call.stream {
            let events = wire::Events::of(&call, answer);
            let events = if end == End::Whole { events } else { events.cut() };
            return Ok(Reply::Stream(Box::new(SimulatedChunks {
                events,
                answers: Answers::of(call.request.facts.n),
                delay,
                end,
            })));
        }
        if let Some(delay) = delay {
            delay.await;
        }
        let whole = Bytes::from(wire::whole(&call, &answer).to_string());
        match end {
            End::Whole => {
                let n = call.request.facts.n;
                Ok(Reply::Whole(Box::new(completion(whole, n, first_token_ms as f64).map_err(malformed)?)))
            }
            End::Cut => Err(cut().with(Came { answer_bytes: whole.len() / 2, ..Came::default() })),
            End::Silence => pending().await,
        }
    }
}

/// What follows the last chunk of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Cut,
    Silence,
}

/// The rest of a simulated stream.
struct SimulatedChunks {
    events: wire::Events,
    answers: Answers,
    /// What the first chunk waits for; kept until it has ended, so that a caller that gives up waiting may wait again.
    delay: Option<Pin<Box<Sleep>>>,
    end: End,
}

#[async_trait]
impl Chunks for SimulatedChunks {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        if let Some(delay) = &mut self.delay {
            delay.await;
            self.delay = None;
        }
        match (self.events.next(), self.end) {
            (Some(event), _) => {
                Ok(Some(self.answers.read(event.to_string().into()).map_err(malformed)?.into_iter().collect()))
            }
            (None, End::Whole) => Ok(None),
            (None, End::Cut) => Err(cut()),
            (None, End::Silence) => pending().await,
        }
    }
}

fn cut() -> ProviderError {
    ProviderError::retryable(AttemptOutcome::Truncated, "a simulated cut").with_status(200)
}

fn malformed(_: NotACompletion) -> ProviderError {
    ProviderError::retryable(AttemptOutcome::Malformed, "the simulated answer is not OpenAI's")
}

#[cfg(test)]
mod tests;
