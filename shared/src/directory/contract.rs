//! What every [`Directory`] does, whatever it is made of: one list of cases for all implementations.
//!
//! An implementation is held to it by one line, `directory_contract!(on_disk, fresh_one())`, which makes a test
//! of each case, on a directory of its own: empty.

#![cfg(any(test, feature = "contract"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod admins;
mod keys;
mod tenants;

use super::{AuditEntry, Directory, DirectoryError, Expiry, KeyRecord};
use crate::tenant::TenantRecord;
use crate::tenant::key::{KeyHash, KeyHasher};
use serde_json::{Value, json};
use std::sync::Arc;

/// Makes a test of each case: `directory_contract!(NAME, FRESH)`; see [`contract_tests`](macro@crate::contract_tests).
#[macro_export]
macro_rules! directory_contract {
    ($($to:tt)*) => {
        $crate::contract_tests! {
            ($($to)*) $crate::directory::contract::cases => std::sync::Arc<dyn $crate::directory::Directory>;
            one tenants {
                a_fresh_directory_answers
                a_tenant_is_found_as_it_was_created
                a_second_tenant_of_the_same_id_is_refused
                an_update_needs_the_version_that_was_read
                an_update_of_a_tenant_that_was_made_anew_meanwhile_is_refused
                a_tenant_can_be_deleted_as_it_was_read_or_not_at_all
                of_many_updates_at_once_one_wins
                what_is_not_there_is_missing
                a_deleted_tenant_takes_its_keys_along_and_no_others
                pages_of_tenants_are_complete_ordered_and_stable
                the_audit_log_is_read_from_its_newest_entry
                a_refused_change_leaves_no_audit_entry
                any_text_survives
            }
            one keys {
                a_key_is_found_by_its_hash_and_by_no_other
                a_key_id_is_unique_within_its_tenant_and_a_hash_everywhere
                every_change_of_a_key_raises_its_tenants_version_by_one
                keys_created_at_once_each_raise_the_version
                a_deleted_key_is_gone_and_the_others_stay
            }
            one admins {
                an_admin_is_found_by_id_and_by_the_tokens_hash
                an_admins_id_and_hash_are_taken_once
                an_admin_is_changed_from_the_version_that_was_read
                a_token_that_was_replaced_or_deleted_finds_nobody
                of_many_changes_of_an_admin_at_once_one_wins
                pages_of_admins_are_complete_and_ordered
                a_change_of_an_admin_is_in_the_audit_log_and_a_refused_one_is_not
            }
        }
    };
}

/// Every case, by name; one that is not in the list shows as unused.
pub mod cases {
    crate::directory_contract!(cases);
}

type Shared = Arc<dyn Directory>;

pub fn tenant(id: &str) -> TenantRecord {
    let set = json!({"limits": {"daily_requests": 3, "daily_tokens": null}});
    let Value::Object(set) = set else { unreachable!() };
    TenantRecord {
        id: id.into(),
        uid: Some(format!("{id}~0123456789abcdef").into()),
        name: format!("{id} Ltd"),
        created_at_ms: 1_763_820_000_000,
        version: 1,
        revision: 1,
        purges: 0,
        set,
    }
}

pub fn hash(tenant: &str, id: &str) -> KeyHash {
    KeyHasher::new(b"the installation's secret").hash(&format!("{tenant}/{id}"))
}

pub fn key(tenant: &str, id: &str) -> KeyRecord {
    KeyRecord {
        id: id.into(),
        tenant: tenant.into(),
        hash: hash(tenant, id).hex(),
        name: format!("key {id}"),
        prefix: "gw_live_abcd".into(),
        last4: "wxyz".into(),
        created_at_ms: 1_763_820_000_001,
        expires_at_ms: None,
        retires_at_ms: None,
        allowed_models: None,
        limits: None,
        first: None,
        version: 1,
    }
}

fn expiry(at_ms: u64) -> Expiry {
    Expiry { expires_at_ms: Some(at_ms), retires_at_ms: None }
}

pub fn entry(what: &str, subject: &str) -> AuditEntry {
    let after = json!({"subject": subject});
    let (who, what, subject) = ("root".to_owned(), what.to_owned(), subject.to_owned());
    AuditEntry { at_ms: 1_763_820_000_002, who, from: None, what, subject, before: Value::Null, after }
}

async fn create(directory: &Shared, id: &str) {
    directory.create_tenant(&tenant(id), entry("tenant.create", id)).await.expect("a tenant is created");
}

async fn create_key(directory: &Shared, tenant: &str, id: &str) -> u64 {
    directory.create_key(&key(tenant, id), entry("key.create", id)).await.expect("a key is created")
}

async fn version(directory: &Shared, id: &str) -> u64 {
    directory.tenant(id).await.unwrap().expect("the tenant exists").version
}

/// The name of an answer, for comparison: errors have no equality.
fn outcome<T>(answer: Result<T, DirectoryError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(DirectoryError::Exists) => "exists",
        Err(DirectoryError::Missing) => "missing",
        Err(DirectoryError::Conflict) => "conflict",
        Err(DirectoryError::Unwritten(fault)) => panic!("the directory was not changed: {fault}"),
        Err(DirectoryError::Unavailable(why)) => panic!("the directory is unavailable: {why}"),
    }
}
