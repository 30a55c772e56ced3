//! What an answer shows of its own reliability, as numbers: pure, bounded, linear in the text.
//!
//! Each signal is 0 where nothing speaks for or against the answer. Those of [`Part::Calculation`] are looked for only
//! where the question has numbers and the answer calculates with them: elsewhere numbers that are not used, or come from
//! nowhere, say nothing. What gives away the format of one benchmark (`<<2*3=6>>`, a last line `#### 6`) is taken out
//! first, so that no signal can rest on it. Words are English; no signal speaks against a text for having none of them.

use super::arithmetic::Arithmetic;
use super::phrases::{Kind, Phrases};
use crate::steps;
use std::collections::HashSet;

/// Bytes of a text that are read: so many at its beginning, and at its end.
const HEAD_BYTES: usize = 16 << 10;
const TAIL_BYTES: usize = 8 << 10;

/// Bytes at the beginning of an answer in which refusals and hedges count.
const OPENING_BYTES: usize = 200;

macro_rules! signals {
    ($($(#[doc = $doc:literal])+ $name:ident: $part:ident, $words:literal;)+) => {
        /// One signal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Signal {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Signal {
            /// All of them, in the order in which they are kept.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$name,)+];
            /// How many there are.
            pub const COUNT: usize = [$(stringify!($name),)+].len();

            /// Its name in the weights.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// When it says something.
            #[must_use]
            pub fn part(self) -> Part {
                match self { $(Self::$name => Part::$part,)+ }
            }

            /// What it says against an answer, for a receipt.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)+ }
            }
        }
    };
}

signals! {
    /// Whether it begins with words of not knowing.
    HedgeFirst: Any, "it begins with a hedge";
    /// Whether it begins by refusing a question that seems harmless.
    RefusalFirst: Any, "it begins with a refusal";
    /// Hedges anywhere, up to three.
    Hedges: Any, "it hedges";
    /// Words of taking something back ("wait", "actually"), up to three.
    Corrections: Any, "it corrects itself";
    /// How much of it is said over and over, 0 to 1.
    Repetition: Any, "it repeats itself";
    /// Whether it ends in the middle: a comma, an open fence or parenthesis, an item without words.
    Unfinished: Any, "it ends in the middle";
    /// Whether its last line has no full stop, where the lines before it have.
    NoFullStop: Any, "its last sentence does not end";
    /// Whether a question that asks for a text got a word or two.
    Thin: Any, "it is short for what was asked";
    /// Whether an equation in it is wrong.
    WrongEquation: Any, "a calculation in it is wrong";
    /// Further wrong equations, up to two.
    MoreWrongEquations: Any, "several calculations in it are wrong";
    /// Whether the question is a calculation, and none of its numbers is the result.
    WrongResult: Any, "it contradicts the calculation that was asked for";
    /// How far the mean log-probability of its tokens lies below the usual, in natural logarithms.
    MeanLogprob: Any, "its tokens are unlikely";
    /// How far the unlikeliest tenth of its tokens begins below the usual, in natural logarithms.
    LowLogprob: Any, "some of its tokens are unlikely";
    /// How much harder than usual the question is, as the difference of log-odds.
    Difficulty: Any, "the question is hard";
    /// 1 wherever the signals below say something.
    Calculates: Calculation, "it is a calculation of several steps";
    /// Logarithm of the equations that could be checked.
    Equations: Calculation, "it shows few steps";
    /// How many of the question's numbers it does not use, 0 to 1.
    UnusedShare: Calculation, "it leaves numbers of the question out";
    /// Whether it leaves one out.
    Unused: Calculation, "it leaves a number of the question out";
    /// How many of its numbers come neither from the question nor from a calculation, 0 to 1.
    UngroundedShare: Calculation, "it has numbers that come from nowhere";
    /// Whether its last number is a fraction, where the question asks how many.
    FractionOfThings: Calculation, "it counts in fractions";
    /// Results that it calculates and does not use, up to four.
    DeadEnds: Calculation, "it calculates what it does not use";
    /// Percentages in it, up to five.
    Percentages: Calculation, "it calculates with percentages";
    /// Whether its last line has no calculation.
    LastLineIsPlain: Calculation, "it ends with no calculation";
    /// "However" and "but", up to three.
    Contrasts: Calculation, "it says but";
    /// Logarithm of the question's words.
    QuestionWords: Calculation, "the question is long";
    /// Logarithm of the answer's words.
    AnswerWords: Calculation, "it is long";
}

