//! When a provider may be called again, by the headers of its answer (A3): `retry-after-ms`, or `retry-after` in seconds, with a
//! unit or as a date; for a rate that was exceeded without them, when a limit of which nothing remains comes back.

use crate::wire::delay::delay_ms;
use http::HeaderMap;
use std::time::UNIX_EPOCH;

/// No provider is waited for longer than this, whatever it says.
const MAX_MS: u64 = 3_600_000;

/// The instant, in Unix milliseconds, that the headers ask to be waited for; at most an hour from `now_ms`.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now_ms: u64) -> Option<u64> {
    let in_ms = |name| delay_ms(text(headers, name)?, 1.0);
    let from_date = |value: &str| {
        let at = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(u64::try_from(at.as_millis()).ok()?.saturating_sub(now_ms))
    };
    let in_seconds = |name| text(headers, name).and_then(|value| from_date(value).or_else(|| delay_ms(value, 1000.0)));
    let delay = in_ms("retry-after-ms").or_else(|| in_ms("x-ms-retry-after-ms")).or_else(|| in_seconds("retry-after"));
    // A LiteLLM in between renames what its own provider said.
    let delay = delay.or_else(|| in_seconds("llm_provider-retry-after"))?;
    Some(now_ms.saturating_add(delay.min(MAX_MS)))
}

/// The instant when a limit of requests or tokens comes back of which nothing remains, likewise.
#[must_use]
pub fn limit_resets(headers: &HeaderMap, now_ms: u64) -> Option<u64> {
    let is_used_up = |limit: &&str| text(headers, &format!("x-ratelimit-remaining{limit}")) == Some("0");
    let resets = |limit| {
        let value = text(headers, &format!("x-ratelimit-reset{limit}"))?;
        match value.parse().unwrap_or(0) {
            // Unix time, in milliseconds or seconds.
            at_ms @ 1_000_000_000_000.. => Some(at_ms),
            at_s @ 1_000_000_000.. => Some(at_s * 1000),
            _ => Some(now_ms.saturating_add(delay_ms(value, 1000.0)?)),
        }
    };
    let usual = ["-requests", "-tokens", ""].into_iter().filter(is_used_up).filter_map(resets);
    let anthropics = ["requests", "tokens", "input-tokens", "output-tokens"].into_iter();
    let latest_ms = usual.chain(anthropics.filter_map(|limit| anthropic_resets(headers, limit))).max()?;
    Some(latest_ms.clamp(now_ms, now_ms.saturating_add(MAX_MS)))
}

/// When one of Anthropic's limits comes back of which nothing remains: it says a date of RFC 3339, in UTC.
fn anthropic_resets(headers: &HeaderMap, limit: &str) -> Option<u64> {
    let value = |what: &str| text(headers, &format!("anthropic-ratelimit-{limit}-{what}"));
    if value("remaining") == Some("0") { unix_ms(value("reset")?) } else { None }
}

/// The instant of a date such as `2026-11-30T03:07:09Z`, whose year is a recent one.
///
/// # Source
/// Days from a civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn unix_ms(date: &str) -> Option<u64> {
    let (date, time) = date.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let parts: Option<Vec<u64>> = text.split(by).map(|part| part.parse().ok()).collect();
        parts?.try_into().ok()
    };
    let time = time.split('.').next()?;
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(time, ':')?);
    let is_date = (2000..3000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (year, month_from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_era = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month_from_march + 2) / 5 + day - 1;
    let days = day_of_era.checked_sub(719_468)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_form_is_understood_and_nonsense_is_not() {
        let now_ms = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
        for (name, value, want) in [
            ("retry-after", "3", Some(now_ms + 3000)),
            ("retry-after", "0.5", Some(now_ms + 500)),
            ("retry-after", "0", Some(now_ms)),
            ("retry-after-ms", "250", Some(now_ms + 250)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT", Some(now_ms + 3000)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT", Some(now_ms)),
            ("retry-after", "999999999", Some(now_ms + MAX_MS)),
            ("retry-after", "-1", None),
            ("retry-after", "soon", None),
            ("retry-after", "NaN", None),
            ("retry-after", "1e3", None),
            ("retry-after", "20s", Some(now_ms + 20_000)),
            ("retry-after", "1m0.5s", Some(now_ms + 60_500)),
            ("x-ms-retry-after-ms", "250", Some(now_ms + 250)),
            ("x-ratelimit-reset-tokens", "6s", None),
            ("llm_provider-retry-after", "7", Some(now_ms + 7_000)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(retry_after(&headers, now_ms), want, "{name}: {value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now_ms), None);
    }

    #[test]
    fn a_limit_comes_back_where_nothing_of_it_remains() {
        let now_ms = 1_763_769_600_000;
        for (reset, want) in [
            ("2m59.56s", Some(now_ms + 179_560)),
            ("17", Some(now_ms + 17_000)),
            ("1763769605", Some(now_ms + 5_000)),
            ("1763769605500", Some(now_ms + 5_500)),
            ("1763769500", Some(now_ms)),
            ("9999999999999", Some(now_ms + MAX_MS)),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", reset),
                ("x-ratelimit-remaining-tokens", "17"),
                ("x-ratelimit-reset-tokens", "10m"),
            ] {
                headers.insert(name, value.parse().unwrap());
            }
            assert_eq!(limit_resets(&headers, now_ms), want, "{reset}");
            assert_eq!(retry_after(&headers, now_ms), None, "{reset}");
        }
        assert_eq!(limit_resets(&HeaderMap::new(), now_ms), None);
    }

    #[test]
    fn a_limit_of_anthropics_comes_back_at_its_date() {
        let now_ms = 1_763_769_600_000; // 2025-11-22T00:00:00Z
        for (remaining, reset, want) in [
            ("0", "2025-11-22T00:00:07Z", Some(now_ms + 7_000)),
            ("0", "2025-11-22T00:00:07.5Z", Some(now_ms + 7_000)),
            ("0", "2025-11-21T23:59:59Z", Some(now_ms)),
            ("0", "2028-02-29T00:00:00Z", Some(now_ms + MAX_MS)),
            ("1", "2025-11-22T00:00:07Z", None),
            ("0", "2025-13-22T00:00:07Z", None),
            ("0", "2025-11-22", None),
            ("0", "soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("anthropic-ratelimit-input-tokens-remaining", remaining.parse().unwrap());
            headers.insert("anthropic-ratelimit-input-tokens-reset", reset.parse().unwrap());
            assert_eq!(limit_resets(&headers, now_ms), want, "{reset}");
        }
        assert_eq!(unix_ms("2024-02-29T12:34:56Z"), Some(1_709_210_096_000));
    }
}
