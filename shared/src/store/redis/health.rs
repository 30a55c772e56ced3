//! The models' health, for the whole fleet: one hash per model, written by `record.lua`, read as it stands.
//!
//! What was read is kept in process for a second of the caller's time, or until this process records something of the
//! model, so that it sees its own at once; it is read beside the admission and costs no wait. Writing needs no reading first, so every write is exact however
//! old the figures are that a request was ranked by. The probe is leased by the server, to one of the fleet (A6).

use super::RedisStore;
use super::script::{Call, Step};
use crate::health::breaker::{Breaker, BreakerSettings};
use crate::health::score::{Measures, Standing};
use crate::health::welford::Welford;
use crate::health::{ModelHealth, Observation, Sight};
use crate::id::random_u64;
use crate::store::{HealthStore, StoreError};
use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use redis::Value;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

/// How old, in milliseconds, what is kept in process may be.
const KEPT_MS: u64 = 1_000;
/// How long a model that nobody uses is remembered.
const MODEL_KEPT_MS: u64 = 86_400_000;
/// How long it is remembered that a batch of sights is recorded: longer than it can be sent again.
const BATCH_KEPT_MS: u64 = 5_000;

/// What a model's hash says.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    ttft_ms: Welford,
    ms_per_token: Welford,
    failure: Welford,
    breaker: Breaker,
    cooldown_until_ms: u64,
}

impl Kept {
    /// Reads the fields that `record.lua` names. Its types keep their own fields to themselves, but for their JSON.
    fn parse(answer: &Value) -> Option<Self> {
        let fields: HashMap<String, String> = redis::from_redis_value(answer.clone()).ok()?;
        if fields.is_empty() {
            return Some(Self::default());
        }
        let whole = |name: &str| fields.get(name).map_or(Some(0), |text| text.parse::<u64>().ok());
        let float = |name: String| fields.get(&name).map_or(Some(0.0), |text| text.parse::<f64>().ok());
        let welford = |of: &str| {
            let sums = json!({
                "w": float(format!("{of}w"))?, "w2": float(format!("{of}w2"))?, "mean": float(format!("{of}m"))?,
                "s": float(format!("{of}s"))?, "t_ms": whole(&format!("{of}at"))?,
            });
            Some(sums)
        };
        let breaker = json!({
            "opened_in_a_row": whole("k")?, "consecutive_failures": whole("cf")?, "open_until_ms": whole("ou")?,
            "probe_until_ms": whole("pu")?, "counts_from_ms": whole("from")?, "evidence": welford("e")?,
        });
        Some(Self {
            ttft_ms: serde_json::from_value(welford("t")?).ok()?,
            ms_per_token: serde_json::from_value(welford("p")?).ok()?,
            failure: serde_json::from_value(welford("f")?).ok()?,
            breaker: serde_json::from_value(breaker).ok()?,
            cooldown_until_ms: whole("cd")?,
        })
    }

    fn read(&self, now_ms: u64, tau_ms: u64) -> ModelHealth {
        ModelHealth {
            measures: Measures {
                ttft_ms: self.ttft_ms.read(now_ms, tau_ms),
                ms_per_token: self.ms_per_token.read(now_ms, tau_ms),
                failure: self.failure.read(now_ms, tau_ms),
            },
            standing: Standing::of(self.cooldown_until_ms, &self.breaker, now_ms),
            breaker: self.breaker.state(now_ms),
            cooldown_until_ms: if self.cooldown_until_ms > now_ms { self.cooldown_until_ms } else { 0 },
        }
    }
}

/// Settings of the statistics and the breaker, as the scripts take them.
#[derive(Debug)]
pub(super) struct Tuning {
    pub(super) tau_ms: u64,
    pub(super) breaker: BreakerSettings,
}

