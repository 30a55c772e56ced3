//! The models' health, for the whole fleet: one value per model, written by `record.lua`, read as it stands.
//!
//! What was read is kept in process for a second of the caller's time. It is read beside the admission and costs no wait;
//! and whoever records something is answered what has come of it, so that a busy process seldom reads at all. Writing needs
//! no reading first, so every write is exact however old the figures are that a request was ranked by. The probe is leased by the server, to one of the fleet (A6).

use super::RedisStore;
use super::counters::number;
use super::script::{Step, fit, packed, unpacked, whole};
use crate::health::breaker::{Breaker, BreakerSettings};
use crate::health::welford::Welford;
use crate::health::{Kept, ModelHealth, Observation, Sight};
use crate::id::jitter;
use crate::store::{HealthStore, StoreError};
use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use redis::Value;
use std::sync::{Arc, PoisonError};

/// How old, in milliseconds, what is kept in process may be.
const KEPT_MS: u64 = 1_000;
/// How long a model is remembered since it last failed, or at the latest 64 answers ago.
const MODEL_KEPT_MS: u64 = 86_400_000;

/// What this process knows of a model.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    kept: Kept,
    /// How often the model had been written then.
    written: u64,
    read_at_ms: u64,
}

impl Known {
    fn is_fresh(&self, now_ms: u64) -> bool {
        self.read_at_ms.abs_diff(now_ms) < KEPT_MS
    }
}

/// Reads a model as `model.lua` packs it, and how often it was written; one that is not there has seen nothing.
fn read_model(answer: &Value) -> Option<(Kept, u64)> {
    let packed = match answer {
        Value::Nil => return Some((Kept::default(), 0)),
        Value::BulkString(packed) => packed,
        _ => return None,
    };
    let numbers: [f64; 32] = unpacked(packed)?;
    let (&[opened, failures, open_until, probe_until, counts_from, cooldown, _prober, written], measures) =
        numbers.split_first_chunk()?;
    let ([ttft_ms, ms_per_token, failure, evidence], _batches) = measures.as_chunks::<5>() else { return None };
    let welford = |&[w, w2, mean, s, t_ms]: &[f64; 5]| Welford { w, w2, mean, s, t_ms: whole(t_ms) };
    let breaker = Breaker {
        opened_in_a_row: u32::try_from(whole(opened)).ok()?,
        consecutive_failures: u32::try_from(whole(failures)).ok()?,
        open_until_ms: whole(open_until),
        probe_until_ms: whole(probe_until),
        counts_from_ms: whole(counts_from),
        evidence: welford(evidence),
    };
    let kept = Kept {
        ttft_ms: welford(ttft_ms),
        ms_per_token: welford(ms_per_token),
        failure: welford(failure),
        breaker,
        cooldown_until_ms: whole(cooldown),
    };
    Some((kept, whole(written)))
}

/// Settings of the statistics and the breaker, as the scripts take them.
#[derive(Debug)]
pub(super) struct Tuning {
    pub(super) tau_ms: u64,
    pub(super) breaker: BreakerSettings,
}

/// A sight as the script takes it.
fn sight(of: &Observation) -> [f64; 5] {
    let (kind, one, other) = match of.sight {
        Sight::Nothing => (0.0, 0.0, None),
        Sight::Answered { ttft_ms, ms_per_token } => (1.0, ttft_ms, ms_per_token),
        Sight::Failed => (2.0, 0.0, None),
        Sight::CoolDown { until_ms } => (3.0, number(until_ms), None),
    };
    [kind, number(of.begun_at_ms), one, other.unwrap_or(f64::NAN), number(fit(jitter()))]
}

impl RedisStore {
    fn model_key(&self, model: &str) -> String {
        format!("{}m:{{{model}}}", self.prefix)
    }

