//! A request on its way to a provider: the client's bytes with another model, and without what this model cannot take.
//!
//! Official clients ask for base64 by themselves. Many servers refuse that word, or give numbers all the same, which such a
//! client then reads as a vector of a quarter of the length; so only a model that is known to has to read it, and the answer
//! is put into the client's form here. A length that is the model's own need not be said, which many servers refuse as well.

use crate::wire::body::Body;
use bytes::{Bytes, BytesMut};
use serde_json::Value;

/// What a model takes beside texts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Abilities {
    /// Whether it can write vectors in base64.
    pub(crate) base64: bool,
    /// The length of its vectors.
    pub(crate) dimensions: Option<u64>,
}

/// The request for a model of this name.
pub(crate) fn body_for(body: &Body, model: &str, abilities: &Abilities) -> Bytes {
    let own_length = abilities.dimensions.map(|dimensions| dimensions.to_string());
    let mut out = BytesMut::with_capacity(body.bytes().len() + model.len());
    let mut field = |name: &str, value: &[u8]| {
        out.extend_from_slice(if out.is_empty() { b"{" } else { b"," });
        out.extend_from_slice(Value::from(name).to_string().as_bytes());
        out.extend_from_slice(b":");
        out.extend_from_slice(value);
    };
    field("model", Value::from(model).to_string().as_bytes());
    for (name, value) in body.raw_fields() {
        let is_left_out = match name {
            "model" => true,
            "encoding_format" => !abilities.base64 || value == b"null",
            "dimensions" => own_length.as_ref().is_some_and(|own| own.as_bytes() == value) || value == b"null",
            "user" => value == b"null",
            _ => false,
        };
        if !is_left_out {
            field(name, value);
        }
    }
    out.extend_from_slice(b"}");
    out.freeze()
}
