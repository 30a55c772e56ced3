//! The intents that requests are sorted by.

use crate::config::IntentSpec;
use crate::routing::intent::{EmbedError, Embedder, IntentIndex};
use std::sync::Arc;

/// Knows the intents.
pub struct Intents {
    pub(crate) specs: Vec<IntentSpec>,
    pub(crate) index: IntentIndex,
    pub(crate) embedder: Arc<dyn Embedder>,
}

impl Intents {
    /// Embeds every example of every intent.
    ///
    /// # Errors
    /// Whatever the embedder says.
    pub async fn learn(specs: &[IntentSpec], embedder: Arc<dyn Embedder>) -> Result<Self, EmbedError> {
        let examples = specs.iter().map(|spec| (spec.name.to_string(), spec.examples.clone())).collect();
        let index = IntentIndex::build(examples, &*embedder).await?;
        Ok(Self { specs: specs.to_vec(), index, embedder })
    }

    /// The intents' names, in configured order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.specs.iter().map(|spec| &spec.name)
    }

    /// The intent of this name, and its tier's name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&IntentSpec> {
        self.specs.iter().find(|spec| &*spec.name == name)
    }
}
