//! Quota windows: the span over which a daily or monthly quota counts.
//!
//! A window follows from the time and the tenant's anchor alone, and its start is part of the key under which it is
//! counted. Counters therefore reset with the first request after the window's end: no scheduled task, no drift, no
//! stored "last reset" that two processes could disagree on. A moved anchor gives other starts, hence other keys, so
//! that counts of differently cut days never mix (which a bare window number would allow).
//!
//! Serves M1 and M5: the key names all of a tenant's window, in the store and in the ledger. What a key may use of its own
//! is counted in windows too, the same spans, of its lineage: whatever is done with a tenant's window is done with its.
//! Calendar arithmetic is written out because a month and a date are all that is needed of a date library.

use crate::clock::DAY_MS;
use crate::limit::lineage::Lineage;
use serde::{Deserialize, Serialize};

/// How a window is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// 24 hours, counted from the tenant's anchor.
    Day,
    /// A calendar month in UTC.
    Month,
}

/// One span of a quota: `starts_at_ms ≤ now < resets_at_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Window {
    /// How it is cut.
    pub kind: WindowKind,
    /// Its first millisecond, Unix time. A window that began before 1970 starts at 0.
    pub starts_at_ms: u64,
    /// The first millisecond of the next window, Unix time.
    pub resets_at_ms: u64,
    /// Which keys' it is; `None` for that of the whole tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Lineage>,
}

impl Window {
    /// The 24 hours around `now_ms` that begin a whole number of days before or after `anchor_ms`.
    ///
    /// Anchor 0 is UTC midnight; the instant of a tenant's creation gives "24 hours after". `now − start` is the
    /// remainder of `now − anchor` by a day. It is taken of `now + day − phase` instead, which is never negative, so
    /// that an anchor in the future floors like any other.
    pub fn day(now_ms: u64, anchor_ms: u64) -> Self {
        let phase_ms = anchor_ms % DAY_MS;
        let elapsed_ms = (now_ms % DAY_MS + DAY_MS - phase_ms) % DAY_MS;
        Self {
            kind: WindowKind::Day,
            starts_at_ms: now_ms.saturating_sub(elapsed_ms),
            resets_at_ms: now_ms.saturating_add(DAY_MS - elapsed_ms),
            key: None,
        }
    }

    /// The UTC calendar month around `now_ms`.
    pub fn month(now_ms: u64) -> Self {
        let (year, month, _) = civil_from_days(now_ms / DAY_MS);
        let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        Self {
            kind: WindowKind::Month,
            starts_at_ms: days_from_civil(year, month, 1) * DAY_MS,
            resets_at_ms: days_from_civil(next_year, next_month, 1).saturating_mul(DAY_MS),
            key: None,
        }
    }

    /// The same span as one of keys' own.
    #[must_use]
    pub fn of_key(self, lineage: Lineage) -> Self {
        Self { key: Some(lineage), ..self }
    }

    /// The window's stable identity within a tenant: `d1763769600000`, `m1761955200000`; `d1763769600000@2a97516c354b6884` of
    /// keys' own.
    pub fn key(&self) -> String {
        let kind = match self.kind {
            WindowKind::Day => 'd',
            WindowKind::Month => 'm',
        };
        match self.key {
            None => format!("{kind}{}", self.starts_at_ms),
            Some(lineage) => format!("{kind}{}@{lineage}", self.starts_at_ms),
        }
    }
}

/// The UTC date of `now_ms`, as `YYYY-MM-DD`.
pub fn day_utc(now_ms: u64) -> String {
    let (year, month, day) = civil_from_days(now_ms / DAY_MS);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The beginning of a UTC date that [`day_utc`] wrote, in Unix milliseconds.
pub fn beginning_of(day: &str) -> Option<u64> {
    let mut parts = day.splitn(3, '-').map(str::parse::<u64>);
    let mut part = || parts.next()?.ok();
    let (year, month, day_of_month) = (part()?, part()?, part()?);
    let is_date = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day_of_month);
    let at_ms = is_date.then(|| days_from_civil(year, month, day_of_month) * DAY_MS)?;
    (day_utc(at_ms) == day).then_some(at_ms)
}

