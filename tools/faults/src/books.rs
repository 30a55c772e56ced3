//! The books of both sides, held against one another (M6).
//!
//! Totals that are above the provider's prove nothing yet: too much charged to one request would hide that another was
//! charged too little, or not at all. So each receipt is looked at, and calls differ in what they use. One without a flag
//! must be what the provider billed for one call of its model, to the token and the nano-dollar, and for each such call there
//! is one receipt. What the provider billed beyond those, it billed for the flagged ones: these must be as many as such calls,
//! or more (a process may be killed before it calls), and come to as much, or more. The difference between the totals is then
//! what the flagged receipts have above their part of the bill, and nothing else.
//!
//! Where no process was killed the store's windows have used what the ledger says, in each unit.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use upstream_double::{Double, Tally};

/// What a token costs, in nano-dollars.
pub(crate) const INPUT_NUSD: u64 = 1_000;
pub(crate) const OUTPUT_NUSD: u64 = 2_000;

/// What was billed for, or what a ledger says was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Billed {
    /// Calls that were answered, or requests.
    pub(crate) requests: u64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cost_nusd: u64,
}

impl Billed {
    /// What a row or a receipt of the gateway's says, as so many requests.
    pub(crate) fn of_json(requests: u64, tokens: &Value, cost_usd: &Value) -> Result<Self> {
        let count = |name: &str| tokens[name].as_u64().unwrap_or_default();
        let (input_tokens, output_tokens) = (count("input_tokens"), count("output_tokens"));
        Ok(Self { requests, input_tokens, output_tokens, cost_nusd: nusd(cost_usd)? })
    }

    /// What one call of a model is billed.
    fn call(model: &str, (input_tokens, output_tokens): (u64, u64)) -> Self {
        let input_nusd = if model.contains("@free") { 0 } else { INPUT_NUSD };
        let cost_nusd = input_tokens * input_nusd + output_tokens * OUTPUT_NUSD;
        Self { requests: 1, input_tokens, output_tokens, cost_nusd }
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.input_tokens + self.output_tokens
    }

    fn times(self, times: u64) -> Self {
        Self {
            requests: self.requests * times,
            input_tokens: self.input_tokens * times,
            output_tokens: self.output_tokens * times,
            cost_nusd: self.cost_nusd * times,
        }
    }
}

/// The calls of a model, by what each was billed: how many there were.
pub(crate) type Calls = BTreeMap<Billed, u64>;

impl std::iter::Sum for Billed {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            requests: sum.requests + one.requests,
            input_tokens: sum.input_tokens + one.input_tokens,
            output_tokens: sum.output_tokens + one.output_tokens,
            cost_nusd: sum.cost_nusd + one.cost_nusd,
        })
    }
}

/// One receipt of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What answered; nobody knows of a request whose process was killed.
    pub(crate) model: Option<String>,
    pub(crate) estimated: bool,
    pub(crate) billed: Billed,
}

impl Entry {
    /// As the ledger keeps it.
    pub(crate) fn parse(receipt: &Value) -> Result<Self> {
        Ok(Self {
            model: receipt["model"].as_str().map(str::to_owned),
            estimated: receipt["estimated"].as_bool().context("a receipt says whether it is an estimate")?,
            billed: Billed::of_json(1, &receipt["usage"], &receipt["cost_usd"])?,
        })
    }
}

/// Requests, tokens and nano-dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    pub(crate) nusd: u64,
}

impl Counted {
    /// `usage` as `/admin/tenants/{id}/usage` tells it, of what is `used` or `held`.
    pub(crate) fn of_json(usage: &Value, which: &str) -> Result<Self> {
        let count = |unit: &str| usage[unit][which].as_u64().with_context(|| format!("{unit} {which}"));
        Ok(Self { requests: count("requests")?, tokens: count("tokens")?, nusd: nusd(&usage["cost_usd"][which])? })
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            tokens: self.tokens + other.tokens,
            nusd: self.nusd + other.nusd,
        }
    }

    /// Whether it is no further from another than so much.
    fn is_near(self, other: Self, by: Self) -> bool {
        self.requests.abs_diff(other.requests) <= by.requests
            && self.tokens.abs_diff(other.tokens) <= by.tokens
            && self.nusd.abs_diff(other.nusd) <= by.nusd
    }
}

impl From<Billed> for Counted {
    fn from(billed: Billed) -> Self {
        Self { requests: billed.requests, tokens: billed.tokens(), nusd: billed.cost_nusd }
    }
}

/// Both sides' books.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    /// Whether the store answered.
    pub(crate) is_live: bool,
    /// What the store says that the tenants' windows have used and hold.
    pub(crate) used: Counted,
    pub(crate) held: Counted,
    /// The ledger's totals.
    pub(crate) ledger: Billed,
    /// The receipts that these are the sum of; none are to be had of a ledger in a file.
    pub(crate) receipts: Option<Vec<Entry>>,
    /// What the provider billed for the calls of each model.
    pub(crate) provider: BTreeMap<String, Calls>,
}

