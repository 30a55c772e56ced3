//! Thoughts that a client sends again: to the model that made them, and to no other.

use crate::rig::{Door, Got, Rig, cheap};
use serde_json::{Value, json};

/// Has a model called as Responses.
const RESPONSES: &str = "api = \"responses\"";

/// Two models of each of the formats in which thoughts are sealed.
async fn thinkers() -> Rig {
    let ids = ["reasoning-2+say:so@one", "reasoning-2+say:so@other"];
    ids.iter().fold(cheap(["ok"]), |scene, id| scene.claude(id).model(id, RESPONSES)).build().await
}

/// A door, and its two models.
const SEALED: [(Door, &str); 2] = [(Door::Messages, "claude"), (Door::Responses, "up")];

/// What its client says next: all that it was told, and another question.
fn next(door: Door, told: &Got) -> Value {
    let said = |text: &str| json!({"role": "user", "content": text});
    let mut turns = vec![said("What is an interface?")];
    match door {
        Door::Responses => turns.extend(told.json()["output"].as_array().unwrap().iter().cloned()),
        _ => turns.push(json!({"role": "assistant", "content": told.json()["content"]})),
    }
    turns.push(said("And a class?"));
    json!({door.list(): turns})
}

/// As a client asks that wants to have the thoughts of Responses, and may have them kept.
async fn ask(door: Door, rig: &Rig, cache: &str, model: &str, fields: Value) -> Got {
    let mut body = door.request(model, fields);
    if door == Door::Responses {
        body["include"] = json!(["reasoning.encrypted_content"]);
    }
    door.send_as(rig, &rig.key, cache, body).await
}

/// What the provider was sent last that is sealed.
fn sealed(rig: &Rig) -> usize {
    let sent = String::from_utf8(rig.double.requests().pop().unwrap().body.to_vec()).unwrap();
    sent.matches("sig-double-").count() + sent.matches("gAAA-double-").count()
}

#[tokio::test]
async fn thoughts_go_back_to_the_model_that_made_them_and_to_no_other() {
    for (door, provider) in SEALED {
        let rig = thinkers().await;
        let [one, other] = ["one", "other"].map(|name| format!("{provider}/reasoning-2+say:so@{name}"));
        let told = ask(door, &rig, "no-cache", &one, json!({})).await;
        assert_eq!(told.status, 200, "{told:?}");
        let reason = format!("{other} does not get the thoughts that another model made");
        for (model, kept, reasons) in [(&one, 1, 0), (&other, 0, 1)] {
            let got = ask(door, &rig, "no-cache", model, next(door, &told)).await;
            assert_eq!((got.status, sealed(&rig)), (200, kept), "{door:?} {model}: {got:?}");
            let told_why = rig.receipt(&got).await["reasons"].to_string();
            assert_eq!(told_why.matches(&reason).count(), reasons, "{told_why}");
        }
    }
}

#[tokio::test]
async fn thoughts_that_were_streamed_are_known_again_and_for_an_hour() {
    for (door, provider) in SEALED {
        let rig = thinkers().await;
        let [one, other] = ["one", "other"].map(|name| format!("{provider}/reasoning-2+say:so@{name}"));
        let whole = ask(door, &rig, "no-store", &one, json!({})).await;
        // The double numbers its answers: the next one is sealed with the next number.
        let streamed = ask(door, &rig, "no-cache", &one, json!({"stream": true})).await;
        let seal = |number: u64| format!("double-reasoning-2+say:so@one-{number}");
        assert!(whole.contains(&seal(1)) && streamed.contains(&seal(2)), "{streamed:?}");
        let turns: Value = serde_json::from_str(&next(door, &whole).to_string().replace(&seal(1), &seal(2))).unwrap();
        let got = ask(door, &rig, "no-cache", &other, turns.clone()).await;
        assert_eq!((got.status, sealed(&rig)), (200, 0), "{door:?}: {got:?}");
        rig.clock.advance(3_601_000);
        let got = ask(door, &rig, "no-cache", &other, turns).await;
        assert_eq!(got.status, 400, "{door:?}: nobody knows any more whose they are: {got:?}");
        let got = ask(door, &rig, "no-cache", &other, next(door, &whole)).await;
        assert_eq!(got.status, 400, "{door:?}: nothing of it was to be kept: {got:?}");
    }
}

#[tokio::test]
async fn after_a_failover_the_next_model_gets_none_of_them_either() {
    for (door, provider) in SEALED {
        // The second call of the first one fails.
        let [first, other] = ["fail-50+reasoning-2+say:so", "reasoning-2+say:so@other"];
        let scene = [first, other].iter().fold(cheap(["ok"]), |scene, id| scene.claude(id).model(id, RESPONSES));
        let rig = scene.table("[retry]\nmax_per_candidate = 0").build().await;
        let [first, other] = [first, other].map(|id| format!("{provider}/{id}"));
        let told = ask(door, &rig, "no-cache", &first, json!({})).await;
        assert_eq!(told.status, 200, "{told:?}");
        let mut fields = next(door, &told);
        fields["models"] = json!([other]);
        let got = ask(door, &rig, "no-cache", &first, fields).await;
        assert_eq!((got.status, got.header("x-gateway-failover"), sealed(&rig)), (200, "true", 0), "{door:?}: {got:?}");
    }
}
