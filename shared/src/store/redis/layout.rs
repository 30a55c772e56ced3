//! What crosses to the scripts and back packed, and what they keep packed: the same layouts, by the same names, as in Lua
//! (`tenant.lua`, `arguments.lua`). A test packs each here and reads it there, and back, field by field. See ADR 9.
//!
//! A change that adds or moves a field gives [`LAYOUT`] another number.

use super::script::{packed, unpacked, whole};
use crate::limit::gcra::Rate;
use crate::money::Amounts;

/// The version of the layouts: a part of every key, so that of two versions of the gateway that run at once neither reads what
/// it cannot. Each then counts by itself until the older one is gone, as after a loss of the store (M5).
pub(super) const LAYOUT: &str = "3:";

/// The largest whole number below which a Lua number has no gaps.
pub(super) const MOST: u64 = 1 << 53;

/// As a script takes it: whole, and at most 2^53.
#[allow(clippy::cast_precision_loss)]
pub(super) fn number(value: u64) -> f64 {
    value.min(MOST) as f64
}

/// As a script takes a limit.
pub(super) fn limit(value: Option<u64>) -> f64 {
    value.map_or(f64::INFINITY, number)
}

/// Numbers by their names, packed.
pub(super) trait Layout: Sized {
    /// Their names, in the order in which they are packed.
    const NAMES: &[&str];
    /// How long they are.
    const BYTES: usize = 8 * Self::NAMES.len();

    fn packed(self) -> Vec<u8>;

    fn read(packed: &[u8]) -> Option<Self>;
}

/// Declares a layout: doubles of eight bytes each, in this order.
macro_rules! layout {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq)]
        pub(super) struct $name {
            $($(#[$field_doc])* pub(super) $field: f64,)+
        }

        impl Layout for $name {
            const NAMES: &[&str] = &[$(stringify!($field)),+];

            fn packed(self) -> Vec<u8> {
                packed([$(self.$field),+])
            }

            fn read(packed: &[u8]) -> Option<Self> {
                let [$($field),+] = unpacked(packed)?;
                Some(Self { $($field),+ })
            }
        }
    };
}

layout!(
    /// A tenant but for its windows and holds.
    State {
        request_ms,
        request_ticks,
        token_ms,
        token_ticks,
        incarnation,
        open_holds,
        sweep_at_ms,
        settings_version,
    }
);
layout!(
    /// What is counted in a window.
    Window { used_requests, used_tokens, used_cost_nusd, held_requests, held_tokens, held_cost_nusd }
);
layout!(
    /// The rates and places in flight of keys that have limits of their own.
    Pace { request_ms, request_ticks, token_ms, token_ticks, key_open_holds }
);
layout!(
    /// What is held for a request; its windows follow as text.
    Hold {
        /// Below 0 when the hold has expired: when it was handed out.
        lease_until_ms,
        requests,
        tokens,
        cost_nusd,
    }
);
layout!(
    /// Requests, tokens, money; or the limits of them.
    Units { requests, tokens, cost_nusd }
);
layout!(
    /// An admission, but for its rates, holds and limits.
    Ask { now_ms, settings_version, mode, lease_until_ms, concurrency, rate_tokens }
);
layout!(
    /// A rate; all 0 where there is none.
    RateLimit { limit, period_ms, burst }
);
layout!(
    /// How a request ends.
    Ending {
        now_ms,
        /// In which the request was admitted; 0 if a copy of its admission may still arrive.
        incarnation,
        /// For how long its tombstone is kept, if it needs one.
        tombstone_ms,
        /// 1 if it is charged only in place of its hold.
        only_held,
        /// What it takes more from the rate of tokens, or gives back.
        token_delta,
    }
);
layout!(
    /// What an admission comes to; which fields a verdict has stands in `arguments.lua`.
    Answer {
        verdict,
        which,
        windows,
        wait_ms,
        requests,
        tokens,
        cost_nusd,
        request_ms,
        request_ticks,
        token_ms,
        token_ticks,
        incarnation,
        is_hit,
    }
);

layout!(
    /// How the rates of a key's own stand; after an answer.
    KeyRates { request_ms, request_ticks, token_ms, token_ticks }
);

/// How an admission learns whether a remembered answer serves the request.
pub(super) mod mode {
    pub(in crate::store::redis) const MISS: f64 = 0.0;
    pub(in crate::store::redis) const HIT: f64 = 1.0;
    pub(in crate::store::redis) const LOOK: f64 = 2.0;
}

