//! The small tables, each field with its range and default on one line; `assets/gateway.toml` says what they are for.
//!
//! Settings of a part that is a state machine of its own are declared beside that part, and only read here.

use super::intents::IntentSpec;
use super::names::Names;
use super::reader::{Section, Word};
use crate::catalog::{Catalog, Timeouts};
use crate::health::breaker::BreakerSettings;
use crate::health::score::HealthSettings;
use crate::limit::retry_budget::RetrySettings;
use crate::network::Network;
use crate::routing::fitted::Fitted;
use crate::routing::head;
use crate::tenant::{
    Limits, MAX_STREAM_HOLDBACK_BYTES, OnBrokenStream, TenantAlerts, TenantCache, TenantSettings, TenantUpgrade,
};
use std::sync::Arc;

/// The longest that anything may wait: API Gateway ends a stream after 15 minutes.
const MAX_MS: u64 = 900_000;
/// Far above any limit that is meant; a larger number is a typing error.
const MAX_UNITS: u64 = 1_000_000_000_000;
/// The largest request body, and the default.
const MAX_BODY_BYTES: u64 = 10 * 1024 * 1024;

/// `[timeouts_ms]` where the file says nothing.
pub(super) const TIMEOUTS: Timeouts =
    Timeouts { connect_ms: 1_000, head_ms: None, first_token_ms: 30_000, idle_ms: 10_000, total_ms: 120_000 };

/// `[timeouts_ms]`, or a model's own.
pub(super) fn timeouts(section: &mut Section<'_, '_>, default: Timeouts) -> Timeouts {
    Timeouts {
        connect_ms: section.count("connect", 1..=MAX_MS, default.connect_ms),
        head_ms: section.limit("head", 1..=MAX_MS, default.head_ms),
        first_token_ms: section.count("first_token", 1..=MAX_MS, default.first_token_ms),
        idle_ms: section.count("idle", 1..=MAX_MS, default.idle_ms),
        total_ms: section.count("total", 1..=MAX_MS, default.total_ms),
    }
}

/// The field `request` of `[timeouts_ms]`.
pub(super) fn request_deadline_ms(section: &mut Section<'_, '_>) -> u64 {
    section.count("request", 1..=MAX_MS, 300_000)
}

/// `[tenant_defaults]`, in the shape in which the admin plane shows a tenant.
pub(super) fn tenant_defaults(
    root: &mut Section<'_, '_>,
    names: &Names,
    catalog: &Catalog,
    alert_thresholds: Vec<u8>,
) -> TenantSettings {
    root.table("tenant_defaults", |section| TenantSettings {
        enabled: section.flag("enabled", true),
        limits: section.table("limits", limits),
        window_anchor_ms: section.count("window_anchor_ms", 0..=253_402_300_799_999, 0),
        allowed_models: allowed_models(section, names, catalog),
        cache: section.table("cache", |section| TenantCache {
            enabled: section.flag("enabled", true),
            ttl_seconds: section.count("ttl_seconds", 1..=2_592_000, 300),
            semantic: section.flag("semantic", false),
            any_temperature: section.flag("any_temperature", false),
        }),
        upgrade: section.table("upgrade", |section| TenantUpgrade {
            enabled: section.flag("enabled", true),
            stream_holdback_bytes: section.count("stream_holdback_bytes", 0..=MAX_STREAM_HOLDBACK_BYTES, 0),
        }),
        quality: section.number("quality", 0.0..=1.0, 0.5),
        outage_share: section.number("outage_share", 0.0..=1.0, 0.1),
        strict: section.flag("strict", false),
        ledger_required: section.flag("ledger_required", false),
        allow_paid_extras: section.flag("allow_paid_extras", false),
        failover_on_refusal: section.flag("failover_on_refusal", false),
        drop_unknown_effort: section.flag("drop_unknown_effort", true),
        hedge: section.flag("hedge", false),
        on_broken_stream: section.choice("on_broken_stream", &OnBrokenStream::WORDS, OnBrokenStream::Continue),
        // `[alerts]` has the rest of them.
        alerts: TenantAlerts { enabled: true, webhook: None, thresholds: alert_thresholds },
    })
}

