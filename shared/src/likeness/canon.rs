//! What is left of a text when what says nothing is taken away.

use super::lists::{
    ABOUT_WORDS, APART, APART_ENDS, ASKS, BETWEEN, COURTESIES, HOWS, LANGUAGES, Language, NAMES, OPPOSITES, YES_OR_NO,
};
use super::reading::{Kind, Read, read};
use crate::routing::text::table::{nearness, piece_of};
use std::collections::HashSet;
use std::sync::LazyLock;

/// A word and its base form lie at least this near; "caring" is of "care" and not of "car".
const BASE: f32 = 0.5;

/// A word that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// Its piece in the table, where another word of nearly the same meaning may stand in its place.
    pub(super) piece: Option<u16>,
}

/// The language of a text and its words that count, in their order; `None` for a text about words, or without any that says
/// what it is about.
pub(super) fn words(text: &str) -> Option<Vec<Word>> {
    let mut read = read(text);
    if read.iter().any(|word| word.kind == Kind::Plain && ABOUT_WORDS.contains(&word.text.as_str())) {
        return None;
    }
    let (language, signs) = language(&read);
    let is_english = language == Language::English;
    if is_english {
        ask_plainly(&mut read);
    }
    let fillers = if signs > 0 { language.fillers() } else { &[] };
    // What is the same in two languages may not be.
    let mut words = vec![Word { text: format!("{language:?}"), piece: None }];
    for word in read {
        let is_filler = fillers.contains(&word.text.as_str());
        match word.kind {
            Kind::Verbatim => words.push(Word { text: word.text, piece: None }),
            // "US" is not "us", nor "The Who" a question.
            Kind::Named if is_filler || APART.contains(&word.text.as_str()) => {
                words.push(Word { text: ["^", &word.text].concat(), piece: None });
            }
            Kind::Named => words.push(Word { text: word.text, piece: None }),
            Kind::Plain if is_filler => {}
            Kind::Plain if is_english => words.push(base(word.text)),
            Kind::Plain => words.push(Word { text: word.text, piece: None }),
        }
    }
    // Its language, and something that is asked about.
    let is_asked = words.len() > 2 || words.get(1).is_some_and(|word| !APART.contains(&word.text.as_str()));
    is_asked.then_some(words)
}

/// The language that most words are signs of, and how many; English where there are none. An "a" is a sign of none.
fn language(read: &[Read]) -> (Language, usize) {
    let is_sign = |language: Language, word: &str| {
        word != "a" && language.fillers().contains(&word) || language.signs().contains(&word)
    };
    let signs = |language: Language| {
        read.iter().filter(|word| word.kind == Kind::Plain && is_sign(language, &word.text)).count()
    };
    // The first of several.
    LANGUAGES
        .into_iter()
        .rev()
        .map(|language| (language, signs(language)))
        .max_by_key(|(_, signs)| *signs)
        .unwrap_or((Language::English, 0))
}

/// Whether a text goes on with these words at `at`; answers how many there are.
fn goes_on(read: &[Read], phrase: &str) -> Option<usize> {
    let mut count = 0;
    for wanted in phrase.split(' ') {
        let word = read.get(count)?;
        if word.kind != Kind::Plain || word.text != wanted {
            return None;
        }
        count += 1;
    }
    (count < read.len()).then_some(count)
}

/// Whether one of these words stands there.
fn is_at(read: &[Read], at: usize, of: &[&str]) -> bool {
    read.get(at).is_some_and(|word| word.kind == Kind::Plain && of.contains(&word.text.as_str()))
}

/// Takes courtesies away and brings the ways to ask the same into one form.
fn ask_plainly(read: &mut Vec<Read>) {
    owners_last(read);
    place_last(read);
    let longest = |read: &[Read]| COURTESIES.iter().filter_map(|phrase| goes_on(read, phrase)).max();
    let how = |read: &[Read]| {
        let found = HOWS.iter().filter_map(|(phrase, is)| Some((goes_on(read, phrase)?, *is)));
        found.max_by_key(|(count, _)| *count)
    };
    loop {
        // "How do you feel?" is not "How do I feel?".
        if let Some((count, is)) = how(read).filter(|(count, _)| read.len() > count + 1) {
            let is = is.iter().map(|text| Read {
                text: (*text).to_owned(),
                kind: Kind::Plain,
                is_owner: false,
                comma: false,
            });
            read.splice(..count, is);
            break;
        }
        let Some(count) = longest(read) else { break };
        if read.len() - count < 2 && is_at(read, 0, YES_OR_NO) {
            // "Can you dance?" is no order to.
            break;
        }
        read.drain(..count);
    }
    if is_at(read, 0, &["what", "which"]) {
        let ends_with_is = is_at(read, read.len() - 1, &["is", "are"]);
        if ends_with_is || is_at(read, 1, &["is", "are", "do", "does", "the", "a", "an"]) {
            read.remove(0);
            // "What do" and "what does" ask for something else than "what is".
            if is_at(read, 0, &["do", "does"]) {
                "what".clone_into(&mut read[0].text);
            }
        } else {
            "which".clone_into(&mut read[0].text);
        }
    } else if is_at(read, 0, YES_OR_NO) {
        let question = Read { text: "=?".into(), kind: Kind::Verbatim, is_owner: false, comma: false };
        if is_at(read, 0, &["do"]) {
            read.remove(0);
        }
        read.insert(0, question);
    }
    if is_at(read, 0, ASKS) && is_at(read, 1, &["do"]) {
        read.remove(1);
    }
    if is_at(read, 0, &["give", "show", "write", "make", "find", "get", "tell"]) && is_at(read, 1, &["me"]) {
        read.remove(1);
    }
    let is_how = is_at(read, 0, &["how"]);
    read.retain(|word| !(is_how && word.kind == Kind::Plain && matches!(word.text.as_str(), "my" | "our")));
    for word in read.iter_mut().filter(|word| word.kind == Kind::Plain && matches!(word.text.as_str(), "on" | "at")) {
        "in".clone_into(&mut word.text);
    }
}

