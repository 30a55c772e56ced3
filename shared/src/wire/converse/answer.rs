//! Reads an answer, whole.

use super::NAME;
use super::usage::told;
use crate::wire::answer::{Came, Chunk, Completion, Flaw, NotACompletion, Places};
use crate::wire::error_body::error_in;
use crate::wire::json::{items, text_of};
use crate::wire::piece::{Finish, Piece};
use crate::wire::pieces::{Pieces, is_there};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a whole answer is called that stands for a stream; no door speaks either.
const WHOLE: &str = "bedrock-converse-whole";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    service_tier: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Said<'a>,
}

/// What is said in a message, or within a block of it.
#[derive(Deserialize, Default)]
struct Said<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// A block of a message, or what an event brings of one.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireBlock<'a> {
    #[serde(borrow, default)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) tool_use: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    citations_content: Option<&'a RawValue>,
}

/// A call of a tool, or what an event brings of one.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireCall<'a> {
    #[serde(borrow, default)]
    pub(super) tool_use_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) input: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Reasoning<'a> {
    #[serde(borrow, default)]
    reasoning_text: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct ReasoningText<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    signature: Option<&'a RawValue>,
}

/// Reads an object; one that is not as it should be says nothing.
pub(super) fn within<'a, T: Deserialize<'a> + Default>(raw: &'a RawValue) -> T {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// Reads a whole answer. One that does not say why it ended is not whole (A1).
///
/// # Errors
/// Says what the bytes are instead, and what came all the same.
pub fn completion(body: Bytes, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
    let json = std::str::from_utf8(&body).map_err(|_| Flaw::Malformed)?;
    let malformed = |_| NotACompletion { flaw: Flaw::Malformed, came: Came::of_part(&body) };
    let wire: Wire<'_> = serde_json::from_str(json).map_err(malformed)?;
    let usage = told(wire.usage, wire.service_tier);
    let mut pieces = Pieces::new(&body);
    let content = wire.output.and_then(|output| serde_json::from_str::<Output<'_>>(output.get()).ok()?.message.content);
    if let Some(content) = content {
        let _ = items::<()>(content.get(), |_, block| {
            add(&mut pieces, &within(block));
            Ok(())
        });
    }
    let mut pieces = pieces.all;
    let flawed = |flaw, pieces: &[Piece]| Err(NotACompletion { flaw, came: Came::of(pieces, usage) });
    if content.is_none_or(|content| !content.get().starts_with('[')) {
        return flawed(if error_in(&body).is_some() { Flaw::Error } else { Flaw::Malformed }, &pieces);
    }
    let Some(reason) = wire.stop_reason.filter(|reason| is_there(reason)) else {
        return flawed(Flaw::Unfinished, &pieces);
    };
    let Some(why) = finish_of(&text_of(reason.get())) else { return flawed(Flaw::Malformed, &pieces) };
    if pieces.is_empty() {
        pieces.push(Piece::Begin { choice: 0 });
    }
    pieces.push(Piece::Finish { choice: 0, why });
    Ok(Completion { format: NAME, body, pieces, usage, first_byte_ms, places: Places::default() })
}

/// A whole answer as all that comes of a stream.
///
/// # Errors
/// As [`completion`].
pub fn as_stream(body: Bytes) -> Result<Vec<Chunk>, NotACompletion> {
    let Completion { body: payload, pieces, usage, .. } = completion(body, 0.0)?;
    Ok(vec![Chunk { format: WHOLE, payload, pieces, usage, places: Places::default() }])
}

/// Adds a block of a whole message.
fn add(pieces: &mut Pieces<'_>, block: &WireBlock<'_>) {
    match block {
        WireBlock { text: Some(text), .. } => pieces.text(Some(text)),
        WireBlock { tool_use: Some(call), .. } => {
            let WireCall { tool_use_id, name, input } = within(call);
            pieces.next_call(tool_use_id, name, input);
        }
        WireBlock { reasoning_content: Some(reasoning), .. } => match within::<Reasoning<'_>>(reasoning) {
            Reasoning { reasoning_text: Some(raw) } => {
                let ReasoningText { text, signature } = within(raw);
                pieces.thought(text.filter(|text| is_there(text)));
                if signature.is_some_and(is_there) {
                    pieces.native();
                }
            }
            Reasoning { reasoning_text: None } => pieces.native(),
        },
        WireBlock { citations_content: Some(cited), .. } => {
            if let Some(content) = within::<Said<'_>>(cited).content {
                let _ = items::<()>(content.get(), |_, part| {
                    pieces.text(within::<WireBlock<'_>>(part).text);
                    Ok(())
                });
            }
            pieces.native();
        }
        _ => pieces.native(),
    }
}

/// Why an answer ended; none where the model made what is none.
pub(super) fn finish_of(reason: &str) -> Option<Finish> {
    Some(match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "tool_use" => Finish::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "guardrail_intervened" | "content_filtered" => Finish::Filter,
        "malformed_model_output" | "malformed_tool_use" => return None,
        _ => Finish::Other,
    })
}
