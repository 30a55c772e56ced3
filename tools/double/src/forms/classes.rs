//! Classes: what an error means, by its words where its status says too little.

use super::parts::{NULL, error, refused};
use super::{Form, Kind, REASON, Sent};

fn form(name: &str) -> Form {
    Form::named(Kind::Classes, name)
}

pub(super) fn forms() -> Vec<Form> {
    let told =
        |(name, status, body): &(&str, u16, &str)| form(name).either(refused(*status, &body.replace("REASON", REASON)));
    let all = [&OVERFLOWS[..], &NO_OVERFLOWS[..], &OTHERS[..]].concat();
    let html = |name: &str, status| {
        let page =
            refused(status, "<html><head><title>Sorry</title></head></html>").headers(&[("content-type", "text/html")]);
        form(name).either(page)
    };
    let mut forms: Vec<Form> = all.iter().map(told).collect();
    forms.extend([html("too-large-of-proxy", 413), html("bad-gateway-of-proxy", 502), html("too-many-of-proxy", 429)]);
    forms.push(form("too-large-empty").either(refused(413, "")));
    let busy = error("Busy.", "server_error", NULL);
    for (name, status, header, after) in AFTER {
        let headers = [("content-type", "application/json"), (header, after)];
        forms.push(form(name).either(refused(status, &busy).headers(&headers)));
    }
    let date = Sent { headers: vec![("retry-after", "Sat, 22 Nov 2025 14:00:09 GMT")], ..refused(503, &busy) };
    forms.push(form("after-date").either(date));
    forms
}

/// When a provider asks to come again, in a header.
const AFTER: [(&str, u16, &str, &str); 6] = [
    ("after-429", 429, "retry-after", "7"),
    ("after-429-ms", 429, "retry-after-ms", "7000"),
    ("after-429-fraction", 429, "retry-after", "6.5"),
    ("after-503", 503, "retry-after", "7"),
    ("after-529", 529, "retry-after", "7"),
    ("after-500", 500, "Retry-After", "7"),
];

