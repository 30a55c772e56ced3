//! The directory in DynamoDB: what a fleet of functions shares.
//!
//! Each change is one transaction of the rows, the tenant's raised version (T2) and the audit entry, on the condition that
//! the tenant is at the version that was read; who finds it raised meanwhile reads again. A key lies under its hash, where a
//! request looks for it, and under its tenant, where it is listed.
//!
//! A tenant may have more keys than fit a transaction (100 items), so that removing it cannot remove them. Instead every
//! tenant has an incarnation, a random number that its keys carry as well, and a key serves only while its tenant is there
//! and of the same incarnation. Removing the tenant's own record thus ends all of its keys at one instant; what is left of
//! them is swept up afterwards, and does no harm if that is interrupted, not even to a later tenant of the same id.
//!
//! The audit log is in the order of its entries' times; those of one millisecond are in the order in which one process made
//! them.

use super::{AuditEntry, Directory, DirectoryError, KeyRecord, Page};
use crate::admin::AdminRecord;
use crate::dynamodb::{Change, Fault, Item, Key, Span, Table, json, number, pause, record_of, text, text_of};
use crate::id::random_u64;
use crate::tenant::TenantRecord;
use crate::tenant::key::KeyHash;
use async_trait::async_trait;
use futures_util::future::join_all;
use std::sync::atomic::{AtomicU64, Ordering};

/// The partition of the tenants' ids.
const TENANTS: &str = "TENANTS";
/// The partition of the admins, and what those of their tokens' hashes begin with.
const ADMINS: &str = "ADMINS";
const TOKENS: &str = "ADMIN#";
/// The partition of the audit log.
const AUDIT: &str = "AUDIT";
/// Where a tenant's own record lies in its partition, and what its keys' places begin with. Keys come first.
const TENANT: &str = "TENANT";
const KEYS: &str = "KEY#";

/// How often a change is tried anew when others change the same tenant at the same time.
const TRIES: u32 = 12;
/// How many keys of a removed tenant are swept up at once.
const SWEEP_AT_ONCE: usize = 16;

const IS_NEW: &str = "attribute_not_exists(pk)";
const IS_AT_VERSION: &str = "version = :was";
const IS_OF_INCARNATION: &str = "incarnation = :incarnation";

impl From<Fault> for DirectoryError {
    fn from(fault: Fault) -> Self {
        Self::Unavailable(fault.to_string())
    }
}

/// A directory in a table, which a ledger may share.
pub struct DynamoDirectory {
    table: Table,
    /// How many audit entries this process has made.
    entries: AtomicU64,
}

/// A tenant's record and its incarnation.
struct Owner {
    record: TenantRecord,
    incarnation: String,
}

impl Owner {
    fn of(item: &Item) -> Result<Self, Fault> {
        let incarnation = text_of(item, "incarnation")?.to_owned();
        Ok(Self { record: record_of(item, "json")?, incarnation })
    }

    fn has(&self, key: &Item) -> Result<bool, Fault> {
        Ok(text_of(key, "incarnation")? == self.incarnation)
    }

    /// The change of one of a key's items, made only if that is still this key, of this tenant.
    fn if_it_has(&self, key: &KeyRecord, change: Change) -> Change {
        change
            .only_if("hash_hex = :hash AND incarnation = :incarnation")
            .with(":hash", text(&key.hash))
            .with(":incarnation", text(&self.incarnation))
    }
}

