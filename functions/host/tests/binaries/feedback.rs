//! What a tenant says of an answer, and that the next life of the function knows it.

use super::*;

#[tokio::test]
async fn what_is_said_of_an_answer_is_kept_for_the_next_life_and_stands_in_no_log() {
    within(async {
        let (folder, key) = Folder::with_tenant().await;
        let gateway = folder.start("gateway", &[AUTO]).await;
        let id = gateway.ask(&event("rest-chat", &key)).await.header("x-request-id").to_owned();
        let to = |id: &str, body: &str| {
            with_body(body, at(&format!("/v1/receipts/{id}/feedback"), event("rest-chat", &key)))
        };
        let bad = r#"{"rating": "bad", "comment": "the wrong year"}"#;
        for (event, status, code) in [
            (to(&id, bad), 200, Value::Null),
            (to(&id, bad), 200, Value::Null),
            (coded("gzip", &gzip(bad.as_bytes()), to(&id, "")), 200, Value::Null),
            (to(&id, r#"{"score": 2}"#), 400, json!("invalid_request")),
            (to(&id, "{"), 400, json!("invalid_request")),
            (to("01KAP0000000000000000000A1", bad), 404, json!("not_found")),
            (to("..%2f..%2fetc", bad), 404, json!("not_found")),
            (at(&format!("/v1/receipts/{id}/feedback"), event("rest-models", &key)), 405, json!("method_not_allowed")),
            (
                with_body(bad, at(&format!("/v1/receipts/{id}/feedback"), event("rest-chat", "gw_live_x"))),
                401,
                json!("invalid_api_key"),
            ),
        ] {
            let reply = gateway.ask(&event).await;
            assert_eq!((reply.status, &reply.json()["error"]["code"]), (status, &code), "{event}: {reply:?}");
        }
        gateway.stop().await;

        let gateway = folder.start("gateway", &[]).await;
        let receipt = gateway.ask(&at(&format!("/v1/receipts/{id}"), event("rest-models", &key))).await.json();
        let feedback = &receipt["feedback"];
        assert_eq!((&feedback["rating"], &feedback["comment"]), (&json!("bad"), &json!("the wrong year")), "{receipt}");
        assert_eq!(gateway.ask(&to(&id, r#"{"score": 1}"#)).await.json()["feedback"]["score"], 1.0);
        gateway.stop().await;
        assert_eq!(folder.receipts_in_log(&[key.as_str(), "the wrong year"]).len(), 1);
    })
    .await;
}