/// What the provider billed for the calls of each of these models.
pub(crate) fn provider(double: &Double, of: &[&str]) -> BTreeMap<String, Calls> {
    let calls = |(model, tally): (&String, &Tally)| {
        let calls = tally.bills.iter().map(|(bill, times)| (Billed::call(model, *bill), *times));
        (model.clone(), calls.collect())
    };
    double.counts().models.iter().filter(|(model, _)| of.contains(&model.as_str())).map(calls).collect()
}

impl Books {
    /// What the provider billed.
    pub(crate) fn double(&self) -> Billed {
        total(&self.provider)
    }

    /// The receipts that are estimates, if there are receipts to be looked at.
    pub(crate) fn estimates(&self) -> (usize, Billed) {
        let flagged: Vec<Billed> =
            self.receipts.iter().flatten().filter(|entry| entry.estimated).map(|entry| entry.billed).collect();
        (flagged.len(), flagged.into_iter().sum())
    }

    /// What is wrong with them, if anything is; estimates may be in them if a process was killed.
    pub(crate) fn wrong(&self, killed: bool) -> Option<String> {
        let (ledger, double) = (self.ledger, self.double());
        if !killed && ledger != double {
            return Some(format!("ledger {ledger:?}, double {double:?}"));
        }
        let Some(receipts) = &self.receipts else {
            return killed.then(|| "without receipts nobody knows what is an estimate".to_owned());
        };
        let sum: Billed = receipts.iter().map(|entry| entry.billed).sum();
        if sum != ledger {
            return Some(format!("ledger {ledger:?}, its receipts {sum:?}"));
        }
        let (count, estimates) = self.estimates();
        if !killed && count > 0 {
            return Some(format!("{count} receipts are estimates, and no process was killed"));
        }
        let mut rest = self.provider.clone();
        for entry in receipts.iter().filter(|entry| !entry.estimated) {
            let model = entry.model.as_ref().and_then(|model| rest.get_mut(model));
            match model.and_then(|calls| calls.get_mut(&entry.billed)) {
                Some(0) => return Some(format!("more receipts that are no estimates than calls: {entry:?}")),
                Some(left) => *left -= 1,
                None => return Some(format!("no estimate, and not what a call is billed: {entry:?}")),
            }
        }
        let rest = total(&rest);
        // Which tokens of an estimate are input nobody knows, so they count together.
        let covered = estimates.requests >= rest.requests
            && estimates.tokens() >= rest.tokens()
            && estimates.cost_nusd >= rest.cost_nusd;
        (!covered).then(|| format!("for {rest:?} of the provider's there are estimates of {estimates:?}"))
    }

    /// How the store's windows differ from the ledger by more than so many requests, if they do.
    pub(crate) fn store_differs(&self, requests: u64) -> Option<String> {
        let dearest = self.provider.values().flat_map(BTreeMap::keys).copied().map(Counted::from);
        let dearest = dearest.max_by_key(|call| call.nusd).unwrap_or_default();
        let by = Counted { requests, tokens: requests * dearest.tokens, nusd: requests * dearest.nusd };
        let ledger = Counted::from(self.ledger);
        (!self.used.is_near(ledger, by)).then(|| format!("the store has {:?}, the ledger {ledger:?}", self.used))
    }
}

fn total(provider: &BTreeMap<String, Calls>) -> Billed {
    provider.values().flatten().map(|(bill, times)| bill.times(*times)).sum()
}

