//! Calls of tools, and requested JSON.

use super::*;

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
