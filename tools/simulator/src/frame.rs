//! Puts another selection where the gateway's own health stands: its order is told as figures that the gateway's ranking
//! cannot but put in that order. What is left out cools down as if its provider had asked for that, and is not called.

use crate::policy::Policy;
use crate::world::COUNT;
use async_trait::async_trait;
use fastrand::Rng;
use gateway_core::health::breaker::BreakerState;
use gateway_core::health::score::{Measures, Standing};
use gateway_core::health::welford::Figures;
use gateway_core::health::{Condition, ModelHealth, Observation};
use gateway_core::store::{HealthStore, StoreError};
use std::sync::{Arc, Mutex, PoisonError};

/// A policy that several hear and ask.
pub(crate) type Shared = Arc<Mutex<Box<dyn Policy>>>;

/// A policy in the place of health.
pub(crate) struct Frame {
    pub(crate) policy: Shared,
    /// When the scenario began, in Unix milliseconds.
    pub(crate) begun_at_ms: u64,
    pub(crate) dice: Mutex<Rng>,
}

/// Far from now.
const FOREVER_MS: u64 = 1_000_000_000;

fn figures(mean: f64) -> Figures {
    // Fresh, and just as many samples as it takes to be believed.
    Figures { mean, variance: 0.0, n_eff: 2.0, weight: 100.0 }
}

/// A model in this place of the order, or in none.
fn told(place: Option<usize>, now_ms: u64) -> ModelHealth {
    let until_ms = now_ms + FOREVER_MS;
    let (standing, asked_until_ms) = match place {
        Some(_) => (Standing::Ready, 0),
        None => (Standing::CoolingDown { until_ms }, until_ms),
    };
    let doublings = i32::try_from(place.unwrap_or_default()).unwrap_or(i32::MAX);
    ModelHealth {
        measures: Measures {
            ttft_ms: figures(1_000.0 * 2.0_f64.powi(doublings)),
            ms_per_token: figures(0.0),
            failure: figures(0.0),
        },
        standing,
        breaker: BreakerState::Closed,
        cooldown_until_ms: asked_until_ms,
        asked_until_ms,
        only_for: None,
        condition: Condition::default(),
        out_only_since_ms: 0,
    }
}

#[async_trait]
impl HealthStore for Frame {
    async fn snapshot(&self, models: &[Arc<str>], now_ms: u64) -> Result<Vec<ModelHealth>, StoreError> {
        if models.len() != COUNT {
            return Ok(models.iter().map(|_| told(Some(0), now_ms)).collect());
        }
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let since_ms = now_ms.saturating_sub(self.begun_at_ms);
        let order = self.policy.lock().unwrap_or_else(PoisonError::into_inner).order(since_ms, &mut dice);
        Ok((0..COUNT).map(|model| told(order.iter().position(|&chosen| chosen == model), now_ms)).collect())
    }

    async fn record(&self, _: &[Observation], _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn try_probe(&self, _: &Arc<str>, _: &str, _: u64, _: u64) -> Result<bool, StoreError> {
        Ok(false)
    }
}
