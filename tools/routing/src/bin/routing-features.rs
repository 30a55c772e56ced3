//! `routing-features < texts.jsonl > features.bin`: the features of each text, as the router computes them.
//!
//! Heads are trained on what the gateway will feed them, and not on another program's idea of it. Each line of the input is
//! an object with a field `text` or `prompt`; other fields are passed over, as empty lines are.
//!
//! The output is one line of JSON that says how wide everything is and what it is called, and then a record for each text, all
//! of it little-endian: the embedding, the surface features, the evidence of the language (NaN where a text has no words) and
//! how surely the language is known as f32, a u32 that says how many rows follow, and the rows of the hashed words as u16, each
//! of which counts one over the root of their number. `tools/routing/model.py` reads it.

use anyhow::Context;
use gateway_core::routing::text::hashed::{Grams, ROWS};
use gateway_core::routing::text::language::{EVIDENCE, evidence, known};
use gateway_core::routing::text::surface::{LANGUAGE_FREE, NAMES, SURFACE, surface};
use gateway_core::routing::text::table::{DIMENSIONS, StaticTable};
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
    let head = json!({
        "embedding": DIMENSIONS,
        "surface": SURFACE,
        "language": EVIDENCE,
        "rows": ROWS,
        "names": NAMES.to_vec(),
        "language_free": LANGUAGE_FREE.to_vec(),
    });
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
    let pooled = StaticTable.pool(text);
    let evidence = evidence(text, pooled.coverage).unwrap_or([f32::NAN; EVIDENCE]);
    let known = known(text, pooled.coverage);
    for feature in pooled.vector.into_iter().chain(surface(text)).chain(evidence).chain([known]) {
        out.write_all(&feature.to_le_bytes())?;
    }
    let grams = Grams::of(text);
    out.write_all(&(grams.rows().len() as u32).to_le_bytes())?;
    for row in grams.rows() {
        out.write_all(&row.to_le_bytes())?;
    }
    Ok(())
}
