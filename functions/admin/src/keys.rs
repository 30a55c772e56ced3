//! `/admin/tenants/{tenant}/keys`: making, listing, rotating and revoking API keys.
//!
//! A key is shown in the one answer that makes it and is nowhere after that: the directory has its keyed hash, and the
//! plane shows its prefix and last four characters (T3). Every change raises the tenant's version, which the store
//! learns, so that a revoked key stops with its next request (T2).

use crate::Plane;
use crate::ask::{Fields, JsonBody, Names, Params};
use crate::caller::Caller;
use crate::change::TRIES;
use crate::guard::{Failure, Outcome, reply};
use crate::precondition::{IfMatch, not_removed, tagged};
use axum::extract::State;
use axum::response::IntoResponse;
use gateway_core::directory::{DirectoryError, Expiry, KeyRecord, Page};
use gateway_core::error::Error;
use gateway_core::id::RequestId;
use gateway_core::tenant::key::ApiKey;
use gateway_core::tenant::{InvalidTenant, Limits, covers};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// How many names of models a key may have.
const MODELS: usize = 100;
/// How long a rotated key goes on working, when nothing is said.
const GRACE_MS: u64 = 86_400_000;
/// The longest that a rotated key may go on working.
const MAX_GRACE_MS: u64 = 30 * 86_400_000;

/// What may be shown of a key after its making.
fn shown(key: &KeyRecord) -> Value {
    json!({"id": key.id, "name": key.name, "prefix": key.prefix, "last4": key.last4, "created_at_ms": key.created_at_ms,
        "expires_at_ms": key.ends_at_ms(), "allowed_models": key.allowed_models, "limits": key.limits})
}

/// The one answer that shows a key.
fn shown_once(key: &ApiKey, record: &KeyRecord) -> Value {
    json!({"id": record.id, "key": key.reveal(), "prefix": record.prefix, "last4": record.last4,
        "created_at_ms": record.created_at_ms, "expires_at_ms": record.ends_at_ms()})
}

/// What a key has of its own, within what its tenant has.
struct Own {
    expires_at_ms: Option<u64>,
    allowed_models: Option<Vec<String>>,
    limits: Option<Limits>,
    /// The first of the keys that were rotated into it, if there is one before it.
    first: Option<Arc<str>>,
}

/// A key's own limits with what a body says of them merged in; `None` where none is left.
fn limits(own: Option<&Limits>, said: Value) -> Result<Option<Limits>, InvalidTenant> {
    let patched = own.cloned().unwrap_or_default().patched(said)?;
    Ok(Some(patched).filter(|limits| *limits != Limits::default()))
}

/// The models that a key is to be bound to, if the body says; the inner `None` is none of its own.
fn models(fields: &mut Fields) -> Result<Option<Option<Vec<String>>>, Error> {
    let wrong = || {
        let form = format!(
            "It must be null, or at most {MODELS} names of 1 to 200 bytes, of which the last character may be *."
        );
        Error::invalid("allowed_models", form)
    };
    match fields.take("allowed_models") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(word)) if word == "default" => Ok(Some(None)),
        Some(names) => {
            let names: Vec<String> = serde_json::from_value(names).map_err(|_| wrong())?;
            let fits = names.len() <= MODELS && names.iter().all(|name| (1..=200).contains(&name.len()));
            if fits { Ok(Some(Some(names))) } else { Err(wrong()) }
        }
    }
}

impl Plane {
    /// A key that must exist, of a tenant that must.
    pub(crate) async fn key(&self, tenant: &str, id: &str) -> Result<KeyRecord, Failure> {
        let keys = self.gateway.directory.keys(tenant).await?;
        Ok(keys.into_iter().find(|key| &*key.id == id).ok_or(Error::NotFound)?)
    }

    /// Makes a key and the record of it.
    fn new_key(&self, by: &Caller, tenant: &str, name: Option<String>, own: Own) -> (ApiKey, KeyRecord) {
        let Own { expires_at_ms, allowed_models, limits, first } = own;
        let (key, now_ms) = (self.secret(by), self.gateway.clock.now_ms());
        // The ids of keys sort by their age, as those of requests do.
        let id = format!("key_{}", RequestId::new(now_ms));
        let record = KeyRecord {
            tenant: tenant.into(),
            hash: self.gateway.hasher.hash(key.reveal()).hex(),
            name: name.unwrap_or_else(|| id.clone()),
            prefix: key.prefix().to_owned(),
            last4: key.last4().into(),
            created_at_ms: now_ms,
            expires_at_ms,
            retires_at_ms: None,
            allowed_models,
            limits,
            first,
            version: 1,
            id: id.into(),
        };
        (key, record)
    }

