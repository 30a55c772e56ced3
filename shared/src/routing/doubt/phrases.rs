//! Words by which an answer shows what it is: hedges, refusals, second thoughts; and by which a question says what it
//! wants.
//!
//! A list of words says little of itself (hedges find wrong answers hardly better than chance); what each is worth is the
//! weights' business.

use crate::steps;

/// What words are a sign of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not knowing.
    Hedge,
    /// Not wanting to.
    Refusal,
    /// Taking something back.
    Correction,
    /// Turning round.
    Contrast,
    /// Of a question: that it asks for things to be counted.
    HowMany,
    /// Of a question: that it asks for an amount.
    HowMuch,
    /// Of a question: that it asks for a text.
    Task,
    /// Of a question: that a word will do.
    Brief,
    /// Of a question: that a refusal may be right.
    Harm,
}

use Kind::{Brief, Contrast, Correction, Harm, Hedge, HowMany, HowMuch, Refusal, Task};

const PHRASES: [(&str, Kind); 94] = [
    ("as an ai language model", Refusal),
    ("actually", Correction),
    ("a word", Brief),
    ("but", Contrast),
    ("bomb", Harm),
    ("correction", Correction),
    ("calculate", HowMuch),
    ("compare", Task),
    ("compose", Task),
    ("child porn", Harm),
    ("describe", Task),
    ("design", Task),
    ("discuss", Task),
    ("draft", Task),
    ("explain", Task),
    ("explosive", Harm),
    ("however", Contrast),
    ("how many", HowMany),
    ("how much", HowMuch),
    ("how long", HowMuch),
    ("how old", HowMuch),
    ("how far", HowMuch),
    ("hack into", Harm),
    ("i'm not sure", Hedge),
    ("i am not sure", Hedge),
    ("i'm not certain", Hedge),
    ("i am not certain", Hedge),
    ("i'm not entirely sure", Hedge),
    ("i am not entirely sure", Hedge),
    ("i'm unsure", Hedge),
    ("i am unsure", Hedge),
    ("i don't know", Hedge),
    ("i do not know", Hedge),
    ("i don't have enough information", Hedge),
    ("i do not have enough information", Hedge),
    ("i'm only guessing", Hedge),
    ("i have no idea", Hedge),
    ("it is not possible to determine", Hedge),
    ("it's not possible to determine", Hedge),
    ("it is impossible to determine", Hedge),
    ("i can't help", Refusal),
    ("i cannot help", Refusal),
    ("i can't assist", Refusal),
    ("i cannot assist", Refusal),
    ("i can't provide", Refusal),
    ("i cannot provide", Refusal),
    ("i can't fulfill", Refusal),
    ("i cannot fulfill", Refusal),
    ("i'm unable to", Refusal),
    ("i am unable to", Refusal),
    ("i'm not able to", Refusal),
    ("i am not able to", Refusal),
    ("i'm sorry, but i can", Refusal),
    ("i am sorry, but i can", Refusal),
    ("i won't be able to", Refusal),
    ("i made a mistake", Correction),
    ("i made an error", Correction),
    ("implement", Task),
    ("just", Brief),
    ("kill", Harm),
    ("let me redo", Correction),
    ("let me recalculate", Correction),
    ("let me reconsider", Correction),
    ("let's redo", Correction),
    ("let's recalculate", Correction),
    ("let's reconsider", Correction),
    ("let me correct", Correction),
    ("let me try again", Correction),
    ("my mistake", Correction),
    ("malware", Harm),
    ("meth", Harm),
    ("not enough information", Hedge),
    ("number of", HowMany),
    ("name", Brief),
    ("on second thought", Correction),
    ("oops", Correction),
    ("one word", Brief),
    ("only", Brief),
    ("poison", Harm),
    ("ransomware", Harm),
    ("scratch that", Correction),
    ("summarize", Task),
    ("summarise", Task),
    ("single word", Brief),
    ("suicide", Harm),
    ("steal", Harm),
    ("title", Brief),
    ("wait", Correction),
    ("what percent", HowMuch),
    ("what is the total", HowMuch),
    ("what was the total", HowMuch),
    ("write", Task),
    ("weapon", Harm),
    ("yes or no", Brief),
];

