//! Fields as people set them: merged, and refused by their paths.

use crate::steps;
use serde_json::{Map, Value};

/// A field of a tenant is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct InvalidTenant {
    /// The field's path, as `limits.daily_cost_usd`.
    pub path: String,
    /// What is wrong with it, for the caller.
    pub message: String,
}

impl InvalidTenant {
    /// A complaint about `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// The same, of a field within the field `name`.
    pub(super) fn within(self, name: &str) -> Self {
        Self { path: format!("{name}.{}", self.path), ..self }
    }
}

/// Deep merge: objects merge, `"default"` takes a field of `known` back, anything else replaces. Where `known` is given, a
/// field that is not in it is refused.
///
/// The path is made when it is needed: made for each field, it would be a copy of every name above for every field below.
pub(super) fn merge(
    into: &mut Map<String, Value>,
    from: Map<String, Value>,
    known: Option<&Value>,
) -> Result<(), InvalidTenant> {
    for (name, value) in from {
        steps::count(1 + name.len());
        let known_field = known.and_then(|known| known.get(&name));
        if known.is_some() && known_field.is_none() {
            return Err(InvalidTenant::new(name, "is no field of a tenant"));
        }
        match value {
            Value::String(word) if word == "default" && known.is_some() => drop(into.remove(&name)),
            Value::Object(fields) => {
                let inner = into.entry(&*name).or_insert_with(|| Value::Object(Map::new()));
                if !inner.is_object() {
                    *inner = Value::Object(Map::new());
                }
                if let Value::Object(inner) = inner {
                    merge(inner, fields, known_field).map_err(|refused| refused.within(&name))?;
                }
            }
            value => drop(into.insert(name, value)),
        }
    }
    Ok(())
}
