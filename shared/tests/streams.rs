//! Everything that a provider can do to a stream, through each door, alone and with fifty at once: it ends in the right answer
//! or in one clean error, in the door's grammar and within its bound (A1, A4, A5).
//!
//! What takes seconds is played by models within the process, in time that is set by hand; the rest by the double.

mod flapping;
mod grammar;

use crate::formats::doors::Wish;
use crate::rig::{DOORS, Door, Got, Rig, Scene, cheap, name_of, scene};
use futures_util::future::join_all;
use grammar::{End, read};
use std::time::Duration;
use tokio::time::{Instant, timeout};

const AT_ONCE: usize = 50;

/// Timers short enough to be waited for, of models that fall silent; the others have the usual ones.
const SHORT: &str = "timeouts_ms = { first_token = 300, idle = 300 }";

/// What has to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Must {
    /// The answer that a model which is well gives.
    Answer,
    /// Some other answer that is whole.
    End,
    /// An error.
    Fail,
    /// The answer, or an error.
    AnswerOrFail,
}

use Must::{Answer, AnswerOrFail, Fail};

/// What the first model does, and what must come of it where there is a second one, and where there is none.
const FAULTS: [(&str, Must, Must); 24] = [
    ("429", Answer, Fail),
    ("429-after-60", Answer, Fail),
    ("429-after-date-60", Answer, Fail),
    ("fail-first-1+status-500", Answer, Answer),
    ("status-500", Answer, Fail),
    ("status-503", Answer, Fail),
    ("reset", Answer, Fail),
    ("reset-mid-0", Answer, Fail),
    ("stall-head", Answer, Fail),
    ("stall-0", Answer, Fail),
    ("cut-0", Answer, Fail),
    ("cut-clean-0", Answer, Fail),
    ("not-json", Answer, Fail),
    ("error-event-0", Answer, Fail),
    ("malformed-0", Answer, AnswerOrFail),
    // From here on the client has seen something.
    ("reset-mid-40", Answer, Fail),
    ("cut-40", Answer, Fail),
    ("cut-clean-40", Answer, Fail),
    ("stall-40", Answer, Fail),
    ("malformed-40", AnswerOrFail, AnswerOrFail),
    ("error-event-40", Answer, Fail),
    ("cut-before-done", Must::AnswerOrFail, Must::AnswerOrFail),
    ("context-overflow", Fail, Fail),
    ("content-filter", Fail, Fail),
];

async fn ask(rig: &Rig, door: Door, wish: Wish, model: &str) -> Got {
    door.send(rig, door.wishing(wish, model, true).unwrap()).await
}

/// Asks once, and fifty times at once, each within the bound.
async fn ask_both_ways(rig: &Rig, door: Door, wish: Wish, model: &str, bound: Duration) -> Vec<End> {
    let one = async || {
        let got = timeout(bound, ask(rig, door, wish, model)).await;
        read(door, &got.unwrap_or_else(|_| panic!("{door:?}, {model}: longer than {bound:?}")))
    };
    let first = one().await;
    let mut ends = join_all((0..AT_ONCE).map(|_| one())).await;
    ends.push(first);
    ends
}

fn check(what: &str, must: Must, right: &End, ends: &[End]) {
    let End::Whole { text: right_text, .. } = right else { panic!("{what}: {right:?}") };
    for end in ends {
        match (must, end) {
            (Must::Answer | Must::AnswerOrFail, End::Whole { .. }) => assert_eq!(end, right, "{what}"),
            (Must::Fail | Must::AnswerOrFail, End::Error { text, .. }) => {
                assert!(right_text.starts_with(text.as_str()), "{what}: {text}");
            }
            (Must::End, End::Whole { .. }) => {}
            (must, end) => panic!("{what}: {must:?}, but {end:?}"),
        }
    }
}