/// When a signal says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Of any answer.
    Any,
    /// Of one that calculates with the question's numbers.
    Calculation,
}

/// What is known of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The question.
    pub question: &'a str,
    /// The answer, or its beginning.
    pub answer: &'a str,
    /// Whether the answer is all there.
    pub is_whole: bool,
    /// Whether it ended where its model meant it to: at no bound, and at no stop sequence of the client's.
    pub ended_itself: bool,
    /// The mean log-probability of its tokens, and where the unlikeliest tenth begins, where the provider says.
    pub logprobs: Option<(f64, f64)>,
    /// The probability that the cheap tier's answer would not do.
    pub difficulty: Option<f64>,
}

/// The value of each signal, in the order of [`Signal::ALL`].
pub type Values = [f64; Signal::COUNT];

/// What an answer shows.
#[must_use]
pub fn signals(shown: &Shown<'_>) -> Values {
    let mut values = [0.0; Signal::COUNT];
    let mut set = |signal: Signal, value: f64| values[signal as usize] = value;
    let (question, answer) = (bounded(shown.question), plain(&bounded(shown.answer)));
    let prose = without_code(&answer);
    let (asked, said) = (Phrases::of(&question), Phrases::of(&prose));
    // Who was asked to write a hedge does not hedge.
    let opens_with = |kind| said.begins_with(kind, OPENING_BYTES) && !asked.has(kind);
    set(Signal::HedgeFirst, flag(opens_with(Kind::Hedge)));
    set(Signal::RefusalFirst, flag(opens_with(Kind::Refusal) && !asked.has(Kind::Harm)));
    if let Some((mean, low)) = shown.logprobs {
        set(Signal::MeanLogprob, (USUAL_MEAN_LOGPROB - mean).clamp(-0.25, 3.0));
        set(Signal::LowLogprob, (USUAL_LOW_LOGPROB - low).clamp(-0.5, 3.0));
    }
    if let Some(difficulty) = shown.difficulty {
        let log_odds = |p: f64| (p / (1.0 - p)).ln();
        set(Signal::Difficulty, (log_odds(difficulty.clamp(0.02, 0.98)) - log_odds(USUAL_DIFFICULTY)).clamp(-2.0, 2.0));
    }
    if !shown.is_whole {
        return values;
    }
    set(Signal::Hedges, capped(said.count(Kind::Hedge), 3));
    set(Signal::Corrections, capped(said.count(Kind::Correction), 3));
    set(Signal::Repetition, repetition(&prose));
    set(Signal::Unfinished, flag(shown.ended_itself && is_unfinished(&answer)));
    set(Signal::NoFullStop, flag(shown.ended_itself && lacks_full_stop(&prose)));
    let words = words_in(&answer);
    set(Signal::Thin, flag(words <= 3 && asked.has(Kind::Task) && !asked.has(Kind::Brief)));
    let (given, found) = (Arithmetic::of(&question), Arithmetic::of(&prose));
    set(Signal::WrongEquation, flag(found.wrong > 0));
    set(Signal::MoreWrongEquations, capped(found.wrong.saturating_sub(1) as usize, 2));
    let result = if question.len() <= SHORT_QUESTION_BYTES { Arithmetic::asked(&question) } else { None };
    let is_result = |number: f64, result: f64| (number - result).abs() <= 0.51_f64.max(result.abs() * 0.01);
    set(
        Signal::WrongResult,
        flag(result.is_some_and(|result| {
            !found.numbers.is_empty() && !found.numbers.iter().any(|number| is_result(number.value, result))
        })),
    );
    if given.numbers.len() + asked.numbers.len() < 2 {
        return values;
    }
    let wants_number = asked.has(Kind::HowMany) || asked.has(Kind::HowMuch);
    if !found.results.is_empty() || wants_number && words > FEW_WORDS {
        let calculation = Calculation {
            question: &question,
            prose: &prose,
            asked: &asked,
            said: &said,
            given: &given,
            found: &found,
        };
        calculation.signals(words, set);
    }
    values
}

