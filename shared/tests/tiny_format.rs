//! A second format, which only the tests know: that it can be added from out here, at a door and at a provider, without a
//! stage hearing of it, is what a border between formats and stages is for.
//!
//! It is one line of text a turn, and next to nothing beside: `{"to": MODEL, "says": ["u Hello", "a Hi."], "most": 9}`.

use crate::rig::{Got, Rig, ask, ask_with, cheap, name_of, with_key};
use crate::tiny_answers::{NAME, TinyWriter, error};
use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::catalog::Api;
use gateway_core::error::{Error, HttpError};
use gateway_core::id::RequestId;
use gateway_core::provider::{Call, Provider, ProviderError, Reply};
use gateway_core::request::incoming::Incoming;
use gateway_core::wire::body::Body;
use gateway_core::wire::conversation::{Conversation, Json, Part, Role, Turn, Untranslatable};
use gateway_core::wire::facts::Facts;
use gateway_core::wire::format::{FieldNames, Format, Overrides, Spoken, Written};
use gateway_core::wire::openai::CHAT;
use gateway_core::wire::writer::Writer;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use simulated_provider::Simulated;
use std::sync::{Arc, Mutex};

#[derive(Debug)]
pub struct TinyFormat;

pub static TINY: TinyFormat = TinyFormat;

/// A request.
#[derive(Deserialize)]
struct Wire<'a> {
    to: String,
    says: Vec<String>,
    most: Option<u64>,
    #[serde(default)]
    live: bool,
    #[serde(borrow)]
    mood: Option<&'a RawValue>,
    #[serde(default)]
    told_before: bool,
}

fn wire(bytes: &[u8]) -> Result<Wire<'_>, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// The request with what the gateway says itself.
fn say(mut body: Value, overrides: &Overrides<'_>) -> Bytes {
    body["to"] = overrides.model.into();
    body["most"] = overrides.max_output_tokens.into();
    body["live"] = overrides.stream.into();
    body.to_string().into()
}

impl Spoken for TinyFormat {
    fn name(&self) -> &'static str {
        NAME
    }

    fn splice(&self, body: &Body, overrides: &Overrides<'_>) -> Option<Bytes> {
        Some(say(serde_json::from_slice(body.bytes()).unwrap(), overrides))
    }

    fn write(&self, conversation: &Conversation<'_>, overrides: &Overrides<'_>) -> Result<Written, Untranslatable> {
        if !conversation.tools.is_empty() {
            return Err(Untranslatable::new("tools", "are unknown to it"));
        }
        let system = conversation.system.iter().map(|part| ("s", part));
        let speaker = |role| if role == Role::Assistant { "a" } else { "u" };
        let turns =
            conversation.turns.iter().flat_map(|turn| turn.parts.iter().map(move |part| (speaker(turn.role), part)));
        let mut says = Vec::new();
        for (who, part) in system.chain(turns) {
            let Part::Text(text) = part else { return Err(Untranslatable::new("messages", "has more than text")) };
            says.push(format!("{who} {text}"));
        }
        let left_out = conversation.rest.iter().map(|(name, _)| format!("`{name}`")).collect();
        Ok(Written { body: say(json!({"says": says}), overrides), left_out })
    }
}

