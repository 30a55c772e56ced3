//! The counters: what each operation sends, and what its answer means. The rules are the scripts'.
//!
//! All of a tenant's keys share the hash tag `{tenant}`, hence one slot, hence one script may touch them all:
//!
//! | key | what |
//! |---|---|
//! | `gw:3:{t}` | a hash: settings version, the states of the rates, every window, each open hold (`tenant.lua`) |
//! | `gw:3:{t}:r:<request>` | a tombstone: the request is counted as a hit, or is done with and may be sent again |
//! | `gw:3:{t}:c:<hash>` | a remembered answer |
//! | `gw:3:{t}:n:<hash>` | the notes of a group of requests that differ in their prompt alone |
//!
//! One key is no tenant's: `gw:2:a:<kind>`, that an outage of the ledger was told, for ten minutes (ADR 50).
//!
//! A tenant is one hash of packed fields, so that the store loses it whole or not at all (M5), and so that an admission is one
//! read and one write of it (see ADR 9).
//!
//! A request that is done with leaves nothing behind, as a rule. Its settlement names the *incarnation* that its admission was
//! told, a random number which stands in the hash: where the hold is not there and the number is the same, it was settled
//! before. But of an admission that had to be sent twice, or was not answered, a copy may arrive after the settlement; those
//! leave a tombstone (M2, see ADR 10). The hash says until when there may be some, so that others need not look for them.
//!
//! Times cross as `now_ms`; the server's clock collects garbage alone, by times to live that are counted from `now_ms`.
//! Amounts and limits above 2^53 count as 2^53 (nine million dollars in a window), where Lua's numbers begin to have gaps.

use super::answers::{list, settled, split_expired, text, unexpected};
use super::layout::{self, Ask, Ending, Layout, MOST, RateLimit, Units, limit, mode, number};
use super::script::{Batch, Step, packed};
use super::store::RedisStore;
use crate::clock::DAY_MS;
use crate::id::{RequestId, random_u64};
use crate::limit::gcra::Rate;
use crate::limit::lineage::Lineage;
use crate::limit::window::Window;
use crate::locking::lock;
use crate::money::{Amounts, Charged};
use crate::store::{
    Admission, Counters, ExpiredHold, PaceLimits, QuotaAsk, Settled, Settlement, StoreError, Ticket, TokensTaken,
    Verdict, WindowUse,
};
use async_trait::async_trait;
use redis::Value;

/// A tenant is kept this long after the end of its latest window, so that a hold whose process was lost is handed out
/// when its tenant comes again, and a settlement that comes late is charged.
const KEPT_AFTER_MS: u64 = 8 * DAY_MS;
/// A tombstone is kept this long after the lease of its request.
const TOMBSTONE_AFTER_LEASE_MS: u64 = 60_000;
/// … and that of an expired hold, whose process may only be frozen, this long.
const EXPIRED_TOMBSTONE_MS: u64 = DAY_MS;

/// How an admission learns whether a remembered answer serves the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode<'a> {
    /// The script looks under this key.
    Look(&'a str),
    /// It does.
    Hit,
    /// It does not.
    Miss,
}

/// A rate, as a script takes it.
fn packed_rate(of: Option<Rate>) -> Vec<u8> {
    RateLimit::from(of).packed()
}

/// The limits of a key's own, as a script takes them, with a number beside them; empty where it has none.
fn packed_pace(key: Option<(Lineage, PaceLimits)>, number: impl FnOnce(&PaceLimits) -> f64) -> Vec<u8> {
    let Some((lineage, limits)) = key else { return Vec::new() };
    let (number, rates) = (packed([number(&limits)]), [limits.request_rate, limits.token_rate].map(packed_rate));
    [number, rates.concat(), lineage.to_string().into_bytes()].concat()
}

/// Amounts, as a script takes them.
fn packed_amounts(of: Amounts) -> Vec<u8> {
    Units::from(of).packed()
}

/// Each window with its limits.
fn with_limits<'a>(mut call: Step<'a>, quotas: &[QuotaAsk]) -> Step<'a> {
    for QuotaAsk { window, requests, tokens, cost_nusd } in quotas {
        let limits = Units { requests: limit(*requests), tokens: limit(*tokens), cost_nusd: limit(*cost_nusd) };
        call = call.arg(window.key()).arg(limits.packed());
    }
    call
}

/// The fields of windows.
fn fields<'a>(windows: impl Iterator<Item = &'a Window>) -> Vec<String> {
    windows.map(Window::key).collect()
}

fn windows_of(quotas: &[QuotaAsk]) -> impl Iterator<Item = &Window> {
    quotas.iter().map(|quota| &quota.window)
}

/// What more was used than taken, or less if it is below 0.
fn token_delta(taken: Option<TokensTaken>) -> f64 {
    taken.map_or(0.0, |(_, taken, used)| number(used) - number(taken))
}

/// For how long a request's tombstone is kept.
fn tombstone_ms(lease_until_ms: u64, now_ms: u64) -> f64 {
    number(lease_until_ms.saturating_sub(now_ms) + TOMBSTONE_AFTER_LEASE_MS)
}

