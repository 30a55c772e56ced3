//! Which fields of a Responses request change its price, and which are a known field in disguise: as
//! [`crate::wire::openai::paid`] has it for chat requests.

use crate::wire::json::fields;
use crate::wire::openai::paid::is_default_tier;
use serde_json::value::RawValue;

/// Most fields of `reasoning`, of which four are documented.
const MAX_REASONING_FIELDS: usize = 64;

/// Fields that the gateway reads, writes or judges, and those that are documented beside them; sorted.
pub(super) const KNOWN: [&str; 36] = [
    "access_programs",
    "background",
    "background_options",
    "context_management",
    "conversation",
    "image",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "models",
    "moderation",
    "parallel_tool_calls",
    "plugins",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "provider",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
];

/// Whether this field, which is not null, changes what the provider bills a token or a request at.
///
/// # Source
/// The providers' references: OpenAI (`service_tier`, and `reasoning.mode`, of which `pro` is several answers in one),
/// OpenRouter (`plugins`, `provider`).
pub(super) fn changes_price(name: &str, value: &RawValue) -> bool {
    match name {
        "service_tier" => !is_default_tier(value.get()),
        "reasoning" => is_unusual(value),
        "plugins" => value.get() != "[]",
        "provider" => value.get().starts_with('{'),
        _ => false,
    }
}

/// Whether more than one answer is thought out. What cannot be read counts as that.
fn is_unusual(reasoning: &RawValue) -> bool {
    let Ok(fields) = fields(reasoning.get(), MAX_REASONING_FIELDS) else { return true };
    let mode = fields.iter().find(|(name, _)| name == "mode").map(|(_, value)| value.get());
    mode.is_some_and(|mode| !matches!(mode, "null" | r#""standard""#))
}

/// Whether the client runs tools of this type, so that only their tokens are billed; all others run at the provider. Which of
/// its tools are found is either's to say (`execution`); where it is the client's, nobody else runs anything.
pub(super) fn is_clients_tool(kind: &str, execution: Option<&str>) -> bool {
    match kind {
        "tool_search" => execution == Some("client"),
        kind => matches!(kind, "function" | "custom" | "namespace" | "local_shell" | "apply_patch"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::reading::disguised;

    #[test]
    fn the_known_fields_can_be_searched() {
        assert!(KNOWN.is_sorted());
        for (name, known) in [("Input", Some("input")), ("STORE", Some("store")), ("input", None), ("inputs", None)] {
            assert_eq!(disguised(&KNOWN, name), known, "{name}");
        }
    }

    #[test]
    fn only_what_changes_the_price_is_said_to() {
        for (name, value, is_paid) in [
            ("service_tier", r#""auto""#, false),
            ("service_tier", r#""flex""#, true),
            ("reasoning", r#"{"effort":"high"}"#, false),
            ("reasoning", r#"{"mode":null}"#, false),
            ("reasoning", r#"{"mode":"standard"}"#, false),
            ("reasoning", r#"{"mode":"pro"}"#, true),
            ("reasoning", r#"{"mode":"standard","mode":"pro"}"#, true),
            ("plugins", "[]", false),
            ("plugins", r#"[{"id":"web"}]"#, true),
            ("provider", r#"{"sort":"price"}"#, true),
            ("store", "true", false),
        ] {
            assert_eq!(changes_price(name, serde_json::from_str(value).unwrap()), is_paid, "{name}: {value}");
        }
        for (kind, execution, is_clients) in [
            ("function", None, true),
            ("custom", None, true),
            ("web_search", None, false),
            ("web_search", Some("client"), false),
            ("mcp", None, false),
            ("tool_search", None, false),
            ("tool_search", Some("server"), false),
            ("tool_search", Some("client"), true),
        ] {
            assert_eq!(is_clients_tool(kind, execution), is_clients, "{kind}, {execution:?}");
        }
    }
}
