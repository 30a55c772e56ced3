//! Remembered answers: what they are remembered under, and what is kept of one.

use crate::receipt::CacheStatus;
use crate::request::instructions::CacheUse;
use crate::request::work::Work;
use crate::stage::admit::hold::Hold;
use crate::store::{CacheKey, CacheWrite};
use crate::tenant::TenantUpgrade;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A remembered answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) model: Arc<str>,
    pub(crate) tier: Option<Arc<str>>,
    pub(crate) created_at_ms: u64,
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

/// Whether this request's answer may be remembered at all.
pub(crate) fn is_cacheable(work: &Work<'_>) -> bool {
    let (cache, facts) = (&work.caller.tenant.settings.cache, &work.request.facts);
    let repeatable = cache.any_temperature || (facts.temperature.is_none_or(|t| t <= 0.3) && facts.n == 1);
    cache.enabled && repeatable && work.options.cache != CacheUse::NoStore
}

/// Where this request's answer is or may be remembered: all that the answer depends on, and whose it is (T1). What changes
/// no answer (a limit, a name, a key, a price, a time-out) is not in it, so that such a change leaves what is remembered
/// where it is; who may still ask is the admission's to say, of a hit as of a miss (T2).
pub(crate) fn cache_key(work: &Work<'_>) -> Option<CacheKey> {
    let (tenant, request) = (&work.caller.tenant, &work.request);
    if !is_cacheable(work) {
        return None;
    }
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(tenant.uid.as_bytes());
    add(&work.gateway.config.answers);
    add(&tenant.purges.to_le_bytes());
    let (allowed_models, TenantUpgrade { enabled }, quality) = tenant.settings.changing_answers();
    add(&[u8::from(*enabled)]);
    add(&quality.to_le_bytes());
    add(&allowed_models.len().to_le_bytes());
    allowed_models.iter().for_each(|name| add(name.as_bytes()));
    add(&[match work.options.upgrade {
        None => 0,
        Some(false) => 1,
        Some(true) => 2,
    }]);
    // The same bytes mean another thing at another door, and are answered in another format.
    add(request.format.name().as_bytes());
    for (name, value) in request.body().raw_fields() {
        add(name.as_bytes());
        add(value);
    }
    Some(CacheKey { tenant: tenant.uid.clone(), hash: hash.finalize().into() })
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
        body,
    };
    wanted.then(|| CacheWrite { key, value: remembered.to_bytes(), ttl_ms: seconds * 1000 })
}
