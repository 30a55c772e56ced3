//! What this process has seen since it started, for `/admin/metrics`.
//!
//! Plain counters and histograms with a fixed number of buckets: the memory is bounded by the number of models and
//! tenants, never by traffic. A bucket is 10 % wide, so a quantile is right to 5 %.

use crate::health::ModelHealth;
use crate::health::score::{HealthSettings, expected_ms, health_percent};
use crate::journal::Journal;
use crate::money::format_usd;
use crate::receipt::{AttemptOutcome, CacheStatus, Receipt};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The lower end of the first bucket, in milliseconds.
const FIRST_MS: f64 = 0.01;
/// How much wider each bucket is than the one before it.
const GROWTH: f64 = 1.1;
/// From 10 µs to about 2.5 hours.
const BUCKETS: usize = 216;
/// Models that are told apart; further ones are counted together under `…`.
const MODELS: usize = 1000;

/// How values are spread.
#[derive(Debug, Clone)]
struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum: 0.0 }
    }
}

impl Histogram {
    fn record(&mut self, ms: f64) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let place = ((ms.max(FIRST_MS) / FIRST_MS).ln() / GROWTH.ln()) as usize;
        self.buckets[place.min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.sum += ms;
    }

    /// The middle of the bucket that holds the value of this rank.
    fn quantile(&self, q: f64) -> f64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = (q * self.count as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let place = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        });
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
        place.map_or(0.0, |place| FIRST_MS * GROWTH.powi(place as i32) * GROWTH.sqrt())
    }

    fn told(&self) -> Value {
        #[allow(clippy::cast_precision_loss)]
        let mean = if self.count == 0 { 0.0 } else { self.sum / self.count as f64 };
        let round = |ms: f64| (ms * 1000.0).round() / 1000.0;
        json!({"mean": round(mean), "p50": round(self.quantile(0.5)), "p95": round(self.quantile(0.95)), "p99": round(self.quantile(0.99))})
    }
}

/// Mean and spread of all values since the start (Welford 1962).
#[derive(Debug, Default, Clone)]
struct Spread {
    count: u64,
    mean: f64,
    s: f64,
}

impl Spread {
    #[allow(clippy::cast_precision_loss)]
    fn record(&mut self, x: f64) {
        self.count += 1;
        let delta = x - self.mean;
        self.mean += delta / self.count as f64;
        self.s += delta * (x - self.mean);
    }

    #[allow(clippy::cast_precision_loss)]
    fn stddev(&self) -> f64 {
        if self.count == 0 { 0.0 } else { (self.s / self.count as f64).max(0.0).sqrt() }
    }
}

#[derive(Debug, Default)]
struct ModelCounts {
    requests: u64,
    failures: u64,
    latency_ms: Spread,
    ttft_ms: Spread,
}

#[derive(Debug, Default)]
struct TenantCounts {
    requests: u64,
    tokens: u64,
    cost_nusd: u64,
    cache_hits: u64,
}

#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    errors: u64,
    refused: u64,
    outages: u64,
    store_failures: u64,
    ledger_failures: u64,
    cache_hits: u64,
    failovers: u64,
    upgrades: u64,
    cost_nusd: u64,
    latency_ms: Histogram,
    overhead_ms: Histogram,
    models: HashMap<Arc<str>, ModelCounts>,
    tenants: HashMap<Arc<str>, TenantCounts>,
}

/// This process's counters.
#[derive(Debug)]
pub struct Metrics {
    since_ms: u64,
    counts: Mutex<Counts>,
}

