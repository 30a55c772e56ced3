//! A smallest value that fits a JSON schema: what a simulated model answers when JSON is requested.
//!
//! The schema is the caller's and may refer to itself. A `$ref` that is being followed is therefore not followed again:
//! what needs it cannot be made, and is left out where the schema allows that (an optional property, an item, another
//! alternative). Whatever has a finite instance has one without such a repetition. Where definitions refer to each other
//! criss-cross even that search is long, and its result large, so the work is bounded by [`MAX_WORK`].
//!
//! Kept: `$ref` within the schema, `const`, `enum`, `anyOf`, `oneOf`, `allOf`, `type`, `properties`, `required`, `items`,
//! `prefixItems`, `format`, and the bounds of lengths and numbers. Not kept: `pattern`, `not`, `uniqueItems`, conditions.

use super::topic::Topic;
use serde_json::{Map, Number, Value};
use std::collections::HashSet;

/// The most that is done for one instance: list entries and properties looked at, bytes written.
const MAX_WORK: usize = 100_000;

/// The deepest nesting of an instance.
const MAX_DEPTH: usize = 64;

/// The longest text that a `minLength` gets.
const MAX_TEXT_CHARS: u64 = 1_000;

/// A value that fits `schema`, with words of the topic for texts and, of an `enum`, what the topic speaks of; null where
/// nothing fits.
pub(super) fn instance(schema: &Value, topic: &Topic<'_>) -> Value {
    let mut maker = Maker { root: schema, topic, followed: Vec::new(), work_left: MAX_WORK };
    maker.make(schema, 0).unwrap_or(Value::Null)
}

struct Maker<'a> {
    root: &'a Value,
    topic: &'a Topic<'a>,
    /// The references on the way from the root to here.
    followed: Vec<&'a str>,
    work_left: usize,
}

impl<'a> Maker<'a> {
    /// Takes some work from what is left; once it does not suffice, nothing is left and nothing more is made.
    fn spend(&mut self, work: usize) -> Option<()> {
        let left = self.work_left.checked_sub(work);
        self.work_left = left.unwrap_or(0);
        left.map(|_| ())
    }

    fn make(&mut self, schema: &'a Value, depth: usize) -> Option<Value> {
        let length = |name: &str| schema[name].as_array().map_or(0, Vec::len);
        let lists = ["anyOf", "oneOf", "allOf", "type"].map(length).iter().sum::<usize>();
        self.spend(1 + lists)?;
        if depth > MAX_DEPTH || *schema == Value::Bool(false) {
            return None;
        }
        if let Some(reference) = schema["$ref"].as_str() {
            return self.follow(reference, depth);
        }
        if let Some(value) = schema.get("const") {
            self.spend(value.to_string().len())?;
            return Some(value.clone());
        }
        if let Some(values) = schema["enum"].as_array() {
            self.spend(schema["enum"].to_string().len())?;
            return self.pick(values);
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return self.all_of(schema, parts, depth);
        }
        let alternatives = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
        // Beside properties, alternatives mostly say which of them are required, and all of them are made.
        if let Some(alternatives) = alternatives
            && schema["properties"].is_null()
            && alternatives.iter().any(describes)
        {
            let (nulls, others): (Vec<_>, Vec<_>) = alternatives.iter().partition(|schema| schema["type"] == "null");
            return others.into_iter().chain(nulls).find_map(|schema| self.make(schema, depth + 1));
        }
        self.typed(schema, depth)
    }

    fn follow(&mut self, reference: &'a str, depth: usize) -> Option<Value> {
        self.spend(reference.len())?;
        if self.followed.contains(&reference) {
            return None;
        }
        let target = self.root.pointer(reference.strip_prefix('#')?)?;
        self.followed.push(reference);
        let made = self.make(target, depth + 1);
        self.followed.pop();
        made
    }

    /// The value that the prompt speaks of most; the first of several.
    fn pick(&self, values: &[Value]) -> Option<Value> {
        let overlap = |value: &&Value| value.as_str().map_or(0, |text| self.topic.overlap(text));
        values.iter().rev().max_by_key(overlap).cloned()
    }

