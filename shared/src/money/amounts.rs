//! What quotas count: amounts, and what a window's receipts add up to.
//!
//! They lie below receipts, the ledger and the store, which all count in them and need not know each other for it.

use serde::{Deserialize, Serialize};

/// What a quota counts: of a limit, of a hold, of what is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Requests.
    pub requests: u64,
    /// Input and output tokens together.
    pub tokens: u64,
    /// Nano-US-dollar.
    pub cost_nusd: u64,
}

impl Amounts {
    /// The sum, each part saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
            cost_nusd: self.cost_nusd.saturating_add(other.cost_nusd),
        }
    }

    /// The difference, no part below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(other.requests),
            tokens: self.tokens.saturating_sub(other.tokens),
            cost_nusd: self.cost_nusd.saturating_sub(other.cost_nusd),
        }
    }
}

/// What the receipts of a window add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charged {
    /// All of them.
    pub used: Amounts,
    /// Those of them that were admitted without the store.
    pub outage: Amounts,
}

impl From<Amounts> for Charged {
    /// Nothing of it without the store.
    fn from(used: Amounts) -> Self {
        Self { used, outage: Amounts::default() }
    }
}

impl Charged {
    /// The sum, each part saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { used: self.used.plus(other.used), outage: self.outage.plus(other.outage) }
    }
}
