//! Metrics are the fleet's: the same from every process, also from one that served nothing, equal to the provider's own
//! count, and still there when all processes were started again.

use super::fleet::Fleet;
use super::gateway::{Folder, Gateway, Setup, config, within};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use upstream_double::Double;

const FLAKY: &str = "fail-50+status-503@a";
const FINE: &str = "ok@b";
const BROKEN: &str = "status-500@c";

/// What clients saw.
#[derive(Debug)]
struct Seen {
    /// An hour before they asked.
    from_ms: u128,
    requests: u64,
    hits: u64,
    errors: u64,
    failovers: u64,
}

impl Seen {
    fn nothing_yet() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self { from_ms: now.as_millis() - 3_600_000, requests: 0, hits: 0, errors: 0, failovers: 0 }
    }
}

fn text(base_url: &str) -> String {
    let tier = format!("cheap = [\"double/{FLAKY}\", \"double/{FINE}\"]");
    config(base_url, &[FLAKY, FINE, BROKEN], "").replace("cheap = [\"sim/cheap\"]", &tier)
}

/// Each question three times, by turns of one gateway and the other; and now and then one that nobody can answer.
async fn ask(gateways: [&Gateway; 2], seen: &mut Seen) {
    for n in 0..45 {
        let model = if n % 9 == 8 { format!("double/{BROKEN}") } else { "cheap".to_owned() };
        let text = format!("question {} of {}", n / 3, seen.requests / 45);
        let body = json!({"model": model, "messages": [{"role": "user", "content": text}], "stream": n % 2 == 0});
        let answer = gateways[n % 2].chat_with(&[], body.to_string().as_bytes()).await;
        let header = |name: &str| answer.head.header(name).unwrap_or_default().to_owned();
        seen.requests += 1;
        seen.hits += u64::from(header("x-gateway-cache") == "hit");
        seen.errors += u64::from(answer.status >= 500);
        seen.failovers += u64::from(header("x-gateway-failover") == "true");
    }
}

/// What does not depend on who is asked, or on the moment: health and score fade with time.
async fn figures(gateway: &Gateway, seen: &Seen) -> Value {
    let answer = gateway.admin(&format!("GET /admin/metrics?step=hour&from={}", seen.from_ms), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut body = answer.json();
    assert!(body.as_object_mut().unwrap().remove("process").is_some_and(|own| own["since_ms"].is_u64()));
    for model in body["models"].as_object_mut().unwrap().values_mut() {
        let model = model.as_object_mut().unwrap();
        assert!(model.remove("score_ms").is_some() && model.remove("health").is_some());
        assert!(model.remove("breaker").is_some() && model.remove("cooldown_until_ms").is_some());
    }
    body
}

/// The figures of all processes, once the hits that wait in any of them are written: that takes a second at most.
async fn same(gateways: &[&Gateway], seen: &Seen) -> Value {
    within("the hits", async {
        loop {
            let mut all = Vec::new();
            for gateway in gateways {
                all.push(figures(gateway, seen).await);
            }
            if all.iter().all(|figures| figures["requests_total"] == seen.requests) {
                all.windows(2).for_each(|two| assert_eq!(two[0], two[1]));
                return all.remove(0);
            }
        }
    })
    .await
}

/// The gateway's books, the clients' and the provider's.
fn agree(figures: &Value, seen: &Seen, double: &Double) {
    let count = |name: &str| figures[name].as_u64().unwrap();
    let shown = ["requests_total", "cache_hits_total", "errors_total", "failovers_total"].map(count);
    assert_eq!(shown, [seen.requests, seen.hits, seen.errors, seen.failovers], "{seen:?}");
    assert!(seen.hits > 0 && seen.errors > 0 && seen.failovers > 0, "{seen:?}");
    let counts = double.counts();
    for id in [FLAKY, FINE, BROKEN] {
        let (shown, tally) = (&figures["models"][format!("double/{id}")], counts.of(id));
        let failures = tally.calls - tally.statuses.get(&200).copied().unwrap_or_default();
        assert_eq!((&shown["requests"], &shown["failures"]), (&json!(tally.calls), &json!(failures)), "{id}");
    }
    let billed = (counts.total.input_tokens, counts.total.output_tokens);
    assert_eq!((count("input_tokens"), count("output_tokens")), billed);
    // A million input tokens cost a dollar, and two for output.
    let nusd = (billed.0 + 2 * billed.1) * 1000;
    let cost_usd = format!("{}.{:09}", nusd / 1_000_000_000, nusd % 1_000_000_000);
    assert_eq!(figures["cost_usd"], cost_usd);
    let tenant = figures["tenants"].as_object().unwrap().values().next().unwrap();
    assert_eq!((&tenant["requests"], &tenant["cost_usd"]), (&json!(seen.requests), &json!(cost_usd)));
    assert_eq!((&tenant["tokens"], &tenant["cache_hits"]), (&json!(billed.0 + billed.1), &json!(seen.hits)));
    let steps = figures["series"].as_array().unwrap();
    assert_eq!(steps.iter().map(|step| step["requests_total"].as_u64().unwrap()).sum::<u64>(), seen.requests);
}

#[tokio::test]
async fn two_gateways_and_an_admin_process_tell_the_same_and_still_do_after_a_restart_of_all_three() {
    let (fleet, double) = (Fleet::start().await, Double::start().await);
    let text = text(&double.base_url());
    let start = async || {
        let setup = || fleet.setup().with("DOUBLE_API_KEY", "sk-of-the-double").configured(&text);
        let (one, other) = (setup().start_without_key().await, setup().start_without_key().await);
        [one, other, setup().start_admin().await].map(Fleet::owned)
    };
    let mut seen = Seen::nothing_yet();
    let mut key = String::new();
    for round in 0..3 {
        let [mut one, mut other, admin] = start().await;
        if round == 0 {
            let limits = r#"{"id":"acme","limits":{"requests_per_minute":null}}"#;
            assert_eq!(admin.admin("POST /admin/tenants", limits).await.status, 201);
            let made = admin.admin("POST /admin/tenants/acme/keys", r#"{"name":"ci"}"#).await.json();
            made["key"].as_str().unwrap().clone_into(&mut key);
        }
        (one.key, other.key) = (key.clone(), key.clone());
        if round < 2 {
            ask([&one, &other], &mut seen).await;
        }
        // First the one that served nothing: whoever is asked writes its own hits, and these two were not asked.
        let shown = same(&[&admin], &seen).await;
        agree(&shown, &seen, &double);
        assert_eq!(same(&[&one, &other, &admin], &seen).await, shown);
        for gateway in [one, other, admin] {
            gateway.signal("TERM");
            assert!(gateway.ended().await.0.success());
        }
    }
}

#[tokio::test]
async fn one_process_with_a_folder_tells_the_same_after_it_was_ended_and_after_it_was_killed() {
    let (folder, double) = (Folder::new(), Double::start().await);
    let text = text(&double.base_url());
    let start =
        async || Setup::again(&folder).with("DOUBLE_API_KEY", "sk-of-the-double").configured(&text).start().await;
    let mut gateway = start().await;
    let key = std::mem::take(&mut gateway.key);
    let mut seen = Seen::nothing_yet();
    for round in 0..3 {
        gateway.key.clone_from(&key);
        ask([&gateway, &gateway], &mut seen).await;
        agree(&same(&[&gateway], &seen).await, &seen, &double);
        if round == 1 {
            gateway.kill().await;
        } else {
            gateway.signal("TERM");
            gateway.ended().await;
        }
        gateway = start().await;
        agree(&same(&[&gateway], &seen).await, &seen, &double);
    }
}
