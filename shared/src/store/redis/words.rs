//! What the store has of a tenant or a model, in words: what `ai-gateway inspect` says to an operator.

use super::inspect::{TenantHold, TenantRecord};
use super::model::{ModelRecord, StoredModel};
use crate::health::breaker::{Breaker, BreakerState};
use crate::health::refusals::{EVERYBODY, Refusals};
use crate::health::welford::Welford;
use crate::limit::window::time_utc;
use crate::money::{Amounts, format_usd};

/// An instant, and how far it is from now.
fn at(at_ms: u64, now_ms: u64) -> String {
    let apart_ms = at_ms.abs_diff(now_ms);
    let apart = format!("{}.{} s", apart_ms / 1_000, apart_ms % 1_000 / 100);
    let time = time_utc(at_ms);
    if at_ms < now_ms { format!("{time} ({apart} ago)") } else { format!("{time} (in {apart})") }
}

fn line(name: &str, words: &str) -> String {
    format!("{name:<22} {words}\n")
}

fn times(number: u64, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

fn measure(name: &str, of: &Welford, unit: &str, now_ms: u64, tau_ms: u64) -> String {
    let figures = of.read(now_ms, tau_ms);
    if of.w <= 0.0 {
        return line(name, "nothing observed");
    }
    let (mean, deviation) = (figures.mean, figures.variance.sqrt());
    let (weight, latest) = (figures.weight, at(of.t_ms, now_ms));
    line(name, &format!("mean {mean:.3}{unit}, deviation {deviation:.3}, weight {weight:.2}, latest {latest}"))
}

fn breaker(of: &Breaker, now_ms: u64) -> String {
    let opened = times(of.opened_in_a_row.into(), "time");
    match of.state(now_ms) {
        BreakerState::Closed => "closed".to_owned(),
        BreakerState::Open => format!("open until {}, opened {opened} in a row", at(of.open_until_ms, now_ms)),
        BreakerState::HalfOpen if now_ms < of.probe_until_ms => {
            format!("half open, opened {opened} in a row; its probe is leased until {}", at(of.probe_until_ms, now_ms))
        }
        BreakerState::HalfOpen => format!("half open, opened {opened} in a row; its probe is free"),
    }
}

fn refusals(of: &Refusals, now_ms: u64) -> String {
    let requests = of.run.0.into_iter().filter(|&request| request > 0).count();
    let by = if of.tenant == EVERYBODY { "for everybody" } else { "for one tenant alone" };
    match (of.breaker.opened_in_a_row, requests) {
        (0, 0) => "none since the latest answer; breaker closed".to_owned(),
        (0, 1) => "1 request since the latest answer; breaker closed".to_owned(),
        (0, more) => format!("{more} requests since the latest answer; breaker closed"),
        _ => format!("breaker {}, {by}", breaker(&of.breaker, now_ms)),
    }
}

impl ModelRecord {
    /// In words, a line for each measure and each state.
    #[must_use]
    pub fn words(&self, now_ms: u64) -> String {
        let (StoredModel { state, times_written }, tau_ms) = (&self.stored, self.tau_ms);
        let failures = times(state.breaker.consecutive_failures.into(), "failure");
        let cooldown = match state.cooldown_until_ms {
            0 => "none".to_owned(),
            until_ms if until_ms > now_ms => format!("until {}", at(until_ms, now_ms)),
            until_ms => format!("over since {}", at(until_ms, now_ms)),
        };
        [
            line("written", &times(*times_written, "time")),
            measure("time to first token", &state.ttft_ms, " ms", now_ms, tau_ms),
            measure("time per token", &state.ms_per_token, " ms", now_ms, tau_ms),
            measure("failures", &state.failure, " of 1", now_ms, tau_ms),
            line("breaker", &format!("{}; {failures} in a row", breaker(&state.breaker, now_ms))),
            measure("breaker's failures", &state.breaker.evidence, " of 1", now_ms, tau_ms),
            line("refusals", &refusals(&state.refusals, now_ms)),
            line("cooldown", &cooldown),
        ]
        .concat()
    }
}

fn amounts(of: Amounts) -> String {
    format!("{}, {}, {} USD", times(of.requests, "request"), times(of.tokens, "token"), format_usd(of.cost_nusd))
}

/// `d1763769600000` or `m1761955200000` in words; `None` for a field that is no window.
fn window(field: &str) -> Option<String> {
    let (kind, starts_at_ms) = field.split_at_checked(1)?;
    let kind = match kind {
        "d" => "day",
        "m" => "month",
        _ => return None,
    };
    let (starts_at_ms, of) = match starts_at_ms.split_once('@') {
        None => (starts_at_ms, String::new()),
        Some((starts_at_ms, lineage)) => (starts_at_ms, format!(" of keys {lineage}")),
    };
    Some(format!("{kind} from {}{of}", time_utc(starts_at_ms.parse().ok()?)))
}

fn hold(TenantHold { lease_until_ms, handed_out_at_ms, held, .. }: &TenantHold, now_ms: u64) -> String {
    let held = amounts(*held);
    match (lease_until_ms, handed_out_at_ms) {
        (Some(until_ms), _) => format!("{held}; leased until {}", at(*until_ms, now_ms)),
        (None, Some(handed_out_at_ms)) => {
            format!("{held}; its lease ended and it is charged; handed to the ledger {}", at(*handed_out_at_ms, now_ms))
        }
        (None, None) => format!("{held}; its lease ended and it is charged"),
    }
}

impl TenantRecord {
    /// In words, a line for each window, rate and hold.
    #[must_use]
    pub fn words(&self, now_ms: u64) -> String {
        let known = |number: Option<u64>| number.map_or_else(|| "not known".to_owned(), |number| number.to_string());
        let rate = |back_at_ms: u64| match back_at_ms > now_ms {
            true => format!("what was taken is there again {}", at(back_at_ms, now_ms)),
            false => "nothing is taken".to_owned(),
        };
        let of_window = |field: &str| window(field).unwrap_or_else(|| field.to_owned());
        let tombstones = match self.tombstones_until_ms {
            Some(until_ms) if until_ms > now_ms => format!("there may be some until {}", at(until_ms, now_ms)),
            _ => "none".to_owned(),
        };
        let mut words = vec![
            line("settings version", &known(self.settings_version)),
            line("incarnation", &known(self.incarnation)),
            line("rate of requests", &rate(self.requests_back_at_ms)),
            line("rate of tokens", &rate(self.tokens_back_at_ms)),
            line("requests in flight", &self.open_holds.to_string()),
        ];
        words.extend(self.keys.iter().map(|(lineage, own)| {
            let (requests, tokens) = (rate(own.requests_back_at_ms), rate(own.tokens_back_at_ms));
            let in_flight = own.open_holds;
            line(
                &format!("keys {lineage}"),
                &format!("in flight {in_flight}; of requests {requests}; of tokens {tokens}"),
            )
        }));
        words.extend(self.holds.iter().map(|(id, held)| line("hold", &format!("{id}: {}", hold(held, now_ms)))));
        words.extend(self.windows.iter().map(|(field, of)| {
            line(&of_window(field), &format!("used {}; held {}", amounts(of.used), amounts(of.held)))
        }));
        words.extend(self.outage.iter().map(|(field, of)| {
            line(&of_window(field), &format!("of what is used, {} was admitted without the store", amounts(*of)))
        }));
        words.extend(self.closed_until_ms.iter().map(|(field, until_ms)| {
            line(&of_window(field), &format!("lost, and closed until {}", at(*until_ms, now_ms)))
        }));
        words.push(line("tombstones", &tombstones));
        words.push(line("layout", &self.layout));
        words.extend(self.unknown.iter().map(|field| line("unknown field", field)));
        words.concat()
    }
}
