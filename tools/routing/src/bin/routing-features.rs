//! `routing-features < texts.jsonl > features.bin`: the features of each text, as the router computes them.
//!
//! Heads are trained on what the gateway will feed them, and not on another program's idea of it. Each line of the input is
//! an object with a field `text` or `prompt`; other fields are passed over, as empty lines are.
//!
//! The output is one line of JSON that says how wide everything is and what it is called, and then a record for each text:
//! `surface` little-endian f32, a u32 that says how many rows follow, and the rows of the hashed words as u16. In Python:
//!
//! ```python
//! import json, numpy as np
//! data = open("features.bin", "rb").read()
//! at = data.index(b"\n") + 1
//! head, surface, rows = json.loads(data[:at]), [], []
//! while at < len(data):
//!     surface.append(np.frombuffer(data, "<f4", head["surface"], at)); at += 4 * head["surface"]
//!     count = int.from_bytes(data[at:at + 4], "little")
//!     rows.append(np.frombuffer(data, "<u2", count, at + 4)); at += 4 + 2 * count  # each counts 1 / sqrt(count)
//! ```

use anyhow::Context;
use gateway_core::routing::text::hashed::{Grams, ROWS};
use gateway_core::routing::text::surface::{LANGUAGE_FREE, NAMES, SURFACE, surface};
use serde_json::json;
use std::io::{BufRead, BufWriter, Write};

/// A line of the input.
#[derive(serde::Deserialize)]
struct Line {
    #[serde(alias = "prompt")]
    text: String,
}

fn main() -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let head =
        json!({ "surface": SURFACE, "rows": ROWS, "names": NAMES.to_vec(), "language_free": LANGUAGE_FREE.to_vec() });
    writeln!(out, "{head}")?;
    for (at, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line?;
        if line.is_empty() {
            continue;
        }
        let Line { text } = serde_json::from_str(&line).with_context(|| format!("line {}", at + 1))?;
        write_record(&mut out, &text)?;
    }
    Ok(out.flush()?)
}

fn write_record(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    for feature in surface(text) {
        out.write_all(&feature.to_le_bytes())?;
    }
    let grams = Grams::of(text);
    out.write_all(&(grams.rows().len() as u32).to_le_bytes())?;
    for row in grams.rows() {
        out.write_all(&row.to_le_bytes())?;
    }
    Ok(())
}
