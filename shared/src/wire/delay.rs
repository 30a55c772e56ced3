//! How long to wait, as providers write it: `20`, `34.07s`, `2m59.56s`, `850ms`, `26 seconds`, or somewhere in a sentence.

/// What stands before a delay in a sentence.
const LEADS: [&str; 9] = [
    "try again in ",
    "retry in ",
    "retry after ",
    "retrying in ",
    "try again after ",
    "available in ",
    "resets in ",
    "reset after ",
    "wait ",
];

/// Longer ones are nonsense.
const MOST_MS: f64 = 1e12;

/// The delay that begins a text, in milliseconds; a bare number counts `unit_ms` each.
pub(crate) fn delay_ms(text: &str, unit_ms: f64) -> Option<u64> {
    let mut rest = text.trim_ascii();
    let mut sum_ms = None;
    loop {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let Ok(number) = rest[..digits].trim_end_matches('.').parse::<f64>() else { break };
        let after = rest[digits..].trim_ascii_start();
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let scale = match &*after[..letters].to_ascii_lowercase() {
            "ms" | "msec" | "millisecond" | "milliseconds" => 1.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000.0,
            "d" | "day" | "days" => 86_400_000.0,
            "" if sum_ms.is_none() && after.is_empty() && !rest[..digits].ends_with('.') => {
                return whole_ms(number * unit_ms);
            }
            _ => break,
        };
        sum_ms = Some(sum_ms.unwrap_or(0.0) + number * scale);
        rest = after[letters..].trim_start_matches([' ', ',']).trim_start_matches("and ");
    }
    sum_ms.and_then(whole_ms)
}

fn whole_ms(ms: f64) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (0.0..MOST_MS).contains(&ms).then(|| ms.ceil() as u64)
}

/// The delay that a sentence asks for, in milliseconds: `Please try again in 7.66s.`
pub(crate) fn delay_in(sentence: &str) -> Option<u64> {
    let lower = sentence.to_ascii_lowercase();
    let leads = LEADS.iter().flat_map(|lead| lower.match_indices(lead));
    leads
        .filter_map(|(at, lead)| {
            let rest = lower[at + lead.len()..].trim_start_matches("about ").trim_start_matches("approximately ");
            // A bare number in a sentence is no delay: it may count anything.
            delay_ms(rest, f64::NAN)
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_read_in_every_unit_and_nothing_else_is_one() {
        for (text, ms) in [
            ("20", Some(20_000)),
            ("0.5", Some(500)),
            ("0", Some(0)),
            ("34.07s", Some(34_070)),
            ("34.074824224s", Some(34_075)),
            ("2m59.56s", Some(179_560)),
            ("1h2m3s", Some(3_723_000)),
            ("850ms", Some(850)),
            ("26 seconds", Some(26_000)),
            ("1 minute and 5 seconds", Some(65_000)),
            ("6m0s", Some(360_000)),
            ("-1", None),
            ("soon", None),
            ("NaN", None),
            ("inf", None),
            ("", None),
            ("1e400", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(delay_ms(text, 1000.0), ms, "{text}");
        }
    }

    #[test]
    fn the_delay_of_a_sentence_is_the_one_that_it_asks_to_wait() {
        for (sentence, ms) in [
            ("Rate limit reached: Limit 30000, Used 29000. Please try again in 7.66s. Visit …", Some(7_660)),
            ("Please try again in 1m20.5s.", Some(80_500)),
            ("Please retry after 26 seconds. To increase your quota", Some(26_000)),
            ("Please retry in 34.074824224s.", Some(34_075)),
            ("Try again in 850ms", Some(850)),
            ("Please wait 12 seconds before the next request", Some(12_000)),
            ("Try again in 5 requests", None),
            ("Try again in a moment", None),
            ("You used 29 seconds of video", None),
            ("Try again in 2.", None),
            ("try again later", None),
        ] {
            assert_eq!(delay_in(sentence), ms, "{sentence}");
        }
    }
}
