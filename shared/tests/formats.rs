//! The grid of `docs/formats.md`: what becomes of each thing that a client may ask for, by door and by the format of the
//! model's provider.
//!
//! Every cell is tried: the request goes through the gateway to the double, and a cell says what was seen on both sides. A
//! client that asks in vain without being told, or reads another answer than the provider gave, is a wrong cell, which the
//! page cannot have. `WRITE_FORMATS=1` writes the page; otherwise it must say what is seen.

pub mod doors;

use crate::rig::{DOORS, DOUBLE, Door, Got, Heard, Rig, name_of, scene};
use doors::Wish;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/formats.md");

/// The formats of providers, by what they are called on the page.
const PROVIDERS: [(Provider, &str); 5] = [
    (Provider::Chat, "chat completions"),
    (Provider::Responses, "Responses"),
    (Provider::Messages, "Messages"),
    (Provider::Gemini, "Gemini"),
    (Provider::Converse, "Converse"),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Provider {
    Chat,
    Responses,
    Messages,
    Gemini,
    Converse,
}

impl Provider {
    /// The name of the model that behaves so.
    fn model(self, behaviour: &str) -> String {
        let plain = behaviour.replace(' ', "_");
        match self {
            Self::Chat => name_of(behaviour),
            Self::Responses => name_of(&format!("{behaviour}@so")),
            Self::Messages => format!("claude/{plain}"),
            Self::Gemini => format!("gemini/{plain}"),
            Self::Converse => format!("aws/{plain}"),
        }
    }

    fn is_spoken_at(self, door: Door) -> bool {
        matches!(
            (self, door),
            (Self::Chat, Door::Chat) | (Self::Responses, Door::Responses) | (Self::Messages, Door::Messages)
        )
    }
}

/// What a row asks for, and how the double answers.
struct Row {
    name: &'static str,
    wish: Wish,
    behaviour: &'static str,
    /// What the provider must have been sent; one of them, for formats differ in their words.
    sent: &'static [&'static str],
    /// Whether the client has read what it must.
    heard: fn(Door, &Heard) -> bool,
}

/// The rows of the page, in its order.
const ROWS: [Row; 17] = [
    row("text", Wish::Text, "say:one two", &["What is an interface?"], |_, heard| heard.text == "one two"),
    row("system prompt", Wish::System, "say:one two", &["Be brief-7."], |_, heard| heard.text == "one two"),
    row("image", Wish::Image, "say:one two", &["aW1hZ2U="], |_, heard| heard.text == "one two"),
    row("document", Wish::Document, "say:one two", &["cGFnZXM="], |_, heard| heard.text == "one two"),
    row("tools, a call", Wish::Tools, "tools", &["zebra"], called),
    row("one tool, ordered", Wish::ForcedTool, "tools", &["get_weather"], called),
    row("a tool's result", Wish::ToolResult, "say:one two", &["sunny-7"], |_, heard| heard.text == "one two"),
    row("JSON schema", Wish::Schema, "json", &["zebra"], |_, heard| heard.text.contains("answer")),
    row(
        "effort, and thoughts",
        Wish::Effort,
        "reasoning-3+say:one two",
        &["low", "LOW", "thinkingBudget"],
        |_, heard| heard.text == "one two",
    ),
    row("sampling", Wish::Sampling, "say:one two", &["0.125"], |_, heard| heard.text == "one two"),
    row("words that end it", Wish::Stop, "say:one two", &["HALT"], |_, heard| heard.text == "one two"),
    row("its user", Wish::User, "say:one two", &["user-7"], |_, heard| heard.text == "one two"),
    row("marks for the prompt cache", Wish::CacheMark, "say:one two", &["key-7", "cache_control"], |_, heard| {
        heard.text == "one two"
    }),
    row("cached tokens", Wish::Text, "cached-2+say:one two", &["interface"], |_, heard| heard.cached == Some(2)),
    row("log-probabilities", Wish::Logprobs, "say:one two", &["logprobs", "responseLogprobs"], |_, heard| {
        heard.logprobs
    }),
    row("several answers", Wish::Several, "say:one two", &["\"n\":2", "\"candidateCount\":2"], |_, heard| {
        heard.answers == 2
    }),
    row("cut by its length", Wish::Text, "length+say:one two", &["interface"], |door, heard| {
        heard.text == "one " && heard.finish == door.ends()[2] || heard.text == "one" && heard.finish == door.ends()[2]
    }),
];

const fn row(
    name: &'static str,
    wish: Wish,
    behaviour: &'static str,
    sent: &'static [&'static str],
    heard: fn(Door, &Heard) -> bool,
) -> Row {
    Row { name, wish, behaviour, sent, heard }
}

