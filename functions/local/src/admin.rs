//! `ai-gateway admin …`: what operators do, over the admin plane of a gateway that runs: tables on a terminal, JSON elsewhere.

use crate::plane::Plane;
use anyhow::{Context, bail};
use gateway_core::clock::{Clock, DAY_MS, HOUR_MS, SystemClock};
use gateway_core::limit::window::day_utc;
use gateway_host::logging;
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
usage: ai-gateway admin tenants                          all tenants
       ai-gateway admin tenants show|delete TENANT
       ai-gateway admin tenants create|set TENANT [FIELD=VALUE]…
                                     as limits.daily_cost_usd=5.00, enabled=false, quality=0.7, limits.daily_tokens=null
       ai-gateway admin keys TENANT                      its keys
       ai-gateway admin keys create TENANT NAME [FIELD=VALUE]…
                                     as limits.daily_cost_usd=5, limits.concurrency=4, expires_at_ms=1795348800000
       ai-gateway admin keys set TENANT KEY FIELD=VALUE…
       ai-gateway admin keys rotate|revoke TENANT KEY
       ai-gateway admin admins                           all admins
       ai-gateway admin admins create NAME viewer|operator|owner
       ai-gateway admin admins rotate|delete ADMIN
       ai-gateway admin quota TENANT [KEY]               used, held and limit of its present windows
       ai-gateway admin usage [--from TIME] [--to TIME] [--tenant NAME] [--model NAME] [--tag KEY=VALUE]
                              [--by day,hour,tenant,model,tag:KEY]
                                     by default the last seven days, by day and tenant; TIME as 2026-11-30 or 2026-11-30T14:00Z
       ai-gateway admin models                           health, breaker and prices
       ai-gateway admin top                              tenants and models of the last hours, again every two seconds
       ai-gateway admin tail TENANT                      its requests, as they come
       ai-gateway admin audit                            who changed what
       ai-gateway admin alerts                           what was told of late, and whether it arrived
       ai-gateway admin alerts test [TENANT]             send a test, and say what the receivers answer
  --json anywhere: JSON on a terminal, too. GATEWAY_ADMIN_URL names another plane than that on GATEWAY_ADDR, GATEWAY_ADMIN_TOKEN
  another token than that of the data folder.";

/// How often what is watched is read again.
const AGAIN: Duration = Duration::from_secs(2);