/// What the script calls a sight, and its two numbers.
fn sight(of: Sight) -> [String; 3] {
    let float = |x: f64| format!("{x:e}");
    match of {
        Sight::Answered { ttft_ms, ms_per_token } => {
            ["answered".into(), float(ttft_ms), ms_per_token.map(float).unwrap_or_default()]
        }
        Sight::Failed => ["failed".into(), String::new(), String::new()],
        Sight::CoolDown { until_ms } => ["cool".into(), until_ms.to_string(), String::new()],
        Sight::Nothing => ["nothing".into(), String::new(), String::new()],
    }
}

impl RedisStore {
    fn model_key(&self, model: &str) -> String {
        format!("{}h:{{{model}}}", self.prefix)
    }

    async fn kept(&self, model: &Arc<str>, now_ms: u64) -> Result<Kept, StoreError> {
        let known = {
            let known = self.models.lock().unwrap_or_else(PoisonError::into_inner);
            known
                .get(model)
                .filter(|(_, read_at_ms)| read_at_ms.abs_diff(now_ms) < KEPT_MS)
                .map(|(kept, _)| kept.clone())
        };
        if let Some(kept) = known {
            return Ok(kept);
        }
        let mut read = redis::cmd("HGETALL");
        read.arg(self.model_key(model));
        let answer = self.ask(Step::Plain(read)).await?;
        let kept = Kept::parse(&answer).ok_or_else(|| StoreError(format!("the health of {model} cannot be read")))?;
        let mut known = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(model.clone(), (kept.clone(), now_ms));
        Ok(kept)
    }

    fn forget(&self, model: &str) {
        self.models.lock().unwrap_or_else(PoisonError::into_inner).remove(model);
    }

    async fn record_of(&self, model: &str, seen: &[&Observation], now_ms: u64) -> Result<(), StoreError> {
        let BreakerSettings {
            consecutive_failures,
            failure_percent,
            least_samples,
            first_open_ms,
            longest_open_ms,
            jitter_percent,
        } = self.tuning.breaker;
        let batch = format!("{}:{:016x}", self.model_key(model), random_u64());
        let mut args: Vec<String> = [
            now_ms,
            self.tuning.tau_ms,
            consecutive_failures.into(),
            failure_percent.into(),
            least_samples.into(),
            first_open_ms,
            longest_open_ms,
            jitter_percent.into(),
            BATCH_KEPT_MS,
            MODEL_KEPT_MS,
        ]
        .map(|number| number.to_string())
        .into();
        for seen in seen {
            let [kind, one, other] = sight(seen.sight);
            args.extend([kind, seen.begun_at_ms.to_string(), one, other, (random_u64() >> 11).to_string()]);
        }
        let call = Call { script: &self.scripts.record, keys: vec![self.model_key(model), batch], args };
        let recorded = self.ask(Step::Script(call)).await.map(drop);
        self.forget(model);
        recorded
    }
}

#[async_trait]
impl HealthStore for RedisStore {
    async fn snapshot(&self, models: &[Arc<str>], now_ms: u64) -> Result<Vec<ModelHealth>, StoreError> {
        let kept = try_join_all(models.iter().map(|model| self.kept(model, now_ms))).await?;
        Ok(kept.iter().map(|kept| kept.read(now_ms, self.tuning.tau_ms)).collect())
    }

    async fn record(&self, seen: &[Observation], now_ms: u64) -> Result<(), StoreError> {
        let mut models: Vec<(&str, Vec<&Observation>)> = Vec::new();
        for sight in seen {
            match models.iter_mut().find(|(model, _)| **model == *sight.model) {
                Some((_, of_model)) => of_model.push(sight),
                None => models.push((&sight.model, vec![sight])),
            }
        }
        let recorded = models.iter().map(|(model, seen)| self.record_of(model, seen, now_ms));
        join_all(recorded).await.into_iter().collect()
    }

    async fn try_probe(&self, model: &Arc<str>, lease_ms: u64, now_ms: u64) -> Result<bool, StoreError> {
        let keys = vec![self.model_key(model)];
        let args = vec![now_ms.to_string(), lease_ms.to_string(), format!("{:016x}", random_u64())];
        let answer = self.ask(Step::Script(Call { script: &self.scripts.probe, keys, args })).await?;
        self.forget(model);
        Ok(answer == Value::Int(1))
    }
}
