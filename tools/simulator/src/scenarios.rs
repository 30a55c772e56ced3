//! The scenarios. Each is something that providers do; most are reports of how routers of others went wrong.

use crate::world::{Arrivals, COUNT, Fault, Scenario, Spell};

const PENNY: usize = 0;
const DIME: usize = 1;
const DOLLAR: usize = 2;
const GOLD: usize = 3;

/// When most faults begin and end, in seconds.
const FROM_S: u64 = 40;
const UNTIL_S: u64 = 100;
const END_S: u64 = 180;

const DOWN: Fault = Fault::Fails { share: 1.0, after_ms: 200 };

fn scenario(name: &'static str, what: &'static str, spells: &[(usize, u64, u64, Fault)]) -> Scenario {
    let spell = |&(model, from_s, until_s, fault): &_| Spell { model, from_s, until_s, fault };
    Scenario {
        name,
        what,
        spells: spells.iter().map(spell).collect(),
        per_s: 10.0,
        arrivals: Arrivals::Poisson,
        streamed: 0.5,
        paces: [1.0; COUNT],
        seconds: END_S,
    }
}

/// All of them.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn scenarios() -> Vec<Scenario> {
    let flaps = [40, 60, 80, 100, 120].map(|from_s| (PENNY, from_s, from_s + 10, DOWN));
    let shaky = [PENNY, DIME, DOLLAR, GOLD].map(|model| (model, 0, END_S, Fault::Fails { share: 0.05, after_ms: 200 }));
    let all_but_gold = [PENNY, DIME, DOLLAR].map(|model| (model, FROM_S, UNTIL_S, DOWN));
    let all = [PENNY, DIME, DOLLAR, GOLD].map(|model| (model, 60, 75, DOWN));
    let limited = |per_s, tells| Fault::Limited { per_s, burst: 5.0, tells };
    vec![
        scenario("steady", "nothing but the odd failure", &[]),
        Scenario { arrivals: Arrivals::Bursts, ..scenario("bursts", "the same under bursts", &[]) },
        scenario("dead", "the first model fails every call, to the end", &[(PENNY, FROM_S, END_S, DOWN)]),
        scenario("recovery", "the first model fails every call, for a minute", &[(PENNY, FROM_S, UNTIL_S, DOWN)]),
        Scenario {
            per_s: 1.0,
            ..scenario("recovery, quiet", "the same at one request a second", &[(PENNY, FROM_S, UNTIL_S, DOWN)])
        },
        Scenario {
            per_s: 40.0,
            seconds: 120,
            ..scenario(
                "fast failures, busy",
                "it fails in 5 ms, at forty requests a second",
                &[(PENNY, FROM_S, 80, Fault::Fails { share: 1.0, after_ms: 5 })],
            )
        },
        Scenario {
            paces: [5.0; COUNT],
            ..scenario(
                "recovery, long answers",
                "the same, where answers take up to ten seconds",
                &[(PENNY, FROM_S, UNTIL_S, DOWN)],
            )
        },
        scenario("flapping", "the first model fails ten seconds of every twenty", &flaps),
        scenario(
            "brown-out",
            "the first model is eight times as slow, for a minute",
            &[(PENNY, FROM_S, UNTIL_S, Fault::Slow(8.0))],
        ),
        scenario(
            "partial failure",
            "the first model fails three calls of ten, after a second",
            &[(PENNY, FROM_S, UNTIL_S, Fault::Fails { share: 0.3, after_ms: 1_000 })],
        ),
        Scenario {
            streamed: 0.0,
            ..scenario(
                "truncation",
                "half of the first model's answers break off; none is streamed",
                &[(PENNY, FROM_S, UNTIL_S, Fault::Cuts(0.5))],
            )
        },
        Scenario {
            arrivals: Arrivals::Bursts,
            ..scenario(
                "rate limits",
                "the first takes 4 calls a second and says when to come again, the second 4 and does not",
                &[(PENNY, 0, END_S, limited(4.0, true)), (DIME, 0, END_S, limited(4.0, false))],
            )
        },
        scenario(
            "drift",
            "the first model becomes six times as slow, bit by bit",
            &[(PENNY, 0, END_S, Fault::Drifts(6.0))],
        ),
        scenario("all but the dearest", "three of four fail every call, for a minute", &all_but_gold),
        scenario("all fail", "all four fail every call, for 15 seconds", &all),
        scenario("all shaky", "all four fail one call of twenty", &shaky),
        scenario("hang", "the first model never says a word, for a minute", &[(PENNY, FROM_S, UNTIL_S, Fault::Hangs)]),
        scenario(
            "hang with signs of life",
            "the same, but its streams are kept alive",
            &[(PENNY, FROM_S, UNTIL_S, Fault::KeepsAlive)],
        ),
        Scenario {
            paces: [1.0, 0.9, 0.85, 0.6],
            ..scenario("prices", "all are about as fast as the cheapest, and well", &[])
        },
    ]
}
