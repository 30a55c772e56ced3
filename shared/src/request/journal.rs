//! The journal of one request: everything that its headers and its receipt will say, written down as it happens.
//!
//! One place that every stage writes to, so that no stage has to hand its evidence on, and an error leaves the same trace
//! as an answer. It also measures: what the gateway itself took is the whole time less the time in which a provider was
//! waited for.

use crate::id::RequestId;
use crate::money::Usage;
use crate::receipt::Receipt;
use crate::store::RateStatus;
use std::time::Duration;
use tokio::time::Instant;

/// The journal.
#[derive(Debug)]
pub(crate) struct Journal {
    /// What is to be kept of it; what only the end can show is missing until [`Journal::close`].
    pub(crate) receipt: Receipt,
    pub(crate) started: Instant,
    /// How old the remembered answer is.
    pub(crate) age_ms: Option<u64>,
    pub(crate) rates: RateStatus,
    pub(crate) degraded: Vec<&'static str>,
    /// How long providers were waited for.
    waited: Duration,
}

impl Journal {
    /// A journal for a request that came in now.
    pub(crate) fn open(now_ms: u64) -> Self {
        Self {
            receipt: Receipt::begun(RequestId::new(now_ms), now_ms),
            started: Instant::now(),
            age_ms: None,
            rates: RateStatus::default(),
            degraded: Vec::new(),
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
        self.receipt.reasons.push(reason.into());
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
        self.receipt.attempts.iter().for_each(|attempt| usage.plus(&attempt.usage));
        usage
    }

    /// What all attempts cost.
    pub(crate) fn cost_nusd(&self) -> u64 {
        self.receipt.attempts.iter().fold(0, |sum, attempt| sum.saturating_add(attempt.cost_nusd))
    }

    /// Completes the receipt, as of now.
    pub(crate) fn close(&mut self, status: u16, config_version: u64) {
        let round = |ms: f64| (ms * 1000.0).round() / 1000.0;
        let (usage, cost_nusd) = (self.usage(), self.cost_nusd());
        let (latency_ms, overhead_ms) = (round(self.latency_ms()), round(self.overhead_ms()));
        let receipt = &mut self.receipt;
        (receipt.status, receipt.config_version) = (status, config_version);
        (receipt.usage, receipt.cost_nusd) = (usage, cost_nusd);
        receipt.estimated = receipt.attempts.iter().any(|attempt| attempt.estimated);
        (receipt.latency_ms, receipt.overhead_ms) = (latency_ms, overhead_ms);
        receipt.ttft_ms = receipt.ttft_ms.map(round);
    }
}