impl DynamoDirectory {
    /// The directory in `table`.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self { table, entries: AtomicU64::new(0) }
    }

    /// Writes an audit entry down, as a part of the change that it records.
    fn entry(&self, audit: &AuditEntry) -> Result<Change, Fault> {
        let count = self.entries.fetch_add(1, Ordering::SeqCst);
        let place = format!("{:020}-{count:020}-{:016x}", audit.at_ms, random_u64());
        Ok(Change::put(Key::new(AUDIT, place), [("json", json(audit)?)]))
    }

    async fn owner(&self, tenant: &str) -> Result<Option<Owner>, Fault> {
        self.table.get(&tenant_key(tenant)).await?.as_ref().map(Owner::of).transpose()
    }

    /// Raises a tenant's version, along with `changes` to its key `id`, which are made of the tenant and of the key as it
    /// is listed; answers the new version. `refused` is what it means if one of their conditions is not met.
    async fn change_key(
        &self,
        (tenant, id): (&str, &str),
        audit: &AuditEntry,
        changes: impl Fn(&Owner, Option<KeyRecord>) -> Result<Vec<Change>, DirectoryError>,
        refused: impl Fn() -> Option<DirectoryError>,
    ) -> Result<u64, DirectoryError> {
        let entry = self.entry(audit)?;
        for n in 0..TRIES {
            let (mut owner, mut listed) = (None, None);
            for item in self.table.get_many(&[tenant_key(tenant), listed_key(tenant, id)]).await? {
                if text_of(&item, "sk")? == TENANT { owner = Some(Owner::of(&item)?) } else { listed = Some(item) }
            }
            let owner = owner.ok_or(DirectoryError::Missing)?;
            let listed = match listed {
                Some(key) if owner.has(&key)? => Some(record_of(&key, "json")?),
                Some(_) => {
                    self.sweep(tenant).await?;
                    None
                }
                None => None,
            };
            let changes = changes(&owner, listed)?;
            let was = owner.record.version;
            let raised = TenantRecord { version: was + 1, ..owner.record };
            let raise = Change::update(tenant_key(tenant), "SET json = :json, version = :version")
                .only_if("version = :was AND incarnation = :incarnation")
                .with(":json", json(&raised)?)
                .with(":version", number(raised.version))
                .with(":was", number(was))
                .with(":incarnation", text(&owner.incarnation));
            let all = [&[raise, entry.clone()], &changes[..]].concat();
            match self.table.transact(|_| Ok(all.clone())).await?.first() {
                None => return Ok(raised.version),
                // Somebody else changed the tenant since it was read.
                Some(refusal) if refusal.place == 0 => {}
                Some(_) => {
                    if let Some(error) = refused() {
                        return Err(error);
                    }
                }
            }
            pause(n).await;
        }
        Err(DirectoryError::Unavailable(format!("others keep changing the tenant {tenant}")))
    }

    /// Removes what is left of the keys of tenants that had this id and were removed.
    async fn sweep(&self, tenant: &str) -> Result<(), Fault> {
        let items = self.table.query(Span::all(&partition(tenant)), usize::MAX, |_| true).await?;
        let mut owner = None;
        let mut keys = Vec::new();
        for item in items {
            if text_of(&item, "sk")? == TENANT { owner = Some(Owner::of(&item)?) } else { keys.push(item) }
        }
        let mut dead = Vec::new();
        for key in &keys {
            if !owner.as_ref().map_or(Ok(false), |owner| owner.has(key))? {
                dead.push((record_of::<KeyRecord>(key, "json")?, text_of(key, "incarnation")?));
            }
        }
        for some in dead.chunks(SWEEP_AT_ONCE) {
            let swept = some.iter().map(|(key, incarnation)| async move {
                // In this order: what is still listed will be found again.
                for place in [hash_key(&key.hash), listed_key(tenant, &key.id)] {
                    let remove = Change::delete(place).only_if(IS_OF_INCARNATION);
                    self.table.write(remove.with(":incarnation", text(*incarnation))).await?;
                }
                Ok(())
            });
            join_all(swept).await.into_iter().collect::<Result<(), Fault>>()?;
        }
        Ok(())
    }
}

#[async_trait]
impl Directory for DynamoDirectory {
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<(TenantRecord, KeyRecord)>, DirectoryError> {
        let Some(item) = self.table.get(&hash_key(&hash.hex())).await? else { return Ok(None) };
        let key: KeyRecord = record_of(&item, "json")?;
        match self.owner(&key.tenant).await? {
            Some(owner) if owner.has(&item)? => Ok(Some((owner.record, key))),
            _ => Ok(None),
        }
    }

    async fn tenant(&self, id: &str) -> Result<Option<TenantRecord>, DirectoryError> {
        Ok(self.owner(id).await?.map(|owner| owner.record))
    }

