//! The provider behind all models: what comes of a call is the scenario's to say, and the policy hears of it.

use crate::frame::Shared;
use crate::policy::End;
use crate::world::{Asked, COUNT, Fate, Fault, MODELS, Scenario};
use async_trait::async_trait;
use bytes::Bytes;
use fastrand::Rng;
use gateway_core::provider::{Call, Chunk, Chunks, Fault as Blame, Provider, ProviderError, Reply};
use gateway_core::receipt::AttemptOutcome;
use gateway_core::wire::openai::answer::{chunk, completion};
use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// The longest that a stream that is well says nothing.
const PIECE_MS: f64 = 2_000.0;

/// A call that a model got.
#[derive(Clone, Copy)]
pub(crate) struct Made {
    pub(crate) model: usize,
    /// The number of the request that it is made for.
    pub(crate) number: u64,
    /// Milliseconds after the scenario's begin.
    pub(crate) at_ms: u64,
    /// Whether it was answered; `false` while it lasts.
    pub(crate) answered: bool,
}

/// What is written down, and who hears of it.
pub(crate) struct Watched {
    pub(crate) calls: Mutex<Vec<Made>>,
    pub(crate) policy: Option<Shared>,
    pub(crate) begun: Instant,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A call under way; dropped, the gateway has given it up.
struct Underway {
    watched: Arc<Watched>,
    place: usize,
    model: usize,
    begun: Instant,
    ended: bool,
}

impl Underway {
    fn begin(watched: &Arc<Watched>, model: usize, number: u64) -> Self {
        let mut calls = locked(&watched.calls);
        calls.push(Made { model, number, at_ms: watched.now_ms(), answered: false });
        if let Some(policy) = &watched.policy {
            locked(policy).begun(model);
        }
        let place = calls.len() - 1;
        Self { watched: watched.clone(), place, model, begun: Instant::now(), ended: false }
    }

    fn end(&mut self, end: End) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        locked(&self.watched.calls)[self.place].answered = end == End::Answered;
        if let Some(policy) = &self.watched.policy {
            let took_ms = self.begun.elapsed().as_secs_f64() * 1000.0;
            locked(policy).ended(self.model, took_ms, end, self.watched.now_ms());
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.end(End::GivenUp);
    }
}

/// A bucket of calls that a limited model still takes.
#[derive(Clone, Copy)]
struct Bucket {
    calls: f64,
    at_ms: u64,
}

/// The provider.
pub(crate) struct Simulated {
    scenario: Arc<Scenario>,
    watched: Arc<Watched>,
    seed: u64,
    buckets: Mutex<[Option<Bucket>; COUNT]>,
    /// How often each request called each model.
    tries: Mutex<HashMap<(u64, usize), u64>>,
}

impl Simulated {
    pub(crate) fn new(scenario: Arc<Scenario>, watched: Arc<Watched>, seed: u64) -> Self {
        Self { scenario, watched, seed, buckets: Mutex::default(), tries: Mutex::default() }
    }

    /// Takes one call out of the model's limit; else how long until the next one, and whether that is told.
    fn limit(&self, model: usize, at_ms: u64) -> Result<(), (u64, bool)> {
        let limits = self.scenario.spells.iter().filter(|spell| spell.is_on(model, at_ms));
        for spell in limits {
            let Fault::Limited { per_s, burst, tells } = spell.fault else { continue };
            let mut buckets = locked(&self.buckets);
            let bucket = buckets[model].get_or_insert(Bucket { calls: burst, at_ms });
            let filled = (at_ms - bucket.at_ms) as f64 / 1000.0 * per_s;
            (bucket.calls, bucket.at_ms) = ((bucket.calls + filled).min(burst), at_ms);
            if bucket.calls < 1.0 {
                return Err(((((1.0 - bucket.calls) / per_s) * 1000.0).ceil() as u64, tells));
            }
            bucket.calls -= 1.0;
        }
        Ok(())
    }

