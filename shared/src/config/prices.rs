//! `usd_per_million` of a model: a price list, from one line of three rates to periods with tiers, hours and factors.

use super::reader::{Section, Word};
use crate::money::{Hours, Period, Price, PromptTier, RatesNusdPerMillion, ServiceTier};

/// The word in place of a price list where nobody knows the price.
const UNKNOWN: &str = "unknown";
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Reads the fields of a model that say what it charges; `None` where a problem is reported.
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Price> {
    let is_reported = section.flag("reported_cost", false);
    let writes_when_asked = section.choice("cache_writes", &[("asked", true), ("unasked", false)], false);
    if !section.require("usd_per_million") {
        return None;
    }
    let periods = match section.text("usd_per_million") {
        Some(UNKNOWN) => Vec::new(),
        _ => section.tables("usd_per_million", period).into_iter().collect::<Option<_>>()?,
    };
    Some(Price { periods, is_reported, writes_when_asked })
}

fn period(section: &mut Section<'_, '_>) -> Option<Period> {
    let rates = rates(section);
    let from_ms = section.date("from").unwrap_or(0);
    let until_ms = section.date("until").unwrap_or(u64::MAX);
    if until_ms <= from_ms {
        section.problems.add(&section.place, "its until must be after its from");
    }
    let words = section.words("hours").unwrap_or_default();
    let hours = words.iter().map(|word| hours(section, word)).collect::<Option<Vec<_>>>();
    let tiers = section.tables("tiers", tier).into_iter().collect::<Option<Vec<_>>>();
    let is_rising = |tiers: &[PromptTier]| tiers.is_sorted_by(|a, b| a.above_prompt_tokens < b.above_prompt_tokens);
    if tiers.as_ref().is_some_and(|tiers| !is_rising(tiers)) {
        section.problems.add(&section.place, "its tiers must be in rising order of above_prompt_tokens");
    }
    let service_tiers = section.table("service_tiers", service_tiers);
    Some(Period { from_ms, until_ms, hours: hours?, rates: rates?, tiers: tiers?, service_tiers })
}

fn rates(section: &mut Section<'_, '_>) -> Option<RatesNusdPerMillion> {
    let mut required = |key| if section.require(key) { section.usd(key, "a price") } else { None };
    let (input, output) = (required("input"), required("output"));
    let mut or = |key, otherwise: Option<u64>| section.usd(key, "a price").or(otherwise);
    let (cached_input, cache_write) = (or("cached_input", input), or("cache_write", input));
    let (cache_write_1h, reasoning) = (or("cache_write_1h", cache_write), or("reasoning", output));
    Some(RatesNusdPerMillion {
        input: input?,
        cached_input: cached_input?,
        cache_write: cache_write?,
        cache_write_1h: cache_write_1h?,
        output: output?,
        reasoning: reasoning?,
    })
}

fn tier(section: &mut Section<'_, '_>) -> Option<PromptTier> {
    let is_there = section.require("above_prompt_tokens");
    let above_prompt_tokens = section.count("above_prompt_tokens", 1..=100_000_000, 1);
    let rates = rates(section)?;
    is_there.then_some(PromptTier { above_prompt_tokens, rates })
}

fn service_tiers(section: &mut Section<'_, '_>) -> Vec<(ServiceTier, u64)> {
    let mut read = Vec::new();
    for name in section.keys() {
        let factor = section.factor(&name.text);
        match ServiceTier::PRICED.iter().find(|(known, _)| *known == name.text) {
            Some((_, tier)) => read.extend(factor.map(|factor| (*tier, factor))),
            None => {
                let known = ServiceTier::PRICED.map(|(name, _)| name).join(", ");
                section.problems.add(&name.place, format!("no service tier is named so; there are {known}"));
            }
        }
    }
    read
}

/// `mon-fri 01:00-04:00`, `sat 00:00-24:00` or `01:00-04:00`, in UTC.
fn hours(section: &Section<'_, '_>, word: &Word) -> Option<Hours> {
    let hours = parse_hours(&word.text);
    if hours.is_none() {
        let must = "must be hours of one day in UTC, such as \"01:00-04:00\" or \"mon-fri 01:00-04:00\"";
        section.problems.add(&word.place, must);
    }
    hours
}

fn parse_hours(text: &str) -> Option<Hours> {
    let (days, hours) = text.split_once(' ').map_or((None, text), |(days, hours)| (Some(days), hours));
    let weekday = |name: &str| WEEKDAYS.iter().position(|day| *day == name);
    let weekdays = match days {
        None => Hours::EVERY_DAY,
        Some(days) => {
            let (first, last) = days.split_once('-').unwrap_or((days, days));
            let (first, last) = (weekday(first)?, weekday(last)?);
            (first..=last).fold(0, |bits, day| bits | 1 << day)
        }
    };
    let (from, until) = hours.split_once('-')?;
    let (from_minute, until_minute) = (minute_of_day(from)?, minute_of_day(until)?);
    (weekdays != 0 && from_minute < until_minute).then_some(Hours { weekdays, from_minute, until_minute })
}

fn minute_of_day(text: &str) -> Option<u64> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (hour, minute) = (two_digits(hour).then_some(hour)?, two_digits(minute).then_some(minute)?);
    let minutes = hour.parse::<u64>().ok()? * 60 + minute.parse::<u64>().ok().filter(|minute| *minute < 60)?;
    (minutes <= 24 * 60).then_some(minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_read_or_refused() {
        let on = |weekdays, from_minute, until_minute| Some(Hours { weekdays, from_minute, until_minute });
        for (text, expected) in [
            ("01:00-04:00", on(0b111_1111, 60, 240)),
            ("mon-fri 06:30-24:00", on(0b001_1111, 390, 1440)),
            ("sun 00:00-00:01", on(0b100_0000, 0, 1)),
            ("tue-tue 00:00-01:00", on(0b000_0010, 0, 60)),
            ("fri-mon 00:00-01:00", None),
            ("monday 00:00-01:00", None),
            ("mon 1:00-04:00", None),
            ("04:00-01:00", None),
            ("04:00-04:00", None),
            ("04:00-24:01", None),
            ("04:60-05:00", None),
            ("04:00", None),
            ("mon", None),
            ("", None),
            ("mon  01:00-02:00", None),
        ] {
            assert_eq!(parse_hours(text), expected, "{text:?}");
        }
    }
}
