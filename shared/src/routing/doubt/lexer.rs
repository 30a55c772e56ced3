//! What a text consists of, for arithmetic: numbers, operators, units, and what ends an expression.

/// Words that make an expression one that cannot be checked.
const FUNCTIONS: [&str; 12] =
    ["pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "mod", "frac", "squared", "cubed"];

/// Units of measure, those of one kind beside each other: `1 hour / 15 minutes = 4` mixes two, and is not wrong.
const MEASURES: [&str; 36] = [
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "decade",
    "century",
    "inch",
    "inches",
    "foot",
    "feet",
    "yard",
    "mile",
    "cm",
    "mm",
    "km",
    "meter",
    "metre",
    "kilometer",
    "kg",
    "gram",
    "ounce",
    "pound",
    "ton",
    "liter",
    "litre",
    "ml",
    "gallon",
    "cup",
    "cent",
    "dollar",
    "dozen",
    "degree",
    "percent",
];

/// Digits of the longest number that is read.
const MAX_DIGITS: usize = 24;

/// A number as it stands in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    /// As it reads in English.
    pub(super) value: f64,
    /// As it reads where `.` and `,` change places, if that makes a difference.
    pub(super) swapped: Option<f64>,
    /// Digits behind the decimal point.
    pub(super) decimals: u8,
    /// Whether `%` follows.
    pub(super) is_percent: bool,
}

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token {
    /// A number.
    Number(Number),
    /// One of `+ - * /`, `f` for the `/` of a fraction without spaces, `o` for "of".
    Operator(u8),
    /// `=`
    Equals,
    /// `(`
    Open,
    /// `)`
    Close,
    /// A word; with its place in [`MEASURES`] if it is one.
    Word(Option<u8>),
    /// A variable, a function, a power: what makes an expression none that can be checked.
    Unknown,
    /// The end of a sentence, a line or a cell.
    Break,
}

/// The tokens of a text, in order.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new(), line_begins: true };
    while lexer.at < text.len() {
        lexer.take_next();
    }
    lexer.tokens
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    tokens: Vec<Token>,
    line_begins: bool,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn push(&mut self, token: Token, bytes: usize) {
        self.at += bytes;
        self.tokens.push(token);
    }

    fn take_next(&mut self) {
        let rest = self.rest();
        let Some(c) = rest.chars().next() else { return };
        let bytes = c.len_utf8();
        let follows = |text: &str| rest[bytes..].starts_with(text);
        let line_begins = std::mem::replace(&mut self.line_begins, false);
        match c {
            '\n' => {
                self.line_begins = true;
                self.push(Token::Break, 1);
            }
            ' ' | '\t' | '\r' | '$' | '€' | '£' | '₹' | '¥' | '_' | '\u{a0}' | '`' => {
                self.line_begins = line_begins;
                self.at += bytes;
            }
            // A bullet.
            '-' | '*' | '•' | '+' if line_begins && follows(" ") => self.push(Token::Break, bytes),
            // Bold print.
            '*' if follows("*") => self.at += 2,
            '0'..='9' => self.number(line_begins),
            '+' => self.push(Token::Operator(b'+'), 1),
            '-' | '–' | '−' | '—' => self.push(Token::Operator(b'-'), bytes),
            '*' | '×' | '·' | '⋅' | '∙' => self.push(Token::Operator(b'*'), bytes),
            '/' | '÷' => self.slash(bytes),
            '=' if follows("=") || follows(">") => self.push(Token::Unknown, 2),
            '=' => self.push(Token::Equals, 1),
            '(' if remark(rest) > 0 => self.push(Token::Word(None), remark(rest)),
            '(' | '[' => self.push(Token::Open, 1),
            ')' | ']' => self.push(Token::Close, 1),
            '\\' => self.command(),
            '^' | '√' | '<' | '>' | '!' | '{' | '}' | '≈' | '²' | '³' | 'π' | '~' => {
                self.push(Token::Unknown, bytes)
            }
            c if c.is_alphabetic() => self.word(),
            _ => self.push(Token::Break, bytes),
        }
    }

    /// LaTeX's words for operations, and escapes of Markdown.
    fn command(&mut self) {
        let rest = self.rest();
        for (command, token) in [
            ("\\times", Some(Token::Operator(b'*'))),
            ("\\cdot", Some(Token::Operator(b'*'))),
            ("\\div", Some(Token::Operator(b'/'))),
            ("\\*", Some(Token::Operator(b'*'))),
            ("\\$", None),
            ("\\%", None),
            ("\\,", None),
            ("\\(", Some(Token::Break)),
            ("\\)", Some(Token::Break)),
            ("\\[", Some(Token::Break)),
            ("\\]", Some(Token::Break)),
        ] {
            if rest.starts_with(command) {
                self.at += command.len();
                self.tokens.extend(token);
                return;
            }
        }
        self.push(Token::Unknown, 1);
    }

    /// A division, unless it is the `/` of a unit: `3 $/hour`.
    fn slash(&mut self, bytes: usize) {
        let behind = &self.text[self.at + bytes..];
        if behind.trim_start_matches([' ', '$']).starts_with(char::is_alphabetic) {
            return self.push(Token::Word(None), bytes);
        }
        let is_digit = |c: char| c.is_ascii_digit();
        let is_fraction = self.text[..self.at].ends_with(is_digit) && behind.starts_with(is_digit);
        self.push(Token::Operator(if is_fraction { b'f' } else { b'/' }), bytes);
    }

    fn word(&mut self) {
        let rest = self.rest();
        let bytes = rest.find(|c: char| !c.is_alphanumeric() && c != '\'').unwrap_or(rest.len());
        let word = &rest[..bytes];
        let before = self.tokens.last();
        let is_behind_operand = matches!(before, Some(Token::Number(_) | Token::Close | Token::Word(_)));
        let number_follows =
            rest[bytes..].trim_start_matches([' ', '$', '(', '€', '£']).starts_with(|c: char| c.is_ascii_digit());
        let token = match word {
            "x" | "X" if is_behind_operand && number_follows => Token::Operator(b'*'),
            "of" if matches!(before, Some(Token::Number(_))) && number_follows => Token::Operator(b'o'),
            "a" | "I" => Token::Word(None),
            _ if word.chars().nth(1).is_none() || word.bytes().any(|byte| byte.is_ascii_digit()) => Token::Unknown,
            _ if FUNCTIONS.iter().any(|known| word.eq_ignore_ascii_case(known)) => Token::Unknown,
            _ => Token::Word(measure(word)),
        };
        self.push(token, bytes);
    }

    fn number(&mut self, line_begins: bool) {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let mut end = 0;
        while is_digit(end) || matches!(bytes.get(end), Some(b'.' | b',')) && is_digit(end + 1) {
            end += 1;
        }
        let behind = &rest[end..];
        // The number of an item in a list.
        if line_begins && behind.starts_with([')', '.']) {
            return self.push(Token::Break, end + 1);
        }
        let letters = behind.find(|c: char| !c.is_alphabetic()).unwrap_or(behind.len());
        let glued = &behind[..letters];
        let percent = if behind.starts_with("\\%") { 2 } else { usize::from(behind.starts_with('%')) };
        match (read(&rest[..end]), glued) {
            (Some(number), "") => {
                self.push(Token::Number(Number { is_percent: percent > 0, ..number }), end + percent);
            }
            // `3x4` is a product, `3x` a variable.
            (Some(number), "x" | "X") if behind[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.push(Token::Number(number), end);
            }
            (Some(number), word) if word.chars().nth(1).is_some() && !FUNCTIONS.contains(&word) => {
                self.push(Token::Number(number), end + letters);
                self.tokens.push(Token::Word(measure(word)));
            }
            _ => self.push(Token::Unknown, end + letters),
        }
    }
}

