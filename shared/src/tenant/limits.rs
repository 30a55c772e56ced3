//! What a tenant, or one of its keys, may use at most, and by which names the limits go.

use crate::money::usd;
use crate::tenant::setting::{InvalidTenant, merge};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

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

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The tenant's, for all of its keys together.
    Tenant,
    /// That of the key, or of the keys that were rotated into it.
    Key,
}

/// Limits of a tenant or of a key; `None` means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
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
    /// These with what is said of a key's limits merged in. `null` is no limit, as is `"default"`: of its own a key has none.
    ///
    /// # Errors
    /// Names the first field that is unknown or of the wrong type or range.
    pub fn patched(&self, said: Value) -> Result<Self, InvalidTenant> {
        let fields = match said {
            Value::Null => return Ok(Self::default()),
            Value::String(word) if word == "default" => return Ok(Self::default()),
            Value::Object(fields) => fields,
            _ => return Err(InvalidTenant::new("limits", "must be an object of limits, or null for none")),
        };
        let to_value = |limits: &Self| serde_json::to_value(limits).unwrap_or_default();
        let known = to_value(self);
        let mut own = Map::from_iter([("limits".to_owned(), known.clone())]);
        merge(&mut own, Map::from_iter([("limits".to_owned(), fields.into())]), Some(&json!({"limits": known})))?;
        let read = serde_path_to_error::deserialize::<_, Self>(own.remove("limits").unwrap_or_default());
        let limits = read.map_err(|e| InvalidTenant::new(format!("limits.{}", e.path()), e.inner().to_string()))?;
        limits.check().map(|()| limits)
    }

    /// Whether there is a quota by the day, and whether there is one by the month.
    #[must_use]
    pub fn windows(&self) -> [bool; 2] {
        let by_day = self.daily_requests.or(self.daily_tokens).or(self.daily_cost_nusd);
        [by_day.is_some(), self.monthly_cost_nusd.is_some()]
    }

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