fn limits(section: &mut Section<'_, '_>) -> Limits {
    Limits {
        requests_per_minute: section.limit("requests_per_minute", 1..=1_000_000_000, Some(600)),
        tokens_per_minute: section.limit("tokens_per_minute", 1..=1_000_000_000, Some(200_000)),
        concurrency: section.limit("concurrency", 1..=1_000_000_000, Some(50)),
        daily_requests: section.limit("daily_requests", 0..=MAX_UNITS, Some(1_000)),
        daily_tokens: section.limit("daily_tokens", 0..=MAX_UNITS, Some(1_000_000)),
        daily_cost_nusd: section.usd_limit("daily_cost_usd", Some(5_000_000_000)),
        monthly_cost_nusd: section.usd_limit("monthly_cost_usd", None),
    }
}

fn allowed_models(section: &mut Section<'_, '_>, names: &Names, catalog: &Catalog) -> Vec<String> {
    let Some(words) = section.words("allowed_models") else { return vec!["*".to_owned()] };
    for word in &words {
        if !names.any_matches(&word.text) && catalog.resolve(&word.text).is_none() {
            section.problems.add(&word.place, format!("no model or tier is named {:?}", word.text));
        }
    }
    words.into_iter().map(|word| word.text).collect()
}

/// `[cache]`: how much the cache of answers holds. The number and the bytes of all are the memory store's alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Answers.
    pub max_entries: u64,
    /// Bytes of all answers together.
    pub max_bytes: u64,
    /// Bytes of one answer; a longer one is not remembered.
    pub max_entry_bytes: u64,
    /// For how long the items of a Response are kept for requests that name them; 0 keeps none.
    pub items_seconds: u64,
}

pub(super) fn cache(root: &mut Section<'_, '_>) -> CacheSettings {
    root.table("cache", |section| {
        let max_entries = section.count("max_entries", 0..=100_000_000, 10_000);
        let max_bytes = section.count("max_bytes", 0..=1 << 40, 32 << 20);
        let max_entry_bytes = section.count("max_entry_bytes", 0..=max_bytes, max_bytes.min(1 << 20));
        let items_seconds = section.count("items_seconds", 0..=86_400, 3_600);
        CacheSettings { max_entries, max_bytes, max_entry_bytes, items_seconds }
    })
}

pub(super) fn health(root: &mut Section<'_, '_>) -> HealthSettings {
    let default = HealthSettings::default();
    root.table("health", |section| HealthSettings {
        tau_ms: section.count("tau_ms", 1_000..=86_400_000, default.tau_ms),
        time_lost_per_failure_ms: section.count(
            "time_lost_per_failure_ms",
            0..=MAX_MS,
            default.time_lost_per_failure_ms,
        ),
        margin_percent: section.small("margin_percent", 0..=1_000, default.margin_percent),
        least_samples: section.small("least_samples", 0..=10_000, default.least_samples),
        refresh_percent: section.small("refresh_percent", 0..=100, default.refresh_percent),
        stale_below_weight: section.small("stale_below_weight", 0..=10_000, default.stale_below_weight),
    })
}

pub(super) fn breaker(root: &mut Section<'_, '_>) -> BreakerSettings {
    let default = BreakerSettings::default();
    root.table("breaker", |section| BreakerSettings {
        consecutive_failures: section.small("consecutive_failures", 1..=1_000, default.consecutive_failures),
        failure_percent: section.small("failure_percent", 1..=100, default.failure_percent),
        least_samples: section.small("least_samples", 1..=10_000, default.least_samples),
        first_open_ms: section.count("first_open_ms", 1..=MAX_MS, default.first_open_ms),
        longest_open_ms: section.count("longest_open_ms", 1..=MAX_MS, default.longest_open_ms),
        jitter_percent: section.small("jitter_percent", 0..=100, default.jitter_percent),
    })
}

/// `[retry]`: the budget, and how often one candidate is tried again in one request.
pub(super) fn retry(root: &mut Section<'_, '_>) -> (RetrySettings, u32) {
    let default = RetrySettings::default();
    root.table("retry", |section| {
        let settings = RetrySettings {
            budget_percent: section.small("budget_percent", 0..=100, default.budget_percent),
            least_retries: section.count("least_retries", 0..=1_000_000, default.least_retries),
            window_ms: section.count("window_ms", 100..=MAX_MS, default.window_ms),
            backoff_base_ms: section.count("backoff_base_ms", 0..=MAX_MS, default.backoff_base_ms),
            backoff_cap_ms: section.count("backoff_cap_ms", 0..=MAX_MS, default.backoff_cap_ms),
        };
        (settings, section.small("max_per_candidate", 0..=10, 1))
    })
}

