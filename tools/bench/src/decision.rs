//! What deciding about a prompt costs by itself: word pieces, embedding, features, both heads and the hardness.
//!
//! It is measured in this program, with the gateway's own code: the least of many rounds, for a neighbour only ever adds. The
//! figure to compare it with is what the gateway spends on a request that names its model, from the same run.

use crate::figures::Figure;
use gateway_core::routing::head::{Features, read};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 300;
const IN_A_ROUND: u32 = 20;
const TEXT: &str = "You are given the minutes of a meeting between a supplier and a hospital. The supplier says that the pumps will come \
    three weeks later than agreed, because a customs form was filled in wrongly; the hospital says that it has planned 14 operations \
    for that week and asks for a discount of 8% or for pumps on loan. Please write a polite reply to the hospital, in which we \
    regret the delay, offer two pumps on loan from Tuesday, explain what was wrong with the form in one sentence, and ask for a \
    call on Friday at 10:30. Keep it under 150 words, and do not mention the discount. The tone should be warm, not servile. Sign: M. K.";

/// The rows, beside the gateway's CPU for a whole answer in microseconds where that was measured.
pub(crate) fn measure(cpu_us: Option<f64>) -> Vec<Figure> {
    let long = TEXT.repeat(100_000 / TEXT.len() + 1);
    let han: String =
        "请把下面的会议记录总结成三点并翻译成英文，注意保留所有数字和日期。".chars().cycle().take(600).collect();
    let short: String = TEXT.chars().take(600).collect();
    let row = |name: &str, text: &str, target| {
        let us = (0..ROUNDS).map(|_| us_of(text)).fold(f64::INFINITY, f64::min);
        let figure = Figure::new(format!("decision, {name}"), us, "µs").target(target);
        match cpu_us {
            Some(cpu_us) => figure.ratio(us / cpu_us, "a whole answer's CPU"),
            None => figure,
        }
    };
    vec![
        row("600 characters", &short, "≤ 60 µs"),
        row("600 Chinese characters", &han, ""),
        row("100 kB", &long[..100_000], "≤ 200 µs"),
    ]
}

fn us_of(text: &str) -> f64 {
    let started = Instant::now();
    for _ in 0..IN_A_ROUND {
        black_box(read(&Features::of(black_box(text))));
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(IN_A_ROUND)
}
