//! What a catalog should be asked from time to time: whether its figures still hold, and who says so.
//!
//! Prices change on days that were announced and models are retired; nothing here fails on such a day, so somebody has to
//! look. This is the looking, for `ai-gateway catalog check`.

use crate::catalog::Model;
use crate::limit::window::day_utc;
use crate::money::RatesNusdPerMillion;
use std::sync::Arc;

/// What is to be seen to, a line each, for models that should say where their figures come from.
#[must_use]
pub fn findings(models: &[Arc<Model>], now_ms: u64) -> Vec<String> {
    let mut findings = Vec::new();
    for model in models {
        if model.origin.source.is_none() {
            findings.push(format!("{}: says no source", model.name));
        }
        if model.origin.as_of_ms.is_none() {
            findings.push(format!("{}: says no date (as_of)", model.name));
        }
    }
    findings.extend(past(models, now_ms));
    findings.extend(dearer(models, now_ms));
    findings
}

/// The models that are past a day that they name themselves.
#[must_use]
pub fn past(models: &[Arc<Model>], now_ms: u64) -> Vec<String> {
    let mut findings = Vec::new();
    for model in models {
        if let Some(at_ms) = model.origin.retires_ms.filter(|at_ms| *at_ms <= now_ms) {
            findings.push(format!("{}: its provider was to retire it on {}", model.name, day_utc(at_ms)));
        }
        if model.price.has_run_out(now_ms) {
            findings.push(format!("{}: its price list says nothing of {}", model.name, day_utc(now_ms)));
        }
    }
    findings
}

/// The models that cost more than another entry for the same one: the same id at the same provider, or at its vendor's where
/// a provider that resells it says what it costs. One of the two is out of date.
#[must_use]
pub fn dearer(models: &[Arc<Model>], now_ms: u64) -> Vec<String> {
    let mut findings = Vec::new();
    for model in models.iter().filter(|model| !model.price.is_unknown()) {
        let siblings = models.iter().filter(|other| other.name != model.name && !other.price.is_unknown());
        for sibling in siblings.filter(|sibling| is_same(model, sibling)) {
            if let Some(rate) = dearer_rate(model.price.rates_at(now_ms), sibling.price.rates_at(now_ms)) {
                findings.push(format!(
                    "{}: its {rate} costs more than that of {}, the same model",
                    model.name, sibling.name
                ));
            }
        }
    }
    findings
}

fn is_same(model: &Model, sibling: &Model) -> bool {
    if model.provider == sibling.provider {
        return model.provider_model == sibling.provider_model;
    }
    // A reseller writes `anthropic/claude-haiku-4.5` where the vendor writes `claude-haiku-4-5`.
    let resold = model.provider_model.split_once('/').filter(|_| model.price.is_reported);
    resold.is_some_and(|(vendor, id)| {
        *vendor == *sibling.provider && id.replace('.', "-") == sibling.provider_model.replace('.', "-")
    })
}

/// The first rate that is higher.
fn dearer_rate(rates: RatesNusdPerMillion, others: RatesNusdPerMillion) -> Option<&'static str> {
    let pairs = [
        ("input", rates.input, others.input),
        ("cached_input", rates.cached_input, others.cached_input),
        ("cache_write", rates.cache_write, others.cache_write),
        ("cache_write_1h", rates.cache_write_1h, others.cache_write_1h),
        ("output", rates.output, others.output),
        ("reasoning", rates.reasoning, others.reasoning),
    ];
    pairs.into_iter().find_map(|(name, rate, other)| (rate > other).then_some(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::catalog::{Origin, Simulated, Timeouts};
    use crate::money::{Period, Price};

    const DAY_MS: u64 = 86_400_000;

    fn model(name: &str, id: &str, input: u64) -> Model {
        let timeouts = Timeouts { connect_ms: 1, head_ms: None, first_token_ms: 1, idle_ms: 1, total_ms: 1 };
        let simulated = Simulated { provider: "sim".into(), timeouts };
        Model {
            name: name.into(),
            provider: name.split_once('/').unwrap().0.into(),
            provider_model: id.into(),
            price: RatesNusdPerMillion::of(input, 5).into(),
            origin: Origin { source: Some("its page".into()), as_of_ms: Some(0), retires_ms: None },
            ..simulated.model("sim/cheap").unwrap()
        }
    }

    fn found(models: &[Model], now_ms: u64) -> Vec<String> {
        findings(&models.iter().cloned().map(Arc::new).collect::<Vec<_>>(), now_ms)
    }

    #[test]
    fn an_entry_without_source_or_date_is_found() {
        let good = model("a/b", "b", 1);
        assert_eq!(found(std::slice::from_ref(&good), 0), Vec::<String>::new());
        let bare = Model { origin: Origin::default(), ..good };
        assert_eq!(found(&[bare], 0), ["a/b: says no source", "a/b: says no date (as_of)"]);
    }

    #[test]
    fn an_entry_past_a_day_that_it_names_is_found_on_that_day() {
        let good = model("a/b", "b", 1);
        let origin = Origin { retires_ms: Some(DAY_MS), ..good.origin.clone() };
        let retired = Model { origin, ..good.clone() };
        assert_eq!(found(std::slice::from_ref(&retired), DAY_MS - 1), Vec::<String>::new());
        assert_eq!(found(&[retired], DAY_MS), ["a/b: its provider was to retire it on 1970-01-02"]);
        let period = Period { until_ms: DAY_MS, ..Period::always(RatesNusdPerMillion::of(1, 1)) };
        let ended = Model { price: Price { periods: vec![period], ..Price::default() }, ..good.clone() };
        assert_eq!(found(std::slice::from_ref(&ended), DAY_MS - 1), Vec::<String>::new());
        assert_eq!(found(&[ended], DAY_MS), ["a/b: its price list says nothing of 1970-01-02"]);
        let unknown = Model { price: Price::default(), ..good };
        assert_eq!(found(&[unknown], DAY_MS), Vec::<String>::new());
    }

    #[test]
    fn a_dearer_entry_for_the_same_model_is_found() {
        let (one, two) = (model("a/b", "b-1", 1), model("a/c", "b-1", 2));
        let expected = ["a/c: its input costs more than that of a/b, the same model"];
        assert_eq!(found(&[one.clone(), two], 0), expected);
        assert_eq!(found(&[one.clone(), model("a/c", "b-2", 2)], 0), Vec::<String>::new());
        assert_eq!(
            found(&[one, model("z/c", "b-1", 2)], 0),
            Vec::<String>::new(),
            "another provider has its own price"
        );
        let resold = |input| Model {
            price: Price { is_reported: true, ..RatesNusdPerMillion::of(input, 5).into() },
            ..model("r/b", "a/b.1", input)
        };
        let vendors = model("a/b", "b-1", 1);
        assert_eq!(found(&[vendors.clone(), resold(1)], 0), Vec::<String>::new());
        assert_eq!(found(&[vendors, resold(2)], 0), ["r/b: its input costs more than that of a/b, the same model"]);
    }
}