/// `[upgrade]`: when a cheap answer is unreliable.
#[derive(Debug, Clone, PartialEq)]
pub struct UpgradeSettings {
    /// The least doubt that is ever enough, whatever a tenant's dial.
    pub least_doubt: f64,
}

pub(super) fn upgrade(root: &mut Section<'_, '_>) -> UpgradeSettings {
    root.table("upgrade", |section| UpgradeSettings { least_doubt: section.number("least_doubt", 0.0..=1.0, 0.1) })
}

/// `[intent]`: how it is found out what a request is about.
#[derive(Debug, Clone, PartialEq)]
pub struct IntentSettings {
    /// Below this certainty of the tier a model classifies; 0 never.
    pub ask_below: f64,
    /// The tier whose models classify.
    pub classifier_tier: Arc<str>,
    /// How long the answer is waited for.
    pub classifier_timeout_ms: u64,
    /// The bound on the answer.
    pub classifier_max_output_tokens: u64,
    /// How long the answer is remembered.
    pub remember_seconds: u64,
    /// How many answers are remembered, in the memory store.
    pub remember_entries: u64,
    /// What a request is taken for when nothing else says; without one, for work of the strongest tier.
    pub default_intent: Option<Arc<str>>,
    /// What was learnt from feedback: `[intent.fitted]`.
    pub fitted: Fitted,

    /// How long a conversation that rests stays on its model; 0 never.
    pub sticky_seconds: u64,
    /// How many turns in a row for a weaker tier do not take it away from its model.
    pub sticky_easier_turns: u64,
}

/// `[intent]`, and the intents: the file's own, and those that ship where there are none or both are wanted.
pub(super) fn intent(
    root: &mut Section<'_, '_>,
    catalog: &Catalog,
    own: Vec<IntentSpec>,
    shipped: Vec<IntentSpec>,
) -> (IntentSettings, Vec<IntentSpec>) {
    let tiers: Vec<Arc<str>> = catalog.tiers.iter().map(|tier| tier.name.clone()).collect();
    root.table("intent", |section| {
        let mut intents = own;
        if section.flag("shipped", intents.is_empty()) {
            let is_new = |spec: &IntentSpec| intents.iter().all(|own| own.name != spec.name);
            let beside: Vec<IntentSpec> = shipped.into_iter().filter(is_new).collect();
            intents.extend(beside);
        }
        let names: Vec<Arc<str>> = intents.iter().map(|intent| intent.name.clone()).collect();
        let share = section.number("ask_share", 0.0..=1.0, 0.1);
        let by_share = if share == 0.0 { 0.0 } else { f64::from(head::certainty_below_which(share)) };
        let settings = IntentSettings {
            ask_below: section.number("ask_below", 0.0..=1.0, by_share),
            classifier_tier: section.one_of("classifier_tier", "tier", &tiers, "cheap"),
            classifier_timeout_ms: section.count("classifier_timeout_ms", 1..=60_000, 1_500),
            classifier_max_output_tokens: section.count("classifier_max_output_tokens", 1..=4_096, 16),
            remember_seconds: section.count("remember_seconds", 0..=2_592_000, 3_600),
            remember_entries: section.count("remember_entries", 0..=10_000_000, 10_000),
            default_intent: section.optional_one_of("default_intent", "intent", &names),
            fitted: section.table("fitted", |section| fitted(section, &names)),

            sticky_seconds: section.count("sticky_seconds", 0..=86_400, 300),
            sticky_easier_turns: section.count("sticky_easier_turns", 0..=1_000, 2),
        };
        (settings, intents)
    })
}

/// `[intent.fitted]`, as `ai-gateway intents fit` prints it.
fn fitted(section: &mut Section<'_, '_>, intents: &[Arc<str>]) -> Fitted {
    let temperature = section.number("temperature", 0.1..=10.0, 1.0);
    let bias = section.table("bias", |section| {
        let mut bias = Vec::new();
        for Word { text, place } in section.keys() {
            match intents.iter().find(|name| ***name == *text) {
                Some(name) => bias.push((name.clone(), section.number(&text, -20.0..=20.0, 0.0))),
                None => section.problems.add(&place, format!("no intent is named {text:?}")),
            }
        }
        section.ignore_rest();
        bias
    });
    Fitted { temperature, bias }
}

