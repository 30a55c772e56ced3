//! `/admin/tenants`: making, showing, changing and removing tenants.
//!
//! What a body may say is [`TenantRecord`]'s to judge; a field that does not fit is refused by its path. A change is made
//! to the version that was read: where somebody else was faster, it is read and made again, so that of two changes at
//! once neither is lost.

use crate::Plane;
use crate::ask::{JsonBody, Names, Params, ROWS};
use crate::caller::Caller;
use crate::change::TRIES;
use crate::guard::{Failure, Outcome, reply};
use crate::pages::some;
use crate::precondition::{IfMatch, not_removed, tagged};
use axum::extract::State;
use axum::response::IntoResponse;
use gateway_core::directory::DirectoryError;
use gateway_core::error::Error;
use gateway_core::tenant::{InvalidTenant, Tenant, TenantRecord, id_of};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

impl Plane {
    /// The record of a tenant that must exist.
    pub(crate) async fn record(&self, id: &str) -> Result<TenantRecord, Failure> {
        Ok(self.gateway.directory.tenant(id).await?.ok_or(Error::NotFound)?)
    }

    /// A stored record over the defaults.
    pub(crate) fn resolved(&self, record: &TenantRecord) -> Result<Tenant, Error> {
        let broken = |error| Error::Internal(format!("the stored tenant {}: {error}", record.id));
        record.resolve(&self.gateway.config.tenant_defaults).map_err(broken)
    }

    /// A body that sets a webhook which could not be signed is refused.
    fn check_webhook(&self, body: &Value) -> Result<(), InvalidTenant> {
        let is_set = body.pointer("/alerts/webhook").and_then(Value::as_str).is_some_and(|url| url != "default");
        match is_set && self.gateway.config.alerts.secret.is_none() {
            true => Err(InvalidTenant::new("alerts.webhook", "needs the secret in [alerts] of the configuration")),
            false => Ok(()),
        }
    }

    fn shown(&self, record: &TenantRecord) -> Result<Value, Error> {
        Ok(self.resolved(record)?.to_json())
    }

    /// Replaces a tenant's record, if it is as `if_match` says, by what `made` makes of it.
    async fn change(
        &self,
        (by, what, id): (&Caller, &str, &str),
        if_match: &IfMatch,
        made: impl Fn(&TenantRecord) -> Result<TenantRecord, InvalidTenant>,
    ) -> Result<(Value, u64), Failure> {
        for _ in 0..TRIES {
            let before = self.record(id).await?;
            if_match.check(before.revision)?;
            let after = made(&before)?;
            let shown = self.shown(&after)?;
            let entry = self.entry(by, what, id.to_owned(), self.shown(&before)?, shown.clone());
            match self.gateway.directory.update_tenant(&after, entry).await {
                Err(DirectoryError::Conflict) => continue,
                changed => changed?,
            }
            self.tell_store(after.uid(), after.version).await;
            return Ok((shown, after.revision));
        }
        Err(DirectoryError::Conflict.into())
    }

    /// Gives the memory of a tenant's remembered answers back. Nobody can reach them any more, so it may fail.
    async fn forget_answers(&self, uid: &str) {
        if let Err(error) = self.gateway.purge(uid).await {
            tracing::warn!(tenant = id_of(uid), %error, "remembered answers stay where they are until they expire");
        }
    }
}

/// `GET /admin/tenants`: all, or those whose `name` begins so, or that are `enabled` or not.
pub(crate) async fn list(State(plane): State<Arc<Plane>>, mut params: Params) -> Outcome {
    let (cursor, limit) = (params.cursor(), params.limit()?.unwrap_or(ROWS));
    let name = params.take("name").map(|name| name.to_lowercase());
    let enabled = match params.take("enabled").as_deref() {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(Error::invalid("enabled", "It must be true or false.").into()),
    };
    params.finish()?;
    let keep = |record: &TenantRecord| {
        name.as_ref().is_none_or(|name| record.name.to_lowercase().starts_with(&**name))
            && enabled.is_none_or(|enabled| plane.resolved(record).is_ok_and(|it| it.settings.enabled == enabled))
    };
    let page =
        some(&*plane.gateway.directory, |all, cursor, limit| all.tenants(cursor, limit), cursor, limit, keep).await?;
    let data: Vec<Value> = page.data.iter().map(|record| plane.shown(record)).collect::<Result<_, _>>()?;
    Ok(reply(StatusCode::OK, &json!({"data": data, "next": page.next})))
}

