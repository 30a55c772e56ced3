//! Tells the operator of a provider that cannot be reached or refuses us: its name, its address and the cause.
//!
//! On the log by default, for this is what goes wrong at a first start. Every request may meet it, so it is logged once
//! a minute for each provider and cause.

use crate::catalog::Model;
use crate::clock::is_within;
use crate::config::Config;
use crate::locking::lock;
use crate::provider::ProviderError;
use crate::receipt::Cause;
use http::Uri;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// How long after a warning the same is not logged again.
const WARN_AGAIN_MS: u64 = 60_000;

/// When there was a warning of what. It has an entry for each provider and cause at most.
#[derive(Debug, Default)]
pub(crate) struct Warned(Mutex<HashMap<(Arc<str>, Cause), u64>>);

impl Warned {
    /// Warns of a provider that cannot be used, if that is why a call failed and there was no warning within a minute.
    pub(crate) fn warn(&self, config: &Config, model: &Model, error: &ProviderError, now_ms: u64) {
        let Some(cause) = error.cause else { return };
        if self.is_due(&model.provider, cause, now_ms) {
            let (provider, address) = (&*model.provider, address(config, &model.provider));
            let (cause, status, detail) = (cause.as_str(), error.status, error.detail);
            tracing::warn!(provider, address, cause, status, model = %model.name, "a provider cannot be used: {detail}");
        }
    }

    /// Whether a warning is due; from then on it is not, for a minute of a clock that may be set back.
    fn is_due(&self, provider: &Arc<str>, cause: Cause, now_ms: u64) -> bool {
        let mut warned = lock(&self.0);
        let known = warned.get(&(provider.clone(), cause));
        let due = known.is_none_or(|warned_at_ms| !is_within(WARN_AGAIN_MS, *warned_at_ms, now_ms));
        if due {
            warned.insert((provider.clone(), cause), now_ms);
        }
        due
    }
}

/// Host and port of a provider, and nothing else of its address.
fn address(config: &Config, provider: &str) -> String {
    let known = config.providers.iter().find(|known| &*known.name == provider);
    let Some(base_url) = known.and_then(|known| known.kind.base_url()) else { return "this process".to_owned() };
    let uri: Option<Uri> = base_url.parse().ok();
    uri.map_or_else(String::new, |uri| {
        let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(usual))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_and_cause_is_told_of_once_a_minute_also_when_the_clock_is_set_back() {
        const NOW: u64 = 1_763_769_600_000;
        const HOUR: u64 = 3_600_000;
        let (warned, up, other) = (Warned::default(), Arc::from("up"), Arc::from("other"));
        for (provider, cause, now_ms, due) in [
            (&up, Cause::Dns, NOW, true),
            (&up, Cause::Dns, NOW + 59_999, false),
            (&up, Cause::Tls, NOW + 1, true),
            (&other, Cause::Dns, NOW + 1, true),
            (&up, Cause::Dns, NOW + 60_000, true),
            (&up, Cause::Dns, NOW + 60_001, false),
            (&up, Cause::Dns, NOW - HOUR, true),
            (&up, Cause::Dns, NOW - HOUR + 1, false),
        ] {
            assert_eq!(warned.is_due(provider, cause, now_ms), due, "{provider} {cause:?} {now_ms}");
        }
    }
}
