//! Items, their keys, and changes of them.
//!
//! A change is one value, whether it travels alone or as a part of a transaction: the condition under which it may happen
//! stands beside what happens.

use crate::dynamodb::fault::{Fault, fault};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt::Display;

/// What is stored under one key.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The name of the attribute by which DynamoDB deletes: Unix seconds.
pub(crate) const EXPIRES: &str = "expires_s";

/// Where an item is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// The partition.
    pub(crate) pk: String,
    /// The place in its order.
    pub(crate) sk: String,
}

impl Key {
    pub(crate) fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }

    /// An item that is alone in its partition.
    pub(crate) fn alone(pk: impl Into<String>) -> Self {
        Self::new(pk, "-")
    }

    pub(super) fn attributes(&self) -> Item {
        [("pk".to_owned(), text(&self.pk)), ("sk".to_owned(), text(&self.sk))].into()
    }
}

/// A write, and on what condition.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(super) key: Key,
    pub(super) what: What,
    pub(super) condition: Option<&'static str>,
    pub(super) values: Item,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Put(Item),
    Update(String),
    Delete,
}

impl Change {
    /// Stores an item, over one that is there.
    pub(crate) fn put<const N: usize>(key: Key, attributes: [(&str, AttributeValue); N]) -> Self {
        let mut item = key.attributes();
        item.extend(attributes.map(|(name, value)| (name.to_owned(), value)));
        Self::of(key, What::Put(item))
    }

    /// Changes attributes of an item; makes it where it is not there.
    pub(crate) fn update(key: Key, expression: impl Into<String>) -> Self {
        Self::of(key, What::Update(expression.into()))
    }

    /// Removes an item.
    pub(crate) fn delete(key: Key) -> Self {
        Self::of(key, What::Delete)
    }

    fn of(key: Key, what: What) -> Self {
        Self { key, what, condition: None, values: Item::new() }
    }

    /// Does nothing unless `condition` is true of the item as it is.
    pub(crate) fn only_if(mut self, condition: &'static str) -> Self {
        self.condition = Some(condition);
        self
    }

    /// What stands for `name` in the expression and in the condition.
    pub(crate) fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// A condition that is not met answers with the item as it was.
    pub(super) fn wants_old_item(&self) -> Option<ReturnValuesOnConditionCheckFailure> {
        self.condition.map(|_| ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// As a part of a transaction.
    pub(super) fn in_transaction(self, table: &str) -> Result<TransactWriteItem, Fault> {
        let (key, old, values) = (self.key.attributes(), self.wants_old_item(), self.values());
        let (condition, part) = (self.condition.map(str::to_owned), TransactWriteItem::builder());
        let part = match self.what {
            What::Put(item) => {
                let put = Put::builder().table_name(table).set_item(Some(item)).set_condition_expression(condition);
                let put = put.set_expression_attribute_values(values).set_return_values_on_condition_check_failure(old);
                part.put(put.build().map_err(fault)?)
            }
            What::Update(expression) => {
                let update = Update::builder().table_name(table).set_key(Some(key)).update_expression(expression);
                let update = update.set_condition_expression(condition).set_expression_attribute_values(values);
                part.update(update.set_return_values_on_condition_check_failure(old).build().map_err(fault)?)
            }
            What::Delete => {
                let delete = Delete::builder().table_name(table).set_key(Some(key)).set_condition_expression(condition);
                let delete = delete.set_expression_attribute_values(values);
                part.delete(delete.set_return_values_on_condition_check_failure(old).build().map_err(fault)?)
            }
        };
        Ok(part.build())
    }

    pub(super) fn values(&self) -> Option<Item> {
        Some(self.values.clone()).filter(|values| !values.is_empty())
    }
}

pub(crate) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(crate) fn number(number: impl Display) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) fn bytes(bytes: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// A record as JSON: what is in it is the program's to know, and the database's to keep.
pub(crate) fn json(record: &impl Serialize) -> Result<AttributeValue, Fault> {
    serde_json::to_string(record).map(text).map_err(|error| Fault(error.to_string()))
}

/// Unix milliseconds as the seconds by which DynamoDB deletes.
pub(crate) fn seconds(at_ms: u64) -> AttributeValue {
    number(at_ms / 1000)
}

/// The text `name` of an item.
pub(crate) fn text_of<'a>(item: &'a Item, name: &str) -> Result<&'a str, Fault> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        _ => Err(Fault(format!("an item has no text {name}: {:?}", item.get("pk")))),
    }
}

/// The number `name` of an item, 0 where it has none; what is greater than 2⁶⁴ − 1 is that.
pub(crate) fn number_of(item: &Item, name: &str) -> u64 {
    match item.get(name) {
        Some(AttributeValue::N(digits)) => digits.parse().unwrap_or_else(|_| saturated(digits)),
        _ => 0,
    }
}

fn saturated(digits: &str) -> u64 {
    if digits.starts_with('-') { 0 } else { u64::MAX }
}

/// The number `name` of an item, which may have up to 38 digits; 0 where it has none.
pub(crate) fn wide_number_of(item: &Item, name: &str) -> u128 {
    let Some(AttributeValue::N(digits)) = item.get(name) else { return 0 };
    // An emulator may write a round number with an exponent.
    let (digits, zeros) = digits.split_once(['E', 'e']).unwrap_or((digits, "0"));
    let power = 10_u128.checked_pow(zeros.trim_start_matches('+').parse().unwrap_or(u32::MAX));
    digits.parse::<u128>().ok().zip(power).and_then(|(digits, power)| digits.checked_mul(power)).unwrap_or(u128::MAX)
}

/// The bytes `name` of an item.
pub(crate) fn bytes_of<'a>(item: &'a Item, name: &str) -> Option<&'a [u8]> {
    item.get(name).and_then(|value| value.as_b().ok()).map(Blob::as_ref)
}

/// The record that [`json`] stored as `name`.
pub(crate) fn record_of<T: DeserializeOwned>(item: &Item, name: &str) -> Result<T, Fault> {
    serde_json::from_str(text_of(item, name)?).map_err(|error| Fault(format!("a record cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_beyond_64_bits_is_the_greatest_number() {
        let item = |digits: &str| Item::from([("n".to_owned(), number(digits))]);
        for (digits, expected) in [
            ("7", 7),
            ("18446744073709551615", u64::MAX),
            ("18446744073709551616", u64::MAX),
            ("36893488147419103230", u64::MAX),
            ("1E+30", u64::MAX),
            ("-1", 0),
        ] {
            assert_eq!(number_of(&item(digits), "n"), expected, "{digits}");
        }
        assert_eq!(number_of(&item("7"), "m"), 0, "what is not there");
    }
}
