//! One alert: its words, and what is sent of it.

use crate::id::RequestId;
use crate::limit::window::Window;
use crate::money::format_usd;
use crate::tenant::{Quota, Tenant};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A tenant has used a part of a limit.
    Budget,
    /// The breaker of a model has opened.
    BreakerOpened,
    /// It has closed again.
    BreakerClosed,
    /// A provider refuses one of our keys.
    KeyRefused,
    /// The store does not answer.
    StoreDown,
    /// It answers again.
    StoreUp,
    /// The ledger takes no receipts.
    LedgerDown,
    /// It takes them again.
    LedgerUp,
    /// Somebody tries the destinations.
    Test,
}

impl Kind {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::BreakerOpened => "breaker_opened",
            Self::BreakerClosed => "breaker_closed",
            Self::KeyRefused => "key_refused",
            Self::StoreDown => "store_down",
            Self::StoreUp => "store_up",
            Self::LedgerDown => "ledger_down",
            Self::LedgerUp => "ledger_up",
            Self::Test => "test",
        }
    }
}

/// Something that an operator is to hear of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The same with every try, so that receivers can tell what they have; ids sort by age.
    pub id: String,
    /// What it is about.
    pub kind: Kind,
    /// When it was found, in Unix milliseconds.
    pub at_ms: u64,
    /// The tenant's uid, if it is about one.
    pub uid: Option<Arc<str>>,
    /// The tenant's id.
    pub tenant: Option<Arc<str>>,
    /// A line for people.
    pub text: String,
    /// What is sent: JSON, the same bytes with every try.
    pub body: String,
}

/// What an alert is kept under: while one is there is no other like it in the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The tenant's uid, if it is about one.
    pub uid: Option<Arc<str>>,
    /// What of it.
    pub what: String,
    /// Until when there is no other, in Unix milliseconds.
    pub until_ms: u64,
}

/// How much of a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) quota: Quota,
    pub(crate) window: Window,
    /// The part of the limit that is reached, in percent.
    pub(crate) threshold: u8,
    /// Requests, tokens or nano-US-dollar.
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

impl Used {
    /// The part that is used, rounded down.
    fn percent(&self) -> u64 {
        u64::try_from(u128::from(self.used) * 100 / u128::from(self.limit.max(1))).unwrap_or(u64::MAX)
    }

    /// As the admin plane shows amounts of this limit.
    fn shown(&self, amount: u64) -> Value {
        match self.quota {
            Quota::DailyRequests | Quota::DailyTokens => amount.into(),
            Quota::DailyCost | Quota::MonthlyCost => format_usd(amount).into(),
        }
    }
}

impl Alert {
    fn new(kind: Kind, tenant: Option<&Tenant>, text: String, details: Value, at_ms: u64) -> Self {
        let id = RequestId::new(at_ms).to_string();
        let mut body = json!({"id": id, "kind": kind.as_str(), "at_ms": at_ms, "tenant": tenant.map(|tenant| &*tenant.id),
            "text": text, "gateway_version": env!("CARGO_PKG_VERSION")});
        if let (Value::Object(body), Value::Object(details)) = (&mut body, details) {
            body.extend(details);
        }
        let (uid, tenant) = (tenant.map(|tenant| tenant.uid.clone()), tenant.map(|tenant| tenant.id.clone()));
        Self { id, kind, at_ms, uid, tenant, text, body: body.to_string() }
    }

    /// That a tenant has used so much of a limit.
    pub(crate) fn of_budget(tenant: &Tenant, used: &Used, at_ms: u64) -> Self {
        let (name, percent) = (used.quota.limit_name(), used.percent());
        let (amount, limit) = (used.shown(used.used), used.shown(used.limit));
        let text = format!("{} has used {percent} % of its {name}: {} of {}", tenant.id, plain(&amount), plain(&limit));
        let details = json!({
            "budget": {"limit": name, "threshold_percent": used.threshold, "percent": percent, "used": amount,
                "limit_value": limit},
            "window": {"starts_at_ms": used.window.starts_at_ms, "resets_at_ms": used.window.resets_at_ms}});
        Self::new(Kind::Budget, Some(tenant), text, details, at_ms)
    }

    /// What has happened to all of the fleet.
    pub(crate) fn of_fleet(kind: Kind, text: String, details: Value, at_ms: u64) -> Self {
        Self::new(kind, None, text, details, at_ms)
    }

    /// One that says nothing.
    pub(crate) fn of_test(at_ms: u64) -> Self {
        Self::new(Kind::Test, None, "A test of the alerts: nothing has happened".to_owned(), json!({}), at_ms)
    }
}

fn plain(amount: &Value) -> String {
    amount.as_str().map_or_else(|| amount.to_string(), |usd| format!("{usd} USD"))
}
