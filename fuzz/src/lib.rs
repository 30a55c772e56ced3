//! What holds for any bytes at all: one function for each parser that meets the outside.
//!
//! libFuzzer looks for bytes that break one (`make fuzz`); `shared/tests/corpus.rs` includes this file and replays the
//! corpus that it left, on stable, in `make test`. That a parser does not panic is the least of it: each function also
//! states what must be true of what the parser accepts, and that it took a few steps and a few allocated bytes for each byte
//! of the input, so that a slow input is found while it is small.

mod answers;
mod requests;

use allocation_counter::measure;
pub use answers::{converse, converse_stream, embeddings, frames, gemini, gemini_stream};
use bytes::{Bytes, BytesMut};
use gateway_core::config::{self, Config};
use gateway_core::error::Error;
use gateway_core::id::RequestId;
use gateway_core::request::instructions::{Instructions, key_of};
use gateway_core::steps;
use gateway_core::tenant::key::{ApiKey, KeyHasher};
use gateway_core::wire::openai::answer::{chunk as read_chunk, completion as read_completion};
use gateway_core::wire::openai::writer::ChatWriter;
use gateway_core::wire::piece::choices;
use gateway_core::wire::schema::{MAX_STEPS, Schema};
use gateway_core::wire::sse::SseParser;
use gateway_core::wire::writer::{Hide, Writer};
use http::{HeaderMap, HeaderName, HeaderValue};
pub use requests::{request, request_embeddings, request_messages, request_responses};
use serde::de::IgnoredAny;

/// How many answers were asked for.
const N: u64 = 3;

/// A property that any bytes must keep; it panics where they do not.
pub type Property = fn(&[u8]);

/// Every property by the name of its fuzz target, which is that of its folder in `fuzz/corpus`.
pub const PROPERTIES: [(&str, Property); 17] = [
    ("request", request),
    ("request_responses", request_responses),
    ("request_messages", request_messages),
    ("request_embeddings", request_embeddings),
    ("sse", sse),
    ("key", key),
    ("completion", completion),
    ("chunk", chunk),
    ("gemini", gemini),
    ("gemini_stream", gemini_stream),
    ("converse", converse),
    ("converse_stream", converse_stream),
    ("frames", frames),
    ("embeddings", embeddings),
    ("config", config),
    ("headers", headers),
    ("schema", schema),
];

/// What a parser may allocate for any input: a list of the most choices that there can be, as it grows, is some 65 KB.
const ALWAYS_BYTES: u64 = 96 << 10;

/// What a parser makes of an input of so many bytes, in a few steps and allocated bytes for each of them.
fn bounded<T>(input_bytes: usize, parse: impl FnOnce() -> T) -> T {
    let (input_bytes, mut made) = (input_bytes as u64, None);
    let memory = measure(|| made = Some(steps::of(4 * input_bytes + 1_000, parse).0));
    let most = 24 * input_bytes + ALWAYS_BYTES;
    assert!(memory.bytes_total <= most, "{input_bytes} bytes of input, {memory:?}");
    made.expect("it was run")
}

/// A stream says the same however the network cut it. The first eight bytes say where it is cut.
pub fn sse(bytes: &[u8]) {
    let (cuts, wire) = bytes.split_at(bytes.len().min(8));
    let expected = bounded(wire.len(), || events(std::iter::once(wire)));
    let mut rest = wire;
    let pieces = cuts.iter().cycle().take(wire.len()).map(|size| {
        let (piece, later) = rest.split_at(rest.len().min(usize::from(*size) + 1));
        rest = later;
        piece
    });
    assert_eq!(bounded(wire.len(), || events(pieces)), expected);
    assert!(expected.iter().map(Bytes::len).sum::<usize>() <= wire.len());
}

/// What comes of a stream that comes in these pieces.
fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Bytes> {
    let (mut parser, mut events) = (SseParser::default(), Vec::new());
    for piece in pieces {
        parser.feed(piece);
        while let Some(event) = parser.next_event().expect("small") {
            events.push(event.data);
        }
    }
    events
}

/// A key is recognised as a whole or not at all, one wrong character is seen, and `Debug` does not tell it (T3).
pub fn key(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(key) = ApiKey::parse(text)
    {
        assert_eq!(key.reveal(), text);
        assert!(text.starts_with(key.prefix()) && text.ends_with(key.last4()));
        assert!(!format!("{key:?}").contains(&text[8..38]));
    }
    let good = ApiKey::derive(&KeyHasher::new(bytes), "fuzz");
    assert_eq!(ApiKey::parse(good.reveal()).as_ref(), Some(&good));
    let [place, character, ..] = bytes else { return };
    let mut wrong = good.reveal().as_bytes().to_vec();
    let place = usize::from(*place) % wrong.len();
    wrong[place] = character & 127;
    let wrong = String::from_utf8(wrong).expect("ASCII");
    assert_eq!(ApiKey::parse(&wrong).is_some(), wrong == good.reveal());
}

