//! Usage: where the tokens are told, and which figures are to be believed.

use super::parts::{
    BILL, MESSAGE, NULL, STOP, USAGE, answer_of, answer_with, bill, choice, chunk_of, done, event, finish, json, role,
    sse, text, told_as,
};
use super::{Form, Kind, Sent};
use crate::answer::Usage;

fn form(name: &str) -> Form {
    Form::named(Kind::Usage, &format!("usage-{name}"))
}

pub(super) fn forms() -> Vec<Form> {
    let placed =
        [
            form("in-first-chunk").streamed(sse(&[first(USAGE), text("it is."), finish(STOP), done()])),
            form("in-every-chunk").streamed(sse(&[
                first(&so_far(9, 1)),
                with("it ", NULL, &so_far(9, 3)),
                with("is.", STOP, &so_far(9, 4)),
                done(),
            ])),
            form("zeros-last").streamed(sse(&[
                first(USAGE),
                with("it is.", STOP, &so_far(0, 0)),
                told_as(&so_far(0, 0)),
                done(),
            ])),
            form("side-by-side").streamed(sse(&[first(&so_far(9, 0)), with("it is.", STOP, &so_far(0, 4)), done()])),
            form("falling").streamed(sse(&[first(USAGE), with("it is.", STOP, &so_far(9, 2)), done()])),
            form("null-last").streamed(sse(&[first(USAGE), with("it is.", STOP, NULL), told_as(NULL), done()])),
            form("x-groq").whole(json(answer_of(&choice(0, MESSAGE, STOP), &groq()))).streamed(sse(&[
                role(),
                text("Forty two it is."),
                event(&chunk_of(STOPS, &groq())),
                done(),
            ])),
            form("in-choice").whole(json(answer_of(&in_choice(&format!(r#""message":{MESSAGE}"#)), ""))).streamed(sse(
                &[role(), text("Forty two it is."), event(&chunk_of(&in_choice(r#""delta":{}"#), "")), done()],
            )),
            form("x-groq-and-usage")
                .whole(json(answer_of(&choice(0, MESSAGE, STOP), &format!(r#","usage":{USAGE}{}"#, groq()))))
                .streamed(sse(&[
                    role(),
                    text("Forty two it is."),
                    event(&chunk_of(STOPS, &groq())),
                    told_as(USAGE),
                    done(),
                ])),
        ];
    let read = FIGURES.iter().map(|(name, usage, billed)| figures(name, usage, *billed));
    let doubted = DOUBTED.iter().map(|(name, usage)| figures(name, usage, BILL));
    let missing = form("missing").whole(json(answer_of(&choice(0, MESSAGE, STOP), ""))).streamed(sse(&[
        role(),
        text("Forty two "),
        text("it is."),
        finish(STOP),
        done(),
    ]));
    placed.into_iter().chain(read).chain(doubted).chain([missing]).flat_map(Form::and_cut).map(honest).collect()
}

/// What a cut stream is billed: all that was told of it, else the four words that came.
fn honest(form: Form) -> Form {
    if form.name == "usage-in-every-chunk-cut" {
        return form.each(|sent| sent.bill(bill(9, 0, 3, 0)));
    }
    let told_early =
        form.streamed.as_ref().is_some_and(|sent| sent.body.windows(7).any(|window| window == b"\"usage\""));
    match form.name.ends_with("-cut") && !told_early {
        true => Form { streamed: form.streamed.map(|sent| sent.bill(BILL)), ..form },
        false => form,
    }
}

const STOPS: &str = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#;

/// Figures that are told in one way or another, and what they come to.
const FIGURES: [(&str, &str, Usage); 16] = [
    (
        "cached-details",
        r#"{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":3}}"#,
        CACHED,
    ),
    (
        "cached-hit",
        r#"{"prompt_tokens":9,"completion_tokens":4,"prompt_cache_hit_tokens":3,"prompt_cache_miss_tokens":6}"#,
        CACHED,
    ),
    ("cached-beside", r#"{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"cached_tokens":3}"#, CACHED),
    (
        "cached-twice",
        r#"{"prompt_tokens":9,"completion_tokens":4,"cached_tokens":0,"prompt_cache_hit_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}"#,
        CACHED,
    ),
    ("cached-num", r#"{"prompt_tokens":9,"completion_tokens":4,"num_cached_tokens":3}"#, CACHED),
    ("input-by-total", r#"{"completion_tokens":4,"total_tokens":13}"#, BILL),
    (
        "cached-above-input",
        r#"{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":50}}"#,
        bill(9, 9, 4, 0),
    ),
    (
        "reasoning-inside",
        r#"{"prompt_tokens":9,"completion_tokens":24,"total_tokens":33,"completion_tokens_details":{"reasoning_tokens":20}}"#,
        bill(9, 0, 24, 20),
    ),
    (
        "reasoning-beside",
        r#"{"prompt_tokens":9,"completion_tokens":4,"total_tokens":33,"completion_tokens_details":{"reasoning_tokens":20}}"#,
        bill(9, 0, 24, 20),
    ),
    (
        "reasoning-beside-without-total",
        r#"{"prompt_tokens":9,"completion_tokens":4,"completion_tokens_details":{"reasoning_tokens":20}}"#,
        bill(9, 0, 24, 20),
    ),
    (
        "reasoning-inside-without-total",
        r#"{"prompt_tokens":9,"completion_tokens":24,"completion_tokens_details":{"reasoning_tokens":20}}"#,
        bill(9, 0, 24, 20),
    ),
    ("reasoning-untold", r#"{"prompt_tokens":9,"completion_tokens":4,"total_tokens":33}"#, bill(9, 0, 24, 20)),
    ("total-too-small", r#"{"prompt_tokens":9,"completion_tokens":4,"total_tokens":4}"#, BILL),
    ("floats", r#"{"prompt_tokens":9.0,"completion_tokens":4.0,"total_tokens":13.0}"#, BILL),
    ("digits-in-text", r#"{"prompt_tokens":"9","completion_tokens":"4","total_tokens":"13"}"#, BILL),
    (
        "details-null",
        r#"{"prompt_tokens":9,"completion_tokens":4,"total_tokens":null,"prompt_tokens_details":null,"completion_tokens_details":{"reasoning_tokens":null}}"#,
        BILL,
    ),
];

const CACHED: Usage = bill(9, 3, 4, 0);

/// Figures that are not to be believed: the four words are billed all the same.
const DOUBTED: [(&str, &str); 9] = [
    ("all-zeros", r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#),
    ("empty", "{}"),
    ("null", "null"),
    ("only-total", r#"{"total_tokens":13}"#),
    ("without-input", r#"{"completion_tokens":4}"#),
    ("without-output", r#"{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}"#),
    ("input-absurd", r#"{"prompt_tokens":9000000,"completion_tokens":4,"total_tokens":9000004}"#),
    ("output-absurd", r#"{"prompt_tokens":9,"completion_tokens":9000000,"total_tokens":9000009}"#),
    ("negative", r#"{"prompt_tokens":-9,"completion_tokens":-4,"total_tokens":-13}"#),
];

/// A good answer with these figures.
fn figures(name: &str, usage: &str, billed: Usage) -> Form {
    let streamed = sse(&[role(), text("Forty two "), text("it is."), finish(STOP), told_as(usage), done()]);
    let each = |sent: Sent| sent.bill(billed);
    form(name).whole(answer_with(MESSAGE, STOP, usage)).streamed(streamed).each(each)
}

fn so_far(input: u64, output: u64) -> String {
    format!(r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{}}}"#, input + output)
}

fn first(usage: &str) -> String {
    with("Forty two ", NULL, usage)
}

fn with(text: &str, finish: &str, usage: &str) -> String {
    let choice = format!(r#"{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{finish}}}"#);
    event(&chunk_of(&choice, &format!(r#","usage":{usage}"#)))
}

/// A choice that tells the usage itself.
fn in_choice(message: &str) -> String {
    format!(r#"{{"index":0,{message},"finish_reason":"stop","usage":{USAGE}}}"#)
}

fn groq() -> String {
    format!(r#","x_groq":{{"id":"req_1","usage":{USAGE}}}"#)
}