    async fn tenants(&self, cursor: Option<&str>, limit: usize) -> Result<Page<TenantRecord>, DirectoryError> {
        let from = cursor.filter(|cursor| !cursor.is_empty()).unwrap_or(Span::FIRST);
        let listed = self.page(Span { from, ..Span::all(TENANTS) }, cursor, limit).await?;
        let keys: Vec<Key> = listed.data.iter().map(|(id, _)| tenant_key(id)).collect();
        let found = self.table.get_many(&keys).await?;
        // One that was removed between the two reads is not shown.
        let mut data = found.iter().map(|item| Ok(Owner::of(item)?.record)).collect::<Result<Vec<_>, Fault>>()?;
        data.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(Page { data, next: listed.next })
    }

    async fn create_tenant(&self, tenant: &TenantRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        let attributes = [
            ("json", json(tenant)?),
            ("version", number(tenant.version)),
            ("uid", text(&**tenant.uid())),
            ("incarnation", text(format!("{:016x}", random_u64()))),
        ];
        let all = vec![
            Change::put(tenant_key(&tenant.id), attributes).only_if(IS_NEW),
            Change::put(Key::new(TENANTS, &*tenant.id), []),
            self.entry(&audit)?,
        ];
        let refused = self.table.transact(|_| Ok(all.clone())).await?;
        if refused.is_empty() { Ok(()) } else { Err(DirectoryError::Exists) }
    }

    async fn update_tenant(&self, tenant: &TenantRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        let update = Change::update(tenant_key(&tenant.id), "SET json = :json, version = :version")
            .only_if("version = :was AND (attribute_not_exists(uid) OR uid = :uid)")
            .with(":uid", text(&**tenant.uid()))
            .with(":json", json(tenant)?)
            .with(":version", number(tenant.version))
            .with(":was", number(i128::from(tenant.version) - 1));
        let all = vec![update, self.entry(&audit)?];
        match self.table.transact(|_| Ok(all.clone())).await?.pop() {
            None => Ok(()),
            Some(refusal) if refusal.item.is_none() => Err(DirectoryError::Missing),
            Some(_) => Err(DirectoryError::Conflict),
        }
    }

    async fn delete_tenant(&self, id: &str, version: Option<u64>, audit: AuditEntry) -> Result<(), DirectoryError> {
        let delete = Change::delete(tenant_key(id));
        let all = vec![
            version.map_or(delete.clone().only_if("attribute_exists(pk)"), |version| {
                delete.only_if(IS_AT_VERSION).with(":was", number(version))
            }),
            Change::delete(Key::new(TENANTS, id)),
            self.entry(&audit)?,
        ];
        let refused = self.table.transact(|_| Ok(all.clone())).await?;
        if refused.first().is_some_and(|refusal| refusal.item.is_some()) {
            return Err(DirectoryError::Conflict);
        }
        // Retried after it was interrupted, it finds no tenant, and still sweeps.
        match (self.sweep(id).await, refused.is_empty()) {
            (Err(fault), true) => {
                tracing::warn!(tenant = id, %fault, "keys of a removed tenant are left; they serve nobody");
                Ok(())
            }
            (_, true) => Ok(()),
            (_, false) => Err(DirectoryError::Missing),
        }
    }

    async fn keys(&self, tenant: &str) -> Result<Vec<KeyRecord>, DirectoryError> {
        let mut items = self.table.query(Span::all(&partition(tenant)), usize::MAX, |_| true).await?;
        // The tenant itself comes last, if it is there.
        let last = items.pop().filter(|item| text_of(item, "sk").is_ok_and(|place| place == TENANT));
        let owner = Owner::of(&last.ok_or(DirectoryError::Missing)?)?;
        let mut keys = Vec::new();
        for item in &items {
            if owner.has(item)? {
                keys.push(record_of(item, "json")?);
            }
        }
        Ok(keys)
    }

    async fn create_key(&self, key: &KeyRecord, audit: AuditEntry) -> Result<u64, DirectoryError> {
        let changes = |owner: &Owner, listed: Option<KeyRecord>| {
            if listed.is_some() {
                return Err(DirectoryError::Exists);
            }
            let put = |place| Ok::<_, Fault>(Change::put(place, key_attributes(key, &owner.incarnation)?));
            Ok(vec![put(listed_key(&key.tenant, &key.id))?, put(hash_key(&key.hash))?.only_if(IS_NEW)])
        };
        self.change_key((&key.tenant, &key.id), &audit, changes, || Some(DirectoryError::Exists)).await
    }

