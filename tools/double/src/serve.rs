//! Connections: read a request, lay out the answer, play it, until one side has had enough.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::answer::{Usage, quote};
use crate::ask::{Ask, Asked, Purpose, gemini};
use crate::azure;
use crate::bedrock;
use crate::behaviour::Plan;
use crate::http::{Left, Request, Unread, Wire, header, phrase};
use crate::refusal::{content_envelope, envelope, message_envelope};
use crate::responses;
use crate::script::{End, Script};
use crate::tallies::{Received, Tallies};

/// Time for what was sent to be read before a reset overtakes it.
const BEFORE_RESET_MS: u64 = 20;
/// What `/v1/models` lists: any other id of the table works as well.
const LISTED: [&str; 6] = ["ok", "fail-50", "slow-200", "hedge", "tools", "json"];

/// Serves connections for as long as it is polled; dropped, it drops them all.
pub(crate) async fn listen(listener: TcpListener, tallies: Arc<Tallies>) {
    let mut connections = JoinSet::new();
    loop {
        // An accept fails for want of file descriptors, or for a client that is gone: neither is the end.
        let Ok((stream, _)) = listener.accept().await else {
            pause(1).await;
            continue;
        };
        tallies.connected();
        let tallies = Arc::clone(&tallies);
        connections.spawn(async move {
            // An error here is a client that is gone, and has been counted as such.
            let _ = converse(stream, &tallies).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Whether a connection serves another request.
#[derive(PartialEq)]
enum Next {
    Request,
    Close,
}

async fn converse(stream: TcpStream, tallies: &Tallies) -> io::Result<()> {
    let mut wire = Wire::new(stream)?;
    loop {
        let request = match wire.request().await {
            Ok(request) => request,
            Err(Unread::Closed) => return Ok(()),
            Err(Unread::Refused(status)) => {
                return wire.write(&refusal(status, phrase(status)).bytes).await;
            }
        };
        let keep_alive = request.keep_alive;
        let next = match (request.method.as_str(), request.path.as_str()) {
            ("POST", path) if [azure::PREFIX, bedrock::PREFIX].iter().any(|prefix| path.starts_with(prefix)) => {
                let is_azure = path.starts_with(azure::PREFIX);
                let ask = if is_azure { azure::ask(&request) } else { bedrock::ask(&request) };
                answer(&mut wire, tallies, request, ask).await?
            }
            ("POST", path) if let Some((model, gemini::COUNT)) = gemini::named(path) => {
                wire.write(&counted_content(&request, &model).bytes).await?;
                Next::Request
            }
            ("POST", path)
                if let Some((model, method)) =
                    gemini::named(path).filter(|(_, name)| gemini::ANSWERS.contains(name)) =>
            {
                let ask = Ask::parse_content(&request, &model, method);
                let ask = ask.map_err(|(status, why)| content_refusal(status, &why));
                answer(&mut wire, tallies, request, ask).await?
            }
            ("POST", path) if path.ends_with("/chat/completions") => {
                let ask = Ask::parse(&request.body).map_err(|why| refusal(400, &why));
                answer(&mut wire, tallies, request, ask).await?
            }
            ("POST", path) if path.ends_with("/responses") => {
                let ask = responses::ask(&request.body).map_err(|why| refusal(400, &why));
                answer(&mut wire, tallies, request, ask).await?
            }
            ("POST", path) if path.ends_with("/embeddings") => {
                let ask = Ask::parse_embeddings(&request.body).map_err(|why| refusal(400, &why));
                answer(&mut wire, tallies, request, ask).await?
            }
            ("POST", path) if path.ends_with("/messages") => {
                let ask = message(&request, Purpose::Answer);
                answer(&mut wire, tallies, request, ask).await?
            }
            ("POST", path) if path.ends_with("/messages/count_tokens") => {
                wire.write(&counted(&request).bytes).await?;
                Next::Request
            }
            (method, path) => {
                wire.write(&aside(method, path, tallies).bytes).await?;
                Next::Request
            }
        };
        if next == Next::Close || !keep_alive {
            return Ok(());
        }
    }
}

/// What is no request for an answer: the double's books, and what any provider serves.
fn aside(method: &str, path: &str, tallies: &Tallies) -> Script {
    const JSON: &str = "application/json";
    match (method, path) {
        ("GET", "/counts") => Script::plain(200, JSON, &tallies.counts().json()),
        ("GET", "/requests") => Script::plain(200, JSON, &tallies.requests_json()),
        ("POST", "/reset") => {
            tallies.reset();
            Script::plain(200, JSON, "{}")
        }
        ("GET", path) if path.ends_with("/models") => {
            let models = LISTED.map(|id| {
                format!(r#"{{"id":{},"object":"model","created":1700000000,"owned_by":"double"}}"#, quote(id))
            });
            Script::plain(200, JSON, &format!(r#"{{"object":"list","data":[{}]}}"#, models.join(",")))
        }
        (_, "/counts" | "/requests" | "/reset") => refusal(405, "no such method here"),
        _ => refusal(404, "no such path"),
    }
}

fn refusal(status: u16, message: &str) -> Script {
    Script::plain(status, "application/json", &envelope(message, "invalid_request_error", "invalid_request"))
}

fn message_refusal(status: u16, message: &str) -> Script {
    Script::plain(status, "application/json", &message_envelope(message, status, ""))
}

fn content_refusal(status: u16, message: &str) -> Script {
    Script::plain(status, "application/json", &content_envelope(message, status, ""))
}

/// Reads a request in Anthropic's format; its key and its version stand in headers.
fn message(request: &Request, purpose: Purpose) -> Result<Ask, Script> {
    let has = |name| header(&request.headers, name).is_some();
    match (has("x-api-key"), has("authorization"), has("anthropic-version")) {
        (true, true, _) => Err(message_refusal(401, "both x-api-key and authorization are set")),
        (false, false, _) => Err(message_refusal(401, "x-api-key header is required")),
        (.., false) => Err(message_refusal(400, "anthropic-version: header is required")),
        _ => Ask::parse_message(&request.body, purpose).map_err(|why| message_refusal(400, &why)),
    }
}

/// The number of a message's tokens, which costs nothing.
fn counted(request: &Request) -> Script {
    let count =
        |ask: Ask| Script::plain(200, "application/json", &format!(r#"{{"input_tokens":{}}}"#, ask.prompt_tokens));
    message(request, Purpose::Count).map_or_else(|refused| refused, count)
}

/// The same of a request for content.
fn counted_content(request: &Request, model: &str) -> Script {
    let count =
        |ask: Ask| Script::plain(200, "application/json", &format!(r#"{{"totalTokens":{}}}"#, ask.prompt_tokens));
    let refused = |(status, why): (u16, String)| content_refusal(status, &why);
    Ask::parse_content(request, model, gemini::COUNT).map_or_else(refused, count)
}

/// Answers a request for an answer, or says what is wrong with it.
async fn answer(wire: &mut Wire, tallies: &Tallies, request: Request, ask: Result<Ask, Script>) -> io::Result<Next> {
    let model = ask.as_ref().map_or(String::new(), |ask| ask.model.clone());
    let received = Received::new(&model, request);
    let body = Arc::clone(&received.body);
    let turn = tallies.called(received);
    let script = match (ask, Plan::parse(&model)) {
        (Err(refused), _) => refused,
        (Ok(ask), None) => {
            let message = format!("The model `{model}` does not exist: no such behaviour");
            match ask.asked {
                Asked::Messages => message_refusal(404, &message),
                Asked::Gemini { .. } => content_refusal(404, &message),
                Asked::Converse => bedrock::refused("ResourceNotFoundException", &message),
                Asked::Chat | Asked::Embeddings { .. } | Asked::Responses { .. } => refusal(404, &message),
            }
        }
        (Ok(ask), Some(plan)) if let Some(why) = ask.why_not(&plan) => refusal(400, &why),
        (Ok(ask), Some(plan)) => {
            let plan = plan.after_tools(ask.has_result);
            Script::of(&plan, &ask, &body, turn.sequence, plan.which.strikes(turn.of_model))
        }
    };
    if !script.stops_when_left {
        tallies.billed(&model, script.usage);
    }
    match play(wire, tallies, &model, &script).await {
        Ok(next) => Ok(next),
        Err(Left) => {
            tallies.left(&model);
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }
}

/// Writes a script out. What it bills was billed before, since a provider that has begun to generate goes on for nobody;
/// only a script that stops when its client leaves is billed here, for what was written.
async fn play(wire: &mut Wire, tallies: &Tallies, model: &str, script: &Script) -> Result<Next, Left> {
    let mut begin = 0;
    let mut tokens = 0;
    for (place, piece) in script.pieces.iter().enumerate() {
        let last = place + 1 == script.pieces.len();
        if wait(wire, piece.wait_ms).await.is_err() {
            bill_written(tallies, model, script, tokens);
            return Err(Left);
        }
        tokens += piece.tokens;
        if place == 0 {
            tallies.sent_status(model, script.status);
        }
        if last {
            bill_written(tallies, model, script, tokens);
        }
        if last && script.complete {
            tallies.completed(model);
        }
        if wire.write(&script.bytes[begin..piece.end]).await.is_err() {
            if !last {
                bill_written(tallies, model, script, tokens);
            }
            return Err(Left);
        }
        if script.yields {
            tokio::task::yield_now().await;
        }
        begin = piece.end;
    }
    match &script.end {
        End::Keep => Ok(Next::Request),
        End::Close => Ok(Next::Close),
        End::Reset => {
            pause(if begin == 0 { 0 } else { BEFORE_RESET_MS }).await;
            wire.reset_on_drop().map_err(|_| Left)?;
            Ok(Next::Close)
        }
        End::Stall => Err(wire.until_left().await),
        End::Endless(more, wait_ms) => loop {
            wait(wire, *wait_ms).await?;
            wire.write(more).await.map_err(|_| Left)?;
        },
    }
}

fn bill_written(tallies: &Tallies, model: &str, script: &Script, tokens: u64) {
    if script.stops_when_left {
        let output = tokens.min(script.usage.output);
        let reasoning = script.usage.reasoning.min(output);
        tallies.billed(model, Usage { output, reasoning, ..script.usage });
    }
}

/// Waits, unless the client leaves first.
async fn wait(wire: &mut Wire, ms: u64) -> Result<(), Left> {
    if ms == 0 {
        return if wire.has_left() { Err(Left) } else { Ok(()) };
    }
    tokio::select! {
        left = wire.until_left() => Err(left),
        () = pause(ms) => Ok(()),
    }
}

/// Real time passes here: latency on the wire is what the double is for.
#[allow(clippy::disallowed_methods, reason = "the double stands outside of the program whose clock is injected")]
async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
