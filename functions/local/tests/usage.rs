//! Usage from outside: what `/admin/usage` tells, as JSON and as CSV, is what the receipts add up to, to the nano-dollar.

use super::gateway::{Gateway, Setup, config};
use super::wire::request;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::task::JoinSet;
use upstream_double::Double;

const TAGS: [&str; 6] =
    ["team=red,env=prod", "team=red", "team=blue,env=dev,user=ann", "env=prod,user=bob", "team==1+1", ""];
const COUNTS: [&str; 5] = ["requests", "cache_hits", "input_tokens", "output_tokens", "cost_usd"];

/// By the values of the columns that rows are told apart by, what they count; money in nano-US-dollars.
type Rows = BTreeMap<Vec<String>, [u64; 5]>;

async fn tenant(gateway: &Gateway, id: &str) -> String {
    let limits = json!({"requests_per_minute": null, "tokens_per_minute": null, "concurrency": null});
    let made = gateway.admin("POST /admin/tenants", &json!({"id": id, "limits": limits}).to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let key = gateway.admin(&format!("POST /admin/tenants/{id}/keys"), r#"{"name":"test"}"#).await;
    key.json()["key"].as_str().unwrap().to_owned()
}

fn nusd(usd: &str) -> u64 {
    usd.replace('.', "").parse().unwrap()
}

/// All receipts that are kept.
async fn receipts(gateway: &Gateway) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = gateway.admin(&format!("GET /admin/receipts?cursor={cursor}"), "").await.json();
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return all,
        }
    }
}

/// What the receipts add up to by these columns.
fn fold(receipts: &[Value], by: &str) -> Rows {
    let mut rows = Rows::new();
    for receipt in receipts {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let column = |name: &str| match name.split_once(':') {
            Some((_, key)) => text(&receipt["tags"][key]),
            None if name == "hour" || name == "day" => {
                let hours = receipt["created_at_ms"].as_u64().unwrap() / 3_600_000;
                let day = gateway_core::limit::window::day_utc(hours * 3_600_000);
                if name == "day" { day } else { format!("{day}T{:02}:00Z", hours % 24) }
            }
            None => text(&receipt[name]),
        };
        let sum = rows.entry(by.split(',').map(column).collect()).or_default();
        let is_hit = text(&receipt["cache"]).starts_with("hit");
        let tokens = |name: &str| receipt["usage"][name].as_u64().unwrap();
        let counts =
            [1, u64::from(is_hit), tokens("input_tokens"), tokens("output_tokens"), nusd(&text(&receipt["cost_usd"]))];
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    rows
}

/// What a page of JSON tells.
async fn as_json(gateway: &Gateway, by: &str) -> Rows {
    let body = gateway.admin(&format!("GET /admin/usage?limit=1000&group_by={by}"), "").await.json();
    let shown = |name: &str| name.split(':').next().unwrap().to_owned();
    let row = |row: &Value| {
        let group = by.split(',').map(|name| row[shown(name)].as_str().unwrap().to_owned()).collect();
        (group, COUNTS.map(|name| row[name].as_u64().unwrap_or_else(|| nusd(row[name].as_str().unwrap()))))
    };
    body["data"].as_array().unwrap().iter().map(row).collect()
}

/// What CSV tells; the columns stand in their own order.
async fn as_csv(gateway: &Gateway, by: &str) -> Rows {
    let text = gateway.admin(&format!("GET /admin/usage?format=csv&group_by={by}"), "").await.text();
    let mut lines = text.split_terminator("\r\n").map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let at = |name: &str| head.iter().position(|column| *column == name.split(':').next().unwrap()).unwrap();
    let row = |line: Vec<String>| {
        // An apostrophe keeps a sheet from reckoning it.
        let group = by.split(',').map(|name| line[at(name)].trim_start_matches('\'').to_owned()).collect();
        let count =
            |name: &str| if name == "cost_usd" { nusd(&line[at(name)]) } else { line[at(name)].parse().unwrap() };
        (group, COUNTS.map(count))
    };
    lines.map(row).collect()
}

async fn check(gateway: &Gateway, expected: usize) {
    let receipts = receipts(gateway).await;
    assert_eq!(receipts.len(), expected);
    for by in [
        "day",
        "hour",
        "tenant",
        "model",
        "tag:team",
        "tag:user",
        "tag:none",
        "tenant,tag:env",
        "hour,tenant,model,tag:team",
        "day,tag:team,model",
    ] {
        let rows = fold(&receipts, by);
        assert_eq!(as_json(gateway, by).await, rows, "by {by}");
        assert_eq!(as_csv(gateway, by).await, rows, "by {by}, as CSV");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_what_the_receipts_add_up_to_by_whatever_it_is_told_apart() {
    let double = Double::start().await;
    let text = config(&double.base_url(), &["ok", "status-500"], "");
    let start = |setup: Setup| setup.configured(&text).with("DOUBLE_API_KEY", "sk-x").start();
    let gateway = std::sync::Arc::new(start(Setup::new()).await);
    let keys = [tenant(&gateway, "acme").await, tenant(&gateway, "zeta").await];
    let mut asking = JoinSet::new();
    for n in 0..96_usize {
        let (gateway, key) = (gateway.clone(), keys[n % 2].clone());
        asking.spawn(async move {
            let model = ["double/ok", "sim/cheap", "sim/reasoning", "double/status-500"][n / 2 % 4];
            // Some ask what was asked before, some are sent twice under one key, some are streamed.
            let body = json!({"model": model, "temperature": 0, "stream": n % 5 == 0, "messages": [{"role": "user", "content": format!("text {}", n % 12)}]});
            let (bearer, once) = (format!("Bearer {key}"), format!("key-{}", n / 3));
            let mut headers = vec![("authorization", bearer.as_str()), ("x-gateway-tags", TAGS[n % TAGS.len()])];
            headers.extend((n % 3 == 0).then_some(("idempotency-key", once.as_str())));
            let sent = request("POST /v1/chat/completions", &headers, body.to_string().as_bytes());
            // What failed would be tried anew.
            for _ in 0..1 + usize::from(n % 3 == 0 && model != "double/status-500") {
                gateway.send(&sent).await;
            }
        });
    }
    asking.join_all().await;
    // What was sent again under its key is the same request.
    check(&gateway, 96).await;
    let folder = std::sync::Arc::try_unwrap(gateway).ok().expect("the only owner").kill().await;
    check(&start(Setup::again(&folder)).await, 96).await;
}