    /// Stores a new key; `before` is the key that it takes the place of.
    async fn add(&self, by: &Caller, what: &str, before: Value, record: &KeyRecord) -> Result<(), DirectoryError> {
        let entry = self.entry(by, what, format!("{}/{}", record.tenant, record.id), before, shown(record));
        let version = self.gateway.directory.create_key(record, entry).await?;
        self.tell_store_of(&record.tenant, version).await;
        Ok(())
    }

    /// Replaces a key by its next version.
    async fn replace(&self, by: &Caller, before: &KeyRecord, key: &KeyRecord) -> Result<(), DirectoryError> {
        let subject = format!("{}/{}", key.tenant, key.id);
        let entry = self.entry(by, "key.update", subject, shown(before), shown(key));
        let version = self.gateway.directory.update_key(key, entry).await?;
        self.tell_store_of(&key.tenant, version).await;
        Ok(())
    }

    /// Removes a key.
    async fn remove(&self, by: &Caller, key: &KeyRecord, version: Option<u64>) -> Result<(), DirectoryError> {
        let entry = self.entry(by, "key.revoke", format!("{}/{}", key.tenant, key.id), shown(key), Value::Null);
        let raised = self.gateway.directory.delete_key(&key.tenant, &key.id, version, entry).await?;
        self.tell_store_of(&key.tenant, raised).await;
        Ok(())
    }

    /// Refuses models for a key that its tenant may not use.
    async fn check_models(&self, tenant: &str, models: Option<&[String]>) -> Result<(), Failure> {
        let Some(models) = models else { return Ok(()) };
        let may = self.resolved(&self.record(tenant).await?)?.settings.allowed_models;
        match models.iter().find(|model| !may.iter().any(|wide| covers(wide, model))) {
            None => Ok(()),
            Some(wider) => {
                let message = format!("`{wider}` is wider than what the tenant may use: {}.", may.join(", "));
                Err(Error::invalid("allowed_models", message).into())
            }
        }
    }

    /// Refuses an expiry of a new key or token that has passed already.
    pub(crate) fn check_new(&self, expires_at_ms: Option<u64>) -> Result<(), Error> {
        let has_passed = expires_at_ms.is_some_and(|at_ms| at_ms <= self.gateway.clock.now_ms());
        if has_passed { Err(Error::invalid("expires_at_ms", "It must be later than now.")) } else { Ok(()) }
    }
}

/// `GET /admin/tenants/{tenant}/keys/{key}`
pub(crate) async fn show(State(plane): State<Arc<Plane>>, Names((tenant, id)): Names<(String, String)>) -> Outcome {
    let key = plane.key(&tenant, &id).await?;
    Ok(tagged(reply(StatusCode::OK, &shown(&key)), key.version))
}

/// `GET /admin/tenants/{tenant}/keys`
pub(crate) async fn list(State(plane): State<Arc<Plane>>, Names(tenant): Names<String>, mut params: Params) -> Outcome {
    let (cursor, limit) = (params.cursor(), params.limit()?.unwrap_or(usize::MAX));
    params.finish()?;
    let keys = plane.gateway.directory.keys(&tenant).await?.into_iter();
    let after = keys.filter(|key| cursor.as_deref().is_none_or(|cursor| &*key.id > cursor));
    let page = Page::cut(after, limit, |key| key.id.to_string());
    let data: Vec<Value> = page.data.iter().map(shown).collect();
    Ok(reply(StatusCode::OK, &json!({"data": data, "next": page.next})))
}

/// `POST /admin/tenants/{tenant}/keys`
pub(crate) async fn create(
    State(plane): State<Arc<Plane>>,
    by: Caller,
    Names(tenant): Names<String>,
    body: JsonBody,
) -> Outcome {
    let mut fields = body.fields()?;
    let (name, expires_at_ms) = (fields.text("name")?, fields.time("expires_at_ms")?.flatten());
    let allowed_models = models(&mut fields)?.flatten();
    let limits = fields.take("limits").map(|said| limits(None, said)).transpose()?.flatten();
    fields.finish()?;
    plane.check_new(expires_at_ms)?;
    plane.check_models(&tenant, allowed_models.as_deref()).await?;
    let own = Own { expires_at_ms, allowed_models, limits, first: None };
    let (key, record) = plane.new_key(&by, &tenant, name, own);
    let added = plane.add(&by, "key.create", Value::Null, &record).await;
    added.map_err(|error| Failure::said(error, "No key was made", "nothing was changed"))?;
    Ok(tagged(reply(StatusCode::CREATED, &shown_once(&key, &record)), record.version))
}