/// Nano-dollars of a decimal string with nine places.
pub(crate) fn nusd(value: &Value) -> Result<u64> {
    let text = value.as_str().with_context(|| format!("{value} is no money"))?;
    let (whole, places) = text.split_once('.').context("money has a point")?;
    Ok(format!("{whole}{places:0<9}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Billed = Billed { requests: 1, input_tokens: 10, output_tokens: 2, cost_nusd: 14_000 };
    /// What is held for a call, which is more; which of its tokens are input is not known.
    const HELD: Billed = Billed { requests: 1, input_tokens: 40, output_tokens: 0, cost_nusd: 60_000 };

    const OTHER: Billed = Billed { requests: 1, input_tokens: 11, output_tokens: 1, cost_nusd: 13_000 };

    fn entry(estimated: bool, billed: Billed) -> Entry {
        Entry { model: (!estimated).then(|| "ok".to_owned()), estimated, billed }
    }

    /// The books of a provider that was called so often, and of a ledger with these receipts.
    fn books(calls: u64, receipts: Vec<Entry>) -> Books {
        books_of(&[(CALL, calls)], receipts)
    }

    fn books_of(calls: &[(Billed, u64)], receipts: Vec<Entry>) -> Books {
        let ledger = receipts.iter().map(|entry| entry.billed).sum();
        Books {
            ledger,
            used: ledger.into(),
            receipts: Some(receipts),
            provider: BTreeMap::from([("ok".to_owned(), calls.iter().copied().collect())]),
            ..Books::default()
        }
    }

    #[test]
    fn errors_that_compensate_one_another_are_found() {
        let calls = [(CALL, 1), (OTHER, 1)];
        assert_eq!(books_of(&calls, vec![entry(false, CALL), entry(false, OTHER)]).wrong(false), None);
        let less = Billed { output_tokens: CALL.output_tokens - 1, cost_nusd: CALL.cost_nusd - OUTPUT_NUSD, ..CALL };
        let more = Billed { output_tokens: OTHER.output_tokens + 1, cost_nusd: OTHER.cost_nusd + OUTPUT_NUSD, ..OTHER };
        let found = books_of(&calls, vec![entry(false, less), entry(false, more)]).wrong(false).unwrap_or_default();
        assert!(found.contains("not what a call is billed"), "{found}");
        let twice = vec![entry(false, CALL); 2];
        assert!(
            books_of(&[(CALL, 1), (OTHER, 1)], twice).wrong(true).is_some_and(|wrong| wrong.contains("than calls"))
        );
    }

    #[test]
    fn a_store_that_differs_from_the_ledger_is_found_in_any_unit() {
        let same = books(2, vec![entry(false, CALL); 2]);
        assert_eq!(same.store_differs(0), None);
        let Counted { requests, tokens, nusd } = same.used;
        let table = [(requests - 1, tokens, nusd), (requests, tokens + 1, nusd), (requests, tokens, nusd - 1)];
        for (requests, tokens, nusd) in table {
            let books = Books { used: Counted { requests, tokens, nusd }, ..same.clone() };
            assert!(books.store_differs(0).is_some_and(|found| found.contains("the store has")), "{:?}", books.used);
            assert_eq!(books.store_differs(1), None, "what was in flight when the store was lost");
        }
        let lost = Books { used: Counted::default(), ..same };
        assert!(lost.store_differs(1).is_some());
    }

    #[test]
    fn books_hold_if_they_are_equal_or_above_by_flagged_estimates_of_killed_requests() {
        let (exact, lost) = (entry(false, CALL), entry(true, HELD));
        assert_eq!(books(2, vec![exact.clone(), exact.clone()]).wrong(false), None);
        assert_eq!(books(2, vec![exact.clone(), exact.clone()]).wrong(true), None);
        assert_eq!(books(2, vec![exact.clone(), lost.clone()]).wrong(true), None);
        assert_eq!(books(1, vec![exact.clone(), lost.clone()]).wrong(true), None, "killed before it called");
        assert!(books(2, vec![exact, lost]).wrong(false).is_some_and(|wrong| wrong.contains("ledger")));
    }

    #[test]
    fn what_is_above_the_bill_without_a_flag_is_found() {
        let above = Billed { cost_nusd: CALL.cost_nusd + 1, ..CALL };
        let wrong = |books: Books| books.wrong(true).unwrap_or_default();
        let found = wrong(books(2, vec![entry(false, CALL), entry(false, above)]));
        assert!(found.contains("not what a call is billed"), "{found}");
        // The same sum as with the flag, which was forgotten.
        let forgotten = Entry { estimated: false, ..entry(true, HELD) };
        assert!(wrong(books(2, vec![entry(false, CALL), forgotten])).contains("not what a call is billed"));
        let twice = vec![entry(false, CALL); 3];
        assert!(wrong(books(2, twice)).contains("than calls"));
    }

    #[test]
    fn a_call_without_a_receipt_is_found_though_the_totals_are_above_the_bill() {
        let (exact, lost) = (entry(false, CALL), entry(true, HELD));
        let found = books(4, vec![exact.clone(), exact, lost.clone()]).wrong(true).unwrap_or_default();
        assert!(found.contains("there are estimates of"), "{found}");
        let less = Billed { cost_nusd: CALL.cost_nusd - 1, ..CALL };
        let found = books(1, vec![entry(true, less)]).wrong(true).unwrap_or_default();
        assert!(found.contains("there are estimates of"), "{found}");
    }

    #[test]
    fn totals_that_are_not_the_sum_of_their_receipts_are_found() {
        let mut books = books(2, vec![entry(false, CALL); 2]);
        books.receipts.as_mut().map(Vec::pop);
        let found = books.wrong(false).unwrap_or_default();
        assert!(found.contains("its receipts"), "{found}");
    }

    #[test]
    fn estimates_where_nobody_was_killed_are_found_even_if_they_are_right() {
        let found = books(1, vec![entry(true, CALL)]).wrong(false).unwrap_or_default();
        assert!(found.contains("no process was killed"), "{found}");
    }
}