impl Format for TinyFormat {
    fn fields(&self) -> &'static FieldNames {
        &FieldNames {
            models: "to",
            messages: "says",
            tools: "tools",
            answer_format: "shape",
            logprobs: "odds",
            tool_choice: "must",
            effort: "effort",
            sampling: "heat",
            stop: "stop",
            parallel_tools: "parallel_tool_calls",
        }
    }

    fn read(&self, bytes: Bytes) -> Result<(Body, Facts), Error> {
        let wire = wire(&bytes).map_err(|error| Error::invalid("says", error.to_string()))?;
        let prompt = wire.says.iter().rev().find_map(|line| line.strip_prefix("u ")).unwrap_or_default().to_owned();
        let (messages, body_bytes, temperature) = (wire.says.len(), bytes.len(), Some(0.0));
        let (model, stream, max_output_tokens) = (wire.to.as_str().into(), wire.live, wire.most);
        let include_usage = stream;
        let known = Facts { model, stream, include_usage, max_output_tokens, temperature, ..Facts::default() };
        Ok((Body::json(bytes, |_, _| Ok(()))?, Facts { messages, body_bytes, prompt, ..known }))
    }

    fn conversation<'b>(&self, body: &'b Body) -> Result<Conversation<'b>, Untranslatable> {
        let wire = wire(body.bytes()).map_err(|_| Untranslatable::new("says", "cannot be read"))?;
        if wire.told_before {
            return Err(Untranslatable::new("told_before", "names a state that only its provider has"));
        }
        let turn = |line: String| {
            let (who, text) = line.split_once(' ')?;
            let role = if who == "u" { Role::User } else { Role::Assistant };
            Some(Turn { role, name: None, parts: vec![Part::Text(text.to_owned().into())] })
        };
        let turns: Option<Vec<Turn<'b>>> = wire.says.into_iter().map(turn).collect();
        let turns = turns.ok_or_else(|| Untranslatable::new("says", "has a line without a speaker"))?;
        let rest = wire.mood.map(|mood| ("mood".into(), Json(mood))).into_iter().collect();
        Ok(Conversation { format: self.name(), turns, rest, ..Conversation::default() })
    }

    fn writer(&self, _request: RequestId) -> Box<dyn Writer> {
        Box::new(TinyWriter::default())
    }

    fn error(&self, http: &HttpError, _request: Option<&str>) -> Bytes {
        error(http)
    }
}

/// A provider that speaks this format, and keeps what it is sent. It answers as the simulated one does.
struct Keeps {
    format: &'static dyn Format,
    sent: Arc<Mutex<Vec<Value>>>,
    answers: Simulated,
}

#[async_trait]
impl Provider for Keeps {
    fn format(&self, _api: Api) -> &'static dyn Spoken {
        self.format
    }

    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        let body = call.body_for(self.format)?;
        self.sent.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        self.answers.chat(call).await
    }
}

/// A gateway whose model `sim/cheap` is served by a provider that speaks this format, and what that is sent.
async fn rig(format: &'static dyn Format) -> (Rig, Arc<Mutex<Vec<Value>>>) {
    let sent = Arc::new(Mutex::default());
    let keeps = Keeps { format, sent: Arc::clone(&sent), answers: Simulated::new() };
    let rig = cheap(["sim/cheap", "ok"]).with(move |builder| builder.provider("sim", Arc::new(keeps))).build().await;
    (rig, sent)
}

