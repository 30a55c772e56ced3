//! Bodies of requests, at every door.

use super::{bounded, told_in_words};
use bytes::Bytes;
use gateway_core::wire::anthropic::MESSAGES;
use gateway_core::wire::converse::CONVERSE;
use gateway_core::wire::embeddings::EMBEDDINGS;
use gateway_core::wire::format::{Format, Overrides, Spoken};
use gateway_core::wire::gemini::GEMINI;
use gateway_core::wire::openai::CHAT;
use gateway_core::wire::request::Request;
use gateway_core::wire::responses::RESPONSES;
use serde::de::IgnoredAny;

/// The door of chat completions.
pub fn request(bytes: &[u8]) {
    is_understood_or_refused(&CHAT, bytes);
}

/// The door of Responses.
pub fn request_responses(bytes: &[u8]) {
    is_understood_or_refused(&RESPONSES, bytes);
}

/// The door of Anthropic's messages.
pub fn request_messages(bytes: &[u8]) {
    is_understood_or_refused(&MESSAGES, bytes);
}

/// The door of embeddings.
pub fn request_embeddings(bytes: &[u8]) {
    is_understood_or_refused(&EMBEDDINGS, bytes);
}

/// A request body is refused in words, or all its fields lie in it whole: what goes upstream is cut from these places.
fn is_understood_or_refused(door: &'static dyn Format, bytes: &[u8]) {
    let request = match bounded(bytes.len(), || Request::read(door, Bytes::copy_from_slice(bytes))) {
        Ok(request) => request,
        Err(error) => return assert_eq!(told_in_words(&error), 400),
    };
    let facts = &request.facts;
    assert_eq!(facts.body_bytes, bytes.len());
    assert!(facts.messages > 0 || facts.inputs.is_some() || facts.provider_bound.is_some());
    assert!((1..=128).contains(&facts.n));
    assert!(request.body().raw_fields().count() <= 256 && facts.models.len() <= 32);
    let mut again = String::from("{");
    for (name, value) in request.body().raw_fields() {
        serde_json::from_slice::<IgnoredAny>(value).expect("a field's bytes are one JSON value");
        assert_eq!(request.body().raw(name).map(str::as_bytes), Some(value), "a field is found by its name");
        let comma = if again.len() > 1 { "," } else { "" };
        again += &format!("{comma}{}:{}", serde_json::json!(name), std::str::from_utf8(value).expect("UTF-8"));
    }
    let again = Request::read(door, (again + "}").into()).expect("the fields together are the same request");
    assert_eq!(
        (&*again.facts.model, &again.facts.models, again.facts.stream),
        (&*facts.model, &facts.models, facts.stream)
    );
    assert_eq!((again.facts.n, again.facts.max_output_tokens), (facts.n, facts.max_output_tokens));
    assert_eq!(
        (again.facts.messages, again.facts.images, &again.facts.prompt),
        (facts.messages, facts.images, &facts.prompt)
    );
    is_said_to_every_provider(&request);
}

/// A request that is understood is said to every provider as its format has it, or the field is named that it cannot say. A
/// provider that speaks as a door does gets what this door itself would take, but for a body of so many fields that there is no
/// place for the gateway's.
fn is_said_to_every_provider(request: &Request) {
    if request.body().raw_fields().count() > 250 {
        return;
    }
    let said = Overrides { stream: request.facts.stream, ..Overrides::plain("m", 7) };
    let body_for = |provider: &'static dyn Spoken| match request.body_for(provider, &said) {
        Ok(body) => {
            serde_json::from_slice::<IgnoredAny>(&body).expect("what goes upstream is JSON");
            Some(body)
        }
        Err(why) => {
            assert!(!why.field.is_empty() && !why.why.is_empty(), "{why}");
            None
        }
    };
    for door in [&CHAT as &dyn Format, &RESPONSES, &MESSAGES, &EMBEDDINGS] {
        if let Some(body) = body_for(door) {
            let again = Request::read(door, body.clone());
            let again = again.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)));
            assert_eq!((&*again.facts.model, again.facts.stream), ("m", request.facts.stream));
        }
    }
    for provider in [&GEMINI as &dyn Spoken, &CONVERSE] {
        body_for(provider);
    }
}
