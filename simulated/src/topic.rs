//! What a prompt is about, as far as a simulation needs to know: its first words, and which names it speaks of.

use std::cell::OnceCell;
use std::collections::HashSet;

/// How many words of the prompt are repeated.
const ECHO_WORDS: usize = 8;

/// The most characters of a word that are repeated.
const ECHO_WORD_CHARS: usize = 24;

/// How many letters of a word count: enough that "analyze" speaks of `code_analysis`.
const STEM_LETTERS: usize = 4;

/// The subject of a prompt.
pub(super) struct Topic<'a> {
    prompt: &'a str,
    /// The prompt's first words without anything that could end a sentence, a string or a line; never empty.
    pub(super) echo: String,
    stems: OnceCell<HashSet<String>>,
}

impl<'a> Topic<'a> {
    pub(super) fn new(prompt: &'a str) -> Self {
        let plain = |word: &str| -> String {
            word.chars().filter(|c| c.is_alphanumeric() || *c == '-').take(ECHO_WORD_CHARS).collect()
        };
        let words = prompt.split_whitespace().map(plain).filter(|word| word.contains(char::is_alphanumeric));
        let mut echo = words.take(ECHO_WORDS).collect::<Vec<_>>().join(" ");
        if echo.is_empty() {
            echo.push_str("nothing");
        }
        Self { prompt, echo, stems: OnceCell::new() }
    }

    /// How many words of a name, such as `code_analysis`, the prompt speaks of.
    pub(super) fn overlap(&self, name: &str) -> usize {
        let spoken = self.stems.get_or_init(|| stems(self.prompt).into_iter().collect());
        stems(name).iter().filter(|stem| spoken.contains(*stem)).count()
    }

    /// Whether the prompt speaks of a function. Words as short as "get" say nothing, unless the name has no longer one.
    pub(super) fn speaks_of(&self, function: &str) -> bool {
        let long = |stem: &String| stem.chars().count() >= STEM_LETTERS;
        let distinctive = stems(function).into_iter().filter(long).collect::<Vec<_>>().join(" ");
        self.overlap(if distinctive.is_empty() { function } else { &distinctive }) > 0
    }
}

/// The first letters of each word, in lower case. A capital after a small letter begins a word, as in `getWeather`.
fn stems(text: &str) -> Vec<String> {
    let mut stems: Vec<String> = Vec::new();
    let mut before = ' ';
    for c in text.chars() {
        let begins = !before.is_alphanumeric() || before.is_lowercase() && c.is_uppercase();
        if c.is_alphanumeric() && begins {
            stems.push(String::new());
        }
        if let Some(stem) = stems.last_mut()
            && c.is_alphanumeric()
            && stem.chars().count() < STEM_LETTERS
        {
            stem.extend(c.to_lowercase());
        }
        before = c;
    }
    stems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_echo_is_the_first_words_without_punctuation() {
        for (prompt, echo) in [
            ("What is an API?", "What is an API"),
            ("one two three four five six seven eight nine", "one two three four five six seven eight"),
            (" \"quoted\"\n\tand — \\ broken. ", "quoted and broken"),
            ("well-known -- fact", "well-known fact"),
            ("", "nothing"),
            ("?!", "nothing"),
            ("Grüße, 世界", "Grüße 世界"),
        ] {
            assert_eq!(Topic::new(prompt).echo, echo, "{prompt:?}");
        }
        assert_eq!(Topic::new(&"x".repeat(1_000)).echo.len(), ECHO_WORD_CHARS);
    }

    #[test]
    fn a_name_overlaps_with_the_prompt_by_the_beginnings_of_its_words() {
        let topic = Topic::new("Please ANALYZE this code, then get on.");
        for (name, overlap) in
            [("code_analysis", 2), ("code_generation", 1), ("greeting", 0), ("Code-Analysis", 2), ("", 0)]
        {
            assert_eq!(topic.overlap(name), overlap, "{name}");
        }
    }

    #[test]
    fn a_function_is_spoken_of_by_its_longer_words_or_else_by_its_short_ones() {
        let topic = Topic::new("Where do I get the weather?");
        for (function, spoken) in
            [("get_weather", true), ("get_time", false), ("get", true), ("add", false), ("getWeather", true)]
        {
            assert_eq!(topic.speaks_of(function), spoken, "{function}");
        }
    }
}
