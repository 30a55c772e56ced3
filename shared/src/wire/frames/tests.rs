#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

/// A header of text.
fn header(name: &str, value: &str) -> Vec<u8> {
    let mut header = vec![u8::try_from(name.len()).unwrap()];
    header.extend_from_slice(name.as_bytes());
    header.push(7);
    header.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
    header.extend_from_slice(value.as_bytes());
    header
}

fn frame_of(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
    let mut frame = length(16 + headers.len() + payload.len()).to_vec();
    frame.extend_from_slice(&length(headers.len()));
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(headers);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}

fn event(name: &str, payload: &str) -> Vec<u8> {
    let headers = [header(":event-type", name), header(":content-type", "application/json")];
    frame_of(&[headers.concat(), header(":message-type", "event")].concat(), payload.as_bytes())
}

/// An exception, as it ends a stream.
pub(crate) fn exception(name: &str, payload: &str) -> Vec<u8> {
    let headers = [header(":message-type", "exception"), header(":exception-type", name)];
    frame_of(&headers.concat(), payload.as_bytes())
}

fn read(bytes: &[u8], portion: usize) -> (Vec<(String, Bytes)>, Option<BadFrame>, usize) {
    let (mut parser, mut found) = (FrameParser::default(), Vec::new());
    for part in bytes.chunks(portion.max(1)) {
        parser.feed(part);
        loop {
            match parser.next_frame() {
                Ok(Some(frame)) => found.push((frame.name, frame.payload)),
                Ok(None) => break,
                Err(bad) => return (found, Some(bad), parser.held_bytes()),
            }
        }
    }
    (found, None, parser.held_bytes())
}

/// The vectors of AWS's own test suite for the format, in hexadecimal.
#[test]
fn the_published_vectors_are_read_as_they_are_published() {
    let bytes = |hex: &str| -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    };
    let empty = bytes("00000010 00000000 05c248eb 7d98c8ff");
    assert_eq!(read(&empty, 1), (vec![(String::new(), Bytes::new())], None, 0));
    let without_headers = bytes("0000001d 00000000 fd528c5a 7b27666f 6f273a27 62617227 7dc36539 36");
    assert_eq!(read(&without_headers, 7), (vec![(String::new(), Bytes::from("{'foo':'bar'}"))], None, 0));
    let one_number =
        bytes("0000002d 00000010 41c424b8 0a657665 6e742d74 79706504 0000a00c 7b27666f 6f273a27 62617227 7d36f480 a0");
    assert_eq!(read(&one_number, 5), (vec![(String::new(), Bytes::from("{'foo':'bar'}"))], None, 0));
}

#[test]
fn a_frame_is_read_in_any_portions_and_only_when_all_of_it_has_come() {
    let all = [event("messageStart", r#"{"role":"assistant"}"#), event("messageStop", "{}")].concat();
    let names = |found: &[(String, Bytes)]| found.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    for portion in 1..=all.len() {
        let (found, bad, held) = read(&all, portion);
        assert_eq!((names(&found), bad, held), (vec!["messageStart".into(), "messageStop".into()], None, 0));
    }
    let first = event("messageStart", r#"{"role":"assistant"}"#).len();
    for cut in 0..all.len() {
        let (found, bad, held) = read(&all[..cut], 13);
        assert_eq!(
            (found.len(), bad, held),
            (usize::from(cut >= first), None, if cut >= first { cut - first } else { cut })
        );
    }
}

#[test]
fn one_wrong_bit_anywhere_makes_no_frame() {
    let good = event("contentBlockDelta", r#"{"delta":{"text":"x"}}"#);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let (found, flaw, _) = read(&bad, bad.len());
            assert_eq!((found.len(), flaw), (0, Some(BadFrame::Broken)), "{at} {bit}");
        }
    }
}

#[test]
fn lengths_that_cannot_be_are_refused_before_they_are_waited_for() {
    let prelude = |whole: u32, headers: u32| {
        let mut prelude = [whole.to_be_bytes(), headers.to_be_bytes()].concat();
        prelude.extend_from_slice(&crc32fast::hash(&prelude).to_be_bytes());
        prelude
    };
    for (whole, headers, bad) in [
        (u32::MAX, 0, BadFrame::TooLarge),
        (9 << 20, 0, BadFrame::TooLarge),
        (0, 0, BadFrame::Broken),
        (15, 0, BadFrame::Broken),
        (16, 1, BadFrame::Broken),
        (100, u32::MAX, BadFrame::Broken),
    ] {
        assert_eq!(read(&prelude(whole, headers), 12).1, Some(bad), "{whole} {headers}");
    }
    for headers in [&b"\x05:even"[..], b"\x01a\x63", b"\x01a\x07\x00\x05b", b"\x01a\x04\x00", b"\x01a"] {
        assert_eq!(read(&frame_of(headers, b"{}"), 999).1, Some(BadFrame::Broken), "{headers:?}");
    }
}

#[test]
fn many_small_frames_take_steps_in_proportion_to_their_bytes() {
    let steps_for = |frames: usize| {
        let all = event("contentBlockDelta", "{}").repeat(frames);
        steps::of(u64::MAX, || read(&all, 1000)).1
    };
    assert!(steps_for(2000) < steps_for(1000) * 21 / 10);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), portion in 1_usize..50) {
        read(&bytes, portion);
    }

    #[test]
    fn headers_of_every_type_are_skipped(kind in 0_u8..12, value in proptest::collection::vec(any::<u8>(), 0..24)) {
        let headers = [&b"\x01a"[..], &[kind], &value, &header(":event-type", "e")].concat();
        let (found, _, _) = read(&frame_of(&headers, b"p"), 999);
        prop_assert!(found.len() <= 1);
    }
}