/// Numbers that a question says in words, and those that a unit of time or length brings along.
const SPELLED: [(&str, f64); 48] = [
    ("dozen", 12.0),
    ("double", 2.0),
    ("doubled", 2.0),
    ("day", 24.0),
    ("days", 24.0),
    ("eight", 8.0),
    ("eleven", 11.0),
    ("four", 4.0),
    ("five", 5.0),
    ("forty", 40.0),
    ("fifty", 50.0),
    ("fourth", 4.0),
    ("fifth", 5.0),
    ("feet", 12.0),
    ("foot", 12.0),
    ("hundred", 100.0),
    ("half", 0.5),
    ("half", 2.0),
    ("hour", 60.0),
    ("hours", 60.0),
    ("minute", 60.0),
    ("minutes", 60.0),
    ("month", 30.0),
    ("month", 4.0),
    ("nine", 9.0),
    ("one", 1.0),
    ("quarter", 0.25),
    ("quarter", 4.0),
    ("six", 6.0),
    ("seven", 7.0),
    ("two", 2.0),
    ("three", 3.0),
    ("ten", 10.0),
    ("twelve", 12.0),
    ("twenty", 20.0),
    ("thirty", 30.0),
    ("twice", 2.0),
    ("triple", 3.0),
    ("thrice", 3.0),
    ("third", 3.0),
    ("thirds", 3.0),
    ("tenth", 10.0),
    ("week", 7.0),
    ("weeks", 7.0),
    ("year", 12.0),
    ("year", 52.0),
    ("year", 365.0),
    ("years", 12.0),
];

/// Where the entries of each letter begin in a table in the order of first letters, and where the last one's end.
const fn starts<T>(table: &[(&str, T)]) -> [usize; 27] {
    let mut starts = [table.len(); 27];
    let mut place = table.len();
    while place > 0 {
        place -= 1;
        let mut letter = (table[place].0.as_bytes()[0] - b'a') as usize;
        starts[letter] = place;
        while letter > 0 && starts[letter - 1] > place {
            letter -= 1;
            starts[letter] = place;
        }
    }
    starts
}

const PHRASE_STARTS: [usize; 27] = starts(&PHRASES);
const SPELLED_STARTS: [usize; 27] = starts(&SPELLED);

/// What was found in a text.
#[derive(Debug, Default)]
pub(super) struct Phrases {
    /// The kind of each phrase, and the byte at which it begins.
    found: Vec<(Kind, usize)>,
    /// Numbers in words.
    pub(super) numbers: Vec<f64>,
}

impl Phrases {
    /// Reads a text.
    pub(super) fn of(text: &str) -> Self {
        let text = text.to_lowercase().replace('\u{2019}', "'");
        let mut phrases = Self::default();
        let mut is_inside = false;
        for (at, c) in text.char_indices() {
            let is_letter = c.is_alphabetic() || c == '\'';
            if is_letter && !is_inside {
                steps::count(1);
                phrases.take(&text[at..], at);
            }
            is_inside = is_letter;
        }
        phrases
    }

    /// Takes the phrase, and the number, that a word begins.
    fn take(&mut self, text: &str, at: usize) {
        let letter = text.as_bytes()[0].wrapping_sub(b'a');
        if letter > b'z' - b'a' {
            return;
        }
        let of_letter = |starts: &[usize; 27]| starts[usize::from(letter)]..starts[usize::from(letter) + 1];
        let mut phrases = PHRASES[of_letter(&PHRASE_STARTS)].iter();
        // `but` is not in `butter`; a task may be `designing`.
        let ends = |behind: &str| !behind.starts_with(char::is_alphabetic);
        let is = |(words, kind): &&(&str, Kind)| {
            text.strip_prefix(words)
                .is_some_and(|behind| ends(behind) || !matches!(kind, Contrast | Correction | Brief))
        };
        if let Some((_, kind)) = phrases.find(is) {
            self.found.push((*kind, at));
        }
        let word = &text[..text.find(|c: char| !c.is_alphabetic()).unwrap_or(text.len())];
        let spelled = SPELLED[of_letter(&SPELLED_STARTS)].iter().filter(|(spelled, _)| *spelled == word);
        self.numbers.extend(spelled.map(|(_, value)| *value));
    }

    /// How often there is one of a kind.
    pub(super) fn count(&self, of: Kind) -> usize {
        self.found.iter().filter(|(kind, _)| *kind == of).count()
    }

    /// Whether there is one of a kind.
    pub(super) fn has(&self, of: Kind) -> bool {
        self.count(of) > 0
    }

    /// Whether there is one of a kind within the first bytes.
    pub(super) fn begins_with(&self, of: Kind, bytes: usize) -> bool {
        self.found.iter().any(|(kind, at)| *kind == of && *at < bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phrase_and_number_is_found_wherever_it_stands_in_its_table() {
        for (words, kind) in PHRASES {
            assert!(Phrases::of(&format!("Well, {}", words.to_uppercase())).has(kind), "{words}");
        }
        for (word, value) in SPELLED {
            assert!(Phrases::of(&format!("the {word}s {word}.")).numbers.contains(&value), "{word}");
        }
        let found = Phrases::of("awaits butter waiter \u{e9}but zoo justice").found;
        assert!(found.is_empty(), "{found:?}");
    }
}
