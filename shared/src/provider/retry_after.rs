//! When a provider may be called again, by the headers of its answer (A3).
//!
//! `retry-after-ms`, or `retry-after` in seconds, with a unit or as a date. Without them, how long a limit of which nothing
//! remains takes to come back.

use crate::wire::delay::delay_ms;
use http::HeaderMap;
use std::time::UNIX_EPOCH;

/// No provider is waited for longer than this, whatever it says.
const MAX_MS: u64 = 3_600_000;

/// The instant, in Unix milliseconds, that the headers name; at most an hour from `now_ms`.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now_ms: u64) -> Option<u64> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let in_ms = |name| delay_ms(text(name)?, 1.0);
    let from_date = |value: &str| {
        let at = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(u64::try_from(at.as_millis()).ok()?.saturating_sub(now_ms))
    };
    let told = in_ms("retry-after-ms").or_else(|| in_ms("x-ms-retry-after-ms")).or_else(|| {
        let value = text("retry-after")?;
        from_date(value).or_else(|| delay_ms(value, 1000.0))
    });
    let used_up = || {
        let limits = ["requests", "tokens"].into_iter();
        let used_up = limits.filter(|limit| text(&format!("x-ratelimit-remaining-{limit}")) == Some("0"));
        used_up.filter_map(|limit| delay_ms(text(&format!("x-ratelimit-reset-{limit}"))?, 1000.0)).max()
    };
    Some(now_ms.saturating_add(told.or_else(used_up)?.min(MAX_MS)))
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
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(retry_after(&headers, now_ms), want, "{name}: {value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now_ms), None);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "2m59.56s"),
            ("x-ratelimit-remaining-tokens", "17"),
            ("x-ratelimit-reset-tokens", "10m"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        assert_eq!(retry_after(&headers, now_ms), Some(now_ms + 179_560), "the limit that is used up");
        headers.insert("retry-after", "2".parse().unwrap());
        assert_eq!(retry_after(&headers, now_ms), Some(now_ms + 2_000));
    }
}
