//! Answers in the forms that providers really send, against the table in `docs/answers.md`: what the client gets, what is
//! billed, and what it shows of the model.
//!
//! The bytes are the double's; the table says in words what becomes of them. Each row is asked for whole and streamed, of its
//! model alone and with a good one behind it, and what is seen is put in the table's words and compared. So the table is the
//! test's expectation, and a form without a row, or a row without a form, is a failure as well.

mod bodies;
mod seen;
mod table;

use crate::rig::{NOW, Rig, name_of, scene};
use futures_util::StreamExt;
use futures_util::stream::iter;
use seen::{Asked, Noted, Seen};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use table::{Row, rows};
use upstream_double::forms::{Kind, forms};

/// Timers short enough to be waited for, and long enough for a busy machine.
const TIMERS: &str = "timeouts_ms = { first_token = 2000, idle = 500, total = 4000 }";

/// The good model behind each of those that are tried, with a window larger than theirs.
const NEXT: &str = "ok@next";

/// Every form of these kinds, in all ways of asking for it.
fn asked(kinds: &[Kind]) -> Vec<Asked> {
    let of_kind = forms().filter(|form| kinds.contains(&form.kind));
    let ways = [(false, false), (false, true), (true, false), (true, true)];
    let all = of_kind.flat_map(|form| ways.map(|(streamed, backed)| Asked { form, streamed, backed }));
    all.filter(|asked| asked.sent().is_some()).collect()
}

/// A gateway in which each has a model of its own.
async fn gateway(all: &[Asked]) -> (Rig, Arc<Noted>) {
    let noted = Arc::new(Noted::default());
    let noting = noted.clone();
    let mut scene = scene().model(NEXT, "context_tokens = 1000000");
    for asked in all {
        scene = scene.model(&asked.behaviour(), TIMERS);
    }
    scene = scene.tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]);
    for asked in all.iter().filter(|asked| asked.backed) {
        scene = scene.tier(asked.tier(), &[&asked.behaviour(), NEXT]);
    }
    let scene = scene.store(move |memory| noting.before(memory)).tenant(json!({"upgrade": {"enabled": false}}));
    (scene.table("[retry]\nmax_per_candidate = 0").build().await, noted)
}

/// Asks for all of them, twenty at a time.
async fn ask_all(rig: &Rig, noted: &Noted, all: &[Asked]) -> Vec<Seen> {
    iter(all).map(|asked| asked.ask(rig, noted)).buffered(20).collect().await
}

/// Compares a kind's rows with what is seen.
async fn check(kind: Kind) {
    let all = asked(&[kind]);
    let (rig, noted) = gateway(&all).await;
    let seen = ask_all(&rig, &noted, &all).await;
    let rows = rows(kind);
    let mut wrong = Vec::new();
    for (pair, seen) in all.chunks(2).zip(seen.chunks(2)) {
        let Asked { form, streamed, .. } = pair[0];
        let way = if streamed { "streamed" } else { "whole" };
        let row = Row::of(&form.name, &rows);
        let expected = row.and_then(|row| if streamed { row.streamed } else { row.whole });
        let told = Seen::told(&seen[0], &seen[1]);
        if expected.as_ref() != Some(&told) {
            let expected = expected.map_or("no row".to_owned(), |cells| cells.join(" | "));
            wrong.push(format!("{} {way}:\n   table: {expected}\n    seen: {}", form.name, told.join(" | ")));
        }
    }
    for row in rows.iter().filter(|row| row.form != "…-cut") {
        let form = all.iter().map(|asked| asked.form).find(|form| form.name == row.form);
        let ways = form.map(|form| (form.whole.is_some(), form.streamed.is_some()));
        if ways != Some((row.whole.is_some(), row.streamed.is_some())) {
            wrong.push(format!("{}: the table and the double have not the same answers", row.form));
        }
    }
    assert!(wrong.is_empty(), "{} of {kind:?} are not as the table says:\n{}", wrong.len(), wrong.join("\n"));
    books(&rig, &seen).await;
}

/// The provider's books, the receipts, the ledger and the store's counters say the same.
async fn books(rig: &Rig, seen: &[Seen]) {
    let mut charged = BTreeMap::<String, Charged>::new();
    for attempt in seen.iter().flat_map(|seen| &seen.attempts) {
        charged.entry(attempt["model"].as_str().unwrap().to_owned()).or_default().add(attempt);
    }
    for (behaviour, tally) in rig.double.counts().models {
        let charged = charged.get(&name_of(&behaviour)).copied().unwrap_or_default();
        let billed = (tally.input_tokens, tally.output_tokens);
        assert_eq!(charged.attempts, tally.calls, "{behaviour}");
        match charged.estimated {
            false => assert_eq!((charged.input, charged.output), billed, "{behaviour}"),
            true => {
                assert!(charged.input >= billed.0 && charged.output >= billed.1, "{behaviour}: {charged:?} {billed:?}")
            }
        }
    }
    let tokens = charged.values().map(|charged| charged.input + charged.output).sum();
    let totals = rig.totals().await;
    let requests = seen.iter().filter(|seen| !seen.attempts.is_empty()).count() as u64;
    assert_eq!((totals.requests, totals.tokens), (requests, tokens));
    assert_eq!(rig.counted().await, totals);
    assert!(totals.cost_nusd >= rig.billed().cost_nusd, "{totals:?}");
}

