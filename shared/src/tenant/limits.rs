//! What a tenant may use at most, and by which names its limits go.

use crate::money::usd;
use crate::tenant::setting::InvalidTenant;
use serde::{Deserialize, Serialize};

/// Which daily or monthly quota is exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Requests a day.
    DailyRequests,
    /// Tokens a day.
    DailyTokens,
    /// Money a day.
    DailyCost,
    /// Money a month.
    MonthlyCost,
}

impl Quota {
    /// The limit's name in a tenant's settings.
    #[must_use]
    pub fn limit_name(self) -> &'static str {
        match self {
            Self::DailyRequests => "daily_requests",
            Self::DailyTokens => "daily_tokens",
            Self::DailyCost => "daily_cost_usd",
            Self::MonthlyCost => "monthly_cost_usd",
        }
    }
}

/// Which rate was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateKind {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
}

/// Limits of a tenant; `None` means no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests a minute, by GCRA with the full limit as burst.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, charged by estimate and corrected at settle.
    pub tokens_per_minute: Option<u64>,
    /// Requests in flight at once.
    pub concurrency: Option<u64>,
    /// Requests a day.
    pub daily_requests: Option<u64>,
    /// Input and output tokens a day.
    pub daily_tokens: Option<u64>,
    /// Nano-US-dollar a day.
    #[serde(rename = "daily_cost_usd", with = "usd::option")]
    pub daily_cost_nusd: Option<u64>,
    /// Nano-US-dollar a calendar month (UTC).
    #[serde(rename = "monthly_cost_usd", with = "usd::option")]
    pub monthly_cost_nusd: Option<u64>,
}

impl Limits {
    /// Refuses a limit that no rate can have, by its path.
    pub(super) fn check(&self) -> Result<(), InvalidTenant> {
        for (name, limit) in [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("concurrency", self.concurrency),
        ] {
            if limit.is_some_and(|limit| limit == 0 || limit > 1_000_000_000) {
                let message = "must be 1 to 1000000000, or null for no limit";
                return Err(InvalidTenant::new(format!("limits.{name}"), message));
            }
        }
        Ok(())
    }
}
