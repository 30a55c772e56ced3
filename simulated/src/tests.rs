#![allow(clippy::unwrap_used, clippy::panic)]
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
    let timeouts = Timeouts { connect_ms: 1_000, first_token_ms: 10_000, idle_ms: 10_000, total_ms: 60_000 };
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
        assert_eq!(logprobs.tokens, answer.usage.unwrap().output_tokens);
        logprobs.sum / logprobs.tokens as f64
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
        let words = first(&answer).logprobs.unwrap().tokens as usize;
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
    assert_eq!((error.outcome, error.may_bill), (AttemptOutcome::Truncated, true));
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

fn tools() -> Value {
    let city = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]});
    json!([
        {"type": "function", "function": {"name": "get_time"}},
        {"type": "function", "function": {"name": "get_weather", "parameters": city}},
    ])
}

#[tokio::test]
async fn a_tool_is_called_when_it_is_required_named_or_spoken_of() {
    let named = json!({"type": "function", "function": {"name": "get_time"}});
    let weather = r#"{"city":"Weather in Paris","days":1}"#;
    for (choice, prompt, expected) in [
        (json!(null), "Weather in Paris", Some(("get_weather", weather))),
        (json!("auto"), "Weather in Paris", Some(("get_weather", weather))),
        (json!("auto"), "Where do I get bread?", None),
        (json!("none"), "Weather in Paris", None),
        (json!("required"), "Weather in Paris", Some(("get_weather", weather))),
        (json!("required"), "Hello", Some(("get_time", "{}"))),
        (named, "Weather in Paris", Some(("get_time", "{}"))),
        (json!({"type": "function", "function": {"name": "unknown"}}), "Weather in Paris", None),
    ] {
        let messages = json!([{"role": "user", "content": prompt}]);
        let fields = json!({"tools": tools(), "tool_choice": choice, "messages": messages, "logprobs": true});
        let (answer, body) = whole("cheap", fields).await.unwrap();
        let choice = &body["choices"][0];
        let function = &choice["message"]["tool_calls"][0]["function"];
        let called = function["name"].as_str().zip(function["arguments"].as_str());
        assert_eq!(called, expected, "{prompt}");
        let finish = if expected.is_some() { "tool_calls" } else { "stop" };
        assert_eq!((choice["finish_reason"].as_str(), first(&answer).calls_tools), (Some(finish), expected.is_some()));
        assert_eq!(
            (choice["message"]["content"].is_null(), choice["logprobs"].is_null()),
            (expected.is_some(), expected.is_some())
        );
    }
}

#[tokio::test]
async fn a_result_of_a_tool_is_answered_in_text() {
    let messages = json!([
        {"role": "user", "content": "Weather in Paris"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]);
    let (answer, _) = whole("cheap", json!({"tools": tools(), "messages": messages})).await.unwrap();
    assert!(!first(&answer).calls_tools && first(&answer).text.contains("Weather in Paris"));
}

#[tokio::test]
async fn a_streamed_tool_call_comes_in_fragments_of_its_arguments() {
    let fields =
        json!({"tools": tools(), "tool_choice": "required", "messages": [{"role": "user", "content": "weather"}]});
    let (_, body) = whole("cheap", fields.clone()).await.unwrap();
    let expected = &body["choices"][0]["message"]["tool_calls"][0];
    let (chunks, error) = read(stream("cheap", fields).await).await;
    let payloads: Vec<Value> = chunks.iter().map(|chunk| serde_json::from_slice(&chunk.payload).unwrap()).collect();
    let fragments: Vec<&Value> = payloads
        .iter()
        .map(|payload| &payload["choices"][0]["delta"]["tool_calls"][0])
        .filter(|tool| !tool.is_null())
        .collect();
    assert_eq!((&fragments[0]["id"], &fragments[0]["function"]["name"]), (&expected["id"], &json!("get_weather")));
    let arguments: String =
        fragments.iter().map(|fragment| fragment["function"]["arguments"].as_str().unwrap()).collect();
    assert_eq!(expected["function"]["arguments"], arguments);
    assert!(fragments.len() > 2 && error.is_none());
    assert_eq!(payloads[payloads.len() - 2]["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn json_is_answered_where_json_is_asked_for() {
    let schema = json!({"type": "object", "properties": {
        "intent": {"enum": ["greeting", "code_analysis", "architecture_review"]}, "confidence": {"type": "number", "maximum": 0.5}}});
    let prompt = json!([{"role": "user", "content": "Review this architecture, please"}]);
    for (format, expected) in [
        (json!({"type": "json_object"}), json!({"answer": "Review this architecture please"})),
        (
            json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}),
            json!({"intent": "architecture_review", "confidence": 0.5}),
        ),
        (
            json!({"type": "json_schema", "json_schema": {"name": "x"}}),
            json!({"answer": "Review this architecture please"}),
        ),
    ] {
        for name in ["cheap", "reasoning", "unsure"] {
            let (answer, _) = whole(name, json!({"messages": prompt, "response_format": format})).await.unwrap();
            assert_eq!(serde_json::from_str::<Value>(&first(&answer).text).unwrap(), expected);
        }
    }
}

/// Any JSON, sometimes with words that mean something in a request.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("type"),
        Just("function"),
        Just("name"),
        Just("parameters"),
        Just("$ref"),
        Just("items"),
        Just("anyOf"),
        Just("properties")
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        word.clone().prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 24, 4, move |inner| {
        let object = proptest::collection::vec((word.clone(), inner.clone()), 0..4);
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|pairs| pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn no_answer_is_longer_than_allowed_and_pieces_make_the_whole(max in 1_u64..300, n in 1_u64..4, prompt in ".{0,80}", which in 0_usize..3) {
        let model = model(["cheap", "reasoning", "unsure"][which]);
        let request = request(json!({"max_tokens": max, "n": n, "messages": [{"role": "user", "content": prompt}]}));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let Ok(Reply::Whole(answer)) = runtime.block_on(Simulated::new().chat(call(&model, &request, false))) else { panic!("no answer") };
        let Ok(Reply::Stream(stream)) = runtime.block_on(Simulated::new().chat(call(&model, &request, true))) else { panic!("no stream") };
        let (chunks, error) = runtime.block_on(read(stream));
        let usage = answer.usage.unwrap();
        prop_assert!(usage.output_tokens <= max * n && usage.output_tokens >= n, "{:?}", usage);
        prop_assert_eq!((error, chunks.last().unwrap().usage), (None, answer.usage));
        let choices = choices(&answer.pieces);
        prop_assert_eq!(choices.len() as u64, n);
        for choice in choices {
            prop_assert_eq!(text(&chunks, choice.index), choice.text);
        }
    }

    #[test]
    fn whatever_a_request_holds_it_is_answered(tools in any_json(), choice in any_json(), stop in any_json(), schema in any_json()) {
        let format = json!({"type": "json_schema", "json_schema": {"schema": schema}});
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": "function name"}], "tools": [{"function": {"name": "name", "parameters": schema}}, {"x": tools}],
            "tool_choice": choice, "stop": [stop], "response_format": format});
        let request = Request::read(&CHAT, body.to_string().into()).unwrap();
        let model = model("cheap");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert!(runtime.block_on(Simulated::new().chat(call(&model, &request, false))).is_ok());
    }
}
