//! The answers of a format that only the tests know: its reader, its writer, and a provider that speaks it.
//!
//! It is nothing like OpenAI's: a stream is a JSON value a line and no server-sent events, an answer has no choices, the
//! arguments of a call are JSON and no text. That it can be added from out here, and that the pipeline judges, bills,
//! remembers and settles its answers as any others, is what a border between formats and stages is for.

use crate::rig::{Got, Rig, ask, cheap, name_of, streamed, two_tiers};
use crate::tiny_format::{TINY, tiny};
use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use gateway_core::catalog::Api;
use gateway_core::error::{HttpError, Objection};
use gateway_core::money::{Amounts, Usage};
use gateway_core::provider::{Call, Chunk, Chunks, Completion, Fault, NotACompletion, Provider, ProviderError, Reply};
use gateway_core::receipt::AttemptOutcome;
use gateway_core::wire::answer::Flaw;
use gateway_core::wire::answer::Places;
use gateway_core::wire::format::Spoken;
use gateway_core::wire::piece::{Finish, Piece, Place, choices};
use gateway_core::wire::writer::{Hide, Writer};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;

/// The format's name.
pub const NAME: &str = "tiny";

/// An answer, or what a line of a stream adds to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    say: Option<String>,
    #[serde(borrow, rename = "do", default)]
    calls: Vec<WireCall<'a>>,
    why: Option<String>,
    cost: Option<[u64; 2]>,
    #[serde(borrow)]
    by: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireCall<'a> {
    n: u64,
    #[serde(borrow)]
    f: Option<&'a RawValue>,
    #[serde(borrow)]
    with: Option<&'a RawValue>,
}

fn read(bytes: &Bytes) -> Result<(Vec<Piece>, Option<Usage>, Places), NotACompletion> {
    let wire: Wire<'_> = serde_json::from_slice(bytes).map_err(|_| Flaw::Malformed)?;
    let place = |raw: Option<&RawValue>| -> Place {
        raw.map_or(0..0, |raw| {
            let start = raw.get().as_ptr() as usize - bytes.as_ptr() as usize;
            start..start + raw.get().len()
        })
    };
    let choice = 0;
    let mut pieces = vec![Piece::Begin { choice }];
    pieces.extend(wire.say.map(|text| Piece::Text { choice, text }));
    pieces.extend(wire.calls.into_iter().map(|call| Piece::ToolCall {
        choice,
        call: call.n,
        id: 0..0,
        name: place(call.f),
        arguments: place(call.with),
    }));
    let finish = |word: String| match &*word {
        "done" => Finish::Stop,
        "tools" => Finish::ToolCalls,
        "long" => Finish::Length,
        "bad" => Finish::Filter,
        "no" => Finish::Refusal,
        _ => Finish::Other,
    };
    pieces.extend(wire.why.map(|word| Piece::Finish { choice, why: finish(word) }));
    let usage =
        wire.cost.map(|[input_tokens, output_tokens]| Usage { input_tokens, output_tokens, ..Usage::default() });
    Ok((pieces, usage, Places { model: wire.by.map(|raw| place(Some(raw))), logprobs: Vec::new() }))
}

/// Reads a whole answer.
pub fn completion(body: Bytes) -> Result<Completion, NotACompletion> {
    let (pieces, usage, places) = read(&body)?;
    let is_whole = pieces.iter().any(|piece| matches!(piece, Piece::Finish { .. }));
    let answer = Completion { format: NAME, body, pieces, usage, first_byte_ms: 1.0, places };
    if is_whole { Ok(answer) } else { Err(Flaw::Unfinished.into()) }
}

/// Reads a line of a stream.
pub fn chunk(payload: Bytes) -> Result<Chunk, NotACompletion> {
    let (pieces, usage, places) = read(&payload)?;
    Ok(Chunk { format: NAME, payload, pieces, usage, places })
}

/// Writes the answer to one request.
#[derive(Debug, Default)]
pub struct TinyWriter {
    usage: Option<Usage>,
}

