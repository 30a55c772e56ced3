//! How a text is laid out: lists, code and choices are seen from the beginnings and ends of their lines.

use super::cues::is_offered;

/// What was counted in the lines of a text.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Lines that hold something.
    pub(super) filled: usize,
    pub(super) blank: usize,
    /// Lines that begin with a bullet or a number.
    pub(super) list_items: usize,
    /// Lines that begin with a tabulator or with two spaces.
    pub(super) indented: usize,
    /// Lines that end as those of programs do.
    pub(super) code: usize,
    /// Whether a line offers choice A and a later one choice B.
    pub(super) has_choices: bool,
}

/// The longest number that is taken for that of a list's item.
const ITEM_DIGITS: usize = 3;

impl Lines {
    /// Reads every line of a text once.
    pub(super) fn of(text: &str) -> Self {
        let mut lines = Self::default();
        let mut has_choice_a = false;
        for line in text.lines() {
            let inner = line.trim();
            if inner.is_empty() {
                lines.blank += 1;
                continue;
            }
            lines.filled += 1;
            lines.list_items += usize::from(is_list_item(inner));
            lines.indented += usize::from(line.starts_with('\t') || line.starts_with("  "));
            lines.code +=
                usize::from(inner.ends_with(['{', '}', ';', '(', ')', '[', ']', '>']) || inner.ends_with("):"));
            has_choice_a |= offers(inner, ['A', 'a']);
            lines.has_choices |= has_choice_a && offers(inner, ['B', 'b']);
        }
        lines
    }
}

fn is_list_item(line: &str) -> bool {
    if let Some(after) = line.strip_prefix(['-', '*', '+', '•', '–']) {
        return after.starts_with(' ');
    }
    let after = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = line.len() - after.len();
    (1..=ITEM_DIGITS).contains(&digits) && is_offered(after)
}

/// Whether a line begins with a choice of this name: `A. `, `A) `, `(A) `.
fn offers(line: &str, names: [char; 2]) -> bool {
    let name = line.strip_prefix('(').unwrap_or(line);
    name.strip_prefix(names).is_some_and(is_offered)
}
