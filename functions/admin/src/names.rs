//! What tenants are called where something that is kept of them is shown or requested.
//!
//! It is kept under a tenant's uid; people say the id, and may give the id of a deleted tenant to another. A tenant that is
//! there is called by its id. One that was deleted is called by its uid, so that what it did is never taken for what the
//! present tenant of its id does; one without a uid of its own, from before there were any, by its id and the mark.

use crate::Plane;
use crate::guard::Failure;
use gateway_core::tenant::UID_MARK;
use std::collections::HashMap;
use std::sync::Arc;

/// How many tenants are read at once.
const READ_AT_ONCE: usize = 1000;

/// The names of all tenants that are there.
pub(crate) struct Names {
    ids_by_uid: HashMap<Arc<str>, Arc<str>>,
}

impl Names {
    /// The id of the tenant of this uid, if it is there.
    pub(crate) fn present(&self, uid: &str) -> Option<&Arc<str>> {
        self.ids_by_uid.get(uid)
    }

    /// What the tenant of this uid is called.
    pub(crate) fn of(&self, uid: &Arc<str>) -> Arc<str> {
        match self.present(uid) {
            Some(id) => id.clone(),
            None if uid.contains(UID_MARK) => uid.clone(),
            None => format!("{uid}{UID_MARK}").into(),
        }
    }
}

impl Plane {
    /// The names of all tenants that are there.
    pub(crate) async fn names(&self) -> Result<Names, Failure> {
        let (mut ids_by_uid, mut cursor) = (HashMap::new(), None::<String>);
        loop {
            let page = self.gateway.directory.tenants(cursor.as_deref(), READ_AT_ONCE).await?;
            ids_by_uid.extend(page.data.into_iter().map(|record| (record.uid().clone(), record.id)));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(Names { ids_by_uid });
            }
        }
    }

    /// The uid of the tenant that is called so.
    pub(crate) async fn uid_of(&self, name: &str) -> Result<Arc<str>, Failure> {
        if let Some(id) = name.strip_suffix(UID_MARK) {
            return Ok(id.into());
        }
        let present = self.gateway.directory.tenant(name).await?;
        Ok(present.map_or_else(|| name.into(), |record| record.uid().clone()))
    }
}
