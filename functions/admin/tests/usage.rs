//! Usage rows: what was used by day, tenant and model; filtered, grouped, paged, as JSON and as CSV.

use crate::house::{DAY_MS, House, NOON_MS, fields};
use serde_json::{Value, json};

const DAYS: [&str; 2] = ["2025-11-22", "2025-11-23"];

/// Two tenants, two models, two days: eight rows, of one to three requests each; the last request of each row that has
/// more than one is a cache hit.
async fn busy() -> House {
    let house = House::new().await;
    let mut keys = Vec::new();
    for tenant in ["acme", "beta"] {
        house.tenant(tenant, json!({"limits": {"requests_per_minute": null}})).await;
        keys.push(house.key(tenant).await.key);
    }
    for day in 0..2_u64 {
        for (place, key) in keys.iter().enumerate() {
            for (model, count) in [("sim/cheap", 1 + place), ("sim/reasoning", 2)] {
                for n in 0..count {
                    // The second is the first again.
                    let text = format!("{day} {}", if n == 1 { 0 } else { n });
                    assert_eq!(house.chat(key, model, &text).await.status, 200);
                }
            }
        }
        if day == 0 {
            house.clock.advance(DAY_MS);
        }
    }
    house
}

/// Day, tenant, model, requests and hits of each row.
fn rows(body: &Value) -> Vec<(String, String, String, u64, u64)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or("-").to_owned();
    let row = |row: &Value| {
        let counts = (row["requests"].as_u64().unwrap(), row["cache_hits"].as_u64().unwrap());
        (text(row, "day"), text(row, "tenant"), text(row, "model"), counts.0, counts.1)
    };
    body["data"].as_array().unwrap().iter().map(row).collect()
}

fn row(day: &str, tenant: &str, model: &str, requests: u64, hits: u64) -> (String, String, String, u64, u64) {
    (day.to_owned(), tenant.to_owned(), model.to_owned(), requests, hits)
}

/// The sum of a column, money in nano-US-dollar.
fn sum(body: &Value, column: &str) -> u64 {
    let value = |row: &Value| match &row[column] {
        Value::String(usd) => usd.replace('.', "").parse().unwrap(),
        number => number.as_u64().unwrap(),
    };
    body["data"].as_array().unwrap().iter().map(value).sum()
}

#[tokio::test]
async fn rows_are_by_day_tenant_and_model() {
    let house = busy().await;
    let seen = house.get("/admin/usage").await;
    assert_eq!((seen.status, fields(&seen.body)), (200, vec!["data", "next"]));
    let expected: Vec<_> = DAYS
        .iter()
        .flat_map(|day| {
            [
                row(day, "acme", "sim/cheap", 1, 0),
                row(day, "acme", "sim/reasoning", 2, 1),
                row(day, "beta", "sim/cheap", 2, 1),
                row(day, "beta", "sim/reasoning", 2, 1),
            ]
        })
        .collect();
    assert_eq!(rows(&seen.body), expected);
    let first = &seen.body["data"][0];
    let all = ["cache_hits", "cost_usd", "day", "input_tokens", "model", "output_tokens", "requests", "tenant"];
    assert_eq!(fields(first), all);
    assert!(first["input_tokens"].as_u64().unwrap() > 0 && first["output_tokens"].as_u64().unwrap() > 0);
    assert_eq!(first["cost_usd"].as_str().unwrap().split('.').nth(1).unwrap().len(), 9);
}

#[tokio::test]
async fn rows_are_filtered_by_days_or_instants_of_them_by_tenant_and_by_model() {
    let house = busy().await;
    for (query, count) in [
        ("from=2025-11-23".to_owned(), 4),
        ("to=2025-11-22".to_owned(), 4),
        ("from=2025-11-22&to=2025-11-23".to_owned(), 8),
        ("from=2025-11-24".to_owned(), 0),
        (format!("from={}", NOON_MS + DAY_MS), 4),
        (format!("from={NOON_MS}&to={NOON_MS}"), 4),
        ("tenant=acme".to_owned(), 4),
        ("tenant=nobody".to_owned(), 0),
        ("model=sim/cheap".to_owned(), 4),
        ("model=sim%2Fcheap&tenant=beta&to=2025-11-22".to_owned(), 1),
        ("tenant=&model=".to_owned(), 8),
    ] {
        let seen = house.get(&format!("/admin/usage?{query}")).await;
        assert_eq!(rows(&seen.body).len(), count, "{query}");
    }
}

