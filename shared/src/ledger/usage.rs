//! Usage rows: what the receipts add up to for whoever pays.

use super::Counts;
use crate::money::usd;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a tenant did with one model on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// The UTC day, `YYYY-MM-DD`, of the receipts' arrival.
    pub day: String,
    /// The tenant's uid.
    pub tenant: Arc<str>,
    /// The model that answered; empty where none did.
    pub model: Arc<str>,
    /// Requests.
    pub requests: u64,
    /// Those of them that a remembered answer served.
    pub cache_hits: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// Their cost.
    #[serde(rename = "cost_usd", with = "usd")]
    pub cost_nusd: u64,
}

impl UsageRow {
    pub(super) fn of(day: &str, tenant: Arc<str>, model: Arc<str>, counts: Counts) -> Self {
        Self {
            day: day.to_owned(),
            tenant,
            model,
            requests: counts.requests,
            cache_hits: counts.cache_hits,
            input_tokens: counts.input_tokens,
            output_tokens: counts.output_tokens,
            cost_nusd: counts.cost_nusd,
        }
    }

    /// The cursor of the page that begins after this row.
    #[must_use]
    pub fn cursor(&self) -> String {
        format!("{}/{}/{}", self.day, self.tenant, self.model)
    }
}

/// A query for usage rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// The first UTC day, `YYYY-MM-DD`, inclusive.
    pub from: Option<String>,
    /// The last UTC day, inclusive.
    pub to: Option<String>,
    /// Only the tenant of this uid.
    pub tenant: Option<String>,
    /// Only this model.
    pub model: Option<String>,
}

impl UsageQuery {
    /// Whether the rows of this tenant's uid and of this model are among them.
    pub(crate) fn is_of(&self, tenant: &str, model: &str) -> bool {
        self.tenant.as_deref().is_none_or(|of| of == tenant) && self.model.as_deref().is_none_or(|of| of == model)
    }
}