/// `POST /admin/tenants`
///
/// One that is made again under an old id has a uid of its own, under which nothing is kept yet (T5).
pub(crate) async fn create(State(plane): State<Arc<Plane>>, by: Caller, body: JsonBody) -> Outcome {
    let now_ms = plane.gateway.clock.now_ms();
    let body = body.required()?;
    plane.check_webhook(&body)?;
    let record = TenantRecord::create(body, &plane.gateway.config.tenant_defaults, now_ms)?;
    let shown = plane.shown(&record)?;
    let entry = plane.entry(&by, "tenant.create", record.id.to_string(), Value::Null, shown.clone());
    plane.gateway.directory.create_tenant(&record, entry).await?;
    plane.tell_store(record.uid(), record.version).await;
    Ok(tagged(reply(StatusCode::CREATED, &shown), record.revision))
}

/// `GET /admin/tenants/{tenant}`
pub(crate) async fn show(State(plane): State<Arc<Plane>>, Names(id): Names<String>) -> Outcome {
    let record = plane.record(&id).await?;
    Ok(tagged(reply(StatusCode::OK, &plane.shown(&record)?), record.revision))
}

/// `PATCH /admin/tenants/{tenant}`: a deep merge.
pub(crate) async fn update(
    State(plane): State<Arc<Plane>>,
    by: Caller,
    if_match: IfMatch,
    Names(id): Names<String>,
    body: JsonBody,
) -> Outcome {
    let body = body.required()?;
    plane.check_webhook(&body)?;
    let defaults = &plane.gateway.config.tenant_defaults;
    let patched = |record: &TenantRecord| record.patched(body.clone(), defaults);
    let (shown, revision) = plane.change((&by, "tenant.update", &id), &if_match, patched).await?;
    Ok(tagged(reply(StatusCode::OK, &shown), revision))
}

/// `DELETE /admin/tenants/{tenant}`: the tenant and its keys. What it did stays in the ledger.
pub(crate) async fn delete(
    State(plane): State<Arc<Plane>>,
    by: Caller,
    if_match: IfMatch,
    Names(id): Names<String>,
) -> Outcome {
    let record = plane.record(&id).await?;
    if_match.check(record.revision)?;
    let entry = plane.entry(&by, "tenant.delete", id.clone(), plane.shown(&record)?, Value::Null);
    let deleted = plane.gateway.directory.delete_tenant(&id, if_match.only(record.version), entry).await;
    deleted.map_err(|error| not_removed(error, "The tenant was NOT deleted", "its keys still work"))?;
    // Newer than the tenant ever was, also if it was changed just now, so that its next request asks the directory, which
    // does not know the key.
    let version = (record.version + 1).max(plane.gateway.clock.now_ms());
    plane.tell_store(record.uid(), version).await;
    plane.forget_answers(record.uid()).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE /admin/tenants/{tenant}/cache`
///
/// How often it was purged is part of every cache key, so raising it makes what is remembered unreachable in all processes
/// at once, and writes the audit log's entry; what is done after that only gives the memory back.
pub(crate) async fn purge_cache(State(plane): State<Arc<Plane>>, by: Caller, Names(id): Names<String>) -> Outcome {
    let record = plane.record(&id).await?;
    plane.change((&by, "cache.purge", &id), &IfMatch::Anything, |record| Ok(record.purged())).await?;
    plane.forget_answers(record.uid()).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}
