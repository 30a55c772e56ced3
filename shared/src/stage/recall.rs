//! Items of answers, kept for a while: clients of OpenAI's Responses name what they were told in place of sending it again.
//!
//! With OpenAI every answer is stored unless the client says otherwise, and some clients count on it from their second
//! request on. The next request may go to another provider, which knows nothing of it; so the gateway keeps the items itself,
//! per tenant (T1), and puts them where they are named. If one of them is not here any more the request stays as it came,
//! and is refused by the name of that field. See ADR 34.

use crate::error::Error;
use crate::request::instructions::CacheUse;
use crate::request::reply::Reply;
use crate::request::work::Work;
use crate::store::CacheKey;
use futures_util::future::join_all;
use sha2::{Digest, Sha256};

/// Most items that are put into a request.
const MAX_RECALLED: usize = 512;

/// Where an item of a tenant's is kept.
fn item_key(work: &Work<'_>, id: &str) -> CacheKey {
    let hash = Sha256::new().chain_update(b"item").chain_update(id);
    CacheKey { tenant: work.caller.tenant.uid.clone(), hash: hash.finalize().into() }
}

/// Puts the items that a request only names into it, if all of them are here.
pub(crate) async fn recall(work: &mut Work<'_>) -> Result<(), Error> {
    let (gateway, named) = (work.gateway, &work.request.facts.references);
    if named.is_empty() || named.len() > MAX_RECALLED {
        return Ok(());
    }
    let now_ms = gateway.clock.now_ms();
    let keys: Vec<CacheKey> = named.iter().map(|(id, _)| item_key(work, id)).collect();
    let found = join_all(keys.iter().map(|key| gateway.items().get(key, now_ms))).await;
    let Some(items) = found.into_iter().map(|item| item.ok().flatten()).collect::<Option<Vec<_>>>() else {
        return Ok(());
    };
    let bytes: usize = items.iter().map(bytes::Bytes::len).sum();
    if (work.request.body().bytes().len() + bytes) as u64 > gateway.config.server.max_body_bytes {
        return Ok(());
    }
    work.room.grow(bytes)?;
    work.request = work.request.with_items(&items)?;
    Ok(())
}

/// Keeps the items of an answer that is whole, unless the client wants nothing kept.
pub(crate) async fn keep_items(work: &Work<'_>, is_whole: bool, reply: &Reply) {
    let (gateway, ttl_ms) = (work.gateway, work.gateway.config.cache.items_seconds * 1000);
    if !is_whole || ttl_ms == 0 || !work.request.facts.keeps_items || work.options.cache == CacheUse::NoStore {
        return;
    }
    let now_ms = gateway.clock.now_ms();
    let items = reply.writer.items().into_iter().map(|(id, item)| (item_key(work, &id), item));
    let kept = items.map(|(key, item)| async move { gateway.items().put(&key, item, ttl_ms, now_ms).await });
    if let Some(error) = join_all(kept).await.into_iter().find_map(Result::err) {
        tracing::warn!(%error, "the items of an answer are not kept");
    }
}