/// What a command comes to.
enum Command {
    /// A list, the parameters that it is asked with, and the columns of its table.
    List(String, Vec<(&'static str, String)>, &'static [&'static str]),
    /// One request, and what it answers.
    Once(Method, String, Option<Value>),
    Top,
    Tail(String),
}

/// Does what the command line says.
///
/// # Errors
/// It says nothing that is known, or the gateway refuses it.
pub(crate) async fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let words: Vec<&str> = arguments.iter().copied().filter(|word| *word != "--json").collect();
    let command = read(&words)?;
    let is_table = words.len() == arguments.len() && std::io::stdout().is_terminal();
    logging::start("warn")?;
    let plane = Plane::from_env()?;
    match command {
        Command::List(path, params, columns) => {
            let params: Vec<(&str, &str)> = params.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let rows = plane.all(&path, &params).await?;
            logging::say(&if is_table { table(&rows, columns) } else { Value::from(rows).to_string() });
        }
        Command::Once(method, path, body) => {
            let answer = plane.ask(method, &path, body.as_ref()).await?;
            match answer {
                Value::Null => {}
                answer if is_table => logging::say(&lines(&answer, "")),
                answer => logging::say(&answer.to_string()),
            }
        }
        Command::Top => top(&plane, is_table).await?,
        Command::Tail(tenant) => tail(&plane, &tenant, is_table).await?,
    }
    Ok(())
}

// The columns of tables.
const TENANTS: &[&str] = &[
    "id",
    "name",
    "enabled",
    "limits.daily_cost_usd",
    "limits.daily_requests",
    "limits.daily_tokens",
    "limits.requests_per_minute",
    "quality",
];
const KEYS: &[&str] = &[
    "id",
    "name",
    "prefix",
    "last4",
    "created_at_ms",
    "expires_at_ms",
    "limits.daily_cost_usd",
    "limits.daily_requests",
    "limits.daily_tokens",
    "limits.requests_per_minute",
];
const ADMINS: &[&str] = &["id", "name", "role", "prefix", "last4", "expires_at_ms"];
const MODELS: &[&str] =
    &["name", "health", "breaker", "cooldown_until_ms", "usd_per_million.input", "usd_per_million.output", "tiers"];
const AUDIT: &[&str] = &["at_ms", "who", "what", "subject"];
const ALERTS: &[&str] = &["at_ms", "kind", "tenant", "text", "state"];

fn read(words: &[&str]) -> anyhow::Result<Command> {
    use Command::{List, Once, Tail, Top};
    let list = |path: String, columns| Ok(List(path, Vec::new(), columns));
    let once = |method, path: String, body| Ok(Once(method, path, body));
    let tenant = |id: &str| format!("tenants/{}", segment(id));
    let key_of = |id: &str, key: &str| format!("{}/keys/{}", tenant(id), segment(key));
    let with = |mut body: Value, set: &[&str]| {
        anyhow::Ok({
            set.iter().try_for_each(|set| put(&mut body, set))?;
            Some(body)
        })
    };
    match *words {
        ["tenants"] => list("tenants".into(), TENANTS),
        ["tenants", "show", id] => once(Method::GET, tenant(id), None),
        ["tenants", "delete", id] => once(Method::DELETE, tenant(id), None),
        ["tenants", "create", id, ref set @ ..] => once(Method::POST, "tenants".into(), with(json!({"id": id}), set)?),
        ["tenants", "set", id, ref set @ ..] if !set.is_empty() => {
            once(Method::PATCH, tenant(id), with(json!({}), set)?)
        }
        ["keys", "create", id, name, ref set @ ..] => {
            once(Method::POST, format!("{}/keys", tenant(id)), with(json!({"name": name}), set)?)
        }
        ["keys", "set", id, key, ref set @ ..] if !set.is_empty() => {
            once(Method::PATCH, key_of(id, key), with(json!({}), set)?)
        }
        ["keys", "rotate", id, key] => once(Method::POST, format!("{}/rotate", key_of(id, key)), Some(json!({}))),
        ["keys", "revoke", id, key] => once(Method::DELETE, key_of(id, key), None),
        ["keys", id] => list(format!("{}/keys", tenant(id)), KEYS),
        ["admins"] => list("admins".into(), ADMINS),
        ["admins", "create", name, role] => {
            once(Method::POST, "admins".into(), Some(json!({"name": name, "role": role})))
        }
        ["admins", "rotate", id] => once(Method::POST, format!("admins/{}/rotate", segment(id)), Some(json!({}))),
        ["admins", "delete", id] => once(Method::DELETE, format!("admins/{}", segment(id)), None),
        ["quota", id] => once(Method::GET, format!("{}/usage", tenant(id)), None),
        ["quota", id, key] => once(Method::GET, format!("{}/usage", key_of(id, key)), None),
        ["models"] => list("models".into(), MODELS),
        ["audit"] => list("audit".into(), AUDIT),
        ["alerts"] => list("alerts".into(), ALERTS),
        ["alerts", "test"] => once(Method::POST, "alerts/test".into(), None),
        ["alerts", "test", id] => once(Method::POST, format!("alerts/test?tenant={}", segment(id)), None),
        ["usage", ref options @ ..] => usage(options),
        ["top"] => Ok(Top),
        ["tail", id] => Ok(Tail(id.to_owned())),
        _ => bail!("{USAGE}"),
    }
}

/// The rows of usage that are asked for: by default the last seven days, by day and tenant.
fn usage(options: &[&str]) -> anyhow::Result<Command> {
    const COLUMNS: &[&str] = &[
        "day",
        "hour",
        "tenant",
        "model",
        "tag",
        "requests",
        "cache_hits",
        "input_tokens",
        "output_tokens",
        "cost_usd",
    ];
    let mut params = vec![
        ("from", day_utc(SystemClock.now_ms().saturating_sub(6 * DAY_MS))),
        ("to", String::new()),
        ("tenant", String::new()),
        ("model", String::new()),
        ("tag", String::new()),
        ("group_by", "day,tenant".to_owned()),
    ];
    for pair in options.chunks(2) {
        let name = pair[0].strip_prefix("--").map(|name| if name == "by" { "group_by" } else { name });
        let param = params.iter_mut().find(|(known, _)| Some(*known) == name);
        let (_, value) = param.with_context(|| format!("{} is no option here\n{USAGE}", pair[0]))?;
        (*pair.get(1).with_context(|| format!("{}: a value is missing", pair[0]))?).clone_into(value);
    }
    Ok(Command::List("usage".into(), params, COLUMNS))
}

/// A name as a part of a path.
fn segment(name: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().fold(String::new(), |mut path, byte| {
        let _ = if kept(byte) { write!(path, "{}", char::from(byte)) } else { write!(path, "%{byte:02X}") };
        path
    })
}

/// Puts `a.b=value` into a body. What is JSON is taken for it, but for money, which is text.
fn put(body: &mut Value, set: &str) -> anyhow::Result<()> {
    let (path, text) = set.split_once('=').with_context(|| format!("{set}: FIELD=VALUE is needed"))?;
    let value = match serde_json::from_str(text) {
        Ok(Value::Number(_)) if path.ends_with("_usd") => Value::from(text),
        Ok(value) => value,
        Err(_) => Value::from(text),
    };
    let mut place = body;
    for name in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[name];
    }
    *place = value;
    Ok(())
}

/// A value as people read it.
fn shown(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(|one| shown("", one)).collect::<Vec<_>>().join(","),
        Value::Number(at_ms) if name.ends_with("_at_ms") || name == "at_ms" || name.ends_with("until_ms") => {
            at_ms.as_u64().map_or_else(String::new, instant)
        }
        other => other.to_string(),
    }
}

