//! What answers are remembered under.

use crate::request::instructions::CacheUse;
use crate::request::work::Work;
use crate::store::CacheKey;
use crate::tenant::TenantUpgrade;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// Whether this request's answer may be remembered at all.
pub(crate) fn is_cacheable(work: &Work<'_>) -> bool {
    let (cache, facts) = (&work.caller.tenant.settings.cache, &work.request.facts);
    let repeatable = cache.any_temperature || (facts.temperature.is_none_or(|t| t <= 0.3) && facts.n == 1);
    // What a provider has stored may be another thing next time.
    cache.enabled && repeatable && facts.provider_bound.is_none() && work.options.cache != CacheUse::NoStore
}

/// Where this request's answer is or may be remembered.
pub(crate) fn cache_key(work: &Work<'_>) -> Option<CacheKey> {
    is_cacheable(work).then(|| key_of(work, None))
}

/// All that the answer depends on, and whose it is (T1). What changes no answer (a limit, a name, a key, a price, a
/// time-out) is not in it, so that such a change leaves what is remembered where it is; who may still ask is the
/// admission's to say, of a hit as of a miss (T2).
///
/// `but` is what is left out of the body, for a key of all requests that are the same but for that, and the version of who
/// compares it.
pub(crate) fn key_of(work: &Work<'_>, but: Option<(Range<usize>, u32)>) -> CacheKey {
    let (tenant, request) = (&work.caller.tenant, &work.request);
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(tenant.uid.as_bytes());
    add(&work.gateway.config.answers);
    add(&tenant.purges.to_le_bytes());
    let (allowed_models, upgrade, quality, switches) = tenant.settings.changing_answers();
    let TenantUpgrade { enabled, stream_holdback_bytes } = upgrade;
    add(&[u8::from(*enabled)]);
    add(&switches.map(u8::from));
    add(&stream_holdback_bytes.to_le_bytes());
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
    for (name, value) in request.carried() {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    let (but, by) = but.unzip();
    for (name, value) in request.body().raw_fields() {
        add(name.as_bytes());
        match but.as_ref().and_then(|but| request.body().around(value, but)) {
            Some([before, after]) => {
                add(before);
                add(after);
            }
            None => add(value),
        }
    }
    // No key of one kind is one of the other.
    by.iter().for_each(|version| add(&[b"~", &version.to_le_bytes()[..]].concat()));
    CacheKey { tenant: tenant.uid.clone(), hash: hash.finalize().into() }
}
