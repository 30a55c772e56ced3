//! Whether a JSON text fits a JSON schema, as far as structured outputs use schemas.
//!
//! Serves the judge: an answer that breaks the client's schema is unreliable. It knows the keywords that
//! providers accept in structured outputs (type, enum, const, properties, required, additionalProperties, items, anyOf,
//! allOf, local `$ref`); what it does not know it lets pass, so that it never calls a good answer bad.
//!
//! Schema and answer are from outside, and two references to what holds them double the work with every level. So depth
//! is bounded, the steps of all checks of one answer together are ([`MAX_STEPS`]), and so are the bytes that trees are made
//! of (B1, B2). What cannot be checked within the bounds counts as fitting. Rejected: remembering each pair of value and
//! schema, which bounds the steps only by the product of both and costs memory; a library, for those that check all of JSON
//! Schema cannot be made to stop.

use crate::steps;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The longest schema that is looked at, in bytes; OpenAI takes 120,000 characters of names and values.
pub const MAX_SCHEMA_BYTES: usize = 256 << 10;
/// The longest text that is looked at beyond whether it is JSON, in bytes.
const MAX_TEXT_BYTES: usize = 256 << 10;
/// How deep references and nesting are followed.
const MAX_DEPTH: usize = 64;
/// Most steps for one schema, whatever the number of texts: keywords, list entries and names looked at, and a step more for
/// every [`BYTES_PER_STEP`] bytes compared. Some ten milliseconds.
pub const MAX_STEPS: usize = 200_000;
/// Bytes of text that are compared in the time of a step.
const BYTES_PER_STEP: usize = 32;

/// A schema, and how many steps may still be taken by it.
#[derive(Debug)]
pub struct Schema {
    root: Value,
    steps_left: usize,
}

/// No steps are left.
struct Spent;

impl Schema {
    /// Reads a schema; everything fits one that is too long, or no JSON.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let root = if text.len() > MAX_SCHEMA_BYTES { None } else { serde_json::from_str(text).ok() };
        Self { root: root.unwrap_or(Value::Bool(true)), steps_left: MAX_STEPS }
    }

    /// Whether `text` is JSON that fits.
    #[must_use]
    pub fn fits(&mut self, text: &str) -> bool {
        if text.len() > MAX_TEXT_BYTES {
            return serde_json::from_str::<IgnoredAny>(text).is_ok();
        }
        let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
        let mut check = Check { root: &self.root, steps_left: &mut self.steps_left };
        check.fits(&value, &self.root, 0).unwrap_or(true)
    }
}

/// The check of one text.
struct Check<'a> {
    root: &'a Value,
    steps_left: &'a mut usize,
}

