//! Reads tables of a TOML file field by field and gathers every problem, each with its line and its path.
//!
//! Why not `#[derive(Deserialize)]`: serde stops at the first problem, knows no line for a name that dangles, and hands
//! numbers over as `f64`, which a price must never pass through (DESIGN 6, Money). Here a reader asks for the fields
//! that it knows, with the range and default of each, so that range, default and field stand on one line; any other
//! key is an unknown field. A message repeats no value but a name that leads nowhere: others may be secrets (T3).

use crate::limit::window::beginning_of;
use crate::money::{MoneyError, WHOLE, parse_usd};
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// More than any price is multiplied by.
const MAX_FACTOR: u64 = 100 * WHOLE;

/// Where in the file something stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Offset in bytes from the file's beginning.
    at: usize,
    /// The field's path, such as `models."groq/llama".provider`; empty for the file itself.
    pub(super) path: String,
}

impl Place {
    /// The place of a field that is not there: the line of its table, with the field's path.
    fn missing(&self, key: &str) -> Self {
        Self { at: self.at, path: join(&self.path, key) }
    }
}

/// A word of the file and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// What it says.
    pub(super) text: String,
    /// Where it says so.
    pub(super) place: Place,
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<(Place, String)>>);

impl Problems {
    /// Adds one; the message says what the field must be, or why it cannot be what it is.
    pub(super) fn add(&self, place: &Place, message: impl Display) {
        self.0.borrow_mut().push((place.clone(), message.to_string()));
    }
}

/// Reads a whole file with `read`.
///
/// # Errors
/// Every problem as `FILE:LINE: PATH: MESSAGE`, in the order of the file; for text that is not TOML only the first.
pub(super) fn read_file<T>(
    text: &str,
    file_name: &str,
    read: impl FnOnce(&mut Section<'_, '_>) -> T,
) -> Result<T, Vec<String>> {
    let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    // The parser's message names what it expected; its `Display` would quote the line, and with it perhaps a secret.
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        vec![format!("{file_name}:{}: {}", line(at), error.message())]
    })?;
    let problems = Problems::default();
    let root = Place { at: 0, path: String::new() };
    let result = Section::read(root, Some(document.get_ref()), &problems, read);
    let mut found = problems.0.into_inner();
    found.sort_by_key(|(place, _)| place.at);
    if found.is_empty() {
        return Ok(result);
    }
    let describe =
        |(place, message): (Place, String)| format!("{file_name}:{}: {}: {message}", line(place.at), place.path);
    Err(found.into_iter().map(describe).collect())
}

/// A table being read. One that the file leaves out reads as an empty one: every field has its default.
pub(super) struct Section<'a, 'i> {
    /// Where the table stands.
    pub(super) place: Place,
    /// Where problems go.
    pub(super) problems: &'a Problems,
    table: Option<&'a DeTable<'i>>,
    read_keys: Vec<String>,
}

impl<'a, 'i> Section<'a, 'i> {
    /// Reads one table, then refuses the fields that `read` did not ask for; it must ask for all before it gives up.
    fn read<T>(
        place: Place,
        table: Option<&'a DeTable<'i>>,
        problems: &'a Problems,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let mut section = Self { place, problems, table, read_keys: Vec::new() };
        let result = read(&mut section);
        let known = section.read_keys.join(", ");
        for key in section.keys().into_iter().filter(|key| !section.read_keys.contains(&key.text)) {
            problems.add(&key.place, format!("unknown field, expected one of {known}"));
        }
        result
    }

    /// The table's keys in the order of the file, for tables whose keys are names.
    pub(super) fn keys(&self) -> Vec<Word> {
        let mut keys: Vec<Word> = self
            .table
            .into_iter()
            .flat_map(|table| table.keys())
            .map(|key| Word {
                text: key.get_ref().to_string(),
                place: Place { at: key.span().start, path: join(&self.place.path, key.get_ref()) },
            })
            .collect();
        keys.sort_by_key(|key| key.place.at);
        keys
    }

    /// Lets every field of this table pass, known or not; for a table that is refused as a whole.
    pub(super) fn ignore_rest(&mut self) {
        self.read_keys = self.keys().into_iter().map(|key| key.text).collect();
    }