impl Writer for TinyWriter {
    fn whole_type(&self) -> &'static str {
        "application/tiny"
    }

    fn stream_type(&self) -> &'static str {
        "application/tiny-lines"
    }

    fn whole(&mut self, answer: &Completion, model: &str, hide: Hide) -> Bytes {
        if answer.format == NAME {
            let mut out = BytesMut::new();
            answer.places.rewrite(&answer.body, model, hide.logprobs, &mut out);
            return out.freeze();
        }
        let choice = choices(&answer.pieces).remove(0);
        let calls: Vec<Value> =
            answer.pieces.iter().filter_map(|piece| call(piece, |place| answer.said(place))).collect();
        let mut whole = json!({"by": model, "say": choice.text, "do": calls});
        whole["why"] = choice.finish.map(word).into();
        whole["cost"] = answer.usage.map(cost).into();
        Bytes::from(whole.to_string())
    }

    fn chunk(&mut self, chunk: &Chunk, _model: &str, _hide: Hide, out: &mut BytesMut) {
        if chunk.format == NAME {
            out.put_slice(&chunk.payload);
            return out.put_slice(b"\n");
        }
        self.usage = chunk.usage.or(self.usage);
        for piece in &chunk.pieces {
            match piece {
                Piece::Text { text, .. } => line(&json!({"say": text}), out),
                Piece::Finish { why, .. } => line(&json!({"why": word(*why)}), out),
                piece => {
                    if let Some(call) = call(piece, |place| chunk.said(place)) {
                        line(&json!({"do": [call]}), out);
                    }
                }
            }
        }
    }

    fn rest(&mut self, model: &str, hide: Hide, out: &mut BytesMut) {
        let usage = self.usage.take().filter(|_| !hide.usage);
        line(&json!({"by": model, "cost": usage.map(cost)}), out);
    }

    fn end(&self, headers: &str) -> Bytes {
        Bytes::from(format!("{{\"headers\":{headers}}}\n"))
    }

    fn error(&mut self, http: &HttpError) -> Bytes {
        error(http)
    }

    fn stream_error(&mut self, http: &HttpError) -> Bytes {
        [&error(http)[..], b"\n"].concat().into()
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b"\n")
    }
}

/// An error as this format's clients read it.
pub fn error(http: &HttpError) -> Bytes {
    Bytes::from(json!({"oops": http.message, "word": http.code}).to_string())
}

fn call<'a>(piece: &Piece, said: impl Fn(&Place) -> std::borrow::Cow<'a, str>) -> Option<Value> {
    let Piece::ToolCall { call, name, arguments, .. } = piece else { return None };
    Some(json!({"n": call, "f": said(name), "with": said(arguments)}))
}

fn word(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "done",
        Finish::ToolCalls => "tools",
        Finish::Length => "long",
        Finish::Filter => "bad",
        Finish::Refusal => "no",
        Finish::Other => "so",
    }
}

fn cost(usage: Usage) -> Value {
    json!([usage.input_tokens, usage.output_tokens])
}

fn line(value: &Value, out: &mut BytesMut) {
    out.put_slice(value.to_string().as_bytes());
    out.put_slice(b"\n");
}

/// A provider that speaks the format: it answers with these bytes, in a stream with these lines.
pub struct Tiny(pub &'static [&'static str]);

struct Lines(std::slice::Iter<'static, &'static str>);

#[async_trait]
impl Provider for Tiny {
    fn format(&self, _api: Api) -> &'static dyn Spoken {
        &TINY
    }

    async fn chat(&self, call: Call<'_>) -> Result<Reply, ProviderError> {
        if self.0.is_empty() {
            let objection = Objection { message: Some("Not so.".into()), ..Objection::default() };
            let error = ProviderError::retryable(AttemptOutcome::HttpError, "refused").with_status(422);
            return Err(ProviderError { fault: Fault::CallerFault(Box::new(objection)), ..error });
        }
        match call.stream {
            true => Ok(Reply::Stream(Box::new(Lines(self.0.iter())))),
            false => {
                Ok(Reply::Whole(Box::new(completion(Bytes::from_static(self.0[0].as_bytes())).map_err(malformed)?)))
            }
        }
    }
}

