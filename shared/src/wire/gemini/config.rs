//! How an answer is made: its bounds, its shape, how it is drawn, and how much is thought before.

use super::turns::{LeftOut, is_old};
use crate::wire::conversation::{Conversation, Effort, Json, Sampling, Shape, Untranslatable};
use crate::wire::format::Overrides;
use serde::Serialize;
use std::borrow::Cow;

/// Most answers to one request, and most texts that end one.
const MAX_ANSWERS: u64 = 8;
const MAX_STOPS: usize = 5;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GenerationConfig<'a> {
    max_output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<Json<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [Cow<'a, str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
}

/// Writes how the answer is to be made, and adds to what is left out.
pub(super) fn config<'a>(
    conversation: &'a Conversation<'a>,
    overrides: &Overrides<'_>,
    left_out: &mut LeftOut,
) -> Result<GenerationConfig<'a>, Untranslatable> {
    let sampling = &conversation.sampling;
    check(sampling)?;
    let (response_mime_type, response_json_schema) = match &conversation.shape {
        Shape::Text => (None, None),
        Shape::JsonObject => (Some("application/json"), None),
        Shape::JsonSchema { schema, .. } => (Some("application/json"), *schema),
    };
    let said = |number: Option<Json<'a>>| number.filter(|number| !matches!(number.0.get(), "0" | "0.0"));
    let seed = sampling.seed.filter(|seed| seed.0.get().parse::<i32>().is_ok());
    if seed != sampling.seed {
        left_out.insert("a `seed` that is too large".into());
    }
    Ok(GenerationConfig {
        max_output_tokens: overrides.max_output_tokens,
        candidate_count: sampling.n.filter(|n| *n > 1),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        seed,
        presence_penalty: said(sampling.presence_penalty),
        frequency_penalty: said(sampling.frequency_penalty),
        stop_sequences: &sampling.stop,
        response_logprobs: overrides.ask_logprobs.then_some(true),
        response_mime_type,
        response_json_schema,
        thinking_config: conversation.effort.map(|effort| ThinkingConfig::of(effort, overrides.model)),
    })
}

/// Refuses what would be another answer if it were left out.
fn check(sampling: &Sampling<'_>) -> Result<(), Untranslatable> {
    if sampling.n.is_some_and(|n| n > MAX_ANSWERS) {
        return Err(Untranslatable::new("n", format!("is more than {MAX_ANSWERS} answers")));
    }
    if sampling.logprobs {
        // They come token by token in words of their own, which no door has.
        return Err(Untranslatable::new("logprobs", "cannot be told"));
    }
    if sampling.stop.len() > MAX_STOPS {
        return Err(Untranslatable::new("stop", format!("is more than {MAX_STOPS} texts")));
    }
    Ok(())
}

/// How much is thought: by a level, or by a number of tokens; never both.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ThinkingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include_thoughts: Option<bool>,
}

impl ThinkingConfig {
    /// # Source
    /// The numbers are those that Google's own translation of OpenAI's words has.
    fn of(effort: Effort, model: &str) -> Self {
        let include_thoughts = (effort != Effort::None).then_some(true);
        if !is_old(model) {
            let is_fourth = model.contains("gemini-4");
            let level = match effort {
                Effort::None | Effort::Minimal => "MINIMAL",
                Effort::Low => "LOW",
                Effort::Medium => "MEDIUM",
                Effort::VeryHigh | Effort::Max if is_fourth => "XHIGH",
                Effort::High | Effort::VeryHigh | Effort::Max => "HIGH",
            };
            return Self { thinking_level: Some(level), thinking_budget: None, include_thoughts };
        }
        let tokens = match effort {
            // The largest of that generation always thinks.
            Effort::None if model.contains("pro") => 128,
            Effort::None => 0,
            Effort::Minimal | Effort::Low => 1_024,
            Effort::Medium => 8_192,
            Effort::High | Effort::VeryHigh | Effort::Max => 24_576,
        };
        Self { thinking_level: None, thinking_budget: Some(tokens), include_thoughts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_told_how_much_to_think_in_the_words_of_its_generation() {
        let config = |effort, model| serde_json::to_string(&ThinkingConfig::of(effort, model)).unwrap_or_default();
        for (model, effort, expected) in [
            ("gemini-2.5-flash", Effort::None, r#"{"thinkingBudget":0}"#),
            ("models/gemini-2.5-pro", Effort::None, r#"{"thinkingBudget":128}"#),
            ("gemini-2.5-flash-lite", Effort::Low, r#"{"thinkingBudget":1024,"includeThoughts":true}"#),
            ("gemini-2.5-pro", Effort::Max, r#"{"thinkingBudget":24576,"includeThoughts":true}"#),
            ("gemini-3.1-pro-preview", Effort::Medium, r#"{"thinkingLevel":"MEDIUM","includeThoughts":true}"#),
            ("gemini-3.5-flash-lite", Effort::None, r#"{"thinkingLevel":"MINIMAL"}"#),
            ("gemini-3.8-flash", Effort::VeryHigh, r#"{"thinkingLevel":"HIGH","includeThoughts":true}"#),
            ("gemini-4-neon", Effort::VeryHigh, r#"{"thinkingLevel":"XHIGH","includeThoughts":true}"#),
        ] {
            assert_eq!(config(effort, model), expected, "{model} {effort:?}");
        }
    }
}