/// For how long a tenant with these windows is kept.
fn tenant_kept_ms<'a>(windows: impl Iterator<Item = &'a Window>, now_ms: u64) -> u64 {
    let latest_ms = windows.map(|window| window.resets_at_ms).max().unwrap_or(0);
    latest_ms.saturating_sub(now_ms) + KEPT_AFTER_MS
}

/// `d1763769600000-1763856000000,m1761955200000-1764547200000/2a97516c354b6884`: what a hold keeps of an admission, its windows
/// and the lineage of its key, if that has rates or places of its own.
fn names_of_hold(ask: &Admission) -> String {
    let windows = windows_of(&ask.quotas).map(|window| format!("{}-{}", window.key(), window.resets_at_ms));
    let windows = windows.collect::<Vec<_>>().join(",");
    match ask.key {
        None => windows,
        Some((lineage, _)) => format!("{windows}/{lineage}"),
    }
}

impl RedisStore {
    pub(super) fn tenant_key(&self, tenant: &str) -> String {
        [&self.prefix, "{", tenant, "}"].concat()
    }

    /// A tenant, the tombstone of a request of its, and the request.
    fn keys_of(&self, tenant: &str, id: RequestId) -> [String; 3] {
        let (tenant, id) = (self.tenant_key(tenant), id.to_string());
        let tombstone = [&tenant, ":r:", &id].concat();
        [tenant, tombstone, id]
    }

    pub(super) fn admission<'a>(&'a self, ask: &Admission, mode: Mode<'_>, now_ms: u64) -> Step<'a> {
        let ([tenant, tombstone, id], admit) = (self.keys_of(&ask.tenant, ask.id), &self.scripts.admit);
        let (mode, call) = match mode {
            Mode::Miss => (mode::MISS, admit.call(&[&tenant, &tombstone])),
            Mode::Hit => (mode::HIT, admit.call(&[&tenant, &tombstone])),
            Mode::Look(answer) => (mode::LOOK, admit.call(&[&tenant, &tombstone, answer])),
        };
        let numbers = Ask {
            now_ms: number(now_ms),
            settings_version: number(ask.settings_version),
            mode,
            lease_until_ms: number(ask.lease_until_ms),
            concurrency: limit(ask.concurrency),
            rate_tokens: number(ask.rate_tokens),
        };
        let call = call.arg(id).arg(numbers.packed());
        let call = call.arg(packed_rate(ask.request_rate)).arg(packed_rate(ask.token_rate));
        let call = call.arg(packed_amounts(ask.hold)).arg(packed_amounts(ask.upper_bound_hold));
        let call = call.arg(names_of_hold(ask)).arg(packed_pace(ask.key, |own| limit(own.concurrency)));
        with_limits(call, &ask.quotas)
    }

    pub(super) fn settlement<'a>(&'a self, settlement: &Settlement, ticket: &Ticket, now_ms: u64) -> Step<'a> {
        let Settlement { tenant, id, windows, used, lease_until_ms, only_held, token_rate, key } = settlement;
        let ending = Ending {
            now_ms: number(now_ms),
            incarnation: number(ticket.incarnation().unwrap_or(0)),
            tombstone_ms: tombstone_ms(*lease_until_ms, now_ms),
            only_held: f64::from(u8::from(*only_held)),
            token_delta: token_delta(*token_rate),
        };
        let key = key.map(|(lineage, taken)| {
            let token_rate = taken.map(|(rate, ..)| rate);
            ((lineage, PaceLimits { token_rate, ..PaceLimits::default() }), token_delta(taken))
        });
        let [tenant, tombstone, id] = self.keys_of(tenant, *id);
        let call = self.scripts.settle.call(&[&tenant, &tombstone]).arg(id).arg(ending.packed());
        let call = call.arg(packed_amounts(*used)).arg(packed_rate(token_rate.map(|(rate, ..)| rate)));
        let key_pace = packed_pace(key.map(|(own, _)| own), |_| key.map_or(0.0, |(_, delta)| delta));
        call.arg(key_pace).arg(fields(windows.iter()))
    }
}

#[async_trait]
impl Counters for RedisStore {
    async fn admit(&self, ask: &Admission, ticket: &mut Ticket, hit: bool, now_ms: u64) -> Result<Verdict, StoreError> {
        let mut batch = Batch::default();
        let answer = batch.push(self.admission(ask, if hit { Mode::Hit } else { Mode::Miss }, now_ms));
        let mut sent = self.connection.send(&batch).await?;
        let admitted = self.admitted(ask, ticket, &sent.take(answer)?, sent.sent_twice, now_ms)?;
        self.learn_cache_version(&ask.tenant, admitted.cache_version);
        Ok(admitted.verdict)
    }

    async fn extend(&self, ask: &Admission, target: Amounts, _now_ms: u64) -> Result<bool, StoreError> {
        let call = self.scripts.extend.call(&[&self.tenant_key(&ask.tenant)]);
        let call = call.arg(ask.id.to_string()).arg(packed_amounts(target));
        let answer = self.ask(with_limits(call, &ask.quotas)).await?;
        Ok(answer == Value::Int(1))
    }

