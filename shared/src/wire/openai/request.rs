//! A chat request, read into what the gateway needs to know of it; what providers would refuse later is refused here.

use crate::error::Error;
use crate::money::ServiceTier;
use crate::wire::body::{Body, each, integer, name_of_model, names_of_models, number, parse, parse_object};
use crate::wire::facts::{AnswerFormat, Efforts, Facts};
use crate::wire::json::{fields, text_of};
use crate::wire::openai::paid;
use crate::wire::reading::{Reader, add_part, complete, fits, note_turn, object, text_of_user, wrong};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Most fields of `stream_options`, which are written anew for the provider; OpenAI documents two.
const MAX_STREAM_OPTIONS: usize = 32;
/// Most answers to one request.
pub const MAX_ANSWERS: u64 = 128;

/// Reads and checks a body.
///
/// # Errors
/// [`Error::InvalidRequest`] names the first field that is missing or not what it must be.
pub(super) fn read(bytes: Bytes) -> Result<(Body, Facts), Error> {
    let facts = Facts { body_bytes: bytes.len(), ..Facts::default() };
    let mut reader = ChatReader { facts, bytes: bytes.clone() };
    let body = Body::json(bytes, |name, value| reader.field(name, value))?;
    let is_asked = reader.facts.messages > 0;
    let facts = complete(reader.facts, is_asked, "messages", "Send at least one message.")?;
    Ok((body, facts))
}

/// What has been read so far.
struct ChatReader {
    facts: Facts,
    /// The body, for the places of what is read.
    bytes: Bytes,
}

impl Reader for ChatReader {
    const KNOWN: &'static [&'static str] = &paid::KNOWN;

    fn facts(&mut self) -> &mut Facts {
        &mut self.facts
    }

    fn changes_price(name: &str, value: &RawValue) -> bool {
        paid::changes_price(name, value)
    }

    fn known(&mut self, name: &str, value: &RawValue) -> Result<(), Error> {
        match name {
            "model" => self.facts.model = name_of_model("model", value)?,
            "models" => self.facts.models = names_of_models(name, value)?,
            "messages" => self.read_messages(value)?,
            "stream" => self.facts.stream = parse(name, value, "must be true or false")?,
            "stream_options" => {
                #[derive(Deserialize)]
                struct StreamOptions {
                    #[serde(default)]
                    include_usage: Option<bool>,
                }
                let must = "must be an object with `include_usage`: true or false";
                let options: StreamOptions = parse_object(name, value, must)?;
                fields(value.get(), MAX_STREAM_OPTIONS)
                    .map_err(|_| Error::invalid(name, format!("`{name}` {must}, and few fields beside.")))?;
                self.facts.include_usage = options.include_usage.unwrap_or(false);
            }
            "n" => self.facts.n = integer(name, value, 1, MAX_ANSWERS)?,
            "max_tokens" | "max_completion_tokens" => {
                let max_tokens = integer(name, value, 1, 100_000_000)?;
                self.facts.max_output_tokens =
                    Some(self.facts.max_output_tokens.map_or(max_tokens, |other| other.min(max_tokens)));
            }
            "temperature" | "top_p" | "top_k" | "min_p" | "presence_penalty" | "frequency_penalty" => {
                self.read_sampling(name, value)?;
            }
            "reasoning_effort" => {
                self.facts.needs.reasoning = true;
                self.facts.needs.efforts = Efforts::named(&text_of(value.get()));
            }
            "tool_choice" => self.facts.needs.forced_tools = is_forced(value),
            "logprobs" => self.facts.needs.logprobs = parse(name, value, "must be true or false")?,
            "top_logprobs" => drop(integer(name, value, 0, 20)?),
            "seed" => drop(parse::<i64>(name, value, "must be an integer")?),
            "user" => drop(parse::<Cow<'_, str>>(name, value, "must be a string")?),
            "parallel_tool_calls" => drop(parse::<bool>(name, value, "must be true or false")?),
            "stop" if !value.get().starts_with(['"', '[']) => {
                return Err(Error::invalid(name, "`stop` must be a string or a list of strings."));
            }
            "stop" => self.facts.has_stops = true,
            "service_tier" => self.facts.service_tier = ServiceTier::parse(&text_of(value.get())),
            "tools" | "functions" => self.read_tools(name, value)?,
            "response_format" => self.facts.answer_format = answer_format(value)?,
            _ => {}
        }
        Ok(())
    }
}

