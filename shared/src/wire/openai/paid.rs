//! Which fields of a request change its price, and which are a known field in disguise.
//!
//! What is held and charged follows from the model's price and the tokens; a field that makes the provider bill by another
//! price, or for something that is no token, would be served at the gateway's cost (M1, M6). Such a field is refused
//! unless the tenant's settings allow paid extras.
//!
//! JSON's names are case-sensitive, but not to every reader: Go's takes `"N"` for `"n"`, and of both the last. What decided
//! the limits here would then not be what is served there, so a field that is a known one but for its case is refused.

use serde_json::value::RawValue;
use std::borrow::Cow;

/// Fields that the gateway reads, writes or judges, and those that providers document beside them; sorted.
pub(crate) const KNOWN: [&str; 47] = [
    "audio",
    "background",
    "best_of",
    "compound_custom",
    "enable_search",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "min_p",
    "modalities",
    "model",
    "models",
    "n",
    "parallel_tool_calls",
    "plugins",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "provider",
    "reasoning",
    "reasoning_effort",
    "repetition_penalty",
    "response_format",
    "route",
    "safety_identifier",
    "search_parameters",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// Whether a `service_tier` is the usual one.
pub(crate) fn is_default_tier(value: &str) -> bool {
    is_one_of(value, &["auto", "default"])
}

/// Whether this field, which is not null, changes what the provider bills a token or a request at.
///
/// # Source
/// The providers' references: OpenAI (`service_tier`, `web_search_options`, `prediction`, `modalities`, `audio`), OpenRouter
/// (`plugins`, `provider`), xAI (`search_parameters`), Groq (`compound_custom`), Alibaba (`enable_search`), vLLM (`best_of`).
pub(crate) fn changes_price(name: &str, value: &RawValue) -> bool {
    let value = value.get();
    match name {
        "service_tier" => !is_default_tier(value),
        "best_of" => value != "1",
        "modalities" => !serde_json::from_str::<[Cow<'_, str>; 1]>(value).is_ok_and(|only| only[0] == "text"),
        "plugins" => value != "[]",
        "enable_search" => value != "false",
        // OpenRouter's is an object; what it asks for may be served by a dearer host.
        "provider" => value.starts_with('{'),
        "audio" | "compound_custom" | "prediction" | "search_parameters" | "web_search_options" => true,
        _ => false,
    }
}

/// Whether a tool of this type is the provider's own, billed by the call, and not a function of the client's.
pub(crate) fn tool_changes_price(kind: &str) -> bool {
    !matches!(kind, "function" | "custom")
}

fn is_one_of(value: &str, words: &[&str]) -> bool {
    serde_json::from_str::<Cow<'_, str>>(value).is_ok_and(|word| words.contains(&&*word))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::reading::{disguised, fold};

    #[test]
    fn the_known_fields_can_be_searched() {
        assert!(KNOWN.is_sorted());
        assert!(KNOWN.iter().all(|name| fold(name) == *name && disguised(&KNOWN, name).is_none()));
    }

    #[test]
    fn a_known_field_is_known_in_any_case_and_a_like_one_is_not_it() {
        for (name, known) in [
            ("Model", Some("model")),
            ("N", Some("n")),
            ("MAX_TOKENS", Some("max_tokens")),
            ("Max_Completion_Tokens", Some("max_completion_tokens")),
            ("max_to\u{212a}ens", Some("max_tokens")),
            ("\u{17f}tream", Some("stream")),
            ("me\u{df}ages", Some("messages")),
            ("\u{fb06}op", Some("stop")),
            ("serv\u{131}ce_tier", Some("service_tier")),
            ("SERV\u{130}CE_TIER", Some("service_tier")),
            ("model", None),
            ("models", None),
            ("modell", None),
            ("max-tokens", None),
            ("maxTokens", None),
            ("\u{fed}odel", None),
            ("", None),
        ] {
            assert_eq!(disguised(&KNOWN, name), known, "{name}");
        }
    }

    #[test]
    fn only_what_changes_the_price_is_said_to() {
        for (name, value, paid) in [
            ("service_tier", r#""auto""#, false),
            ("service_tier", r#""d\u0065fault""#, false),
            ("service_tier", r#""priority""#, true),
            ("service_tier", r#""flex""#, true),
            ("service_tier", r#"["auto"]"#, true),
            ("best_of", "1", false),
            ("best_of", "2", true),
            ("best_of", "1.5", true),
            ("modalities", r#"["text"]"#, false),
            ("modalities", r#"["text","audio"]"#, true),
            ("plugins", "[]", false),
            ("plugins", r#"[{"id":"web"}]"#, true),
            ("enable_search", "false", false),
            ("enable_search", "true", true),
            ("web_search_options", "{}", true),
            ("provider", r#""sim""#, false),
            ("provider", r#"{"sort":"throughput"}"#, true),
            ("prediction", r#"{"type":"content","content":"x"}"#, true),
            ("audio", r#"{"voice":"alloy"}"#, true),
            ("compound_custom", "{}", true),
            ("search_parameters", "{}", true),
            ("store", "true", false),
            ("x_unknown", "{}", false),
        ] {
            let value: &RawValue = serde_json::from_str(value).unwrap();
            assert_eq!(changes_price(name, value), paid, "{name}: {value}");
        }
        for (kind, paid) in [("function", false), ("custom", false), ("web_search", true), ("", true)] {
            assert_eq!(tool_changes_price(kind), paid, "{kind}");
        }
    }
}