#[async_trait]
impl Chunks for Lines {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        self.0
            .next()
            .map(|line| chunk(Bytes::from_static(line.as_bytes())).map(|chunk| vec![chunk]))
            .transpose()
            .map_err(malformed)
    }
}

fn malformed(_: NotACompletion) -> ProviderError {
    ProviderError::retryable(AttemptOutcome::Malformed, "not tiny")
}

const WHOLE: &[&str] =
    &[r#"{"by":"t","say":"On it.","do":[{"n":0,"f":"look","with":{"q": 1}}],"why":"tools","cost":[7,5]}"#];
const STREAM: &[&str] = &[
    r#"{}"#,
    r#"{"say":"On "}"#,
    r#"{"say":"it."}"#,
    r#"{"do":[{"n":0,"f":"look","with":"{\"q\":"}]}"#,
    r#"{"do":[{"n":0,"with":" 1}"}]}"#,
    r#"{"why":"tools"}"#,
    r#"{"cost":[7,5]}"#,
];

/// A gateway whose cheap model is served by the provider that speaks the format, and whose strong one is OpenAI's.
async fn rig(answer: &'static [&'static str]) -> Rig {
    two_tiers(["sim/cheap"], ["ok@strong"])
        .with(move |builder| builder.provider("sim", Arc::new(Tiny(answer))))
        .holding_streams_back()
        .build()
        .await
}

/// What the provider's seven and five tokens come to, and a hit beside them.
const USED: Amounts = Amounts { requests: 2, tokens: 12, cost_nusd: 2_700 };

#[tokio::test]
async fn a_whole_answer_comes_out_of_openais_door_and_is_remembered_as_it_came_out() {
    let rig = rig(WHOLE).await;
    let got = rig.chat(ask("sim/cheap")).await;
    let whole = got.json();
    let id = format!("chatcmpl-{}", got.header("x-request-id"));
    assert_eq!((got.status, whole["id"].as_str(), whole["model"].as_str()), (200, Some(&*id), Some("sim/cheap")));
    let choice = &whole["choices"][0];
    assert_eq!((choice["finish_reason"].as_str(), got.text().as_str()), (Some("tool_calls"), "On it."));
    let function = json!({"name": "look", "arguments": "{\"q\": 1}"});
    assert_eq!(choice["message"]["tool_calls"][0]["function"], function);
    assert_eq!(whole["usage"]["total_tokens"], 12);
    let hit = rig.chat(ask("sim/cheap")).await;
    assert_eq!((hit.header("x-gateway-cache"), &hit.body), ("hit", &got.body));
    assert_eq!(rig.totals().await, USED);
    assert_eq!(rig.counted().await, rig.totals().await);
}

#[tokio::test]
async fn a_stream_comes_out_of_openais_door_event_by_event() {
    let rig = rig(STREAM).await;
    let got = rig.chat(streamed("sim/cheap")).await;
    let chunks = got.chunks();
    let part = |name: &str| -> Vec<&Value> { chunks.iter().map(|chunk| &chunk["choices"][0]["delta"][name]).collect() };
    let said: Vec<&str> = part("content").iter().filter_map(|text| text.as_str()).collect();
    assert_eq!((got.is_stream(), got.is_done(), said), (true, true, vec!["", "On ", "it."]));
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let calls: Vec<&Value> = part("tool_calls").into_iter().filter(|calls| !calls.is_null()).collect();
    assert_eq!((calls.len(), &calls[0][0]["function"]["name"]), (2, &json!("look")));
    let arguments: String = calls.iter().filter_map(|calls| calls[0]["function"]["arguments"].as_str()).collect();
    assert_eq!((arguments.as_str(), calls[1][0].get("id")), ("{\"q\": 1}", None));
    let [.., end, usage] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(
        (&end["choices"][0]["finish_reason"], &usage["usage"]["prompt_tokens"]),
        (&json!("tool_calls"), &json!(7))
    );
    let hit = rig.chat(streamed("sim/cheap")).await;
    assert_eq!((hit.header("x-gateway-cache"), hit.chunks()), ("hit", chunks));
    assert_eq!(rig.totals().await, USED);

    let mut plain = ask("sim/cheap");
    plain["stream"] = true.into();
    let got = rig.chat(plain).await;
    assert!(got.is_done() && got.chunks().iter().all(|chunk| chunk.get("usage").is_none()), "nobody asked for it");
}