    /// All objects in one; of anything else the first.
    fn all_of(&mut self, schema: &'a Value, parts: &'a [Value], depth: usize) -> Option<Value> {
        let has_own = !schema["type"].is_null() || !schema["properties"].is_null();
        let mut whole = if has_own { Some(self.typed(schema, depth)?) } else { None };
        for part in parts.iter().filter(|part| describes(part)) {
            let made = self.make(part, depth + 1)?;
            match (&mut whole, made) {
                (Some(Value::Object(all)), Value::Object(more)) => all.extend(more),
                (Some(_), _) => {}
                (None, made) => whole = Some(made),
            }
        }
        whole
    }

    fn typed(&mut self, schema: &'a Value, depth: usize) -> Option<Value> {
        let mut types: Vec<&str> = match &schema["type"] {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ if schema["properties"].is_object() => vec!["object"],
            _ if !schema["items"].is_null() => vec!["array"],
            _ => vec!["string"],
        };
        types.sort_by_key(|name| *name == "null");
        types.into_iter().find_map(|name| match name {
            "null" => Some(Value::Null),
            "boolean" => Some(Value::Bool(true)),
            "integer" => number(schema, Some(1.0)),
            "number" => number(schema, None),
            "array" => self.array(schema, depth),
            "object" => self.object(schema, depth),
            _ => self.text(schema),
        })
    }

    fn text(&mut self, schema: &Value) -> Option<Value> {
        let given = match schema["format"].as_str().unwrap_or_default() {
            "date-time" => "2026-01-01T00:00:00Z",
            "date" => "2026-01-01",
            "time" => "00:00:00Z",
            "duration" => "PT1M",
            "email" => "user@example.com",
            "hostname" => "example.com",
            "uri" | "url" => "https://example.com/",
            "uuid" => "00000000-0000-4000-8000-000000000000",
            "ipv4" => "192.0.2.1",
            "ipv6" => "2001:db8::1",
            _ => {
                let least = schema["minLength"].as_u64().unwrap_or(0).min(MAX_TEXT_CHARS);
                let echo_chars = self.topic.echo.chars().count() as u64;
                let most = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
                let length = usize::try_from(echo_chars.max(least).min(most)).unwrap_or_default();
                self.spend(length)?;
                return Some(self.topic.echo.chars().cycle().take(length).collect::<String>().into());
            }
        };
        Some(given.into())
    }

    fn array(&mut self, schema: &'a Value, depth: usize) -> Option<Value> {
        let least = schema["minItems"].as_u64().unwrap_or(0);
        let most = schema["maxItems"].as_u64().unwrap_or(u64::MAX);
        let first: &[Value] = schema["prefixItems"].as_array().map_or(&[], Vec::as_slice);
        let wanted = least.max(first.len() as u64).max(1).min(most);
        let mut items = Vec::new();
        for i in 0..wanted {
            let item = usize::try_from(i).ok().and_then(|i| first.get(i)).unwrap_or(&schema["items"]);
            match self.make(item, depth + 1) {
                Some(item) => items.push(item),
                None if i >= least => break,
                None => return None,
            }
        }
        Some(Value::Array(items))
    }

    fn object(&mut self, schema: &'a Value, depth: usize) -> Option<Value> {
        self.spend(schema["required"].as_array().map_or(0, Vec::len))?;
        let required: HashSet<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut object = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            match self.spend(name.len()).and_then(|()| self.make(property, depth + 1)) {
                Some(value) => drop(object.insert(name.clone(), value)),
                None if required.contains(name.as_str()) => return None,
                None => {}
            }
        }
        for name in required {
            if !object.contains_key(name) {
                self.spend(name.len())?;
                let value = match &schema["additionalProperties"] {
                    Value::Bool(_) => self.text(&Value::Null)?,
                    others => self.make(others, depth + 1)?,
                };
                object.insert(name.to_owned(), value);
            }
        }
        Some(Value::Object(object))
    }
}

/// Whether a schema says what its values are, and not only more of what another one does.
fn describes(schema: &Value) -> bool {
    let words = ["$ref", "const", "enum", "type", "properties", "items", "anyOf", "oneOf", "allOf"];
    words.iter().any(|word| !schema[word].is_null())
}