impl ChatReader {
    fn read_sampling(&mut self, name: &str, value: &RawValue) -> Result<(), Error> {
        self.facts.needs.sampling |= match name {
            "temperature" => {
                self.facts.temperature = Some(number(name, value, 0.0, 2.0)?);
                true
            }
            "top_p" => number(name, value, 0.0, 1.0).map(|_| true)?,
            // Those of many clients say 0 with every request, which nobody refuses.
            "presence_penalty" | "frequency_penalty" => number(name, value, -2.0, 2.0)? != 0.0,
            _ => true,
        };
        Ok(())
    }

    fn read_tools(&mut self, name: &str, value: &RawValue) -> Result<(), Error> {
        let tools = each(name, value, "must be a list of objects", |i, tool| {
            let path = || format!("{name}[{i}]");
            if !tool.get().starts_with('{') {
                return Err(Error::invalid(path(), format!("`{}` must be an object.", path())));
            }
            let tool: WireTool<'_> = serde_json::from_str(tool.get()).map_err(|_| {
                Error::invalid(path() + ".type", format!("`{}.type` must be a string, given once.", path()))
            })?;
            if tool.kind.is_some_and(|kind| paid::tool_changes_price(&kind)) {
                self.facts.note_paid_extra(&(path() + ".type"));
            }
            Ok(())
        })?;
        self.facts.needs.tools |= tools > 0;
        Ok(())
    }

    fn read_messages(&mut self, value: &RawValue) -> Result<(), Error> {
        self.facts.messages = each("messages", value, "must be a list of messages", |i, raw| {
            let path = || format!("messages[{i}]");
            let message: WireMessage<'_> = object(path, raw, "a message")?;
            let role = message.role.as_deref().unwrap_or("");
            if !matches!(role, "system" | "developer" | "user" | "assistant" | "tool" | "function") {
                let allowed = "system, developer, user, assistant, tool or function";
                return Err(Error::invalid(path() + ".role", format!("`{}.role` must be {allowed}.", path())));
            }
            self.facts.is_after_tool = matches!(role, "tool" | "function");
            let content = message.content.map_or("null", RawValue::get);
            let mut text = String::new();
            match content.as_bytes().first() {
                Some(b'"') if role == "user" => {
                    text = text_of_user(&format!("{}.content", path()), message.content.unwrap_or(raw))?;
                }
                Some(b'"') => {}
                Some(b'[') => self.read_parts(&path(), message.content.unwrap_or(raw), &mut text)?,
                _ if content == "null" && role == "assistant" => {}
                _ => return Err(wrong(&path(), ".content", "must be a string or a list of parts")),
            }
            self.facts.context.is_answered |= role == "assistant";
            if let Some(content) = message.content {
                note_turn(&mut self.facts, &self.bytes, role, content, text);
            }
            Ok(())
        })?;
        Ok(())
    }

    fn read_parts(&mut self, path: &str, content: &RawValue, text: &mut String) -> Result<(), Error> {
        each(&format!("{path}.content"), content, "must be a list of parts", |i, raw| {
            let path = || format!("{path}.content[{i}]");
            let part: WirePart<'_> = object(path, raw, "a part")?;
            match part.kind.as_deref() {
                Some("text") => {
                    let piece = part.text.ok_or_else(|| wrong(&path(), ".text", "must be a string"))?;
                    add_part(text, &piece);
                }
                Some("image_url") => {
                    self.facts.images += 1;
                    self.facts.image_bytes += part.image_url.map_or(0, |url| url.get().len());
                }
                Some("file") => self.facts.needs.documents = true,
                Some(_) => {}
                None => return Err(wrong(&path(), ".type", "must be a string")),
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// Whether a `tool_choice` orders a call: it is `required`, or names one tool, or some of which one is required.
fn is_forced(value: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Choice<'a> {
        #[serde(borrow, default, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        allowed_tools: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Allowed<'a> {
        #[serde(borrow, default)]
        mode: Cow<'a, str>,
    }
    if let Ok(word) = serde_json::from_str::<Cow<'_, str>>(value.get()) {
        return word == "required" || word == "any";
    }
    let Ok(choice) = serde_json::from_str::<Choice<'_>>(value.get()) else { return false };
    let mode = choice.allowed_tools.and_then(|raw| serde_json::from_str::<Allowed<'_>>(raw.get()).ok());
    match &*choice.kind {
        "function" | "custom" => true,
        "allowed_tools" => mode.is_some_and(|allowed| allowed.mode == "required"),
        _ => false,
    }
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WirePart<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    image_url: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireTool<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

fn answer_format(value: &RawValue) -> Result<AnswerFormat, Error> {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        json_schema: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Schema<'a> {
        #[serde(borrow, default)]
        schema: Option<&'a RawValue>,
    }
    let format: Format<'_> = parse_object("response_format", value, "must be an object with a `type`")?;
    match &*format.kind {
        "json_object" => Ok(AnswerFormat::JsonObject),
        "json_schema" => {
            let path = "response_format.json_schema";
            let schema = format
                .json_schema
                .ok_or_else(|| Error::invalid(path, "`response_format.json_schema` is required with this type."))?;
            let schema: Schema<'_> = parse_object(path, schema, "must be an object")?;
            Ok(fits(schema.schema.map_or("true", RawValue::get)))
        }
        _ => Ok(AnswerFormat::Text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::wire::body::MAX_MODELS;
    use crate::wire::conversation::Effort;
    use crate::wire::facts::Capabilities;
    use crate::wire::schema::MAX_SCHEMA_BYTES;
    use proptest::prelude::*;

    fn refused(body: &str) -> (Option<String>, String) {
        match read(Bytes::copy_from_slice(body.as_bytes())) {
            Err(Error::InvalidRequest { param, message }) => (param, message),
            other => panic!("{body} should be refused, but: {other:?}"),
        }
    }

    /// So many fields, each with a comma behind it.
    fn members(count: usize) -> String {
        (0..count).map(|number| format!(r#""x{number}":1,"#)).collect()
    }

    /// What is known of a request with these fields beside a model and a message.
    fn facts_of(fields: &str) -> Facts {
        let body = format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"x"}}],{fields}}}"#);
        read(body.into()).unwrap().1
    }

    #[test]
    fn what_a_request_needs_is_read() {
        for (fields, most) in [
            (r#""max_tokens":5,"max_completion_tokens":6"#, 5),
            (r#""max_completion_tokens":5,"max_tokens":6"#, 5),
            (r#""max_tokens":6,"max_completion_tokens":5"#, 5),
        ] {
            assert_eq!(facts_of(fields).max_output_tokens, Some(most), "{fields}");
        }
        let needs = Capabilities::default();
        let (forced, very_high) =
            (Capabilities { forced_tools: true, ..needs }, Efforts::default().and(Effort::VeryHigh));
        for (fields, needs) in [
            (r#""tools":[{"type":"function"}]"#, Capabilities { tools: true, ..needs }),
            (r#""functions":[{"name":"f"}]"#, Capabilities { tools: true, ..needs }),
            (r#""tools":[{"type":"function"}],"functions":[]"#, Capabilities { tools: true, ..needs }),
            (r#""tools":[]"#, needs),
            (r#""logprobs":true"#, Capabilities { logprobs: true, ..needs }),
            (r#""logprobs":false"#, needs),
            (
                r#""response_format":{"type":"json_schema","json_schema":{}}"#,
                Capabilities { json_schema: true, ..needs },
            ),
            (r#""response_format":{"type":"json_object"}"#, needs),
            (r#""temperature":1"#, Capabilities { sampling: true, ..needs }),
            (r#""temperature":null"#, needs),
            (r#""top_p":0.5"#, Capabilities { sampling: true, ..needs }),
            (r#""top_k":5"#, Capabilities { sampling: true, ..needs }),
            (r#""presence_penalty":0,"frequency_penalty":0.0"#, needs),
            (r#""presence_penalty":0.5,"frequency_penalty":0"#, Capabilities { sampling: true, ..needs }),
            (r#""reasoning_effort":"xhigh""#, Capabilities { reasoning: true, efforts: very_high, ..needs }),
            (r#""reasoning_effort":"utmost""#, Capabilities { reasoning: true, ..needs }),
            (r#""tool_choice":"auto""#, needs),
            (r#""tool_choice":"none""#, needs),
            (r#""tool_choice":"required""#, forced),
            (r#""tool_choice":{"type":"function","function":{"name":"f"}}"#, forced),
            (r#""tool_choice":{"type":"custom","custom":{"name":"f"}}"#, forced),
            (r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}}"#, needs),
            (r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[]}}"#, forced),
            (r#""tool_choice":5"#, needs),
        ] {
            assert_eq!(facts_of(fields).needs, needs, "{fields}");
        }
        for (options, include_usage) in [("true", true), ("false", false), ("null", false)] {
            let facts = facts_of(&format!(r#""stream_options":{{"include_usage":{options}}}"#));
            assert_eq!(facts.include_usage, include_usage, "{options}");
        }
        assert_eq!(facts_of(&format!(r#""stream_options":{{{}"z":1}}"#, members(MAX_STREAM_OPTIONS - 1))).n, 1);
    }

    #[test]
    fn a_schema_that_is_too_long_to_be_looked_at_takes_every_answer() {
        for (bytes, is_kept) in [(MAX_SCHEMA_BYTES, true), (MAX_SCHEMA_BYTES + 1, false)] {
            let schema = format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
            let format = format!(r#""response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}"#);
            let kept = if is_kept { schema.as_str() } else { "true" };
            assert_eq!(facts_of(&format).answer_format, AnswerFormat::JsonSchema(kept.into()), "{bytes}");
        }
    }

    #[test]
    fn every_wrong_field_is_named() {
        let ok = r#""model":"auto","messages":[{"role":"user","content":"x"}]"#;
        for (body, param) in [
            ("", None),
            ("   ", None),
            ("[]", None),
            ("{", None),
            ("nonsense", None),
            (r#"{"messages":[{"role":"user","content":"x"}]}"#, Some("model")),
            (r#"{"model":null,"messages":[{"role":"user","content":"x"}]}"#, Some("model")),
            (r#"{"model":5,"messages":[{"role":"user","content":"x"}]}"#, Some("model")),
            (r#"{"model":"a\nb","messages":[{"role":"user","content":"x"}]}"#, Some("model")),
            (r#"{"model":"auto"}"#, Some("messages")),
            (r#"{"model":"auto","messages":[]}"#, Some("messages")),
            (r#"{"model":"auto","messages":"x"}"#, Some("messages")),
            (r#"{"model":"auto","messages":[5]}"#, Some("messages[0]")),
            (r#"{"model":"auto","messages":[["user","x"]]}"#, Some("messages[0]")),
            (
                r#"{"model":"auto","messages":[{"role":"user","content":[["text","x"]]}]}"#,
                Some("messages[0].content[0]"),
            ),
            (
                r#"{"model":"auto","messages":[{"role":"user","content":"x"},{"role":"wizard","content":"x"}]}"#,
                Some("messages[1].role"),
            ),
            (r#"{"model":"auto","messages":[{"role":"user"}]}"#, Some("messages[0].content")),
            (r#"{"model":"auto","messages":[{"role":"user","content":5}]}"#, Some("messages[0].content")),
            (
                r#"{"model":"auto","messages":[{"role":"user","content":[{"text":"x"}]}]}"#,
                Some("messages[0].content[0].type"),
            ),
            (
                r#"{"model":"auto","messages":[{"role":"user","content":[{"type":"text"}]}]}"#,
                Some("messages[0].content[0].text"),
            ),
            (r#"{"model":"auto","model":"b","messages":[]}"#, Some("model")),
            (&format!(r#"{{{ok},"max_tokens":-1}}"#), Some("max_tokens")),
            (&format!(r#"{{{ok},"max_tokens":0}}"#), Some("max_tokens")),
            (&format!(r#"{{{ok},"max_tokens":1e99}}"#), Some("max_tokens")),
            (&format!(r#"{{{ok},"max_tokens":1.5}}"#), Some("max_tokens")),
            (&format!(r#"{{{ok},"max_completion_tokens":"5"}}"#), Some("max_completion_tokens")),
            (&format!(r#"{{{ok},"n":0}}"#), Some("n")),
            (&format!(r#"{{{ok},"n":129}}"#), Some("n")),
            (&format!(r#"{{{ok},"temperature":2.1}}"#), Some("temperature")),
            (&format!(r#"{{{ok},"temperature":"hot"}}"#), Some("temperature")),
            (&format!(r#"{{{ok},"stream":"yes"}}"#), Some("stream")),
            (&format!(r#"{{{ok},"stream_options":[]}}"#), Some("stream_options")),
            (&format!(r#"{{{ok},"tools":[5]}}"#), Some("tools[0]")),
            (&format!(r#"{{{ok},"stop":5}}"#), Some("stop")),
            (&format!(r#"{{{ok},"response_format":{{"type":"json_schema"}}}}"#), Some("response_format.json_schema")),
            (&format!(r#"{{{ok},"response_format":["text"]}}"#), Some("response_format")),
            (
                &format!(r#"{{{ok},"response_format":{{"type":"json_schema","json_schema":[{{}}]}}}}"#),
                Some("response_format.json_schema"),
            ),
            (&format!(r#"{{{ok},"models":[]}}"#), Some("models")),
            (&format!(r#"{{{ok},"models":["a",5]}}"#), Some("models[1]")),
            (&format!(r#"{{{ok},"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200)), None),
        ] {
            assert_eq!(refused(body).0.as_deref(), param, "{body}");
        }
    }

    #[test]
    fn what_is_beyond_a_fields_bounds_is_named() {
        let names = format!("[{}\"a\"]", r#""a","#.repeat(MAX_MODELS));
        let options = format!(r#"{{{}"z":1}}"#, members(MAX_STREAM_OPTIONS));
        for (field, value) in [
            ("top_p", "1.1"),
            ("presence_penalty", "2.1"),
            ("frequency_penalty", "-2.1"),
            ("top_logprobs", "21"),
            ("seed", "1.5"),
            ("user", "5"),
            ("parallel_tool_calls", r#""yes""#),
            ("models", &names),
            ("stream_options", &options),
        ] {
            let body = format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"x"}}],"{field}":{value}}}"#);
            assert_eq!(refused(&body).0.as_deref(), Some(field), "{body}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused_with_their_place() {
        match read(Bytes::from_static(b"{\"model\":\"\xff\"}")) {
            Err(Error::InvalidRequest { message, .. }) => assert!(message.contains("the byte at 10"), "{message}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_known_is_kept_to_the_byte() {
        let body = r#"{ "model":"auto", "x_price": 1.10, "messages":[{"role":"user","content":"x","y":1e2}], "\u0061b": {"k" : [ ]} }"#;
        let (kept, _) = read(Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(kept.raw("x_price"), Some("1.10"));
        assert_eq!(kept.raw("ab"), Some(r#"{"k" : [ ]}"#));
        assert_eq!(kept.raw("messages"), Some(r#"[{"role":"user","content":"x","y":1e2}]"#));
    }

    #[test]
    fn the_service_tier_and_documents_are_noted() {
        let tier = |word: &str| facts_of(&format!(r#""service_tier":{word}"#)).service_tier;
        assert_eq!((tier(r#""flex""#), tier(r#""default""#)), (Some(ServiceTier::Flex), Some(ServiceTier::Standard)));
        assert_eq!((tier(r#""auto""#), tier("5"), tier("null")), (None, None, None));
        let body =
            r#"{"model":"auto","messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"x"}}]}]}"#;
        let needs = read(Bytes::from_static(body.as_bytes())).unwrap().1.needs;
        assert_eq!(needs, Capabilities { documents: true, ..Capabilities::default() });
    }

    #[test]
    fn the_prompt_is_the_last_text_of_the_user() {
        let body = r#"{"model":"auto","messages":[{"role":"system","content":"s"},{"role":"user","content":"first"},
            {"role":"assistant","content":null,"tool_calls":[]},{"role":"tool","content":"t","tool_call_id":"1"},
            {"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:,"}},{"type":"text","text":"b"}]},
            {"role":"assistant","content":[{"type":"text","text":"c"}]}]}"#;
        let (_, facts) = read(Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!((facts.prompt.as_str(), facts.images, facts.messages), ("a\nb", 1, 6));
        assert_eq!((facts.image_bytes, facts.needs.vision), (r#"{"url":"data:,"}"#.len(), true));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(Bytes::from(body));
        }

        #[test]
        fn no_json_makes_the_parser_panic(value in ".{0,40}", n in any::<f64>()) {
            for name in ["model", "messages", "tools", "n", "stop", "response_format"] {
                let body = serde_json::json!({"model": "auto", name: [{"role": "user", "content": value}, n, value]});
                let _ = read(Bytes::from(body.to_string()));
            }
        }
    }
}
