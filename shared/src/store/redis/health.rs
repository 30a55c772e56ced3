//! The models' health, for the whole fleet: one value per model, written by `record.lua`, read as it stands.
//!
//! What was read is kept in process for a second of the caller's time. It is read beside the admission and costs no wait;
//! and whoever records something is answered what has come of it, so that a busy process seldom reads at all. Writing needs
//! no reading first, so every write is exact however old the figures are that a request was ranked by. The probe is leased
//! by the server, to one of the fleet (A6).
//!
//! Answers of a model that is well, which follow one that this process recorded within a tenth of a second, are *gathered*
//! and recorded with the first that comes later: at a thousand answers a second each by itself would cost the server half as
//! much as its settlement, and all on the model's one key. They come with the times at which they were seen, and tell of the
//! averages alone: a success that is told late must not end a run of failures. All else is recorded at once. A recording that
//! fails takes what was gathered along, and so does the end of the process: a tenth of a second of successes.

use super::RedisStore;
use super::layout::number;
use super::script::{Step, fit, packed, unpacked, whole};
use crate::health::breaker::{Breaker, BreakerSettings};
use crate::health::refusals::{Refusals, Run, mark_of_tenant};
use crate::health::welford::Welford;
use crate::health::{ModelHealth, ModelState, Observation, Signal};
use crate::id::jitter;
use crate::store::{HealthStore, StoreError};
use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use redis::Value;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

/// How old, in milliseconds, what is kept in process may be.
const KEPT_MS: u64 = 1_000;
/// How long after a recording answers are gathered, and how many at most.
const GATHERED_MS: u64 = 100;
const MOST_GATHERED: usize = 256;
/// How long a model is remembered since it last failed, or at the latest 64 recordings ago.
const MODEL_KEPT_MS: u64 = 86_400_000;

/// What this process knows of a model.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    kept: ModelState,
    /// How often the model had been written then.
    written: u64,
    read_at_ms: u64,
    /// What is not recorded yet; it is in the averages of `kept`.
    gathered: Vec<Gathered>,
    /// When this process last recorded something.
    recorded_at_ms: u64,
}

/// An answer that is not recorded yet.
#[derive(Debug, Clone)]
struct Gathered {
    answer: Observation,
    seen_at_ms: u64,
}

impl Known {
    fn is_fresh(&self, now_ms: u64) -> bool {
        self.read_at_ms.abs_diff(now_ms) < KEPT_MS
    }

    /// Whether these need not be recorded at once.
    fn may_gather(&self, seen: &[&Observation], now_ms: u64) -> bool {
        let Breaker { opened_in_a_row, consecutive_failures, .. } = self.kept.breaker;
        let not_refused = self.kept.refusals.run == Run::default() && self.kept.refusals.breaker.opened_in_a_row == 0;
        let is_well = opened_in_a_row == 0 && consecutive_failures == 0 && not_refused && self.is_fresh(now_ms);
        is_well
            && self.recorded_at_ms.abs_diff(now_ms) < GATHERED_MS
            && self.gathered.len() + seen.len() <= MOST_GATHERED
            && seen.iter().all(|seen| is_answer(seen))
    }

    fn gather(&mut self, gathered: Gathered, tau_ms: u64) {
        self.add(&gathered, tau_ms);
        self.gathered.push(gathered);
    }

    /// Adds an answer to the averages that are kept here.
    fn add(&mut self, Gathered { answer, seen_at_ms }: &Gathered, tau_ms: u64) {
        if let Signal::Answered { ttft_ms, ms_per_token } = answer.signal {
            self.kept.answered(ttft_ms, ms_per_token, *seen_at_ms, tau_ms);
        }
    }
}

fn is_answer(seen: &Observation) -> bool {
    matches!(seen.signal, Signal::Answered { .. })
}

/// How soon something is to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// At once.
    Now,
    /// With what comes after it, if it may be gathered.
    Soon,
}

/// Reads a model as `model.lua` packs it, and how often it was written; one that is not there has seen nothing.
fn read_model(answer: &Value) -> Option<(ModelState, u64)> {
    let packed = match answer {
        Value::Nil => return Some((ModelState::default(), 0)),
        Value::BulkString(packed) => packed,
        _ => return None,
    };
    let numbers: [f64; 42] = unpacked(packed)?;
    let (head, measures) = numbers.split_first_chunk::<18>()?;
    let &[.., failures, latest, earlier, tenant, cooldown, cooled, _prober, written] = head;
    let ([ttft_ms, ms_per_token, failure, evidence], _batches) = measures.as_chunks::<5>() else { return None };
    let welford = |&[w, w2, mean, s, t_ms]: &[f64; 5]| Welford { w, w2, mean, s, t_ms: whole(t_ms) };
    let breaker = |at: usize| {
        let &[opened, open_until, probe_until, counts_from, changed] = head[at..].first_chunk()?;
        Some(Breaker {
            opened_in_a_row: u32::try_from(whole(opened)).ok()?,
            open_until_ms: whole(open_until),
            probe_until_ms: whole(probe_until),
            counts_from_ms: whole(counts_from),
            changed_at_ms: whole(changed),
            ..Breaker::default()
        })
    };
    let kept = ModelState {
        ttft_ms: welford(ttft_ms),
        ms_per_token: welford(ms_per_token),
        failure: welford(failure),
        breaker: Breaker {
            consecutive_failures: u32::try_from(whole(failures)).ok()?,
            evidence: welford(evidence),
            ..breaker(0)?
        },
        refusals: Refusals { run: Run([whole(latest), whole(earlier)]), tenant: whole(tenant), breaker: breaker(5)? },
        cooldown_until_ms: whole(cooldown),
        cooled_at_ms: whole(cooled),
    };
    Some((kept, whole(written)))
}

