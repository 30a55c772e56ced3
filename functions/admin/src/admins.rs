//! `/admin/admins`: who may use this plane, and as what.
//!
//! A token is shown in the one answer that makes it; the directory has its keyed hash (T3). It ends after ninety days unless
//! something else is said, and rotating it ends the old one at once: a program's keys have a grace, a person has the
//! new one in hand.

use crate::Plane;
use crate::ask::{Fields, JsonBody, Names, Params, ROWS};
use crate::caller::Caller;
use crate::change::TRIES;
use crate::guard::{Failure, Outcome, reply};
use crate::precondition::{IfMatch, tagged};
use axum::extract::State;
use axum::response::IntoResponse;
use gateway_core::admin::{AdminRecord, Role};
use gateway_core::clock::DAY_MS;
use gateway_core::directory::DirectoryError;
use gateway_core::error::Error;
use gateway_core::id::RequestId;
use gateway_core::tenant::key::ApiKey;
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// How long a token works, when nothing is said.
const LIFETIME_MS: u64 = 90 * DAY_MS;

/// What may be shown of an admin after its making.
fn shown(admin: &AdminRecord) -> Value {
    json!({"id": admin.id, "name": admin.name, "role": admin.role, "prefix": admin.prefix, "last4": admin.last4,
        "created_at_ms": admin.created_at_ms, "expires_at_ms": admin.expires_at_ms})
}

/// The one answer that shows a token.
fn shown_once(token: &ApiKey, admin: &AdminRecord) -> Value {
    let mut body = shown(admin);
    body["token"] = token.reveal().into();
    body
}

fn role(fields: &mut Fields) -> Result<Option<Role>, Error> {
    let Some(name) = fields.take("role") else { return Ok(None) };
    let known = Role::ALL.into_iter().find(|role| name == role.name());
    known.map(Some).ok_or_else(|| Error::invalid("role", "It must be viewer, operator or owner."))
}

/// When a token is to end, if the body says; the inner `None` is never.
fn expiry(fields: &mut Fields, now_ms: u64) -> Result<Option<Option<u64>>, Error> {
    if fields.is_default("expires_at_ms") { Ok(Some(Some(now_ms + LIFETIME_MS))) } else { fields.time("expires_at_ms") }
}

impl Plane {
    /// An admin that must exist.
    async fn admin(&self, id: &str) -> Result<AdminRecord, Failure> {
        Ok(self.gateway.directory.admin(id).await?.ok_or(Error::NotFound)?)
    }

    /// Replaces an admin's record, if it is as `if_match` says, by what `made` makes of it.
    async fn change_admin(
        &self,
        (by, what, id): (&Caller, &str, &str),
        if_match: &IfMatch,
        made: impl Fn(&AdminRecord) -> Result<AdminRecord, Error>,
    ) -> Result<AdminRecord, Failure> {
        for _ in 0..TRIES {
            let before = self.admin(id).await?;
            if_match.check(before.version)?;
            let after = AdminRecord { version: before.version + 1, ..made(&before)? };
            let entry = self.entry(by, what, id.to_owned(), shown(&before), shown(&after));
            match self.gateway.directory.update_admin(&after, entry).await {
                Err(DirectoryError::Conflict) => {}
                Err(error) => {
                    return Err(Failure::said(error, "The admin was NOT changed", "the token works as before"));
                }
                Ok(()) => return Ok(after),
            }
        }
        Err(DirectoryError::Conflict.into())
    }
}

/// `GET /admin/me`: whose token this is.
pub(crate) async fn me(caller: Caller) -> Outcome {
    let Caller { id, name, role, expires_at_ms, .. } = caller;
    Ok(reply(StatusCode::OK, &json!({"id": id, "name": name, "role": role, "expires_at_ms": expires_at_ms})))
}

/// `GET /admin/admins`
pub(crate) async fn list(State(plane): State<Arc<Plane>>, mut params: Params) -> Outcome {
    let (cursor, limit) = (params.cursor(), params.limit()?.unwrap_or(ROWS));
    params.finish()?;
    let page = plane.gateway.directory.admins(cursor.as_deref(), limit).await?;
    let data: Vec<Value> = page.data.iter().map(shown).collect();
    Ok(reply(StatusCode::OK, &json!({"data": data, "next": page.next})))
}