/// What an admission comes to.
pub(super) mod verdict {
    pub(in crate::store::redis) const ADMITTED: u64 = 0;
    pub(in crate::store::redis) const RATE_LIMITED: u64 = 1;
    pub(in crate::store::redis) const TOO_MANY_IN_FLIGHT: u64 = 2;
    pub(in crate::store::redis) const CLOSED: u64 = 3;
    pub(in crate::store::redis) const QUOTA_EXCEEDED: u64 = 4;
    pub(in crate::store::redis) const STALE: u64 = 5;
}

impl From<Amounts> for Units {
    fn from(of: Amounts) -> Self {
        Self { requests: number(of.requests), tokens: number(of.tokens), cost_nusd: number(of.cost_nusd) }
    }
}

impl From<Units> for Amounts {
    fn from(of: Units) -> Self {
        Self { requests: whole(of.requests), tokens: whole(of.tokens), cost_nusd: whole(of.cost_nusd) }
    }
}

impl From<Option<Rate>> for RateLimit {
    fn from(rate: Option<Rate>) -> Self {
        let of = |rate: Rate| Self {
            limit: number(rate.limit()),
            period_ms: number(rate.period_ms()),
            burst: number(rate.capacity()),
        };
        rate.map_or(Self::default(), of)
    }
}

impl Window {
    pub(super) fn used(self) -> Amounts {
        let Self { used_requests, used_tokens, used_cost_nusd, .. } = self;
        Units { requests: used_requests, tokens: used_tokens, cost_nusd: used_cost_nusd }.into()
    }

    pub(super) fn held(self) -> Amounts {
        let Self { held_requests, held_tokens, held_cost_nusd, .. } = self;
        Units { requests: held_requests, tokens: held_tokens, cost_nusd: held_cost_nusd }.into()
    }
}

