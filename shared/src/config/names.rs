//! Names of models, tiers and aliases: what a name may be, and which are given.

use super::reader::{Problems, Word};
use crate::catalog::{AUTO, SIMULATED_PREFIX};
use crate::tenant::allows;
use std::collections::HashMap;

/// The names that are given so far, each with the path that gave it: one name means one thing.
#[derive(Default)]
pub(super) struct Names(HashMap<String, String>);

impl Names {
    /// Takes a name for that which stands at its place, and reports one that is no name or is given already.
    pub(super) fn claim(&mut self, problems: &Problems, name: &Word) {
        check_name(problems, name);
        if name.text == AUTO {
            problems.add(&name.place, "this name is reserved");
        } else if name.text.starts_with(SIMULATED_PREFIX) {
            problems.add(&name.place, "names that begin with sim/ belong to the simulated provider");
        } else if let Some(first) = self.0.insert(name.text.clone(), name.place.path.clone()) {
            problems.add(&name.place, format!("the name is taken by {first}"));
        }
    }

    /// Takes a name for something of the catalog, unless the file has given it to something.
    pub(super) fn take(&mut self, name: &str) -> bool {
        if self.0.contains_key(name) {
            return false;
        }
        self.0.insert(name.to_owned(), "the catalog".to_owned());
        true
    }

    /// Whether a pattern (a name, or a prefix and `*`) is meant for any of them.
    pub(super) fn any_matches(&self, pattern: &str) -> bool {
        let pattern = [pattern.to_owned()];
        self.0.keys().map(String::as_str).chain([AUTO, SIMULATED_PREFIX]).any(|name| allows(&pattern, name))
    }
}

/// Names travel in headers, metrics and cache keys.
pub(super) fn check_name(problems: &Problems, name: &Word) {
    if name.text.is_empty() || name.text.len() > 128 || !name.text.bytes().all(|byte| byte.is_ascii_graphic()) {
        problems.add(&name.place, "a name has 1 to 128 visible ASCII characters and no space");
    }
}