    async fn update_key(&self, key: &KeyRecord, audit: AuditEntry) -> Result<u64, DirectoryError> {
        let changes = |owner: &Owner, listed: Option<KeyRecord>| {
            if !key.follows(&listed.ok_or(DirectoryError::Missing)?) {
                return Err(DirectoryError::Conflict);
            }
            [listed_key(&key.tenant, &key.id), hash_key(&key.hash)]
                .map(|place| {
                    let put = Change::put(place, key_attributes(key, &owner.incarnation)?);
                    // Only the key that was read, not one that was made meanwhile under its id.
                    Ok(put
                        .only_if("hash_hex = :hash AND incarnation = :incarnation")
                        .with(":hash", text(&key.hash))
                        .with(":incarnation", text(&owner.incarnation)))
                })
                .into_iter()
                .collect()
        };
        self.change_key((&key.tenant, &key.id), &audit, changes, || None).await
    }

    async fn delete_key(
        &self,
        tenant: &str,
        id: &str,
        version: Option<u64>,
        audit: AuditEntry,
    ) -> Result<u64, DirectoryError> {
        let changes = |owner: &Owner, listed: Option<KeyRecord>| {
            let key = listed.ok_or(DirectoryError::Missing)?;
            if version.is_some_and(|version| version != key.version) {
                return Err(DirectoryError::Conflict);
            }
            let remove = |place| owner.if_it_has(&key, Change::delete(place));
            Ok([listed_key(tenant, id), hash_key(&key.hash)].map(remove).into())
        };
        self.change_key((tenant, id), &audit, changes, || None).await
    }

    async fn find_admin(&self, hash: &KeyHash) -> Result<Option<AdminRecord>, DirectoryError> {
        Ok(self.table.get(&token_key(&hash.hex())).await?.map(|item| record_of(&item, "json")).transpose()?)
    }

    async fn admin(&self, id: &str) -> Result<Option<AdminRecord>, DirectoryError> {
        Ok(self.table.get(&admin_key(id)).await?.map(|item| record_of(&item, "json")).transpose()?)
    }

    async fn admins(&self, cursor: Option<&str>, limit: usize) -> Result<Page<AdminRecord>, DirectoryError> {
        let from = cursor.filter(|cursor| !cursor.is_empty()).unwrap_or(Span::FIRST);
        let Page { data, next } = self.page(Span { from, ..Span::all(ADMINS) }, cursor, limit).await?;
        let data = data.iter().map(|(_, item)| record_of(item, "json")).collect::<Result<_, Fault>>()?;
        Ok(Page { data, next })
    }

    async fn create_admin(&self, admin: &AdminRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        let put = |key| Ok::<_, Fault>(Change::put(key, admin_attributes(admin)?).only_if(IS_NEW));
        let all = vec![put(admin_key(&admin.id))?, put(token_key(&admin.hash))?, self.entry(&audit)?];
        let refused = self.table.transact(|_| Ok(all.clone())).await?;
        if refused.is_empty() { Ok(()) } else { Err(DirectoryError::Exists) }
    }

    async fn update_admin(&self, admin: &AdminRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        let stored = self.admin(&admin.id).await?.ok_or(DirectoryError::Missing)?;
        let was = number(i128::from(admin.version) - 1);
        let put = |key| Ok::<_, Fault>(Change::put(key, admin_attributes(admin)?));
        let mut all = vec![put(admin_key(&admin.id))?.only_if(IS_AT_VERSION).with(":was", was), self.entry(&audit)?];
        if stored.hash == admin.hash {
            all.push(put(token_key(&admin.hash))?);
        } else {
            all.extend([put(token_key(&admin.hash))?.only_if(IS_NEW), Change::delete(token_key(&stored.hash))]);
        }
        self.change_admin(all).await
    }