/// An instant in UTC, to the second.
fn instant(at_ms: u64) -> String {
    let of_day_s = at_ms % DAY_MS / 1000;
    format!("{} {:02}:{:02}:{:02}", day_utc(at_ms), of_day_s / 3600, of_day_s / 60 % 60, of_day_s % 60)
}

/// Rows as a table with these columns, those that no row has left out.
fn table(rows: &[Value], columns: &[&str]) -> String {
    let of = |row: &Value, column: &str| {
        let value = column.split('.').try_fold(row, |value, name| value.get(name));
        value.map(|value| shown(column, value))
    };
    let columns: Vec<&str> = columns
        .iter()
        .copied()
        .filter(|column| rows.is_empty() || rows.iter().any(|row| of(row, column).is_some()))
        .collect();
    let head = columns.iter().map(|column| column.rsplit('.').next().unwrap_or(column).to_owned()).collect();
    let cells = rows.iter().map(|row| columns.iter().map(|column| of(row, column).unwrap_or_default()).collect());
    let all: Vec<Vec<String>> = std::iter::once(head).chain(cells).collect();
    let width = |place: usize| all.iter().map(|row| row[place].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// An object, a line for each of its values.
fn lines(value: &Value, path: &str) -> String {
    let Some(fields) = value.as_object() else { return format!("{path:<34} {}", shown(path, value)) };
    let each = fields
        .iter()
        .map(|(name, value)| lines(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }));
    each.collect::<Vec<_>>().join("\n")
}

/// The busiest tenants and models of the last hours: once as JSON, and on a terminal until it is ended.
async fn top(plane: &Plane, is_table: bool) -> anyhow::Result<()> {
    const TENANTS: &[&str] = &["tenant", "requests", "tokens", "cost_usd", "cache_hits"];
    const MODELS: &[&str] = &["model", "requests", "failures", "latency_ms_mean", "ttft_ms_mean", "health", "breaker"];
    loop {
        let from = SystemClock.now_ms().saturating_sub(HOUR_MS).to_string();
        let metrics = plane.page("metrics", &[("from", &from)], "").await?;
        if !is_table {
            logging::say(&metrics.to_string());
            return Ok(());
        }
        let [tenants, models] =
            [("tenants", "tenant"), ("models", "model")].map(|(list, name)| busiest(&metrics[list], name));
        logging::say(&format!(
            "\x1b[H\x1b[2J{}  {} requests, {} failed, {} USD, p50 {} ms, p95 {} ms\n\n{}\n\n{}",
            instant(SystemClock.now_ms()),
            metrics["requests_total"],
            metrics["errors_total"],
            shown("", &metrics["cost_usd"]),
            metrics["latency_ms"]["p50"],
            metrics["latency_ms"]["p95"],
            table(&tenants, TENANTS),
            table(&models, MODELS),
        ));
        tokio::time::sleep(AGAIN).await;
    }
}

/// The rows of an object of figures by name, the one with the most requests first.
fn busiest(figures: &Value, name: &str) -> Vec<Value> {
    let mut rows: Vec<Value> = (figures.as_object().into_iter().flatten())
        .filter(|(_, figures)| figures["requests"] != 0)
        .map(|(of, figures)| {
            let mut row = figures.clone();
            row[name] = of.as_str().into();
            row
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row["requests"].as_u64()));
    rows.truncate(20);
    rows
}

/// A tenant's receipts, the last ones and then each as it comes, until it is ended.
async fn tail(plane: &Plane, tenant: &str, is_table: bool) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    loop {
        let page = plane.page("receipts", &[("tenant", tenant)], "").await?;
        let receipts = page["data"].as_array().cloned().unwrap_or_default();
        for receipt in receipts.iter().rev().filter(|receipt| !seen.contains(shown("", &receipt["id"]).as_str())) {
            logging::say(&if is_table { told(receipt) } else { receipt.to_string() });
        }
        seen = receipts.iter().map(|receipt| shown("", &receipt["id"])).collect();
        tokio::time::sleep(AGAIN).await;
    }
}

