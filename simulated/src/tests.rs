#![allow(clippy::unwrap_used, clippy::panic)]

mod tools;

use super::*;
use gateway_core::catalog::{Model, Timeouts};
use gateway_core::id::RequestId;
use gateway_core::limit::budget::{Budget, Room};
use gateway_core::provider::Completion;
use gateway_core::wire::openai::CHAT;
use gateway_core::wire::piece::{Choice, Finish, Piece, choices};
use gateway_core::wire::request::Request;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;
use tokio::time::{Instant, timeout};

const NOW_MS: u64 = 1_700_000_000_123;

fn model(name: &str) -> Model {
    let timeouts =
        Timeouts { connect_ms: 1_000, head_ms: None, first_token_ms: 10_000, idle_ms: 10_000, total_ms: 60_000 };
    let simulated = gateway_core::catalog::Simulated { provider: "sim".into(), timeouts };
    simulated.model(&format!("sim/{name}")).unwrap()
}

/// A request that asks "What is an API?", with these fields besides or instead.
fn request(fields: Value) -> Request {
    let mut body = json!({"model": "auto", "messages": [{"role": "user", "content": "What is an API?"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Request::read(&CHAT, body.to_string().into()).unwrap()
}

static ROOM: LazyLock<Room> = LazyLock::new(|| Budget::new(1 << 30).room(&"t".into()));

fn call<'a>(model: &'a Model, request: &'a Request, stream: bool) -> Call<'a> {
    let max_output_tokens = request.facts.max_output_tokens.unwrap_or(4_096);
    let id = RequestId::new(NOW_MS);
    Call { model, request, max_output_tokens, stream, ask_logprobs: false, now_ms: NOW_MS, id, room: &ROOM }
}

async fn whole(name: &str, fields: Value) -> Result<(Completion, Value), ProviderError> {
    let (model, request) = (model(name), request(fields));
    match Simulated::new().chat(call(&model, &request, false)).await? {
        Reply::Whole(answer) => {
            let body = serde_json::from_slice(&answer.body).unwrap();
            Ok((*answer, body))
        }
        Reply::Stream(_) => panic!("a whole answer was asked for"),
    }
}

async fn stream(name: &str, fields: Value) -> Box<dyn Chunks> {
    let (model, request) = (model(name), request(fields));
    match Simulated::new().chat(call(&model, &request, true)).await {
        Ok(Reply::Stream(chunks)) => chunks,
        Ok(Reply::Whole(_)) => panic!("a stream was asked for"),
        Err(error) => panic!("{error}"),
    }
}

/// What came of a stream until it ended, and how it ended.
async fn read(mut stream: Box<dyn Chunks>) -> (Vec<Chunk>, Option<ProviderError>) {
    let mut all = Vec::new();
    loop {
        match stream.next().await {
            Ok(Some(chunks)) => all.extend(chunks),
            Ok(None) => return (all, None),
            Err(error) => return (all, Some(error)),
        }
    }
}

fn text(chunks: &[Chunk], index: u64) -> String {
    let choices = choices(pieces(chunks));
    choices.into_iter().find(|choice| choice.index == index).map_or_else(String::new, |choice| choice.text.into_owned())
}

fn pieces(chunks: &[Chunk]) -> impl Iterator<Item = &Piece> {
    chunks.iter().flat_map(|chunk| &chunk.pieces)
}

/// The first of the answers.
fn first(answer: &Completion) -> Choice<'_> {
    choices(&answer.pieces).remove(0)
}

fn has_finish(chunks: &[Chunk]) -> bool {
    pieces(chunks).any(|piece| matches!(piece, Piece::Finish { .. }))
}

#[tokio::test]
async fn a_cheap_answer_names_what_was_asked_and_counts_its_words() {
    let (answer, body) = whole("cheap", json!({})).await.unwrap();
    let said = first(&answer).text;
    assert!(said.contains("What is an API") && said.ends_with('.'), "{said}");
    assert_eq!(first(&answer).finish, Some(Finish::Stop));
    assert_eq!(first(&answer).logprobs, None);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.reasoning_tokens), (4 + 3, 0));
    assert_eq!(usage.output_tokens, said.split_whitespace().count() as u64);
    assert_eq!((&body["object"], &body["created"]), (&json!("chat.completion"), &json!(1_700_000_000)));
    assert_eq!(body["model"], "cheap");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-sim-"));
    assert_eq!(body["usage"]["total_tokens"], usage.total_tokens());
}

#[tokio::test]
async fn input_tokens_count_the_bytes_of_all_texts_and_each_message() {
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let messages = json!([
        {"role": "system", "content": "12345"},
        {"role": "user", "content": [{"type": "text", "text": "1234"}, image]},
        {"role": "assistant", "content": null, "tool_calls": []},
        {"role": "user", "content": "Grüße"},
    ]);
    let (answer, _) = whole("cheap", json!({"messages": messages})).await.unwrap();
    assert_eq!(answer.usage.unwrap().input_tokens, 16_u64.div_ceil(4) + 4 * 3);
}

#[tokio::test]
async fn reasoning_says_more_and_uses_tokens_to_think() {
    let (cheap, _) = whole("cheap", json!({})).await.unwrap();
    let (reasoning, _) = whole("reasoning", json!({})).await.unwrap();
    assert!(first(&reasoning).text.len() > 2 * first(&cheap).text.len());
    assert!(first(&reasoning).text.contains("\n1. "));
    let usage = reasoning.usage.unwrap();
    assert!(usage.reasoning_tokens > 0 && usage.output_tokens > usage.reasoning_tokens, "{usage:?}");
    let (three, _) = whole("reasoning", json!({"n": 3})).await.unwrap();
    let tripled = three.usage.map(|usage| (usage.output_tokens, usage.reasoning_tokens));
    assert_eq!(tripled, Some((3 * usage.output_tokens, 3 * usage.reasoning_tokens)));
}

#[tokio::test]
async fn log_probabilities_come_when_asked_for_and_tell_who_is_sure() {
    let mean = |answer: &Completion| {
        let logprobs = first(answer).logprobs.unwrap();
        assert_eq!(logprobs.tokens(), answer.usage.unwrap().output_tokens);
        logprobs.mean()
    };
    let (sure, body) = whole("cheap", json!({"logprobs": true, "top_logprobs": 2})).await.unwrap();
    assert!((-0.2..0.0).contains(&mean(&sure)));
    assert_eq!(body["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["token"], "You");
    let (unsure, _) = whole("unsure", json!({"logprobs": true})).await.unwrap();
    assert!(mean(&unsure) < -2.0);
    assert!(first(&unsure).text.starts_with("I'm not sure"));

    let (model, request) = (model("cheap"), request(json!({})));
    let asked = Call { ask_logprobs: true, ..call(&model, &request, false) };
    let Ok(Reply::Whole(answer)) = Simulated::new().chat(asked).await else { panic!("no answer") };
    assert!(first(&answer).logprobs.is_some());
}

#[tokio::test]
async fn a_stream_is_the_whole_answer_in_words_with_role_end_and_usage() {
    for name in ["cheap", "reasoning", "unsure"] {
        let fields = json!({"logprobs": true, "n": 2});
        let (answer, _) = whole(name, fields.clone()).await.unwrap();
        let (chunks, error) = read(stream(name, fields).await).await;
        assert_eq!(error, None);
        assert!(!chunks[0].has_content() && chunks[1].has_content());
        let words = first(&answer).logprobs.unwrap().tokens() as usize;
        assert_eq!(chunks.len(), 2 * (1 + words + 1) + 1, "{name}");
        for index in 0..2 {
            assert_eq!(text(&chunks, index), first(&answer).text);
            let of_choice: Vec<&Piece> = pieces(&chunks).filter(|piece| piece.choice() == index).collect();
            assert_eq!(choices(of_choice.clone())[0].logprobs, first(&answer).logprobs);
            let finishes = of_choice.into_iter().filter(|piece| matches!(piece, Piece::Finish { .. }));
            assert_eq!(finishes.collect::<Vec<_>>(), [&Piece::Finish { choice: index, why: Finish::Stop }]);
        }
        let (last, before) = chunks.split_last().unwrap();
        assert!(last.is_usage_only() && before.iter().all(|chunk| chunk.usage.is_none()));
        assert_eq!(last.usage, answer.usage);
    }
}

#[tokio::test]
async fn the_first_chunk_gives_the_role_and_all_have_one_id() {
    let (chunks, _) = read(stream("cheap", json!({})).await).await;
    let payloads: Vec<Value> = chunks.iter().map(|chunk| serde_json::from_slice(&chunk.payload).unwrap()).collect();
    assert_eq!(payloads[0]["choices"][0]["delta"], json!({"role": "assistant", "content": "", "refusal": null}));
    assert!(
        payloads
            .iter()
            .all(|payload| payload["id"] == payloads[0]["id"] && payload["object"] == "chat.completion.chunk")
    );
}

#[tokio::test]
async fn the_same_request_gets_the_same_bytes() {
    for name in ["cheap", "reasoning", "unsure", "slow-0", "fail-0"] {
        let (first, _) = whole(name, json!({})).await.unwrap();
        let (second, _) = whole(name, json!({})).await.unwrap();
        assert_eq!(first.body, second.body, "{name}");
    }
}

#[tokio::test]
async fn fail_n_fails_exactly_n_of_each_hundred_calls_evenly_spread() {
    let request = request(json!({"max_tokens": 1}));
    let provider = Simulated::new();
    for percent in [0, 1, 33, 50, 67, 99, 100] {
        let model = model(&format!("fail-{percent}"));
        let mut failures = 0;
        for calls in 1..=300_usize {
            match provider.chat(call(&model, &request, calls % 2 == 0)).await {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!((error.status, error.fault), (Some(500), Fault::Retryable));
                    assert_eq!((error.outcome, error.may_bill), (AttemptOutcome::HttpError, false));
                    failures += 1;
                }
            }
            assert_eq!(failures, calls * percent / 100, "fail-{percent} after {calls} calls");
        }
    }
}

#[tokio::test]
async fn a_rate_limited_model_says_when_to_come_back() {
    let error = whole("429", json!({})).await.unwrap_err();
    assert_eq!(error.fault, Fault::RateLimited { until_ms: Some(NOW_MS + 1_000) });
    assert_eq!((error.outcome, error.status, error.may_bill), (AttemptOutcome::RateLimited, Some(429), false));
}

#[tokio::test]
async fn a_cut_answer_is_an_error_and_never_looks_whole() {
    let error = whole("cut", json!({})).await.unwrap_err();
    assert_eq!((error.outcome, error.is_billed()), (AttemptOutcome::Truncated, true));
    let (chunks, error) = read(stream("cut", json!({})).await).await;
    assert_eq!(error.unwrap().outcome, AttemptOutcome::Truncated);
    assert!(chunks.iter().any(Chunk::has_content));
    assert!(chunks.iter().all(|chunk| chunk.usage.is_none()) && !has_finish(&chunks));
}

#[tokio::test]
async fn another_model_goes_on_exactly_where_a_cut_one_stopped() {
    let (chunks, _) = read(stream("cut", json!({})).await).await;
    let begun = text(&chunks, 0);
    let messages = json!([{"role": "user", "content": "What is an API?"}, {"role": "assistant", "content": begun}]);
    let (rest, _) = whole("cheap", json!({"messages": messages})).await.unwrap();
    let (all, _) = whole("cheap", json!({})).await.unwrap();
    assert_eq!(begun + &first(&rest).text, first(&all).text);
}

#[tokio::test(start_paused = true)]
async fn a_slow_model_takes_its_time_to_the_first_token_and_no_more() {
    let begun = Instant::now();
    let (answer, _) = whole("slow-2000", json!({})).await.unwrap();
    assert_eq!((begun.elapsed().as_millis(), answer.first_byte_ms), (2_000, 2_000.0));

    let begun = Instant::now();
    let mut chunks = stream("slow-2000", json!({})).await;
    assert!(timeout(Duration::from_millis(1_500), chunks.next()).await.is_err());
    let first = chunks.next().await.unwrap().unwrap();
    assert_eq!(begun.elapsed().as_millis(), 2_000, "one who waits in two steps waits no longer");
    let (rest, error) = read(chunks).await;
    assert_eq!((begun.elapsed().as_millis(), error), (2_000, None));
    assert!(!first.is_empty() && rest.last().unwrap().is_usage_only());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_model_begins_and_is_then_silent_for_ever() {
    let day = Duration::from_secs(86_400);
    assert!(timeout(day, whole("stall", json!({}))).await.is_err());
    let mut chunks = stream("stall", json!({})).await;
    let mut begun = Vec::new();
    while let Ok(next) = timeout(day, chunks.next()).await {
        begun.extend(next.unwrap().unwrap());
    }
    assert!(begun.iter().any(Chunk::has_content));
    assert!(begun.iter().all(|chunk| chunk.usage.is_none()) && !has_finish(&begun));
    assert!(timeout(day, chunks.next()).await.is_err());
}

#[tokio::test]
async fn a_model_that_does_not_exist_is_down() {
    let (model, request) = (Model { provider_model: "gpt-4".into(), ..model("cheap") }, request(json!({})));
    let Err(error) = Simulated::new().chat(call(&model, &request, false)).await else { panic!("it answered") };
    assert_eq!((error.fault, error.status), (Fault::CandidateDown, Some(404)));
}

#[tokio::test]
async fn an_answer_ends_where_the_caller_says() {
    for (fields, ending, finish) in [
        (json!({"max_tokens": 3}), "You asked about", Finish::Length),
        (json!({"max_tokens": 1}), "You", Finish::Length),
        (json!({"stop": " about"}), "You asked", Finish::Stop),
        (json!({"stop": ["API", "asked", "", "nowhere"]}), "You ", Finish::Stop),
        (json!({"stop": "You"}), "", Finish::Stop),
        (json!({"stop": ["about"], "max_tokens": 1}), "You", Finish::Length),
    ] {
        let (answer, _) = whole("cheap", fields.clone()).await.unwrap();
        let choice = &first(&answer);
        assert_eq!((&*choice.text, choice.finish), (ending, Some(finish)), "{fields}");
        assert!(answer.usage.unwrap().output_tokens >= 1);
    }
}
