//! A text cut into what may be read in other words, what has a name, and what stands as it is written.

/// How a word is to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word of the language.
    Plain,
    /// A word that is written as a name: a capital within a sentence, an acronym, a compound.
    Named,
    /// A number, a sign, an identifier, an address, or what stands in quotation marks.
    Verbatim,
}

/// A word, in lower case unless it is verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) text: String,
    pub(super) kind: Kind,
    /// Whether it is somebody's whose what follows is.
    pub(super) is_owner: bool,
    /// Whether a comma follows.
    pub(super) comma: bool,
}

const QUOTES: [(char, char); 8] =
    [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('`', '`'), ('‘', '’'), ('\'', '\''), ('「', '」')];
const BRACKETS: &[char] = &['(', ')', '[', ']', '{', '}'];
const MARKS: &[char] = &['.', ',', ';', ':', '?', '!', '…', '。', '，', '？', '！', '、', '¿', '¡'];

/// What "'s" is short for "is" after.
const IS_AFTER: &[&str] =
    &["what", "who", "how", "where", "when", "why", "it", "that", "there", "here", "he", "she", "this", "let"];

/// Reads a text. What follows a colon or a line's end is given, not asked, and stands as it is.
pub(super) fn read(text: &str) -> Vec<Read> {
    let text = text.trim();
    let mut reader = Reader { words: Vec::new(), begins: true, has_small: text.chars().any(char::is_lowercase) };
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if matches!(first, '\n' | '\r') || reader.ends_with_colon(text, rest) && !rest.trim().is_empty() {
            reader.verbatim(rest.trim());
            break;
        }
        rest = if first.is_whitespace() {
            &rest[first.len_utf8()..]
        } else if let Some((said, after)) = quoted(rest) {
            reader.verbatim(said);
            after
        } else if BRACKETS.contains(&first) || QUOTES.iter().any(|(open, _)| *open == first) {
            reader.verbatim(&rest[..first.len_utf8()]);
            &rest[first.len_utf8()..]
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '"' || BRACKETS.contains(&c));
            let (chunk, after) = rest.split_at(end.unwrap_or(rest.len()));
            reader.chunk(chunk);
            after
        };
    }
    reader.words
}

/// What stands in quotation marks at the beginning, and what follows.
fn quoted(rest: &str) -> Option<(&str, &str)> {
    let open = rest.chars().next()?;
    let (_, close) = QUOTES.iter().find(|(opens, _)| *opens == open)?;
    let inner = &rest[open.len_utf8()..];
    let (end, _) = inner.char_indices().find(|&(at, c)| {
        // An apostrophe ends nothing within a word.
        c == *close && !inner[at + c.len_utf8()..].starts_with(char::is_alphanumeric)
    })?;
    Some((&inner[..end], &inner[end + close.len_utf8()..]))
}

struct Reader {
    words: Vec<Read>,
    /// Whether a sentence begins here.
    begins: bool,
    /// Whether the text has small letters: without them, capitals name nothing.
    has_small: bool,
}

impl Reader {
    fn ends_with_colon(&self, text: &str, rest: &str) -> bool {
        !self.words.is_empty() && text[..text.len() - rest.len()].ends_with([':', '：'])
    }

    fn push(&mut self, text: impl Into<String>, kind: Kind) {
        self.words.push(Read { text: text.into(), kind, is_owner: false, comma: false });
    }

    fn verbatim(&mut self, text: &str) {
        // Apart from a word that is written alike.
        self.push(["=", text].concat(), Kind::Verbatim);
        self.begins = false;
    }

    fn chunk(&mut self, chunk: &str) {
        let core = chunk.trim_matches(MARKS);
        let is_word = core.starts_with(char::is_alphabetic)
            && core.ends_with(char::is_alphabetic)
            && core.chars().all(|c| c.is_alphabetic() || matches!(c, '\'' | '’' | '-'));
        if is_word {
            let kind_of_all = core.contains('-').then_some(Kind::Named);
            for part in core.split('-').filter(|part| !part.is_empty()) {
                self.word(part, kind_of_all);
            }
        } else if !core.is_empty() {
            self.verbatim(chunk.trim_end_matches(['.', ',', '?', ';', ':', '…']));
        }
        if let Some(last) = self.words.last_mut() {
            last.comma = chunk.ends_with(',');
        }
        self.begins = chunk.ends_with(['.', '?', '!', '…', '¿', '¡']);
    }

    /// A word without hyphens; with apostrophes it is several.
    fn word(&mut self, part: &str, kind: Option<Kind>) {
        let (head, tail) = part.split_once(['\'', '’']).unwrap_or((part, ""));
        let kind = kind.unwrap_or_else(|| self.kind(head));
        self.begins = false;
        let (head, tail) = (head.to_lowercase(), tail.to_lowercase());
        match tail.as_str() {
            "" => match negated(&head) {
                Some(base) => self.both(base, "not"),
                None => self.push(head, kind),
            },
            "s" if IS_AFTER.contains(&head.as_str()) => self.both(&head, "is"),
            "s" => {
                self.push(head, kind);
                if let Some(owner) = self.words.last_mut() {
                    owner.is_owner = true;
                }
            }
            "t" if head.ends_with('n') => self.both(without_not(&head), "not"),
            "m" => self.both(&head, "am"),
            "re" => self.both(&head, "are"),
            "ve" => self.both(&head, "have"),
            "ll" => self.both(&head, "will"),
            "d" => self.both(&head, "would"),
            tail => {
                self.push(head, kind);
                self.push(tail, kind);
            }
        }
    }

    fn both(&mut self, first: &str, second: &str) {
        self.push(first, Kind::Plain);
        self.push(second, Kind::Plain);
    }

    fn kind(&self, word: &str) -> Kind {
        let mut letters = word.chars();
        let is_capital = letters.next().is_some_and(char::is_uppercase);
        let rest = letters.as_str();
        let has_inner_capital = rest.chars().any(char::is_uppercase);
        let is_pronoun = word == "I";
        match self.has_small && !is_pronoun && (has_inner_capital || is_capital && !self.begins) {
            true => Kind::Named,
            false => Kind::Plain,
        }
    }
}

/// The verb of "don", "can", "won" and the like, that "'t" follows.
fn without_not(head: &str) -> &str {
    match head {
        "can" => "can",
        "won" => "will",
        "shan" => "shall",
        _ => &head[..head.len() - 1],
    }
}

/// The same, written in haste without an apostrophe.
fn negated(word: &str) -> Option<&str> {
    Some(match word {
        "cannot" | "cant" => "can",
        "dont" => "do",
        "doesnt" => "does",
        "didnt" => "did",
        "isnt" => "is",
        "arent" => "are",
        "wasnt" => "was",
        "wont" => "will",
        "shouldnt" => "should",
        "couldnt" => "could",
        _ => return None,
    })
}
