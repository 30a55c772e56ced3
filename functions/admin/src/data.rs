//! `/admin/tenants/{tenant}/data`: erasing all that is kept of a tenant.
//!
//! Receipts, totals, usage rows, idempotency keys and their answers, counters and remembered answers go; what the audit log
//! says stays, and so does what was logged elsewhere. A tenant that is served is refused: its requests in flight would
//! leave new receipts behind, and its budgets would begin anew while it spends. A tenant that was deleted is named by its
//! uid, or by its id while nobody else has it: then all that ever had the id are meant.

use crate::Plane;
use crate::ask::{Names, Params};
use crate::caller::Caller;
use crate::guard::{Outcome, reply};
use axum::extract::State;
use gateway_core::error::Error;
use gateway_core::ledger::WhoseUid;
use gateway_core::tenant::{UID_MARK, id_of};
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// `DELETE /admin/tenants/{tenant}/data`
pub(crate) async fn erase(
    State(plane): State<Arc<Plane>>,
    by: Caller,
    Names(name): Names<String>,
    mut params: Params,
) -> Outcome {
    let cursor = params.cursor();
    params.finish()?;
    let gateway = &plane.gateway;
    let uid = plane.uid_of(&name).await?;
    let present = gateway.directory.tenant(id_of(&uid)).await?.filter(|record| *record.uid() == uid);
    if let Some(record) = &present
        && plane.resolved(record)?.settings.enabled
    {
        return Err(Error::Conflict("The tenant is served; disable or delete it first.").into());
    }
    let (of, is_whole_id) = (uid.clone(), present.is_none() && !name.contains(UID_MARK));
    let met = Arc::new(Mutex::new(BTreeSet::<String>::new()));
    let whose: WhoseUid = Arc::new({
        let met = met.clone();
        move |kept: &str| {
            let earlier = is_whole_id && id_of(kept) == &*of;
            if earlier {
                met.lock().unwrap_or_else(PoisonError::into_inner).insert(kept.to_owned());
            }
            earlier || kept == &*of
        }
    });
    if cursor.is_none() {
        // Before it begins: what is half erased must not be unexplained.
        gateway.directory.note(plane.entry(&by, "tenant.erase", name, Value::Null, Value::Null)).await?;
        gateway.forget(&uid).await.map_err(|error| Error::Unavailable(error.0))?;
    }
    let erased = gateway.ledger.erase(whose, cursor.as_deref()).await?;
    // Which tenants had the id the ledger alone knows.
    let met = std::mem::take(&mut *met.lock().unwrap_or_else(PoisonError::into_inner));
    for uid in met {
        gateway.forget(&uid).await.map_err(|error| Error::Unavailable(error.0))?;
    }
    Ok(reply(
        StatusCode::OK,
        &json!({"erased": {"receipts": erased.receipts, "usage_rows": erased.usage_rows, "others": erased.others},
            "next": erased.next}),
    ))
}