/// Sends a request through the door of the tiny format.
pub async fn tiny(rig: &Rig, headers: &[(&'static str, &str)], body: &Value) -> Got {
    let body = Box::new(Bytes::from(body.to_string()));
    let incoming = Incoming { headers: with_key(&rig.key, headers), body, time_left: None };
    Got::all_of(rig.gateway.serve(&TINY, incoming).await).await
}

#[tokio::test]
async fn a_request_of_another_door_reaches_an_openai_provider_in_its_words() {
    for live in [false, true] {
        let (rig, sent) = rig(&CHAT).await;
        let body =
            json!({"to": "sim/cheap", "says": ["u Hello", "a Hi.", "u What is an API?"], "most": 9, "live": live});
        assert_eq!(tiny(&rig, &[], &body).await.status, 200);
        let mut expected = json!({"model": "cheap", "max_tokens": 9, "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "What is an API?"},
        ]});
        if live {
            expected["stream"] = true.into();
            expected["stream_options"] = json!({"include_usage": true});
        }
        assert_eq!(*sent.lock().unwrap(), [expected]);
        assert!(rig.totals().await.tokens > 0, "it is billed as any other");
    }
}

#[tokio::test]
async fn an_openai_request_reaches_a_provider_of_another_format_and_the_receipt_says_what_was_left_out() {
    let (rig, sent) = rig(&TINY).await;
    let more = json!({"max_tokens": 9, "store": true, "metadata": {"k": "v"}, "messages":
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is an API?"}]});
    let got = rig.chat(ask_with("sim/cheap", more)).await;
    assert_eq!(got.status, 200, "{got:?}");
    let says = ["s Be brief.", "u What is an API?"];
    assert_eq!(*sent.lock().unwrap(), [json!({"to": "cheap", "says": says, "most": 9, "live": false})]);
    let receipt = rig.receipt(&got).await.to_string();
    assert!(receipt.contains("sim/cheap does not get") && receipt.contains("`metadata`, `store`"), "{receipt}");
    let got = rig.chat(ask("sim/cheap")).await;
    assert!(!rig.receipt(&got).await.to_string().contains("does not get"), "nothing was left out");
}

#[tokio::test]
async fn the_same_format_in_and_out_is_spliced() {
    let (rig, sent) = rig(&TINY).await;
    let body = json!({"to": "sim/cheap", "says": ["u Hello"], "mood": [1.10], "unknown": {}});
    assert_eq!(tiny(&rig, &[], &body).await.status, 200);
    let said = json!({"to": "cheap", "says": ["u Hello"], "mood": [1.10], "unknown": {}, "most": 4096, "live": false});
    assert_eq!(*sent.lock().unwrap(), [said]);
}

#[tokio::test]
async fn a_model_whose_format_cannot_say_the_request_is_no_candidate() {
    let (rig, sent) = rig(&TINY).await;
    let picture =
        json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]});
    let got = rig.chat(ask_with("cheap", picture.clone())).await;
    assert_eq!((got.status, got.header("x-gateway-model")), (200, &*name_of("ok")));
    assert_eq!(got.header("x-gateway-attempts"), "1");
    let got = rig.chat(ask_with("sim/cheap", picture)).await;
    assert_eq!((got.status, &got.json()["error"]["param"]), (400, &json!("messages")));
    let told_before = json!({"to": name_of("ok"), "says": ["u Hello"], "told_before": true});
    let got = tiny(&rig, &[], &told_before).await;
    assert_eq!(got.status, 400);
    assert!(got.contains("names a state that only its provider has"), "{got:?}");
    assert!(sent.lock().unwrap().is_empty());
    assert_eq!(rig.totals().await.requests, 1, "what is refused counts nothing, and holds nothing");
    assert_eq!(rig.counted().await, rig.totals().await);
}

#[tokio::test]
async fn the_same_bytes_at_two_doors_are_two_requests() {
    let (rig, sent) = rig(&CHAT).await;
    let both = ask_with("sim/cheap", json!({"temperature": 0, "to": "sim/cheap", "says": ["u Hello"]}));
    for expected in ["miss", "hit"] {
        assert_eq!(rig.chat(both.clone()).await.header("x-gateway-cache"), expected);
        assert_eq!(tiny(&rig, &[], &both).await.header("x-gateway-cache"), expected);
    }
    assert_eq!(sent.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_idempotency_key_at_another_door_came_with_another_request() {
    let (rig, sent) = rig(&CHAT).await;
    let both = ask_with("sim/cheap", json!({"to": "sim/cheap", "says": ["u Hello"]}));
    let keyed = [("idempotency-key", "k"), ("x-gateway-cache", "no-store")];
    assert_eq!(rig.chat_with(&keyed, both.clone()).await.status, 200);
    let got = tiny(&rig, &keyed, &both).await;
    assert_eq!((got.status, got.header("idempotent-replayed")), (422, ""), "{got:?}");
    assert_eq!(rig.chat_with(&keyed, both).await.header("idempotent-replayed"), "true");
    assert_eq!(sent.lock().unwrap().len(), 1, "only the first was served");
}