/// Settings of the statistics and the breaker, as the scripts take them.
#[derive(Debug)]
pub(super) struct Tuning {
    pub(super) tau_ms: u64,
    pub(super) breaker: BreakerSettings,
}

/// The kind of an answer that was gathered, for the script.
const GATHERED: f64 = 4.0;

/// A signal as the script takes it.
fn signal(of: &Observation, seen_at_ms: u64) -> [f64; 6] {
    let (kind, one, other) = match of.signal {
        Signal::Nothing => (0.0, 0.0, None),
        Signal::Answered { ttft_ms, ms_per_token } => (1.0, ttft_ms, ms_per_token),
        Signal::Failed => (2.0, 0.0, None),
        Signal::CoolDown { until_ms } => (3.0, number(until_ms), None),
        Signal::Refused(by) => (5.0, number(by.request), Some(number(by.tenant))),
    };
    [kind, number(of.begun_at_ms), one, other.unwrap_or(f64::NAN), number(fit(jitter())), number(seen_at_ms)]
}

impl RedisStore {
    /// The letter says how it is packed: of two versions of the gateway that run at once neither reads what it cannot.
    fn model_key(&self, model: &str) -> String {
        format!("{}n:{{{model}}}", self.prefix)
    }

    async fn kept(&self, model: &Arc<str>, now_ms: u64) -> Result<ModelState, StoreError> {
        let fresh = |models: &HashMap<Arc<str>, Known>| {
            models.get(model).filter(|known| known.is_fresh(now_ms)).map(|known| known.kept.clone())
        };
        if let Some(kept) = fresh(&self.models.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(kept);
        }
        let mut read = redis::cmd("GET");
        read.arg(self.model_key(model));
        let answer = self.ask(read.into()).await?;
        self.learn(model, &answer, now_ms)
    }

    /// Keeps what the server said of a model; but of two answers that overtook each other, the later.
    fn learn(&self, model: &Arc<str>, answer: &Value, now_ms: u64) -> Result<ModelState, StoreError> {
        let (kept, written) =
            read_model(answer).ok_or_else(|| StoreError(format!("the health of {model} cannot be read")))?;
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let known = models.entry(model.clone()).or_default();
        if known.written <= written || !known.is_fresh(now_ms) {
            (known.kept, known.written, known.read_at_ms) = (kept, written, now_ms);
            for gathered in std::mem::take(&mut known.gathered) {
                known.gather(gathered, self.tuning.tau_ms);
            }
        }
        Ok(known.kept.clone())
    }

    /// What is known of a model is read anew before it is used.
    fn forget(&self, model: &str) {
        if let Some(known) = self.models.lock().unwrap_or_else(PoisonError::into_inner).get_mut(model) {
            known.read_at_ms = 0;
        }
    }

    /// Gathers what was seen of one model and answers nothing; or what is to be recorded with it now.
    fn gather(&self, model: &Arc<str>, seen: &[&Observation], haste: Haste, now_ms: u64) -> Option<Vec<Gathered>> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let known = models.entry(model.clone()).or_default();
        if haste == Haste::Soon && known.may_gather(seen, now_ms) {
            for &seen in seen {
                known.gather(Gathered { answer: seen.clone(), seen_at_ms: now_ms }, self.tuning.tau_ms);
            }
            return None;
        }
        if !seen.iter().all(|seen| is_answer(seen)) {
            // What is seen before the server has answered is not gathered.
            known.read_at_ms = 0;
        }
        known.recorded_at_ms = now_ms;
        Some(std::mem::take(&mut known.gathered))
    }

    /// The command that records what was seen of one model, and what was gathered of it before; none if it is gathered.
    fn recording(&self, model: &Arc<str>, seen: &[&Observation], haste: Haste, now_ms: u64) -> Option<Step<'_>> {
        let gathered = self.gather(model, seen, haste, now_ms)?;
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
        let gathered = gathered.iter().map(|Gathered { answer, seen_at_ms }| {
            let mut signal = signal(answer, *seen_at_ms);
            signal[0] = GATHERED;
            signal
        });
        let sights = gathered.chain(seen.iter().map(|seen| signal(seen, now_ms)));
        let numbers = settings.into_iter().map(number).chain(sights.flatten());
        Some(self.scripts.record.call(&[&self.model_key(model)]).arg(packed(numbers)))
    }

    /// The commands that record what was seen, each with its model.
    pub(super) fn recordings(&self, seen: &[Observation], haste: Haste, now_ms: u64) -> Vec<(Arc<str>, Step<'_>)> {
        let mut models: Vec<(&Arc<str>, Vec<&Observation>)> = Vec::new();
        for signal in seen {
            match models.iter_mut().find(|(model, _)| **model == signal.model) {
                Some((_, of_model)) => of_model.push(signal),
                None => models.push((&signal.model, vec![signal])),
            }
        }
        let recording = |(model, seen): (&Arc<str>, Vec<_>)| {
            self.recording(model, &seen, haste, now_ms).map(|recording| (model.clone(), recording))
        };
        models.into_iter().filter_map(recording).collect()
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
        Ok(kept.iter().map(|kept| kept.snapshot(now_ms, self.tuning.tau_ms)).collect())
    }

    async fn record(&self, seen: &[Observation], now_ms: u64) -> Result<(), StoreError> {
        let recorded = self.recordings(seen, Haste::Now, now_ms).into_iter().map(async |(model, step)| {
            let answer = self.ask(step).await;
            self.recorded(&model, answer, now_ms)
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
}