impl Hold {
    pub(super) fn amounts(self) -> Amounts {
        Units { requests: self.requests, tokens: self.tokens, cost_nusd: self.cost_nusd }.into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::collections::BTreeMap;
    use test_servers::redis::Redis;

    const PRELUDE: &str = concat!(
        "#!lua\n",
        include_str!("../lua/gcra.lua"),
        include_str!("../lua/tenant.lua"),
        include_str!("../lua/arguments.lua")
    );

    /// Runs Lua after what the scripts share; what it answers is text or packed.
    async fn lua(redis: &Redis, body: &str, argument: &[u8]) -> Vec<u8> {
        let client = redis::Client::open(redis.url()).unwrap();
        let mut line = client.get_multiplexed_async_connection().await.unwrap();
        let mut eval = redis::cmd("EVAL");
        eval.arg([PRELUDE, body].concat()).arg(1).arg("tenant").arg("request").arg(argument);
        eval.query_async(&mut line).await.unwrap()
    }

    /// Numbers for fields, each another one.
    fn values(names: &[&str]) -> Vec<f64> {
        (1_u32..).map(f64::from).take(names.len()).collect()
    }

    /// Where Lua has a field of an unpacked layout.
    fn place(name: &str) -> String {
        let upper = name.to_uppercase();
        let of = |part: &str| upper.strip_prefix(part).map(|unit| unit.trim_start_matches('_').to_owned());
        match (of("USED_"), of("HELD_")) {
            (Some(unit), _) => format!("USED + {unit}"),
            (_, Some(unit)) => format!("HELD + {unit}"),
            _ => upper,
        }
    }

    /// … and of a hold, whose amounts follow its lease.
    fn place_in_hold(name: &str) -> String {
        let upper = name.to_uppercase();
        if name == "lease_until_ms" { upper } else { format!("LEASE_UNTIL_MS + {upper}") }
    }

    type Place = fn(&str) -> String;
    const KEPT: [(&str, &[&str], Place); 6] = [
        ("STATE", State::NAMES, place),
        ("PACE", Pace::NAMES, place),
        ("KEY_RATES", KeyRates::NAMES, place),
        ("WINDOW", Window::NAMES, place),
        ("HOLD", Hold::NAMES, place_in_hold),
        ("AMOUNTS", Units::NAMES, place),
    ];

    /// The fields that Lua reads must be those of the layout.
    async fn assert_read(redis: &Redis, names: &[&str], body: &str, expression: impl Fn(&str) -> String) {
        let read = names.iter().map(|name| format!("{name} = {}", expression(name))).collect::<Vec<_>>().join(", ");
        let body = format!("{body} return cjson.encode({{{read}}})");
        let read = lua(redis, &body, &packed(values(names))).await;
        let read: BTreeMap<String, f64> = serde_json::from_slice(&read).unwrap();
        let expected: BTreeMap<String, f64> = names.iter().map(|name| (*name).to_owned()).zip(values(names)).collect();
        assert_eq!(read, expected, "{body}");
    }

    #[tokio::test]
    async fn each_field_is_in_lua_where_it_is_in_rust() {
        let redis = Redis::start(&[]).await.unwrap();
        for (layout, names, place) in KEPT {
            let body = format!("local t = {{struct.unpack({layout}, ARGV[2])}}");
            assert_read(&redis, names, &body, |name| format!("t[{}]", place(name))).await;
        }
        // What is read at one place is read there by its names.
        let (admit, settle, release) =
            (include_str!("../lua/admit.lua"), include_str!("../lua/settle.lua"), include_str!("../lua/release.lua"));
        for (names, text, unpacking) in [
            (Ask::NAMES, admit, "struct.unpack(ASK, ARGV[2])"),
            (Ending::NAMES, settle, "struct.unpack(ENDING, ARGV[2])"),
            (Ending::NAMES, release, "struct.unpack(ENDING, ARGV[2])"),
            (RateLimit::NAMES, include_str!("../lua/gcra.lua"), "struct.unpack(RATE, rate)"),
        ] {
            let end = text.find(unpacking).unwrap() + unpacking.len();
            let begin = text[..end].rfind("local ").unwrap();
            let body = format!("local rate = ARGV[2] {}", &text[begin..end]);
            assert_read(&redis, names, &body, str::to_owned).await;
        }
    }

    #[tokio::test]
    async fn each_field_is_in_rust_where_it_is_in_lua() {
        let redis = Redis::start(&[]).await.unwrap();
        for (layout, names, place) in KEPT {
            let set = names.iter().zip(values(names)).map(|(name, value)| format!("t[{}] = {value} ", place(name)));
            let set: String = set.collect();
            let body = format!("local t = {{}} {set} return struct.pack({layout}, unpack(t, 1, {}))", names.len());
            assert_eq!(lua(&redis, &body, b"").await, packed(values(names)), "{layout}");
        }
        let (names, mut answer, mut state) = (Answer::NAMES, String::new(), String::new());
        for (name, value) in names.iter().zip(values(names)) {
            match State::NAMES.contains(name) {
                true => state.push_str(&format!("s[{}] = {value} ", place(name))),
                false => answer.push_str(&format!("{name} = {value}, ")),
            }
        }
        let body = format!("local s = {{}} {state} return pack_answer({{{answer}}}, s)");
        assert_eq!(lua(&redis, &body, b"").await, packed(values(names)));
        assert_eq!(Answer::read(&packed(values(names))).unwrap().incarnation, 12.0);
    }

    #[test]
    fn names_are_in_the_order_in_which_a_layout_is_packed() {
        let state = State { incarnation: 5.0, sweep_at_ms: 7.0, ..State::default() };
        let packed = state.packed();
        assert_eq!((packed.len(), State::read(&packed)), (State::BYTES, Some(state)));
        assert_eq!(packed[4 * 8..5 * 8], 5.0_f64.to_le_bytes());
        assert_eq!(State::NAMES[4], "incarnation");
    }

    #[tokio::test]
    async fn modes_and_verdicts_are_the_same_numbers_in_both() {
        let redis = Redis::start(&[]).await.unwrap();
        let body = "return cjson.encode({MISS, HIT, LOOK, ADMITTED, RATE_LIMITED, TOO_MANY_IN_FLIGHT, CLOSED, QUOTA_EXCEEDED, STALE})";
        let read: Vec<f64> = serde_json::from_slice(&lua(&redis, body, b"").await).unwrap();
        let verdicts = [
            verdict::ADMITTED,
            verdict::RATE_LIMITED,
            verdict::TOO_MANY_IN_FLIGHT,
            verdict::CLOSED,
            verdict::QUOTA_EXCEEDED,
            verdict::STALE,
        ];
        assert_eq!(read, [&[mode::MISS, mode::HIT, mode::LOOK][..], &verdicts.map(number)].concat());
    }
}
