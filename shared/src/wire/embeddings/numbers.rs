//! The two forms in which OpenAI gives a vector: a list of numbers, or base64 of 32-bit floats with the least byte first.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

/// Some leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads a vector in either form; `None` for what is neither. `null`, as NaN becomes in JSON, is no number.
pub(crate) fn read(json: &str) -> Option<Vec<f32>> {
    match json.starts_with('"') {
        true => unpack(&serde_json::from_str::<Cow<'_, str>>(json).ok()?),
        false => serde_json::from_str(json).ok(),
    }
}

/// Reads base64.
pub(crate) fn unpack(text: &str) -> Option<Vec<f32>> {
    let bytes = BASE64.decode(text.trim_ascii_end()).ok()?;
    let (floats, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| floats.iter().map(|float| f32::from_le_bytes(*float)).collect())
}

/// Writes base64.
pub(crate) fn pack(vector: &[f32]) -> String {
    BASE64.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let vector = vec![3.0, -4.0, 0.1, f32::MIN_POSITIVE];
        assert_eq!(read(&format!("\"{}\"", pack(&vector))), Some(vector.clone()));
        assert_eq!(read(&serde_json::to_string(&vector).unwrap()), Some(vector));
        assert_eq!(read(r#""AABAQAAAgMA""#), Some(vec![3.0, -4.0]), "some leave the padding out");
    }

    #[test]
    fn what_is_no_vector_is_none() {
        for json in [
            "null",
            "5",
            "{}",
            "[null]",
            "[\"1\"]",
            "[[1]]",
            "[1,]",
            "\"AAB!QA==\"",
            "\"AABAQAA=\"",
            "[NaN]",
            "\"\\u00e9\"",
        ] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
