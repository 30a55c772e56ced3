//! What the counters' scripts answer, read.

use super::layout::{Answer, KeyRates, Layout, Units, verdict};
use super::script::whole;
use super::store::RedisStore;
use crate::id::RequestId;
use crate::limit::gcra::Tat;
use crate::limit::lineage::Lineage;
use crate::limit::window::{Window, WindowKind};
use crate::locking::lock;
use crate::money::Amounts;
use crate::store::{Admission, ExpiredHold, RateStatus, Refusal, Settled, StoreError, Ticket, Verdict};
use crate::tenant::{Quota, RateKind, Whose};
use redis::Value;

/// What an admission answers.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) verdict: Verdict,
    pub(super) is_hit: bool,
    pub(super) cache_version: String,
}

fn parse_windows(text: &str) -> Option<Vec<Window>> {
    let window = |text: &str| {
        let (kind, span) = text.split_at_checked(1)?;
        let (starts, resets) = span.split_once('-')?;
        let (starts, key) = match starts.split_once('@') {
            None => (starts, None),
            Some((starts, lineage)) => (starts, Some(lineage.parse().ok()?)),
        };
        let kind = match kind {
            "d" => WindowKind::Day,
            "m" => WindowKind::Month,
            _ => return None,
        };
        Some(Window { kind, starts_at_ms: starts.parse().ok()?, resets_at_ms: resets.parse().ok()?, key })
    };
    text.split(',').map(window).collect()
}

/// What a hold keeps as text, apart: its windows, and the lineage of its key.
pub(super) fn split_names(names: &str) -> Option<(Vec<Window>, Option<Lineage>)> {
    match names.split_once('/') {
        None => Some((parse_windows(names)?, None)),
        Some((windows, lineage)) => Some((parse_windows(windows)?, Some(lineage.parse().ok()?))),
    }
}

/// What stands before the expired holds in a script's answer, and they, a line for each.
pub(super) fn split_expired(text: &str) -> (&str, &str) {
    text.split_at(text.find('\n').unwrap_or(text.len()))
}

/// `request requests tokens nusd windows`.
fn parse_expired(text: &str) -> Option<ExpiredHold> {
    let mut parts = text.split(' ');
    let id: RequestId = parts.next()?.parse().ok()?;
    let mut next = || parts.next()?.parse().ok();
    let held = Amounts { requests: next()?, tokens: next()?, cost_nusd: next()? };
    Some(ExpiredHold { id, held, windows: split_names(parts.next()?)?.0 })
}

pub(super) fn unexpected(answer: &Value) -> StoreError {
    StoreError(format!("a script answered something else: {answer:?}"))
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

pub(super) fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

impl RedisStore {
    /// Reads an admission's answer, notes in the ticket what it says of the request, and keeps what holds it found
    /// expired. `again` says whether it was sent twice.
    pub(super) fn admitted(
        &self,
        ask: &Admission,
        ticket: &mut Ticket,
        answer: &Value,
        sent_twice: bool,
        now_ms: u64,
    ) -> Result<Admitted, StoreError> {
        if sent_twice {
            ticket.doubt();
        }
        let mut read = || {
            let Value::BulkString(packed) = answer else { return None };
            let (packed, rest) = packed.split_at_checked(Answer::BYTES)?;
            let answer = Answer::read(packed)?;
            let (key_rates, rest) = match ask.key {
                None => (KeyRates::default(), rest),
                Some(_) => {
                    rest.split_at_checked(KeyRates::BYTES).and_then(|(own, rest)| Some((KeyRates::read(own)?, rest)))?
                }
            };
            let (cache_version, expired) = split_expired(std::str::from_utf8(rest).ok()?);
            self.keep_expired(&ask.tenant, expired);
            let tat = |ms, ticks| Tat { ms: whole(ms), ticks: whole(ticks) };
            let tenant = [tat(answer.request_ms, answer.request_ticks), tat(answer.token_ms, answer.token_ticks)];
            let own =
                [tat(key_rates.request_ms, key_rates.request_ticks), tat(key_rates.token_ms, key_rates.token_ticks)];
            let rates = RateStatus::of(ask, tenant, own, now_ms);
            let refused = |refusal| Verdict::Refused { refusal, rates };
            let (which, windows) = (whole(answer.which), whole(answer.windows));
            let (wait_ms, incarnation) = (whole(answer.wait_ms), whole(answer.incarnation));
            let is_hit = answer.is_hit == 1.0;
            let verdict = match whole(answer.verdict) {
                verdict::ADMITTED => {
                    ticket.admitted_in(Some(incarnation).filter(|&known| known > 0 && !is_hit));
                    let Answer { requests, tokens, cost_nusd, .. } = answer;
                    Verdict::Admitted { held: Units { requests, tokens, cost_nusd }.into(), rates }
                }
                verdict::RATE_LIMITED => {
                    let kind = if which % 2 == 1 { RateKind::Requests } else { RateKind::Tokens };
                    let whose = if which > 2 { Whose::Key } else { Whose::Tenant };
                    refused(Refusal::Rate { whose, kind, retry_after_ms: wait_ms })
                }
                verdict::TOO_MANY_IN_FLIGHT => {
                    refused(Refusal::Concurrency(if which == 1 { Whose::Key } else { Whose::Tenant }))
                }
                verdict::CLOSED => refused(Refusal::Closed { retry_after_ms: wait_ms }),
                verdict::QUOTA_EXCEEDED => {
                    let window = ask.quotas.get(usize::try_from(windows).ok()?.checked_sub(1)?)?.window;
                    let quota = match (which, window.kind) {
                        (1, _) => Quota::DailyRequests,
                        (2, _) => Quota::DailyTokens,
                        (_, WindowKind::Month) => Quota::MonthlyCost,
                        (_, WindowKind::Day) => Quota::DailyCost,
                    };
                    refused(Refusal::Quota { quota, window })
                }
                verdict::STALE => {
                    let missing = ask.quotas.iter().zip(0..).filter(|(_, place)| windows >> place & 1 == 1);
                    let windows = missing.map(|(quota, _)| quota.window).collect();
                    Verdict::Stale { settings: which == 1, windows, incarnation }
                }
                _ => return None,
            };
            Some(Admitted { verdict, is_hit, cache_version: cache_version.to_owned() })
        };
        read().ok_or_else(|| unexpected(answer))
    }

    pub(super) fn keep_expired(&self, tenant: &str, expired: &str) {
        if expired.is_empty() {
            return;
        }
        let mut kept = lock(&self.expired);
        for hold in expired.lines().filter_map(parse_expired) {
            let ExpiredHold { id, held, .. } = &hold;
            tracing::warn!(request = %id, tokens = held.tokens, cost_nusd = held.cost_nusd, "a hold expired and is charged in full");
            let known = kept.entry(tenant.to_owned()).or_default();
            if known.iter().all(|known| known.id != hold.id) {
                known.push(hold);
            }
        }
    }
}

pub(super) fn settled(answer: &Value) -> Result<Settled, StoreError> {
    match answer {
        Value::Int(2) => Ok(Settled::Done),
        Value::Int(1) => Ok(Settled::WithoutHold),
        Value::Int(0) => Ok(Settled::Again),
        _ => Err(unexpected(answer)),
    }
}
