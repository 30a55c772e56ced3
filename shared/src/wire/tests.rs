//! What every format can say goes through every door to every provider, and nothing of it is lost or put elsewhere.
#![allow(clippy::unwrap_used)]
use super::anthropic::MESSAGES;
use super::conversation::{Conversation, Effort, Json, Part, Role, Shape, Source, Tool, ToolChoice, Turn};
use super::converse::CONVERSE;
use super::format::{Format, Overrides, Spoken};
use super::gemini::GEMINI;
use super::openai::CHAT;
use super::request::Request;
use super::responses::RESPONSES;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

const SAID: Overrides<'static> = Overrides { stream: true, ..Overrides::plain("m", 7) };

fn doors() -> [&'static dyn Format; 3] {
    [&CHAT, &RESPONSES, &MESSAGES]
}

/// JSON that lives as long as the tests do.
fn raw(json: String) -> Json<'static> {
    Json(Box::leak(RawValue::from_string(json).unwrap()))
}

fn text() -> impl Strategy<Value = Part<'static>> {
    "[a-z\"\\\\\n\u{e9}\u{1f600}]{0,6}[a-z]".prop_map(|text| Part::Text(text.into()))
}

fn shown() -> impl Strategy<Value = Part<'static>> {
    let data = |media_type: &'static str| {
        "[a-z]{4}".prop_map(move |base64| Source::Data { media_type: media_type.into(), base64: base64.into() })
    };
    prop_oneof![
        4 => text(),
        1 => data("image/png").prop_map(|source| Part::Image { source, detail: None }),
        1 => data("application/pdf").prop_map(|source| Part::File { source, name: Some("a.pdf".into()) }),
    ]
}

/// What the user says: not every format takes a document without a word.
fn said_by_user() -> impl Strategy<Value = Vec<Part<'static>>> {
    (vec(shown(), 0..2), text()).prop_map(|(shown, text)| shown.into_iter().chain([text]).collect())
}

