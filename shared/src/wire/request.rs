//! A request as it came: its bytes, whose format they are in, and what the pipeline needs to know of it.

use crate::error::Error;
use crate::locking::lock;
use crate::wire::body::Body;
use crate::wire::context::Context;
use crate::wire::conversation::{Conversation, Makers, Part, Role, Signature, Untranslatable, thought_id};
use crate::wire::facts::Facts;
use crate::wire::format::{Format, Overrides, Spoken, Written};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex};

/// Most bytes of a header that goes along.
const MAX_CARRIED_BYTES: usize = 2_048;

/// The fields by which clients tell conversations apart.
const CLIENT_KEYS: [&str; 2] = ["prompt_cache_key", "user"];

/// A request that has been read and checked.
#[derive(Debug)]
pub struct Request {
    /// The format of the door that it came through.
    pub format: &'static dyn Format,
    /// What the pipeline knows of it.
    pub facts: Facts,
    body: Body,
    /// What goes along of its headers; see [`Format::carried`].
    carried: Vec<(&'static str, HeaderValue)>,
    /// What is known of the calls in its current turn, once that was looked for.
    signatures: Option<Vec<Signature>>,
    /// Whose the thoughts in it are, once that was looked for; see [`Makers::known`].
    makers: Option<Vec<(String, String)>>,
    /// What other formats cannot say of it, by their names; each is found out once.
    translations: Mutex<Vec<(&'static str, Translation)>>,
    /// Whether it ends with the beginning of its answer, with which the model goes on.
    goes_on: bool,
}

/// What is left out in a translation, or why there is none.
type Translation = Result<Arc<[String]>, Untranslatable>;

impl Request {
    /// Reads and checks a body that is in this format.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] names the first field that is missing or not what it must be.
    pub fn read(format: &'static dyn Format, bytes: Bytes) -> Result<Self, Error> {
        let (body, facts) = format.read(bytes)?;
        Ok(Self {
            format,
            facts,
            body,
            carried: Vec::new(),
            signatures: None,
            makers: None,
            translations: Mutex::default(),
            goes_on: false,
        })
    }

    /// Takes what goes along of the client's headers.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] names a header that is too long, or no visible text.
    pub fn carry(&mut self, headers: &HeaderMap) -> Result<(), Error> {
        for name in self.format.carried() {
            let refused = || {
                let message = format!("The header {name} must be at most {MAX_CARRIED_BYTES} bytes of visible ASCII.");
                Error::invalid(*name, message)
            };
            let values = headers.get_all(*name).iter().map(|value| value.to_str().map_err(|_| refused()));
            let all = values.collect::<Result<Vec<&str>, Error>>()?.join(",");
            if all.len() > MAX_CARRIED_BYTES {
                return Err(refused());
            }
            if !all.is_empty() {
                self.carried.push((name, HeaderValue::try_from(all).map_err(|_| refused())?));
            }
        }
        Ok(())
    }

    /// The headers that go along to a provider that speaks the format of this request.
    #[must_use]
    pub fn carried(&self) -> &[(&'static str, HeaderValue)] {
        &self.carried
    }

    /// Its bytes, and where its fields stand.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The same with these items where it only names them, in the order of [`Facts::references`].
    ///
    /// # Errors
    /// As for any request: with them it may be too deep, or wrong.
    pub fn with_items(&self, items: &[Bytes]) -> Result<Self, Error> {
        let (body, mut done) = (self.body.bytes(), 0);
        let mut whole = BytesMut::with_capacity(body.len() + items.iter().map(Bytes::len).sum::<usize>());
        for ((_, place), item) in self.facts.references.iter().zip(items) {
            whole.extend_from_slice(&body[done..place.start]);
            whole.extend_from_slice(item);
            done = place.end;
        }
        whole.extend_from_slice(&body[done..]);
        Ok(Self { carried: self.carried.clone(), ..Self::read(self.format, whole.freeze())? })
    }

    /// The ids of the calls of tools that the model made since the user spoke last, unless [`Self::sign`] has been told of them.
    #[must_use]
    pub fn unsigned_calls(&self) -> Vec<String> {
        let known = self.signatures.is_some();
        let Some(conversation) = (!known).then(|| self.meant().ok()).flatten() else { return Vec::new() };
        let turns: Vec<_> = conversation.turns.iter().filter(|turn| turn.role != Role::System).collect();
        let mut calls = Vec::new();
        // What one side says in a row is one turn.
        for run in turns.chunk_by(|one, next| one.role == next.role).rev() {
            let parts = || run.iter().flat_map(|turn| &turn.parts);
            if run[0].role == Role::User && !parts().any(|part| matches!(part, Part::ToolResult { .. })) {
                break;
            }
            let id = |part: &Part<'_>| if let Part::ToolCall { id, .. } = part { Some(id.to_string()) } else { None };
            calls.extend(parts().filter_map(id));
        }
        calls
    }

    /// Tells how these calls were signed, as far as that is known.
    pub fn sign(&mut self, signatures: Vec<Signature>) {
        self.signatures = Some(signatures);
    }

    /// What the sealed thoughts in it are known by, unless [`Self::know_makers`] has been told of them.
    #[must_use]
    pub fn unknown_thoughts(&self) -> Vec<String> {
        match self.makers {
            Some(_) => Vec::new(),
            None => self.format.seals(&self.body).iter().map(|seal| thought_id(seal)).collect(),
        }
    }

    /// Tells which models made these thoughts, as far as that is known.
    pub fn know_makers(&mut self, mut known: Vec<(String, String)>) {
        known.sort_unstable();
        self.makers = Some(known);
    }

    /// Whose the thoughts in it are, for this model.
    #[must_use]
    pub fn makers<'a>(&'a self, model: &'a str) -> Makers<'a> {
        Makers { model, known: self.makers.as_deref().unwrap_or_default() }
    }

    /// Its meaning.
    fn meant(&self) -> Result<Conversation<'_>, Untranslatable> {
        let signatures = self.signatures.as_deref().unwrap_or_default();
        Ok(Conversation { signatures, goes_on: self.goes_on, ..self.format.conversation(&self.body)? })
    }

    /// What the conversation has said before the prompt.
    #[must_use]
    pub fn context(&self) -> Context {
        self.facts.context.read(self.body.bytes())
    }

    /// What tells the conversation of this request from others: how it began, and the client's own key for it.
    ///
    /// It is what a provider's prompt cache goes by, too, so that what is another conversation here is one for the cache.
    #[must_use]
    pub fn conversation(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(self.format.name().as_bytes());
        CLIENT_KEYS.iter().for_each(|name| add(self.body.raw(name).unwrap_or_default().as_bytes()));
        self.facts.context.tell(self.body.bytes(), add);
        hash.finalize().into()
    }

    /// What goes to a provider that speaks `format`: the client's own bytes where both speak the same.
    ///
    /// # Errors
    /// What cannot be said in `format`.
    pub fn body_for(&self, format: &'static dyn Spoken, overrides: &Overrides<'_>) -> Result<Bytes, Untranslatable> {
        let spliced = Some(format).filter(|format| format.name() == self.format.name());
        match spliced.and_then(|format| format.splice(&self.body, overrides)) {
            Some(body) => Ok(body),
            None => Ok(self.translated(format, overrides)?.body),
        }
    }

    /// What of this request is left out for a provider that speaks `format`: nothing, where both speak the same.
    ///
    /// # Errors
    /// What cannot be said in `format`, so that no such provider can serve it.
    pub fn left_out(&self, format: &'static dyn Spoken) -> Translation {
        if self.format.name() == format.name() {
            return Ok(Arc::default());
        }
        let mut known = lock(&self.translations);
        if let Some((_, found)) = known.iter().find(|(name, _)| *name == format.name()) {
            return found.clone();
        }
        let overrides = Overrides { stream: self.facts.stream, ..Overrides::plain("", 1) };
        let found = self.translated(format, &overrides).map(|written| written.left_out.into());
        known.push((format.name(), found.clone()));
        found
    }

    /// The same once more.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            format: self.format,
            facts: self.facts.clone(),
            body: self.body.clone(),
            carried: self.carried.clone(),
            signatures: self.signatures.clone(),
            makers: self.makers.clone(),
            translations: Mutex::default(),
            goes_on: self.goes_on,
        }
    }

    /// The same with what was said in answer to it at its end, for another model to go on with, and where it does not do so by
    /// itself, the user's word to. `None` where its format cannot say that.
    #[must_use]
    pub fn continued(&self, said: &str, ask: Option<&str>) -> Option<Self> {
        let Self { body, facts, .. } = Self::read(self.format, self.format.continued(&self.body, said, ask)?).ok()?;
        Some(Self { body, facts, goes_on: ask.is_none(), ..self.again() })
    }

    fn translated(&self, format: &'static dyn Spoken, overrides: &Overrides<'_>) -> Result<Written, Untranslatable> {
        let meant = self.meant()?;
        let effort = meant.effort.filter(|_| overrides.knows_effort);
        let written = format.write(&Conversation { effort, ..meant }, overrides);
        let fields = self.format.fields();
        written.map_err(|why| Untranslatable { field: fields.of(&why.field).to_owned(), ..why })
    }

    /// SHA-256 of the body as it came, of what goes along with it, and of the format that it is in: another format's same
    /// bytes are another request.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let name = self.format.name().as_bytes();
        let mut hash = Sha256::new();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        for (name, value) in &self.carried {
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update(value);
        }
        hash.update(self.body.bytes());
        hash.finalize().into()
    }
}
