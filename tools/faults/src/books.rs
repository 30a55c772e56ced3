//! The books of both sides, held against one another (M6).
//!
//! Totals that are above the provider's prove nothing yet: too much charged to one request would hide that another was
//! charged too little, or not at all. So each receipt is looked at. One without a flag must be what the provider billed for
//! one call of its model, to the token and the nano-dollar; calls of a model are alike in a scenario, so that is the
//! model's bill divided by its calls. What the provider billed beyond those, it billed for the flagged ones: these must be
//! as many as such calls, or more (a process may be killed before it calls), and come to as much, or more. The difference
//! between the totals is then what the flagged receipts have above their part of the bill, and nothing else.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use upstream_double::{Double, Tally};

/// What a token costs, in nano-dollars.
pub(crate) const INPUT_NUSD: u64 = 1_000;
pub(crate) const OUTPUT_NUSD: u64 = 2_000;

/// What was billed for, or what a ledger says was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Billed {
    /// Calls that were answered, or requests.
    pub(crate) requests: u64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cost_nusd: u64,
}

impl Billed {
    /// What a row or a receipt of the gateway's says, as so many requests.
    pub(crate) fn told(requests: u64, tokens: &Value, cost_usd: &Value) -> Result<Self> {
        let count = |name: &str| tokens[name].as_u64().unwrap_or_default();
        let (input_tokens, output_tokens) = (count("input_tokens"), count("output_tokens"));
        Ok(Self { requests, input_tokens, output_tokens, cost_nusd: nusd(cost_usd)? })
    }

    fn by(model: &str, tally: &Tally) -> Self {
        let Tally { calls, input_tokens, output_tokens, .. } = *tally;
        let input_nusd = if model.contains("@free") { 0 } else { INPUT_NUSD };
        let cost_nusd = input_tokens * input_nusd + output_tokens * OUTPUT_NUSD;
        Self { requests: calls, input_tokens, output_tokens, cost_nusd }
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.input_tokens + self.output_tokens
    }

    /// One of as many alike as there are requests.
    fn each(self) -> Option<Self> {
        let part = |all: u64| (all.checked_rem(self.requests)? == 0).then(|| all / self.requests);
        Some(Self {
            requests: part(self.requests)?,
            input_tokens: part(self.input_tokens)?,
            output_tokens: part(self.output_tokens)?,
            cost_nusd: part(self.cost_nusd)?,
        })
    }

    /// What is left of it, if it is as much in each part.
    fn minus(self, other: Self) -> Option<Self> {
        Some(Self {
            requests: self.requests.checked_sub(other.requests)?,
            input_tokens: self.input_tokens.checked_sub(other.input_tokens)?,
            output_tokens: self.output_tokens.checked_sub(other.output_tokens)?,
            cost_nusd: self.cost_nusd.checked_sub(other.cost_nusd)?,
        })
    }
}

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
            billed: Billed::told(1, &receipt["usage"], &receipt["cost_usd"])?,
        })
    }
}

/// Both sides' books.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    /// Whether the store answered.
    pub(crate) is_live: bool,
    pub(crate) used_requests: u64,
    pub(crate) used_nusd: u64,
    pub(crate) held_requests: u64,
    pub(crate) held_nusd: u64,
    /// The ledger's totals.
    pub(crate) ledger: Billed,
    /// The receipts that these are the sum of; none are to be had of a ledger in a file.
    pub(crate) receipts: Option<Vec<Entry>>,
    /// What the provider billed for each model.
    pub(crate) provider: BTreeMap<String, Billed>,
}

/// What the provider counted for each model.
pub(crate) fn provider(double: &Double) -> BTreeMap<String, Billed> {
    let counts = double.counts();
    counts.models.iter().map(|(model, tally)| (model.clone(), Billed::by(model, tally))).collect()
}

impl Books {
    /// What the provider billed.
    pub(crate) fn double(&self) -> Billed {
        self.provider.values().copied().sum()
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
        let exact = receipts.iter().filter(|entry| !entry.estimated);
        if let Some(odd) = exact.clone().find(|entry| !self.is_a_call(entry)) {
            return Some(format!("no estimate, and not what a call is billed: {odd:?}, double {:?}", self.provider));
        }
        let Some(rest) = double.minus(exact.map(|entry| entry.billed).sum()) else {
            return Some(format!("more receipts that are no estimates than calls: double {double:?}"));
        };
        // Which tokens of an estimate are input nobody knows, so they count together.
        let covered = estimates.requests >= rest.requests
            && estimates.tokens() >= rest.tokens()
            && estimates.cost_nusd >= rest.cost_nusd;
        (!covered).then(|| format!("for {rest:?} of the provider's there are estimates of {estimates:?}"))
    }

    /// Whether a receipt is what the provider bills for a call of its model.
    fn is_a_call(&self, entry: &Entry) -> bool {
        let model = entry.model.as_ref().and_then(|model| self.provider.get(model));
        model.and_then(|all| all.each()) == Some(entry.billed)
    }
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

    fn entry(estimated: bool, billed: Billed) -> Entry {
        Entry { model: (!estimated).then(|| "ok".to_owned()), estimated, billed }
    }

    /// The books of a provider that was called so often, and of a ledger with these receipts.
    fn books(calls: usize, receipts: Vec<Entry>) -> Books {
        Books {
            ledger: receipts.iter().map(|entry| entry.billed).sum(),
            receipts: Some(receipts),
            provider: BTreeMap::from([("ok".to_owned(), [CALL].iter().cycle().take(calls).copied().sum())]),
            ..Books::default()
        }
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
        let told = wrong(books(2, vec![entry(false, CALL), entry(false, above)]));
        assert!(told.contains("not what a call is billed"), "{told}");
        // The same sum as with the flag, which was forgotten.
        let forgotten = Entry { estimated: false, ..entry(true, HELD) };
        assert!(wrong(books(2, vec![entry(false, CALL), forgotten])).contains("not what a call is billed"));
        let twice = vec![entry(false, CALL); 3];
        assert!(wrong(books(2, twice)).contains("than calls"));
    }

    #[test]
    fn a_call_without_a_receipt_is_found_though_the_totals_are_above_the_bill() {
        let (exact, lost) = (entry(false, CALL), entry(true, HELD));
        let told = books(4, vec![exact.clone(), exact, lost.clone()]).wrong(true).unwrap_or_default();
        assert!(told.contains("there are estimates of"), "{told}");
        let less = Billed { cost_nusd: CALL.cost_nusd - 1, ..CALL };
        let told = books(1, vec![entry(true, less)]).wrong(true).unwrap_or_default();
        assert!(told.contains("there are estimates of"), "{told}");
    }

    #[test]
    fn totals_that_are_not_the_sum_of_their_receipts_are_found() {
        let mut books = books(2, vec![entry(false, CALL); 2]);
        books.receipts.as_mut().map(Vec::pop);
        let told = books.wrong(false).unwrap_or_default();
        assert!(told.contains("its receipts"), "{told}");
    }

    #[test]
    fn estimates_where_nobody_was_killed_are_found_even_if_they_are_right() {
        let told = books(1, vec![entry(true, CALL)]).wrong(false).unwrap_or_default();
        assert!(told.contains("no process was killed"), "{told}");
    }
}
