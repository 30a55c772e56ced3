//! Requests for vectors: strict, since what a gateway sends on is what the vendor would see.

use super::{Ask, Asked};
use crate::answer::OWN_DIMENSIONS;
use crate::behaviour::{Plan, Vectors};
use serde_json::Value;

/// The fields that OpenAI knows.
const KNOWN: [&str; 5] = ["model", "input", "dimensions", "encoding_format", "user"];
const MAX_INPUTS: usize = 2_048;

impl Ask {
    /// Reads a body.
    ///
    /// # Errors
    /// What the vendor would say is wrong with it.
    pub(crate) fn parse_embeddings(body: &[u8]) -> Result<Self, String> {
        let body: Value =
            serde_json::from_slice(body).map_err(|_| "We could not parse the JSON body of your request.")?;
        let fields = body.as_object().ok_or("the body is no object")?;
        for (name, value) in fields {
            if !KNOWN.contains(&name.as_str()) {
                return Err(format!("Unrecognized request argument supplied: {name}"));
            }
            if value.is_null() {
                return Err(format!("None is not of the right type - '{name}'"));
            }
        }
        let model = body["model"].as_str().ok_or("you must provide a model parameter")?;
        let base64 = match body.get("encoding_format").map(Value::as_str) {
            None | Some(Some("float")) => false,
            Some(Some("base64")) => true,
            _ => return Err("'encoding_format' must be float or base64".to_owned()),
        };
        let dimensions = match body.get("dimensions") {
            None => None,
            Some(value) => Some(value.as_u64().filter(|length| *length > 0).ok_or("'dimensions' is no length")?),
        };
        let inputs = inputs(&body["input"])?;
        Ok(Self {
            asked: Asked::Embeddings { base64, dimensions },
            model: model.to_owned(),
            stream: false,
            include_usage: false,
            choices: 0,
            max_tokens: None,
            logprobs: false,
            top_logprobs: 0,
            prompt_tokens: inputs.iter().map(tokens).sum(),
            opening: String::new(),
            begun: String::new(),
            tool: String::new(),
            is_azure: false,
            inputs: inputs.iter().map(Value::to_string).collect(),
            has_result: false,
        })
    }

    /// Why this model refuses it.
    pub(crate) fn why_not(&self, plan: &Plan) -> Option<String> {
        let Asked::Embeddings { base64, dimensions } = self.asked else { return None };
        if plan.vectors == Vectors::StrictFormat && (base64 || dimensions.is_some()) {
            return Some("this model takes neither 'encoding_format' nor 'dimensions'".to_owned());
        }
        let own = plan.dimensions.unwrap_or(OWN_DIMENSIONS);
        dimensions.filter(|length| *length > own).map(|length| format!("'dimensions' {length} is more than {own}"))
    }
}

/// A text, or the tokens of one, or a list of either.
fn inputs(input: &Value) -> Result<Vec<Value>, String> {
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let is_tokens =
        |value: &Value| value.as_array().is_some_and(|tokens| !tokens.is_empty() && tokens.iter().all(Value::is_u64));
    let several = match input {
        one if is_text(one) || is_tokens(one) => return Ok(vec![one.clone()]),
        Value::Array(several) => several,
        _ => return Err("'$.input' is invalid".to_owned()),
    };
    let is_good = several.iter().all(is_text) || several.iter().all(is_tokens);
    match is_good && (1..=MAX_INPUTS).contains(&several.len()) {
        true => Ok(several.clone()),
        false => Err("'$.input' is invalid".to_owned()),
    }
}

fn tokens(input: &Value) -> u64 {
    match input {
        Value::String(text) => (text.len() as u64).div_ceil(4),
        tokens => tokens.as_array().map_or(0, Vec::len) as u64,
    }
}
