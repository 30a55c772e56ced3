//! A chat request as it came: checked, understood as far as the gateway needs, and otherwise left alone.
//!
//! The body is kept byte for byte, with the place of each top-level field in it. What goes to a provider is these very
//! bytes with a few fields replaced, so that a field which the gateway does not know, and a number which a float would
//! bend, reach the provider untouched. A field given twice is refused: two readers of such a body could take different
//! ones, and one of the two readers is what decided the limits.

use crate::error::Error;
use crate::wire::json::{BadFields, Stopped, fields, items};
use crate::wire::openai::paid;
use crate::wire::schema::MAX_SCHEMA_BYTES;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Deepest nesting of a body; deeper ones are refused before any recursive reader meets them.
const MAX_DEPTH: usize = 96;
/// Most top-level fields of a body; OpenAI documents some forty.
const MAX_FIELDS: usize = 256;
/// Most fields of `stream_options`, which are written anew for the provider; OpenAI documents two.
const MAX_STREAM_OPTIONS: usize = 32;
/// Most names in `models`.
const MAX_MODELS: usize = 32;
/// Most answers to one request.
pub const MAX_ANSWERS: u64 = 128;

/// A place for one field's value in the body.
#[derive(Debug, Clone)]
struct Field {
    name: Box<str>,
    value: Range<usize>,
}

/// What kind of answer the client wants.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerFormat {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that fits this schema, as it stands in the body: a tree of it would be many times its size, and is made only
    /// where an answer is judged.
    JsonSchema(Arc<str>),
}

/// A chat request.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    body: Bytes,
    fields: Vec<Field>,
    /// `auto`, a tier, a catalog name or an alias.
    pub model: Arc<str>,
    /// Further names, in order of preference.
    pub models: Vec<Arc<str>>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether a stream is to end with its usage.
    pub include_usage: bool,
    /// How many answers are wanted.
    pub n: u64,
    /// The most tokens that one answer may have, if the client says.
    pub max_output_tokens: Option<u64>,
    /// The sampling temperature, if the client says.
    pub temperature: Option<f64>,
    /// Whether the client wants log-probabilities.
    pub logprobs: bool,
    /// Whether there are tools.
    pub has_tools: bool,
    /// The first field that changes what the provider bills at, if there is one; see [`crate::tenant::TenantSettings`].
    pub paid_extra: Option<Box<str>>,
    /// What kind of answer is wanted.
    pub format: AnswerFormat,
    /// How many messages there are.
    pub messages: usize,
    /// How many images there are.
    pub images: usize,
    /// Bytes of the images that stand in the body itself.
    pub image_bytes: usize,
    /// The text of the last message of the user.
    pub prompt: String,
}