fn measure(word: &str) -> Option<u8> {
    let first = word.as_bytes()[0].to_ascii_lowercase();
    let is = |known: &str| {
        if known.as_bytes()[0] != first {
            return false;
        }
        let head = word.get(..known.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(known)) && matches!(&word[known.len()..], "" | "s")
    };
    MEASURES.iter().position(|known| is(known)).and_then(|place| u8::try_from(place).ok())
}

/// Bytes of a remark in parentheses that holds no number: `3 (cheese) + 3 (ham)`.
fn remark(text: &str) -> usize {
    let within = text[1..].find(|c: char| !c.is_alphabetic() && !matches!(c, ' ' | '\'')).unwrap_or(text.len() - 1);
    if within > 2 && text[1 + within..].starts_with(')') { within + 2 } else { 0 }
}

/// A number of digits, points and commas.
fn read(digits: &str) -> Option<Number> {
    if digits.len() > MAX_DIGITS {
        return None;
    }
    let is_separator = |c: char| !c.is_ascii_digit();
    let (first, last) = (digits.find(is_separator), digits.rfind(is_separator));
    let parse = |decimal: Option<usize>| {
        let mut plain = digits.replace([',', '.'], "");
        if let Some(last) = decimal {
            plain.insert(plain.len() - (digits.len() - last - 1), '.');
        }
        plain.parse::<f64>().ok()
    };
    let number = |value, swapped, decimals: usize| Number {
        value,
        swapped,
        decimals: u8::try_from(decimals).unwrap_or(u8::MAX),
        is_percent: false,
    };
    let (Some(first), Some(last)) = (first, last) else { return Some(number(parse(None)?, None, 0)) };
    let (separator, behind) = (digits.as_bytes()[last], digits.len() - last - 1);
    Some(match (first == last, separator) {
        (true, b',') if behind == 3 => number(parse(None)?, parse(Some(last)), 0),
        (true, _) if behind == 3 => number(parse(Some(last))?, parse(None), 3),
        (false, separator) if digits.as_bytes()[first] == separator => number(parse(None)?, None, 0),
        _ => number(parse(Some(last))?, None, behind),
    })
}
