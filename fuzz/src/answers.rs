//! Answers of providers whose formats no door speaks, whole and streamed, and the frames in which one of them streams.

use super::{N, bounded};
use bytes::{Bytes, BytesMut};
use gateway_core::id::RequestId;
use gateway_core::money::Usage;
use gateway_core::wire::answer::{Chunk, Completion, NotACompletion};
use gateway_core::wire::anthropic::events::{self, Said};
use gateway_core::wire::anthropic::{self, MESSAGES};
use gateway_core::wire::converse::events::{self as converse_events, Said as Event};
use gateway_core::wire::converse::{self as bedrock};
use gateway_core::wire::embeddings::EMBEDDINGS;
use gateway_core::wire::embeddings::answer::{Wanted, completion as vectors};
use gateway_core::wire::format::{Format, Spoken};
use gateway_core::wire::frames::{BadFrame, Frame, FrameParser};
use gateway_core::wire::gemini::answer::{Answers, completion as gemini_completion};
use gateway_core::wire::openai::{self, CHAT};
use gateway_core::wire::piece::{Piece, choices};
use gateway_core::wire::responses::{self, RESPONSES};
use gateway_core::wire::sse::SseParser;
use gateway_core::wire::writer::Hide;
use serde_json::Value;

/// Reads whole answers of a door's format.
type ReadWhole = fn(Bytes) -> Result<Completion, NotACompletion>;

/// The doors, and how each one's format is read again.
const DOORS: [(&dyn Format, ReadWhole); 3] = [
    (&CHAT, |body| openai::answer::completion(body, N, 0.0)),
    (&RESPONSES, |body| responses::answer::completion(body, 0.0)),
    (&MESSAGES, |body| anthropic::answer::completion(body, 0.0)),
];

/// What a client makes of pieces: the text of each answer, whether it calls tools, and whether it has ended.
fn said(pieces: &[Piece]) -> Vec<(String, bool, bool)> {
    let said = |choice: gateway_core::wire::piece::Choice<'_>| {
        (choice.text.into_owned(), choice.calls_tools, choice.finish.is_some())
    };
    choices(pieces).into_iter().map(said).collect()
}

/// What is charged of a usage, where there is one and its figures are such as a client can read.
fn charged(usage: Option<Usage>) -> Option<(u64, u64)> {
    usage.map(|usage| (usage.input_tokens, usage.output_tokens)).filter(|(input, output)| input + output > 0)
}

/// Two formats have one answer; the other doors' are asked for no more.
fn doors_for(pieces: &[Piece]) -> &'static [(&'static dyn Format, ReadWhole)] {
    if choices(pieces).len() > 1 { &DOORS[..1] } else { &DOORS }
}

/// A whole answer says the same at every door.
fn is_told_at_every_door(answer: &Completion) {
    let expected = said(&answer.pieces);
    assert!((1..=N).contains(&(expected.len() as u64)) && expected.iter().all(|(_, _, has_ended)| *has_ended));
    for (door, read) in doors_for(&answer.pieces) {
        let told = door.writer(RequestId::new(0)).whole(answer, "a/\"b", Hide::default());
        let again = read(told.clone()).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&told)));
        assert_eq!(said(&again.pieces), expected, "{door:?}");
        let usage = charged(answer.usage);
        assert!(usage.is_none() || charged(again.usage) == usage, "{door:?}: {:?}, {:?}", again.usage, answer.usage);
    }
}

/// A stream, so far as it came, says the same at every door.
fn is_streamed_at_every_door(chunks: &[Chunk]) {
    let pieces: Vec<Piece> = chunks.iter().flat_map(|chunk| chunk.pieces.clone()).collect();
    let expected = said(&pieces);
    let is_whole = !expected.is_empty() && expected.iter().all(|(_, _, has_ended)| *has_ended);
    for (door, _) in doors_for(&pieces) {
        let (mut writer, mut wire) = (door.writer(RequestId::new(0)), BytesMut::new());
        chunks.iter().for_each(|chunk| writer.chunk(chunk, "a/\"b", Hide::default(), &mut wire));
        if is_whole {
            writer.rest("a/\"b", Hide::default(), &mut wire);
            wire.extend_from_slice(&writer.end("{}"));
        }
        let (mut parser, mut read, mut again) = (SseParser::default(), reader_of(*door), Vec::new());
        parser.feed(&wire);
        while let Some(event) = parser.next_event().expect("small") {
            if event.data != "[DONE]" {
                again.extend(read(event.data));
            }
        }
        let text = |said: &[(String, bool, bool)]| said.iter().map(|(text, ..)| text.clone()).collect::<String>();
        match is_whole {
            true => assert_eq!(said(&again), expected, "{door:?}"),
            // What did not begin, and what begins only with more, is not told.
            false => assert_eq!(text(&said(&again)), text(&expected), "{door:?}"),
        }
    }
}

