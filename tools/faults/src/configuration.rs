//! The configuration of a stage's gateways.

use crate::books::{INPUT_NUSD, OUTPUT_NUSD};
use crate::stage::{DEADLINE, Setup};

/// As `gateway.toml` has it; `base_url` is the double's.
pub(crate) fn configuration(base_url: &str, setup: &Setup) -> String {
    let deadline_ms = DEADLINE.as_millis();
    // Another provider's first model is the cheap one, so that its answers are judged, and the others are asked again.
    let (cheap, reasoning) = match &setup.other {
        Some((_, models)) => models.split_at(1),
        None => (&setup.models[..], &setup.models[..]),
    };
    let names = |models: &[&str]| models.iter().map(|model| format!("\"{model}\"")).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "[timeouts_ms]\nrequest = {deadline_ms}\n\
         [retry]\nmax_per_candidate = 0\n\
         [tiers]\ncheap = [{}]\nreasoning = [{}]\n\
         [tenant_defaults.limits]\nrequests_per_minute = \"none\"\ntokens_per_minute = \"none\"\nconcurrency = \"none\"\n\
         daily_requests = \"none\"\ndaily_tokens = \"none\"\ndaily_cost_usd = \"none\"\nmonthly_cost_usd = \"none\"\n",
        names(cheap),
        names(reasoning)
    );
    let mut provider = |name: &str, base_url: &str, models: &[&str], can: &str| {
        text += &format!(
            "[providers.{name}]\nkind = \"openai\"\nbase_url = \"{base_url}\"\napi_key = \"env:DOUBLE_API_KEY\"\n"
        );
        for model in models {
            let input = if model.contains("@free") { 0 } else { INPUT_NUSD / 1_000 };
            text += &format!(
                "[models.\"{model}\"]\nprovider = \"{name}\"\nid = \"{model}\"\n{can}\
                 usd_per_million = {{ input = {input}, output = {} }}\n",
                OUTPUT_NUSD / 1_000
            );
        }
    };
    provider("double", base_url, &setup.models, "");
    if let Some((base_url, models)) = &setup.other {
        provider("other", base_url, models, "capabilities = [\"tools\", \"json_schema\"]\ncontext_tokens = 8000000\n");
    }
    if let Some(bytes) = setup.memory_bytes {
        text += &format!("[server]\nmemory_bytes = {bytes}\n");
    }
    text
}
