//! The result: one Markdown table for people, one JSON file for programs.
//!
//! No figure stands alone: machines differ and neighbours make noise, so each row says beside its value what it is to be
//! compared with in the same run, what was aimed at, and how much CPU others used meanwhile. There are no verdicts.

use serde_json::{Value, json};
use std::fmt::Write as _;

/// A row.
pub(crate) struct Figure {
    name: String,
    value: Option<f64>,
    unit: &'static str,
    ratio: Option<(f64, &'static str)>,
    target: &'static str,
    foreign_cores: Option<f64>,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value: Some(value), unit, ratio: None, target: "", foreign_cores: None }
    }

    /// A row without a value, for what could not be measured; `why` says so.
    pub(crate) fn missing(name: impl Into<String>, why: &'static str) -> Self {
        Self { name: name.into(), value: None, unit: why, ratio: None, target: "", foreign_cores: None }
    }

    /// `ratio` is to be read as "times what `of` names".
    pub(crate) fn ratio(mut self, ratio: f64, of: &'static str) -> Self {
        self.ratio = Some((ratio, of));
        self
    }

    pub(crate) fn target(mut self, target: &'static str) -> Self {
        self.target = target;
        self
    }

    pub(crate) fn foreign(mut self, cores: f64) -> Self {
        self.foreign_cores = Some(cores);
        self
    }

    /// The value of the row of this name.
    pub(crate) fn value_of(&self, name: &str) -> Option<f64> {
        self.value.filter(|_| self.name == name)
    }

    fn json(&self) -> Value {
        let ratio = self.ratio.map(|(ratio, of)| json!({"times": ratio, "of": of}));
        let target = Some(self.target).filter(|target| !target.is_empty());
        json!({"name": self.name, "value": self.value, "unit": self.unit, "ratio": ratio, "target": target,
            "foreign_cores": self.foreign_cores})
    }
}

/// The rows as a Markdown table.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut table = "| figure | value | read as | target | foreign cores |\n|---|---|---|---|---|\n".to_owned();
    for Figure { name, value, unit, ratio, target, foreign_cores } in figures {
        let value = value.map_or_else(String::new, |value| short(value) + " ");
        let ratio = ratio.map_or_else(String::new, |(ratio, of)| format!("{} × {of}", short(ratio)));
        let foreign = foreign_cores.map_or_else(String::new, |cores| format!("{cores:.2}"));
        let _ = writeln!(table, "| {name} | {value}{unit} | {ratio} | {target} | {foreign} |");
    }
    table
}

pub(crate) fn json(figures: &[Figure], circumstances: Value) -> Value {
    json!({"circumstances": circumstances, "rows": figures.iter().map(Figure::json).collect::<Vec<_>>()})
}

/// With about three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The value below which `percent` of all lie.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_any_number_of_values_are_among_them() {
        let hundred: Vec<f64> = (0..100).rev().map(f64::from).collect();
        for (values, percent, expected) in
            [(&hundred[..], 50, 50.0), (&hundred, 99, 99.0), (&hundred[..1], 99, 99.0), (&hundred[..2], 50, 99.0)]
        {
            assert_eq!(percentile(values, percent), expected, "{percent} of {}", values.len());
        }
        assert!(percentile(&[], 50).is_nan());
    }
}
