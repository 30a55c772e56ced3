//! A provider's vectors: one for each input, in the inputs' order, in the form that the client asked for.
//!
//! Vectors lie beside others for years, and nothing of one shows that it is wrong. So an answer is passed on only if there
//! is one vector for each input and no doubt whose it is, all of them of the length that was asked for or that the model
//! has, and each with a direction. What is in order passes byte for byte; vectors that come in another order or form are
//! written anew.

use super::NAME;
use super::numbers::{pack, read};
use crate::money::Usage;
use crate::steps;
use crate::wire::answer::{Came, Completion, Flaw, NotACompletion, Places};
use crate::wire::body::Body;
use crate::wire::error_body::error_in;
use crate::wire::json::{Count, items, place};
use crate::wire::openai::usage::reported_cost;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt::Write as _;

/// Fields of single vendors that make vectors of another length or of other numbers than a model's usual ones.
const RESHAPING: [&str; 4] = ["output_dimension", "output_dtype", "embedding_type", "embedding_types"];

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// How many vectors.
    pub vectors: usize,
    /// How long they are; unknown where a vendor's own field changes it.
    pub dimensions: Option<u64>,
    /// Whether they are to be in base64.
    pub base64: bool,
    /// The tokens that are charged where the provider does not say.
    pub estimated_tokens: u64,
}

impl Wanted {
    /// What this request asks of a model whose vectors are so long.
    #[must_use]
    pub fn of(body: &Body, vectors: usize, dimensions: u64, estimated_tokens: u64) -> Self {
        let asked = body.raw("dimensions").and_then(|raw| raw.parse().ok());
        let is_reshaped = RESHAPING.iter().any(|name| body.raw(name).is_some());
        let dimensions = if is_reshaped { None } else { Some(asked.unwrap_or(dimensions)) };
        let base64 = body.raw("encoding_format").is_some_and(|raw| raw == r#""base64""#);
        Self { vectors, dimensions, base64, estimated_tokens }
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireVector<'a> {
    /// Which input it is of; some servers leave it out, or null, and keep the order.
    #[serde(default)]
    index: Count,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize, Default)]
struct WireUsage<'a> {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    total_tokens: Count,
    #[serde(borrow, default)]
    cost: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_byok: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cost_details: Option<&'a RawValue>,
}

/// Reads an answer.
///
/// # Errors
/// It is an error, or not the vectors that are wanted.
pub fn completion(body: Bytes, wanted: &Wanted, first_byte_ms: f64) -> Result<Completion, NotACompletion> {
    let json = std::str::from_utf8(&body).ok();
    let wire: Option<Wire<'_>> = json.and_then(|json| serde_json::from_str(json).ok());
    let usage = wire.as_ref().and_then(|wire| usage_of(wire.usage?));
    let malformed = || NotACompletion { flaw: Flaw::Malformed, came: Came { usage, ..Came::default() } };
    let Some(Wire { data: Some(data), model, usage: told }) = wire else {
        return Err(if error_in(&body).is_some() { Flaw::Error.into() } else { malformed() });
    };
    let mut vectors = Vectors {
        dimensions: wanted.dimensions,
        are_numbered: None,
        is_in_order: true,
        slots: vec![None; wanted.vectors],
    };
    items(data.get(), |i, raw| vectors.take(i, raw)).map_err(|_| malformed())?;
    let slots: Vec<Vector<'_>> =
        std::mem::take(&mut vectors.slots).into_iter().collect::<Option<_>>().ok_or_else(malformed)?;
    let is_as_wanted = vectors.is_in_order && slots.iter().all(|vector| vector.is_base64 == wanted.base64);
    let (json, model) = match model.filter(|_| is_as_wanted && usage.is_some()) {
        Some(model) => {
            let place = place(&body, model);
            (body.clone(), place)
        }
        None => written(&slots, wanted, told.filter(|_| usage.is_some())),
    };
    let places = Places { model: Some(model), logprobs: Vec::new() };
    Ok(Completion { format: NAME, body: json, pieces: Vec::new(), usage, first_byte_ms, places })
}

