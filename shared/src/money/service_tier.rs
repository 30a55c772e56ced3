//! How fast, or how surely, a provider served a call, where it sells that apart: the price is another for each.

use serde::{Deserialize, Serialize};

/// A service tier, by what vendors call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// What the price list is of.
    Standard,
    /// When there is room, for less.
    Flex,
    /// Some hours later, for less.
    Batch,
    /// Out of capacity that was bought before.
    Scale,
    /// Before others.
    Priority,
    /// Faster than usual.
    Fast,
    /// Faster than that.
    Ultrafast,
    /// Groq's for what must not wait.
    Performance,
}

impl ServiceTier {
    /// All that a price list may name: of the usual one it speaks itself.
    pub const PRICED: [(&'static str, Self); 7] = [
        ("flex", Self::Flex),
        ("batch", Self::Batch),
        ("scale", Self::Scale),
        ("priority", Self::Priority),
        ("fast", Self::Fast),
        ("ultrafast", Self::Ultrafast),
        ("performance", Self::Performance),
    ];

    /// Reads what a request or an answer says; `None` for a word that names no tier, as `auto` does not.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "default" | "standard" | "on_demand" => Some(Self::Standard),
            _ => Self::PRICED.iter().find(|(name, _)| *name == word).map(|(_, tier)| *tier),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendors_words_are_read() {
        for (word, tier) in [
            ("default", Some(ServiceTier::Standard)),
            ("standard", Some(ServiceTier::Standard)),
            ("on_demand", Some(ServiceTier::Standard)),
            ("flex", Some(ServiceTier::Flex)),
            ("ultrafast", Some(ServiceTier::Ultrafast)),
            ("auto", None),
            ("Flex", None),
            ("", None),
        ] {
            assert_eq!(ServiceTier::parse(word), tier, "{word:?}");
        }
    }
}
