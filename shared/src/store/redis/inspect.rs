//! What the store has of a tenant, as named fields: for an operator, who sees bytes in the hash itself (see ADR 9).
//!
//! A look changes nothing: holds whose lease has expired are shown as they are, not ended.

use super::answers::{split_names, unexpected};
use super::layout::{Hold, LAYOUT, Layout, Pace, State, Units, Window};
use super::script::whole;
use super::store::RedisStore;
use crate::limit::lineage::Lineage;
use crate::limit::window;
use crate::money::Amounts;
use crate::store::{StoreError, WindowUse};
use redis::Value;
use std::collections::BTreeMap;

/// A tenant's hash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantRecord {
    /// Its key.
    pub key: String,
    /// The layout of its fields.
    pub layout: String,
    /// The random number that it was begun with; `None` if it is not known.
    pub incarnation: Option<u64>,
    /// The version of its settings; `None` if it never got one.
    pub settings_version: Option<u64>,
    /// When what was taken from the rate of requests is there again, in Unix milliseconds.
    pub requests_back_at_ms: u64,
    /// The same of the rate of tokens.
    pub tokens_back_at_ms: u64,
    /// Requests in flight.
    pub open_holds: u64,
    /// When a lease may next be over, in Unix milliseconds; `None` if nothing is held.
    pub sweep_at_ms: Option<u64>,
    /// The version of its remembered answers.
    pub cache_version: Option<String>,
    /// Until when there may be tombstones of its requests, in Unix milliseconds.
    pub tombstones_until_ms: Option<u64>,
    /// Of keys that have rates or places in flight of their own, by their lineages.
    pub keys: BTreeMap<Lineage, KeyPace>,
    /// What windows have used and hold, by `d` or `m` and their beginning in Unix milliseconds; `@` and a lineage follow on those
    /// of keys' own.
    pub windows: BTreeMap<String, WindowUse>,
    /// The part of what is used that was admitted without the store.
    pub outage: BTreeMap<String, Amounts>,
    /// Until when windows that are not known are closed, in Unix milliseconds.
    pub closed_until_ms: BTreeMap<String, u64>,
    /// Holds by their requests.
    pub holds: BTreeMap<String, TenantHold>,
    /// Fields that this version does not know.
    pub unknown: Vec<String>,
}

/// How fast keys of one lineage are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPace {
    /// When what was taken from their rate of requests is there again, in Unix milliseconds.
    pub requests_back_at_ms: u64,
    /// The same of their rate of tokens.
    pub tokens_back_at_ms: u64,
    /// Their requests in flight.
    pub open_holds: u64,
}

/// A hold in a tenant's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantHold {
    /// When its lease expires, in Unix milliseconds; `None` if it has expired and is charged.
    pub lease_until_ms: Option<u64>,
    /// When it was last handed out as expired, in Unix milliseconds.
    pub handed_out_at_ms: Option<u64>,
    /// What is held, or charged.
    pub held: Amounts,
    /// The windows that it is of.
    pub windows: Vec<window::Window>,
    /// Among whose own requests in flight it is.
    pub key: Option<Lineage>,
}

impl TenantRecord {
    /// Takes in one field; `None` if it is not one of this layout's.
    fn read(&mut self, field: &str, value: &[u8]) -> Option<()> {
        let text = || std::str::from_utf8(value).ok();
        match field.split_once(':') {
            None if field == "state" => {
                let state = State::read(value)?;
                let above_0 = |number: f64| Some(number).filter(|number| *number >= 0.0).map(whole);
                self.incarnation = above_0(state.incarnation);
                self.settings_version = above_0(state.settings_version);
                (self.requests_back_at_ms, self.tokens_back_at_ms) = (whole(state.request_ms), whole(state.token_ms));
                self.open_holds = whole(state.open_holds);
                self.sweep_at_ms = Some(state.sweep_at_ms).filter(|at| at.is_finite()).map(whole);
            }
            None if field == "cache_version" => self.cache_version = Some(text()?.to_owned()),
            None if field == "tombstones_until" => self.tombstones_until_ms = Some(text()?.parse().ok()?),
            None => {
                let window = Window::read(value)?;
                self.windows.insert(field.to_owned(), WindowUse { used: window.used(), held: window.held() });
            }
            Some(("outage", window)) => {
                self.outage.insert(window.to_owned(), Units::read(value)?.into());
            }
            Some(("closed", window)) => {
                self.closed_until_ms.insert(window.to_owned(), text()?.parse().ok()?);
            }
            Some(("key", lineage)) => {
                let pace = Pace::read(value)?;
                let (requests_back_at_ms, tokens_back_at_ms) = (whole(pace.request_ms), whole(pace.token_ms));
                let open_holds = whole(pace.key_open_holds);
                let pace = KeyPace { requests_back_at_ms, tokens_back_at_ms, open_holds };
                self.keys.insert(lineage.parse().ok()?, pace);
            }
            Some(("hold", request)) => {
                let (packed, names) = value.split_at_checked(Hold::BYTES)?;
                let hold = Hold::read(packed)?;
                let (windows, key) = split_names(std::str::from_utf8(names).ok()?)?;
                let at = |ms: f64| Some(ms).filter(|ms| *ms > 0.0).map(whole);
                let hold = TenantHold {
                    lease_until_ms: at(hold.lease_until_ms),
                    handed_out_at_ms: at(-hold.lease_until_ms),
                    held: hold.amounts(),
                    windows,
                    key,
                };
                self.holds.insert(request.to_owned(), hold);
            }
            Some(_) => return None,
        }
        Some(())
    }
}

impl RedisStore {
    /// What the store has of a tenant, by its uid; `None` if it does not know it.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn inspect_tenant(&self, tenant: &str) -> Result<Option<TenantRecord>, StoreError> {
        let key = self.tenant_key(tenant);
        let mut all = redis::cmd("HGETALL");
        all.arg(&key);
        let answer = self.ask(all.into()).await?;
        let fields: Vec<(String, Vec<u8>)> =
            redis::from_redis_value(answer.clone()).map_err(|_| unexpected(&Value::Nil))?;
        if fields.is_empty() {
            return Ok(None);
        }
        let layout = LAYOUT.trim_end_matches(':').to_owned();
        let mut record = TenantRecord { key, layout, ..TenantRecord::default() };
        for (field, value) in fields {
            if record.read(&field, &value).is_none() {
                record.unknown.push(field);
            }
        }
        Ok(Some(record))
    }
}
