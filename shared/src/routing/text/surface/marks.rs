//! What single characters and their neighbours say: figures, formulas, code, quotations, scripts.
//!
//! One pass; what is being read (a number, a tag, a command) is a small state that a character moves on or ends. Letters and
//! spaces, which most texts are made of, have little to do.

use super::super::script::{is_letter, is_other_script};
use super::flag;

/// What was counted in a text.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The features that are yes or no, as a set of [`flag`]s.
    pub(super) flags: u64,
    /// All characters.
    pub(super) chars: usize,
    pub(super) digits: usize,
    /// What is neither a letter nor a digit nor white space.
    pub(super) symbols: usize,
    pub(super) uppercase: usize,
    /// Operators of arithmetic and of programs; not the hyphen, which prose has too.
    pub(super) operators: usize,
    pub(super) non_ascii_letters: usize,
    /// Numbers, with their fractions.
    pub(super) numbers: usize,
    /// Ends of sentences.
    pub(super) sentences: usize,
    /// Characters between quotation marks.
    pub(super) quoted: usize,
    /// Commands and openings of formulas in LaTeX.
    pub(super) latex: usize,
    /// Names as programs have them: `camelCase`, `snake_case`, `called(`.
    pub(super) identifiers: usize,
}

impl Marks {
    /// Reads a text once.
    pub(super) fn of(text: &str) -> Self {
        let mut scan = Scan::default();
        for c in text.chars() {
            scan.read(c);
        }
        scan.end()
    }

    fn set_if(&mut self, flag: u64, is_set: bool) {
        if is_set {
            self.flags |= flag;
        }
    }
}

/// Where a scan stands.
#[derive(Default)]
struct Scan {
    marks: Marks,
    reading: Reading,
    /// The character before, and the last one that is not white space; NUL where there is none.
    before: char,
    solid: char,
    /// Behind which character the last dollar sign stands.
    dollar_end: Option<usize>,
    /// What ends the quotation that is open, and behind which character it began.
    quotation: Option<(&'static str, usize)>,
}

/// What the character before may be part of.
#[derive(Default, Clone, Copy)]
struct Reading {
    number: Number,
    tag: Tag,
    command: Command,
    /// Backticks in a row.
    backticks: usize,
}

#[derive(Default, Clone, Copy)]
enum Number {
    #[default]
    None,
    Whole,
    Point,
    Fraction,
}

/// `<`, perhaps `/`, a word, `>`.
#[derive(Default, Clone, Copy, PartialEq)]
enum Tag {
    #[default]
    None,
    Open,
    Slash,
    Name,
}

/// A backslash and letters.
#[derive(Default, Clone, Copy)]
enum Command {
    #[default]
    None,
    Backslash,
    Letter,
    Letters,
}

impl Scan {
    fn read(&mut self, c: char) {
        self.marks.chars += 1;
        // Whatever the character does not carry on has ended.
        let was = std::mem::take(&mut self.reading);
        if is_letter(c) {
            self.letter(c, was);
        } else if c.is_whitespace() {
            self.marks.sentences += usize::from(is_end(self.before));
            self.before = c;
            return;
        } else if c.is_numeric() {
            self.digit(was);
        } else {
            self.symbol(c, was);
        }
        if !c.is_ascii() {
            self.marks.flags |= flag::NON_ASCII;
            self.marks.set_if(flag::OTHER_SCRIPT, is_other_script(c));
        }
        self.before = c;
        self.solid = c;
    }

    fn letter(&mut self, c: char, was: Reading) {
        let marks = &mut self.marks;
        if c.is_uppercase() {
            marks.uppercase += 1;
            marks.identifiers += usize::from(c.is_ascii() && self.before.is_ascii_lowercase());
        }
        marks.non_ascii_letters += usize::from(!c.is_ascii());
        self.reading.tag = was.tag.named();
        self.reading.command = match was.command {
            Command::Backslash if c.is_ascii() => Command::Letter,
            Command::Letter if c.is_ascii() => {
                marks.latex += 1;
                Command::Letters
            }
            Command::Letters if c.is_ascii() => Command::Letters,
            _ => Command::None,
        };
    }