/// Requests that are longer than the model's window.
const OVERFLOWS: [(&str, u16, &str); 19] = [
    (
        "overflow-openai",
        400,
        r#"{"error":{"message":"This model's maximum context length is 128000 tokens. However, your messages resulted in 202868 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
    ),
    (
        "overflow-deepseek",
        400,
        r#"{"error":{"message":"This model's maximum context length is 65536 tokens. However, you requested 70000 tokens (66000 in the messages, 4000 in the completion).","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#,
    ),
    (
        "overflow-vllm",
        400,
        r#"{"object":"error","message":"This model's maximum context length is 6048 tokens. However, you requested 6616 tokens (568 in the messages, 6048 in the completion). Please reduce the length of the messages or completion.","type":"BadRequestError","param":null,"code":400}"#,
    ),
    (
        "overflow-vllm-prompt",
        400,
        r#"{"error":{"message":"The decoder prompt (length 10127) is longer than the maximum model length of 8192.","type":"BadRequestError","param":null,"code":400}}"#,
    ),
    (
        "overflow-vllm-negative",
        400,
        r#"{"object":"error","message":"max_tokens must be at least 1, got -186.","type":"BadRequestError","param":null,"code":400}"#,
    ),
    (
        "overflow-sglang",
        400,
        r#"{"object":"error","message":"The input (61709 tokens) is longer than the model's context length (40960 tokens).","type":"BadRequestError","param":null,"code":400}"#,
    ),
    (
        "overflow-llama-cpp",
        400,
        r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_prompt_tokens":14429,"n_ctx":8192}}"#,
    ),
    (
        "overflow-llama-cpp-500",
        500,
        r#"{"error":{"code":500,"message":"request (14429 tokens) exceeds the available context size (8192 tokens), try increasing it","type":"server_error"}}"#,
    ),
    (
        "overflow-llama-python",
        500,
        r#"{"error":{"message":"Requested tokens (2285) exceed context window of 2048","type":"internal_server_error","param":null,"code":null}}"#,
    ),
    (
        "overflow-openrouter",
        400,
        r#"{"error":{"message":"This endpoint's maximum context length is 16384 tokens. However, you requested about 94307 tokens (94307 of text input). Please reduce the length of either one, or use the \"middle-out\" transform.","code":400,"metadata":{"provider_name":null}}}"#,
    ),
    (
        "overflow-together",
        422,
        r#"{"error":{"message":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 1959 `inputs` tokens and 4000 `max_new_tokens`","type":"invalid_request_error","param":null,"code":null}}"#,
    ),
    (
        "overflow-tgi",
        422,
        r#"{"error":"Input validation error: `inputs` must have less than 1024 tokens. Given: 1872","error_type":"validation"}"#,
    ),
    (
        "overflow-ollama",
        400,
        r#"{"error":{"message":"prompt too long; exceeded max context length by 4 tokens","type":"invalid_request_error","param":null,"code":null}}"#,
    ),
    ("overflow-fireworks", 400, r#"{"error":"The prompt is too long: 203557, model maximum context length: 196607"}"#),
    (
        "overflow-mistral",
        400,
        r#"{"object":"error","message":"Prompt contains 40960 tokens and 0 draft tokens, too large for model with 32768 maximum context length","type":"invalid_request_message_error","param":null,"code":null}"#,
    ),
    (
        "overflow-xai",
        400,
        r#"{"code":"Client specified an invalid argument","error":"This model's maximum prompt length is 131072 but the request contains 140213 tokens."}"#,
    ),
    (
        "overflow-gemini",
        400,
        r#"[{"error":{"code":400,"message":"The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
    ),
    (
        "overflow-lm-studio",
        400,
        r#"{"error":"Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded with context length of only 32768 tokens, which is not enough."}"#,
    ),
    (
        "overflow-cerebras",
        400,
        r#"{"message":"Please reduce the length of the messages or completion. Current length is 42328 while limit is 40000","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}"#,
    ),
];

/// What speaks of tokens or lengths, and not of the window.
const NO_OVERFLOWS: [(&str, u16, &str); 5] = [
    (
        "max-tokens-too-large",
        400,
        r#"{"error":{"message":"max_tokens must be <= 8192; and REASON","type":"invalid_request_error","param":"max_tokens","code":"bad_value"}}"#,
    ),
    (
        "too-many-tools",
        400,
        r#"{"error":{"message":"Too many tools: 200 exceeds the maximum of 128; and REASON","type":"invalid_request_error","param":"tools","code":"bad_value"}}"#,
    ),
    (
        "rate-of-tokens",
        429,
        r#"{"error":{"message":"Tokens per minute limit exceeded - too many tokens processed.","type":"too_many_tokens_error","param":"quota","code":"token_quota_exceeded"}}"#,
    ),
    (
        "rate-of-tokens-openai",
        429,
        r#"{"error":{"message":"Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389. The input or output tokens must be reduced in order to run successfully.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
    ),
    (
        "credit-for-prompt",
        402,
        r#"{"error":{"message":"Prompt tokens limit exceeded: 230799 > 91442. To increase, visit the settings.","code":402}}"#,
    ),
];

/// The rest.
const OTHERS: [(&str, u16, &str); 12] = [
    (
        "too-large-for-rate",
        413,
        r#"{"error":{"message":"Request too large for model `m` on tokens per minute (TPM): Limit 12000, Requested 14137, please reduce your message size and try again.","type":"tokens","code":"rate_limit_exceeded"}}"#,
    ),
    (
        "too-large-overflow",
        413,
        r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
    ),
    (
        "tool-use-failed",
        400,
        r#"{"error":{"message":"Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details.","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"<tool-use>"}}"#,
    ),
    (
        "json-validate-failed",
        400,
        r#"{"error":{"message":"Failed to generate JSON. Please adjust your prompt.","type":"invalid_request_error","code":"json_validate_failed","failed_generation":"{"}}"#,
    ),
    (
        "rate-by-status",
        429,
        r#"{"error":{"code":"invalid_request_error","message":"Rate Limit Reached","param":null,"type":"unknown_error"}}"#,
    ),
    (
        "rate-with-delay",
        429,
        r#"{"error":{"code":429,"message":"Resource has been exhausted.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"6.2s"}]}}"#,
    ),
    (
        "quota",
        429,
        r#"{"error":{"message":"You exceeded your current quota.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
    ),
    (
        "no-credit",
        402,
        r#"{"error":{"message":"This request requires more credits.","code":402,"metadata":{"provider_name":null}}}"#,
    ),
    (
        "key-refused",
        401,
        r#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
    ),
    (
        "model-unknown",
        404,
        r#"{"error":{"message":"The model does not exist.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
    ),
    ("overloaded", 529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
    (
        "server-error",
        500,
        r#"{"error":{"message":"The server had an error.","type":"server_error","param":null,"code":null}}"#,
    ),
];
