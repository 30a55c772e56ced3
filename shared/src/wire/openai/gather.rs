//! A whole answer put together from the events of a stream, for a provider that streams though nobody asked it to.
//!
//! The events' data are kept one behind the other, and the answer is written from its pieces.

use crate::wire::answer::{Came, Completion, Flaw, NotACompletion, Places};
use crate::wire::openai::answer::Answers;
use crate::wire::piece::{Piece, Place, choices};
use crate::wire::sse::{Kind, SseParser};
use bytes::{Bytes, BytesMut};

/// What the form of such an answer is called: no door's, so that it is written anew.
const NAME: &str = "openai-chat-events";

/// Reads the whole body of a stream that answers a request for `n`.
///
/// # Errors
/// As for a whole answer; a body without any event is malformed.
pub fn gathered(body: Bytes, n: u64, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
    let mut parser = SseParser::default();
    parser.feed(&body);
    parser.finish();
    let (mut answers, mut all) = (Answers::of(n), BytesMut::new());
    let (mut pieces, mut usage) = (Vec::new(), None);
    while let Some(event) = parser.next_event().map_err(|_| Flaw::Malformed)? {
        let came = Came::of(&pieces, usage);
        let flawed = |error: NotACompletion| NotACompletion { came: came.plus(error.came), ..error };
        match event.kind {
            Kind::Error => return Err(flawed(Flaw::Error.into())),
            Kind::Ping => continue,
            Kind::Message if event.data.trim_ascii() == b"[DONE]" => break,
            Kind::Message => {}
        }
        let Some(chunk) = answers.read(event.data).map_err(flawed)? else { continue };
        usage = came.plus(chunk.came()).usage;
        for piece in chunk.pieces {
            add(&mut pieces, piece, all.len());
        }
        all.extend_from_slice(&chunk.payload);
    }
    let came = Came::of(&pieces, usage);
    let read = choices(&pieces);
    match read.iter().all(|choice| choice.finish.is_some()) {
        _ if read.is_empty() => Err(NotACompletion { flaw: Flaw::Malformed, came }),
        false => Err(NotACompletion { flaw: Flaw::Unfinished, came }),
        true => {
            Ok(Completion { format: NAME, body: all.freeze(), pieces, usage, first_byte_ms, places: Places::default() })
        }
    }
}

/// Adds a piece whose places count from `start`; a text joins the one before it.
fn add(pieces: &mut Vec<Piece>, mut piece: Piece, start: usize) {
    let shift = |place: &mut Place| *place = place.start + start..place.end + start;
    match (&mut piece, pieces.last_mut()) {
        (Piece::Text { choice, text }, Some(Piece::Text { choice: before, text: all })) if choice == before => {
            return all.push_str(text);
        }
        (Piece::Thought { text, .. }, _) => shift(text),
        (Piece::ToolCall { id, name, arguments, .. }, _) => [id, name, arguments].into_iter().for_each(shift),
        _ => {}
    }
    pieces.push(piece);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::RequestId;
    use crate::wire::openai::writer::ChatWriter;
    use crate::wire::writer::{Hide, Writer};
    use serde_json::{Value, json};

    fn read(events: &[&str]) -> Result<Value, Flaw> {
        let body: String = events.iter().map(|event| format!("{event}\n\n")).collect();
        let answer = gathered(body.into(), 1, 1.0).map_err(|error| error.flaw)?;
        let whole = ChatWriter::new(RequestId::new(0)).whole(&answer, "a/b", Hide::default());
        Ok(serde_json::from_slice(&whole).unwrap())
    }

    #[test]
    fn a_stream_that_nobody_asked_for_is_a_whole_answer() {
        let whole = read(&[
            ": PROCESSING",
            r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","reasoning":"H"}}]}"#,
            r#"data: {"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
            r#"data: {"choices":[{"index":0,"delta":{"content":"b"}}]}"#,
            r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"id":"x","function":{"name":"f","arguments":"{\"q\""}}]}}]}"#,
            r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":":1}"}}]}}]}"#,
            r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"id":"y","function":{"name":"g","arguments":"{}"}}]}}]}"#,
            r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#,
            r#"data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
            "data: [DONE]",
        ]);
        let whole = whole.unwrap();
        let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let message = &whole["choices"][0]["message"];
        assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("ab"), &json!("H")));
        assert_eq!(message["tool_calls"], json!([call("x", "f", "{\"q\":1}"), call("y", "g", "{}")]));
        assert_eq!((&whole["choices"][0]["finish_reason"], &whole["model"]), (&json!("tool_calls"), &json!("a/b")));
        assert_eq!((&whole["usage"]["prompt_tokens"], &whole["usage"]["completion_tokens"]), (&json!(9), &json!(2)));
    }

    #[test]
    fn one_that_is_cut_or_fails_is_none() {
        let text = r#"data: {"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
        let end = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
        for (events, flaw) in [
            (&["data: [DONE]"][..], Flaw::Malformed),
            (&["plain text"], Flaw::Malformed),
            (&[text], Flaw::Unfinished),
            (&[text, "data: [DONE]", end], Flaw::Unfinished),
            (&[text, "event: error\ndata: stopped", end], Flaw::Error),
            (&[text, r#"data: {"error":{"message":"no"}}"#, end], Flaw::Error),
            (&[text, "data: {", end], Flaw::Malformed),
        ] {
            assert_eq!(read(events).unwrap_err(), flaw, "{events:?}");
        }
        assert!(read(&[text, end]).is_ok());
    }
}
