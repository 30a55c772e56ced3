//! A usage row by tag as an item: what the receipts of an hour, a tenant, an answering model and one value of a tag add up to.
//!
//! It lies apart from the rows of all receipts, in a partition of its day and its tag's key, so that whoever reads those does
//! not read this, and whoever reads one tag reads no other. It is below 1 KB: one write unit, two in a transaction.

use super::row::{PLAIN, plain};
use crate::clock::HOUR_MS;
use crate::dynamodb::{Fault, Item, text_of};
use crate::ledger::Counts;
use crate::receipt::Receipt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which row: the sort key in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TagPlace {
    /// Its uid.
    pub(super) tenant: Arc<str>,
    /// The hour of the day.
    pub(super) hour: u8,
    /// The model that answered; empty where none did.
    pub(super) model: Arc<str>,
    /// The tag's value.
    pub(super) value: Arc<str>,
}

impl TagPlace {
    /// Where a receipt counts that has this value.
    pub(super) fn of(receipt: &Receipt, value: &Arc<str>) -> Self {
        let hour = u8::try_from(receipt.created_at_ms / HOUR_MS % 24).unwrap_or_default();
        let model = receipt.model.clone().unwrap_or_default();
        Self { tenant: receipt.uid().clone(), hour, model, value: value.clone() }
    }

    /// The sort key: `<tenant>#["<model>","<value>",<hour>]`, for both may hold anything, and no uid a `#`.
    pub(super) fn sort_key(&self) -> String {
        format!("{}#{}", self.tenant, serde_json::json!([self.model, self.value, self.hour]))
    }

    /// Reads a row.
    pub(super) fn read(item: &Item) -> Result<(Self, Counts), Fault> {
        let key = text_of(item, "sk")?;
        let read = key.split_once('#').and_then(|(tenant, rest)| {
            let (model, value, hour) = serde_json::from_str(rest).ok()?;
            Some(Self { tenant: tenant.into(), hour, model, value })
        });
        read.map(|place| (place, plain(item))).ok_or_else(|| Fault(format!("a usage row by tag has no tag: {key}")))
    }
}

/// What is added to a row's attributes; all above zero.
pub(super) fn terms(counts: Counts) -> BTreeMap<String, u128> {
    let Counts { requests, cache_hits, input_tokens, output_tokens, cost_nusd, .. } = counts;
    let values = [requests, cache_hits, input_tokens, output_tokens, cost_nusd].map(u128::from);
    let terms = PLAIN.into_iter().map(str::to_owned).zip(values);
    terms.filter(|(_, value)| *value > 0).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dynamodb::{number, text};
    use crate::ledger::contract::{MIDNIGHT_MS, receipt};

    #[test]
    fn what_is_written_to_a_row_is_read_from_it_whatever_the_texts() {
        for (model, value) in [("a/b", "red"), ("", "a#b\t7"), ("x\ty#", "\"]"), ("日本語", "…")] {
            let received = Receipt { model: Some(model.into()), ..receipt("acme~1", MIDNIGHT_MS + 23 * HOUR_MS) };
            let (place, counts) = (TagPlace::of(&received, &value.into()), Counts::of(&received));
            let mut item: Item = terms(counts).into_iter().map(|(name, term)| (name, number(term))).collect();
            item.insert("sk".to_owned(), text(place.sort_key()));
            assert_eq!(TagPlace::read(&item).unwrap(), (place, counts));
        }
    }
}
