//! The counters: what each operation sends, and what its answer means. The rules are the scripts'.
//!
//! All of a tenant's keys share the hash tag `{tenant}`, hence one slot, hence one script may touch them all:
//!
//! | key | what |
//! |---|---|
//! | `gw:2:{t}` | a hash: settings version, the states of the rates, every window, each open hold (`tenant.lua`) |
//! | `gw:2:{t}:r:<request>` | a mark: that a request is counted as a hit, for a minute, or is done with, if it has to be marked |
//! | `gw:2:{t}:c:<hash>` | a remembered answer |
//!
//! A tenant is one hash, so that the store loses it whole or not at all (M5), and so that an admission is one read and one
//! write of it: what a script costs the server is the number of commands in it, and of numbers that are made text. Hence
//! also its packed fields. With a hash for each window, a hold in each, and numbers as text, an admission and its settlement
//! cost the server twice as much.
//!
//! A request that is done with leaves nothing behind, as a rule. Its settlement tells the *epoch* that its admission was
//! told, a random number which stands in the hash: where the hold is not there and the epoch is the same, it was settled
//! before. But an admission that had to be sent twice may be heard again after the settlement; those leave a mark (M2), and
//! so does all that was not heard of. The hash says until when there may be marks, so that others need not look for them.
//!
//! Times cross as `now_ms`; the server's clock collects garbage alone, by times to live that are counted from `now_ms`.
//! Amounts and limits above 2^53 count as 2^53 (nine million dollars in a window), where Lua's numbers begin to have gaps.

use super::RedisStore;
use super::answers::{Admitted, amounts_of, list, numbers, settled, split_lost, text, unexpected};
use super::script::{Batch, Step, packed};
use crate::id::{RequestId, random_u64};
use crate::limit::gcra::Rate;
use crate::limit::window::Window;
use crate::money::{Amounts, Charged};
use crate::store::{Admission, Counters, Lost, QuotaAsk, Settled, Settlement, StoreError, Verdict, WindowUse};
use async_trait::async_trait;
use redis::Value;

/// The largest whole number below which a Lua number has no gaps.
const MOST: u64 = 1 << 53;
/// A tenant is kept this long after the end of its latest window, so that a hold whose process was lost is told when its
/// tenant comes again, and a settlement that comes late is charged.
const KEPT_AFTER_MS: u64 = 8 * DAY_MS;
/// That a request is done with is remembered, if need be, this long after its lease.
const DONE_KEPT_MS: u64 = 60_000;
/// … and that a lost one was charged, whose process may only be frozen, this long.
const LOST_KEPT_MS: u64 = DAY_MS;
const DAY_MS: u64 = 86_400_000;

/// How an admission learns whether a remembered answer serves the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode<'a> {
    /// The script looks under this key.
    Look(&'a str),
    /// It does.
    Hit,
    /// It does not.
    Miss,
    /// It was said to, and is gone.
    Gone,
}

/// As a script takes it: whole, and at most 2^53.
#[allow(clippy::cast_precision_loss)]
pub(super) fn number(value: u64) -> f64 {
    value.min(MOST) as f64
}

fn limit(value: Option<u64>) -> f64 {
    value.map_or(f64::INFINITY, number)
}

fn amounts(of: Amounts) -> [f64; 3] {
    [of.requests, of.tokens, of.cost_nusd].map(number)
}

fn rate(of: Option<Rate>) -> [f64; 3] {
    of.map_or([0.0; 3], |rate| [rate.limit(), rate.period_ms(), rate.capacity()].map(number))
}

fn limits(quotas: &[QuotaAsk]) -> Vec<f64> {
    quotas.iter().flat_map(|quota| [quota.requests, quota.tokens, quota.cost_nusd].map(limit)).collect()
}

/// The fields of windows.
fn fields<'a>(windows: impl Iterator<Item = &'a Window>) -> Vec<String> {
    windows.map(Window::key).collect()
}

fn windows_of(quotas: &[QuotaAsk]) -> impl Iterator<Item = &Window> {
    quotas.iter().map(|quota| &quota.window)
}

/// For how long it is remembered that a request is done with.
fn done_kept_ms(lease_until_ms: u64, now_ms: u64) -> u64 {
    lease_until_ms.saturating_sub(now_ms) + DONE_KEPT_MS
}

