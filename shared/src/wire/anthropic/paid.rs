//! Which fields of a request change its price, or make the provider bill for something that is no token; see
//! [`crate::wire::openai::paid`] for why they are looked for.

use serde_json::value::RawValue;
use std::borrow::Cow;

/// Fields that the gateway reads, writes or judges, and those that are documented beside them; sorted.
pub(super) const KNOWN: [&str; 28] = [
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "fallbacks",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "models",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "thread",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user_profile_id",
    "workspace_id",
];

/// Whether this field, which is not null, changes what the provider bills a token or a request at.
///
/// # Source
/// Anthropic's reference: priority tier, fast mode at twice the price, inference in a region at a tenth more, servers and
/// containers that run within one request and read their results as input, another model in place of a refusal, and a
/// conversation that is summed up by a call of its own.
pub(super) fn changes_price(name: &str, value: &RawValue) -> bool {
    let value = value.get();
    match name {
        "service_tier" => !is_one_of(value, &["auto", "standard_only"]),
        "speed" => !is_one_of(value, &["standard"]),
        "inference_geo" => !is_one_of(value, &["global"]),
        "mcp_servers" | "fallbacks" => value != "[]",
        // An escape may hide what is looked for.
        "context_management" => value.contains("compact") || value.contains('\\'),
        "container" => true,
        _ => false,
    }
}

/// Whether a tool of this type runs at the provider, where it is billed by the call or by what it reads. What the client runs
/// itself is billed as the tokens that it is, and a search among the tools as those that it finds.
pub(super) fn tool_changes_price(kind: &str) -> bool {
    const OF_CLIENT: [&str; 6] = ["bash_", "browser_", "computer_", "memory_", "text_editor_", "tool_search_tool_"];
    kind != "custom" && !OF_CLIENT.iter().any(|begin| kind.starts_with(begin))
}

fn is_one_of(value: &str, words: &[&str]) -> bool {
    serde_json::from_str::<Cow<'_, str>>(value).is_ok_and(|word| words.contains(&&*word))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_changes_the_price_is_said_to() {
        assert!(KNOWN.is_sorted());
        for (name, value, paid) in [
            ("service_tier", r#""auto""#, false),
            ("service_tier", r#""standard_only""#, false),
            ("service_tier", r#""priority""#, true),
            ("speed", r#""standard""#, false),
            ("speed", r#""fast""#, true),
            ("inference_geo", r#""us""#, true),
            ("inference_geo", r#""global""#, false),
            ("mcp_servers", "[]", false),
            ("mcp_servers", r#"[{"type":"url"}]"#, true),
            ("fallbacks", r#""default""#, true),
            ("container", r#""container_1""#, true),
            ("context_management", r#"{"edits":[{"type":"clear_tool_uses_20250919"}]}"#, false),
            ("context_management", r#"{"edits":[{"type":"compact_20260112"}]}"#, true),
            ("context_management", r#"{"edits":[{"type":"\u0063ompact_20260112"}]}"#, true),
            ("metadata", r#"{"user_id":"u"}"#, false),
            ("x_unknown", "{}", false),
        ] {
            let value: &RawValue = serde_json::from_str(value).unwrap();
            assert_eq!(changes_price(name, value), paid, "{name}: {value}");
        }
        for (kind, paid) in [
            ("custom", false),
            ("bash_20250124", false),
            ("text_editor_20250728", false),
            ("tool_search_tool_regex_20251119", false),
            ("web_search_20250305", true),
            ("web_fetch_20260318", true),
            ("code_execution_20260521", true),
            ("", true),
        ] {
            assert_eq!(tool_changes_price(kind), paid, "{kind}");
        }
    }
}
