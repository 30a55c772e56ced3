//! Calculations that stand in a text: `a op b = c`, checked.
//!
//! A model writes its steps out, and a step that does not add up is the plainest sign of a wrong answer that can be had
//! without another model. Only what is surely a calculation is checked: numbers, the four operations, `of`, parentheses,
//! units behind the numbers. What holds a variable, a function or a power is left alone, and what can be read in two ways
//! (`1.500`, `20 %`, hours and minutes) is wrong only if no reading is right: a text in another language, or about
//! algebra, must not look wrong for it.
//!
//! Linear: an expression has at most [`MAX_TERMS`] tokens, and so many are looked at for each `=`.

use super::lexer::{Number, Token, tokens};
use crate::steps;

/// Tokens of one side of an equation; a longer one is left alone.
const MAX_TERMS: usize = 24;
/// Words that may stand behind a number as its unit.
const UNIT_WORDS: usize = 3;
/// Parentheses within one another.
const MAX_DEPTH: usize = 8;

/// What a text's calculations come to.
#[derive(Debug, Default)]
pub(super) struct Arithmetic {
    /// Its numbers, in order.
    pub(super) numbers: Vec<Number>,
    /// What stands behind each `=`.
    pub(super) results: Vec<f64>,
    /// Equations that could be checked.
    pub(super) checked: u32,
    /// Those of them that are wrong however they are read.
    pub(super) wrong: u32,
}

/// How numbers are read.
#[derive(Clone, Copy)]
struct Reading {
    swapped: bool,
    percent_is_hundredth: bool,
}

/// As they read in English.
const PLAIN: Reading = Reading { swapped: false, percent_is_hundredth: true };

/// Every way of reading them.
const READINGS: [Reading; 4] = [
    PLAIN,
    Reading { percent_is_hundredth: false, ..PLAIN },
    Reading { swapped: true, ..PLAIN },
    Reading { swapped: true, percent_is_hundredth: false },
];

/// One side of an equation.
#[derive(Default)]
struct Side {
    tokens: Vec<Token>,
    /// A bit for each unit of measure in it.
    measures: u64,
}

impl Arithmetic {
    /// Reads a text.
    pub(super) fn of(text: &str) -> Self {
        steps::count(text.len());
        let tokens = tokens(text);
        let mut found = Self::default();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                Token::Number(number) => {
                    let is_sign = at > 0
                        && tokens[at - 1] == Token::Operator(b'-')
                        && (at < 2 || matches!(tokens[at - 2], Token::Equals | Token::Break));
                    let value = if is_sign { -number.value } else { number.value };
                    found.numbers.push(Number { value, ..*number });
                }
                Token::Equals => found.check(&tokens, at),
                _ => {}
            }
        }
        found
    }

    fn check(&mut self, tokens: &[Token], at: usize) {
        let Some(right) = right_of(tokens, at) else { return };
        let Some(result) = right.value(PLAIN) else { return };
        self.results.push(result);
        let Some(left) = left_of(tokens, at) else { return };
        if !left.is_calculated() && !right.is_calculated() || left.value(PLAIN).is_none() {
            return;
        }
        let slack = slack(&left, &right);
        let holds = |reading| match (left.value(reading), right.value(reading)) {
            (Some(left), Some(right)) => (left - right).abs() <= slack + 1e-6 * left.abs().max(right.abs()),
            _ => false,
        };
        let holds = READINGS.into_iter().any(holds);
        // Hours that become minutes are converted in a way that is not written down.
        if holds || (left.measures | right.measures).count_ones() < 2 {
            self.checked += 1;
            self.wrong += u32::from(!holds);
        }
    }

    /// What a short question asks to be calculated, as "What is 17 * 23?" does; `None` if it asks for anything else.
    pub(super) fn asked(question: &str) -> Option<f64> {
        let tokens = tokens(question);
        let is_operator = |token: &Token| matches!(token, Token::Operator(b'+' | b'-' | b'*' | b'/'));
        let operator = tokens.iter().position(is_operator)?;
        let ends =
            (operator..tokens.len()).find(|at| matches!(tokens[*at], Token::Break | Token::Equals | Token::Word(_)));
        let ends = ends.unwrap_or(tokens.len());
        let rest = tokens.get(ends..).unwrap_or_default();
        if rest.iter().any(|token| matches!(token, Token::Number(_) | Token::Unknown)) {
            return None;
        }
        let side = left_of(&tokens, ends)?;
        let all = tokens.iter().filter(|token| matches!(token, Token::Number(_))).count();
        let used = side.tokens.iter().filter(|token| matches!(token, Token::Number(_))).count();
        side.value(PLAIN).filter(|_| all == used && used > 1)
    }
}