/// `PATCH /admin/tenants/{tenant}/keys/{key}`: expiry, models and limits, these by a deep merge. An expiry that has passed makes the key stop at once; where one is
/// set, a grace that the key was in counts no more.
pub(crate) async fn update(
    State(plane): State<Arc<Plane>>,
    by: Caller,
    if_match: IfMatch,
    Names((tenant, id)): Names<(String, String)>,
    body: JsonBody,
) -> Outcome {
    let mut fields = body.fields()?;
    let (expires_at_ms, models) = (fields.time("expires_at_ms")?, models(&mut fields)?);
    let said = fields.take("limits");
    fields.finish()?;
    if expires_at_ms.is_none() && models.is_none() && said.is_none() {
        return Err(Error::invalid("expires_at_ms", "It is required, or `allowed_models`, or `limits`.").into());
    }
    plane.check_models(&tenant, models.as_ref().and_then(Option::as_deref)).await?;
    for _ in 0..TRIES {
        let before = plane.key(&tenant, &id).await?;
        if_match.check(before.version)?;
        let (own, retires_at_ms) = (before.expires_at_ms, before.retires_at_ms.filter(|_| expires_at_ms.is_none()));
        let mut key = before.with_expiry(Expiry { expires_at_ms: expires_at_ms.unwrap_or(own), retires_at_ms });
        key.allowed_models = models.clone().unwrap_or(key.allowed_models);
        if let Some(said) = &said {
            key.limits = limits(key.limits.as_ref(), said.clone())?;
        }
        match plane.replace(&by, &before, &key).await {
            Err(DirectoryError::Conflict) => {}
            Err(error) => return Err(Failure::said(error, "The key was NOT changed", "it works as before")),
            Ok(()) => return Ok(tagged(reply(StatusCode::OK, &shown(&key)), key.version)),
        }
    }
    Err(DirectoryError::Conflict.into())
}

/// `DELETE /admin/tenants/{tenant}/keys/{key}`
pub(crate) async fn revoke(
    State(plane): State<Arc<Plane>>,
    by: Caller,
    if_match: IfMatch,
    Names((tenant, id)): Names<(String, String)>,
) -> Outcome {
    let key = plane.key(&tenant, &id).await?;
    if_match.check(key.version)?;
    let removed = plane.remove(&by, &key, if_match.only(key.version)).await;
    removed.map_err(|error| not_removed(error, "The key was NOT revoked", "it still works"))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /admin/tenants/{tenant}/keys/{key}/rotate`: a new key in the place of an old one, which goes on for a while.
///
/// The new key has the old one's name, models and limits, which both are counted under as one, and, unless the body says
/// otherwise, its own expiry: rotation must not turn a key that
/// ends into one that does not, nor one that does not, rotated again in its grace, into one that ends with that. A grace
/// that runs is made no longer. The new key is made before the old one's end is set, so that a failure between the two leaves the
/// old key as it was; the new one, which nobody has seen, is then taken back.
pub(crate) async fn rotate(
    State(plane): State<Arc<Plane>>,
    by: Caller,
    Names((tenant, id)): Names<(String, String)>,
    body: JsonBody,
) -> Outcome {
    let mut fields = body.fields()?;
    let grace_ms = fields.ms("grace_ms", 0..=MAX_GRACE_MS)?.flatten().unwrap_or(GRACE_MS);
    let expires_at_ms = fields.time("expires_at_ms")?;
    fields.finish()?;
    let old = plane.key(&tenant, &id).await?;
    let now_ms = plane.gateway.clock.now_ms();
    if old.ends_at_ms().is_some_and(|at_ms| at_ms <= now_ms) {
        return Err(Error::Conflict("This key has expired; make a new one.").into());
    }
    let expires_at_ms = expires_at_ms.unwrap_or(old.expires_at_ms);
    plane.check_new(expires_at_ms)?;
    let own = Own {
        expires_at_ms,
        allowed_models: old.allowed_models.clone(),
        limits: old.limits.clone(),
        first: Some(old.first.as_ref().unwrap_or(&old.id).clone()),
    };
    let (key, record) = plane.new_key(&by, &tenant, Some(old.name.clone()), own);
    let retires_at_ms = old.retires_at_ms.into_iter().chain([now_ms + grace_ms]).min();
    let expiry = Expiry { expires_at_ms: old.expires_at_ms, retires_at_ms };
    let not_rotated = |error| Failure::said(error, "The key was NOT rotated", "it works as before");
    plane.add(&by, "key.rotate", shown(&old), &record).await.map_err(not_rotated)?;
    if let Err(error) = plane.replace(&by, &old, &old.with_expiry(expiry)).await {
        if let Err(error) = plane.remove(&by, &record, None).await {
            tracing::error!(%error, tenant, key = %record.id, "a key that nobody has seen could not be taken back; revoke it");
        }
        return Err(not_rotated(error));
    }
    Ok(tagged(reply(StatusCode::CREATED, &shown_once(&key, &record)), record.version))
}