/// The tool that a call names, and its arguments.
fn arguments(call: &str) -> Option<(&str, Value)> {
    let (name, arguments) = call.split_once(' ')?;
    Some((name, serde_json::from_str(arguments).ok()?))
}

fn called(door: Door, heard: &Heard) -> bool {
    let call = arguments(&heard.call);
    call.is_some_and(|(name, arguments)| name == "get_weather" && arguments["days"] == 3)
        && heard.finish == door.ends()[1]
}

/// How failures are told: the behaviour, and what a client must read, whole and streamed.
const FAILURES: [(&str, &str); 4] = [
    ("a refusal of the model's", "content-filter-finish+say:one two three four"),
    ("a refusal of the provider's", "content-filter"),
    ("a rate limit", "429-after-7"),
    ("a stream that is cut", "cut-8"),
];

async fn gateway() -> Rig {
    let mut all = scene().tier("cheap", &["ok"]).tier("reasoning", &["ok@strong"]);
    let mut known: Vec<&str> = ROWS.iter().map(|row| row.behaviour).chain(FAILURES.map(|(_, of)| of)).collect();
    let mut converse =
        format!("[providers.aws]\nkind = \"bedrock\"\nregion = \"us-east-1\"\nbase_url = \"{DOUBLE}/bedrock\"\n");
    known.sort_unstable();
    known.dedup();
    for behaviour in known {
        all = all.model(behaviour, "").claude(behaviour).gemini(behaviour);
        all = all.model(&format!("{behaviour}@so"), "api = \"responses\"");
        let (name, id) = (Value::from(Provider::Converse.model(behaviour)), Value::from(behaviour));
        writeln!(
            converse,
            "[models.{name}]\nprovider = \"aws\"\nid = {id}\nusd_per_million = {{ input = 1, output = 2 }}"
        )
        .unwrap();
        converse += "capabilities = [\"tools\", \"json_schema\", \"vision\", \"documents\", \"reasoning\"]\n";
    }
    all = all.table(&converse);
    all.tenant(json!({"upgrade": {"enabled": false}})).table("[retry]\nmax_per_candidate = 0").build().await
}

/// What is seen of one row at one door with one provider.
async fn cell(rig: &Rig, row: &Row, door: Door, provider: Provider) -> Result<String, String> {
    let model = provider.model(row.behaviour);
    let Some(request) = door.wishing(row.wish, &model, false) else { return Ok("no word for it".into()) };
    let got = door.send(rig, request).await;
    if got.status == 400 && got.header("x-gateway-attempts") == "0" {
        return Ok(format!("refused: `{}`", door.blamed(&got)));
    }
    let receipt = rig.receipt(&got).await;
    let reasons = receipt["reasons"].to_string();
    let sent = rig.double.requests().pop().map(|received| received.body).unwrap_or_default();
    let sent = String::from_utf8_lossy(&sent).into_owned();
    let is_sent = row.sent.iter().any(|words| sent.contains(words));
    let told = reasons.split("has no word for: ").nth(1).map(|rest| rest.split('"').next().unwrap_or(rest).to_owned());
    let heard = door.read(&got);
    let is_heard = got.status == 200 && (row.heard)(door, &heard);
    let wrong =
        |what: &str| Err(format!("{what}: {heard:?}\n    reasons: {reasons}\n    sent: {sent}\n    got: {got:?}"));
    let cell = match (is_sent, told) {
        _ if !is_heard && got.status == 200 && reasons.contains("cannot say all") => "not told, and said so",
        _ if !is_heard => return wrong("the client does not read what it must"),
        (true, None) if provider.is_spoken_at(door) => "passes",
        (true, _) => "translated",
        (false, Some(_)) => "left out, and said so",
        (false, None) => return wrong("nobody was told that it is left out"),
    };
    if let Some(request) = door.wishing(row.wish, &model, true).filter(|_| row.wish != Wish::Several) {
        let got = door.send(rig, request).await;
        let streamed = door.read(&got);
        // A stream tells usage, several answers and log-probabilities in ways of their own, which other tests read.
        let plain = |call: &str| arguments(call).map(|(name, arguments)| (name.to_owned(), arguments));
        let is_same = streamed.text == heard.text
            && plain(&streamed.call) == plain(&heard.call)
            && streamed.finish == heard.finish;
        if !is_same || !streamed.is_over || streamed.is_error {
            return Err(format!("the stream says something else: {streamed:?}\n    whole: {heard:?}\n    {got:?}"));
        }
    }
    let thoughts = match (row.name, &*heard.thought, reasons.contains("cannot say all")) {
        ("effort, and thoughts", "", true) => "; thoughts not told, and said so",
        ("effort, and thoughts", "", false) => "; no words of thoughts came",
        ("effort, and thoughts", ..) => "; thoughts told",
        _ => "",
    };
    Ok(format!("{cell}{thoughts}"))
}

