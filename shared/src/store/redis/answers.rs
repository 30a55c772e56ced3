//! What the counters' scripts answer, read.

use super::RedisStore;
use super::script::{unpacked, whole};
use crate::id::RequestId;
use crate::limit::gcra::{Rate, Tat};
use crate::limit::window::{Window, WindowKind};
use crate::money::Amounts;
use crate::store::{Admission, Lost, RateStanding, Refusal, Settled, Standing, StoreError, Verdict};
use crate::tenant::{Quota, RateKind};
use redis::Value;

/// How long the numbers are at the head of an admission's answer.
const ANSWER_BYTES: usize = 10 * 8;

/// What an admission answers.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) verdict: Verdict,
    pub(super) is_hit: bool,
    pub(super) generation: String,
}

fn parse_windows(text: &str) -> Option<Vec<Window>> {
    let window = |text: &str| {
        let (kind, span) = text.split_at_checked(1)?;
        let (starts, resets) = span.split_once('-')?;
        let kind = match kind {
            "d" => WindowKind::Day,
            "m" => WindowKind::Month,
            _ => return None,
        };
        Some(Window { kind, starts_at_ms: starts.parse().ok()?, resets_at_ms: resets.parse().ok()? })
    };
    text.split(',').map(window).collect()
}

/// What stands before the lost holds that a script tells, and they, a line for each.
pub(super) fn split_lost(text: &str) -> (&str, &str) {
    text.split_at(text.find('\n').unwrap_or(text.len()))
}

/// `request requests tokens nusd windows`.
fn parse_lost(text: &str) -> Option<Lost> {
    let mut parts = text.split(' ');
    let id: RequestId = parts.next()?.parse().ok()?;
    let mut next = || parts.next()?.parse().ok();
    let held = Amounts { requests: next()?, tokens: next()?, cost_nusd: next()? };
    Some(Lost { id, held, windows: parse_windows(parts.next()?)? })
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

pub(super) fn numbers<const N: usize>(value: &Value) -> Option<[f64; N]> {
    match value {
        Value::BulkString(bytes) => unpacked(bytes),
        _ => None,
    }
}

pub(super) fn amounts_of([requests, tokens, cost_nusd]: [f64; 3]) -> Amounts {
    Amounts { requests: whole(requests), tokens: whole(tokens), cost_nusd: whole(cost_nusd) }
}

pub(super) fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

impl RedisStore {
    /// Reads an admission's answer, and keeps what holds it found lost. `again` says whether it was sent twice.
    pub(super) fn admitted(
        &self,
        ask: &Admission,
        answer: &Value,
        again: bool,
        now_ms: u64,
    ) -> Result<Admitted, StoreError> {
        let read = || {
            let Value::BulkString(answer) = answer else { return None };
            let (told, rest) = answer.split_at_checked(ANSWER_BYTES)?;
            let [what, a, b, c, rates @ .., epoch, is_hit] = unpacked::<10>(told)?;
            let is_hit = is_hit == 1.0;
            let (generation, lost) = split_lost(std::str::from_utf8(rest).ok()?);
            self.keep_lost(&ask.tenant, lost);
            let standing = standing_of(ask, rates, now_ms);
            let refused = |refusal| Verdict::Refused { refusal, standing };
            // The numbers have names in `admit.lua`.
            let verdict = match whole(what) {
                0 => {
                    let epoch = Some(whole(epoch)).filter(|&epoch| epoch > 0 && !again && !is_hit);
                    Verdict::Admitted { held: amounts_of([a, b, c]), standing, epoch }
                }
                1 => {
                    let kind = if a == 1.0 { RateKind::Requests } else { RateKind::Tokens };
                    refused(Refusal::Rate { kind, retry_after_ms: whole(b) })
                }
                2 => refused(Refusal::Concurrency),
                3 => refused(Refusal::Closed { retry_after_ms: whole(a) }),
                4 => {
                    let window = ask.quotas.get(usize::try_from(whole(a)).ok()?.checked_sub(1)?)?.window;
                    let quota = match (whole(b), window.kind) {
                        (1, _) => Quota::DailyRequests,
                        (2, _) => Quota::DailyTokens,
                        (_, WindowKind::Day) => Quota::DailyCost,
                        (_, WindowKind::Month) => Quota::MonthlyCost,
                    };
                    refused(Refusal::Quota { quota, resets_at_ms: window.resets_at_ms })
                }
                5 => {
                    let missing = ask.quotas.iter().zip(0..).filter(|(_, place)| whole(b) >> place & 1 == 1);
                    let windows = missing.map(|(quota, _)| quota.window).collect();
                    Verdict::Stale { settings: a == 1.0, windows, again, epoch: whole(epoch) }
                }
                _ => return None,
            };
            Some(Admitted { verdict, is_hit, generation: generation.to_owned() })
        };
        read().ok_or_else(|| unexpected(answer))
    }

    pub(super) fn keep_lost(&self, tenant: &str, told: &str) {
        if told.is_empty() {
            return;
        }
        let lost = told.lines().filter_map(parse_lost);
        let mut kept = self.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for lost in lost {
            let Lost { id, held, .. } = &lost;
            tracing::warn!(request = %id, tokens = held.tokens, cost_nusd = held.cost_nusd, "a hold expired and is charged in full");
            let known = kept.entry(tenant.to_owned()).or_default();
            if known.iter().all(|known| known.id != lost.id) {
                known.push(lost);
            }
        }
    }
}

/// Where the rates of a tenant stand, from their states.
fn standing_of(ask: &Admission, [request_ms, request_ticks, token_ms, token_ticks]: [f64; 4], now_ms: u64) -> Standing {
    let stand = |rate: Rate, ms, ticks| {
        let tat = Tat { ms: whole(ms), ticks: whole(ticks) };
        let (remaining, reset_ms) = (rate.remaining(tat, now_ms), rate.reset_ms(tat, now_ms));
        RateStanding { limit: rate.limit(), remaining, reset_ms }
    };
    Standing {
        requests: ask.request_rate.map(|rate| stand(rate, request_ms, request_ticks)),
        tokens: ask.token_rate.map(|rate| stand(rate, token_ms, token_ticks)),
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
