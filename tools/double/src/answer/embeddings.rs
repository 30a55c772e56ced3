//! Vectors: what a text's are is worked out from its bytes, so that they are the same wherever it is asked for.

use super::{Answer, quote};
use crate::behaviour::Vectors;
use std::fmt::Write as _;

/// How long vectors are unless a model id says otherwise.
pub(crate) const OWN_DIMENSIONS: u64 = 8;

impl Answer<'_> {
    /// The whole answer.
    pub(crate) fn vectors(&self, base64: bool, dimensions: Option<u64>, with_usage: bool) -> String {
        let manner = self.plan.vectors;
        let own = self.plan.dimensions.unwrap_or(OWN_DIMENSIONS);
        let is_deaf = manner == Vectors::Floats;
        let (base64, length) = (base64 && !is_deaf, dimensions.filter(|_| !is_deaf).unwrap_or(own));
        let mut items: Vec<(usize, &String)> = self.ask.inputs.iter().enumerate().collect();
        match (manner, items.last().copied()) {
            (Vectors::Backwards, _) => items.reverse(),
            (Vectors::TooFew, _) => drop(items.pop()),
            (Vectors::TooMany, Some(last)) => items.push(last),
            _ => {}
        }
        let last = items.len().saturating_sub(1);
        let mut out = String::from(r#"{"object":"list","data":["#);
        for (place, (index, input)) in items.into_iter().enumerate() {
            let manner = if place == last { manner } else { Vectors::Usual };
            let vector = vector(input, length - u64::from(manner == Vectors::Short));
            let embedding = match manner {
                Vectors::Null => format!("[{}]", vec!["null"; vector.len()].join(",")),
                Vectors::Zero => format!("[{}]", vec!["0.0"; vector.len()].join(",")),
                _ if base64 => format!("\"{}\"", packed(&vector)),
                _ => format!("[{}]", vector.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
            };
            let index = match self.plan.vectors {
                Vectors::Unnumbered => String::new(),
                Vectors::SameNumber => r#""index":0,"#.to_owned(),
                _ => format!(r#""index":{index},"#),
            };
            let comma = if place == 0 { "" } else { "," };
            let _ = write!(out, r#"{comma}{{"object":"embedding",{index}"embedding":{embedding}}}"#);
        }
        out.push(']');
        if self.plan.vectors != Vectors::Bare {
            let _ = write!(out, r#",{}"model":{}"#, self.extra(super::EXTRA), quote(&self.ask.model));
            let input = self.usage.input;
            if with_usage {
                let _ = write!(out, r#","usage":{{"prompt_tokens":{input},"total_tokens":{input}}}"#);
            }
        }
        out.push('}');
        out
    }
}

/// An input's vector: fractions that a 32-bit float has exactly.
fn vector(input: &str, length: u64) -> Vec<f32> {
    let sum: u64 = input.bytes().enumerate().map(|(place, byte)| (place as u64 + 1) * u64::from(byte)).sum();
    (0..length).map(|place| ((sum + place * 7) % 1000 + 1) as f32 / 1024.0).collect()
}

/// 32-bit floats, the least byte first, in base64.
fn packed(vector: &[f32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let all = three.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(all >> (18 - 6 * place)) as usize & 63];
            out.push(if place > three.len() { '=' } else { letter as char });
        }
    }
    out
}
