//! Functions in a namespace, for formats that know none: one name for both, which is parted again when the model calls it.
//!
//! Coding agents offer their tools so. Nothing has to be remembered from the request to its answer, for no function of
//! a client's has such a name by itself.

use std::borrow::Cow;

/// What stands between the two: letters that every format takes in a function's name.
const BETWEEN: &str = "-_-";

/// The one name.
pub(super) fn joined<'b>(namespace: Option<&str>, name: Cow<'b, str>) -> Cow<'b, str> {
    match namespace {
        Some(namespace) => format!("{namespace}{BETWEEN}{name}").into(),
        None => name,
    }
}

/// The namespace, if there is one, and the function's own name.
pub(super) fn parted(name: &str) -> (Option<&str>, &str) {
    name.split_once(BETWEEN).map_or((None, name), |(namespace, name)| (Some(namespace), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_parted_as_it_was_joined() {
        for (namespace, name) in
            [(None, "f"), (None, "get_weather-2"), (Some("functions"), "exec_command"), (Some("a_-b"), "-c")]
        {
            assert_eq!(parted(&joined(namespace, name.into())), (namespace, name));
        }
    }
}
