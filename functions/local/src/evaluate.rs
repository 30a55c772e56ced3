//! `ai-gateway intents eval FILE`: how the router does on a team's own labelled prompts.
//!
//! Each line is an object with a `text`, or `messages` as a client sends them, and with what it should have been: an
//! `intent`, a `tier`, or both. Prompts are decided about by the code and the configuration that serve; nothing is called.

use anyhow::{Context, bail};
use gateway_core::catalog::Catalog;
use gateway_core::clock::{Clock, SystemClock};
use gateway_core::config::Config;
use gateway_core::estimate::InputEstimate;
use gateway_core::money::{Usage, format_usd};
use gateway_core::routing::decide::{certainty, detect};
use gateway_core::routing::intents::Intents;
use gateway_core::wire::openai::CHAT;
use gateway_core::wire::request::Request;
use gateway_host::logging;
use gateway_host::wiring::config;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{BufRead, BufReader};

/// Tokens of an answer that costs are compared for.
const ANSWER_TOKENS: u64 = 300;
/// How many of the most frequent confusions are shown.
const CONFUSIONS: usize = 12;
/// The shares of the surest prompts whose figures are shown, in percent.
const COVERAGES: [usize; 6] = [100, 95, 90, 80, 70, 50];

#[derive(Deserialize)]
struct Line {
    #[serde(alias = "prompt")]
    text: Option<String>,
    messages: Option<Value>,
    intent: Option<String>,
    tier: Option<String>,
}

/// A prompt, with what it should have been and what it was taken for. Tiers stand for their strength.
struct Row {
    expected_intent: Option<String>,
    intent: String,
    expected_tier: usize,
    tier: usize,
    certainty: f32,
    is_unsure: bool,
    input_tokens: u64,
}

/// Evaluates a file, or standard input, at this quality or that of the configuration's tenants.
pub(crate) fn run(file: &str, quality: Option<f64>) -> anyhow::Result<()> {
    let (config, name) = config()?;
    let intents = Intents::learn(&config.intents);
    let quality = quality.unwrap_or(config.tenant_defaults.quality);
    let lines: Box<dyn BufRead> = match file {
        "-" => Box::new(std::io::stdin().lock()),
        file => Box::new(BufReader::new(std::fs::File::open(file).with_context(|| file.to_owned())?)),
    };
    let mut rows = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let place = || format!("{file}, line {}", number + 1);
        let line = line.with_context(place)?;
        if !line.trim().is_empty() {
            rows.push(row(&config, &intents, quality, &line).with_context(place)?);
        }
    }
    if rows.is_empty() {
        bail!("{file} has no prompts");
    }
    logging::say(&format!("{} prompts of {file}, by {name}, quality {quality}\n", rows.len()));
    logging::say(&report(&config.catalog, &rows));
    Ok(())
}

fn row(config: &Config, intents: &Intents, quality: f64, line: &str) -> anyhow::Result<Row> {
    let Line { text, messages, intent, tier } = serde_json::from_str(line)?;
    let messages = match (text, messages) {
        (Some(text), None) => json!([{"role": "user", "content": text}]),
        (None, Some(messages)) => messages,
        _ => bail!("`text` or `messages` is required, and not both"),
    };
    let spec = match &intent {
        Some(name) => Some(intents.find(name).with_context(|| format!("`intent`: no intent is named {name:?}"))?),
        None => None,
    };
    let expected_tier = match (&tier, spec) {
        (Some(name), _) => name,
        (None, Some(spec)) => &*spec.tier,
        (None, None) => bail!("`intent` or `tier` is required"),
    };
    let expected_tier =
        config.catalog.tier(expected_tier).with_context(|| format!("`tier`: no tier is named {expected_tier:?}"))?;
    let body = json!({"model": "auto", "messages": messages}).to_string();
    let request = Request::read(&CHAT, body.into()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let found = detect(config, intents, quality, &request);
    Ok(Row {
        expected_intent: intent,
        intent: found.intent.name.to_string(),
        expected_tier: expected_tier.strength,
        tier: found.tier.strength,
        certainty: certainty(&found.needs),
        is_unsure: found.unsure,
        input_tokens: InputEstimate::of(&request.facts).estimated_tokens,
    })
}

fn report(catalog: &Catalog, rows: &[Row]) -> String {
    let mut out = String::new();
    let labelled: Vec<&Row> = rows.iter().filter(|row| row.expected_intent.is_some()).collect();
    let named = labelled.iter().filter(|row| row.expected_intent.as_ref() == Some(&row.intent)).count();
    if !labelled.is_empty() {
        let _ = writeln!(out, "intent right        {}", share(named, labelled.len()));
    }
    let count = |is: fn(&&Row) -> bool| rows.iter().filter(is).count();
    let (under, over) = (count(|row| row.tier < row.expected_tier), count(|row| row.tier > row.expected_tier));
    let not_cheapest = count(|row| row.expected_tier > 0);
    let not_strongest = rows.iter().filter(|row| row.expected_tier + 1 < catalog.tiers.len()).count();
    let _ = writeln!(out, "tier right          {}", share(rows.len() - under - over, rows.len()));
    let _ =
        writeln!(out, "sent too weak       {} of those that need more than the cheapest", share(under, not_cheapest));
    let _ =
        writeln!(out, "sent too strong     {} of those that need less than the strongest", share(over, not_strongest));
    let _ = writeln!(out, "a model is asked    {}", share(count(|row| row.is_unsure), rows.len()));
    coverage(&mut out, rows);
    confusions(&mut out, &labelled);
    costs(&mut out, catalog, rows);
    out
}

fn share(part: usize, of: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / of.max(1) as f64)
}

