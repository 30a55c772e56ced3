//! A usage row as an item: what the receipts of an hour, a tenant and an answering model add up to, below 1 KB always.
//!
//! A write is billed by the size of its item, 1 KB a unit, and DynamoDB adds only to top-level attributes. So the counts
//! that are small and many share numbers: four of seven digits in one of 28, which DynamoDB adds as exactly as any. No
//! count outgrows its digits, for an item takes at most 1,000 write units a second, two a transaction: 1.8 million
//! receipts in its hour.
//!
//! Calls of models other than the answering one (tried before a failover, called as classifier) need the models' names.
//! They stand once, in the row's key: requests that went another way count in another row of the same hour, still one row
//! each. As many are named as fit whatever is counted; the calls of the rest are those of `…`.

use crate::clock::HOUR_MS;
use crate::dynamodb::{Item, wide_number_of};
use crate::ledger::spread::{LATENCY, OVERHEAD, Scale, Spread};
use crate::ledger::{Calls, Counts, Tally};
use crate::receipt::Receipt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a row takes at most.
const ROW_BYTES: usize = 1024;
/// What of it all but the names of tenant and models and the calls takes at most, and what the calls of one model take.
const FIXED_BYTES: usize = 465;
const CALLS_BYTES: usize = 55;
/// Calls of models whose names do not fit.
const REST: &str = "…";

/// How many counts share a number, and the power of ten that separates them.
const AT_ONCE: usize = 4;
const APART: u128 = 10_000_000;

/// What stood in rows of a day, before there were rows of an hour, and stands in those by tag.
pub(super) const PLAIN: [&str; 5] = ["requests", "cache_hits", "input_tokens", "output_tokens", "cost_nusd"];

/// Which row: the sort key in a day's partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Its uid.
    pub(super) tenant: Arc<str>,
    /// The model that answered; empty where none did.
    pub(super) model: Arc<str>,
    /// The hour of the day; `None` for a row of all of it.
    pub(super) hour: Option<u8>,
    /// Whose calls are counted beside those of `model`.
    others: Vec<Arc<str>>,
}

impl Place {
    /// Where a receipt counts.
    pub(super) fn of(receipt: &Receipt) -> Self {
        let model = receipt.model.clone().unwrap_or_default();
        let names: BTreeSet<_> = receipt.attempts.iter().map(|attempt| &attempt.model).collect();
        let taken = FIXED_BYTES + CALLS_BYTES + receipt.uid().len() + model.len();
        let of_rest = CALLS_BYTES + 1 + REST.len();
        let mut room = ROW_BYTES.saturating_sub(taken + of_rest);
        let mut others = Vec::new();
        let mut has_rest = false;
        for name in names.into_iter().filter(|name| **name != model) {
            let bytes = CALLS_BYTES + 1 + name.len();
            // The catalog's names are such; a space would end the name in the key.
            if bytes <= room && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) {
                room -= bytes;
                others.push(name.clone());
            } else {
                has_rest = true;
            }
        }
        others.extend(has_rest.then(|| REST.into()));
        let hour = u8::try_from(receipt.created_at_ms / HOUR_MS % 24).ok();
        Self { tenant: receipt.uid().clone(), model, hour, others }
    }

    /// The sort key: `<tenant>#<model>`, and after a tab the hour and the others. No uid holds a `#`, and all that
    /// a name may hold sorts after a tab, so that the order is that of tenant, model and hour.
    pub(super) fn sort_key(&self) -> String {
        let mut key = format!("{}#{}", self.tenant, self.model);
        if let Some(hour) = self.hour {
            key += &format!("\t{hour:02}");
        }
        self.others.iter().for_each(|name| key.extend([" ", name]));
        key
    }

    /// Reads a sort key.
    pub(super) fn read(key: &str) -> Option<Self> {
        let (names, rest) = key.rsplit_once('\t').unwrap_or((key, ""));
        let mut rest = rest.split(' ');
        let hour = rest.next().and_then(|hour| hour.parse().ok()).filter(|hour| *hour < 24);
        // A tab of the model's own, of before there were hours.
        let names = if hour.is_some() { names } else { key };
        let (tenant, model) = names.split_once('#')?;
        let others = rest.filter(|_| hour.is_some()).map(Arc::from).collect();
        Some(Self { tenant: tenant.into(), model: model.into(), hour, others })
    }

    /// The models whose calls have a place of their own, in its order.
    fn models(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.model).chain(&self.others)
    }
}

