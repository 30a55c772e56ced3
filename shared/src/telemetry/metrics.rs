//! What `/admin/metrics` shows: the fleet's figures, which are the ledger's, and beside them what only this process
//! knows.
//!
//! What is on a receipt is counted by the ledger, with the receipt (see [`crate::ledger::Tally`]): so it is the same from
//! every process, outlives all of them, and cannot differ from the bill. A process counts by itself only what leaves no
//! receipt: requests that it refused, and calls of its backends that failed.

use crate::health::ModelHealth;
use crate::health::score::{HealthSettings, expected_ms, health_percent};
use crate::ledger::{Calls, Counts, Figures, Period, Spread, Tally};
use crate::money::format_usd;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// This process's counters.
#[derive(Debug)]
pub struct Metrics {
    since_ms: u64,
    refused: AtomicU64,
    store_failures: AtomicU64,
    ledger_failures: AtomicU64,
    events_skipped: AtomicU64,
    alerts_sent: AtomicU64,
    alerts_failed: AtomicU64,
}

impl Metrics {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        let none = AtomicU64::default;
        Self {
            since_ms: now_ms,
            refused: none(),
            store_failures: none(),
            ledger_failures: none(),
            events_skipped: none(),
            alerts_sent: none(),
            alerts_failed: none(),
        }
    }

    /// Counts a call to the store that failed.
    pub(crate) fn store_failed(&self) {
        self.store_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a receipt that the ledger did not take.
    pub(crate) fn ledger_failed(&self) {
        self.ledger_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts events of streams that were left out, for they could not be read.
    pub(crate) fn skipped(&self, events: u32) {
        self.events_skipped.fetch_add(events.into(), Ordering::Relaxed);
    }

    /// Counts an alert that a destination has taken.
    pub(crate) fn alert_sent(&self) {
        self.alerts_sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an alert that was given up at a destination.
    pub(crate) fn alert_failed(&self) {
        self.alerts_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that the gateway itself refused: it leaves no receipt (M7).
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// What this process has counted.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({"since_ms": self.since_ms, "refused_total": count(&self.refused),
            "store_failures_total": count(&self.store_failures), "ledger_failures_total": count(&self.ledger_failures),
            "events_skipped_total": count(&self.events_skipped),
            "alerts_sent_total": count(&self.alerts_sent), "alerts_failed_total": count(&self.alerts_failed)})
    }
}

/// The contract's metrics of the fleet; `models` are shown with their health, `tenants` by the names they have now.
#[must_use]
pub fn of_fleet(
    period: &Period,
    figures: &Figures,
    models: &[(Arc<str>, ModelHealth)],
    tenants: &[(Arc<str>, Counts)],
    settings: &HealthSettings,
) -> Map<String, Value> {
    let mut metrics = totals(&figures.whole);
    for (name, value) in [("scope", json!("fleet")), ("from", json!(period.from_ms)), ("to", json!(period.to_ms))] {
        metrics.insert(name.to_owned(), value);
    }
    metrics.insert("since_ms".to_owned(), json!(period.from_ms));
    let none = Calls::default();
    let model = |(name, health): &(Arc<str>, ModelHealth)| {
        (name.to_string(), told_model(figures.whole.models.get(name).unwrap_or(&none), health, settings))
    };
    metrics.insert("models".to_owned(), models.iter().map(model).collect());
    let tenant = |(name, counts): &(Arc<str>, Counts)| {
        let tokens = counts.input_tokens.saturating_add(counts.output_tokens);
        let counts_json = json!({"requests": counts.requests, "tokens": tokens, "cost_usd": format_usd(counts.cost_nusd),
            "cache_hits": counts.cache_hits});
        (name.to_string(), counts_json)
    };
    metrics.insert("tenants".to_owned(), tenants.iter().map(tenant).collect());
    if let Some(series) = series(period, figures) {
        metrics.insert("series".to_owned(), series);
    }
    metrics
}

/// Each step of a period, those in which nothing was done too.
fn series(period: &Period, figures: &Figures) -> Option<Value> {
    let step_ms = period.step_ms?;
    let none = Tally::default();
    let mut series = Vec::new();
    let mut from_ms = period.from_ms;
    while from_ms < period.to_ms {
        let mut step = totals(figures.steps.get(&from_ms).unwrap_or(&none));
        step.insert("from_ms".to_owned(), from_ms.into());
        series.push(Value::Object(step));
        from_ms = from_ms.saturating_add(step_ms);
    }
    Some(series.into())
}

/// The figures of all receipts and of those of one step alike.
fn totals(tally: &Tally) -> Map<String, Value> {
    let counts = &tally.counts;
    #[allow(clippy::cast_precision_loss)]
    let rate = |part: u64| (part as f64 / counts.requests.max(1) as f64 * 10_000.0).round() / 10_000.0;
    let fields = [
        ("requests_total", json!(counts.requests)),
        ("errors_total", json!(counts.errors)),
        ("outage_total", json!(counts.outages)),
        ("cache_hits_total", json!(counts.cache_hits)),
        ("failovers_total", json!(counts.failovers)),
        ("upgrades_total", json!(counts.upgrades)),
        ("cache_hit_rate", json!(rate(counts.cache_hits))),
        ("failover_rate", json!(rate(counts.failovers))),
        ("upgrade_rate", json!(rate(counts.upgrades))),
        ("input_tokens", json!(counts.input_tokens)),
        ("output_tokens", json!(counts.output_tokens)),
        ("cost_usd", json!(format_usd(counts.cost_nusd))),
        ("latency_ms", told_spread(&tally.latency)),
        ("overhead_ms", told_spread(&tally.overhead)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn told_spread(spread: &Spread) -> Value {
    let quantile = |q| rounded(spread.quantile_ms(q));
    json!({"mean": rounded(spread.mean_ms()), "p50": quantile(0.5), "p95": quantile(0.95), "p99": quantile(0.99)})
}

fn told_model(calls: &Calls, health: &ModelHealth, settings: &HealthSettings) -> Value {
    json!({"requests": calls.requests, "failures": calls.failures, "latency_ms_mean": rounded(calls.latency_mean_ms()),
        "latency_ms_stddev": rounded(calls.latency_stddev_ms()), "ttft_ms_mean": rounded(calls.ttft_mean_ms()),
        "score_ms": rounded(expected_ms(&health.measures, 300, settings)),
        "health": health_percent(&health.measures.failure, health.standing), "breaker": health.breaker,
        "cooldown_until_ms": (health.cooldown_until_ms > 0).then_some(health.cooldown_until_ms)})
}

/// Milliseconds to the microsecond.
fn rounded(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}
