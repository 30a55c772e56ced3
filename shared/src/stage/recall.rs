//! Items of answers, kept for a while: clients of OpenAI's Responses name what they were told in place of sending it again.
//!
//! With OpenAI every answer is stored unless the client says otherwise, and some clients count on it from their second
//! request on. The next request may go to another provider, which knows nothing of it; so the gateway keeps the items itself,
//! per tenant (T1), and puts them where they are named. If one of them is not here any more the request stays as it came,
//! and is refused by the name of that field. See ADR 34.
//!
//! In the same place it keeps how a provider signed the calls of an answer, by their ids: a client says a call again by its id,
//! its name and its arguments, and some models refuse their own calls without what they signed them with (ADR 36). And it
//! keeps whose the thoughts are that a client sends again: a model refuses those of another (ADR 40).

use crate::catalog::Model;
use crate::error::Error;
use crate::request::instructions::CacheUse;
use crate::request::reply::Reply;
use crate::request::work::Work;
use crate::store::CacheKey;
use crate::wire::conversation::{Signature, thought_id};
use crate::wire::piece::{Piece, signatures};
use futures_util::future::join_all;
use sha2::{Digest, Sha256};

/// What is kept: an item under its id, how a call is signed under the call's.
const ITEM: &str = "item";
const SIGNATURE: &str = "signature";

/// Most items that are put into a request.
const MAX_RECALLED: usize = 512;

/// Most signatures that are looked for, and bytes of those that are kept of one answer.
const MAX_SIGNATURES: usize = 64;
const MAX_SIGNATURE_BYTES: usize = 256 << 10;

/// Where something of a tenant's is kept.
fn key_of(work: &Work<'_>, kind: &str, id: &str) -> CacheKey {
    let hash = Sha256::new().chain_update(kind).chain_update(id);
    CacheKey { tenant: work.caller.tenant.uid.clone(), hash: hash.finalize().into() }
}

/// Puts the items that a request only names into it, if all of them are here.
pub(crate) async fn recall(work: &mut Work<'_>) -> Result<(), Error> {
    let (gateway, named) = (work.gateway, &work.request.facts.references);
    if named.is_empty() || named.len() > MAX_RECALLED {
        return Ok(());
    }
    let now_ms = gateway.clock.now_ms();
    let keys: Vec<CacheKey> = named.iter().map(|(id, _)| key_of(work, ITEM, id)).collect();
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

/// Whether a model's provider wants to see how the calls of tools are signed.
pub(crate) fn wants_signatures(work: &Work<'_>, model: &Model) -> bool {
    let format = work.gateway.config.catalog.format_of(model);
    format.is_some_and(|format| format.signs_calls()) && work.request.facts.needs.tools
}

/// Looks for how the calls of the current turn were signed, if this model's provider wants that back. Without it the request
/// goes all the same.
pub(crate) async fn recall_signatures(work: &mut Work<'_>, model: &Model) {
    let gateway = work.gateway;
    if !wants_signatures(work, model) {
        return;
    }
    let mut calls = work.request.unsigned_calls();
    if calls.is_empty() {
        return;
    }
    calls.truncate(MAX_SIGNATURES);
    let now_ms = gateway.clock.now_ms();
    let keys: Vec<CacheKey> = calls.iter().map(|id| key_of(work, SIGNATURE, id)).collect();
    let found = join_all(keys.iter().map(|key| gateway.items().get(key, now_ms))).await;
    let known = calls.into_iter().zip(found).filter_map(|(call, found)| {
        let kept = String::from_utf8(found.ok()??.to_vec()).ok()?;
        let (model, text) = kept.split_once('\n')?;
        Some(Signature { call, model: model.to_owned(), text: text.to_owned() })
    });
    let known: Vec<Signature> = known.collect();
    // Where there is no room for them the calls go as unsigned ones.
    let bytes = known.iter().map(|signature| signature.text.len()).sum();
    work.request.sign(if work.room.grow(bytes).is_ok() { known } else { Vec::new() });
}

/// Finds out which models made the thoughts in the request, if this model would get them. Those of another one are left out, and
/// the receipt says so; what nobody knows any more goes as it came.
pub(crate) async fn recall_makers(work: &mut Work<'_>, model: &Model) {
    let gateway = work.gateway;
    let is_spoken = |name| gateway.config.catalog.format_of(model).is_some_and(|format| format.name() == name);
    if !is_spoken(work.request.format.name()) {
        return;
    }
    let mut thoughts = work.request.unknown_thoughts();
    if !thoughts.is_empty() {
        let thoughts = thoughts.split_off(thoughts.len().saturating_sub(MAX_RECALLED));
        let now_ms = gateway.clock.now_ms();
        let keys: Vec<CacheKey> = thoughts.iter().map(|id| key_of(work, SIGNATURE, id)).collect();
        let found = join_all(keys.iter().map(|key| gateway.items().get(key, now_ms))).await;
        let known = thoughts
            .into_iter()
            .zip(found)
            .filter_map(|(thought, found)| Some((thought, String::from_utf8(found.ok()??.to_vec()).ok()?)));
        let known = known.collect();
        work.request.know_makers(known);
    }
    if work.request.makers(&model.name).have_others() {
        work.journal.because(format!("{} does not get the thoughts that another model made", model.name));
    }
}

/// Takes how the calls of an answer are signed, to be kept with its settlement.
pub(crate) fn note_signatures(kept: &mut Vec<(String, String)>, pieces: &[Piece], payload: &[u8]) {
    for (id, signature) in signatures(pieces, payload) {
        let id = if signature.is_empty() { thought_id(&id).into() } else { id };
        if kept.iter().any(|(known, _)| *known == id) {
            continue;
        }
        let bytes: usize = kept.iter().map(|(_, signature)| signature.len()).sum();
        if bytes + signature.len() <= MAX_SIGNATURE_BYTES && kept.len() < MAX_SIGNATURES {
            kept.push((id.into_owned(), signature.into_owned()));
        }
    }
}

/// Keeps the items of an answer that is whole, and how its calls are signed, unless the client wants nothing kept.
pub(crate) async fn keep_items(work: &Work<'_>, is_whole: bool, reply: &Reply) {
    let (gateway, ttl_ms) = (work.gateway, work.gateway.config.cache.items_seconds * 1000);
    if !is_whole || ttl_ms == 0 || work.options.cache == CacheUse::NoStore {
        return;
    }
    let now_ms = gateway.clock.now_ms();
    let items = if work.request.facts.keeps_items { reply.writer.items() } else { Vec::new() };
    let items = items.into_iter().map(|(id, item)| (key_of(work, ITEM, &id), item));
    let signed = work.signatures.iter().map(|(id, signature)| (key_of(work, SIGNATURE, id), signature.clone().into()));
    let kept =
        items.chain(signed).map(|(key, item)| async move { gateway.items().put(&key, item, ttl_ms, now_ms).await });
    if let Some(error) = join_all(kept).await.into_iter().find_map(Result::err) {
        tracing::warn!(%error, "the items of an answer are not kept");
    }
}