impl ChatRequest {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] names the first field that is missing or not what it must be.
    pub fn parse(body: Bytes) -> Result<Self, Error> {
        let text = std::str::from_utf8(&body).map_err(|e| {
            let message =
                format!("The body is not UTF-8: the byte at {} is the first that does not fit.", e.valid_up_to());
            Error::InvalidRequest { param: None, message }
        })?;
        if text.trim_ascii().is_empty() {
            return Err(Error::InvalidRequest {
                param: None,
                message: "The body is empty; send a JSON object.".into(),
            });
        }
        check_depth(text)?;
        let pairs = fields(text, MAX_FIELDS).map_err(|bad| match bad {
            BadFields::NoObject(_) if !text.trim_ascii_start().starts_with('{') => {
                Error::InvalidRequest { param: None, message: "The body is not a JSON object.".into() }
            }
            BadFields::NoObject(e) => {
                Error::InvalidRequest { param: None, message: format!("The body is not a JSON object: {e}.") }
            }
            BadFields::TooMany => {
                let message = format!("The body has more than {MAX_FIELDS} top-level fields.");
                Error::InvalidRequest { param: None, message }
            }
            BadFields::Twice(name) => Error::invalid(name, "This field is given twice."),
        })?;
        let mut request = Self {
            body: Bytes::new(),
            fields: Vec::with_capacity(pairs.len()),
            model: "".into(),
            models: Vec::new(),
            stream: false,
            include_usage: false,
            n: 1,
            max_output_tokens: None,
            temperature: None,
            logprobs: false,
            has_tools: false,
            paid_extra: None,
            format: AnswerFormat::Text,
            messages: 0,
            images: 0,
            image_bytes: 0,
            prompt: String::new(),
        };
        for (name, value) in &pairs {
            if let Some(known) = paid::disguised(name) {
                let message = format!("`{name}` is `{known}` to a reader that ignores case; send `{known}` itself.");
                return Err(Error::invalid(name.as_ref(), message));
            }
            let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
            request.fields.push(Field { name: name.as_ref().into(), value: start..start + value.get().len() });
            if value.get() != "null" {
                request.read(name, value)?;
                if paid::changes_price(name, value) {
                    request.paid_extra.get_or_insert_with(|| name.as_ref().into());
                }
            }
        }
        if request.model.is_empty() && request.models.is_empty() {
            return Err(Error::invalid("model", "Say which model: `auto`, a tier, or a name of GET /v1/models."));
        }
        if request.messages == 0 {
            return Err(Error::invalid("messages", "Send at least one message."));
        }
        drop(pairs);
        request.body = body;
        Ok(request)
    }

    /// Takes from one field what the gateway needs to know, and checks what providers would otherwise refuse later.
    fn read(&mut self, name: &str, value: &RawValue) -> Result<(), Error> {
        match name {
            "model" => self.model = name_of_model("model", value)?,
            "models" => {
                let wrong = || Error::invalid(name, format!("`models` must list 1 to {MAX_MODELS} names."));
                let listed = each(name, value, "must be a list of model names", |i, entry| {
                    if i == MAX_MODELS {
                        return Err(wrong());
                    }
                    self.models.push(name_of_model(&format!("models[{i}]"), entry)?);
                    Ok(())
                })?;
                if listed == 0 {
                    return Err(wrong());
                }
            }
            "messages" => self.read_messages(value)?,
            "stream" => self.stream = parse(name, value, "must be true or false")?,
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
                self.include_usage = options.include_usage.unwrap_or(false);
            }
            "n" => self.n = integer(name, value, 1, MAX_ANSWERS)?,
            "max_tokens" | "max_completion_tokens" => {
                let most = integer(name, value, 1, 100_000_000)?;
                self.max_output_tokens = Some(self.max_output_tokens.map_or(most, |other| other.min(most)));
            }
            "temperature" => self.temperature = Some(number(name, value, 0.0, 2.0)?),
            "top_p" => drop(number(name, value, 0.0, 1.0)?),
            "presence_penalty" | "frequency_penalty" => drop(number(name, value, -2.0, 2.0)?),
            "logprobs" => self.logprobs = parse(name, value, "must be true or false")?,
            "top_logprobs" => drop(integer(name, value, 0, 20)?),
            "seed" => drop(parse::<i64>(name, value, "must be an integer")?),
            "user" => drop(parse::<Cow<'_, str>>(name, value, "must be a string")?),
            "parallel_tool_calls" => drop(parse::<bool>(name, value, "must be true or false")?),
            "stop" if !value.get().starts_with(['"', '[']) => {
                return Err(Error::invalid(name, "`stop` must be a string or a list of strings."));
            }
            "tools" | "functions" => {
                let tools = each(name, value, "must be a list of objects", |i, tool| {
                    let path = || format!("{name}[{i}]");
                    if !tool.get().starts_with('{') {
                        return Err(Error::invalid(path(), format!("`{}` must be an object.", path())));
                    }
                    let tool: WireTool<'_> = serde_json::from_str(tool.get()).map_err(|_| {
                        Error::invalid(path() + ".type", format!("`{}.type` must be a string, given once.", path()))
                    })?;
                    if tool.kind.is_some_and(|kind| paid::tool_changes_price(&kind)) {
                        self.paid_extra.get_or_insert_with(|| (path() + ".type").into());
                    }
                    Ok(())
                })?;
                self.has_tools = tools > 0;
            }
            "response_format" => self.format = answer_format(value)?,
            _ => {}
        }
        Ok(())
    }

    fn read_messages(&mut self, value: &RawValue) -> Result<(), Error> {
        self.messages = each("messages", value, "must be a list of messages", |i, raw| {
            let path = || format!("messages[{i}]");
            if !raw.get().starts_with('{') {
                return Err(Error::invalid(path(), format!("`{}` must be an object.", path())));
            }
            let message: WireMessage<'_> = serde_json::from_str(raw.get())
                .map_err(|e| Error::invalid(path(), format!("`{}` is not a message: {}.", path(), short(&e))))?;
            let role = message.role.as_deref().unwrap_or("");
            if !matches!(role, "system" | "developer" | "user" | "assistant" | "tool" | "function") {
                let allowed = "system, developer, user, assistant, tool or function";
                return Err(Error::invalid(path() + ".role", format!("`{}.role` must be {allowed}.", path())));
            }
            let content = message.content.map_or("null", RawValue::get);
            let mut text = String::new();
            match content.as_bytes().first() {
                Some(b'"') if role == "user" => {
                    text = parse(
                        &format!("{}.content", path()),
                        message.content.unwrap_or(raw),
                        "must be text; half of a surrogate pair is none",
                    )?;
                }
                Some(b'"') => {}
                Some(b'[') => self.read_parts(&path(), message.content.unwrap_or(raw), &mut text)?,
                _ if content == "null" && role == "assistant" => {}
                _ => {
                    let must = "must be a string or a list of parts";
                    return Err(Error::invalid(path() + ".content", format!("`{}.content` {must}.", path())));
                }
            }
            if role == "user" && !text.is_empty() {
                self.prompt = text;
            }
            Ok(())
        })?;
        Ok(())
    }

    fn read_parts(&mut self, path: &str, content: &RawValue, text: &mut String) -> Result<(), Error> {
        each(&format!("{path}.content"), content, "must be a list of parts", |i, raw| {
            if !raw.get().starts_with('{') {
                let path = format!("{path}.content[{i}]");
                return Err(Error::invalid(path.clone(), format!("`{path}` must be an object.")));
            }
            let part: WirePart<'_> = serde_json::from_str(raw.get()).map_err(|e| {
                let path = format!("{path}.content[{i}]");
                Error::invalid(path.clone(), format!("`{path}` is not a part: {}.", short(&e)))
            })?;
            match part.kind.as_deref() {
                Some("text") => {
                    let Some(piece) = part.text else {
                        let path = format!("{path}.content[{i}].text");
                        return Err(Error::invalid(path.clone(), format!("`{path}` must be a string.")));
                    };
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    text.push_str(&piece);
                }
                Some("image_url") => {
                    self.images += 1;
                    self.image_bytes += part.image_url.map_or(0, |url| url.get().len());
                }
                Some(_) => {}
                None => {
                    let path = format!("{path}.content[{i}].type");
                    return Err(Error::invalid(path.clone(), format!("`{path}` must be a string.")));
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The value of a top-level field as it stands in the body.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|field| &*field.name == name)?;
        std::str::from_utf8(&self.body[field.value.clone()]).ok()
    }

    /// All top-level fields as they stand in the body, in order.
    pub fn raw_fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| (&*field.name, &self.body[field.value.clone()]))
    }

    /// SHA-256 of the body as it came.
    #[must_use]
    pub fn body_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.body).into()
    }

    /// Bytes of the body.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body.len()
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