/// A vector as it came.
#[derive(Clone)]
struct Vector<'a> {
    json: &'a str,
    is_base64: bool,
}

/// The vectors that have been read so far.
struct Vectors<'a> {
    /// The length of all of them, once it is known.
    dimensions: Option<u64>,
    /// Whether they say which input they are of, once it is known.
    are_numbered: Option<bool>,
    /// Whether each has said that it is of the input in its own place.
    is_in_order: bool,
    slots: Vec<Option<Vector<'a>>>,
}

/// There is something wrong with a vector.
struct Wrong;

impl<'a> Vectors<'a> {
    fn take(&mut self, i: usize, raw: &'a RawValue) -> Result<(), Wrong> {
        let WireVector { index, embedding } = serde_json::from_str(raw.get()).map_err(|_| Wrong)?;
        let index = index.0.map(|index| usize::try_from(index).unwrap_or(usize::MAX));
        // Where some are numbered and some are not, nobody knows what the others' places mean.
        if *self.are_numbered.get_or_insert(index.is_some()) != index.is_some() {
            return Err(Wrong);
        }
        self.is_in_order &= index == Some(i);
        let place = index.unwrap_or(i);
        let numbers = read(embedding.get()).ok_or(Wrong)?;
        steps::count(numbers.len());
        let length = *self.dimensions.get_or_insert(numbers.len() as u64);
        let has_direction =
            numbers.iter().all(|number| number.is_finite()) && numbers.iter().any(|number| *number != 0.0);
        if numbers.len() as u64 != length || !has_direction {
            return Err(Wrong);
        }
        let slot = self.slots.get_mut(place).filter(|slot| slot.is_none()).ok_or(Wrong)?;
        *slot = Some(Vector { json: embedding.get(), is_base64: embedding.get().starts_with('"') });
        Ok(())
    }
}

