//! What a tenant says of an answer, through the whole core.

use crate::rig::{Got, Rig, ask, ask_with, boxed, cheap, streamed, two_tiers, with_key};
use gateway_core::door::refusal;
use gateway_core::request::incoming::Incoming;
use serde_json::{Value, json};

/// Says something of a receipt, with this key.
async fn say_as(rig: &Rig, key: &str, id: &str, body: &str) -> Got {
    let incoming = Incoming { headers: with_key(key, &[]), body: boxed(body.to_owned()), time_left: None };
    let answer = rig.gateway.feedback(incoming, id).await;
    Got::all_of(answer.unwrap_or_else(|error| refusal(&error, None))).await
}

async fn say(rig: &Rig, id: &str, body: &Value) -> Got {
    say_as(rig, &rig.key, id, &body.to_string()).await
}

#[tokio::test]
async fn what_is_said_of_an_answer_stands_on_its_receipt_and_the_last_word_counts() {
    let rig = cheap(["ok"]).build().await;
    let got = rig.chat(ask("cheap")).await;
    let id = got.header("x-request-id").to_owned();
    let before = rig.receipt(&got).await;
    assert_eq!(before["feedback"], Value::Null);
    for (body, verdict) in [
        (json!({"rating": "bad", "comment": "wrong"}), json!({"rating": "bad", "comment": "wrong"})),
        (json!({"rating": "bad", "comment": "wrong"}), json!({"rating": "bad", "comment": "wrong"})),
        (json!({"score": 0.75}), json!({"score": 0.75})),
    ] {
        // A word on another day is the same word.
        rig.clock.advance(86_400_000);
        let said = say(&rig, &id, &body).await;
        let mut feedback = verdict;
        feedback["created_at_ms"] = rig.clock_now().into();
        assert_eq!((said.status, said.json()), (200, json!({"id": id, "feedback": feedback})));
        let mut receipt = rig.receipt(&got).await;
        assert_eq!(receipt["feedback"].take(), feedback);
        receipt.as_object_mut().unwrap().remove("feedback");
        assert_eq!(receipt, before, "nothing else has changed");
    }
    assert_eq!(rig.totals().await.requests, 1, "a word on a request is no request");
    assert_eq!(rig.counted().await.requests, 1);
}

#[tokio::test]
async fn only_ones_own_receipt_that_is_there_takes_a_word() {
    let rig = cheap(["ok"]).build().await;
    let other = rig.add_tenant("other", json!({})).await;
    let id = rig.chat(ask("cheap")).await.header("x-request-id").to_owned();
    let bad = json!({"rating": "bad"});
    let theirs = say_as(&rig, &other, &id, &bad.to_string()).await;
    let unknown = say(&rig, "01KAP0000000000000000000A1", &bad).await;
    assert_eq!((theirs.status, theirs.error_code()), (404, "not_found".to_owned()));
    assert_eq!(theirs.json(), unknown.json(), "what is another's is as what is not there (T1)");
    for id in ["", "x", "../../etc", &id[1..]] {
        assert_eq!(say(&rig, id, &bad).await.status, 404, "{id}");
    }
    // Ids are read as they are written by people, too.
    assert_eq!(say(&rig, &id.to_lowercase(), &bad).await.status, 200);
    rig.clock.advance(30 * 86_400_000 + 1);
    assert_eq!(say(&rig, &id, &bad).await.status, 404, "it has expired");
    let nobody = say_as(&rig, "gw_live_nobody", &id, &bad.to_string()).await;
    assert_eq!(nobody.status, 401);
}

#[tokio::test]
async fn a_word_that_comes_before_the_answer_has_ended_is_told_so_and_is_taken_after() {
    let rig = cheap(["ok"]).build().await;
    let answer = rig.begin(&rig.key, &[], streamed("cheap").to_string().into()).await;
    let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    let early = say(&rig, &id, &json!({"rating": "good"})).await;
    assert!(early.status == 200 || early.contains("not yet"), "{}", early.status);
    Got::all_of(answer).await;
    rig.recorded(1).await;
    assert_eq!(say(&rig, &id, &json!({"rating": "good"})).await.status, 200);
}