    async fn kept(&self, model: &Arc<str>, now_ms: u64) -> Result<Kept, StoreError> {
        let known = self.models.lock().unwrap_or_else(PoisonError::into_inner).get(model).cloned();
        if let Some(known) = known.filter(|known| known.is_fresh(now_ms)) {
            return Ok(known.kept);
        }
        let mut read = redis::cmd("GET");
        read.arg(self.model_key(model));
        let answer = self.ask(read.into()).await?;
        self.learn(model, &answer, now_ms)
    }

    /// Keeps what the server said of a model; but of two answers that overtook each other, the later.
    fn learn(&self, model: &Arc<str>, answer: &Value, now_ms: u64) -> Result<Kept, StoreError> {
        let (kept, written) =
            read_model(answer).ok_or_else(|| StoreError(format!("the health of {model} cannot be read")))?;
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let known = models.entry(model.clone()).or_default();
        if known.written <= written || !known.is_fresh(now_ms) {
            *known = Known { kept, written, read_at_ms: now_ms };
        }
        Ok(known.kept.clone())
    }

    fn forget(&self, model: &str) {
        self.models.lock().unwrap_or_else(PoisonError::into_inner).remove(model);
    }

    /// The command that records what was seen of one model.
    fn recording(&self, model: &str, seen: &[&Observation], now_ms: u64) -> Step<'_> {
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
            fit(jitter()),
            MODEL_KEPT_MS,
            self.tuning.tau_ms,
            consecutive_failures.into(),
            failure_percent.into(),
            least_samples.into(),
            first_open_ms,
            longest_open_ms,
            jitter_percent.into(),
        ];
        let numbers = settings.into_iter().map(number).chain(seen.iter().flat_map(|seen| sight(seen)));
        self.scripts.record.call(&[&self.model_key(model)]).arg(packed(numbers))
    }

    /// The commands that record what was seen, each with its model.
    pub(super) fn recordings(&self, seen: &[Observation], now_ms: u64) -> Vec<(Arc<str>, Step<'_>)> {
        let mut models: Vec<(&Arc<str>, Vec<&Observation>)> = Vec::new();
        for sight in seen {
            match models.iter_mut().find(|(model, _)| **model == sight.model) {
                Some((_, of_model)) => of_model.push(sight),
                None => models.push((&sight.model, vec![sight])),
            }
        }
        models.iter().map(|(model, seen)| ((*model).clone(), self.recording(model, seen, now_ms))).collect()
    }

    /// Keeps what such a command answered: this process sees what it recorded at once, and need not ask for it.
    pub(super) fn recorded(
        &self,
        model: &Arc<str>,
        answer: Result<Value, StoreError>,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let learnt = answer.and_then(|answer| self.learn(model, &answer, now_ms));
        if learnt.is_err() {
            self.forget(model);
        }
        learnt.map(drop)
    }
}

#[async_trait]
impl HealthStore for RedisStore {
    async fn snapshot(&self, models: &[Arc<str>], now_ms: u64) -> Result<Vec<ModelHealth>, StoreError> {
        let kept = try_join_all(models.iter().map(|model| self.kept(model, now_ms))).await?;
        Ok(kept.iter().map(|kept| kept.read(now_ms, self.tuning.tau_ms)).collect())
    }

    async fn record(&self, seen: &[Observation], now_ms: u64) -> Result<(), StoreError> {
        let recorded = self.recordings(seen, now_ms).into_iter().map(async |(model, step)| {
            let answer = self.ask(step).await;
            self.recorded(&model, answer, now_ms)
        });
        join_all(recorded).await.into_iter().collect()
    }

    async fn try_probe(&self, model: &Arc<str>, lease_ms: u64, now_ms: u64) -> Result<bool, StoreError> {
        let call = self.scripts.probe.call(&[&self.model_key(model)]);
        let answer = self.ask(call.arg(now_ms).arg(lease_ms).arg(fit(jitter()))).await?;
        self.forget(model);
        Ok(answer == Value::Int(1))
    }
}