/// `POST /admin/admins`
pub(crate) async fn create(State(plane): State<Arc<Plane>>, by: Caller, body: JsonBody) -> Outcome {
    let (mut fields, now_ms) = (body.fields()?, plane.gateway.clock.now_ms());
    let name = fields.text("name")?.ok_or_else(|| Error::invalid("name", "It is required."))?;
    let role = role(&mut fields)?.ok_or_else(|| Error::invalid("role", "It is required."))?;
    let expires_at_ms = expiry(&mut fields, now_ms)?.unwrap_or(Some(now_ms + LIFETIME_MS));
    fields.finish()?;
    plane.check_new(expires_at_ms)?;
    let token = plane.admin_secret(&by);
    let admin = AdminRecord {
        id: format!("adm_{}", RequestId::new(now_ms)).into(),
        name,
        role,
        hash: plane.gateway.hasher.hash(token.reveal()).hex(),
        prefix: token.prefix().to_owned(),
        last4: token.last4().into(),
        created_at_ms: now_ms,
        expires_at_ms,
        version: 1,
    };
    let entry = plane.entry(&by, "admin.create", admin.id.to_string(), Value::Null, shown(&admin));
    let added = plane.gateway.directory.create_admin(&admin, entry).await;
    added.map_err(|error| Failure::said(error, "No admin was made", "nothing was changed"))?;
    Ok(tagged(reply(StatusCode::CREATED, &shown_once(&token, &admin)), admin.version))
}

/// `GET /admin/admins/{admin}`
pub(crate) async fn show(State(plane): State<Arc<Plane>>, Names(id): Names<String>) -> Outcome {
    let admin = plane.admin(&id).await?;
    Ok(tagged(reply(StatusCode::OK, &shown(&admin)), admin.version))
}

/// `PATCH /admin/admins/{admin}`: role, name, expiry. One that has passed makes the token stop at once.
pub(crate) async fn update(
    State(plane): State<Arc<Plane>>,
    by: Caller,
    if_match: IfMatch,
    Names(id): Names<String>,
    body: JsonBody,
) -> Outcome {
    let mut fields = body.fields()?;
    let (name, role) = (fields.text("name")?, role(&mut fields)?);
    let expires_at_ms = expiry(&mut fields, plane.gateway.clock.now_ms())?;
    fields.finish()?;
    let made = |admin: &AdminRecord| {
        Ok(AdminRecord {
            name: name.clone().unwrap_or_else(|| admin.name.clone()),
            role: role.unwrap_or(admin.role),
            expires_at_ms: expires_at_ms.unwrap_or(admin.expires_at_ms),
            ..admin.clone()
        })
    };
    let admin = plane.change_admin((&by, "admin.update", &id), &if_match, made).await?;
    Ok(tagged(reply(StatusCode::OK, &shown(&admin)), admin.version))
}

/// `DELETE /admin/admins/{admin}`
pub(crate) async fn delete(
    State(plane): State<Arc<Plane>>,
    by: Caller,
    if_match: IfMatch,
    Names(id): Names<String>,
) -> Outcome {
    for _ in 0..TRIES {
        let admin = plane.admin(&id).await?;
        if_match.check(admin.version)?;
        let entry = plane.entry(&by, "admin.delete", id.clone(), shown(&admin), Value::Null);
        match plane.gateway.directory.delete_admin(&id, admin.version, entry).await {
            Err(DirectoryError::Conflict) => {}
            Err(error) => return Err(Failure::said(error, "The admin was NOT deleted", "the token still works")),
            Ok(()) => return Ok(StatusCode::NO_CONTENT.into_response()),
        }
    }
    Err(DirectoryError::Conflict.into())
}

/// `POST /admin/admins/{admin}/rotate`: a new token in the place of the old one, which ends at once. Role and expiry stay.
pub(crate) async fn rotate(
    State(plane): State<Arc<Plane>>,
    by: Caller,
    Names(id): Names<String>,
    body: JsonBody,
) -> Outcome {
    let (mut fields, now_ms) = (body.fields()?, plane.gateway.clock.now_ms());
    let expires_at_ms = expiry(&mut fields, now_ms)?;
    fields.finish()?;
    let token = plane.admin_secret(&by);
    let made = |admin: &AdminRecord| {
        let expires_at_ms = expires_at_ms.unwrap_or(admin.expires_at_ms);
        plane.check_new(expires_at_ms)?;
        let hash = plane.gateway.hasher.hash(token.reveal()).hex();
        let (prefix, last4) = (token.prefix().to_owned(), token.last4().into());
        Ok(AdminRecord { hash, prefix, last4, expires_at_ms, ..admin.clone() })
    };
    let admin = plane.change_admin((&by, "admin.rotate", &id), &IfMatch::Anything, made).await?;
    Ok(tagged(reply(StatusCode::CREATED, &shown_once(&token, &admin)), admin.version))
}