/// Hands each item of a list to `take`, until one is refused; answers how many there are.
fn each<'a>(
    name: &str,
    list: &'a RawValue,
    must: &str,
    take: impl FnMut(usize, &'a RawValue) -> Result<(), Error>,
) -> Result<usize, Error> {
    items(list.get(), take).map_err(|stopped| match stopped {
        Stopped::NoList => Error::invalid(name, format!("`{name}` {must}.")),
        Stopped::Refused(error) => error,
    })
}

fn parse<'a, T: Deserialize<'a>>(name: &str, value: &'a RawValue, must: &str) -> Result<T, Error> {
    serde_json::from_str(value.get()).map_err(|_| Error::invalid(name, format!("`{name}` {must}.")))
}

/// As [`parse`], for a struct: serde would take a list of its fields' values for one.
fn parse_object<'a, T: Deserialize<'a>>(name: &str, value: &'a RawValue, must: &str) -> Result<T, Error> {
    if value.get().starts_with('{') {
        parse(name, value, must)
    } else {
        Err(Error::invalid(name, format!("`{name}` {must}.")))
    }
}

fn name_of_model(path: &str, value: &RawValue) -> Result<Arc<str>, Error> {
    let name: Cow<'_, str> = parse(path, value, "must be a string")?;
    if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        return Err(Error::invalid(path, format!("`{path}` must be 1 to 256 bytes without control characters.")));
    }
    Ok(name.as_ref().into())
}