/// The answer written anew, and where in it the model's name is to stand.
fn written(vectors: &[Vector<'_>], wanted: &Wanted, told: Option<&RawValue>) -> (Bytes, std::ops::Range<usize>) {
    let mut out = String::from(r#"{"object":"list","data":["#);
    for (i, vector) in vectors.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(out, r#"{comma}{{"object":"embedding","index":{i},"embedding":"#);
        match (vector.is_base64, wanted.base64) {
            (false, true) => {
                let _ = write!(out, "\"{}\"", pack(&read(vector.json).unwrap_or_default()));
            }
            (true, false) => out += &serde_json::to_string(&read(vector.json).unwrap_or_default()).unwrap_or_default(),
            _ => out += vector.json,
        }
        out.push('}');
    }
    out += r#"],"model":"#;
    let model = out.len()..out.len() + 2;
    out += "\"\"";
    let tokens = wanted.estimated_tokens;
    let _ = match told {
        Some(told) => write!(out, r#","usage":{}}}"#, told.get()),
        // Clients read it without asking whether it is there.
        None => write!(out, r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#),
    };
    (out.into(), model)
}

/// What was used, if the provider says.
fn usage_of(raw: &RawValue) -> Option<Usage> {
    let wire: WireUsage<'_> = serde_json::from_str(raw.get()).ok()?;
    let said = |count: Count| count.0.filter(|tokens| *tokens > 0);
    let input_tokens = said(wire.prompt_tokens).or(said(wire.total_tokens))?;
    let reported_cost_nusd = reported_cost(wire.cost, wire.is_byok, wire.cost_details);
    Some(Usage { input_tokens, reported_cost_nusd, ..Usage::default() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn wanted(vectors: usize) -> Wanted {
        Wanted { vectors, dimensions: Some(2), base64: false, estimated_tokens: 9 }
    }

    fn completed(answer: &str, wanted: &Wanted) -> Result<Completion, NotACompletion> {
        completion(Bytes::copy_from_slice(answer.as_bytes()), wanted, 1.0)
    }

    /// What a client reads, with the model's name in it.
    fn told(answer: &str, wanted: &Wanted) -> Value {
        let read = completed(answer, wanted).unwrap();
        let mut out = Vec::new();
        read.places.rewrite(&read.body, "ours", false, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    fn embeddings(told: &Value) -> Vec<&Value> {
        let data = told["data"].as_array().unwrap();
        assert!(data.iter().enumerate().all(|(place, item)| item["index"] == place && item["object"] == "embedding"));
        data.iter().map(|item| &item["embedding"]).collect()
    }

    const USED: &str = r#""usage":{"prompt_tokens":7,"total_tokens":7}"#;

    #[test]
    fn what_is_in_order_passes_byte_for_byte_but_for_the_model() {
        let answer = format!(
            r#" {{"id":1.10,"data":[{{"object":"embedding","embedding":[1e-1, 2.50],"index":0,"x":{{}}}}],"model" : "theirs",{USED}}}"#
        );
        let read = completed(&answer, &wanted(1)).unwrap();
        assert_eq!((read.body.as_ref(), read.usage.unwrap().input_tokens), (answer.as_bytes(), 7));
        let mut out = Vec::new();
        read.places.rewrite(&read.body, "ours", false, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), answer.replace("theirs", "ours"));
    }

    #[test]
    fn vectors_come_to_the_place_of_their_input() {
        let (first, second) = (json!([1, 2]), json!([3, 4]));
        for items in [
            r#"{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2]}"#,
            r#"{"index":"1","embedding":[3,4]},{"index":0.0,"embedding":[1,2]}"#,
            r#"{"embedding":[1,2]},{"embedding":[3,4]}"#,
            r#"{"index":null,"embedding":[1,2]},{"index":null,"embedding":[3,4]}"#,
        ] {
            let told = told(&format!(r#"{{"data":[{items}],"model":"m",{USED}}}"#), &wanted(2));
            assert_eq!((embeddings(&told), &told["model"]), (vec![&first, &second], &json!("ours")), "{items}");
            assert_eq!((&told["object"], &told["usage"]["total_tokens"]), (&json!("list"), &json!(7)), "{items}");
        }
    }

    #[test]
    fn a_vector_comes_in_the_form_that_was_asked_for() {
        let packed = Wanted { base64: true, ..wanted(1) };
        let (numbers, text) = (json!([3.0, -4.0]), json!("AABAQAAAgMA="));
        for (embedding, wanted, expected) in [
            ("[3,-4]", &packed, &text),
            (r#""AABAQAAAgMA=""#, &packed, &text),
            (r#""AABAQAAAgMA=""#, &wanted(1), &numbers),
        ] {
            let answer = format!(r#"{{"data":[{{"index":0,"embedding":{embedding}}}],"model":"m",{USED}}}"#);
            assert_eq!(&told(&answer, wanted)["data"][0]["embedding"], expected, "{embedding}");
        }
    }

    #[test]
    fn what_was_used_is_told_where_the_provider_does_not() {
        for (usage, tokens) in [
            (r#","usage":{"prompt_tokens":7,"total_tokens":9}"#, Some(7)),
            (r#","usage":{"total_tokens":9}"#, Some(9)),
            (r#","usage":{"prompt_tokens":0,"total_tokens":0}"#, None),
            (r#","usage":{}"#, None),
            (r#","usage":null"#, None),
            ("", None),
        ] {
            let answer = format!(r#"{{"data":[{{"index":0,"embedding":[1,0]}}],"model":"m"{usage}}}"#);
            assert_eq!(
                completed(&answer, &wanted(1)).unwrap().usage.map(|usage| usage.input_tokens),
                tokens,
                "{usage}"
            );
            let prompt_tokens = &told(&answer, &wanted(1))["usage"]["prompt_tokens"];
            assert!(tokens.is_some() || *prompt_tokens == 9, "{usage}");
        }
        let dear =
            r#"{"data":[{"index":0,"embedding":[1,0]}],"model":"m","usage":{"prompt_tokens":7,"cost":0.0000014}}"#;
        assert_eq!(completed(dear, &wanted(1)).unwrap().usage.unwrap().reported_cost_nusd, Some(1400));
    }

    #[test]
    fn what_is_not_one_good_vector_for_each_input_is_none() {
        for data in [
            r#"[{"index":0,"embedding":[1,0]}]"#,
            r#"[{"index":0,"embedding":[1,0]},{"index":1,"embedding":[1,0]},{"index":2,"embedding":[1,0]}]"#,
            r#"[{"index":0,"embedding":[1,0]},{"index":0,"embedding":[1,0]}]"#,
            r#"[{"index":0,"embedding":[1,0]},{"index":2,"embedding":[1,0]}]"#,
            r#"[{"index":1,"embedding":[1,0]},{"embedding":[1,0]}]"#,
            r#"[{"embedding":[1,0]},{"index":1,"embedding":[1,0]}]"#,
            r#"[{"index":0,"embedding":[1,0]},{"index":1,"embedding":[1]}]"#,
            r#"[{"index":0,"embedding":[1,0]},{"index":1,"embedding":[0,0]}]"#,
            r#"[{"index":0,"embedding":[1,0]},{"index":1,"embedding":[null,null]}]"#,
            r#"[{"index":0,"embedding":[1,0]},{"index":1,"embedding":[1e39,1]}]"#,
            r#"[{"index":0,"embedding":[1,0]},{"index":1,"embedding":null}]"#,
            r#"[{"index":0,"embedding":[1,0]},{"index":1,"embedding":"AADAfwAAgD8="}]"#,
            r#"[{"index":0,"embedding":[1,0]},{"index":1}]"#,
            r#"[{"index":0,"embedding":[1,0]},5]"#,
            "{}",
            "5",
        ] {
            let error = completed(&format!(r#"{{"data":{data},{USED}}}"#), &wanted(2)).unwrap_err();
            assert_eq!(
                (error.flaw, error.came.usage.map(|usage| usage.input_tokens)),
                (Flaw::Malformed, Some(7)),
                "{data}"
            );
        }
        for (answer, flaw) in [
            (r#"{"error":{"message":"no"}}"#, Flaw::Error),
            (r#"{"data":null,"error":{"message":"no"}}"#, Flaw::Error),
            (r#"{"data":[],"data":[]}"#, Flaw::Malformed),
            ("[]", Flaw::Malformed),
            ("", Flaw::Malformed),
        ] {
            assert_eq!(completed(answer, &wanted(1)).unwrap_err().flaw, flaw, "{answer}");
        }
    }

    #[test]
    fn of_an_unknown_length_all_have_the_same() {
        let body = Body::json(Bytes::from_static(br#"{"output_dimension":2}"#), |_, _| Ok(())).unwrap();
        let any = Wanted::of(&body, 2, 1536, 9);
        assert_eq!(any.dimensions, None);
        let answer = |second: &str| format!(r#"{{"data":[{{"embedding":[1,0]}},{{"embedding":{second}}}]}}"#);
        assert!(completed(&answer("[1,2]"), &any).is_ok());
        assert!(completed(&answer("[1,2,3]"), &any).is_err());
    }

    #[test]
    fn work_is_linear_in_the_vectors() {
        let of = |vectors: usize| {
            let items = vec![r#"{"embedding":[1,2]}"#; vectors].join(",");
            let answer = format!(r#"{{"data":[{items}]}}"#);
            steps::of(u64::MAX, || completed(&answer, &wanted(vectors)).unwrap()).1
        };
        assert!(of(2_000) <= 11 * of(200), "{} {}", of(200), of(2_000));
    }

    proptest! {
        #[test]
        fn cut_anywhere_it_is_none(at in 0_usize..124) {
            let answer = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-1]}],"model":"m","usage":{"prompt_tokens":7}}"#;
            prop_assert!(at >= answer.len() || completed(&answer[..at], &wanted(1)).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = completion(Bytes::from(bytes), &wanted(1), 1.0);
        }
    }
}