/// The instant of a time in UTC as ISO 8601 has it, to the minute or the second, in Unix milliseconds. One of another zone is
/// none, rather than taken for one of this.
pub fn instant_of(time: &str) -> Option<u64> {
    let (day, time) = time.strip_suffix('Z')?.split_once('T')?;
    let is_form = matches!(time.len(), 5 | 8)
        && time.bytes().enumerate().all(|(place, byte)| match place % 3 {
            2 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    let mut parts = time.split(':').filter_map(|part| part.parse::<u64>().ok());
    let [hour, minute, second] = [(); 3].map(|()| parts.next().unwrap_or(0));
    let is_time = is_form && hour < 24 && minute < 60 && second < 60;
    beginning_of(day).filter(|_| is_time).map(|day_ms| day_ms + ((hour * 60 + minute) * 60 + second) * 1_000)
}

/// A time for people, in UTC, as ISO 8601 has it: `2025-11-23T00:00:00Z`. Part of a second counts as a whole one, so that
/// what is to begin then has begun.
pub fn time_utc(at_ms: u64) -> String {
    let seconds = at_ms.div_ceil(1_000);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", day_utc(seconds.saturating_mul(1_000)))
}

// The two functions below count years from March, so that the leap day is a year's last, and days from 0000-03-01,
// so that nothing is negative. A year then has 153 days in each run of five months, whence (153·m + 2) / 5.

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;
/// Days in the 400 years after which the Gregorian calendar repeats.
const ERA_DAYS: u64 = 146_097;

/// Days since 1970-01-01 of a date not before it, in the proleptic Gregorian calendar.
///
/// # Source
/// Howard Hinnant, "chrono-compatible low-level date algorithms".
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let march_year = if month > 2 { year } else { year - 1 };
    let march_month = (month + 9) % 12;
    let leap_days = march_year / 4 - march_year / 100 + march_year / 400;
    march_year * 365 + leap_days + (153 * march_month + 2) / 5 + day - 1 - EPOCH_DAYS
}

/// Year, month (1 to 12) and day (1 to 31) of the day that lies `days` after 1970-01-01.
///
/// # Source
/// As [`days_from_civil`], whose inverse it is.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    // Leap days before this one in the era: one in 4 years (1,460 days + 1), none in 100, one in 400.
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    use crate::clock::HOUR_MS;
    /// 2025-11-22 00:00:00 UTC.
    const MIDNIGHT: u64 = 1_763_769_600_000;

    #[test]
    fn an_instant_is_read_in_utc_and_in_no_other_zone() {
        for (text, at_ms) in [
            ("2025-11-22T00:00Z", Some(MIDNIGHT)),
            ("2025-11-22T14:30Z", Some(MIDNIGHT + 14 * HOUR_MS + HOUR_MS / 2)),
            ("2025-11-22T23:59:59Z", Some(MIDNIGHT + DAY_MS - 1_000)),
            ("2025-11-22T14:00", None),
            ("2025-11-22T14:00+02:00", None),
            ("2025-11-22T24:00Z", None),
            ("2025-11-22T14:60Z", None),
            ("2025-11-22T1400Z", None),
            ("2025-11-22T+4:00Z", None),
            ("2025-02-29T14:00Z", None),
            ("2025-11-22 14:00Z", None),
            ("2025-11-22T14Z", None),
            ("Z", None),
        ] {
            assert_eq!(instant_of(text), at_ms, "{text}");
        }
        assert_eq!(instant_of(&time_utc(MIDNIGHT + 7_000)), Some(MIDNIGHT + 7_000));
    }

    #[test]
    fn a_day_is_cut_at_the_anchor() {
        let table = [
            // now, anchor, start
            (MIDNIGHT, 0, MIDNIGHT),
            (MIDNIGHT + DAY_MS - 1, 0, MIDNIGHT),
            (MIDNIGHT + DAY_MS, 0, MIDNIGHT + DAY_MS),
            (MIDNIGHT - 1, 0, MIDNIGHT - DAY_MS),
            // Anchored nine hours after midnight, near and far in the past.
            (MIDNIGHT, MIDNIGHT - 15 * HOUR_MS, MIDNIGHT - 15 * HOUR_MS),
            (MIDNIGHT + 9 * HOUR_MS, 9 * HOUR_MS, MIDNIGHT + 9 * HOUR_MS),
            (MIDNIGHT + 9 * HOUR_MS - 1, 9 * HOUR_MS, MIDNIGHT - 15 * HOUR_MS),
            // Anchored in the future: floored, so the window still holds now.
            (MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + 1 - DAY_MS),
            (MIDNIGHT, MIDNIGHT + DAY_MS, MIDNIGHT),
            (MIDNIGHT, MIDNIGHT + 10 * DAY_MS + HOUR_MS, MIDNIGHT + HOUR_MS - DAY_MS),
        ];
        for (now_ms, anchor_ms, starts_at_ms) in table {
            let resets_at_ms = starts_at_ms + DAY_MS;
            let window = Window { kind: WindowKind::Day, starts_at_ms, resets_at_ms, key: None };
            assert_eq!(Window::day(now_ms, anchor_ms), window, "now {now_ms}, anchor {anchor_ms}");
        }
    }

    #[test]
    fn a_day_that_began_before_1970_starts_at_zero() {
        let window = Window::day(HOUR_MS, 2 * HOUR_MS);
        assert_eq!((window.starts_at_ms, window.resets_at_ms), (0, 2 * HOUR_MS));
    }

    #[test]
    fn a_month_runs_from_its_first_to_the_next_first() {
        let table = [
            // now, first day, next first day (in days since 1970)
            (0, "1970-01-01", "1970-02-01"),
            (951_782_400_000, "2000-02-01", "2000-03-01"), // 2000-02-29, a leap year by 400
            (1_709_164_800_000, "2024-02-01", "2024-03-01"), // 2024-02-29
            (1_740_787_199_999, "2025-02-01", "2025-03-01"), // the last millisecond of 2025-02-28
            (1_740_787_200_000, "2025-03-01", "2025-04-01"),
            (1_767_225_599_999, "2025-12-01", "2026-01-01"), // the last millisecond of a year
            (1_767_225_600_000, "2026-01-01", "2026-02-01"),
            (4_107_456_000_000, "2100-02-01", "2100-03-01"), // 2100-02-28, no leap year by 100
        ];
        for (now_ms, first, next) in table {
            let window = Window::month(now_ms);
            assert_eq!(day_utc(window.starts_at_ms), first, "now {now_ms}");
            assert_eq!(day_utc(window.resets_at_ms), next, "now {now_ms}");
            assert_eq!((window.starts_at_ms % DAY_MS, window.resets_at_ms % DAY_MS), (0, 0));
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let table = [
            (0, "1970-01-01"),
            (DAY_MS - 1, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (951_868_800_000, "2000-03-01"),
            (MIDNIGHT - 1, "2025-11-21"),
            (MIDNIGHT, "2025-11-22"),
            (4_107_542_400_000, "2100-03-01"),
            (253_402_300_799_999, "9999-12-31"),
        ];
        for (now_ms, date) in table {
            assert_eq!(day_utc(now_ms), date);
        }
    }

    #[test]
    fn a_time_for_people_is_iso_8601_and_never_too_early() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (MIDNIGHT, "2025-11-22T00:00:00Z"),
            (MIDNIGHT + 9 * HOUR_MS + 61_000, "2025-11-22T09:01:01Z"),
            (MIDNIGHT - 1, "2025-11-22T00:00:00Z"),
            (MIDNIGHT + 1, "2025-11-22T00:00:01Z"),
        ];
        for (at_ms, time) in table {
            assert_eq!(time_utc(at_ms), time, "{at_ms}");
        }
    }

    #[test]
    fn every_day_of_nine_centuries_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..330_000 {
            assert_eq!(civil_from_days(days), (year, month, day));
            assert_eq!(days_from_civil(year, month, day), days);
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn a_key_tells_kind_and_start() {
        assert_eq!(Window::day(MIDNIGHT + 5, 0).key(), "d1763769600000");
        assert_eq!(Window::month(MIDNIGHT + 5).key(), "m1761955200000");
        assert_eq!(Window::day(MIDNIGHT, 0).of_key(Lineage::of("demo")).key(), "d1763769600000@2a97516c354b6884");
    }

    #[test]
    fn the_wire_format_is_plain() {
        let json = r#"{"kind":"day","starts_at_ms":1763769600000,"resets_at_ms":1763856000000}"#;
        assert_eq!(serde_json::to_string(&Window::day(MIDNIGHT, 0)).unwrap(), json);
        assert_eq!(serde_json::from_str::<Window>(json).unwrap(), Window::day(MIDNIGHT, 0));
        let of_a_key = Window::day(MIDNIGHT, 0).of_key(Lineage::of("demo"));
        let json = serde_json::to_string(&of_a_key).unwrap();
        assert!(json.ends_with(r#","key":"2a97516c354b6884"}"#), "{json}");
        assert_eq!(serde_json::from_str::<Window>(&json).unwrap(), of_a_key);
    }

    proptest! {
        #[test]
        fn day_windows_hold_now_and_tile_time(now_ms in 2 * DAY_MS..u64::MAX / 2, anchor_ms: u64) {
            let window = Window::day(now_ms, anchor_ms);
            prop_assert!(window.starts_at_ms <= now_ms && now_ms < window.resets_at_ms);
            prop_assert_eq!(window.resets_at_ms - window.starts_at_ms, DAY_MS);
            prop_assert_eq!(window.starts_at_ms % DAY_MS, anchor_ms % DAY_MS);
            prop_assert_eq!(Window::day(window.starts_at_ms, anchor_ms), window);
            prop_assert_eq!(Window::day(window.resets_at_ms - 1, anchor_ms), window);
            prop_assert_eq!(Window::day(window.resets_at_ms, anchor_ms).starts_at_ms, window.resets_at_ms);
        }

        #[test]
        fn month_windows_hold_now_and_tile_time(now_ms in 0..u64::MAX / 2) {
            let window = Window::month(now_ms);
            prop_assert!(window.starts_at_ms <= now_ms && now_ms < window.resets_at_ms);
            prop_assert_eq!(Window::month(window.starts_at_ms), window);
            prop_assert_eq!(Window::month(window.resets_at_ms - 1), window);
            prop_assert_eq!(Window::month(window.resets_at_ms).starts_at_ms, window.resets_at_ms);
        }

        #[test]
        fn no_time_overflows(now_ms: u64, anchor_ms: u64) {
            for now_ms in [now_ms, 0, u64::MAX] {
                let _ = Window::day(now_ms, anchor_ms).key();
                let _ = Window::month(now_ms).key();
                let _ = time_utc(now_ms);
            }
        }
    }
}