/// Reads the events of a door's stream.
fn reader_of(door: &dyn Format) -> Box<dyn FnMut(Bytes) -> Vec<Piece>> {
    const STILL: &str = "an event that this format has";
    if door.name() == CHAT.name() {
        let mut answers = openai::answer::Answers::of(N);
        return Box::new(move |data| answers.read(data).expect(STILL).map(|chunk| chunk.pieces).unwrap_or_default());
    }
    if door.name() == RESPONSES.name() {
        let mut answer = responses::answer::Answer::default();
        return Box::new(move |data| answer.read(data).expect(STILL).pieces);
    }
    let mut message = events::Message::default();
    Box::new(move |data| match message.read(data).expect(STILL) {
        Said::Chunk(chunk) | Said::Last(Some(chunk)) => chunk.pieces,
        Said::Last(None) | Said::Nothing => Vec::new(),
    })
}

/// A whole answer of Gemini's.
pub fn gemini(bytes: &[u8]) {
    if let Ok(answer) = bounded(bytes.len(), || gemini_completion(Bytes::copy_from_slice(bytes), N, 0.0)) {
        is_told_at_every_door(&answer);
    }
}

/// A stream of Gemini's: each line is the data of an event.
pub fn gemini_stream(bytes: &[u8]) {
    let chunks = bounded(bytes.len(), || {
        let mut answers = Answers::of(N);
        let events = bytes.split(|byte| *byte == b'\n').map(|line| answers.read(Bytes::copy_from_slice(line)));
        events.map_while(Result::ok).flatten().collect::<Vec<Chunk>>()
    });
    assert!(chunks.iter().all(|chunk| !chunk.pieces.is_empty() || chunk.usage.is_some()));
    assert!(choices(chunks.iter().flat_map(|chunk| &chunk.pieces)).len() as u64 <= N);
    is_streamed_at_every_door(&chunks);
}

/// A whole answer of Converse.
pub fn converse(bytes: &[u8]) {
    if let Ok(answer) = bounded(bytes.len(), || bedrock::answer::completion(Bytes::copy_from_slice(bytes), 0.0)) {
        is_told_at_every_door(&answer);
    }
}

/// A stream of Converse: each line is the name of an event, a space and its payload. Its last event comes after its end.
pub fn converse_stream(bytes: &[u8]) {
    let mut has_last = false;
    let chunks = bounded(bytes.len(), || {
        let (mut message, mut chunks) = (converse_events::Message::default(), Vec::new());
        for line in bytes.split(|byte| *byte == b'\n') {
            let (name, payload) = line.split_at(line.iter().position(|byte| *byte == b' ').unwrap_or(line.len()));
            match message.read(&String::from_utf8_lossy(name), Bytes::copy_from_slice(payload)) {
                Ok(Event::Chunk(chunk)) => chunks.push(chunk),
                Ok(Event::Last(chunk)) => {
                    chunks.push(chunk);
                    has_last = true;
                    break;
                }
                Err(_) => break,
            }
        }
        chunks
    });
    let has_ended = |chunk: &Chunk| chunk.pieces.iter().any(|piece| matches!(piece, Piece::Finish { .. }));
    assert!(!has_last || chunks.iter().any(has_ended));
    is_streamed_at_every_door(&chunks);
}

