//! `/admin/alerts`.

use crate::house::House;
use serde_json::json;

#[tokio::test]
async fn where_nobody_is_told_a_test_and_a_webhook_are_refused_and_the_list_is_empty() {
    let house = House::new().await;
    house.acme().await;
    let test = house.ask("POST", "/admin/alerts/test", None).await;
    assert_eq!(test.error(), (400, "invalid_request", Some("alerts")));
    assert_eq!(house.ask("POST", "/admin/alerts/test?tenant=nobody", None).await.error(), (404, "not_found", None));
    assert_eq!(house.get("/admin/alerts").await.body, json!({"data": [], "next": null}));
    let body = json!({"alerts": {"webhook": "https://hooks.example.com/"}});
    let unsigned = house.ask("PATCH", "/admin/tenants/acme", Some(body)).await;
    assert_eq!(unsigned.error(), (400, "invalid_request", Some("alerts.webhook")));
    let quiet = house.ask("PATCH", "/admin/tenants/acme", Some(json!({"alerts": {"enabled": false}}))).await;
    assert_eq!((quiet.status, &quiet.body["alerts"]["enabled"]), (200, &json!(false)));
}