/// `[server]`: what the server takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Bytes of a request's body.
    pub max_body_bytes: u64,
    /// Bytes for all bodies and answers in flight; `None` leaves it to the machine.
    pub memory_bytes: Option<u64>,
    /// Connections at the same time; `None` leaves it to what the process may open.
    pub max_connections: Option<u64>,
    /// How long a client may take to send a request's head.
    pub header_timeout_ms: u64,
    /// How long a connection may rest between two requests, or its client may take nothing of its answer.
    pub idle_timeout_ms: u64,
    /// How long the process waits for what it has begun, when it is to end.
    pub drain_ms: u64,
    /// The web pages whose scripts may ask the data plane: origins, or `*`.
    pub cors_origins: Vec<String>,
    /// The proxies that are believed when they tell whom a request comes from.
    pub trusted_proxies: Arc<[Network]>,
}

/// How many of the largest bodies the memory must have room for at least, so that one of them fits when nothing else is
/// there: it counts three times, and a tenant gets half.
const LARGEST_BODIES: u64 = 8;

pub(super) fn server(root: &mut Section<'_, '_>) -> ServerSettings {
    root.table("server", |section| {
        let max_body_bytes = section.count("max_body_bytes", 1..=MAX_BODY_BYTES, MAX_BODY_BYTES);
        let least_bytes = (max_body_bytes * LARGEST_BODIES).max(1 << 20);
        let memory_bytes = section.count_or_auto("memory_bytes", least_bytes..=1 << 50);
        ServerSettings {
            max_body_bytes,
            memory_bytes,
            max_connections: section.count_or_auto("max_connections", 1..=1 << 20),
            header_timeout_ms: section.count("header_timeout_ms", 1..=MAX_MS, 10_000),
            idle_timeout_ms: section.count("idle_timeout_ms", 1..=MAX_MS, 75_000),
            drain_ms: section.count("drain_ms", 0..=MAX_MS, 30_000),
            cors_origins: cors_origins(section),
            trusted_proxies: trusted_proxies(section),
        }
    })
}

fn cors_origins(section: &mut Section<'_, '_>) -> Vec<String> {
    let words = section.words("cors_origins").unwrap_or_default();
    for word in words.iter().filter(|word| word.text != "*" && !is_origin(&word.text)) {
        section.problems.add(&word.place, "must be \"*\", or an origin as browsers send it: https://app.example.com");
    }
    words.into_iter().map(|word| word.text).collect()
}

fn trusted_proxies(section: &mut Section<'_, '_>) -> Arc<[Network]> {
    let words = section.words("trusted_proxies").unwrap_or_default();
    let read = |word: Word| {
        let network = word.text.parse().ok();
        if network.is_none() {
            section.problems.add(&word.place, "must be an address, or a network whose other bits are 0: 10.0.0.0/8");
        }
        network
    };
    words.into_iter().filter_map(read).collect()
}

/// Whether a browser may send this as an origin: scheme, host in small letters and a port that is not the scheme's own.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let port = host.rsplit_once(':').filter(|_| !host.ends_with(']')).map(|(_, port)| port);
    let is_usual = matches!((scheme, port), ("http", Some("80")) | ("https", Some("443")));
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'+');
    !scheme.is_empty() && !host.is_empty() && !is_usual && scheme.bytes().chain(host.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::is_origin;

    #[test]
    fn an_origin_is_what_a_browser_may_send() {
        for origin in [
            "https://app.example.com",
            "http://localhost:3000",
            "http://127.0.0.1:80800",
            "http://[::1]:3000",
            "http://[::1]",
            "chrome-extension://abcdefghijklmnop",
            "https://xn--bcher-kva.example:8443",
        ] {
            assert!(is_origin(origin), "{origin}");
        }
        for other in [
            "",
            "null",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://App.example.com",
            "https://*.example.com",
            "https://app.example.com:443",
            "http://app.example.com:80",
            "https://a.example,https://b.example",
            "https://user@a.example",
        ] {
            assert!(!is_origin(other), "{other}");
        }
    }
}
