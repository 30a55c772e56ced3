//! The journal of one request: everything that its headers and its receipt will say, written down as it happens.
//!
//! One place that every stage writes to, so that no stage has to hand its evidence on, and an error leaves the same trace
//! as an answer. It also measures: what the gateway itself took is the whole time less the time in which a provider was
//! waited for.

use crate::id::RequestId;
use crate::limit::window::Window;
use crate::money::Usage;
use crate::receipt::{Attempt, AttemptKind, CacheStatus, Intent, Receipt};
use crate::store::RateStatus;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The journal.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) id: RequestId,
    pub(crate) created_at_ms: u64,
    pub(crate) started: Instant,
    pub(crate) tenant: Arc<str>,
    pub(crate) tenant_uid: Option<Arc<str>>,
    pub(crate) key_last4: Arc<str>,
    pub(crate) requested_model: Arc<str>,
    pub(crate) model: Option<Arc<str>>,
    pub(crate) tier: Option<Arc<str>>,
    pub(crate) intent: Option<Intent>,
    pub(crate) difficulty: Option<f32>,
    pub(crate) cache: CacheStatus,
    pub(crate) age_ms: Option<u64>,
    pub(crate) streamed: bool,
    pub(crate) upgraded: bool,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) reasons: Vec<String>,
    pub(crate) ttft_ms: Option<f64>,
    pub(crate) rates: RateStatus,
    pub(crate) degraded: Vec<&'static str>,
    pub(crate) windows: Vec<Window>,
    /// Whether it was admitted without the store.
    pub(crate) outage: bool,
    /// How long providers were waited for.
    waited: Duration,
}

impl Journal {
    /// A journal for a request that came in now.
    pub(crate) fn open(now_ms: u64) -> Self {
        Self {
            id: RequestId::new(now_ms),
            created_at_ms: now_ms,
            started: Instant::now(),
            tenant: "".into(),
            tenant_uid: None,
            key_last4: "".into(),
            requested_model: "".into(),
            model: None,
            tier: None,
            intent: None,
            difficulty: None,
            cache: CacheStatus::Bypass,
            age_ms: None,
            streamed: false,
            upgraded: false,
            tags: BTreeMap::new(),
            attempts: Vec::new(),
            reasons: Vec::new(),
            ttft_ms: None,
            rates: RateStatus::default(),
            degraded: Vec::new(),
            windows: Vec::new(),
            outage: false,
            waited: Duration::ZERO,
        }
    }

    /// Waits for a provider, and notes how long that took.
    pub(crate) async fn wait<T>(&mut self, provider: impl Future<Output = T>) -> T {
        let from = Instant::now();
        let came = provider.await;
        self.waited += from.elapsed();
        came
    }

    /// Notes a wait for a provider that was measured elsewhere.
    pub(crate) fn waited_for(&mut self, span: Duration) {
        self.waited += span;
    }

    /// Notes a backend that is down.
    pub(crate) fn degrade(&mut self, backend: &'static str) {
        if !self.degraded.contains(&backend) {
            self.degraded.push(backend);
        }
    }

    /// Why something was done.
    pub(crate) fn because(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    pub(crate) fn latency_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1000.0
    }

    pub(crate) fn overhead_ms(&self) -> f64 {
        self.started.elapsed().saturating_sub(self.waited).as_secs_f64() * 1000.0
    }

    /// What all attempts used.
    pub(crate) fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        self.attempts.iter().for_each(|attempt| usage.plus(&attempt.usage));
        usage
    }

    /// What all attempts cost.
    pub(crate) fn cost_nusd(&self) -> u64 {
        self.attempts.iter().fold(0, |sum, attempt| sum.saturating_add(attempt.cost_nusd))
    }

    pub(crate) fn failed_over(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.kind == AttemptKind::Failover)
    }

    /// The receipt, as of now.
    pub(crate) fn receipt(&self, status: u16, config_version: u64) -> Receipt {
        let round = |ms: f64| (ms * 1000.0).round() / 1000.0;
        Receipt {
            id: self.id,
            tenant: self.tenant.clone(),
            tenant_uid: self.tenant_uid.clone(),
            key_last4: self.key_last4.clone(),
            created_at_ms: self.created_at_ms,
            status,
            requested_model: self.requested_model.clone(),
            model: self.model.clone(),
            tier: self.tier.clone(),
            intent: self.intent.clone(),
            difficulty: self.difficulty,
            cache: self.cache,
            streamed: self.streamed,
            upgraded: self.upgraded,
            config_version,
            tags: self.tags.clone(),
            usage: self.usage(),
            cost_nusd: self.cost_nusd(),
            estimated: self.attempts.iter().any(|attempt| attempt.estimated),
            latency_ms: round(self.latency_ms()),
            overhead_ms: round(self.overhead_ms()),
            ttft_ms: self.ttft_ms.map(round),
            reasons: self.reasons.clone(),
            attempts: self.attempts.clone(),
            windows: self.windows.clone(),
            outage: self.outage,
        }
    }
}