#[tokio::test]
async fn what_is_no_feedback_is_refused_and_takes_nothing_away() {
    let rig = cheap(["ok"]).build().await;
    let got = rig.chat(ask("cheap")).await;
    let id = got.header("x-request-id").to_owned();
    assert_eq!(say(&rig, &id, &json!({"rating": "good"})).await.status, 200);
    for (body, status, param) in [
        ("".to_owned(), 400, Value::Null),
        ("{".to_owned(), 400, Value::Null),
        (json!({"rating": "good", "receipt_id": "x"}).to_string(), 400, json!("receipt_id")),
        (json!({"rating": "fine"}).to_string(), 400, json!("rating")),
        (json!({"score": 2}).to_string(), 400, json!("score")),
        (json!({"rating": "bad", "comment": "\u{1b}[2J"}).to_string(), 400, json!("comment")),
        (json!({"rating": "bad", "comment": "x".repeat(20_000)}).to_string(), 413, Value::Null),
        ("[".repeat(10_000), 400, Value::Null),
    ] {
        let said = say_as(&rig, &rig.key, &id, &body).await;
        assert_eq!((said.status, &said.json()["error"]["param"]), (status, &param), "{body:.60}");
    }
    assert_eq!(rig.receipt(&got).await["feedback"]["rating"], "good");
}

#[tokio::test]
async fn words_take_their_place_in_the_rate_of_requests_and_wait_for_it() {
    let rig = cheap(["ok"]).limits(json!({"requests_per_minute": 3})).build().await;
    let id = rig.chat(ask("cheap")).await.header("x-request-id").to_owned();
    let good = json!({"rating": "good"});
    assert_eq!([say(&rig, &id, &good).await.status, say(&rig, &id, &good).await.status], [200, 200]);
    for _ in 0..2 {
        let said = say(&rig, &id, &good).await;
        assert_eq!((said.status, said.error_code(), said.header("retry-after")), (429, "rate_limited".into(), "20"));
    }
    rig.clock.advance(20_000);
    assert_eq!(say(&rig, &id, &good).await.status, 200);
}

#[tokio::test]
async fn a_revoked_tenant_says_nothing_more_and_a_changed_one_goes_on() {
    let rig = cheap(["ok"]).build().await;
    let id = rig.chat(ask("cheap")).await.header("x-request-id").to_owned();
    rig.change_tenant("acme", json!({"limits": {"requests_per_minute": 600}})).await;
    assert_eq!(say(&rig, &id, &json!({"rating": "good"})).await.status, 200);
    rig.change_tenant("acme", json!({"enabled": false})).await;
    let said = say(&rig, &id, &json!({"rating": "bad"})).await;
    assert_eq!((said.status, said.error_code().as_str()), (403, "tenant_disabled"));
}

#[tokio::test]
async fn with_the_ledger_down_nothing_is_said_to_be_kept() {
    let rig = cheap(["ok"]).build().await;
    let got = rig.chat(ask("cheap")).await;
    let id = got.header("x-request-id").to_owned();
    rig.ledger.set_down(true);
    let said = say(&rig, &id, &json!({"rating": "bad"})).await;
    assert_eq!((said.status, said.error_code().as_str()), (503, "store_unavailable"));
    rig.ledger.set_down(false);
    assert_eq!(rig.receipt(&got).await["feedback"], Value::Null);
    assert_eq!(say(&rig, &id, &json!({"rating": "bad"})).await.status, 200);
}

#[tokio::test]
async fn a_receipt_has_what_the_decision_was_made_from() {
    let rig = two_tiers(["ok"], ["ok"]).tenant(json!({"quality": 0.75})).build().await;
    let prompt = json!({"messages": [{"role": "user", "content": "good morning, how are you today?"}]});
    let receipt = rig.receipt(&rig.chat(ask_with("auto", prompt)).await).await;
    assert_eq!(receipt["quality"], 0.75, "{receipt}");
    let scores = receipt["scores"].as_object().unwrap();
    assert!(scores.values().all(|score| (0.005..=1.0).contains(&score.as_f64().unwrap())), "{receipt}");
    let pinned = rig.receipt(&rig.chat(ask("cheap")).await).await;
    assert_eq!((&pinned["quality"], &pinned["scores"]), (&Value::Null, &Value::Null));
}
