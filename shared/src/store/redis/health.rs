//! The models' health, for the whole fleet: one hash per model, written by `record.lua` and `probe.lua`, read whole.
//!
//! What was read is kept in process for a second of the caller's time. It is read beside the admission and costs no wait,
//! and answers that this process records meanwhile are added to it by the lines of `health/`, which the script repeats, so
//! that it knows at once what it saw. Anything else that it records it reads anew before it is used. Writing needs no reading
//! first, so every write is exact however old the figures are that a request was ranked by. The probe is leased by the server,
//! to one of the fleet (A6). See ADR 20. The fleet's budget of retries is one more hash, which only `retry.lua` touches (ADR 41).

use super::answers::unexpected;
use super::layout::number;
use super::model::StoredModel;
use super::script::{Step, fit, packed};
use super::store::RedisStore;
use crate::health::breaker::BreakerSettings;
use crate::health::refusals::mark_of_tenant;
use crate::health::{ModelHealth, ModelState, Observation, Signal};
use crate::id::{jitter, random_u64};
use crate::limit::retry_budget::{RetryAsk, STEPS};
use crate::locking::lock;
use crate::store::{HealthStore, StoreError};
use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use redis::Value;
use std::sync::Arc;

/// How long a model is remembered since it last failed, or at the latest 64 recordings ago.
const MODEL_KEPT_MS: u64 = 86_400_000;

/// How long the answer to an ask for a retry is remembered: longer than the same ask may be on its way.
const RETRY_ASK_KEPT_MS: u64 = 5_000;

/// What is to be recorded of one model.
pub(super) struct Recording<'a> {
    pub(super) model: Arc<str>,
    pub(super) observations: Vec<&'a Observation>,
}

/// A signal as the script takes it.
fn signal(of: &Observation) -> [f64; 5] {
    let (kind, one, other) = match of.signal {
        Signal::Nothing => (0.0, 0.0, None),
        Signal::Answered { ttft_ms, ms_per_token } => (1.0, ttft_ms, ms_per_token),
        Signal::Failed => (2.0, 0.0, None),
        Signal::CoolDown { until_ms } => (3.0, number(until_ms), None),
        Signal::Refused(by) => (4.0, number(by.request), Some(number(by.tenant))),
    };
    [kind, number(of.begun_at_ms), one, other.unwrap_or(f64::NAN), number(fit(jitter()))]
}

/// What was observed, by model.
pub(super) fn recordings(observations: &[Observation]) -> Vec<Recording<'_>> {
    let mut recordings: Vec<Recording<'_>> = Vec::new();
    for observation in observations {
        match recordings.iter_mut().find(|recording| recording.model == observation.model) {
            Some(recording) => recording.observations.push(observation),
            None => {
                recordings.push(Recording { model: observation.model.clone(), observations: vec![observation] });
            }
        }
    }
    recordings
}

impl RedisStore {
    pub(super) fn model_key(&self, model: &str) -> String {
        [&self.prefix, "m:{", model, "}"].concat()
    }

    async fn model_state(&self, model: &Arc<str>, now_ms: u64) -> Result<ModelState, StoreError> {
        if let Some(cached) = lock(&self.models).get(model).filter(|cached| cached.is_fresh(now_ms)) {
            return Ok(cached.state.clone());
        }
        let StoredModel { state, times_written } = self.read_model(model).await?;
        let mut models = lock(&self.models);
        let cached = models.entry(model.clone()).or_default();
        if !cached.is_overtaken(times_written, now_ms) {
            (cached.state, cached.read_at_ms, cached.read_at_times) = (state.clone(), now_ms, times_written);
        }
        Ok(state)
    }

    /// A model as the server has it; the default if it has none.
    pub(super) async fn read_model(&self, model: &str) -> Result<StoredModel, StoreError> {
        let mut read = redis::cmd("HGETALL");
        read.arg(self.model_key(model));
        let answer = self.ask(read.into()).await?;
        StoredModel::read(&answer).ok_or_else(|| StoreError(format!("the health of {model} cannot be read")))
    }

