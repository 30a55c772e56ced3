//! OpenAI's formats as Azure serves them, below `/azure/openai/`: addresses of two kinds, one header for keys, errors of its
//! own, and what its filters say in streams.

use crate::answer::{Event, quote};
use crate::ask::Ask;
use crate::behaviour::{Fault, Plan};
use crate::http::{Request, header};
use crate::responses;
use crate::script::Script;
use std::ops::Range;

/// Where Azure's addresses begin.
pub(crate) const PREFIX: &str = "/azure/openai/";

/// What the filters say of one text.
const VERDICT: &str =
    r#"{"hate":{"filtered":false,"severity":"safe"},"jailbreak":{"filtered":false,"detected":false}}"#;

/// Reads a request.
///
/// # Errors
/// As Azure refuses it.
pub(crate) fn ask(request: &Request) -> Result<Ask, Script> {
    let has = |name| header(&request.headers, name).is_some();
    if has("api-key") == has("authorization") {
        return Err(refused(401, "401", "Access denied due to invalid subscription key or wrong API endpoint."));
    }
    let version = request.query.strip_prefix("api-version=").unwrap_or_default();
    let path = request.path.strip_prefix(PREFIX).unwrap_or_default();
    let segments: Vec<&str> = path.split('/').collect();
    let (deployment, is_responses) = match (&segments[..], version.starts_with("20")) {
        (["v1", ..], true) => {
            let why = "api-version query parameter is not allowed when using /v1 path";
            return Err(refused(400, "BadRequest", why));
        }
        (["v1", "chat", "completions"], false) => (None, false),
        (["v1", "responses"], false) | (["responses"], true) => (None, true),
        (["deployments", deployment, "chat", "completions"], true) => (Some(decoded(deployment)), false),
        _ => return Err(refused(404, "404", "Resource not found")),
    };
    let ask = if is_responses { responses::ask(&request.body) } else { Ask::parse(&request.body) };
    let mut ask = ask.map_err(|why| refused(400, "BadRequest", &why))?;
    ask.is_azure = true;
    ask.model = deployment.unwrap_or(ask.model);
    match Plan::parse(&ask.model).map(|plan| plan.fault) {
        None => Err(refused(404, "DeploymentNotFound", "The API deployment for this resource does not exist.")),
        Some(Fault::Refuse(refusal)) if refusal.code == "content_policy_violation" => Err(blocked()),
        Some(_) => Ok(ask),
    }
}

fn refused(status: u16, code: &str, message: &str) -> Script {
    let body = format!(r#"{{"error":{{"code":"{code}","message":{}}}}}"#, quote(message));
    Script::plain(status, "application/json", &body)
}

/// The refusal of a prompt that a filter has caught.
fn blocked() -> Script {
    let message = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.";
    let inner = r#"{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}"#;
    let body = format!(
        r#"{{"error":{{"message":"{message}","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{inner}}}}}"#
    );
    Script::plain(400, "application/json", &body)
}

/// Adds to a stream of chunks what filters say that do not wait for one another: of the prompt first, of the text between
/// and after its end. None of it has an id, a model or a date.
pub(crate) fn annotate(events: &mut Vec<Event>, finishing: &Range<usize>) -> Range<usize> {
    let event =
        |rest: &str| Event { json: format!(r#"{{"id":"","object":"","created":0,"model":"",{rest}}}"#), tokens: 0 };
    let offsets = r#""content_filter_offsets":{"check_offset":44,"start_offset":44,"end_offset":198}"#;
    let of_text = event(&format!(
        r#""choices":[{{"index":0,"finish_reason":null,"content_filter_results":{VERDICT},{offsets}}}]"#
    ));
    events.insert(finishing.end, of_text);
    events.insert(1, event(&format!(r#""choices":[],"content_filter_results":{VERDICT}"#)));
    let of_prompt =
        format!(r#""choices":[],"prompt_filter_results":[{{"prompt_index":0,"content_filter_results":{VERDICT}}}]"#);
    events.insert(0, event(&of_prompt));
    finishing.start + 2..finishing.end + 2
}

/// What a segment of a path says.
pub(crate) fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