    /// Dice of this call's own, so that what comes of it does not hang on what else was called.
    fn dice(&self, model: usize, number: u64) -> Rng {
        let mut tries = locked(&self.tries);
        let tried = tries.entry((number, model)).or_default();
        *tried += 1;
        // What is drawn from seeds that are near each other is near as well; what is drawn from draws is not.
        let drawn = [self.seed, number, model as u64, *tried];
        Rng::with_seed(drawn.iter().fold(0, |drawn, of| Rng::with_seed(drawn ^ of).u64(..)))
    }
}

#[async_trait]
impl Provider for Simulated {
    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        let model = MODELS.iter().position(|model| *model.name == *call.model.provider_model).unwrap_or_default();
        let (number, tokens) = said(&call);
        let at_ms = self.watched.now_ms();
        let mut underway = Underway::begin(&self.watched, model, number);
        if let Err((wait_ms, tells)) = self.limit(model, at_ms) {
            sleep(Duration::from_millis(20)).await;
            // Seconds, as most providers say it.
            let wait_ms = wait_ms.div_ceil(1000) * 1000;
            underway.end(End::RateLimited { retry_after_ms: tells.then_some(wait_ms) });
            let until_ms = tells.then_some(call.now_ms + wait_ms);
            let error = ProviderError::retryable(AttemptOutcome::RateLimited, "rate limited");
            return Err(ProviderError { fault: Blame::RateLimited { until_ms }, ..error }.with_status(429));
        }
        let fate = self.scenario.fate(model, tokens, at_ms, &mut self.dice(model, number));
        let (ttft_ms, total_ms, is_cut) = match fate {
            Fate::Answers { ttft_ms, total_ms, is_cut } => (ttft_ms, total_ms, is_cut),
            Fate::Fails { after_ms } => {
                sleep(Duration::from_millis(after_ms)).await;
                underway.end(End::Failed);
                return Err(ProviderError::retryable(AttemptOutcome::HttpError, "a simulated 500").with_status(500));
            }
            Fate::Hangs { keeps_alive: true } if call.stream => return Ok(Reply::Stream(Box::new(Alive(underway)))),
            Fate::Hangs { .. } => pending().await,
        };
        let begun = underway.begun;
        let after = |ms: f64| begun + Duration::from_micros((ms * 1000.0) as u64);
        if call.stream {
            let mut at = vec![after(ttft_ms)];
            at.extend(
                (1..).map(|piece| ttft_ms + f64::from(piece) * PIECE_MS).take_while(|ms| *ms < total_ms).map(after),
            );
            at.push(after(total_ms));
            at.reverse();
            return Ok(Reply::Stream(Box::new(Streamed { at, tokens, is_cut, underway })));
        }
        sleep_until(after(total_ms)).await;
        if is_cut {
            underway.end(End::Failed);
            return Err(ProviderError::retryable(AttemptOutcome::Truncated, "a simulated cut").with_status(200));
        }
        underway.end(End::Answered);
        let usage = usage(tokens);
        let body = format!(
            r#"{{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"yes"}},"finish_reason":"stop"}}],{usage}}}"#
        );
        completion(body.into(), 1, total_ms).map(|whole| Reply::Whole(Box::new(whole))).map_err(|_| malformed())
    }
}

/// The number and the tokens that the driver wrote into the prompt.
fn said(call: &Call<'_>) -> (u64, u64) {
    let messages = call.request.body().raw("messages").unwrap_or_default();
    let mut numbers = messages.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(1))
}

/// What a client sends.
pub(crate) fn body(asked: &Asked) -> Bytes {
    let Asked { number, tokens, streamed, .. } = asked;
    format!(
        r#"{{"model":"pool","max_tokens":300,"stream":{streamed},"messages":[{{"role":"user","content":"{number} {tokens}"}}]}}"#
    )
    .into()
}

fn usage(tokens: u64) -> String {
    let total = 100 + tokens;
    format!(r#""usage":{{"prompt_tokens":100,"completion_tokens":{tokens},"total_tokens":{total}}}"#)
}

fn malformed() -> ProviderError {
    ProviderError::retryable(AttemptOutcome::Malformed, "the simulated answer is not OpenAI's")
}

/// A stream that is alive and says nothing.
struct Alive(#[expect(dead_code, reason = "it notes that it was given up when it is dropped")] Underway);

#[async_trait]
impl Chunks for Alive {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        sleep(Duration::from_secs(1)).await;
        Ok(Some(Vec::new()))
    }
}

/// A stream that answers.
struct Streamed {
    /// When its events come, the last one first.
    at: Vec<Instant>,
    tokens: u64,
    is_cut: bool,
    underway: Underway,
}

#[async_trait]
impl Chunks for Streamed {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        let Some(&at) = self.at.last() else { return Ok(None) };
        sleep_until(at).await;
        self.at.pop();
        let is_last = self.at.is_empty();
        if is_last && self.is_cut {
            self.underway.end(End::Failed);
            return Err(ProviderError::retryable(AttemptOutcome::Truncated, "a simulated cut").with_status(200));
        }
        let (delta, finish, usage) = if is_last {
            self.underway.end(End::Answered);
            ("{}", r#""stop""#, format!(",{}", usage(self.tokens)))
        } else {
            (r#"{"role":"assistant","content":"yes"}"#, "null", String::new())
        };
        let event = format!(
            r#"{{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]{usage}}}"#
        );
        Ok(Some(chunk(event.into(), 1).map_err(|_| malformed())?.into_iter().collect()))
    }
}