impl Check<'_> {
    fn spend(&mut self, steps: usize) -> Result<(), Spent> {
        steps::count(steps);
        let left = self.steps_left.checked_sub(steps);
        *self.steps_left = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Spent)
    }

    /// For a text that is compared or looked up.
    fn spend_text(&mut self, text: &str) -> Result<(), Spent> {
        self.spend(1 + text.len() / BYTES_PER_STEP)
    }

    fn fits(&mut self, value: &Value, schema: &Value, depth: usize) -> Result<bool, Spent> {
        self.spend(1)?;
        let Value::Object(rules) = schema else { return Ok(*schema != Value::Bool(false)) };
        if depth > MAX_DEPTH {
            return Ok(true);
        }
        for (keyword, rule) in rules {
            self.spend(1)?;
            if !self.keeps(value, keyword, rule, schema, depth + 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether `value` keeps one of the rules of `schema`; `depth` is that of the schemas within the rule.
    #[expect(clippy::too_many_lines, reason = "a table: an arm for each keyword")]
    fn keeps(
        &mut self,
        value: &Value,
        keyword: &str,
        rule: &Value,
        schema: &Value,
        depth: usize,
    ) -> Result<bool, Spent> {
        match (keyword, rule) {
            ("$ref", Value::String(path)) => {
                self.spend_text(path)?;
                match path.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) {
                    Some(schema) => self.fits(value, schema, depth),
                    None => Ok(true),
                }
            }
            ("type", Value::String(name)) => Ok(is_of_type(value, name)),
            ("type", Value::Array(names)) => {
                self.spend(names.len())?;
                Ok(names.iter().filter_map(Value::as_str).any(|name| is_of_type(value, name)))
            }
            ("enum", Value::Array(allowed)) => {
                for one in allowed {
                    if self.is_same(value, one)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            ("const", only) => self.is_same(value, only),
            ("anyOf" | "oneOf", Value::Array(schemas)) => {
                for schema in schemas {
                    if self.fits(value, schema, depth)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            ("allOf", Value::Array(schemas)) => self.all_fit(schemas.iter().map(|schema| (value, schema)), depth),
            ("required", Value::Array(names)) => {
                let Value::Object(object) = value else { return Ok(true) };
                for name in names.iter().filter_map(Value::as_str) {
                    self.spend_text(name)?;
                    if !object.contains_key(name) {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            ("properties", Value::Object(properties)) => {
                let Value::Object(object) = value else { return Ok(true) };
                for (name, value) in object {
                    self.spend_text(name)?;
                    if let Some(schema) = properties.get(name)
                        && !self.fits(value, schema, depth)?
                    {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            ("additionalProperties", others) => {
                let Value::Object(object) = value else { return Ok(true) };
                for (name, value) in object {
                    self.spend_text(name)?;
                    let is_known = schema["properties"].get(name).is_some();
                    if !is_known && !self.fits(value, others, depth)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            ("items", schema) => {
                let Value::Array(items) = value else { return Ok(true) };
                self.all_fit(items.iter().map(|item| (item, schema)), depth)
            }
            _ => Ok(true),
        }
    }

    fn all_fit<'v>(
        &mut self,
        pairs: impl Iterator<Item = (&'v Value, &'v Value)>,
        depth: usize,
    ) -> Result<bool, Spent> {
        for (value, schema) in pairs {
            if !self.fits(value, schema, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether two values are the same; each part of them is a step.
    fn is_same(&mut self, a: &Value, b: &Value) -> Result<bool, Spent> {
        self.spend(1)?;
        match (a, b) {
            (Value::String(a), Value::String(b)) => {
                self.spend_text(a)?;
                Ok(a == b)
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (a, b) in a.iter().zip(b) {
                    if !self.is_same(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
                for (name, a) in a {
                    self.spend_text(name)?;
                    let Some(b) = b.get(name) else { return Ok(false) };
                    if !self.is_same(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Array(_) | Value::Object(_), _) => Ok(false),
            _ => Ok(a == b),
        }
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_breaks_a_schema_is_seen() {
        let schema = json!({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": ["integer", "null"]},
            "kind": {"enum": ["a", "b"]}, "list": {"type": "array", "items": {"$ref": "#/$defs/point"}}},
            "required": ["name"], "additionalProperties": false,
            "$defs": {"point": {"type": "object", "required": ["x"], "properties": {"x": {"type": "number"}}}}});
        for (text, good) in [
            (r#"{"name": "x"}"#, true),
            (r#"{"name": "x", "age": 3, "kind": "a", "list": [{"x": 1.5}]}"#, true),
            (r#"{"name": "x", "age": null}"#, true),
            (r#"{"name": 5}"#, false),
            (r"{}", false),
            (r#"{"name": "x", "age": 1.5}"#, false),
            (r#"{"name": "x", "kind": "c"}"#, false),
            (r#"{"name": "x", "other": 1}"#, false),
            (r#"{"name": "x", "list": [{"y": 1}]}"#, false),
            (r#"{"name": "x""#, false),
            ("Here you are: {}", false),
        ] {
            assert_eq!(Schema::read(&schema.to_string()).fits(text), good, "{text}");
        }
    }

    #[test]
    fn what_is_enumerated_is_compared_in_full() {
        let schema = json!({"enum": [1, "a", [1, {"b": null}], {"c": [2], "d": 3}]});
        for (text, good) in [
            ("1", true),
            ("2", false),
            (r#""a""#, true),
            (r#"[1,{"b":null}]"#, true),
            (r#"[1,{"b":0}]"#, false),
            (r#"[1]"#, false),
            (r#"{"d":3,"c":[2]}"#, true),
            (r#"{"d":3}"#, false),
            (r#"{"d":3,"e":[2]}"#, false),
        ] {
            assert_eq!(Schema::read(&schema.to_string()).fits(text), good, "{text}");
        }
    }

    #[test]
    fn each_keyword_is_kept() {
        for (schema, good, bad) in [
            (json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), "null", "1"),
            (json!({"oneOf": [{"type": "string"}, {"type": "null"}]}), r#""a""#, "1"),
            (json!({"allOf": [{"type": "object"}, {"required": ["a"]}]}), r#"{"a":1}"#, "{}"),
            (json!({"const": [1, {"a": 2}]}), r#"[1,{"a":2}]"#, r#"[1,{"a":3}]"#),
            (json!({"type": "integer"}), "1.0", "1.5"),
            (json!({"type": ["boolean", "array"]}), "[]", "{}"),
            (json!({"items": {"type": "string"}}), r#"["a"]"#, r#"["a",1]"#),
            (json!({"items": false}), "[]", "[1]"),
            (
                json!({"properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "null"}}),
                r#"{"a":"x","b":null}"#,
                r#"{"a":"x","b":"x"}"#,
            ),
        ] {
            let mut read = Schema::read(&schema.to_string());
            assert!(read.fits(good), "{schema}: {good}");
            assert!(!read.fits(bad), "{schema}: {bad}");
        }
    }

    #[test]
    fn what_cannot_be_checked_fits_if_it_is_json() {
        let long = format!("[{}1]", "1,".repeat(MAX_TEXT_BYTES / 2));
        let too_long = format!(r#"{{"type":"null","a":"{}"}}"#, "x".repeat(MAX_SCHEMA_BYTES));
        for (schema, text) in [
            (r#"{"type":"null"}"#, long.as_str()),
            (&json!({"const": vec![1; 10], "$ref": "https://elsewhere"}).to_string(), "[1,1,1,1,1,1,1,1,1,1]"),
            (r##"{"$ref":"#/$defs/none"}"##, "1"),
            (&too_long, "1"),
            ("no JSON", "1"),
            (r#"{"type":"another"}"#, "1"),
        ] {
            assert!(Schema::read(schema).fits(text), "{}", &schema[..schema.len().min(80)]);
            assert!(!Schema::read(schema).fits(&format!("{text} ,")), "but only JSON does");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        assert!(Schema::read(r##"{"$ref":"#"}"##).fits("5"));
    }
}