impl Metrics {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self { since_ms: now_ms, counts: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that was served, well or not.
    pub(crate) fn served(&self, receipt: &Receipt) {
        let mut guard = self.lock();
        let counts = &mut *guard;
        counts.requests += 1;
        counts.errors += u64::from(receipt.status >= 500);
        let hit = matches!(receipt.cache, CacheStatus::Hit | CacheStatus::HitSemantic);
        counts.cache_hits += u64::from(hit);
        counts.failovers +=
            u64::from(receipt.attempts.iter().any(|attempt| attempt.kind == crate::receipt::AttemptKind::Failover));
        counts.upgrades += u64::from(receipt.upgraded);
        counts.outages += u64::from(receipt.outage);
        counts.cost_nusd = counts.cost_nusd.saturating_add(receipt.cost_nusd);
        counts.latency_ms.record(receipt.latency_ms);
        counts.overhead_ms.record(receipt.overhead_ms);
        for attempt in &receipt.attempts {
            let known = counts.models.contains_key(&attempt.model);
            let name = if known || counts.models.len() < MODELS { attempt.model.clone() } else { "…".into() };
            let model = counts.models.entry(name).or_default();
            model.requests += 1;
            let answered = matches!(
                attempt.outcome,
                AttemptOutcome::Ok | AttemptOutcome::LowConfidence | AttemptOutcome::ClientGone
            );
            model.failures += u64::from(!answered);
            model.latency_ms.record(attempt.latency_ms);
            if let Some(ttft_ms) = attempt.ttft_ms {
                model.ttft_ms.record(ttft_ms);
            }
        }
        if !counts.tenants.contains_key(&receipt.tenant) {
            counts.tenants.insert(receipt.tenant.clone(), TenantCounts::default());
        }
        if let Some(tenant) = counts.tenants.get_mut(&receipt.tenant) {
            tenant.requests += 1;
            tenant.tokens = tenant.tokens.saturating_add(receipt.usage.total_tokens());
            tenant.cost_nusd = tenant.cost_nusd.saturating_add(receipt.cost_nusd);
            tenant.cache_hits += u64::from(hit);
        }
    }

    /// Counts a call to the store that failed.
    pub(crate) fn store_failed(&self) {
        self.lock().store_failures += 1;
    }

    /// Counts a receipt that the ledger did not take.
    pub(crate) fn ledger_failed(&self) {
        self.lock().ledger_failures += 1;
    }

    /// Counts a request that the gateway itself refused.
    pub(crate) fn refused(&self, journal: &Journal) {
        let mut counts = self.lock();
        counts.refused += 1;
        counts.overhead_ms.record(journal.overhead_ms());
    }

    /// The names of the models that were called.
    #[must_use]
    pub fn models(&self) -> Vec<Arc<str>> {
        self.lock().models.keys().cloned().collect()
    }

    /// The contract's metrics; `health` is that of `models`, in their order.
    #[must_use]
    pub fn told(&self, models: &[Arc<str>], health: &[ModelHealth], settings: &HealthSettings) -> Value {
        let counts = self.lock();
        #[allow(clippy::cast_precision_loss)]
        let rate = |part: u64| {
            if counts.requests == 0 {
                0.0
            } else {
                (part as f64 / counts.requests as f64 * 10_000.0).round() / 10_000.0
            }
        };
        let mut told_models = Map::new();
        for (name, health) in models.iter().zip(health) {
            let none = ModelCounts::default();
            let seen = counts.models.get(name).unwrap_or(&none);
            let round = |ms: f64| (ms * 1000.0).round() / 1000.0;
            let told = json!({"requests": seen.requests, "failures": seen.failures, "latency_ms_mean": round(seen.latency_ms.mean),
                "latency_ms_stddev": round(seen.latency_ms.stddev()), "ttft_ms_mean": round(seen.ttft_ms.mean),
                "score_ms": round(expected_ms(&health.measures, 300, settings)),
                "health": health_percent(&health.measures.failure, health.standing), "breaker": health.breaker,
                "cooldown_until_ms": if health.cooldown_until_ms == 0 { Value::Null } else { health.cooldown_until_ms.into() }});
            told_models.insert(name.to_string(), told);
        }
        let tenants: Map<String, Value> = counts.tenants.iter().map(|(id, tenant)| {
            let told = json!({"requests": tenant.requests, "tokens": tenant.tokens, "cost_usd": format_usd(tenant.cost_nusd), "cache_hits": tenant.cache_hits});
            (id.to_string(), told)
        }).collect();
        json!({"since_ms": self.since_ms, "requests_total": counts.requests, "errors_total": counts.errors, "refused_total": counts.refused,
            "outage_total": counts.outages, "store_failures_total": counts.store_failures, "ledger_failures_total": counts.ledger_failures,
            "cache_hit_rate": rate(counts.cache_hits), "failover_rate": rate(counts.failovers), "upgrade_rate": rate(counts.upgrades),
            "cost_usd": format_usd(counts.cost_nusd), "latency_ms": counts.latency_ms.told(), "overhead_ms": counts.overhead_ms.told(),
            "models": told_models, "tenants": tenants})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_right_to_five_percent() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|ms| histogram.record(f64::from(ms)));
        for (q, want) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let got = histogram.quantile(q);
            assert!((got / want - 1.0).abs() < 0.06, "{q}: {got}");
        }
    }

    #[test]
    fn absurd_values_stay_in_the_last_bucket() {
        let mut histogram = Histogram::default();
        for ms in [0.0, -1.0, 1e300] {
            histogram.record(ms);
        }
        assert_eq!(histogram.count, 3);
    }
}
