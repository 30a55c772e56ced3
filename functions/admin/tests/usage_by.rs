//! Usage by hour and by tag: each request in one row, whatever is asked for, and the sum always the whole.

use crate::house::{DAY_MS, HOUR_MS, House, NOON_MS};
use serde_json::{Value, json};

/// Requests of one tenant, an hour apart: at noon, 13:00 and so on, with these tags.
async fn tagged(tags: &[&str]) -> House {
    let house = House::new().await;
    let key = house.acme().await.key;
    for (n, tags) in tags.iter().enumerate() {
        assert_eq!(house.chat_tagged(&key, "sim/cheap", &format!("text {n}"), tags).await.status, 200);
        house.clock.advance(HOUR_MS);
    }
    house
}

/// Of each row the columns that it is told apart by, and its requests.
fn rows(body: &Value) -> Vec<String> {
    let columns = ["day", "hour", "tenant", "model", "tag"];
    let row = |row: &Value| {
        let cells = columns.iter().filter_map(|column| row[*column].as_str());
        format!("{} {}", cells.collect::<Vec<_>>().join(" "), row["requests"])
    };
    body["data"].as_array().unwrap().iter().map(row).collect()
}

async fn shown(house: &House, query: &str) -> Vec<String> {
    let seen = house.get(&format!("/admin/usage?{query}")).await;
    assert_eq!(seen.status, 200, "{query}: {}", seen.text);
    rows(&seen.body)
}

#[tokio::test]
async fn hours_are_told_apart_and_a_shown_hour_can_be_asked_for() {
    let house = tagged(&["", "", ""]).await;
    let hours = ["2025-11-22T12:00Z 1", "2025-11-22T13:00Z 1", "2025-11-22T14:00Z 1"];
    for (query, shown_hours) in [
        ("group_by=hour".to_owned(), &hours[..]),
        ("group_by=hour&from=2025-11-22".to_owned(), &hours),
        ("group_by=hour&from=2025-11-22T13:00Z".to_owned(), &hours[1..]),
        ("group_by=hour&from=2025-11-22T13:59:59Z&to=2025-11-22T13:00Z".to_owned(), &hours[1..2]),
        (format!("group_by=hour&from={}&to={}", NOON_MS + 1, NOON_MS + HOUR_MS), &hours[..2]),
        ("group_by=hour&to=2025-11-21".to_owned(), &[]),
        ("group_by=hour&from=2025-11-14".to_owned(), &hours),
    ] {
        assert_eq!(shown(&house, &query).await, shown_hours, "{query}");
    }
    assert_eq!(shown(&house, "group_by=day&from=2025-11-22T13:00Z").await, ["2025-11-22 3"], "an instant is its day");
    assert_eq!(shown(&house, "group_by=model,hour,day").await[0], "2025-11-22 2025-11-22T12:00Z sim/cheap 1");
    let seen = house.get("/admin/usage?group_by=hour&format=csv").await;
    assert!(
        seen.text.starts_with("hour,requests,cache_hits,input_tokens,output_tokens,cost_usd\r\n2025-11-22T12:00Z,1,0,")
    );

    // What is from before the hours that are kept is not told as if it were nothing.
    house.clock.advance(8 * DAY_MS);
    let refused = house.get("/admin/usage?group_by=hour&from=2025-11-21").await;
    assert_eq!(refused.error(), (400, "invalid_request", Some("from")));
    assert!(refused.text.contains("kept for 8 days"), "{}", refused.text);
    assert_eq!(shown(&house, "group_by=hour").await, [""; 0], "by default the last seven days");
    assert_eq!(shown(&house, "group_by=day&from=2025-11-21").await, ["2025-11-22 3"]);
}

#[tokio::test]
async fn a_request_is_in_one_row_whatever_its_tags_and_those_without_are_a_row() {
    let house = tagged(&[
        "team=red,env=prod",
        "env=prod , team=red",
        "team=blue",
        "team=",
        "",
        "team=red,team=red",
        "Team=red",
    ])
    .await;
    for (query, expected) in [
        ("group_by=tag:team", vec![" 3", "blue 1", "red 3"]),
        ("group_by=tag:env", vec![" 5", "prod 2"]),
        ("group_by=tag:Team", vec![" 6", "red 1"]),
        ("group_by=tag:nothing", vec![" 7"]),
        ("group_by=tag:team,day,tenant", vec!["2025-11-22 acme  3", "2025-11-22 acme blue 1", "2025-11-22 acme red 3"]),
        ("group_by=tag:team&tag=team=red", vec!["red 3"]),
        ("group_by=tag:team&tag=team=", vec![" 3"]),
        ("group_by=model&tag=team=red", vec!["sim/cheap 3"]),
        ("tag=env=prod", vec!["2025-11-22 acme sim/cheap 2"]),
        ("tag=team=green", vec![]),
        ("group_by=hour&tag=team=blue", vec!["2025-11-22T14:00Z 1"]),
        ("group_by=tag:team&tenant=nobody", vec![]),
        ("group_by=tag:team&model=sim/cheap&from=2025-11-22&to=2025-11-22", vec![" 3", "blue 1", "red 3"]),
        (
            "group_by=hour,tag:team&from=2025-11-22T14:00Z&to=2025-11-22T15:00Z",
            vec!["2025-11-22T14:00Z blue 1", "2025-11-22T15:00Z  1"],
        ),
    ] {
        assert_eq!(shown(&house, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn values_of_tags_are_the_clients_and_harm_no_sheet_and_no_page() {
    let odd = ["=HYPERLINK(\"http://a\")", "+1", "@SUM(A1)", "-2", "a/b\"c", "%2F&x=1#?", "two words"];
    let tags: Vec<String> = odd.iter().map(|value| format!("team={value}")).collect();
    let house = tagged(&tags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let csv = house.get("/admin/usage?group_by=tag:team&format=csv").await.text;
    let mut cells: Vec<&str> = csv.lines().skip(1).map(|line| line.rsplitn(6, ',').last().unwrap()).collect();
    cells.sort_unstable();
    let mut expected =
        ["\"'=HYPERLINK(\"\"http://a\"\")\"", "'+1", "'@SUM(A1)", "'-2", "\"a/b\"\"c\"", "%2F&x=1#?", "two words"];
    expected.sort_unstable();
    assert_eq!(cells, expected);

    let all = shown(&house, "group_by=tag:team").await;
    assert_eq!(all.len(), odd.len());
    for format in ["json", "csv"] {
        let (mut count, mut cursor) = (0, String::new());
        loop {
            // As it is, unescaped.
            let page =
                house.get(&format!("/admin/usage?group_by=tag:team&limit=2&format={format}&cursor={cursor}")).await;
            let next = if format == "csv" {
                page.header("x-next-cursor").to_owned()
            } else {
                page.body["next"].as_str().unwrap_or_default().to_owned()
            };
            count += if format == "csv" { page.text.lines().count() - 1 } else { rows(&page.body).len() };
            if next.is_empty() {
                break;
            }
            cursor = next;
        }
        assert_eq!(count, odd.len(), "by pages of {format}");
    }
    for value in ["%3DHYPERLINK(%22http://a%22)", "%252F%26x=1%23%3F", "two+words"] {
        assert_eq!(shown(&house, &format!("group_by=model&tag=team={value}")).await, ["sim/cheap 1"], "{value}");
    }
    let tenant = house.tenant("other", json!({})).await;
    assert_eq!(tenant["id"], "other");
    assert_eq!(shown(&house, "group_by=tag:team&tenant=other").await, [""; 0], "nothing of another's");
}
