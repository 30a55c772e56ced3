//! `ai-gateway replay FILE`: the receipts of a structured log, written into the ledger.
//!
//! Every receipt stands in the log: at `GATEWAY_LOG=receipt=info` all of them, at any level those that the ledger did
//! not take. A receipt counts once, however often it is written (M2), so a whole log may be replayed, and replayed
//! again. A line may be the log's JSON, a line of its text form, an export of CloudWatch that wraps either in a
//! `message`, or a bare receipt; a line without a receipt is passed over. What looks like a receipt and cannot be
//! written is reported by its line, for it would be lost in silence, and keeps none of the others from being written: a
//! disk that fills up tears lines.

use anyhow::{Context, bail};
use gateway_core::clock::{Clock, SystemClock};
use gateway_core::ledger::Ledger;
use gateway_core::receipt::Receipt;
use gateway_host::logging;
use gateway_host::wiring::Place;
use serde_json::Value;
use std::io::{BufRead, BufReader};

/// A ledger recognises a receipt for so long.
const KEPT_MS: u64 = 30 * 86_400_000;

/// Replays a file, or standard input.
pub(crate) async fn run(file: &str) -> anyhow::Result<()> {
    logging::start("warn")?;
    let lines: Box<dyn BufRead> = match file {
        "-" => Box::new(std::io::stdin().lock()),
        file => Box::new(BufReader::new(std::fs::File::open(file).with_context(|| file.to_owned())?)),
    };
    let place = Place::from_env()?;
    let (written, left) = replay(lines, &*place.ledger().await?, SystemClock.now_ms()).await?;
    logging::say(&format!("{written} receipts of {file} are in the ledger ({place})"));
    match left {
        0 => Ok(()),
        left => bail!("{left} lines of {file} have receipts that are not"),
    }
}

/// Writes the receipts of `lines` into the ledger; answers how many are there now, and how many cannot be.
///
/// # Errors
/// If the lines cannot be read any further, or the ledger fails: then those after it are better tried again.
async fn replay(lines: impl BufRead, ledger: &dyn Ledger, now_ms: u64) -> anyhow::Result<(usize, usize)> {
    let (mut written, mut left) = (0, 0);
    for (number, line) in lines.split(b'\n').enumerate() {
        let at = || format!("line {}; {written} receipts before it are written", number + 1);
        let line = line.with_context(at)?;
        let found = receipt(&String::from_utf8_lossy(&line)).and_then(|found| match found {
            Some(receipt) if now_ms.saturating_sub(receipt.created_at_ms) > KEPT_MS => {
                bail!("the receipt {} is older than 30 days; the ledger does not know whether it has it", receipt.id)
            }
            found => Ok(found),
        });
        match found {
            Ok(None) => {}
            Ok(Some(receipt)) => {
                ledger.record(&receipt).await.with_context(at)?;
                written += 1;
            }
            Err(error) => {
                left += 1;
                logging::complain(&format!("line {}: {error:#}", number + 1));
            }
        }
    }
    Ok((written, left))
}

/// The receipt of a line, if it has one.
fn receipt(line: &str) -> anyhow::Result<Option<Receipt>> {
    let Ok(json) = serde_json::from_str::<Value>(line) else {
        // The text form: `… receipt="{…}"` as Rust writes a text, or without the quotes.
        let Some((_, receipt)) = line.split_once(" receipt: ").and_then(|(_, receipt)| receipt.split_once("receipt="))
        else {
            return Ok(None);
        };
        let mut values = serde_json::Deserializer::from_str(receipt).into_iter::<Value>();
        return match values.next() {
            Some(Ok(Value::String(text))) => Ok(Some(serde_json::from_str(&text)?)),
            Some(Ok(value)) => Ok(Some(serde_json::from_value(value)?)),
            _ => bail!("a receipt cannot be read"),
        };
    };
    if let Some(message) = json.get("message").and_then(Value::as_str) {
        return receipt(message);
    }
    let receipt = json.get("fields").and_then(|fields| fields.get("receipt")).or_else(|| json.get("receipt"));
    match receipt {
        Some(Value::String(text)) => Ok(Some(serde_json::from_str(text)?)),
        Some(value) => Ok(Some(serde_json::from_value(value.clone())?)),
        None if json.get("attempts").is_some() && json.get("tenant").is_some() => {
            Ok(Some(serde_json::from_value(json)?))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RECEIPT: &str = r#"{"id":"01KAP0000000000000000000A1","tenant":"acme","key_last4":"x9Qz","created_at_ms":1763820000000,"status":200,"requested_model":"auto","model":"sim/cheap","tier":"cheap","intent":null,"difficulty":null,"cache":"miss","streamed":false,"upgraded":false,"config_version":1,"tags":{"a":"\"b\\c\""},"usage":{"input_tokens":9,"cached_input_tokens":0,"output_tokens":12,"reasoning_tokens":0},"cost_usd":"0.000014790","estimated":false,"latency_ms":412.0,"overhead_ms":0.2,"ttft_ms":180.0,"reasons":["…"],"attempts":[],"windows":[]}"#;

    #[test]
    fn a_receipt_is_found_in_every_form_of_a_log() {
        let text = format!("2026-11-22T18:00:00Z ERROR receipt: the ledger is down error=timeout receipt={RECEIPT:?}");
        let logged = json!({"timestamp": "2026", "level": "INFO", "target": "receipt", "fields": {"receipt": RECEIPT}});
        let wrapped = json!({"timestamp": 5, "message": logged.to_string()});
        let wrapped_text = json!({"message": text});
        for line in [RECEIPT.to_owned(), text, logged.to_string(), wrapped.to_string(), wrapped_text.to_string()] {
            let found = receipt(&line).unwrap().unwrap_or_else(|| panic!("{line}"));
            assert_eq!((&*found.tenant, found.cost_nusd, &*found.tags["a"]), ("acme", 14_790, "\"b\\c\""), "{line}");
        }
    }

    #[test]
    fn other_lines_are_passed_over_and_a_broken_receipt_is_not() {
        for line in [
            "",
            "START RequestId: 5",
            "somebody else's receipt=5",
            r#"{"level":"INFO","fields":{"message":"hello"}}"#,
            "[1]",
            "5",
        ] {
            assert!(receipt(line).unwrap().is_none(), "{line}");
        }
        let cut = &RECEIPT[..200];
        for line in [
            format!("ERROR receipt: lost receipt={cut:?}"),
            json!({"fields": {"receipt": cut}}).to_string(),
            "x receipt: receipt={\"id\":".to_owned(),
        ] {
            assert!(receipt(&line).is_err(), "{line}");
        }
    }
}
