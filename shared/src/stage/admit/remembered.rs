//! Remembered answers: what is kept of one.

use crate::id::RequestId;
use crate::receipt::CacheStatus;
use crate::request::instructions::CacheUse;
use crate::request::work::Work;
use crate::stage::admit::hold::Hold;
use crate::store::CacheWrite;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A remembered answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) model: Arc<str>,
    pub(crate) tier: Option<Arc<str>>,
    pub(crate) created_at_ms: u64,
    /// The request that it answered.
    #[serde(default)]
    pub(crate) id: Option<RequestId>,
    /// As its door writes it: a whole answer, or the events of a stream without its end.
    #[serde(skip)]
    pub(crate) body: Bytes,
}

impl Remembered {
    /// One line of JSON, then the body.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }

    /// Reads it again; `None` for what another version wrote.
    pub(crate) fn from_bytes(bytes: &Bytes) -> Option<Self> {
        let line = bytes.iter().position(|&byte| byte == b'\n')?;
        let head: Self = serde_json::from_slice(&bytes[..line]).ok()?;
        Some(Self { body: bytes.slice(line + 1..), ..head })
    }
}

/// What is to be remembered of an answer, if it is.
pub(crate) fn cache_write(work: &Work<'_>, hold: &Hold, keep: Option<Bytes>) -> Option<CacheWrite> {
    let wanted = work.journal.receipt.cache == CacheStatus::Miss || work.options.cache == CacheUse::NoCache;
    let (key, body, model) = (hold.cache_key.clone()?, keep?, work.journal.receipt.model.clone()?);
    let seconds = work.options.cache_ttl_seconds.unwrap_or(work.caller.tenant.settings.cache.ttl_seconds);
    let remembered = Remembered {
        model,
        tier: work.journal.receipt.tier.clone(),
        created_at_ms: work.journal.receipt.created_at_ms,
        id: Some(work.journal.receipt.id),
        body,
    };
    wanted.then(|| CacheWrite {
        note: hold.alike.as_ref().map(|alike| alike.note(&key)),
        key,
        value: remembered.to_bytes(),
        ttl_ms: seconds * 1000,
    })
}
