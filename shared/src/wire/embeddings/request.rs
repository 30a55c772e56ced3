//! A request for vectors, read into what the gateway needs to know of it; what providers would refuse later is refused here.

use crate::error::Error;
use crate::wire::body::{Body, each, integer, name_of_model, parse};
use crate::wire::facts::{Facts, Inputs};
use crate::wire::openai::paid;
use crate::wire::reading::{Reader, complete};
use bytes::Bytes;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Most inputs of one request.
const MAX_INPUTS: usize = 2_048;
/// Most tokens of all of them together, where the client has made them itself.
const MAX_TOKENS: u64 = 300_000;
/// The longest vector that may be asked for.
const MAX_DIMENSIONS: u64 = 65_536;

/// Fields that the gateway reads or writes, and those that providers bill by; sorted.
const KNOWN: [&str; 10] = [
    "dimensions",
    "encoding_format",
    "input",
    "model",
    "models",
    "plugins",
    "provider",
    "service_tier",
    "stream",
    "user",
];

/// Reads and checks a body.
///
/// # Errors
/// [`Error::InvalidRequest`] names the first field that is missing or not what it must be.
pub(super) fn read(bytes: Bytes) -> Result<(Body, Facts), Error> {
    // Nothing is generated, so there is nothing to be bounded or held for.
    let facts = Facts { body_bytes: bytes.len(), max_output_tokens: Some(0), ..Facts::default() };
    let mut reader = VectorReader { facts };
    let body = Body::json(bytes, |name, value| reader.field(name, value))?;
    let is_asked = reader.facts.inputs.is_some();
    let facts = complete(reader.facts, is_asked, "input", "Send what is to be embedded: a text, or a list of texts.")?;
    Ok((body, facts))
}

/// What has been read so far.
struct VectorReader {
    facts: Facts,
}

impl Reader for VectorReader {
    const KNOWN: &'static [&'static str] = &KNOWN;

    fn facts(&mut self) -> &mut Facts {
        &mut self.facts
    }

    fn changes_price(name: &str, value: &RawValue) -> bool {
        paid::changes_price(name, value)
    }

    fn known(&mut self, name: &str, value: &RawValue) -> Result<(), Error> {
        match name {
            "model" => self.facts.model = name_of_model(name, value)?,
            "models" => {
                let message = "Vectors of two models cannot be compared: name one in `model`. Where several providers have it, each is tried.";
                return Err(Error::invalid(name, message));
            }
            "input" => {
                let inputs = inputs(value)?;
                self.facts.messages = inputs.count;
                self.facts.inputs = Some(inputs);
            }
            "dimensions" => drop(integer(name, value, 1, MAX_DIMENSIONS)?),
            "encoding_format" if ![r#""float""#, r#""base64""#].contains(&value.get()) => {
                return Err(Error::invalid(name, "`encoding_format` must be float or base64."));
            }
            "stream" if value.get() != "false" => {
                return Err(Error::invalid(name, "Vectors are not streamed; `stream` must be false or absent."));
            }
            "user" => drop(parse::<Cow<'_, str>>(name, value, "must be a string")?),
            _ => {}
        }
        Ok(())
    }
}

const MUST: &str = "must be a text, a list of texts, a list of tokens or a list of such lists";

/// What an `input` holds.
fn inputs(value: &RawValue) -> Result<Inputs, Error> {
    if value.get().starts_with('"') {
        text("input", value)?;
        return Ok(Inputs { count: 1, tokens: None, longest_tokens: 0 });
    }
    let mut read = Read::default();
    each("input", value, MUST, |i, item| read.take(i, item))?;
    match read.kind {
        None => Err(Error::invalid("input", "`input` is empty; send at least one text.")),
        Some(Kind::Texts) => Ok(Inputs { count: read.count, tokens: None, longest_tokens: 0 }),
        Some(Kind::Tokens) => Ok(Inputs { count: 1, tokens: Some(read.tokens), longest_tokens: read.tokens }),
        Some(Kind::Lists) => {
            Ok(Inputs { count: read.count, tokens: Some(read.tokens), longest_tokens: read.longest_tokens })
        }
    }
}

/// What the items of a list are.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Texts,
    Tokens,
    Lists,
}

/// What of a list has been read so far.
#[derive(Default)]
struct Read {
    kind: Option<Kind>,
    count: usize,
    tokens: u64,
    longest_tokens: u64,
}

impl Read {
    fn take(&mut self, i: usize, item: &RawValue) -> Result<(), Error> {
        let path = || format!("input[{i}]");
        let kind = match item.get().as_bytes().first() {
            Some(b'"') => Kind::Texts,
            Some(b'[') => Kind::Lists,
            Some(b'0'..=b'9' | b'-') => Kind::Tokens,
            _ => return Err(Error::invalid(path(), format!("`input` {MUST}."))),
        };
        if self.kind.is_some_and(|known| known != kind) {
            return Err(Error::invalid(path(), format!("`{}` is of another kind than those before it.", path())));
        }
        self.kind = Some(kind);
        match kind {
            Kind::Texts => text(&path(), item)?,
            Kind::Tokens => {
                token(&path(), item)?;
                self.tokens += 1;
            }
            Kind::Lists => {
                let tokens = each(&path(), item, "must be a list of tokens", |k, item| {
                    token(&format!("input[{i}][{k}]"), item)
                })? as u64;
                if tokens == 0 {
                    return Err(Error::invalid(path(), format!("`{}` is empty.", path())));
                }
                self.tokens += tokens;
                self.longest_tokens = self.longest_tokens.max(tokens);
            }
        }
        self.count += 1;
        if kind != Kind::Tokens && self.count > MAX_INPUTS {
            return Err(Error::invalid(
                "input",
                format!("`input` has more than {MAX_INPUTS} entries; send several requests."),
            ));
        }
        if self.tokens > MAX_TOKENS {
            return Err(Error::invalid(
                "input",
                format!("`input` has more than {MAX_TOKENS} tokens; send several requests."),
            ));
        }
        Ok(())
    }
}

