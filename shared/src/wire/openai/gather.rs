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