/// How far off a result may be that was rounded or cut at its last digit.
fn slack(left: &Side, right: &Side) -> f64 {
    let divides = |side: &Side| side.tokens.iter().any(|token| matches!(token, Token::Operator(b'/' | b'f' | b'o')));
    match (right.decimals(), left.decimals()) {
        (0, 0) if !divides(left) && !divides(right) => 0.0,
        (0, _) => 0.51,
        (decimals, _) => 1.01 * 0.1_f64.powi(i32::from(decimals)),
    }
}

/// The expression that ends before an `=`.
fn left_of(tokens: &[Token], equals: usize) -> Option<Side> {
    let mut side = Side::default();
    let (mut words, mut depth) = (0, 0_u32);
    for token in tokens[..equals].iter().rev() {
        let last = side.tokens.last();
        match token {
            // A unit behind its number.
            Token::Word(measure) if matches!(last, None | Some(Token::Operator(_))) => {
                side.note(*measure);
                words += 1;
                if words > UNIT_WORDS {
                    break;
                }
                continue;
            }
            Token::Unknown if words == 0 || !matches!(last, Some(Token::Number(_) | Token::Open)) => return None,
            Token::Word(_) | Token::Break | Token::Equals | Token::Unknown => break,
            Token::Number(_) if matches!(last, Some(Token::Number(_))) => return None,
            Token::Number(_) | Token::Operator(_) => {}
            Token::Close => depth += 1,
            Token::Open if depth == 0 => break,
            Token::Open => depth -= 1,
        }
        words = 0;
        if !side.push(*token) {
            return None;
        }
    }
    side.tokens.reverse();
    // An operator that is left over is the sign of the first number.
    let begins_well = !matches!(side.tokens.first(), Some(Token::Operator(sign)) if *sign != b'-');
    (depth == 0 && begins_well).then_some(side)
}

/// The expression that begins behind an `=`, up to the next one.
fn right_of(tokens: &[Token], equals: usize) -> Option<Side> {
    let mut side = Side::default();
    let (mut words, mut depth) = (0, 0_u32);
    for token in &tokens[equals + 1..] {
        let is_behind_operand = matches!(side.tokens.last(), Some(Token::Number(_) | Token::Close));
        match token {
            Token::Word(_) if matches!(side.tokens.last(), Some(Token::Operator(_))) => return None,
            Token::Word(measure) if is_behind_operand => {
                side.note(*measure);
                words += 1;
                if words > UNIT_WORDS {
                    break;
                }
                continue;
            }
            Token::Unknown if !is_behind_operand || words == 0 => return None,
            Token::Unknown | Token::Word(_) | Token::Break | Token::Equals => break,
            Token::Number(_) | Token::Open if is_behind_operand => break,
            Token::Close if depth == 0 => break,
            Token::Close => depth -= 1,
            Token::Open => depth += 1,
            Token::Number(_) | Token::Operator(_) => {}
        }
        words = 0;
        if !side.push(*token) {
            return None;
        }
    }
    while matches!(side.tokens.last(), Some(Token::Operator(_) | Token::Open)) {
        side.tokens.pop();
    }
    Some(side)
}

impl Side {
    /// Takes one more token, if there is room.
    fn push(&mut self, token: Token) -> bool {
        steps::count(1);
        self.tokens.push(token);
        self.tokens.len() <= MAX_TERMS
    }

    fn note(&mut self, measure: Option<u8>) {
        self.measures |= measure.map_or(0, |place| 1 << place);
    }

    fn is_calculated(&self) -> bool {
        self.tokens.iter().any(|token| matches!(token, Token::Operator(_)))
    }

    /// Digits behind the decimal point, of the number that has most; of a percentage those of the share.
    fn decimals(&self) -> u8 {
        let decimals = self.tokens.iter().map(|token| match token {
            Token::Number(number) => number.decimals.saturating_add(if number.is_percent { 2 } else { 0 }),
            _ => 0,
        });
        decimals.max().unwrap_or(0)
    }

    fn value(&self, reading: Reading) -> Option<f64> {
        let mut expression = Expression { tokens: &self.tokens, at: 0, reading };
        let value = expression.sum(0)?;
        (expression.at == self.tokens.len() && value.is_finite()).then_some(value)
    }
}

/// An expression that is being evaluated.
struct Expression<'t> {
    tokens: &'t [Token],
    at: usize,
    reading: Reading,
}