/// A receipt in a line.
fn told(receipt: &Value) -> String {
    let of = |name: &str| shown(name, &receipt[name]);
    let attempts = receipt["attempts"].as_array().map_or(0, Vec::len);
    format!(
        "{}  {}  {} {} -> {}  {:.0} ms  {} USD  {} ({attempts} attempts)",
        of("created_at_ms"),
        of("id"),
        of("status"),
        of("requested_model"),
        of("model"),
        receipt["latency_ms"].as_f64().unwrap_or(0.0),
        of("cost_usd"),
        of("cache"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_are_json_or_text_and_money_is_text() {
        let mut body = json!({"id": "a"});
        for set in
            ["limits.daily_cost_usd=5.00", "limits.daily_tokens=null", "enabled=false", "name=The team", "quality=0.7"]
        {
            put(&mut body, set).unwrap();
        }
        let expected = json!({"id": "a", "limits": {"daily_cost_usd": "5.00", "daily_tokens": null}, "enabled": false,
            "name": "The team", "quality": 0.7});
        assert_eq!(body, expected);
        assert!(put(&mut body, "enabled").is_err());
    }

    #[test]
    fn a_name_is_one_part_of_a_path_whatever_is_in_it() {
        assert_eq!(segment("a/../b c~x"), "a%2F..%2Fb%20c~x");
    }

    #[test]
    fn a_table_has_the_columns_that_a_row_has() {
        let rows = [json!({"id": "a", "at_ms": 86_400_000}), json!({"id": "bb", "at_ms": null})];
        assert_eq!(table(&rows, &["id", "at_ms", "other"]), "id  at_ms\na   1970-01-02 00:00:00\nbb  -");
        assert_eq!(table(&[], &["id"]), "id");
    }
}