fn coverage(out: &mut String, rows: &[Row]) {
    let _ = writeln!(out, "\nthe surest   tier right   sent too weak   from certainty");
    let mut surest: Vec<&Row> = rows.iter().collect();
    surest.sort_by(|a, b| b.certainty.total_cmp(&a.certainty));
    for percent in COVERAGES {
        let part = &surest[..(rows.len() * percent / 100).max(1)];
        let right = part.iter().filter(|row| row.tier == row.expected_tier).count();
        let needy = part.iter().filter(|row| row.expected_tier > 0).count();
        let weak = part.iter().filter(|row| row.tier < row.expected_tier).count();
        let least = part.last().map_or(0.0, |row| row.certainty);
        let (right, weak) = (share(right, part.len()), share(weak, needy));
        let _ = writeln!(out, "{percent:>8} %   {right:>10}   {weak:>13}   {least:>14.3}");
    }
}

fn confusions(out: &mut String, labelled: &[&Row]) {
    let mut times: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for row in labelled {
        if let Some(expected) = row.expected_intent.as_ref().filter(|expected| **expected != row.intent) {
            *times.entry((expected, &row.intent)).or_default() += 1;
        }
    }
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    if !times.is_empty() {
        let _ = writeln!(out, "\ntaken for another intent");
    }
    for ((expected, found), times) in times.into_iter().take(CONFUSIONS) {
        let _ = writeln!(out, "{times:>5}  {expected} → {found}");
    }
}

fn costs(out: &mut String, catalog: &Catalog, rows: &[Row]) {
    let now_ms = SystemClock.now_ms();
    let cost = |strength: &dyn Fn(&Row) -> usize| -> String {
        let of = |row: &Row| {
            let model = &catalog.tiers[strength(row)].models[0];
            let usage = Usage { input_tokens: row.input_tokens, output_tokens: ANSWER_TOKENS, ..Usage::default() };
            model.price.cost_nusd(&usage, now_ms)
        };
        format_usd(rows.iter().map(of).fold(0, u64::saturating_add))
    };
    let _ = writeln!(out, "\nUSD, each tier's first model, {ANSWER_TOKENS} tokens an answer");
    let strongest = catalog.tiers.len() - 1;
    for (who, spent) in [
        ("as routed", cost(&|row| row.tier)),
        ("as labelled", cost(&|row| row.expected_tier)),
        ("all cheapest", cost(&|_| 0)),
        ("all strongest", cost(&|_| strongest)),
    ] {
        let _ = writeln!(out, "{who:>14}  {spent}");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(line: &str) -> anyhow::Result<Row> {
        let config = Config::load(gateway_core::config::SHIPPED, "gateway.toml", &|_| None).unwrap();
        let intents = Intents::learn(&config.intents);
        row(&config, &intents, 0.5, line)
    }

    #[test]
    fn a_line_that_cannot_be_evaluated_is_refused_by_its_field() {
        for (line, why) in [
            ("{}", "`text` or `messages` is required"),
            (r#"{"text": "hi", "messages": []}"#, "not both"),
            (r#"{"text": "hi"}"#, "`intent` or `tier` is required"),
            (r#"{"text": "hi", "intent": "small_talk"}"#, "`intent`: no intent is named \"small_talk\""),
            (r#"{"text": "hi", "tier": "dear"}"#, "`tier`: no tier is named \"dear\""),
            (r#"{"messages": 5, "tier": "cheap"}"#, "messages"),
        ] {
            let error = read(line).err().unwrap().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn the_report_counts_what_went_wrong() {
        let mut rows = Vec::new();
        for line in [
            r#"{"text": "hello there", "intent": "greeting"}"#,
            r#"{"text": "hello again", "tier": "reasoning"}"#,
            r#"{"messages": [{"role": "user", "content": "Design a scalable chat system"}], "intent": "architecture_review"}"#,
        ] {
            rows.push(read(line).unwrap());
        }
        let config = Config::load(gateway_core::config::SHIPPED, "gateway.toml", &|_| None).unwrap();
        let report = report(&config.catalog, &rows);
        for line in ["intent right        100.0 %", "tier right          66.7 %", "sent too weak       50.0 %"] {
            assert!(report.contains(line), "{report}");
        }
    }
}