/// The mean log-probability of a chat model's tokens in an answer that nothing speaks against.
const USUAL_MEAN_LOGPROB: f64 = -0.25;
/// Where the unlikeliest tenth of them begins.
const USUAL_LOW_LOGPROB: f64 = -0.9;
/// How often the cheap tier's answers do not do.
const USUAL_DIFFICULTY: f64 = 0.2;
/// So many words may be the bare result.
const FEW_WORDS: usize = 8;
/// A longer question asks for more than one calculation.
const SHORT_QUESTION_BYTES: usize = 120;

struct Calculation<'a> {
    question: &'a str,
    prose: &'a str,
    asked: &'a Phrases,
    said: &'a Phrases,
    given: &'a Arithmetic,
    found: &'a Arithmetic,
}

impl Calculation<'_> {
    #[allow(clippy::cast_precision_loss)]
    fn signals(&self, words: usize, mut set: impl FnMut(Signal, f64)) {
        let (given, found) = (&self.given.numbers, self.found);
        let known: HashSet<i64> = given.iter().flat_map(|number| forms(number.value, number.is_percent)).collect();
        let spelled: HashSet<i64> = self.asked.numbers.iter().map(|value| hundredths(*value)).collect();
        let results: HashSet<i64> = found.results.iter().map(|value| hundredths(*value)).collect();
        let sequence: Vec<i64> = found.numbers.iter().map(|number| hundredths(number.value)).collect();
        let said: HashSet<i64> = sequence.iter().copied().collect();
        let last = found.numbers.last().map_or(0.0, |number| number.value);
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        let is_fraction = |value: f64| (value - value.round()).abs() > 1e-6;

        let unused = given.iter().filter(|number| !said.contains(&hundredths(number.value)));
        let unused = unused.filter(|number| !number.is_percent || !said.contains(&hundredths(number.value / 100.0)));
        let unused = unused.count();
        let from_nowhere = |number: &&i64| {
            ![&known, &spelled, &results].iter().any(|set| set.contains(number)) && !COMMON.contains(number)
        };
        let times = occurrences(&sequence);
        let is_dead = |value: &&f64| {
            let number = hundredths(**value);
            number != hundredths(last) && times.get(&number).is_none_or(|times| *times < 2)
        };
        set(Signal::Calculates, 1.0);
        set(Signal::Equations, log_of(found.checked as usize));
        set(Signal::UnusedShare, share(unused, given.len()));
        set(Signal::Unused, flag(unused > 0));
        set(Signal::UngroundedShare, share(sequence.iter().filter(from_nowhere).count(), sequence.len()));
        set(Signal::FractionOfThings, flag(is_fraction(last) && self.asked.has(Kind::HowMany)));
        set(Signal::DeadEnds, capped(found.results.iter().filter(is_dead).count(), 4));
        set(Signal::Percentages, capped(self.prose.matches('%').count(), 5));
        set(Signal::LastLineIsPlain, flag(!self.prose.lines().last().is_some_and(|line| line.contains('='))));
        set(Signal::Contrasts, capped(self.said.count(Kind::Contrast), 3));
        set(Signal::QuestionWords, log_of(words_in(self.question)));
        set(Signal::AnswerWords, log_of(words));
    }
}

/// Numbers that any calculation may have: 1, 2 and 100, in hundredths.
const COMMON: [i64; 3] = [100, 200, 10_000];

/// A number without its sign, to be compared with others.
#[allow(clippy::cast_possible_truncation)]
fn hundredths(value: f64) -> i64 {
    (value.abs() * 100.0).round() as i64
}

/// The forms in which a number of the question may be used: 20 % as 0.2, 0.8, 1.2, 80 and 120.
fn forms(value: f64, is_percent: bool) -> impl Iterator<Item = i64> {
    let share = value / 100.0;
    let further = [share, 1.0 - share, 1.0 + share, 100.0 - value, 100.0 + value];
    std::iter::once(value).chain(further.into_iter().filter(move |_| is_percent)).map(hundredths)
}