#[tokio::test]
async fn every_end_has_its_word_at_the_other_door_and_only_a_good_one_is_remembered() {
    let table: [(&'static [&'static str], &str, &str); 6] = [
        (&[r#"{"say":"x","why":"done"}"#], "stop", "hit"),
        (&[r#"{"say":"x","why":"tools"}"#], "tool_calls", "hit"),
        (&[r#"{"say":"x","why":"long"}"#], "length", "miss"),
        (&[r#"{"say":"x","why":"bad"}"#], "content_filter", "miss"),
        (&[r#"{"say":"x","why":"no"}"#], "content_filter", "miss"),
        (&[r#"{"say":"x","why":"?"}"#], "stop", "miss"),
    ];
    for (answer, reason, again) in table {
        for body in [ask("sim/cheap"), streamed("sim/cheap")] {
            let rig = rig(answer).await;
            let got = rig.chat(body.clone()).await;
            let choice = if got.is_stream() { got.chunks().remove(2) } else { got.json() };
            assert_eq!(choice["choices"][0]["finish_reason"], reason, "{answer:?}");
            assert_eq!(rig.chat(body).await.header("x-gateway-cache"), again, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn what_is_not_whole_or_refused_is_told_as_the_door_tells_it() {
    for (answer, body, status, code) in [
        (&[][..], ask("sim/cheap"), 422, "invalid_request"),
        (&[], streamed("sim/cheap"), 422, "invalid_request"),
        (&[r#"{"say":"Half"}"#], ask("sim/cheap"), 502, "all_candidates_failed"),
        (&[r#"{"say":"Half"}"#], streamed("sim/cheap"), 200, "all_candidates_failed"),
        (&["<html>"], streamed("sim/cheap"), 502, "all_candidates_failed"),
    ] {
        let got = rig(answer).await.chat(body).await;
        assert_eq!((got.status, got.error_code().as_str(), got.is_error()), (status, code, true), "{answer:?}");
    }
}

#[tokio::test]
async fn an_unreliable_answer_is_judged_by_its_pieces_and_replaced_by_another_format() {
    for answer in [&[r#"{"say":"I'm not sure, but yes.","why":"done"}"#][..], &[r#"{"say":"","why":"no"}"#]] {
        for body in [ask("cheap"), streamed("cheap")] {
            let got = rig(answer).await.chat(body).await;
            assert_eq!(
                (got.header("x-gateway-upgraded"), got.header("x-gateway-model")),
                ("true", &*name_of("ok@strong"))
            );
        }
    }
}

/// A request of the tiny format.
pub fn tiny_ask(model: &str, live: bool) -> Value {
    json!({"to": model, "says": ["u What is an API?"], "live": live})
}

/// The lines of a stream, but for the last, which is the gateway's.
fn lines(got: &Got) -> Vec<Value> {
    let text = std::str::from_utf8(&got.body).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let headers = lines.pop().unwrap();
    assert_eq!(headers["headers"]["x-request-id"], got.header("x-request-id"), "{text}");
    lines
}

#[tokio::test]
async fn an_openai_answer_comes_out_of_another_door_whole() {
    for (model, say, calls, why) in [("say:An interface.", "An interface.", 0, "done"), ("tools", "", 1, "tools")] {
        let rig = cheap(["ok"]).model(model, "").build().await;
        let body = tiny_ask(&name_of(model), false);
        let got = tiny(&rig, &[], &body).await;
        let whole = got.json();
        assert_eq!((got.status, got.header("content-type")), (200, "application/tiny"));
        assert_eq!((&whole["by"], &whole["say"], &whole["why"]), (&json!(name_of(model)), &json!(say), &json!(why)));
        assert_eq!(whole["do"].as_array().unwrap().len(), calls);
        if calls == 1 {
            let with = whole["do"][0]["with"].as_str().unwrap();
            assert!(
                whole["do"][0]["f"] == "lookup" && serde_json::from_str::<Value>(with).unwrap().is_object(),
                "{whole}"
            );
        }
        let used = rig.billed();
        assert_eq!(whole["cost"][0].as_u64().unwrap() + whole["cost"][1].as_u64().unwrap(), used.tokens);
        let hit = tiny(&rig, &[], &body).await;
        assert_eq!((hit.header("x-gateway-cache"), &hit.body), ("hit", &got.body));
        assert_eq!(rig.totals().await, Amounts { requests: 2, ..used });
    }
}

#[tokio::test]
async fn an_openai_stream_comes_out_of_another_door_line_by_line() {
    for (model, say, why) in [("say:An interface.", "An interface.", "done"), ("tools", "", "tools")] {
        let rig = cheap(["ok"]).model(model, "").build().await;
        let body = tiny_ask(&name_of(model), true);
        let got = tiny(&rig, &[], &body).await;
        let got_lines = lines(&got);
        assert_eq!((got.status, got.header("content-type")), (200, "application/tiny-lines"));
        let said: String = got_lines.iter().filter_map(|line| line["say"].as_str()).collect();
        let [.., end, cost] = &got_lines[..] else { panic!("{got_lines:?}") };
        assert_eq!((said.as_str(), &end["why"]), (say, &json!(why)));
        assert!(cost["cost"][0].as_u64().unwrap() > 0, "{cost}");
        let with: String = got_lines.iter().filter_map(|line| line["do"][0]["with"].as_str()).collect();
        assert_eq!(serde_json::from_str::<Value>(&with).is_ok(), model == "tools", "{with}");
        let hit = tiny(&rig, &[], &body).await;
        assert_eq!((hit.header("x-gateway-cache"), lines(&hit)), ("hit", got_lines));
        let keyed = [("idempotency-key", "k"), ("x-gateway-cache", "no-store")];
        let first = tiny(&rig, &keyed, &body).await;
        let again = tiny(&rig, &keyed, &body).await;
        assert_eq!((again.header("idempotent-replayed"), lines(&again)), ("true", lines(&first)));
        assert_eq!(again.header("content-type"), "application/tiny-lines");
    }
}

#[tokio::test]
async fn another_door_has_its_own_errors() {
    let rig = cheap(["ok"]).model("cut-clean", "").model("content-filter", "").build().await;
    for (model, live, status, word) in [
        ("nobody", false, 404, "model_not_found"),
        ("up/content-filter", true, 400, "content_policy_violation"),
        ("up/cut-clean", false, 502, "all_candidates_failed"),
    ] {
        let got = tiny(&rig, &[], &tiny_ask(model, live)).await;
        assert_eq!((got.status, &got.json()["word"]), (status, &json!(word)), "{model}");
    }
    let got = tiny(&rig, &[], &tiny_ask("up/cut-clean", true)).await;
    let text = std::str::from_utf8(&got.body).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((got.status, &last["word"]), (200, &json!("all_candidates_failed")), "{text}");
}

#[tokio::test]
async fn the_same_format_in_and_out_passes_as_it_came() {
    let rig = rig(WHOLE).await;
    let got = tiny(&rig, &[], &tiny_ask("sim/cheap", false)).await;
    assert_eq!(got.body, WHOLE[0].replace(r#""t""#, r#""sim/cheap""#));
    let rig = self::rig(STREAM).await;
    let got = tiny(&rig, &[], &tiny_ask("sim/cheap", true)).await;
    let text = std::str::from_utf8(&got.body).unwrap();
    assert!(text.starts_with(&STREAM.join("\n")), "{text}");
}
