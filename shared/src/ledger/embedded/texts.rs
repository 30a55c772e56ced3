//! Texts that recur, each kept once.

use std::collections::HashSet;
use std::sync::Arc;

/// The texts that were seen.
#[derive(Default)]
pub(super) struct Texts(HashSet<Arc<str>>);

impl Texts {
    /// The text as it was first seen.
    pub(super) fn once(&mut self, text: Arc<str>) -> Arc<str> {
        match self.0.get(&text) {
            Some(known) => known.clone(),
            None => {
                self.0.insert(text.clone());
                text
            }
        }
    }
}