fn occurrences(sequence: &[i64]) -> std::collections::HashMap<i64, u32> {
    let mut times = std::collections::HashMap::new();
    for number in sequence {
        *times.entry(*number).or_insert(0) += 1;
    }
    times
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

#[allow(clippy::cast_precision_loss)]
fn capped(count: usize, most: usize) -> f64 {
    count.min(most) as f64
}

#[allow(clippy::cast_precision_loss)]
fn log_of(count: usize) -> f64 {
    (1.0 + count as f64).ln()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn words_in(text: &str) -> usize {
    words(text).count()
}

fn has_more_words(text: &str, than: usize) -> bool {
    words(text).nth(than).is_some()
}

/// Head and tail of a long text.
fn bounded(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= HEAD_BYTES + TAIL_BYTES {
        return text.into();
    }
    let (head, tail) = (text.floor_char_boundary(HEAD_BYTES), text.ceil_char_boundary(text.len() - TAIL_BYTES));
    format!("{}\n{}", &text[..head], &text[tail..]).into()
}

/// An answer without what gives away the format of one benchmark: calculator marks, and lines of `####` and a number.
fn plain(answer: &str) -> String {
    let mut plain = String::with_capacity(answer.len());
    for line in answer.trim().lines() {
        if line.trim_start().starts_with("####") && !line.contains(char::is_alphabetic) {
            continue;
        }
        let mut rest = line;
        while let Some((before, marked)) = rest.split_once("<<") {
            plain.push_str(before);
            rest = marked.split_once(">>").map_or("", |(_, behind)| behind);
        }
        plain.push_str(rest);
        plain.push('\n');
    }
    plain.truncate(plain.trim_end().len());
    plain
}

/// Whether a line opens or closes a block of code.
fn is_fence(line: &str) -> bool {
    line.trim_start().starts_with("```")
}

/// What is not code.
fn without_code(answer: &str) -> String {
    let mut is_code = false;
    let mut prose = String::with_capacity(answer.len());
    for line in answer.lines() {
        if is_fence(line) {
            is_code = !is_code;
        } else if !is_code {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// Words that no sentence ends with.
const NEVER_LAST: [&str; 9] = ["and", "or", "the", "a", "an", "because", "which", "with", "their"];

fn is_unfinished(answer: &str) -> bool {
    if answer.lines().filter(|line| is_fence(line)).count() % 2 == 1 {
        return true;
    }
    let last_line = answer.lines().last().unwrap_or_default().trim();
    let is_bare_item = last_line.trim_end_matches(['.', ')']).chars().all(|c| c.is_ascii_digit() || "-*•".contains(c))
        && last_line.ends_with(['.', ')', '-', '*', '•'])
        && answer.contains('\n');
    let last_word = last_line.rsplit(' ').next().unwrap_or_default();
    is_bare_item && last_line.len() < 4 && last_line != "---" && last_line != "***"
        || answer.ends_with([',', ';', ':', '(', '[', '{', '=', '+', '×', '/', '-', '、', '，', '：'])
        || has_more_words(answer, 12) && NEVER_LAST.contains(&last_word)
}

/// Whether a text's last line breaks off with a letter or digit, where most lines before it end with a full stop.
fn lacks_full_stop(prose: &str) -> bool {
    if !prose.trim_end().ends_with(char::is_alphanumeric) {
        return false;
    }
    let lines = || prose.lines().map(str::trim_end).filter(|line| has_more_words(line, FULL_LINE_WORDS));
    let stopped = lines().filter(|line| line.ends_with(['.', '!', '?', '。', '！', '？'])).count();
    stopped > 0 && 2 * (stopped + 1) > lines().count()
}

/// A line of so many words or fewer may be a heading or an item of a list.
const FULL_LINE_WORDS: usize = 4;
/// Words in a row that count as said before when they come again.
const ROW_WORDS: usize = 6;
/// A shorter text has nothing to repeat.
const LEAST_WORDS: usize = 40;

/// How much of a text is said over and over, beyond what songs, lists and tables do: 0 to 1.
#[allow(clippy::cast_precision_loss)]
fn repetition(text: &str) -> f64 {
    let words: Vec<u64> = words(text).map(hash_of).collect();
    if words.len() < LEAST_WORDS {
        return 0.0;
    }
    steps::count(words.len());
    let rows = words.len() - ROW_WORDS + 1;
    let row = |row: &[u64]| row.iter().fold(0, |sum: u64, word| sum.wrapping_mul(FNV_PRIME).wrapping_add(*word));
    let different = words.windows(ROW_WORDS).map(row).collect::<HashSet<u64>>().len();
    let repeated = 1.0 - different as f64 / rows as f64;
    ((repeated - 0.4) / 0.4).clamp(0.0, 1.0)
}

const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a: words are compared and nothing else, and who finds two of the same hash cheats only himself.
fn hash_of(word: &str) -> u64 {
    word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}