/// What the attempts of one model were charged.
#[derive(Debug, Clone, Copy, Default)]
struct Charged {
    attempts: u64,
    input: u64,
    output: u64,
    estimated: bool,
}

impl Charged {
    fn add(&mut self, attempt: &Value) {
        self.attempts += 1;
        self.input += attempt["usage"]["input_tokens"].as_u64().unwrap();
        self.output += attempt["usage"]["output_tokens"].as_u64().unwrap();
        self.estimated |= attempt["estimated"] == true;
    }
}

#[tokio::test]
async fn whole_or_cut() {
    check(Kind::WholeOrCut).await;
}

#[tokio::test]
async fn content() {
    check(Kind::Content).await;
}

#[tokio::test]
async fn events_without_choices() {
    check(Kind::NoChoices).await;
}

#[tokio::test]
async fn the_end() {
    check(Kind::End).await;
}

#[tokio::test]
async fn framing() {
    check(Kind::Framing).await;
}

#[tokio::test]
async fn usage() {
    check(Kind::Usage).await;
}

#[tokio::test]
async fn errors_in_any_dress() {
    check(Kind::Errors).await;
}

#[tokio::test]
async fn classes() {
    check(Kind::Classes).await;
}

#[tokio::test]
async fn what_failures_cost() {
    check(Kind::Failures).await;
}

#[tokio::test]
async fn with_twenty_at_once_the_books_of_both_sides_are_equal() {
    let mut all = asked(&Kind::ALL);
    all.retain(|asked| !asked.backed);
    let (rig, noted) = gateway(&all).await;
    let rounds = [all.clone(), all].concat();
    let seen = ask_all(&rig, &noted, &rounds).await;
    let called = seen.iter().filter(|seen| !seen.attempts.is_empty()).count();
    assert!(called > 1_000, "{called} of {}", seen.len());
    books(&rig, &seen).await;
}

#[tokio::test]
async fn who_does_not_ask_for_usage_gets_none_in_a_chunk_of_its_own_and_is_charged_the_same() {
    let mut all = asked(&Kind::ALL);
    all.retain(|asked| asked.streamed && !asked.backed && asked.form.kind <= Kind::Usage);
    let (rig, noted) = gateway(&all).await;
    let without_usage = |asked: &Asked| {
        let mut request = asked.request();
        request.as_object_mut().unwrap().remove("stream_options");
        request
    };
    let seen = iter(&all).map(|asked| asked.send(without_usage(asked), &rig, &noted)).buffered(20);
    let seen: Vec<Seen> = seen.collect().await;
    for (asked, seen) in all.iter().zip(&seen) {
        let events = seen.got.events();
        let events = events.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
        let tells = |event: &Value| event["choices"] == json!([]) && event["usage"].is_object();
        assert_eq!(events.filter(tells).count(), 0, "{}", asked.form.name);
        let row = Row::of(&asked.form.name, &rows(asked.form.kind)).unwrap();
        let [_, billed, shows] = row.streamed.unwrap();
        assert_eq!(Seen::told(seen, seen)[1..], [billed, shows], "{}", asked.form.name);
    }
    books(&rig, &seen).await;
}

#[test]
fn whatever_is_taken_for_a_whole_answer_has_a_sibling_that_is_not() {
    let is_good = |cells: &Option<table::Cells>| cells.as_ref().is_some_and(|[client, ..]| table::is_answer(client));
    let mut siblings = 0;
    for kind in Kind::ALL {
        let rows = rows(kind);
        for row in rows.iter().filter(|row| is_good(&row.whole) || is_good(&row.streamed)) {
            let name = format!("{}-cut", row.form);
            assert!(forms().any(|form| form.name == name && form.kind == kind), "there is no {name}");
            let sibling = Row::of(&name, &rows).unwrap_or_else(|| panic!("{name} has no row"));
            assert!(!is_good(&sibling.whole) && !is_good(&sibling.streamed), "{name} is whole");
            siblings += 1;
        }
    }
    assert!(siblings > 80, "{siblings}");
}