/// A gateway whose only tier has these models.
fn quick(behaviours: &[&str]) -> Scene {
    let scene = behaviours
        .iter()
        .fold(scene(), |scene, behaviour| scene.model(behaviour, if behaviour.contains("stall") { SHORT } else { "" }));
    scene
        .tier("cheap", behaviours)
        .tier("reasoning", &["ok@strong"])
        .table("[retry]\nbackoff_base_ms = 0\n[timeouts_ms]\nrequest = 20000")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_ends_in_the_answer_or_in_one_error_at_each_door() {
    let bound = Duration::from_secs(30);
    for (fault, with_another, alone) in FAULTS {
        for door in DOORS {
            let rig = quick(&[fault, "ok"]).build().await;
            let right = read(door, &ask(&rig, door, Wish::Text, "up/ok").await);
            let what = format!("{fault}, {door:?}");
            check(&what, with_another, &right, &ask_both_ways(&rig, door, Wish::Text, "cheap", bound).await);
            let rig = quick(&[fault, "ok"]).build().await;
            check(
                &format!("{what}, alone"),
                alone,
                &right,
                &ask_both_ways(&rig, door, Wish::Text, &name_of(fault), bound).await,
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_otherwise_ends_in_each_doors_words() {
    for behaviour in ["refusal", "length", "content-filter-finish", "empty", "no-usage"] {
        let rig = quick(&[behaviour, "ok"]).build().await;
        for door in DOORS {
            let right = read(door, &ask(&rig, door, Wish::Text, "up/ok").await);
            let ends = ask_both_ways(&rig, door, Wish::Text, &name_of(behaviour), Duration::from_secs(30)).await;
            check(&format!("{behaviour}, {door:?}"), Must::End, &right, &ends);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_cut_is_whole_from_another_model_or_an_error() {
    for fault in ["tools+cut-3", "tools+cut-clean-4", "tools+stall-3", "tools+reset-mid-4"] {
        for door in DOORS {
            let rig = quick(&[fault, "tools"]).build().await;
            let right = read(door, &ask(&rig, door, Wish::Tools, "up/tools").await);
            assert!(matches!(&right, End::Whole { arguments, .. } if arguments.len() == 1), "{door:?}: {right:?}");
            let ends = ask_both_ways(&rig, door, Wish::Tools, "cheap", Duration::from_secs(30)).await;
            check(&format!("{fault}, {door:?}"), AnswerOrFail, &right, &ends);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thoughts_that_are_cut_are_never_the_beginning_of_another_models_answer() {
    for fault in ["reasoning-20+cut-3", "reasoning-20+cut-clean-4", "reasoning-20+stall-3"] {
        for second in ["claude/ok", "claude/modern"] {
            let models = scene().claude(fault).claude("ok").claude("modern");
            let scene = models.tier("cheap", &[&format!("claude/{fault}"), second]).tier("reasoning", &["ok@strong"]);
            let rig = scene.table("[timeouts_ms]\nidle = 300\nrequest = 20000").build().await;
            for door in DOORS {
                let right = read(door, &ask(&rig, door, Wish::Text, second).await);
                let ends = ask_both_ways(&rig, door, Wish::Text, "cheap", Duration::from_secs(30)).await;
                check(&format!("{fault}, {second}, {door:?}"), Answer, &right, &ends);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_beginning_is_waited_for_and_a_silent_middle_is_not() {
    for door in DOORS {
        let rig = cheap(["sim/slow-20000", "sim/cheap"]).build().await;
        let right = read(door, &ask(&rig, door, Wish::Text, "sim/cheap").await);
        let begun = Instant::now();
        let ends = ask_both_ways(&rig, door, Wish::Text, "sim/slow-20000", Duration::from_secs(21)).await;
        check(&format!("slow, {door:?}"), Answer, &right, &ends);
        assert_eq!(begun.elapsed().as_secs(), 40, "twenty seconds, and once more");
        // Models may be silent for ten seconds within an answer; what goes on elsewhere then answers at once.
        let rig = cheap(["sim/stall", "sim/cheap"]).build().await;
        let ends = ask_both_ways(&rig, door, Wish::Text, "cheap", Duration::from_secs(11)).await;
        check(&format!("stall, {door:?}"), AnswerOrFail, &right, &ends);
    }
}