/// 1 if it is allowed, else the number next to a bound, or in the middle of two; whole multiples of a step.
fn number(schema: &Value, step: Option<f64>) -> Option<Value> {
    let bound = |name: &str| schema[name].as_f64();
    let step = bound("multipleOf").filter(|step| *step > 0.0).or(step);
    let (least, above) = (bound("minimum"), bound("exclusiveMinimum"));
    let (most, below) = (bound("maximum"), bound("exclusiveMaximum"));
    let fits = |x: &f64| {
        let whole_steps = step.is_none_or(|step| (x / step).fract() == 0.0);
        let high_enough = least.is_none_or(|least| *x >= least) && above.is_none_or(|above| *x > above);
        let low_enough = most.is_none_or(|most| *x <= most) && below.is_none_or(|below| *x < below);
        whole_steps && high_enough && low_enough
    };
    let low = above.into_iter().chain(least).reduce(f64::max);
    let high = below.into_iter().chain(most).reduce(f64::min);
    let near = match (low, high, step) {
        (Some(low), _, Some(step)) => vec![(low / step).ceil() * step, ((low / step).floor() + 1.0) * step],
        (None, Some(high), Some(step)) => vec![(high / step).floor() * step, ((high / step).ceil() - 1.0) * step],
        (None, None, Some(step)) => vec![step],
        (Some(low), Some(high), None) => vec![low, low + (high - low) / 2.0],
        (Some(low), None, None) => vec![low, low + 1.0],
        (None, Some(high), None) => vec![high, high - 1.0],
        (None, None, None) => vec![],
    };
    let number = [1.0].into_iter().chain(near).find(fits)?;
    let whole = number.fract() == 0.0 && number.abs() < 9e15;
    if whole { Some(Value::from(number as i64)) } else { Number::from_f64(number).map(Value::Number) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn made(schema: &Value) -> Value {
        instance(schema, &Topic::new("Please analyze this code"))
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn an_instance_is_the_smallest_that_fits() {
        let echo = "Please analyze this code";
        for (schema, expected) in [
            (json!({"type": "string"}), json!(echo)),
            (json!({"type": "string", "maxLength": 6}), json!("Please")),
            (json!({"type": "string", "minLength": 28}), json!("Please analyze this codePlea")),
            (json!({"type": "string", "maxLength": 0}), json!("")),
            (json!({"type": "string", "format": "date"}), json!("2026-01-01")),
            (json!({"type": "boolean"}), json!(true)),
            (json!({"type": "null"}), json!(null)),
            (json!({"type": ["null", "boolean"]}), json!(true)),
            (json!({"type": "integer"}), json!(1)),
            (json!({"type": "integer", "minimum": 5}), json!(5)),
            (json!({"type": "integer", "minimum": 5.5}), json!(6)),
            (json!({"type": "integer", "exclusiveMinimum": 5}), json!(6)),
            (json!({"type": "integer", "maximum": -3}), json!(-3)),
            (json!({"type": "integer", "exclusiveMaximum": 1}), json!(0)),
            (json!({"type": "integer", "minimum": 11, "multipleOf": 10}), json!(20)),
            (json!({"type": "number", "maximum": 0.5}), json!(0.5)),
            (json!({"type": "number", "minimum": 0, "maximum": 0.5}), json!(0)),
            (json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5}), json!(0.25)),
            (json!({"type": "number", "exclusiveMinimum": 2}), json!(3)),
            (json!({"enum": ["greeting", "code_generation", "code_analysis"]}), json!("code_analysis")),
            (json!({"enum": ["greeting", "mathematics"]}), json!("greeting")),
            (json!({"enum": [3, null]}), json!(3)),
            (json!({"const": {"a": 1}}), json!({"a": 1})),
            (json!({"type": "array", "items": {"type": "integer"}}), json!([1])),
            (json!({"type": "array", "items": {"type": "integer"}, "minItems": 3}), json!([1, 1, 1])),
            (json!({"type": "array", "items": {"type": "integer"}, "maxItems": 0}), json!([])),
            (
                json!({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}], "items": false}),
                json!([1, true]),
            ),
            (json!({"type": "object"}), json!({})),
            (
                json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}}, "required": ["a"]}),
                json!({"a": 1, "b": true}),
            ),
            (
                json!({"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}}),
                json!({"x": 1}),
            ),
            (json!({"properties": {"a": {"properties": {"b": {"type": "null"}}}}}), json!({"a": {"b": null}})),
            (json!({"anyOf": [{"type": "null"}, {"type": "integer"}]}), json!(1)),
            (json!({"oneOf": [false, {"type": "boolean"}]}), json!(true)),
            (
                json!({"type": "object", "properties": {"a": {"const": 1}}, "anyOf": [{"required": ["a"]}]}),
                json!({"a": 1}),
            ),
            (
                json!({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}),
                json!({"a": 1, "b": 2}),
            ),
            (json!({"type": "integer", "allOf": [{"minimum": 0}]}), json!(1)),
            (
                json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/b"}}, "b": {"const": 7}}}),
                json!([7]),
            ),
            (json!({"$ref": "https://elsewhere.example/schema"}), json!(null)),
            (json!(true), json!(echo)),
            (json!(false), json!(null)),
        ] {
            assert_eq!(made(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_gets_an_instance_that_ends() {
        let person = |children: Value| json!({"type": "object", "properties": {"age": {"type": "integer"}, "children": children}, "required": ["age", "children"]});
        let list = person(json!({"type": "array", "items": {"$ref": "#"}}));
        assert_eq!(made(&list), json!({"age": 1, "children": [{"age": 1, "children": []}]}));
        let nullable = person(json!({"anyOf": [{"$ref": "#"}, {"type": "null"}]}));
        assert_eq!(made(&nullable), json!({"age": 1, "children": {"age": 1, "children": null}}));
        assert_eq!(made(&person(json!({"$ref": "#"}))), json!(null), "nothing finite fits");
    }

    #[test]
    fn a_schema_that_is_made_to_explode_does_not() {
        let names: Vec<String> = (0..40).map(|i| format!("d{i}")).collect();
        let references: Map<String, Value> =
            names.iter().map(|name| (name.clone(), json!({"$ref": format!("#/$defs/{name}")}))).collect();
        let criss_cross: Map<String, Value> =
            names.iter().map(|name| (name.clone(), json!({"properties": references}))).collect();
        let mut repeated = json!({"const": "x".repeat(1_000)});
        for _ in 0..30 {
            repeated = json!({"type": "array", "minItems": 1_000_000_000, "items": repeated});
        }
        let mut deep = json!({"type": "string"});
        for _ in 0..90 {
            deep = json!({"items": deep});
        }
        let long: Map<String, Value> = (0..1_000).map(|i| (i.to_string(), json!({"minLength": u64::MAX}))).collect();
        let criss_cross = json!({"$ref": "#/$defs/d0", "$defs": criss_cross});
        for schema in [criss_cross, repeated, deep, json!({"properties": long})] {
            assert!(made(&schema).to_string().len() < 200_000);
        }
    }

    /// Whether a value is what a schema of the kinds that `any_schema` makes asks for.
    fn fits(schema: &Value, value: &Value) -> bool {
        if let Some(values) = schema["enum"].as_array() {
            return values.contains(value);
        }
        if let Some(alternatives) = schema["anyOf"].as_array() {
            return alternatives.iter().any(|schema| fits(schema, value));
        }
        match schema["type"].as_str().unwrap() {
            "string" => value.as_str().unwrap().chars().count() as u64 <= schema["maxLength"].as_u64().unwrap(),
            "integer" => value
                .as_i64()
                .is_some_and(|x| schema["minimum"].as_i64().unwrap() <= x && x <= schema["maximum"].as_i64().unwrap()),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "array" => value.as_array().is_some_and(|items| {
                items.len() as u64 >= schema["minItems"].as_u64().unwrap()
                    && items.iter().all(|item| fits(&schema["items"], item))
            }),
            _ => value.as_object().is_some_and(|object| {
                let properties = schema["properties"].as_object().unwrap();
                object.len() == properties.len()
                    && properties.iter().all(|(name, property)| fits(property, &object[name]))
            }),
        }
    }

    fn any_schema() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            (0u64..50).prop_map(|most| json!({"type": "string", "maxLength": most})),
            (-100i64..100, 0i64..100)
                .prop_map(|(least, span)| json!({"type": "integer", "minimum": least, "maximum": least + span})),
            Just(json!({"type": "boolean"})),
            Just(json!({"type": "null"})),
            proptest::collection::vec("[a-z_]{0,12}", 1..5).prop_map(|values| json!({"enum": values})),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                (inner.clone(), 0u64..4).prop_map(|(items, least)| json!({"type": "array", "items": items, "minItems": least})),
                proptest::collection::vec(inner.clone(), 1..4).prop_map(|schemas| json!({"anyOf": schemas})),
                proptest::collection::btree_map("[a-z]{1,6}", inner, 0..4).prop_map(|properties| {
                    let required: Vec<&String> = properties.keys().collect();
                    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_instance_fits_its_schema(schema in any_schema()) {
            let value = made(&schema);
            prop_assert!(fits(&schema, &value), "{} is not {}", value, schema);
        }
    }
}