/// The model speaks, and calls some tools; the user sends what they said, and goes on.
fn round() -> impl Strategy<Value = [Turn<'static>; 2]> {
    (text(), vec(("[a-z]{1,5}", "[a-z]{1,5}"), 0..3), any::<u16>(), said_by_user()).prop_map(
        |(said, calls, round, more)| {
            let id = |place: usize| format!("call_{round}_{place}");
            let call = |(place, (argument, _)): (usize, &(String, String))| Part::ToolCall {
                id: id(place).into(),
                name: "f".into(),
                arguments: format!(r#"{{"q":"{argument}","n":{place}}}"#).into(),
            };
            let result = |(place, (_, answer)): (usize, &(String, String))| Part::ToolResult {
                id: id(place).into(),
                parts: vec![Part::Text(answer.clone().into())],
                is_error: false,
            };
            let said = std::iter::once(said).chain(calls.iter().enumerate().map(call)).collect();
            let answered = calls.iter().enumerate().map(result).chain(more).collect();
            [(Role::Assistant, said), (Role::User, answered)].map(|(role, parts)| Turn { role, name: None, parts })
        },
    )
}

prop_compose! {
    fn conversation()(
        system in option::of(text()),
        first in said_by_user(),
        rounds in vec(round(), 0..4),
        choice in prop_oneof![Just(None), Just(Some(ToolChoice::Auto)), Just(Some(ToolChoice::Function("f".into())))],
        temperature in option::of(0..=100_u32),
        effort in option::of(prop_oneof![Just(Effort::Low), Just(Effort::High)]),
        schema in option::of("[a-z]{1,4}"),
    ) -> Conversation<'static> {
        let properties = |name: &str| {
            format!(r#"{{"type":"object","properties":{{"{name}":{{"type":"string"}}}},"required":["{name}"],"additionalProperties":false}}"#)
        };
        let tool = Tool::Function {
            name: "f".into(),
            description: Some("d".into()),
            parameters: Some(raw(properties("q"))),
            strict: None,
        };
        let mut of = Conversation {
            system: system.into_iter().collect(),
            turns: std::iter::once(Turn { role: Role::User, name: None, parts: first }).chain(rounds.into_iter().flatten()).collect(),
            tools: vec![tool],
            tool_choice: choice,
            effort,
            ..Conversation::default()
        };
        of.sampling.temperature = temperature.map(|hundredths| raw(format!("{}.{:02}", hundredths / 100, hundredths % 100)));
        if let Some(name) = schema {
            of.shape = Shape::JsonSchema { name: None, description: None, schema: Some(raw(properties(&name))), strict: None };
        }
        of
    }
}

/// What a conversation means, whatever its turns are cut into and whatever a format must say that others need not.
fn meaning(of: &Conversation<'_>) -> String {
    let mut turns: Vec<(Role, Vec<Part<'_>>)> = Vec::new();
    for turn in &of.turns {
        let parts = turn.parts.iter().map(|part| match part {
            Part::Image { source, .. } => Part::Image { source: source.clone(), detail: None },
            // Not every format says JSON as it was written.
            Part::ToolCall { id, name, arguments } => {
                let arguments: Value = serde_json::from_str(arguments).unwrap();
                Part::ToolCall { id: id.clone(), name: name.clone(), arguments: arguments.to_string().into() }
            }
            part => part.clone(),
        });
        match turns.last_mut() {
            Some((role, last)) if *role == turn.role => last.extend(parts),
            _ => turns.push((turn.role, parts.collect())),
        }
    }
    let tools: Vec<_> = of
        .tools
        .iter()
        .map(|tool| match tool {
            Tool::Function { name, description, parameters, .. } => (name.clone(), description.clone(), *parameters),
            Tool::Native(_) => Default::default(),
        })
        .collect();
    let schema = if let Shape::JsonSchema { schema, .. } = &of.shape { *schema } else { None };
    let (choice, temperature) = (&of.tool_choice, of.sampling.temperature);
    format!("{:?} {turns:?} {tools:?} {choice:?} {temperature:?} {:?} {schema:?}", of.system, of.effort)
}

/// The texts of a conversation in their order: none may be lost or come before its turn.
fn texts(of: &Conversation<'_>) -> Vec<String> {
    fn add(part: &Part<'_>, all: &mut Vec<String>) {
        match part {
            Part::Text(text) => all.push(text.to_string()),
            Part::Image { source: Source::Data { base64, .. }, .. }
            | Part::File { source: Source::Data { base64, .. }, .. } => all.push(base64.to_string()),
            Part::ToolCall { arguments, .. } => {
                let arguments: Value = serde_json::from_str(arguments).unwrap();
                all.push(arguments["q"].as_str().unwrap().to_owned());
            }
            Part::ToolResult { parts, .. } => parts.iter().for_each(|part| add(part, all)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    of.turns.iter().flat_map(|turn| &turn.parts).for_each(|part| add(part, &mut all));
    all
}

/// Every text of a JSON value, in the order in which they stand.
fn leaves(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::String(text) => all.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, all)),
        Value::Object(fields) => fields.values().for_each(|value| leaves(value, all)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn what_all_formats_can_say_goes_through_every_door_to_every_provider_and_back(said in conversation()) {
        let meant = meaning(&said);
        for door in doors() {
            let (asked, _) = door.read(door.write(&said, &SAID).unwrap().body).unwrap();
            let read = door.conversation(&asked).unwrap();
            prop_assert_eq!(meaning(&read), meant.clone(), "{:?}", door);
            for provider in doors() {
                let written = provider.write(&read, &SAID).unwrap();
                prop_assert!(written.left_out.is_empty(), "{:?} to {:?}: {:?}", door, provider, written.left_out);
                let (sent, facts) = provider.read(written.body).unwrap();
                prop_assert_eq!(meaning(&provider.conversation(&sent).unwrap()), meant.clone(), "{:?} to {:?}", door, provider);
                prop_assert_eq!((&*facts.model, facts.stream), ("m", true));
            }
            // No door speaks these: what they are sent is looked through for all that was said, in its order.
            for (provider, list) in [(&GEMINI as &dyn Spoken, "contents"), (&CONVERSE, "messages")] {
                let written = provider.write(&read, &SAID).unwrap();
                let left_out = written.left_out.iter().filter(|what| *what != "what a file is called");
                prop_assert_eq!(left_out.count(), 0, "{:?} to {:?}: {:?}", door, provider, written.left_out);
                let body: Value = serde_json::from_slice(&written.body).unwrap();
                let (mut sent, mut place) = (Vec::new(), 0);
                leaves(&body[list], &mut sent);
                for text in texts(&said) {
                    let found = sent[place..].iter().position(|leaf| *leaf == text);
                    prop_assert!(found.is_some(), "{:?} to {:?}: {:?} is not in its place in {}", door, provider, text, body);
                    place += found.unwrap() + 1;
                }
            }
        }
    }
}

/// A request through this door that says so.
fn sent(door: &'static dyn Format, said: &Conversation<'_>) -> Request {
    Request::read(door, door.write(said, &SAID).unwrap().body).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(750))]

    #[test]
    fn who_goes_on_with_an_answer_gets_all_that_was_said_before_it(
        said in conversation(),
        begun in "[a-z \"\\\\\n\u{e9}\u{1f600}]{0,20}[a-z]",
        asks in any::<bool>(),
    ) {
        let ask = asks.then_some("Go on.");
        let mut meant = said.clone();
        let turn = |role, text: &str| Turn { role, name: None, parts: vec![Part::Text(text.to_owned().into())] };
        meant.turns.push(turn(Role::Assistant, &begun));
        meant.turns.extend(ask.map(|ask| turn(Role::User, ask)));
        for door in doors() {
            let going_on = sent(door, &said).continued(&begun, ask).unwrap();
            for provider in doors() {
                let (sent, _) = provider.read(going_on.body_for(provider, &SAID).unwrap()).unwrap();
                prop_assert_eq!(meaning(&provider.conversation(&sent).unwrap()), meaning(&meant), "{:?} to {:?}", door, provider);
            }
            // No door speaks these: they get what they would if the client had said it all.
            for provider in [&GEMINI as &dyn Spoken, &CONVERSE] {
                let gets = going_on.body_for(provider, &SAID).unwrap();
                if asks {
                    let as_said = sent(door, &meant).body_for(provider, &SAID).unwrap();
                    prop_assert_eq!(gets, as_said, "{:?} to {:?}", door, provider);
                }
            }
        }
    }
}