    /// What is cached of a model is read anew before it is used.
    fn forget(&self, model: &str) {
        if let Some(cached) = lock(&self.models).get_mut(model) {
            cached.read_at_ms = 0;
        }
    }

    /// The command that records what was observed of one model.
    pub(super) fn recording(&self, of: &Recording<'_>, now_ms: u64) -> Step<'_> {
        let BreakerSettings {
            consecutive_failures,
            failure_percent,
            least_samples,
            first_open_ms,
            longest_open_ms,
            jitter_percent,
        } = self.tuning.breaker;
        let settings = [
            now_ms,
            MODEL_KEPT_MS,
            self.tuning.tau_ms,
            consecutive_failures.into(),
            failure_percent.into(),
            least_samples.into(),
            first_open_ms,
            longest_open_ms,
            jitter_percent.into(),
        ];
        let signals = of.observations.iter().flat_map(|observation| signal(observation));
        let numbers = settings.into_iter().map(number).chain(signals);
        let call = self.scripts.record.call(&[&self.model_key(&of.model)]).arg(packed(numbers));
        call.arg(format!("{:012x}", random_u64() >> 16))
    }

    /// Takes in what such a command was answered. Of a model that answered this process knows what has come of it; else it
    /// asks.
    pub(super) fn recorded(
        &self,
        Recording { model, observations }: &Recording<'_>,
        answer: Result<Value, StoreError>,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let times_written = match answer {
            Ok(Value::Int(times)) => u64::try_from(times).unwrap_or(0),
            unclear => {
                self.forget(model);
                return unclear.and_then(|other| Err(unexpected(&other)));
            }
        };
        let mut models = lock(&self.models);
        let cached = models.entry(model.clone()).or_default();
        cached.is_overtaken(times_written, now_ms);
        for observation in observations {
            match observation.signal {
                // What was read since has it already.
                Signal::Answered { .. } if times_written <= cached.read_at_times => {}
                Signal::Answered { .. } => {
                    cached.state.record(observation, now_ms, self.tuning.tau_ms, &self.tuning.breaker);
                }
                _ => cached.read_at_ms = 0,
            }
        }
        Ok(())
    }
}

#[async_trait]
impl HealthStore for RedisStore {
    async fn snapshot(&self, models: &[Arc<str>], now_ms: u64) -> Result<Vec<ModelHealth>, StoreError> {
        let states = try_join_all(models.iter().map(|model| self.model_state(model, now_ms))).await?;
        Ok(states.iter().map(|state| state.snapshot(now_ms, self.tuning.tau_ms)).collect())
    }

    async fn record(&self, observations: &[Observation], now_ms: u64) -> Result<(), StoreError> {
        let recorded = recordings(observations).into_iter().map(async |recording| {
            let answer = self.ask(self.recording(&recording, now_ms)).await;
            self.recorded(&recording, answer, now_ms)
        });
        join_all(recorded).await.into_iter().collect()
    }

    async fn try_probe(&self, model: &Arc<str>, tenant: &str, lease_ms: u64, now_ms: u64) -> Result<bool, StoreError> {
        let call = self.scripts.probe.call(&[&self.model_key(model)]);
        let call = call.arg(now_ms).arg(lease_ms).arg(fit(jitter())).arg(mark_of_tenant(tenant));
        let answer = self.ask(call).await?;
        self.forget(model);
        Ok(answer == Value::Int(1))
    }

    async fn try_retry(&self, RetryAsk { settings, requests }: &RetryAsk<'_>, now_ms: u64) -> Result<bool, StoreError> {
        let budget = [&self.prefix, "r:{retries}"].concat();
        let ask = format!("{budget}:{:016x}", random_u64());
        let mut call = self.scripts.retry.call(&[&budget, &ask]).arg(settings.step(now_ms)).arg(STEPS);
        call = call.arg(settings.budget_percent).arg(settings.least_retries);
        call = call.arg(settings.window_ms.saturating_mul(2).max(1)).arg(RETRY_ASK_KEPT_MS);
        for (step, number) in requests {
            call = call.arg(step).arg(number);
        }
        Ok(self.ask(call).await? == Value::Int(1))
    }
}
