//! The figures of `/admin/metrics` as OpenMetrics text.
//!
//! The fleet's counters are those of the UTC day, so at midnight they begin at zero, which every reader takes for a restart.
//! They are the same from every process: scrape one, and not each. Labels are bounded, because a client may name
//! a simulated model that no list has, and a house may have any number of tenants: the busiest keep their name and
//! the rest is `other`, so that sums stay whole.

use gateway_core::money::format_usd;
use serde_json::Value;
use std::fmt::Write;

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How many models, and how many tenants, have a label of their own.
const NAMED: usize = 100;
const OTHER: &str = "other";

/// Name, field and help of the fleet's counters.
const FLEET: [(&str, &str, &str); 9] = [
    ("gateway_requests", "requests_total", "Requests that have a receipt."),
    ("gateway_errors", "errors_total", "Requests that ended in an error."),
    ("gateway_outage_requests", "outage_total", "Requests that were served without the store."),
    ("gateway_cache_hits", "cache_hits_total", "Requests that were answered from what is remembered."),
    ("gateway_failovers", "failovers_total", "Requests that another candidate answered."),
    ("gateway_upgrades", "upgrades_total", "Requests that a stronger tier answered."),
    ("gateway_input_tokens", "input_tokens", "Tokens sent to models."),
    ("gateway_output_tokens", "output_tokens", "Tokens that models made."),
    ("gateway_cost_usd", "cost_usd", "What models cost, in US dollars."),
];
const MODEL: [(&str, &str, &str); 2] = [
    ("gateway_model_requests", "requests", "Calls of a model."),
    ("gateway_model_failures", "failures", "Calls of a model that failed."),
];
const TENANT: [(&str, &str, &str); 4] = [
    ("gateway_tenant_requests", "requests", "Requests of a tenant."),
    ("gateway_tenant_tokens", "tokens", "Tokens of a tenant."),
    ("gateway_tenant_cache_hits", "cache_hits", "Requests of a tenant that were answered from what is remembered."),
    ("gateway_tenant_cost_usd", "cost_usd", "What a tenant's requests cost, in US dollars."),
];
const PROCESS: [(&str, &str, &str); 7] = [
    ("gateway_process_refused", "refused_total", "Requests that this process refused."),
    ("gateway_process_store_failures", "store_failures_total", "Calls of the store that failed."),
    ("gateway_process_ledger_failures", "ledger_failures_total", "Receipts that the ledger did not take."),
    ("gateway_process_alerts_sent", "alerts_sent_total", "Alerts that a destination took from this process."),
    ("gateway_process_alerts_failed", "alerts_failed_total", "Alerts that this process gave up at a destination."),
    ("gateway_process_log_lines_lost", "log_lines_lost_total", "Log lines that could not be written."),
    ("gateway_process_receipts_lost", "receipts_lost_total", "Receipts that could not be written anywhere."),
];
const FLEET_LABEL: &[(&str, &str)] = &[("scope", "fleet")];
const PROCESS_LABEL: &[(&str, &str)] = &[("scope", "process")];

/// The whole exposition of what `/admin/metrics` answers.
pub(crate) fn text(figures: &Value, is_store_up: bool) -> String {
    let mut text = String::new();
    for (name, field, help) in FLEET {
        family(&mut text, name, "counter", help);
        sample(&mut text, &format!("{name}_total"), FLEET_LABEL, &figures[field]);
    }
    for (name, field, help) in [
        ("gateway_latency_seconds", "latency_ms", "From a request to the end of its answer."),
        ("gateway_overhead_seconds", "overhead_ms", "What of it was the gateway's own."),
    ] {
        family(&mut text, name, "summary", help);
        for (quantile, field_of_it) in [("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")] {
            let labels = [FLEET_LABEL[0], ("quantile", quantile)];
            sample(&mut text, name, &labels, &seconds(&figures[field][field_of_it]));
        }
    }
    let (models, other) = named(&figures["models"], "requests");
    counters(&mut text, &MODEL, "model", &models, other.as_ref());
    health(&mut text, &models);
    let (tenants, other) = named(&figures["tenants"], "requests");
    counters(&mut text, &TENANT, "tenant", &tenants, other.as_ref());
    family(&mut text, "gateway_store_up", "gauge", "Whether the store answered this process.");
    sample(&mut text, "gateway_store_up", PROCESS_LABEL, &u8::from(is_store_up).into());
    family(&mut text, "gateway_process_start_time_seconds", "gauge", "When this process began, in Unix seconds.");
    sample(&mut text, "gateway_process_start_time_seconds", PROCESS_LABEL, &seconds(&figures["process"]["since_ms"]));
    for (name, field, help) in PROCESS {
        family(&mut text, name, "counter", help);
        sample(&mut text, &format!("{name}_total"), PROCESS_LABEL, &figures["process"][field]);
    }
    text.push_str("# EOF\n");
    text
}

type Rows<'a> = Vec<(&'a String, &'a Value)>;

