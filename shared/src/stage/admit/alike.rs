//! The semantic cache: which earlier request of the same group asks the same, and what is noted of an answer to be found so.
//!
//! A *group* are the requests that differ in the text of their prompt and in nothing else: all else that the exact cache
//! goes by is in the group's key, so that two tenants, system prompts, conversations or temperatures never meet (T1). Of
//! each answer that is remembered a note is made in its group, which says where the answer is and, without its words (T3),
//! what the prompt asked. The notes are read beside the admission; only where one of them is near enough is the store
//! waited for once more. See [`crate::likeness`] and ADR 31.

use crate::likeness::{Gist, VERSION};
use crate::request::work::Work;
use crate::stage::admit::key::{is_cacheable, key_of};
use crate::store::CacheKey;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::ops::Range;

/// A longer prompt is not read for it; in no script are so many bytes few enough characters.
const LONGEST_PROMPT_BYTES: usize = 8_192;

/// Where a request stands among those that differ in the prompt alone.
pub(crate) struct Alike {
    pub(crate) group: CacheKey,
    /// On the heap: it is a kilobyte, and every hold has room for one.
    gist: Box<Gist>,
}

/// An earlier request that asks the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Neighbour {
    /// Where its answer is.
    pub(crate) key: CacheKey,
    pub(crate) similarity: f32,
}

impl Alike {
    /// `None` where only the very same request may be answered from memory: the tenant has not chosen otherwise, functions
    /// may be called, something is to be looked at, or the prompt is none whose meaning can be told.
    pub(crate) fn of(work: &Work<'_>) -> Option<Self> {
        let (facts, settings) = (&work.request.facts, &work.caller.tenant.settings.cache);
        let is_asked = settings.semantic && is_cacheable(work) && facts.n == 1;
        if !is_asked || facts.needs.tools || facts.images > 0 || facts.prompt.len() > LONGEST_PROMPT_BYTES {
            return None;
        }
        let place = text_place(work.request.body().bytes(), facts.context.prompt.clone()?)?;
        let group = key_of(work, Some((place, VERSION)));
        let gist = Box::new(Gist::of(&facts.prompt, &group.hash)?);
        Some(Self { group, gist })
    }

    /// The note of an answer to this request, kept under `key`.
    pub(crate) fn note(&self, key: &CacheKey) -> (CacheKey, Bytes) {
        (self.group.clone(), [&key.hash[..], &self.gist.to_bytes()].concat().into())
    }

    /// The most alike of those that asked the same; of equals the latest. `own` has no answer.
    pub(crate) fn nearest(&self, own: Option<&CacheKey>, notes: &[Bytes]) -> Option<Neighbour> {
        let mut nearest: Option<Neighbour> = None;
        for note in notes {
            let Some((hash, gist)) = note.split_first_chunk::<32>() else { continue };
            let key = CacheKey { tenant: self.group.tenant.clone(), hash: *hash };
            if own == Some(&key) {
                continue;
            }
            if let Some(similarity) = self.gist.similarity(gist)
                && nearest.as_ref().is_none_or(|nearest| similarity > nearest.similarity)
            {
                nearest = Some(Neighbour { key, similarity });
            }
        }
        nearest
    }
}

/// Where in the body the prompt's one text stands; `None` if it has several.
fn text_place(body: &[u8], content: Range<usize>) -> Option<Range<usize>> {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow, default)]
        text: Option<&'a RawValue>,
    }
    let said = body.get(content.clone())?;
    if said.starts_with(b"\"") {
        return Some(content);
    }
    let parts: Vec<Part<'_>> = serde_json::from_slice(said).ok()?;
    let mut texts = parts.into_iter().filter_map(|part| part.text);
    let text = texts.next().filter(|_| texts.next().is_none())?.get();
    let start = content.start + (text.as_ptr() as usize - said.as_ptr() as usize);
    Some(start..start + text.len())
}