/// Frames say the same however the network cut them, and nothing is taken for one whose checksums are wrong. The first eight
/// bytes say where it is cut; what follows is read as it is, and once more with its checksums put right, for nobody guesses them.
pub fn frames(bytes: &[u8]) {
    let (cuts, wire) = bytes.split_at(bytes.len().min(8));
    for wire in [wire.to_vec(), sealed(wire)] {
        let expected = bounded(wire.len(), || frames_of(std::iter::once(&wire[..])));
        let mut rest = &wire[..];
        let pieces = cuts.iter().cycle().take(wire.len()).map(|size| {
            let (piece, later) = rest.split_at(rest.len().min(usize::from(*size) + 1));
            rest = later;
            piece
        });
        assert_eq!(bounded(wire.len(), || frames_of(pieces)), expected);
        assert!(expected.0.iter().map(|frame| 16 + frame.payload.len()).sum::<usize>() <= wire.len());
        let Some(place) = cuts.first().map(|at| usize::from(*at)).filter(|place| *place < wire.len()) else { continue };
        let mut wrong = wire.clone();
        wrong[place] ^= 1;
        let (found, _) = frames_of(std::iter::once(&wrong[..]));
        let mut ends = lengths(&wire).into_iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        let hit = ends.position(|end| place < end).filter(|hit| *hit < expected.0.len());
        assert!(hit.is_none_or(|hit| found.len() <= hit), "a frame in which a bit is wrong is none");
    }
}

/// What comes of frames that come in these pieces.
fn frames_of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<BadFrame>) {
    let (mut parser, mut frames) = (FrameParser::default(), Vec::new());
    for piece in pieces {
        parser.feed(piece);
        loop {
            match parser.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(bad) => return (frames, Some(bad)),
            }
        }
    }
    (frames, None)
}

/// The lengths of the frames that stand in these bytes by what they say.
fn lengths(wire: &[u8]) -> Vec<usize> {
    let (mut lengths, mut rest) = (Vec::new(), wire);
    while let Some(length) = rest.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize) {
        if length < 16 || length > rest.len() {
            break;
        }
        lengths.push(length);
        rest = &rest[length..];
    }
    lengths
}

/// The same bytes, in which the checksums of all frames are right.
fn sealed(wire: &[u8]) -> Vec<u8> {
    let (mut wire, mut begin) = (wire.to_vec(), 0);
    for length in lengths(&wire) {
        let frame = &mut wire[begin..begin + length];
        let prelude = crc32fast::hash(&frame[..8]);
        frame[8..12].copy_from_slice(&prelude.to_be_bytes());
        let whole = crc32fast::hash(&frame[..length - 4]);
        frame[length - 4..].copy_from_slice(&whole.to_be_bytes());
        begin += length;
    }
    wire
}

/// Vectors leave in their order, in the form and of the length that was asked for, and are then as wanted. The first three
/// bytes say how many are wanted, how long, and whether in base64.
pub fn embeddings(bytes: &[u8]) {
    let Some((&[many, long, form], answer)) = bytes.split_first_chunk::<3>() else { return };
    let wanted = Wanted {
        vectors: usize::from(many % 4) + 1,
        dimensions: Some(u64::from(long % 4)).filter(|long| *long > 0),
        base64: form % 2 == 1,
        estimated_tokens: 9,
    };
    let Ok(read) = bounded(answer.len(), || vectors(Bytes::copy_from_slice(answer), &wanted, 0.0)) else { return };
    let told = EMBEDDINGS.writer(RequestId::new(0)).whole(&read, "a/\"b", Hide::default());
    let shown: Value = serde_json::from_slice(&told).expect("it is JSON");
    let embeddings: Vec<&Value> =
        shown["data"].as_array().expect("a list").iter().map(|item| &item["embedding"]).collect();
    assert_eq!((embeddings.len(), &shown["model"]), (wanted.vectors, &Value::from("a/\"b")));
    assert!(embeddings.iter().all(|embedding| embedding.is_string() == wanted.base64));
    let lengths = embeddings.iter().filter_map(|embedding| embedding.as_array()).map(|numbers| numbers.len() as u64);
    assert!(
        lengths
            .zip(std::iter::repeat(wanted.dimensions))
            .all(|(length, wanted)| wanted.is_none_or(|wanted| wanted == length))
    );
    let again = vectors(told.clone(), &wanted, 0.0).expect("vectors as wanted");
    assert_eq!(
        (again.body, again.usage.map(|usage| usage.input_tokens)),
        (told, Some(read.usage.map_or(9, |usage| usage.input_tokens)))
    );
}
