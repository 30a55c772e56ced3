//! One model: who serves it under which name, what it costs, what it can do, and where that was read.

use super::prices;
use super::providers::{Availability, ProviderKind};
use super::reader::{Section, Word};
use super::settings;
use crate::catalog::{Api, Behaviour, Capabilities, Efforts, Model, OnClientGone, Origin, Timeouts, Vectors};
use crate::wire::conversation::Effort;

/// Reads one model.
pub(super) fn model(
    section: &mut Section<'_, '_>,
    name: &str,
    providers: &[(String, Availability)],
    timeouts: Timeouts,
) -> Option<Model> {
    let provider = section.required_word("provider");
    let id = section.word("id");
    let api = section.word("api");
    let price = prices::read(section);
    let context_tokens = section.count("context_tokens", 1..=100_000_000, 131_072);
    let max_output_tokens = section.count("max_output_tokens", 1..=context_tokens, context_tokens.min(16_384));
    let default_max_output_tokens =
        section.count("default_max_output_tokens", 1..=max_output_tokens, max_output_tokens.min(4_096));
    let capabilities = capabilities(section);
    let origin = origin(section);
    let timeouts = section.table("timeouts_ms", |section| settings::timeouts(section, timeouts));

    let on_client_gone = [("drain", OnClientGone::Drain), ("cancel", OnClientGone::Cancel)];
    let on_client_gone = section.choice("on_client_gone", &on_client_gone, OnClientGone::default());

    let provider = provider?;
    // Without an id of its own, `groq/llama-3.3` is known to the provider as what follows `groq/`.
    let prefix = format!("{}/", provider.text);
    let provider_model = id.as_ref().map_or_else(|| name.strip_prefix(&prefix).unwrap_or(name), |id| id.text.as_str());
    match providers.iter().find(|(name, _)| *name == provider.text) {
        None => {
            section.problems.add(&provider.place, format!("no provider is named {:?}", provider.text));
        }
        Some((_, Availability::Serves(spec)))
            if matches!(spec.kind, ProviderKind::Simulated) && Behaviour::parse(provider_model).is_none() =>
        {
            let place = id.as_ref().map_or(&section.place, |id| &id.place);
            section.problems.add(place, format!("the simulated provider has no model {provider_model:?}"));
        }
        Some(_) => {}
    }
    let api = self::api(section, api.as_ref(), providers.iter().find(|(name, _)| *name == provider.text));
    let vectors = vectors(section, api, provider_model);
    Some(Model {
        name: name.into(),
        provider: provider.text.as_str().into(),
        provider_model: provider_model.into(),
        api,
        price: price?,
        context_tokens,
        max_output_tokens,
        default_max_output_tokens,
        capabilities,
        vectors,
        timeouts,
        on_client_gone,
        origin,
    })
}

/// What is said of the vectors of a model that makes some.
fn vectors(section: &mut Section<'_, '_>, api: Api, provider_model: &str) -> Option<Vectors> {
    if api != Api::Embeddings {
        return None;
    }
    section.require("dimensions");
    let name = section.word("vectors").map_or_else(|| provider_model.into(), |word| word.text.into());
    Some(Vectors {
        name,
        dimensions: section.count("dimensions", 1..=65_536, 1),
        takes_tokens: section.flag("token_input", false),
        gives_base64: section.flag("base64", false),
    })
}

/// The format in which a model is called: the usual one of its provider's kind, unless the file names another that such a
/// provider has. Of one that cannot serve here the kind is not known, and its models are not served.
fn api(section: &Section<'_, '_>, word: Option<&Word>, provider: Option<&(String, Availability)>) -> Api {
    let apis: &[Api] = match provider {
        Some((_, Availability::Serves(spec))) => spec.kind.apis(),
        _ => &Api::WORDS.map(|(_, api)| api),
    };
    let usual = apis.first().copied().unwrap_or(Api::Chat);
    let Some(word) = word else { return usual };
    let named = apis.iter().find(|api| api.as_str() == word.text);
    if named.is_none() {
        let words: Vec<String> = apis.iter().map(|api| format!("{:?}", api.as_str())).collect();
        let words = words.split_last().map(|(last, others)| match others {
            [] => last.clone(),
            others => format!("{} or {last}", others.join(", ")),
        });
        let must = format!("must be {}, as its provider is called", words.unwrap_or_default());
        section.problems.add(&word.place, must);
    }
    named.copied().unwrap_or(usual)
}

/// What the file lists, and what most models do unless it says that this one does not.
fn capabilities(section: &mut Section<'_, '_>) -> Capabilities {
    let mut capabilities = Capabilities::default();
    for word in section.words("capabilities").unwrap_or_default() {
        match word.text.as_str() {
            "tools" => capabilities.tools = true,
            "json_schema" => capabilities.json_schema = true,
            "vision" => capabilities.vision = true,
            "documents" => capabilities.documents = true,
            "reasoning" => capabilities.reasoning = true,
            "logprobs" => capabilities.logprobs = true,
            "prefill" => capabilities.prefill = true,
            _ => {
                let must = "must be tools, json_schema, vision, documents, reasoning, logprobs or prefill";
                section.problems.add(&word.place, must);
            }
        }
    }
    capabilities.sampling = section.flag("sampling", true);
    capabilities.forced_tools = section.flag("forced_tools", capabilities.tools) && capabilities.tools;
    capabilities.efforts = efforts(section).unwrap_or(Efforts::ALL);
    capabilities
}

fn efforts(section: &mut Section<'_, '_>) -> Option<Efforts> {
    let words = section.words("efforts")?;
    let efforts = words.iter().filter_map(|word| {
        let effort = Effort::named(&word.text);
        if effort.is_none() {
            section.problems.add(&word.place, "must be none, minimal, low, medium, high, xhigh or max");
        }
        effort
    });
    Some(efforts.fold(Efforts::default(), Efforts::and))
}

/// Where the figures come from, and until when they hold.
fn origin(section: &mut Section<'_, '_>) -> Origin {
    let source = section.word("source").map(|word| word.text.into());
    Origin { source, as_of_ms: section.date("as_of"), retires_ms: section.date("retires") }
}