    async fn delete_admin(&self, id: &str, version: u64, audit: AuditEntry) -> Result<(), DirectoryError> {
        let stored = self.admin(id).await?.ok_or(DirectoryError::Missing)?;
        let delete = Change::delete(admin_key(id)).only_if(IS_AT_VERSION).with(":was", number(version));
        self.change_admin(vec![delete, Change::delete(token_key(&stored.hash)), self.entry(&audit)?]).await
    }

    async fn note(&self, audit: AuditEntry) -> Result<(), DirectoryError> {
        Ok(self.table.write(self.entry(&audit)?).await.map(drop)?)
    }

    async fn audit(&self, cursor: Option<&str>, limit: usize) -> Result<Page<AuditEntry>, DirectoryError> {
        if cursor.is_some_and(|cursor| !is_entry(cursor)) {
            return Err(DirectoryError::Missing);
        }
        let span = Span { to: cursor.unwrap_or(Span::LAST), newest_first: true, ..Span::all(AUDIT) };
        let Page { data, next } = self.page(span, cursor, limit).await?;
        let entries = data.iter().map(|(_, item)| record_of(item, "json")).collect::<Result<_, Fault>>()?;
        Ok(Page { data: entries, next })
    }

    async fn ping(&self) -> Result<(), DirectoryError> {
        Ok(self.table.ping().await?)
    }
}

impl DynamoDirectory {
    /// Makes changes of which the first is conditional on an admin's version. The version tells the token's hash as well: what
    /// was read of it before holds if the version does.
    async fn change_admin(&self, all: Vec<Change>) -> Result<(), DirectoryError> {
        match self.table.transact(|_| Ok(all.clone())).await?.first() {
            None => Ok(()),
            Some(refusal) if refusal.place == 0 && refusal.item.is_none() => Err(DirectoryError::Missing),
            Some(_) => Err(DirectoryError::Conflict),
        }
    }

    /// The first `limit` places and items of a span, at least one, less the cursor's own, and the last of the places if
    /// there are more.
    async fn page(&self, span: Span<'_>, cursor: Option<&str>, limit: usize) -> Result<Page<(String, Item)>, Fault> {
        let limit = limit.max(1);
        let place = |item: &Item| text_of(item, "sk").map(str::to_owned);
        let is_after = |item: &Item| place(item).is_ok_and(|place| Some(&*place) != cursor);
        let items = self.table.query(span, limit.saturating_add(1), is_after).await?;
        let rows = items.into_iter().map(|item| Ok((place(&item)?, item))).collect::<Result<Vec<_>, Fault>>()?;
        Ok(Page::cut(rows, limit, |(place, _)| place.clone()))
    }
}

fn partition(tenant: &str) -> String {
    format!("TENANT#{tenant}")
}

fn tenant_key(id: &str) -> Key {
    Key::new(partition(id), TENANT)
}

/// Where a key is found by its tenant.
fn listed_key(tenant: &str, id: &str) -> Key {
    Key::new(partition(tenant), format!("{KEYS}{id}"))
}

/// Where a key is found by its hash.
fn hash_key(hash: &str) -> Key {
    Key::alone(format!("{KEYS}{hash}"))
}

fn admin_key(id: &str) -> Key {
    Key::new(ADMINS, id)
}

/// Where an admin is found by its token.
fn token_key(hash: &str) -> Key {
    Key::alone(format!("{TOKENS}{hash}"))
}

fn admin_attributes(
    admin: &AdminRecord,
) -> Result<[(&'static str, aws_sdk_dynamodb::types::AttributeValue); 2], Fault> {
    Ok([("json", json(admin)?), ("version", number(admin.version))])
}

fn key_attributes(
    key: &KeyRecord,
    incarnation: &str,
) -> Result<[(&'static str, aws_sdk_dynamodb::types::AttributeValue); 3], Fault> {
    Ok([("json", json(key)?), ("hash_hex", text(&key.hash)), ("incarnation", text(incarnation))])
}

/// Whether a text is the place of an audit entry.
fn is_entry(place: &str) -> bool {
    let digits = |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut parts = place.splitn(3, '-');
    [20, 20, 16].into_iter().all(|length| parts.next().is_some_and(|part| digits(part, length)))
}