    async fn settle(&self, settlement: &Settlement, ticket: &Ticket, now_ms: u64) -> Result<Settled, StoreError> {
        settled(&self.ask(self.settlement(settlement, ticket, now_ms)).await?)
    }

    async fn release(&self, ask: &Admission, ticket: &Ticket, now_ms: u64) -> Result<(), StoreError> {
        // Of a request that asks for more than a burst, a burst was taken.
        let given_back = |rate: Option<Rate>| -number(rate.map_or(0, |rate| ask.rate_tokens.min(rate.capacity())));
        let ending = Ending {
            now_ms: number(now_ms),
            incarnation: number(ticket.incarnation().unwrap_or(0)),
            tombstone_ms: tombstone_ms(ask.lease_until_ms, now_ms),
            only_held: 0.0,
            token_delta: given_back(ask.token_rate),
        };
        let [tenant, tombstone, id] = self.keys_of(&ask.tenant, ask.id);
        let call = self.scripts.release.call(&[&tenant, &tombstone]).arg(id).arg(ending.packed());
        let call = call.arg(packed_rate(ask.request_rate)).arg(packed_rate(ask.token_rate));
        let call = call.arg(packed_pace(ask.key, |own| given_back(own.token_rate)));
        self.ask(call.arg(fields(windows_of(&ask.quotas)))).await.map(drop)
    }

    async fn free_place(&self, ask: &Admission, _now_ms: u64) -> Result<(), StoreError> {
        let call = self.scripts.free_place.call(&[&self.tenant_key(&ask.tenant)]);
        self.ask(call.arg(ask.id.to_string())).await.map(drop)
    }

    async fn rebuild(
        &self,
        tenant: &str,
        incarnation: Option<u64>,
        settings_version: u64,
        windows: &[(Window, Charged)],
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        let kept_ms = tenant_kept_ms(windows.iter().map(|(window, _)| window), now_ms);
        let mut call = self.scripts.rebuild.call(&[&self.tenant_key(tenant)]);
        call = call.arg(now_ms).arg(settings_version.min(MOST)).arg(fresh_cache_version());
        call = call.arg(incarnation.unwrap_or(0)).arg(kept_ms);
        for (window, Charged { used, outage }) in windows {
            call = call.arg(window.key()).arg(packed_amounts(*used)).arg(packed_amounts(*outage));
        }
        let answer = self.ask(call).await?;
        let (heeded, expired) = text(&answer).map(split_expired).ok_or_else(|| unexpected(&answer))?;
        self.keep_expired(tenant, expired);
        Ok(heeded == "1")
    }

    async fn close(
        &self,
        tenant: &str,
        incarnation: u64,
        window: &Window,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let call = self.scripts.close.call(&[&self.tenant_key(tenant)]);
        let call = call.arg(window.key()).arg(until_ms).arg(tenant_kept_ms([window].into_iter(), now_ms));
        self.ask(call.arg(incarnation)).await.map(drop)
    }

    fn take_expired(&self, tenant: &str) -> Vec<ExpiredHold> {
        lock(&self.expired).remove(tenant).unwrap_or_default()
    }

    async fn acknowledge(&self, tenant: &str, expired: &[ExpiredHold], now_ms: u64) -> Result<(), StoreError> {
        let acknowledged = expired.iter().map(async |ExpiredHold { id, .. }| {
            let [tenant, tombstone, id] = self.keys_of(tenant, *id);
            let call = self.scripts.acknowledge.call(&[&tenant, &tombstone]);
            self.ask(call.arg(now_ms).arg(id).arg(EXPIRED_TOMBSTONE_MS)).await
        });
        futures_util::future::try_join_all(acknowledged).await.map(drop)
    }

    async fn forget(&self, tenant: &str) -> Result<(), StoreError> {
        let mut forget = redis::cmd("UNLINK");
        forget.arg(self.tenant_key(tenant));
        self.ask(forget.into()).await.map(drop)
    }

    async fn usage(&self, tenant: &str, windows: &[Window], now_ms: u64) -> Result<Vec<Option<WindowUse>>, StoreError> {
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        let call = self.scripts.usage.call(&[&self.tenant_key(tenant)]);
        let answer = self.ask(call.arg(now_ms).arg(fields(windows.iter()))).await?;
        let read = || {
            let [counted @ .., expired] = list(&answer)? else { return None };
            self.keep_expired(tenant, text(expired)?);
            let window = |window: &Value| {
                let Value::BulkString(packed) = window else { return None };
                layout::Window::read(packed).map(|window| WindowUse { used: window.used(), held: window.held() })
            };
            Some(counted.iter().map(window).collect())
        };
        read().ok_or_else(|| unexpected(&answer))
    }
}

/// A cache version that no other is like.
pub(super) fn fresh_cache_version() -> String {
    format!("{:016x}", random_u64())
}
