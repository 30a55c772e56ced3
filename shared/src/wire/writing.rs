//! What the writers of several formats' requests do alike: what a tool's schema and arguments must be where a format wants
//! objects, and what of a conversation is refused or left out where a format has one answer and few parameters of sampling.

use crate::wire::conversation::{Conversation, Json, Sampling, Untranslatable};
use crate::wire::json::fields;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeSet;

type Result<T, E = Untranslatable> = std::result::Result<T, E>;

/// What is left out, in words for the receipt.
pub(crate) type LeftOut = BTreeSet<Cow<'static, str>>;

/// Refuses what would be another answer if it were left out.
pub(crate) fn check_sampling(sampling: &Sampling<'_>) -> Result<()> {
    if sampling.n.is_some_and(|n| n > 1) {
        return Err(Untranslatable::new("n", "is more than one answer"));
    }
    if sampling.logprobs {
        return Err(Untranslatable::new("logprobs", "are not to be had"));
    }
    let above_one = |number: &Json<'_>| number.0.get().parse::<f64>().is_ok_and(|number| number > 1.0);
    if sampling.temperature.as_ref().is_some_and(above_one) {
        return Err(Untranslatable::new("temperature", "is above 1"));
    }
    if sampling.stop.iter().any(|stop| stop.trim().is_empty()) {
        return Err(Untranslatable::new("stop", "has a text of white space alone"));
    }
    Ok(())
}

/// Notes what nobody has read, and the parameters of sampling that only some formats have.
pub(crate) fn note_sampling(conversation: &Conversation<'_>, left_out: &mut LeftOut) {
    left_out.extend(conversation.unread.iter().map(|path| format!("`{path}`").into()));
    let sampling = &conversation.sampling;
    let said = |number: &Option<Json<'_>>| number.is_some_and(|number| !matches!(number.0.get(), "0" | "0.0"));
    let unknown = [
        ("`seed`", sampling.seed.is_some()),
        ("`presence_penalty`", said(&sampling.presence_penalty)),
        ("`frequency_penalty`", said(&sampling.frequency_penalty)),
    ];
    left_out.extend(unknown.into_iter().filter(|(_, is_said)| *is_said).map(|(name, _)| Cow::from(name)));
}

/// Notes the fields that only the client's format has.
pub(crate) fn note_rest(conversation: &Conversation<'_>, left_out: &mut LeftOut) {
    left_out.extend(conversation.rest.iter().map(|(name, _)| format!("`{name}`").into()));
}

/// What a model has said and, where there is one, the user's word to go on: turns as every door's format has them.
pub(crate) fn turns(said: &str, ask: Option<&str>) -> Vec<Value> {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    std::iter::once(turn("assistant", said)).chain(ask.map(|ask| turn("user", ask))).collect()
}

/// A message of blocks, for formats that want the results of tools before all else in it.
pub(crate) struct Message<B> {
    /// Who speaks.
    pub(crate) role: &'static str,
    results: Vec<B>,
    others: Vec<B>,
}

impl<B> Message<B> {
    /// One in which nothing is said yet.
    pub(crate) fn of(role: &'static str) -> Self {
        Self { role, results: Vec::new(), others: Vec::new() }
    }

    /// Adds blocks, of which some are results.
    pub(crate) fn add(&mut self, blocks: Vec<B>, is_result: impl Fn(&B) -> bool) {
        for block in blocks {
            if is_result(&block) { &mut self.results } else { &mut self.others }.push(block);
        }
    }

    /// All blocks, in their order.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &B> {
        self.results.iter().chain(&self.others)
    }
}

impl<B: Serialize> Serialize for Message<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("role", self.role)?;
        map.serialize_entry("content", &Blocks(self))?;
        map.end()
    }
}

/// The blocks of a message, as a list.
struct Blocks<'m, B>(&'m Message<B>);

impl<B: Serialize> Serialize for Blocks<'_, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.blocks())
    }
}

/// The schema of a tool's arguments, which must say that it is an object's.
pub(crate) enum Schema<'a> {
    /// It says of which type it is.
    Said(Json<'a>),
    /// It does not say of which type it is.
    Untyped(Vec<(Cow<'a, str>, &'a RawValue)>),
    /// There is none.
    Empty,
}

impl<'a> Schema<'a> {
    /// The schema that a client gave.
    pub(crate) fn of(schema: &Json<'a>) -> Self {
        match fields(schema.0.get(), usize::MAX) {
            Ok(fields) if !fields.iter().any(|(name, _)| name == "type") => Self::Untyped(fields),
            _ => Self::Said(*schema),
        }
    }
}

impl Serialize for Schema<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields: &[_] = match self {
            Self::Said(schema) => return schema.serialize(serializer),
            Self::Untyped(fields) => fields,
            Self::Empty => &[],
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "object")?;
        fields.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

/// The arguments of a call, which are an object here; many send nothing where there are none.
pub(crate) fn input(arguments: &str) -> Result<Input<'_>> {
    let arguments = arguments.trim_ascii();
    match serde_json::from_str::<&RawValue>(arguments) {
        _ if arguments.is_empty() => Ok(Input::Nothing {}),
        Ok(raw) if raw.get().starts_with('{') => Ok(Input::Json(raw)),
        _ => Err(Untranslatable::new("messages", "has a tool call whose arguments are no JSON object")),
    }
}

/// The arguments of a call, as an object.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Input<'a> {
    /// As the model wrote them.
    Json(&'a RawValue),
    /// An empty one.
    Nothing {},
}
