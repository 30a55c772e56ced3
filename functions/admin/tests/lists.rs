//! Lists: pages that are complete, and rows that were asked for.

use crate::house::{DAY_MS, House, NOON_MS, request_as};
use serde_json::{Value, json};

/// All rows of a list, by pages of this many, as their field `name`.
async fn all(house: &House, path: &str, limit: usize, name: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let page = house.get(&format!("{path}{mark}limit={limit}&cursor={cursor}")).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        let rows = page.body["data"].as_array().unwrap();
        assert!(rows.len() <= limit, "{path}");
        found.extend(rows.iter().map(|row| row[name].as_str().unwrap().to_owned()));
        match page.body["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return found,
        }
    }
}

#[tokio::test]
async fn every_list_is_whole_by_pages_of_any_length() {
    let house = House::new().await;
    for n in 0..7 {
        house.tenant(&format!("t{n}"), json!({})).await;
        house.key("t0").await;
        house.ask("POST", "/admin/admins", Some(json!({"name": "Ann", "role": "viewer"}))).await;
    }
    for (path, name, count) in [
        ("/admin/tenants", "id", 7),
        ("/admin/tenants/t0/keys", "id", 7),
        ("/admin/admins", "id", 7),
        ("/admin/audit", "subject", 21),
    ] {
        let whole = all(&house, path, 1000, name).await;
        assert_eq!(whole.len(), count, "{path}");
        for limit in 1..=8 {
            assert_eq!(all(&house, path, limit, name).await, whole, "{path} by {limit}");
        }
        for (query, param) in [("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("limt=1", "limt")]
        {
            assert_eq!(house.get(&format!("{path}?{query}")).await.error().2, Some(param), "{path}?{query}");
        }
    }
    assert_eq!(house.get("/admin/models?limt=1").await.error(), (400, "invalid_request", Some("limt")));
}

#[tokio::test]
async fn tenants_are_found_by_the_beginning_of_their_name_and_by_whether_they_are_served() {
    let house = House::new().await;
    for (id, name, enabled) in [
        ("a", "Acme", true),
        ("b", "acme West", false),
        ("c", "Beta", true),
        ("d", "ACME East", true),
        ("e", "West Acme", false),
    ] {
        house.tenant(id, json!({"name": name, "enabled": enabled})).await;
    }
    for (query, expected) in [
        ("name=acme", "abd"),
        ("name=AcMe%20", "bd"),
        ("name=x", ""),
        ("enabled=true", "acd"),
        ("enabled=false", "be"),
        ("name=acme&enabled=true", "ad"),
    ] {
        for limit in 1..=6 {
            let found = all(&house, &format!("/admin/tenants?{query}"), limit, "id").await.concat();
            assert_eq!(found, expected, "{query} by {limit}");
        }
    }
    assert_eq!(house.get("/admin/tenants?enabled=yes").await.error(), (400, "invalid_request", Some("enabled")));
}

#[tokio::test]
async fn the_audit_log_is_found_by_who_what_subject_and_time() {
    let house = House::new().await;
    let made = house.ask("POST", "/admin/admins", Some(json!({"name": "Ann", "role": "operator"}))).await.body;
    let (ann, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    house.clock.advance(DAY_MS);
    for id in ["acme", "acme-2"] {
        let body = Some(json!({"id": id}));
        assert_eq!(house.send(request_as(token, "POST", "/admin/tenants", body)).await.status, 201);
        house.key(id).await;
    }
    house.clock.advance(DAY_MS);
    house.ask("PATCH", "/admin/tenants/acme", Some(json!({"enabled": false}))).await;
    let (day, noon) = ("2025-11-23", NOON_MS + DAY_MS);
    for (query, expected) in [
        (format!("who={ann}"), vec!["tenant.create", "tenant.create"]),
        ("who=bootstrap".into(), vec!["tenant.update", "key.create", "key.create", "admin.create"]),
        ("who=boot".into(), vec![]),
        ("what=tenant".into(), vec!["tenant.update", "tenant.create", "tenant.create"]),
        ("what=key.create".into(), vec!["key.create", "key.create"]),
        ("what=ten".into(), vec![]),
        ("subject=acme".into(), vec!["tenant.update", "key.create", "tenant.create"]),
        (format!("subject={ann}"), vec!["admin.create"]),
        (format!("from={day}&to={day}"), vec!["key.create", "tenant.create", "key.create", "tenant.create"]),
        (format!("from={noon}&to={noon}&what=key&subject=acme-2"), vec!["key.create"]),
        (format!("to={}", noon - 1), vec!["admin.create"]),
        (format!("from={}", noon + 1), vec!["tenant.update"]),
    ] {
        for limit in [1, 2, 9] {
            assert_eq!(
                all(&house, &format!("/admin/audit?{query}"), limit, "what").await,
                expected,
                "{query} by {limit}"
            );
        }
    }
    assert_eq!(house.get("/admin/audit?from=2025-11-24&to=2025-11-23").await.error().2, Some("from"));
    assert_eq!(house.get("/admin/audit?before=1").await.error().2, Some("before"));
    let page: Value = house.get("/admin/audit?who=nobody").await.body;
    assert_eq!(page, json!({"data": [], "next": null}));
}
