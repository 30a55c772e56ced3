//! Masks what an error's text tells of us: keys, accounts, addresses.

/// What stands where something was masked.
const MASKED: &str = "***";

/// Shorter ones would be found in common words.
const LEAST_SECRET_BYTES: usize = 6;

/// The secrets that a provider is called with, and what looks like one.
#[derive(Default)]
pub(crate) struct Mask {
    secrets: Vec<String>,
}

impl Mask {
    /// A mask of these secrets, and of all that looks like one.
    pub(crate) fn of(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut secrets: Vec<_> = secrets.into_iter().filter(|secret| secret.len() >= LEAST_SECRET_BYTES).collect();
        // One may begin with another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets }
    }

    /// The text without them.
    pub(crate) fn text(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASKED))
    }
}