/// What is added to a row's attributes for a tally of receipts that count in it; all above zero.
pub(super) fn terms(place: &Place, tally: &Tally) -> BTreeMap<String, u128> {
    let Counts { requests, cache_hits, errors, failovers, upgrades, outages, input_tokens, output_tokens, cost_nusd } =
        tally.counts;
    let mut terms = BTreeMap::from([
        ("c0".to_owned(), packed([requests, cache_hits, errors, failovers])),
        ("c1".to_owned(), packed([upgrades, outages, 0, 0])),
        ("tin".to_owned(), input_tokens.into()),
        ("tout".to_owned(), output_tokens.into()),
        ("nusd".to_owned(), cost_nusd.into()),
    ]);
    for (letter, spread) in [('l', &tally.latency), ('o', &tally.overhead)] {
        terms.insert(format!("{letter}s"), spread.sum_us.into());
        for &(bucket, count) in &spread.buckets {
            let (group, place) = (usize::from(bucket) / AT_ONCE, usize::from(bucket) % AT_ONCE);
            let mut counts = [0; AT_ONCE];
            counts[place] = count;
            *terms.entry(format!("{letter}{group}")).or_default() += packed(counts);
        }
    }
    let mut all = vec![Calls::default(); 1 + place.others.len()];
    for (model, calls) in &tally.models {
        let named = place.models().position(|name| name == model);
        if let Some(sum) = all.get_mut(named.unwrap_or(place.others.len())) {
            sum.absorb(calls);
        }
    }
    for (n, calls) in all.iter().enumerate() {
        terms.insert(format!("n{n}"), packed([calls.requests, calls.failures, calls.first_tokens, 0]));
        terms.insert(format!("a{n}"), calls.latency_us.into());
        terms.insert(format!("q{n}"), calls.latency_us2);
        terms.insert(format!("t{n}"), calls.ttft_us.into());
    }
    terms.retain(|_, term| *term > 0);
    terms
}

fn narrow(item: &Item, name: &str) -> u64 {
    u64::try_from(wide_number_of(item, name)).unwrap_or(u64::MAX)
}

/// What an item with [`PLAIN`] attributes counts.
pub(super) fn plain(item: &Item) -> Counts {
    let [requests, cache_hits, input_tokens, output_tokens, cost_nusd] = PLAIN.map(|name| narrow(item, name));
    Counts { requests, cache_hits, input_tokens, output_tokens, cost_nusd, ..Counts::default() }
}

/// What an item says of the receipts that count in it.
pub(super) fn tally(place: &Place, item: &Item) -> Tally {
    let wide = |name: &str| wide_number_of(item, name);
    let narrow = |name: &str| narrow(item, name);
    if place.hour.is_none() {
        return Tally { counts: plain(item), ..Tally::default() };
    }
    let ([requests, cache_hits, errors, failovers], [upgrades, outages, ..]) =
        (unpacked(wide("c0")), unpacked(wide("c1")));
    let (input_tokens, output_tokens, cost_nusd) = (narrow("tin"), narrow("tout"), narrow("nusd"));
    let counts =
        Counts { requests, cache_hits, errors, failovers, upgrades, outages, input_tokens, output_tokens, cost_nusd };
    let spread = |letter: char, scale: Scale| {
        let mut spread = Spread { sum_us: narrow(&format!("{letter}s")), ..Spread::default() };
        for group in usize::from(scale.0) / AT_ONCE..=usize::from(scale.1) / AT_ONCE {
            for (bucket, count) in (group * AT_ONCE..).zip(unpacked(wide(&format!("{letter}{group}")))) {
                spread.add_to(u8::try_from(bucket).unwrap_or(scale.1), count);
            }
        }
        spread
    };
    let mut tally =
        Tally { counts, latency: spread('l', LATENCY), overhead: spread('o', OVERHEAD), ..Tally::default() };
    for (n, model) in place.models().enumerate() {
        let [requests, failures, first_tokens, _] = unpacked(wide(&format!("n{n}")));
        if requests > 0 {
            let (latency_us, ttft_us) = (narrow(&format!("a{n}")), narrow(&format!("t{n}")));
            let latency_us2 = wide(&format!("q{n}"));
            tally.add_calls(model, &Calls { requests, failures, latency_us, latency_us2, first_tokens, ttft_us });
        }
    }
    tally
}

/// Four counts in one number, the first in its lowest digits.
fn packed(counts: [u64; AT_ONCE]) -> u128 {
    counts.iter().rev().fold(0, |number, count| number * APART + u128::from(*count))
}