    fn digit(&mut self, was: Reading) {
        let marks = &mut self.marks;
        marks.digits += 1;
        marks.flags |= flag::DIGIT;
        marks.set_if(flag::MONEY_OR_PERCENT, self.solid == '$');
        marks.set_if(flag::ARITHMETIC, is_operation(self.solid));
        self.reading.tag = was.tag.named();
        self.reading.number = match was.number {
            Number::None => {
                marks.numbers += 1;
                Number::Whole
            }
            Number::Whole => Number::Whole,
            Number::Point | Number::Fraction => Number::Fraction,
        };
    }

    fn symbol(&mut self, c: char, was: Reading) {
        let marks = &mut self.marks;
        marks.symbols += 1;
        let follows_digit = self.solid.is_numeric();
        marks.set_if(flag::ARITHMETIC, follows_digit && is_operation(c));
        match (c, was) {
            ('.' | ',', Reading { number: Number::Whole, .. }) => self.reading.number = Number::Point,
            ('%', _) => marks.set_if(flag::MONEY_OR_PERCENT, follows_digit),
            ('$', _) => self.dollar(),
            ('<', _) => self.reading.tag = Tag::Open,
            ('/', Reading { tag: Tag::Open, .. }) => self.reading.tag = Tag::Slash,
            ('>', _) => marks.set_if(flag::CODE, was.tag == Tag::Name),
            ('_', _) => self.reading.tag = was.tag.named(),
            ('`', _) => {
                self.reading.backticks = was.backticks + 1;
                marks.set_if(flag::CODE, self.reading.backticks == 3);
            }
            ('\\', Reading { command: Command::Backslash, .. }) => {}
            ('\\', _) => self.reading.command = Command::Backslash,
            ('(' | '[', Reading { command: Command::Backslash, .. }) => marks.latex += 1,
            ('{', Reading { command: Command::Letter | Command::Letters, .. }) => marks.flags |= flag::MATHS,
            _ => {}
        }
        let marks = &mut self.marks;
        marks.operators += usize::from(matches!(c, '+' | '*' | '/' | '=' | '^' | '<' | '>' | '|' | '&' | '%' | '~'));
        marks.identifiers += usize::from(self.before.is_ascii_alphanumeric() && matches!(c, '_' | '('));
        // In scripts without spaces a full stop ends a sentence by itself.
        marks.sentences += usize::from(matches!(c, '。' | '？' | '！' | '।' | '؟'));
        self.quote(c);
    }

    /// Between two dollar signs stands a formula; two in a row hold nothing.
    fn dollar(&mut self) {
        let now = self.marks.chars;
        self.marks.set_if(flag::MATHS, self.dollar_end.is_some_and(|end| end + 1 < now));
        self.dollar_end = Some(now);
    }

    fn quote(&mut self, c: char) {
        let now = self.marks.chars;
        match self.quotation {
            Some((closers, start)) if closers.contains(c) => {
                self.marks.quoted += now - 1 - start;
                self.quotation = None;
            }
            Some(_) => {}
            None => self.quotation = closers_of(c).map(|closers| (closers, now)),
        }
    }

    fn end(mut self) -> Marks {
        let marks = &mut self.marks;
        marks.sentences += usize::from(is_end(self.before));
        marks.set_if(flag::ENDS_IN_QUESTION, matches!(self.solid, '?' | '？' | '؟' | '՞' | '፧'));
        marks.set_if(flag::CODE, matches!(self.solid, '{' | ';'));
        self.marks
    }
}

impl Tag {
    /// The tag with one more character of its name.
    fn named(self) -> Self {
        if self == Self::None { Self::None } else { Self::Name }
    }
}

/// Whether a sentence ends with this, where white space or nothing follows.
fn is_end(c: char) -> bool {
    matches!(c, '.' | '?' | '!')
}

fn is_operation(c: char) -> bool {
    matches!(c, '-' | '+' | '*' | '/' | '=' | '^' | '<' | '>')
}

/// What may end a quotation that this opens.
fn closers_of(opener: char) -> Option<&'static str> {
    match opener {
        '"' => Some("\""),
        '“' => Some("”"),
        '„' => Some("“”"),
        '«' => Some("»"),
        '「' => Some("」"),
        '『' => Some("』"),
        _ => None,
    }
}
