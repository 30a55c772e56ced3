//! Conversations: what one is remembered under, and what of it.
//!
//! No client says which conversation a request belongs to, and none has to: it is told by its beginning and the name that
//! the client asks for, per tenant (T1). What is remembered comes with the admission and goes with the settlement, so no
//! request waits for it. A first turn has nothing to read.

use crate::request::work::Work;
use crate::routing::decide::Decision;
use crate::store::CacheKey;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Where a conversation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conversation {
    /// The tier that answered its last turn.
    pub(crate) tier: Arc<str>,
    /// The model that did.
    pub(crate) model: Arc<str>,
    /// How many turns in a row were for a weaker tier.
    pub(crate) easier_turns: u64,
}

impl Conversation {
    pub(crate) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads it again; `None` for what another version wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Where it is remembered on which model this request's conversation is; `None` for one whose client chose the model, and
/// where conversations do not stay.
pub(crate) fn conversation_key(work: &Work<'_>, decision: &Decision) -> Option<CacheKey> {
    if decision.tier.is_none() || work.gateway.config.intent.sticky_seconds == 0 {
        return None;
    }
    let mut hash = Sha256::new();
    hash.update(b"conversation");
    hash.update(work.request.conversation());
    hash.update(work.request.facts.model.as_bytes());
    Some(CacheKey { tenant: work.caller.tenant.uid.clone(), hash: hash.finalize().into() })
}