fn unpacked(mut number: u128) -> [u64; AT_ONCE] {
    [(); AT_ONCE].map(|()| {
        let count = number % APART;
        number /= APART;
        u64::try_from(count).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dynamodb::{EXPIRES, number};
    use crate::ledger::contract::{MIDNIGHT_MS, receipt};
    use crate::receipt::{Attempt, AttemptKind};

    /// A receipt of a request that went through these models, of which the last one answered.
    fn through(tenant: &str, models: &[&str]) -> Receipt {
        let attempt = |model: &&str| Attempt::of((*model).into(), AttemptKind::Failover, 410.5);
        let answering = models.last().filter(|model| !model.is_empty());
        Receipt {
            model: answering.map(|model| (*model).into()),
            attempts: models.iter().filter(|model| !model.is_empty()).map(attempt).collect(),
            ..receipt(tenant, MIDNIGHT_MS + 13 * HOUR_MS)
        }
    }

    /// The bytes of an item, as DynamoDB counts them: names, texts, and of numbers two digits a byte and one more.
    fn bytes(pk: &str, place: &Place, terms: &BTreeMap<String, u128>) -> usize {
        let number = |name: &str, digits: usize| name.len() + digits.div_ceil(2) + 1;
        let keys = "pk".len() + pk.len() + "sk".len() + place.sort_key().len();
        let sums: usize = terms.iter().map(|(name, term)| number(name, term.to_string().len())).sum();
        keys + number(EXPIRES, 10) + sums
    }

    /// As much as ten million receipts can add up to, in everything that a row counts.
    fn full(place: &Place) -> Tally {
        let max = u64::try_from(APART).unwrap() - 1;
        let spread = |scale: Scale| Spread {
            sum_us: max * 10_000_000_000,
            buckets: (scale.0..=scale.1).map(|bucket| (bucket, max)).collect(),
        };
        let calls = Calls {
            requests: max,
            failures: max,
            latency_us: max * 10_000_000_000,
            latency_us2: u128::from(max) * 10_u128.pow(20),
            first_tokens: max,
            ttft_us: max * 10_000_000_000,
        };
        Tally {
            counts: Counts {
                requests: max,
                cache_hits: max,
                errors: max,
                failovers: max,
                upgrades: max,
                outages: max,
                input_tokens: u64::MAX,
                output_tokens: u64::MAX,
                cost_nusd: u64::MAX,
            },
            latency: spread(LATENCY),
            overhead: spread(OVERHEAD),
            models: place.models().map(|model| (model.clone(), calls)).collect(),
        }
    }

    #[test]
    fn a_row_is_below_one_write_unit_however_full_it_is_and_whatever_the_names() {
        let long = |n: u8| char::from(b'a' + n).to_string().repeat(128);
        let long: Vec<String> = (0..20).map(long).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        let usual: Vec<String> = (0..20).map(|n| format!("anthropic/claude-sonnet-{n:02}")).collect();
        let usual: Vec<&str> = usual.iter().map(String::as_str).collect();
        let short: Vec<String> = (0..20).map(|n| format!("{n}")).collect();
        let short: Vec<&str> = short.iter().map(String::as_str).collect();
        for (models, named) in [(&long, 1), (&usual, 5), (&short, 8)] {
            for tenant in [format!("{}~0123456789abcdef", "a".repeat(64)), "acme".to_owned()] {
                for count in [1, 2, 5, 20] {
                    let place = Place::of(&through(&tenant, &models[..count]));
                    let terms = terms(&place, &full(&place));
                    let bytes = bytes("USAGE#2025-11-22#13", &place, &terms);
                    assert!(bytes <= ROW_BYTES, "{bytes} bytes for {} others", place.others.len());
                    if count == 20 && tenant == "acme" {
                        assert!(place.others.len() >= named, "{} of {models:?}", place.others.len());
                    }
                }
            }
        }
        // The bounds by which names are admitted are what things take, not more.
        let place = Place::of(&through("", &[""]));
        let alone = terms(&place, &full(&place));
        let calls: usize =
            ["n0", "a0", "q0", "t0"].map(|name| 2 + alone[name].to_string().len().div_ceil(2) + 1).iter().sum();
        assert_eq!((bytes("USAGE#2025-11-22#13", &place, &alone) - calls, calls), (FIXED_BYTES, CALLS_BYTES));
    }

    #[test]
    fn what_is_written_to_a_row_is_read_from_it() {
        for models in [&["a/b", "c#d", "e f", "g/h"][..], &["a/b"], &["a/b", ""], &["\t12", "x\ty\t99"]] {
            let received = through("acme", models);
            let place = Place::of(&received);
            assert_eq!(Place::read(&place.sort_key()), Some(place.clone()), "{models:?}");
            let mut sum = Tally::default();
            (0..3).for_each(|_| sum.count(&received));
            let item = terms(&place, &sum).into_iter().map(|(name, term)| (name, number(term))).collect();
            let read = tally(&place, &item);
            let calls = |tally: &Tally| tally.models.values().map(|calls| calls.requests).sum::<u64>();
            assert_eq!((read.counts, &read.latency, &read.overhead), (sum.counts, &sum.latency, &sum.overhead));
            assert_eq!(calls(&read), calls(&sum), "{models:?}");
            let whole = full(&place);
            let item = terms(&place, &whole).into_iter().map(|(name, term)| (name, number(term))).collect();
            assert_eq!(tally(&place, &item).counts, whole.counts);
        }
    }

    #[test]
    fn a_row_of_a_day_of_before_is_read() {
        let place = Place::read("acme#groq/llama\tx").unwrap();
        assert_eq!((&*place.model, place.hour), ("groq/llama\tx", None));
        let item = PLAIN.iter().zip(1..).map(|(name, n)| ((*name).to_owned(), number(n))).collect();
        let Counts { requests, cache_hits, input_tokens, output_tokens, cost_nusd, .. } = tally(&place, &item).counts;
        assert_eq!([requests, cache_hits, input_tokens, output_tokens, cost_nusd], [1, 2, 3, 4, 5]);
    }
}