/// What is seen of a failure.
async fn failure(rig: &Rig, behaviour: &str, door: Door, provider: Provider) -> Result<String, String> {
    let model = provider.model(behaviour);
    let ask = |stream| door.wishing(Wish::Text, &model, stream).unwrap();
    let (whole, stream) = (door.send(rig, ask(false)).await, door.send(rig, ask(true)).await);
    let heard = door.read(&stream);
    let told = |got: &Got| match got.status {
        200 if got.is_stream() && !heard.is_over && heard.is_error => "ends with an error".to_owned(),
        200 => format!("`{}`", door.read(got).finish),
        status => {
            let error = got.json();
            let word = error["error"]["type"].as_str().unwrap_or_default().to_owned();
            format!("{status} `{word}`")
        }
    };
    if stream.status == 200 && heard.is_over == heard.is_error {
        return Err(format!("a stream that neither ends well nor with an error: {stream:?}"));
    }
    if behaviour.starts_with("cut") && (whole.status == 200 || stream.status == 200 && heard.is_over) {
        return Err(format!("an answer that is cut looks whole: {whole:?} {stream:?}"));
    }
    let (whole, streamed) = (told(&whole), told(&stream));
    Ok(if whole == streamed { whole } else { format!("{whole}; streamed: {streamed}") })
}

/// One table: rows by the providers' formats.
async fn table(rig: &Rig, door: Door, wrong: &mut Vec<String>) -> String {
    let mut page = format!("\n## `POST {}`\n\n| |", door.path());
    PROVIDERS.iter().for_each(|(_, name)| write!(page, " {name} |").unwrap());
    write!(page, "\n|---|{}\n", "---|".repeat(PROVIDERS.len())).unwrap();
    let mut note = |page: &mut String, row: &str, provider: &str, cell: Result<String, String>| match cell {
        Ok(cell) => write!(page, " {cell} |").unwrap(),
        Err(why) => wrong.push(format!("{} {row} {provider}: {why}", door.path())),
    };
    for row in &ROWS {
        write!(page, "| {} |", row.name).unwrap();
        for (provider, name) in PROVIDERS {
            note(&mut page, row.name, name, cell(rig, row, door, provider).await);
        }
        page.push('\n');
    }
    for (name, behaviour) in FAILURES {
        write!(page, "| {name} |").unwrap();
        for (provider, of) in PROVIDERS {
            note(&mut page, name, of, failure(rig, behaviour, door, provider).await);
        }
        page.push('\n');
    }
    page
}

const HEAD: &str = "# Doors and providers

What becomes of each thing that a client may ask for, by the door at which it asks and by the format in which the model is
called. Azure is called in chat completions and in Responses, Bedrock in Converse, in Messages and in both of these.

| cell | |
|---|---|
| passes | both sides speak the same: the client's bytes go on, but for what the gateway itself says (model, bound on the output, stream) |
| translated | the provider is told the same in its own words, and the client reads its answer in its own |
| not told, and said so | the provider was asked, and the door's format cannot say what it answered; the receipt's `reasons` say so |
| left out, and said so | the provider's format has no word for it; the receipt's `reasons` name it |
| refused: `FIELD` | a 400 that names the field, before anything is held or sent: such a model is no candidate for this request, and another of its tier is taken |
| no word for it | the door's own format cannot ask for it |

What is refused or failed is told in the words of the door. A stream is tried beside every whole answer and says the same.

The page is made by `make formats`, and `make test` fails where it is not what is seen.
";

#[tokio::test]
async fn the_page_says_what_is_seen_and_no_cell_is_wrong() {
    let rig = gateway().await;
    let (mut page, mut wrong) = (HEAD.to_owned(), Vec::new());
    for door in DOORS {
        page += &table(&rig, door, &mut wrong).await;
    }
    let shown: Vec<String> = wrong.iter().map(|why| why.chars().take(1500).collect()).collect();
    assert!(wrong.is_empty(), "{} cells are wrong:\n{}", wrong.len(), shown.join("\n"));
    if std::env::var_os("WRITE_FORMATS").is_some() {
        std::fs::write(Path::new(PAGE), &page).unwrap();
    }
    let known = std::fs::read_to_string(PAGE).unwrap_or_default();
    let differs = known.lines().zip(page.lines()).find(|(known, seen)| known != seen);
    assert!(known == page, "docs/formats.md does not say what is seen; `make formats` writes it anew: {differs:?}");
}
