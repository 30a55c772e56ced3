//! `[embedder]`: an embedding model of a provider, for a team's own intents.

use super::providers::{Availability, ProviderKind, ProviderSpec};
use super::reader::{Section, Word};
use crate::catalog::Model;
use std::sync::Arc;

/// An embedding model, and how it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedderSettings {
    /// One of `[models]`, with its price. It is in the catalog only if its `api` says that it makes vectors.
    pub model: Arc<Model>,
    /// The length of its vectors.
    pub dimensions: usize,
    /// How long a request waits for it.
    pub timeout_ms: u64,
    /// How many utterances go with one call.
    pub batch_texts: usize,
}

/// Reads the table, and takes its model out of those that are `listed`; `others` are all that tiers and aliases name.
///
/// Without the table the one in process is what embeds; so it is, and a notice says it, where the provider has no key here.
pub(super) fn read<'w>(
    root: &mut Section<'_, '_>,
    listed: &mut [(String, Option<Arc<Model>>)],
    others: impl Iterator<Item = &'w Word>,
    providers: &[(String, Availability)],
    notices: &mut Vec<String>,
) -> Option<EmbedderSettings> {
    root.table("embedder", |section| {
        let named = section.required_word("model");
        let is_sized = section.require("dimensions");
        let dimensions = section.count("dimensions", 1..=8_192, 1);
        let timeout_ms = section.count("timeout_ms", 1..=10_000, 250);
        let batch_texts = section.count("batch_texts", 1..=2_048, 32);
        let Word { text, place } = named?;
        let Some((_, model)) = listed.iter_mut().find(|(name, _)| *name == text) else {
            section.problems.add(&place, format!("no model is named {text:?}"));
            return None;
        };
        // A model of which it is known that it makes vectors serves requests for them as well.
        let serves = model.as_ref().is_some_and(|model| model.vectors.is_some());
        for word in others.filter(|word| word.text == text && !serves) {
            section.problems.add(&word.place, format!("{text:?} is the embedder's model, which answers no requests"));
        }
        let model = if serves { model.clone()? } else { model.take()? };
        let found = providers.iter().find(|(name, _)| **name == *model.provider).map(|(_, availability)| availability);
        match found {
            Some(Availability::Serves(ProviderSpec { kind: ProviderKind::OpenAi(_), .. })) => {}
            Some(Availability::Serves(ProviderSpec {
                kind:
                    ProviderKind::Simulated
                    | ProviderKind::Anthropic(_)
                    | ProviderKind::Gemini(_)
                    | ProviderKind::Azure(_)
                    | ProviderKind::Bedrock(_),
                ..
            })) => {
                section.problems.add(&place, format!("the provider {:?} has no embeddings", model.provider));
                return None;
            }
            Some(Availability::Skipped(_)) => {
                notices.push(format!("the embedder is the table in process, for {} is skipped", model.provider));
                return None;
            }
            // Its problem is reported where it stands.
            Some(Availability::Broken) | None => return None,
        }
        let as_size = |count| usize::try_from(count).unwrap_or(usize::MAX);
        let (dimensions, batch_texts) = (as_size(dimensions), as_size(batch_texts));
        is_sized.then_some(EmbedderSettings { model, dimensions, timeout_ms, batch_texts })
    })
}