impl Expression<'_> {
    fn operator(&mut self, of: &[u8]) -> Option<u8> {
        match self.tokens.get(self.at) {
            Some(Token::Operator(operator)) if of.contains(operator) => {
                self.at += 1;
                Some(*operator)
            }
            _ => None,
        }
    }

    fn sum(&mut self, depth: usize) -> Option<f64> {
        let mut value = self.product(depth)?;
        while let Some(operator) = self.operator(b"+-") {
            let next = self.product(depth)?;
            value = if operator == b'+' { value + next } else { value - next };
        }
        Some(value)
    }

    fn product(&mut self, depth: usize) -> Option<f64> {
        let mut value = self.fraction(depth)?;
        while let Some(operator) = self.operator(b"*/o") {
            let next = self.fraction(depth)?;
            value = if operator == b'/' { value / next } else { value * next };
        }
        Some(value)
    }

    /// `3/5` in `12 / 3/5`.
    fn fraction(&mut self, depth: usize) -> Option<f64> {
        let mut value = self.operand(depth)?;
        while self.operator(b"f").is_some() {
            value /= self.operand(depth)?;
        }
        Some(value)
    }

    fn operand(&mut self, depth: usize) -> Option<f64> {
        let sign = if self.operator(b"-").is_some() { -1.0 } else { 1.0 };
        let token = *self.tokens.get(self.at)?;
        self.at += 1;
        let value = match token {
            Token::Number(number) => {
                let value = number.swapped.filter(|_| self.reading.swapped).unwrap_or(number.value);
                if number.is_percent && self.reading.percent_is_hundredth { value / 100.0 } else { value }
            }
            Token::Open if depth < MAX_DEPTH => {
                let value = self.sum(depth + 1)?;
                if self.tokens.get(self.at) != Some(&Token::Close) {
                    return None;
                }
                self.at += 1;
                value
            }
            _ => return None,
        };
        Some(sign * value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many equations could be checked, and how many are wrong.
    fn checked(text: &str) -> (u32, u32) {
        let found = Arithmetic::of(text);
        (found.checked, found.wrong)
    }

    #[test]
    fn calculations_are_checked_however_they_are_written() {
        for (text, expected) in [
            ("So 16 - 3 = 13 eggs are left.", (1, 0)),
            ("So 16 - 3 = 12 eggs are left.", (1, 1)),
            ("He pays 9 * $2 = $18, and 5 gallons x $3/gallon = $15/week.", (2, 0)),
            ("**12 / 2 = 6**\n- 3 \\* 4 = 12\n1. 5 + 6 = 11\n2) 5 + 6 = 12", (4, 1)),
            ("40/100 * 2 = .8; 12.8 / 2/5 = 32; (2 + 3) * 4 = 20", (2, 0)),
            ("25% of 80 = 20 and 20% + 30% = 50% and 2300 x 100% = 230,000%", (3, 0)),
            ("3 (cheese) + 4 (ham) = 7 pizzas", (1, 0)),
            ("3 x 4 = 2 * 6 = 13", (2, 1)),
            ("10 / 3 = 3.33 and 10 / 3 = 3 and 10 / 4 = 2.9", (3, 1)),
            (r"\(3 \times 4 = 13\)", (1, 1)),
            ("-5 + 3 = -2", (1, 0)),
        ] {
            assert_eq!(checked(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_calculation_or_can_be_read_otherwise_is_not_wrong() {
        for text in [
            "2x + 3 = 11 so 2x = 8; 6s + 9 = 3s + 27; x - 5 + 6 = 1",
            "5 + sqrt(4) = 7 and 2pi + 3 = 9.28 and 2^3 + 1 = 9",
            "1.500 + 500 = 2.000 und 2,5 + 2,5 = 5",
            "1 hour / 15 minutes = 4, 1 year / 3 months = 4 times",
            "if a == 3 or b - 1 != 0: c = 4",
            "2 1/2 + 1 = 3.5",
            "total = price - discount; y = 3",
            "On 2024-05-01 - 3 days = April",
            "=== 1 === 2 = = 3",
            "١ + ٢ = ٣。 三 + 四 = 七",
        ] {
            assert_eq!(Arithmetic::of(text).wrong, 0, "{text}");
        }
    }

    #[test]
    fn a_question_that_asks_for_a_calculation_is_calculated() {
        for (question, asked) in [
            ("What is 17 * 23?", Some(391.0)),
            ("12 + 30 = ?", Some(42.0)),
            ("Compute (2 + 3) x 4.", Some(20.0)),
            ("What happened on 9/11?", None),
            ("I have 3 apples and 12 - 4 pears, how many?", None),
            ("Solve 2x + 3 = 11", None),
            ("What is an interface?", None),
        ] {
            assert_eq!(Arithmetic::asked(question), asked, "{question}");
        }
    }

    #[test]
    fn any_text_takes_steps_in_proportion_to_its_length() {
        for unit in ["1+", "1=", "(", "=", "1 a ", "- ", "9", "\\", "1 + 2 = 3 = 4 ", "\u{e4}=1"] {
            let of = |times: usize| crate::steps::of(u64::MAX, || Arithmetic::of(&unit.repeat(times))).1;
            let (one, two) = (of(500), of(1_000));
            assert!(two <= 2 * one + 100, "{unit:?}: {one}, {two}");
        }
    }
}
