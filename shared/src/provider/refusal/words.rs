//! What providers call things: their codes and types, and the sentences of those that have no codes.
//!
//! Sentences quote what the caller wrote, codes do not. So a sentence alone never shows anything of a model: it sends a
//! request elsewhere, and tells what kind of refusal a refusal is. What cools a model down or counts as its failure is told
//! by a code, or by the status.

use crate::wire::error_body::ErrorBody;

/// What an error says, in small letters.
pub(super) struct Words {
    /// Its code and its type, with neither blanks nor hyphens.
    named: [String; 2],
    sentence: String,
}

impl Words {
    pub(super) fn of(error: &ErrorBody) -> Self {
        let plain = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            text.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).collect::<String>().to_lowercase()
        };
        let sentence = error.message.as_deref().unwrap_or_default().to_lowercase();
        Self { named: [plain(&error.code), plain(&error.kind)], sentence }
    }

    fn is_named(&self, words: &[&str]) -> bool {
        self.named.iter().any(|name| words.iter().any(|word| name.contains(word)))
    }

    fn says(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.sentence.contains(phrase))
    }

    /// A rate of requests or tokens, by its code.
    pub(super) fn name_a_rate(&self) -> bool {
        self.is_named(&["ratelimit", "toomanyrequests", "throttl", "resourceexhausted", "servicequotaexceeded"])
    }

    /// A rate of tokens, in a sentence.
    pub(super) fn speak_of_a_rate(&self) -> bool {
        self.says(&[
            "tokens per min",
            "tokens per day",
            "(tpm)",
            "(tpd)",
            "rate limit",
            "rate_limit",
            "throttl",
            "token rate",
        ])
    }

    /// A request that is by itself more than a rate allows: to wait is no use.
    pub(super) fn exceed_a_rate_alone(&self) -> bool {
        self.says(&["request too large", "must be reduced in order to run", "reduce your message size"])
    }

    /// A window that is too small for the request, by its code or its sentence.
    pub(super) fn name_a_window(&self) -> bool {
        const NAMES: [&str; 7] = [
            "contextlengthexceeded",
            "contextwindowexceeded",
            "exceedcontextsize",
            "contextoverflow",
            "maxprompttokensexceeded",
            "tokenslimitreached",
            "promptistoolong",
        ];
        self.is_named(&NAMES) || (self.speak_of_a_window() && !self.name_a_rate() && !self.speak_of_a_rate())
    }

    fn speak_of_a_window(&self) -> bool {
        const SENTENCES: [&str; 32] = [
            "maximum context length",
            "context_length_exceeded",
            "contextwindowexceeded",
            "maximum model length",
            "exceeds maximum input length",
            "exceeds the available context size",
            "exceed_context_size",
            "prompt is too long",
            "prompt too long",
            "input is too long",
            "prompt exceeds max length",
            "maximum prompt length is",
            "reduce the length of the messages",
            "reduce the length of the input",
            "reduce your prompt",
            "reduce the prompt",
            "exceeded model token limit",
            "maximum number of tokens allowed",
            "tokens to keep from the initial prompt",
            "when context the overflows",
            "`max_new_tokens` must be <=",
            "`inputs` must have less than",
            "too many tokens: ",
            "prompt token count of",
            "range of input length should be",
            "request body too large for",
            "too large for model with",
            "input tokens exceed the configured limit",
            "tokens in request more than max tokens allowed",
            "maximum allowed input length",
            "exceed model maximum",
            // vLLM, whose prompt has left no room for an answer.
            "max_tokens must be at least 1, got -",
        ];
        const WINDOWS: [&str; 4] = ["context length", "context window", "context size", "context limit"];
        const TOO_MUCH: [&str; 8] =
            ["exceed", "longer than", "larger than", "greater than", "too long", "too large", "is only", "overflow"];
        self.says(&SENTENCES) || (self.says(&WINDOWS) && self.says(&TOO_MUCH))
    }

    /// The caller's words or pictures were found unfit.
    pub(super) fn name_a_filter(&self) -> bool {
        const NAMES: [&str; 8] = [
            "contentfilter",
            "contentpolicy",
            "responsibleaipolicy",
            "moderation",
            "datainspection",
            "invalidprompt",
            "biopolicy",
            "policyviolation",
        ];
        self.is_named(&NAMES)
    }

    /// The model made what was none of the tools, or not the JSON, that it was asked for.
    pub(super) fn name_a_model_that_failed(&self) -> bool {
        const NAMES: [&str; 6] = [
            "toolusefailed",
            "jsonvalidatefailed",
            "outputparsefailed",
            "modelerror",
            "malformedmodeloutput",
            "malformedtooluse",
        ];
        self.is_named(&NAMES)
    }

    /// Our key.
    pub(super) fn name_our_key(&self) -> bool {
        const NAMES: [&str; 9] = [
            "invalidapikey",
            "apikeyinvalid",
            "authentication",
            "unauthorized",
            "unauthenticated",
            "invalidtoken",
            "expiredtoken",
            "unrecognizedclient",
            "invalidsignature",
        ];
        const SENTENCES: [&str; 7] = [
            "api key not valid",
            "incorrect api key",
            "invalid api key",
            "invalid api-key",
            "api key expired",
            "api_key_invalid",
            "no api key",
        ];
        self.is_named(&NAMES) || self.says(&SENTENCES)
    }

    /// Our bill.
    pub(super) fn name_our_bill(&self) -> bool {
        const NAMES: [&str; 10] = [
            "budgetexceeded",
            "insufficientquota",
            "insufficientbalance",
            "insufficientcredit",
            "insufficientfunds",
            "billing",
            "paymentrequired",
            "spendlimit",
            "accountdeactivated",
            "arrearage",
        ];
        const SENTENCES: [&str; 11] = [
            "please enable billing",
            "insufficient_quota",
            "exceeded your current quota, please check your plan and billing",
            "credit balance is too low",
            "insufficient balance",
            "insufficient credits",
            "insufficient funds",
            "monthly spending limit",
            "reached your specified api usage limits",
            "reached your specified workspace api usage limits",
            "account is not active, please check your billing",
        ];
        // Google says the same sentence of a minute's quota, and tells a day's by its name.
        self.is_named(&NAMES) || !self.is_named(&["resourceexhausted"]) && self.says(&SENTENCES)
    }

    /// What our key may.
    pub(super) fn name_our_permission(&self) -> bool {
        self.is_named(&["permission", "forbidden", "accessdenied"])
            || self.says(&["user location is not supported", "organization must be verified"])
    }

    /// Our model id.
    pub(super) fn name_our_model_id(&self) -> bool {
        const NAMES: [&str; 10] = [
            "modelnotfound",
            "modelnotavailable",
            "modelnotexist",
            "modeldecommissioned",
            "invalidmodel",
            "unsupportedmodel",
            "unknownmodel",
            "deploymentnotfound",
            "resourcenotfound",
            "notfounderror",
        ];
        const SENTENCES: [&str; 8] = [
            // Bedrock, of a model that is called by a profile's name only.
            "with on-demand throughput isn",
            "non-serverless model",
            "model identifier is invalid",
            "is not a valid model id",
            "invalid model id",
            "model not exist",
            "no such model",
            "has been decommissioned",
        ];
        self.is_named(&NAMES) || self.says(&SENTENCES)
    }

    /// What the caller believes to be stored with the provider, and is not.
    pub(super) fn name_a_stored_item(&self) -> bool {
        self.is_named(&["previousresponsenotfound"])
            || self.says(&["items are not persisted", "previous response with id", "conversation with id"])
    }

    /// The provider.
    pub(super) fn name_a_provider_that_is_busy(&self) -> bool {
        self.is_named(&["overload", "unavailable", "capacity", "timeout", "timedout", "deadline"])
    }

    /// The caller's request.
    pub(super) fn name_a_bad_request(&self) -> bool {
        self.is_named(&[
            "invalidrequest",
            "badrequest",
            "invalidargument",
            "validation",
            "unsupportedparam",
            "unsupportedvalue",
        ])
    }
}