/// The busiest rows, and the sums of the rest, if there is one. A row that has the rest's own name is a part of it.
fn named<'a>(rows: &'a Value, by: &str) -> (Rows<'a>, Option<Value>) {
    let rows = rows.as_object().into_iter().flatten();
    let (mut rest, mut rows): (Rows<'_>, Rows<'_>) = rows.partition(|(name, _)| *name == OTHER);
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row[by].as_u64()));
    rest.extend(rows.split_off(rows.len().min(NAMED)));
    rows.sort_by_key(|(name, _)| *name);
    let sum = rest.into_iter().map(|(_, row)| row.clone()).reduce(|mut sum, row| {
        for (field, value) in sum.as_object_mut().into_iter().flatten() {
            *value = plus(value, &row[field]);
        }
        sum
    });
    (rows, sum)
}

/// The sum of two counts, or of two amounts of money as decimal text with nine places.
fn plus(one: &Value, other: &Value) -> Value {
    let nusd = |money: &Value| money.as_str()?.replace('.', "").parse::<u64>().ok();
    match (nusd(one), nusd(other)) {
        (Some(one), Some(other)) => format_usd(one.saturating_add(other)).into(),
        _ => one.as_u64().zip(other.as_u64()).map_or(Value::Null, |(one, other)| one.saturating_add(other).into()),
    }
}

fn counters(text: &mut String, families: &[(&str, &str, &str)], label: &str, rows: &Rows<'_>, other: Option<&Value>) {
    for (name, field, help) in families {
        family(text, name, "counter", help);
        let rows = rows.iter().map(|(name, row)| (name.as_str(), *row)).chain(other.map(|row| (OTHER, row)));
        for (value, row) in rows {
            sample(text, &format!("{name}_total"), &[FLEET_LABEL[0], (label, value)], &row[*field]);
        }
    }
}

/// What the store knows of the models that are named.
fn health(text: &mut String, models: &Rows<'_>) {
    family(text, "gateway_model_health_percent", "gauge", "How well a model does, 0 to 100.");
    for (model, row) in models {
        sample(text, "gateway_model_health_percent", &[FLEET_LABEL[0], ("model", model)], &row["health"]);
    }
    family(text, "gateway_model_expected_seconds", "gauge", "How long a model is expected to take for an answer.");
    for (model, row) in models {
        let score = seconds(&row["score_ms"]);
        sample(text, "gateway_model_expected_seconds", &[FLEET_LABEL[0], ("model", model)], &score);
    }
    family(text, "gateway_model_breaker", "stateset", "Whether a model's breaker lets calls through.");
    for (model, row) in models {
        for state in ["closed", "open", "half_open"] {
            let labels = [FLEET_LABEL[0], ("model", model.as_str()), ("gateway_model_breaker", state)];
            sample(text, "gateway_model_breaker", &labels, &u8::from(row["breaker"] == state).into());
        }
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# TYPE {name} {kind}\n# HELP {name} {help}");
}

/// A sample; none where there is no number.
fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: &Value) {
    let value = match value {
        Value::Number(number) => number.to_string(),
        Value::String(decimal) => decimal.clone(),
        _ => return,
    };
    let escaped = |label: &str| label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> = labels.iter().map(|(name, label)| format!("{name}=\"{}\"", escaped(label))).collect();
    let _ = writeln!(text, "{name}{{{}}} {value}", labels.join(","));
}

/// Milliseconds as seconds.
fn seconds(ms: &Value) -> Value {
    ms.as_f64().map_or(Value::Null, |ms| (ms / 1000.0).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    #[test]
    fn the_busiest_are_named_and_the_rest_is_summed() {
        let tenants: Map<String, Value> = (0..250)
            .map(|n| (format!("t{n}"), json!({"requests": n, "tokens": 1, "cost_usd": "0.000000001", "cache_hits": 0})))
            .chain([(
                OTHER.to_owned(),
                json!({"requests": 1000, "tokens": 7, "cost_usd": "1.000000000", "cache_hits": 2}),
            )])
            .collect();
        let text = text(&json!({"tenants": tenants}), true);
        let of = |name: &str| text.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count();
        assert_eq!(of("gateway_tenant_requests_total"), NAMED + 1);
        for line in [
            "gateway_tenant_requests_total{scope=\"fleet\",tenant=\"t150\"} 150",
            "gateway_tenant_requests_total{scope=\"fleet\",tenant=\"other\"} 12175",
            "gateway_tenant_tokens_total{scope=\"fleet\",tenant=\"other\"} 157",
            "gateway_tenant_cost_usd_total{scope=\"fleet\",tenant=\"other\"} 1.000000150",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
        assert!(!text.contains("\"t149\""));
    }

    #[test]
    fn a_label_cannot_end_itself() {
        let figures = json!({"models": {"a\"} 1\n# EOF\nb\\": {"requests": 3, "failures": 0}}});
        let text = text(&figures, false);
        let line = r#"gateway_model_requests_total{scope="fleet",model="a\"} 1\n# EOF\nb\\"} 3"#;
        assert!(text.lines().any(|found| found == line), "{text}");
        assert_eq!(text.lines().filter(|line| *line == "# EOF").count(), 1);
    }
}