/// For how long a tenant with these windows is kept.
fn tenant_kept_ms<'a>(windows: impl Iterator<Item = &'a Window>, now_ms: u64) -> u64 {
    let latest_ms = windows.map(|window| window.resets_at_ms).max().unwrap_or(0);
    latest_ms.saturating_sub(now_ms) + KEPT_AFTER_MS
}

/// `d1763769600000-1763856000000,m1761955200000-1764547200000`: what is asked, as a hold keeps it.
fn windows_text<'a>(fields: &[String], windows: impl Iterator<Item = &'a Window>) -> String {
    let window = |(field, window): (&String, &Window)| [field, "-", &window.resets_at_ms.to_string()].concat();
    fields.iter().zip(windows).map(window).collect::<Vec<_>>().join(",")
}

impl RedisStore {
    pub(super) fn tenant_key(&self, tenant: &str) -> String {
        [&self.prefix, "{", tenant, "}"].concat()
    }

    /// A tenant, the mark of a request of its, and the request.
    fn keys_of(&self, tenant: &str, id: RequestId) -> [String; 3] {
        let (tenant, id) = (self.tenant_key(tenant), id.to_string());
        let mark = [&tenant, ":r:", &id].concat();
        [tenant, mark, id]
    }

    pub(super) fn admission<'a>(&'a self, ask: &Admission, mode: Mode<'_>, now_ms: u64) -> Step<'a> {
        let ([tenant, mark, id], admit) = (self.keys_of(&ask.tenant, ask.id), &self.scripts.admit);
        let (mode, call) = match mode {
            Mode::Miss => (0, admit.call(&[&tenant, &mark])),
            Mode::Hit => (1, admit.call(&[&tenant, &mark])),
            Mode::Look(answer) => (2, admit.call(&[&tenant, &mark, answer])),
            Mode::Gone => (3, admit.call(&[&tenant, &mark])),
        };
        let first = [now_ms, ask.settings_version, mode, ask.lease_until_ms].map(number);
        let more = [limit(ask.concurrency), number(ask.rate_tokens)];
        let rates = [rate(ask.request_rate), rate(ask.token_rate)].concat();
        let holds = [amounts(ask.hold), amounts(ask.strict_hold)].concat();
        let numbers = [&first[..], &more, &rates, &holds, &limits(&ask.quotas)].concat();
        let fields = fields(windows_of(&ask.quotas));
        call.arg(packed(numbers)).arg(id).arg(windows_text(&fields, windows_of(&ask.quotas))).arg(fields)
    }

    pub(super) async fn ask_to_admit(
        &self,
        ask: &Admission,
        mode: Mode<'_>,
        now_ms: u64,
    ) -> Result<Admitted, StoreError> {
        let mut batch = Batch::default();
        let answer = batch.push(self.admission(ask, mode, now_ms));
        let mut sent = self.connection.send(&batch).await?;
        let again = sent.again || mode == Mode::Gone;
        let admitted = self.admitted(ask, &sent.take(answer)?, again, now_ms)?;
        self.take_back(ask, &admitted.verdict, sent.again, now_ms).await?;
        Ok(admitted)
    }

    /// Leaves a mark that a refused admission finds if it was sent twice and what was sent first is heard only now: it would
    /// take a hold that nobody knows of.
    pub(super) async fn take_back(
        &self,
        ask: &Admission,
        verdict: &Verdict,
        again: bool,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        if again && matches!(verdict, Verdict::Refused { .. }) {
            return self.release(ask, None, now_ms).await;
        }
        Ok(())
    }

    pub(super) fn settlement<'a>(&'a self, settlement: &Settlement, now_ms: u64) -> Step<'a> {
        let Settlement { tenant, id, windows, used, lease_until_ms, only_held, token_rate, epoch } = settlement;
        let [requests, tokens, cost] = amounts(*used);
        let [limit, period, burst] = rate(token_rate.map(|(rate, ..)| rate));
        let more = token_rate.map_or(0.0, |(_, taken, used)| number(used) - number(taken));
        let only_held = f64::from(u8::from(*only_held));
        let [now, epoch, kept] = [now_ms, epoch.unwrap_or(0), done_kept_ms(*lease_until_ms, now_ms)].map(number);
        let numbers = packed([now, requests, tokens, cost, limit, period, burst, more, only_held, epoch, kept]);
        let [tenant, mark, id] = self.keys_of(tenant, *id);
        let call = self.scripts.settle.call(&[&tenant, &mark]);
        call.arg(numbers).arg(id).arg(fields(windows.iter()))
    }
}

