//! What is asked: the few fields of a request that change an answer or its price.
//!
//! Of chat requests the double is lenient where a provider would be strict (a wrong type counts as absence): what a gateway sends is
//! checked by its tests against the recorded bodies, not by guesses here.

mod embeddings;
pub(crate) mod gemini;
mod messages;

use serde_json::Value;

/// In which format a request came, and so is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Asked {
    /// Chat completions.
    Chat,
    /// Responses, and whether thoughts are to come along in a form that can be sent again.
    Responses { encrypted: bool },
    /// Anthropic's messages.
    Messages,
    /// Google's generated content: whether a stream is a list of its events, whether thoughts are told, and whether calls are
    /// signed.
    Gemini { is_list: bool, thinks_aloud: bool, signs: bool },
    /// Vectors, whether in base64, and how long if not as long as the model's.
    Embeddings { base64: bool, dimensions: Option<u64> },
    /// Bedrock's Converse.
    Converse,
}

impl Asked {
    pub(crate) fn is_gemini(self) -> bool {
        matches!(self, Self::Gemini { .. })
    }
}

/// What a message is sent for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Purpose {
    /// To be answered.
    Answer,
    /// To have its tokens counted.
    Count,
}

/// A request, as far as the double cares.
pub(crate) struct Ask {
    pub(crate) asked: Asked,
    pub(crate) model: String,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) choices: u64,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) logprobs: bool,
    pub(crate) top_logprobs: u64,
    pub(crate) prompt_tokens: u64,
    /// The first eight words of the last user message.
    pub(crate) opening: String,
    /// What the model has said already of its answer, where that stands at the end, but for a word of the user.
    pub(crate) begun: String,
    /// The name of the first tool offered.
    pub(crate) tool: String,
    /// Whether it is answered as Azure answers.
    pub(crate) is_azure: bool,
    /// What is to be embedded, each as it stands in the body.
    pub(crate) inputs: Vec<String>,
    /// Whether a tool's result is in it.
    pub(crate) has_result: bool,
}

impl Ask {
    /// Reads a chat request's body.
    ///
    /// # Errors
    /// What a provider would say is wrong with it.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        let body: Value =
            serde_json::from_slice(body).map_err(|_| "We could not parse the JSON body of your request.")?;
        let model = body["model"].as_str().ok_or("you must provide a model parameter")?;
        let messages = body["messages"].as_array().ok_or("Missing required parameter: 'messages'.")?;
        let last_user = messages.iter().rev().find(|message| message["role"] == "user");
        let last_user =
            last_user.map_or(String::new(), |message| texts(&message["content"]).collect::<Vec<_>>().join(" "));
        let bytes: usize = messages.iter().flat_map(|message| texts(&message["content"])).map(str::len).sum();
        let tool = body["tools"][0]["function"]["name"].as_str().unwrap_or("lookup");
        let begun = begun(messages, |message| texts(&message["content"]).collect());
        Ok(Self {
            asked: Asked::Chat,
            model: model.to_owned(),
            stream: body["stream"] == true,
            include_usage: body["stream_options"]["include_usage"] == true,
            choices: body["n"].as_u64().unwrap_or(1).clamp(1, 128),
            max_tokens: body["max_completion_tokens"].as_u64().or(body["max_tokens"].as_u64()),
            logprobs: body["logprobs"] == true,
            top_logprobs: body["top_logprobs"].as_u64().unwrap_or(0).min(20),
            prompt_tokens: (bytes as u64).div_ceil(4) + 3 * messages.len() as u64,
            opening: last_user.split_whitespace().take(8).collect::<Vec<_>>().join(" "),
            begun,
            tool: tool.to_owned(),
            is_azure: false,
            inputs: Vec::new(),
            has_result: messages.iter().any(|message| message["role"] == "tool"),
        })
    }
}

/// What the model has said already of its answer: in the last turns, but for one of the user.
pub(crate) fn begun<'v>(turns: &'v [Value], said: impl Fn(&'v Value) -> String) -> String {
    let is_model = |turn: &&Value| turn["role"] == "assistant" || turn["role"] == "model";
    let after_user = turns.iter().rev().skip_while(|turn| !is_model(turn));
    let all: Vec<&Value> = after_user.take_while(is_model).collect();
    let others = turns.iter().rev().take_while(|turn| !is_model(turn)).count();
    if others > 1 { String::new() } else { all.into_iter().rev().map(said).collect() }
}

/// The texts of a content: the string, or the strings of its text parts.
pub(crate) fn texts(content: &Value) -> impl Iterator<Item = &str> {
    let parts = content.as_array().map_or(&[][..], Vec::as_slice);
    content.as_str().into_iter().chain(parts.iter().filter_map(|part| part["text"].as_str()))
}