/// "France's capital" as "capital of France".
fn owners_last(read: &mut [Read]) {
    for at in 0..read.len() {
        if read[at].is_owner {
            let owned = read[at + 1..]
                .iter()
                .take_while(|word| word.kind == Kind::Plain && !BETWEEN.contains(&word.text.as_str()));
            let count = owned.count();
            read[at].is_owner = false;
            read[at..=at + count].rotate_left(1);
        }
    }
}

/// Whether the neighbours of a word are other things.
fn is_apart(word: &str) -> bool {
    static LISTED: LazyLock<HashSet<&str>> =
        LazyLock::new(|| [APART, NAMES, Language::English.fillers()].concat().into_iter().collect());
    let is_opposite = || {
        OPPOSITES
            .iter()
            .any(|prefix| word.strip_prefix(prefix).is_some_and(|rest| rest.len() > 3 && piece_of(rest).is_some()))
    };
    LISTED.contains(word)
        || APART_ENDS.iter().any(|end| word.len() > end.len() + 2 && word.ends_with(end))
        || is_opposite()
}

/// "In Python, how ..." as "how ... in Python".
fn place_last(read: &mut [Read]) {
    if read.first().is_some_and(|word| word.text == "in" && word.kind == Kind::Plain)
        && let Some(comma) = read.iter().take(4).position(|word| word.comma)
        && comma + 1 < read.len()
    {
        read.rotate_left(comma + 1);
    }
}

/// The word in its base form, where the table knows both and they lie near.
fn base(text: String) -> Word {
    let Some(piece) = piece_of(&text).filter(|_| text.len() > 2) else { return singular(text) };
    let mut best = (BASE, None);
    for candidate in bases(&text) {
        let Some(of) = piece_of(&candidate) else { continue };
        let near = nearness(piece, of);
        if near > best.0 {
            best = (near, Some((candidate, of)));
        }
    }
    let is_alone = is_apart(&text);
    let (text, piece) = best.1.unwrap_or((text, piece));
    let piece = (!is_alone && !is_apart(&text)).then_some(piece);
    Word { text, piece }
}

/// Of a plural that is more than a piece the one piece that it is the plural of.
fn singular(text: String) -> Word {
    let ending = text.strip_suffix("ies").map(|stem| [stem, "y"].concat());
    let stem = ending.or_else(|| text.strip_suffix('s').map(str::to_owned)).filter(|stem| stem.len() > 3);
    match stem.and_then(|stem| Some((piece_of(&stem)?, stem))) {
        Some((piece, text)) => Word { piece: (!is_apart(&text)).then_some(piece), text },
        None => Word { text, piece: None },
    }
}

/// What a plural, a third person or a gerund may come from.
fn bases(word: &str) -> Vec<String> {
    let mut bases = Vec::new();
    let mut add = |stem: Option<&str>, end: &str| {
        if let Some(stem) = stem.filter(|stem| stem.len() >= 2) {
            bases.push([stem, end].concat());
        }
    };
    add(word.strip_suffix("ies"), "y");
    add(word.strip_suffix("es"), "");
    add(word.strip_suffix('s').filter(|stem| !stem.ends_with(['s', 'u', 'i'])), "");
    let gerund = word.strip_suffix("ing");
    add(gerund, "");
    add(gerund, "e");
    let doubled = gerund.filter(|stem| stem.is_ascii() && stem.len() > 2);
    add(
        doubled
            .filter(|stem| stem.as_bytes()[stem.len() - 1] == stem.as_bytes()[stem.len() - 2])
            .map(|stem| &stem[..stem.len() - 1]),
        "",
    );
    bases
}