#[async_trait]
impl Counters for RedisStore {
    async fn admit(&self, ask: &Admission, hit: bool, now_ms: u64) -> Result<Verdict, StoreError> {
        let mode = if hit { Mode::Hit } else { Mode::Miss };
        let admitted = self.ask_to_admit(ask, mode, now_ms).await?;
        self.learn_generation(&ask.tenant, admitted.generation);
        Ok(admitted.verdict)
    }

    async fn extend(&self, ask: &Admission, target: Amounts, _now_ms: u64) -> Result<bool, StoreError> {
        let call = self.scripts.extend.call(&[&self.tenant_key(&ask.tenant)]);
        let call = call.arg(packed(amounts(target).into_iter().chain(limits(&ask.quotas)))).arg(ask.id.to_string());
        let answer = self.ask(call.arg(fields(windows_of(&ask.quotas)))).await?;
        Ok(answer == Value::Int(1))
    }

    async fn settle(&self, settlement: &Settlement, now_ms: u64) -> Result<Settled, StoreError> {
        settled(&self.ask(self.settlement(settlement, now_ms)).await?)
    }

    async fn release(&self, ask: &Admission, epoch: Option<u64>, now_ms: u64) -> Result<(), StoreError> {
        let rates = [rate(ask.request_rate), rate(ask.token_rate)].into_iter().flatten();
        let first = [now_ms, ask.rate_tokens].map(number);
        let last = [epoch.unwrap_or(0), done_kept_ms(ask.lease_until_ms, now_ms)].map(number);
        let [tenant, mark, id] = self.keys_of(&ask.tenant, ask.id);
        let call = self.scripts.release.call(&[&tenant, &mark]);
        let call = call.arg(packed(first.into_iter().chain(rates).chain(last))).arg(id);
        self.ask(call.arg(fields(windows_of(&ask.quotas)))).await.map(drop)
    }

    async fn refill(
        &self,
        tenant: &str,
        epoch: Option<u64>,
        settings_version: u64,
        windows: &[(Window, Charged)],
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        let kept_ms = tenant_kept_ms(windows.iter().map(|(window, _)| window), now_ms);
        let mut call = self.scripts.refill.call(&[&self.tenant_key(tenant)]);
        call = call.arg(now_ms).arg(settings_version.min(MOST)).arg(fresh_generation());
        call = call.arg(epoch.unwrap_or(0)).arg(kept_ms);
        for (window, Charged { used, outage }) in windows {
            call = call.arg(window.key()).arg(packed(amounts(*used).into_iter().chain(amounts(*outage))));
        }
        let answer = self.ask(call).await?;
        let (heeded, lost) = text(&answer).map(split_lost).ok_or_else(|| unexpected(&answer))?;
        self.keep_lost(tenant, lost);
        Ok(heeded == "1")
    }

    async fn close(
        &self,
        tenant: &str,
        epoch: u64,
        window: &Window,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let call = self.scripts.close.call(&[&self.tenant_key(tenant)]);
        let call = call.arg(window.key()).arg(until_ms).arg(tenant_kept_ms([window].into_iter(), now_ms));
        self.ask(call.arg(epoch)).await.map(drop)
    }

    fn lost(&self, tenant: &str) -> Vec<Lost> {
        self.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(tenant).unwrap_or_default()
    }

    async fn acknowledge(&self, tenant: &str, lost: &[Lost], now_ms: u64) -> Result<(), StoreError> {
        let acknowledged = lost.iter().map(async |Lost { id, .. }| {
            let [tenant, mark, id] = self.keys_of(tenant, *id);
            let call = self.scripts.acknowledge.call(&[&tenant, &mark]);
            self.ask(call.arg(now_ms).arg(id).arg(LOST_KEPT_MS)).await
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
            let [told @ .., lost] = list(&answer)? else { return None };
            self.keep_lost(tenant, text(lost)?);
            let window = |window: &Value| {
                let [ur, ut, uc, hr, ht, hc] = numbers(window)?;
                Some(WindowUse { used: amounts_of([ur, ut, uc]), held: amounts_of([hr, ht, hc]) })
            };
            Some(told.iter().map(window).collect())
        };
        read().ok_or_else(|| unexpected(&answer))
    }
}

/// A generation of the cache that no other is like.
pub(super) fn fresh_generation() -> String {
    format!("{:016x}", random_u64())
}