/// Checks a text: it says something, and is one.
fn text(path: &str, value: &RawValue) -> Result<(), Error> {
    let text: Cow<'_, str> = parse(path, value, "must be text; half of a surrogate pair is none")?;
    match text.is_empty() {
        true => Err(Error::invalid(path, format!("`{path}` is empty; an empty text has no vector."))),
        false => Ok(()),
    }
}

fn token(path: &str, value: &RawValue) -> Result<(), Error> {
    match value.get().parse::<u32>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::invalid(path, format!("`{path}` must be a token, a whole number."))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn read_all(body: String) -> Result<Facts, Error> {
        read(Bytes::from(body)).map(|(_, facts)| facts)
    }

    fn inputs_of(input: &str) -> Inputs {
        read_all(format!(r#"{{"model":"m","input":{input}}}"#)).unwrap().inputs.unwrap()
    }

    #[test]
    fn an_input_is_a_text_or_tokens_or_a_list_of_either() {
        let texts = |count| Inputs { count, tokens: None, longest_tokens: 0 };
        assert_eq!(inputs_of(r#""a""#), texts(1));
        assert_eq!(inputs_of(r#"["a"," ","\ud83d\ude00"]"#), texts(3));
        assert_eq!(inputs_of("[1,2,0]"), Inputs { count: 1, tokens: Some(3), longest_tokens: 3 });
        assert_eq!(inputs_of("[[1],[2,4294967295]]"), Inputs { count: 2, tokens: Some(3), longest_tokens: 2 });
    }

    #[test]
    fn what_cannot_be_embedded_is_refused_by_its_place() {
        let many = |item: &str, count: usize| format!("[{}]", vec![item; count].join(","));
        for (input, place) in [
            ("null", "input"),
            ("5", "input"),
            ("{}", "input"),
            ("[]", "input"),
            (r#""""#, "input"),
            (r#"["a",""]"#, "input[1]"),
            (r#"["a",1]"#, "input[1]"),
            (r#"[1,"a"]"#, "input[1]"),
            (r#"[[1],2]"#, "input[1]"),
            ("[[1],[]]", "input[1]"),
            ("[[1],[1,1.5]]", "input[1][1]"),
            ("[-1]", "input[0]"),
            ("[4294967296]", "input[0]"),
            ("[1e2]", "input[0]"),
            ("[null]", "input[0]"),
            ("[{}]", "input[0]"),
            (r#"["\ud83d"]"#, "input[0]"),
            (&many(r#""a""#, MAX_INPUTS + 1), "input"),
            (&many("[1]", MAX_INPUTS + 1), "input"),
            (&many("1", 300_001), "input"),
        ] {
            match read_all(format!(r#"{{"model":"m","input":{input}}}"#)) {
                Err(Error::InvalidRequest { param, .. }) => assert_eq!(param.as_deref(), Some(place), "{input:.60}"),
                other => panic!("{input:.60}: {other:?}"),
            }
        }
        assert_eq!(inputs_of(&many(r#""a""#, MAX_INPUTS)).count, MAX_INPUTS);
        assert_eq!(inputs_of(&many("1", 300_000)).tokens, Some(300_000));
    }

    #[test]
    fn fields_beside_it_are_what_they_must_be() {
        for (field, place) in [
            (r#""dimensions":0"#, "dimensions"),
            (r#""dimensions":1.5"#, "dimensions"),
            (r#""dimensions":"256""#, "dimensions"),
            (r#""encoding_format":"int8""#, "encoding_format"),
            (r#""encoding_format":1"#, "encoding_format"),
            (r#""stream":true"#, "stream"),
            (r#""models":["a"]"#, "models"),
            (r#""user":5"#, "user"),
            (r#""Input":"a""#, "Input"),
            (r#""input":"b""#, "input"),
        ] {
            match read_all(format!(r#"{{"model":"m","input":"a",{field}}}"#)) {
                Err(Error::InvalidRequest { param, .. }) => assert_eq!(param.as_deref(), Some(place), "{field}"),
                other => panic!("{field}: {other:?}"),
            }
        }
        let good = r#""dimensions":256,"encoding_format":"base64","user":"u","stream":false,"input_type":"query""#;
        assert_eq!(read_all(format!(r#"{{"model":"m","input":"a",{good}}}"#)).unwrap().paid_extra, None);
        let nulls = r#""dimensions":null,"encoding_format":null,"user":null,"models":null,"stream":null"#;
        assert!(read_all(format!(r#"{{"model":"m","input":"a",{nulls}}}"#)).is_ok());
        let dear = read_all(r#"{"model":"m","input":"a","service_tier":"priority"}"#.into()).unwrap();
        assert_eq!(dear.paid_extra.as_deref(), Some("service_tier"));
        assert!(
            matches!(read_all(r#"{"input":"a"}"#.into()), Err(Error::InvalidRequest { param: Some(param), .. }) if param == "model")
        );
    }

    #[test]
    fn the_known_fields_can_be_searched() {
        assert!(KNOWN.is_sorted());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(Bytes::from(body));
        }

        #[test]
        fn cut_anywhere_it_is_refused(at in 0_usize..58) {
            let body = r#"{"model":"m","input":[[1,2],[3]],"encoding_format":"base64"}"#;
            prop_assert!(read(Bytes::from(&body[..at])).is_err());
        }
    }
}