/// What the client gets of a whole answer is the same answer under another name.
pub fn completion(bytes: &[u8]) {
    let read = bounded(bytes.len(), || read_completion(Bytes::copy_from_slice(bytes), N, 0.0));
    let Ok(answer) = read else { return };
    let read = choices(&answer.pieces);
    assert!((1..=N).contains(&(read.len() as u64)));
    assert!(read.iter().all(|choice| choice.finish.is_some()));
    let written = |logprobs| {
        let whole = ChatWriter::new(RequestId::new(0)).whole(&answer, "a/\"b", Hide { logprobs, usage: false });
        read_completion(whole, N, 0.0).expect("still an answer")
    };
    let shown = written(false);
    assert_eq!((&choices(&shown.pieces), shown.usage), (&read, answer.usage));
    assert_eq!(shown.pieces.len(), answer.pieces.len());
    let hidden = written(true);
    let hidden = choices(&hidden.pieces);
    assert!(hidden.iter().all(|choice| choice.logprobs.is_none()));
    assert_eq!(hidden.len(), read.len());
}

/// A chunk leaves as one event, whatever line ends stood in it, and says the same.
pub fn chunk(bytes: &[u8]) {
    let read = bounded(bytes.len(), || read_chunk(Bytes::copy_from_slice(bytes), N));
    let Ok(Some(chunk)) = read else { return };
    assert!(choices(&chunk.pieces).len() as u64 <= N);
    if chunk.payload.is_empty() {
        // An event that does not pass on, for it has no list of choices.
        return assert!(chunk.is_usage_only());
    }
    for hide_logprobs in [false, true] {
        let mut wire = BytesMut::new();
        let hide = Hide { logprobs: hide_logprobs, usage: false };
        ChatWriter::new(RequestId::new(0)).chunk(&chunk, "a/\"b", hide, &mut wire);
        let line = wire.strip_suffix(b"\n\n").expect("it ends as an event");
        assert!(!line.iter().any(|byte| matches!(byte, b'\r' | b'\n')), "a line end would cut the event in two");
        let mut parser = SseParser::default();
        parser.feed(&wire);
        let event = parser.next_event().expect("small").expect("one event");
        assert_eq!(parser.next_event(), Ok(None));
        let again = read_chunk(event.data, N).expect("still a chunk").expect("that says as much");
        assert_eq!((choices(&again.pieces).len(), again.usage), (choices(&chunk.pieces).len(), chunk.usage));
        assert_eq!((again.has_content(), again.is_usage_only()), (chunk.has_content(), chunk.is_usage_only()));
        assert!(hide_logprobs || choices(&again.pieces) == choices(&chunk.pieces));
        assert!(hide_logprobs || again.pieces.len() == chunk.pieces.len());
    }
}

/// A configuration is refused with the place of each problem, or it can be used.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let problems = config::check(text, "f.toml");
    for problem in &problems {
        let line = problem.strip_prefix("f.toml:").and_then(|rest| rest.split(':').next());
        assert!(line.is_some_and(|line| line.parse::<usize>().is_ok()), "{problem}");
    }
    // Where no key is set, a provider is left out; that may leave too little to serve with, but never breaks the reader.
    let without_keys = Config::load(text, "f.toml", &|_| None);
    assert!(without_keys.is_err() || problems.is_empty(), "keys cannot make a file worse");
}

/// A header is understood or refused by its name. Each line is the value of one header, the first letter says which.
pub fn headers(bytes: &[u8]) {
    const NAMES: [&str; 6] =
        ["x-gateway-cache", "x-gateway-cache-ttl", "x-gateway-upgrade", "x-gateway-tags", "authorization", "x-api-key"];
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((which, value)) = line.split_first() else { continue };
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        headers.append(HeaderName::from_static(NAMES[usize::from(*which) % NAMES.len()]), value);
    }
    match bounded(bytes.len(), || Instructions::read(&headers)) {
        Ok(read) => {
            assert!(read.cache_ttl_seconds.is_none_or(|seconds| (1..=2_592_000).contains(&seconds)));
            assert!(read.tags.len() <= 10);
            assert!(read.tags.iter().all(|(name, value)| !name.is_empty() && name.len() <= 64 && value.len() <= 64));
        }
        Err(error) => {
            assert_eq!(told_in_words(&error), 400);
            assert!(error.to_http().param.is_some_and(|param| NAMES.contains(&&*param)));
        }
    }
    if let Some(key) = key_of(&headers) {
        assert_eq!(key, key.trim());
    }
}

/// A schema, a line end, a text: whether the one fits the other is said within the steps that there are, and said the same
/// again. What is no JSON fits nothing.
pub fn schema(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else { return };
    let (schema, text) = input.split_once('\n').unwrap_or((input, "null"));
    let most = MAX_STEPS as u64 + 4 * input.len() as u64 + 1_000;
    let fits = || steps::of(most, || Schema::read(schema).fits(text)).0;
    assert_eq!(fits(), fits());
    assert!(!fits() || serde_json::from_str::<IgnoredAny>(text).is_ok());
}

fn told_in_words(error: &Error) -> u16 {
    let http = error.to_http();
    assert!(!http.message.is_empty() && http.message.len() < 2000, "{} bytes of message", http.message.len());
    http.status
}