#[tokio::test]
async fn groups_are_sums_of_rows_and_have_no_other_columns() {
    let house = busy().await;
    let all = house.get("/admin/usage").await.body;
    for (by, expected) in [
        ("day", vec![row(DAYS[0], "-", "-", 7, 3), row(DAYS[1], "-", "-", 7, 3)]),
        ("tenant", vec![row("-", "acme", "-", 6, 2), row("-", "beta", "-", 8, 4)]),
        ("model", vec![row("-", "-", "sim/cheap", 6, 2), row("-", "-", "sim/reasoning", 8, 4)]),
        (
            "model,tenant",
            vec![
                row("-", "acme", "sim/cheap", 2, 0),
                row("-", "acme", "sim/reasoning", 4, 2),
                row("-", "beta", "sim/cheap", 4, 2),
                row("-", "beta", "sim/reasoning", 4, 2),
            ],
        ),
        ("day,tenant,model", rows(&all)),
    ] {
        let seen = house.get(&format!("/admin/usage?group_by={by}")).await.body;
        assert_eq!(rows(&seen), expected, "{by}");
        let mut columns: Vec<&str> = ["cache_hits", "cost_usd", "input_tokens", "output_tokens", "requests"].into();
        columns.extend(by.split(','));
        columns.sort_unstable();
        assert_eq!(fields(&seen["data"][0]), columns, "{by}");
        for column in ["requests", "cache_hits", "input_tokens", "output_tokens", "cost_usd"] {
            assert_eq!(sum(&seen, column), sum(&all, column), "{column} by {by}");
        }
    }
    let seen = house.get("/admin/usage?group_by=model&tenant=acme&from=2025-11-23").await.body;
    assert_eq!(rows(&seen), [row("-", "-", "sim/cheap", 1, 0), row("-", "-", "sim/reasoning", 2, 1)]);
}

#[tokio::test]
async fn pages_are_complete_and_stable_grouped_or_not() {
    let house = busy().await;
    for query in ["", "group_by=tenant,model&", "group_by=day&"] {
        let all = house.get(&format!("/admin/usage?{query}")).await.body;
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        for _ in 0..=rows(&all).len() {
            let page = house.get(&format!("/admin/usage?{query}limit=1&cursor={cursor}")).await.body;
            assert_eq!(rows(&page).len(), 1, "{query}");
            seen.extend(rows(&page));
            match page["next"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, rows(&all), "{query}");
    }
}

#[tokio::test]
async fn csv_has_every_row_unless_a_page_is_asked_for() {
    let house = busy().await;
    let all = house.get("/admin/usage").await.body;
    let seen = house.get("/admin/usage?format=csv").await;
    assert_eq!((seen.status, seen.header("content-type")), (200, "text/csv; charset=utf-8"));
    let lines: Vec<&str> = seen.text.split_terminator("\r\n").collect();
    assert_eq!(lines[0], "day,tenant,model,requests,cache_hits,input_tokens,output_tokens,cost_usd");
    assert_eq!(lines.len(), 9);
    for (line, row) in lines[1..].iter().zip(all["data"].as_array().unwrap()) {
        let cell = |name: &str| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned);
        let expected: Vec<String> = lines[0].split(',').map(cell).collect();
        assert_eq!(*line, expected.join(","));
    }
    assert_eq!(seen.header("x-next-cursor"), "");

    let page = house.get("/admin/usage?format=csv&limit=3").await;
    assert_eq!(page.text.split_terminator("\r\n").collect::<Vec<_>>(), lines[..4]);
    let cursor = page.header("x-next-cursor");
    let rest = house.get(&format!("/admin/usage?format=csv&cursor={cursor}")).await;
    assert_eq!(rest.text.split_terminator("\r\n").skip(1).collect::<Vec<_>>(), lines[4..]);

    let grouped = house.get("/admin/usage?format=csv&group_by=tenant").await;
    assert_eq!(grouped.text.lines().next().unwrap(), "tenant,requests,cache_hits,input_tokens,output_tokens,cost_usd");
    assert_eq!(grouped.text.lines().count(), 3);
}
