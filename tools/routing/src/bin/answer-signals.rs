//! Prints what the gateway sees of answers, for `train_upgrade.py`: one implementation of the signals, the gateway's.
//!
//! Reads lines of JSON with `prompt` and `weak_answer` from the standard input. Writes a table with tabs: the doubt by the
//! weights that are compiled in, then each signal.

use anyhow::Context;
use gateway_core::routing::doubt::{Part, Shown, Signal, signals, weigh};
use serde::Deserialize;
use std::io::{BufRead, BufWriter, Write};

#[derive(Deserialize)]
struct Answered {
    prompt: String,
    weak_answer: String,
}

fn main() -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let names = Signal::ALL.map(|signal| match signal.part() {
        Part::Any => signal.name().to_owned(),
        Part::Calculation => format!("calculation:{}", signal.name()),
    });
    writeln!(out, "doubt\t{}", names.join("\t"))?;
    for (line, text) in std::io::stdin().lock().lines().enumerate() {
        let answered: Answered = serde_json::from_str(&text?).with_context(|| format!("line {}", line + 1))?;
        let values = signals(&Shown {
            question: &answered.prompt,
            answer: answered.weak_answer.trim(),
            is_whole: true,
            ended_itself: true,
            logprobs: None,
            difficulty: None,
        });
        write!(out, "{}", weigh(&values).probability)?;
        for value in values {
            write!(out, "\t{value}")?;
        }
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}