fn integer(name: &str, value: &RawValue, least: u64, most: u64) -> Result<u64, Error> {
    let must = || format!("must be an integer from {least} to {most}");
    let number: u64 = parse(name, value, &must())?;
    if number < least || number > most {
        return Err(Error::invalid(name, format!("`{name}` {}.", must())));
    }
    Ok(number)
}

fn number(name: &str, value: &RawValue, least: f64, most: f64) -> Result<f64, Error> {
    let must = || format!("must be a number from {least} to {most}");
    let number: f64 = parse(name, value, &must())?;
    if !(least..=most).contains(&number) {
        return Err(Error::invalid(name, format!("`{name}` {}.", must())));
    }
    Ok(number)
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
            let schema = schema.schema.map_or("true", RawValue::get);
            // A larger one goes to the provider all the same; here every answer fits it.
            Ok(AnswerFormat::JsonSchema(if schema.len() > MAX_SCHEMA_BYTES { "true" } else { schema }.into()))
        }
        _ => Ok(AnswerFormat::Text),
    }
}

/// A serde message without the position, which would count from the field and not from the body.
fn short(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn check_depth(text: &str) -> Result<(), Error> {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    let message = format!("The body is nested deeper than {MAX_DEPTH} levels.");
                    return Err(Error::InvalidRequest { param: None, message });
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn refused(body: &str) -> (Option<String>, String) {
        match ChatRequest::parse(Bytes::copy_from_slice(body.as_bytes())) {
            Err(Error::InvalidRequest { param, message }) => (param, message),
            other => panic!("{body} should be refused, but: {other:?}"),
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
    fn bytes_that_are_not_utf_8_are_refused_with_their_place() {
        match ChatRequest::parse(Bytes::from_static(b"{\"model\":\"\xff\"}")) {
            Err(Error::InvalidRequest { message, .. }) => assert!(message.contains("the byte at 10"), "{message}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_known_is_kept_to_the_byte() {
        let body = r#"{ "model":"auto", "x_price": 1.10, "messages":[{"role":"user","content":"x","y":1e2}], "\u0061b": {"k" : [ ]} }"#;
        let request = ChatRequest::parse(Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(request.raw("x_price"), Some("1.10"));
        assert_eq!(request.raw("ab"), Some(r#"{"k" : [ ]}"#));
        assert_eq!(request.raw("messages"), Some(r#"[{"role":"user","content":"x","y":1e2}]"#));
    }

    #[test]
    fn the_prompt_is_the_last_text_of_the_user() {
        let body = r#"{"model":"auto","messages":[{"role":"system","content":"s"},{"role":"user","content":"first"},
            {"role":"assistant","content":null,"tool_calls":[]},{"role":"tool","content":"t","tool_call_id":"1"},
            {"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:,"}},{"type":"text","text":"b"}]}]}"#;
        let request = ChatRequest::parse(Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!((request.prompt.as_str(), request.images, request.messages), ("a\nb", 1, 5));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = ChatRequest::parse(Bytes::from(body));
        }

        #[test]
        fn no_json_makes_the_parser_panic(value in ".{0,40}", n in any::<f64>()) {
            for name in ["model", "messages", "tools", "n", "stop", "response_format"] {
                let body = serde_json::json!({"model": "auto", name: [{"role": "user", "content": value}, n, value]});
                let _ = ChatRequest::parse(Bytes::from(body.to_string()));
            }
        }
    }
}
