//! The selections that ours is compared with. Each says in which order models are to be tried; all else (attempts, retries,
//! their budget, failover, timers) is the gateway's own for all of them.

mod litellm;
mod p2c;
mod simple;

use crate::world::COUNT;
use fastrand::Rng;

/// How a call ended.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum End {
    Answered,
    Failed,
    RateLimited {
        retry_after_ms: Option<u64>,
    },
    /// The gateway waited no longer.
    GivenUp,
}

/// A selection.
pub(crate) trait Policy: Send {
    /// The models in the order in which they are to be tried; what is left out is not tried.
    fn order(&mut self, now_ms: u64, dice: &mut Rng) -> Vec<usize>;
    /// A call begins.
    fn begun(&mut self, _model: usize) {}
    /// It ended.
    fn ended(&mut self, _model: usize, _took_ms: f64, _end: End, _now_ms: u64) {}
}

/// A selection by name.
pub(crate) struct Named {
    pub(crate) name: &'static str,
    /// `None` for the gateway's own.
    pub(crate) policy: Option<fn() -> Box<dyn Policy>>,
    /// How often one model is tried again in one request.
    pub(crate) retries: u32,
}

/// All of them, ours first.
pub(crate) fn policies() -> Vec<Named> {
    let named = |name, policy| Named { name, policy, retries: 1 };
    vec![
        named("gateway", None),
        named("fixed order", Some(|| Box::new(simple::FixedOrder))),
        named("round robin", Some(|| Box::new(simple::RoundRobin::default()))),
        named("lowest lifetime mean", Some(|| Box::new(simple::LifetimeMean::default()))),
        named("LiteLLM, allowed_fails 3", Some(|| Box::new(litellm::LiteLlm::by_allowed_fails(3)))),
        Named {
            retries: 0,
            ..named("LiteLLM, defaults and its 2 retries", Some(|| Box::new(litellm::LiteLlm::by_default())))
        },
        named("P2C peak EWMA", Some(|| Box::new(p2c::P2c::plain()))),
        named("P2C peak EWMA, failure accrual", Some(|| Box::new(p2c::P2c::with_accrual()))),
    ]
}

/// All models, in any order.
fn shuffled(dice: &mut Rng) -> Vec<usize> {
    let mut models: Vec<usize> = (0..COUNT).collect();
    dice.shuffle(&mut models);
    models
}
