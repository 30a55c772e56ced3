//! Whether a JSON text fits a JSON schema, as far as structured outputs use schemas.
//!
//! Serves the judge: an answer that breaks the schema the client asked for is unreliable. It knows the keywords that
//! providers accept in structured outputs (type, enum, const, properties, required, additionalProperties, items, anyOf,
//! allOf, local `$ref`); what it does not know it lets pass, so that it never calls a good answer bad.

use serde_json::Value;

/// How deep references and nesting are followed.
const MAX_DEPTH: usize = 64;

/// Whether `text` is JSON that fits `schema`.
#[must_use]
pub fn text_fits(text: &str, schema: &Value) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| fits(&value, schema, schema, 0))
}

fn fits(value: &Value, schema: &Value, root: &Value, depth: usize) -> bool {
    let Value::Object(rules) = schema else { return *schema != Value::Bool(false) };
    if depth > MAX_DEPTH {
        return true;
    }
    let inner = |value: &Value, schema: &Value| fits(value, schema, root, depth + 1);
    rules.iter().all(|(keyword, rule)| match (keyword.as_str(), rule) {
        ("$ref", Value::String(path)) => match path.strip_prefix('#') {
            Some(pointer) => root.pointer(pointer).is_none_or(|schema| inner(value, schema)),
            None => true,
        },
        ("type", Value::String(name)) => is_of_type(value, name),
        ("type", Value::Array(names)) => names.iter().filter_map(Value::as_str).any(|name| is_of_type(value, name)),
        ("enum", Value::Array(allowed)) => allowed.contains(value),
        ("const", only) => value == only,
        ("anyOf" | "oneOf", Value::Array(schemas)) => schemas.iter().any(|schema| inner(value, schema)),
        ("allOf", Value::Array(schemas)) => schemas.iter().all(|schema| inner(value, schema)),
        ("required", Value::Array(names)) => value
            .as_object()
            .is_none_or(|object| names.iter().filter_map(Value::as_str).all(|name| object.contains_key(name))),
        ("properties", Value::Object(properties)) => value.as_object().is_none_or(|object| {
            object.iter().all(|(name, value)| properties.get(name).is_none_or(|schema| inner(value, schema)))
        }),
        ("additionalProperties", rule) => value.as_object().is_none_or(|object| {
            let known = |name: &str| rules.get("properties").is_some_and(|properties| properties.get(name).is_some());
            object.iter().filter(|(name, _)| !known(name)).all(|(_, value)| inner(value, rule))
        }),
        ("items", schema) => value.as_array().is_none_or(|items| items.iter().all(|item| inner(item, schema))),
        _ => true,
    })
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
            assert_eq!(text_fits(text, &schema), good, "{text}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"$ref": "#"});
        assert!(text_fits("5", &schema));
    }
}
