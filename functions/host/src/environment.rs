//! The variables of the environment.
//!
//! One that is empty, or blank, is as good as not set: that is how a compose file, a template and a shell say "not set".
//! The white space around a value is cut, for files and consoles add line ends, and nothing here begins or ends with any.

/// What a variable holds; `None` where it is not set, is blank, or is not Unicode.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    value(std::env::var(name).ok()?)
}

fn value(text: String) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn a_blank_variable_is_not_set_and_ends_of_lines_are_cut() {
        for (text, expected) in [
            ("", None),
            (" ", None),
            ("\r\n", None),
            ("redis://h:6379", Some("redis://h:6379")),
            ("token\n", Some("token")),
            (" token\r\n", Some("token")),
            ("two words", Some("two words")),
        ] {
            assert_eq!(value(text.to_owned()).as_deref(), expected, "{text:?}");
        }
    }
}