    /// Reads the table under `key`.
    pub(super) fn table<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'a, 'i>) -> T) -> T {
        let (place, table) = match self.field(key) {
            None => (self.place.missing(key), None),
            Some((place, DeValue::Table(table))) => (place, Some(table)),
            Some((place, _)) => {
                self.problems.add(&place, "must be a table");
                (place, None)
            }
        };
        Section::read(place, table, self.problems, read)
    }

    /// A whole number within `range`, or `default`.
    pub(super) fn count(&mut self, key: &str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some((place, value)) = self.field(key) else { return default };
        whole_number(value).filter(|number| range.contains(number)).unwrap_or_else(|| {
            self.problems.add(&place, format!("must be a whole number from {} to {}", range.start(), range.end()));
            default
        })
    }

    /// As [`Section::count`], for numbers that fit in 32 bits.
    pub(super) fn small(&mut self, key: &str, range: RangeInclusive<u32>, default: u32) -> u32 {
        let (min, max) = range.into_inner();
        let number = self.count(key, u64::from(min)..=u64::from(max), u64::from(default));
        u32::try_from(number).unwrap_or(default)
    }

    /// As [`Section::count`], where the word `"none"` lifts the limit.
    pub(super) fn limit(&mut self, key: &str, range: RangeInclusive<u64>, default: Option<u64>) -> Option<u64> {
        self.count_or(key, range, "none", default)
    }

    /// As [`Section::count`], where the word `"auto"`, the default, leaves it to the machine.
    pub(super) fn count_or_auto(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        self.count_or(key, range, "auto", None)
    }

    fn count_or(&mut self, key: &str, range: RangeInclusive<u64>, word: &str, default: Option<u64>) -> Option<u64> {
        let Some((place, value)) = self.field(key) else { return default };
        if value.as_str() == Some(word) {
            return None;
        }
        let number = whole_number(value).filter(|number| range.contains(number));
        if number.is_none() {
            let (min, max) = range.into_inner();
            self.problems.add(&place, format!("must be a whole number from {min} to {max}, or \"{word}\""));
        }
        number
    }

    /// Nano-US-dollars, as [`Section::usd`], where the word `"none"` lifts the limit.
    pub(super) fn usd_limit(&mut self, key: &str, default_nusd: Option<u64>) -> Option<u64> {
        match self.field(key) {
            None => default_nusd,
            Some((_, value)) if value.as_str() == Some("none") => None,
            Some(_) => self.usd(key, "a limit"),
        }
    }

    /// A number within `range` that is neither money nor a count, or `default`.
    pub(super) fn number(&mut self, key: &str, range: RangeInclusive<f64>, default: f64) -> f64 {
        let Some((place, value)) = self.field(key) else { return default };
        let literal = value.as_float().map(|f| f.as_str()).or(value.as_integer().map(|i| i.as_str()));
        let number = literal.and_then(|literal| literal.parse::<f64>().ok());
        number.filter(|number| range.contains(number)).unwrap_or_else(|| {
            self.problems.add(&place, format!("must be a number from {:?} to {:?}", range.start(), range.end()));
            default
        })
    }

    /// `true` or `false`, or `default`.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some((place, value)) = self.field(key) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.problems.add(&place, "must be true or false");
            default
        })
    }

    /// A text that is not empty, if the field is there.
    pub(super) fn word(&mut self, key: &str) -> Option<Word> {
        let (place, value) = self.field(key)?;
        self.as_word(place, value)
    }

    /// A text that is not empty and may not be left out.
    pub(super) fn required_word(&mut self, key: &str) -> Option<Word> {
        if self.require(key) { self.word(key) } else { None }
    }

    /// A list of texts, none of them empty, if the field is there.
    pub(super) fn words(&mut self, key: &str) -> Option<Vec<Word>> {
        let (place, value) = self.field(key)?;
        let Some(array) = value.as_array() else {
            self.problems.add(&place, "must be a list of texts");
            return None;
        };
        let element = |(index, value): (usize, &'a toml::Spanned<DeValue<'i>>)| {
            let path = format!("{}[{index}]", place.path);
            self.as_word(Place { at: value.span().start, path }, value.get_ref())
        };
        Some(array.iter().enumerate().filter_map(element).collect())
    }

    /// A list of whole numbers, if the field is there; `None` in place of what is none.
    pub(super) fn counts(&mut self, key: &str) -> Option<(Place, Vec<Option<u64>>)> {
        let (place, value) = self.field(key)?;
        let numbers = match value.as_array() {
            Some(array) => array.iter().map(|value| whole_number(value.get_ref())).collect(),
            None => vec![None],
        };
        Some((place, numbers))
    }

    /// One of a few words, or `default`.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)], default: T) -> T {
        let Some(word) = self.word(key) else { return default };
        let chosen = choices.iter().find(|(name, _)| *name == word.text);
        chosen.map(|(_, value)| *value).unwrap_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            self.problems.add(&word.place, format!("must be {}", names.join(" or ")));
            default
        })
    }

    /// One of the names that the file gives; left out, `usual` where there is such a name, else the first.
    pub(super) fn one_of(&mut self, key: &str, noun: &str, names: &[Arc<str>], usual: &str) -> Arc<str> {
        let word = self.word(key);
        let wanted = word.as_ref().map_or(usual, |word| word.text.as_str());
        let found = names.iter().find(|name| &***name == wanted);
        if let (Some(word), None) = (&word, found) {
            self.problems.add(&word.place, format!("no {noun} is named {:?}", word.text));
        }
        found.or(names.first()).cloned().unwrap_or_default()
    }

    /// One of these names, if the field is there.
    pub(super) fn optional_one_of(&mut self, key: &str, noun: &str, names: &[Arc<str>]) -> Option<Arc<str>> {
        let is_there = self.field(key).is_some();
        is_there.then(|| self.one_of(key, noun, names, ""))
    }

    /// Reads the table under `key`, or each of a list of them; none if the field is not there.
    pub(super) fn tables<T>(&mut self, key: &str, mut read: impl FnMut(&mut Section<'a, 'i>) -> T) -> Vec<T> {
        match self.field(key) {
            None => Vec::new(),
            Some((_, DeValue::Table(_))) => vec![self.table(key, read)],
            Some((place, DeValue::Array(array))) if !array.is_empty() => {
                let of = |(index, value): (usize, &'a toml::Spanned<DeValue<'i>>)| {
                    let place = Place { at: value.span().start, path: format!("{}[{index}]", place.path) };
                    let table = value.get_ref().as_table();
                    if table.is_none() {
                        self.problems.add(&place, "must be a table");
                    }
                    Section::read(place, table, self.problems, &mut read)
                };
                array.iter().enumerate().map(of).collect()
            }
            Some((place, _)) => {
                self.problems.add(&place, "must be a table or a list of tables");
                Vec::new()
            }
        }
    }

    /// The beginning of a day in UTC, in Unix milliseconds, if the field is there; a date of TOML's or a text.
    pub(super) fn date(&mut self, key: &str) -> Option<u64> {
        let (place, value) = self.field(key)?;
        let at_ms = match value {
            DeValue::String(text) => beginning_of(text),
            DeValue::Datetime(date) => beginning_of(&date.to_string()),
            _ => None,
        };
        if at_ms.is_none() {
            self.problems.add(&place, "must be a date, such as 2026-12-01");
        }
        at_ms
    }

    /// What something is multiplied by, in parts of a thousand million, if the field is there.
    pub(super) fn factor(&mut self, key: &str) -> Option<u64> {
        let (place, _) = self.field(key)?;
        let factor = self.decimal(key)?.ok().filter(|factor| *factor <= MAX_FACTOR);
        if factor.is_none() {
            self.problems.add(&place, "must be a decimal number from 0 to 100, of at most nine places");
        }
        factor
    }

    /// The text of a field, if it is one; nothing is said of one that is not.
    pub(super) fn text(&mut self, key: &str) -> Option<&'a str> {
        self.field(key)?.1.as_str()
    }

    /// Nano-US-dollars from a decimal number or text, read from its digits as they stand in the file, if the field is
    /// there; `noun` is what the message calls it.
    pub(super) fn usd(&mut self, key: &str, noun: &str) -> Option<u64> {
        let (place, _) = self.field(key)?;
        self.decimal(key)?.map_err(|error| self.problems.add(&place, format!("{noun} {error}"))).ok()
    }

    fn decimal(&mut self, key: &str) -> Option<Result<u64, MoneyError>> {
        Some(parse_usd(match self.field(key)?.1 {
            DeValue::String(text) => text.as_ref(),
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => "",
        }))
    }

    /// Whether the field is there; a missing one is reported. A table that is not there requires nothing.
    pub(super) fn require(&mut self, key: &str) -> bool {
        let there = self.field(key).is_some();
        if !there && self.table.is_some() {
            self.problems.add(&self.place.missing(key), "is required");
        }
        there
    }

    fn as_word(&self, place: Place, value: &DeValue<'i>) -> Option<Word> {
        let text = value.as_str().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.problems.add(&place, "must be a text that is not empty");
        }
        Some(Word { text: text?.to_owned(), place })
    }

    fn field(&mut self, key: &str) -> Option<(Place, &'a DeValue<'i>)> {
        if !self.read_keys.iter().any(|read| read == key) {
            self.read_keys.push(key.to_owned());
        }
        let value = self.table?.get(key)?;
        Some((Place { at: value.span().start, path: join(&self.place.path, key) }, value.get_ref()))
    }
}

fn whole_number(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A path with one more key, quoted where TOML would have it quoted.
fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
