//! When a provider may be called again (A3): `retry-after-ms`, or `retry-after` in seconds or as a date.

use http::HeaderMap;
use std::time::UNIX_EPOCH;

/// No provider is waited for longer than this, whatever it says.
const MAX_MS: u64 = 3_600_000;

/// The instant, in Unix milliseconds, that the headers name; at most an hour from `now_ms`.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now_ms: u64) -> Option<u64> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let delay_ms = |value: &str, scale: f64| {
        let number: f64 = value.parse().ok()?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        (number >= 0.0).then(|| (number * scale).ceil() as u64)
    };
    let from_date = |value: &str| {
        let at = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(u64::try_from(at.as_millis()).ok()?.saturating_sub(now_ms))
    };
    let ms = text("retry-after-ms").and_then(|value| delay_ms(value, 1.0));
    let delay =
        ms.or_else(|| text("retry-after").and_then(|value| delay_ms(value, 1000.0).or_else(|| from_date(value))))?;
    Some(now_ms + delay.min(MAX_MS))
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
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(retry_after(&headers, now_ms), want, "{name}: {value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now_ms), None);
    }
}
