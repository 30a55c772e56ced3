//! What the plane does when a border fails: the store is down, the directory is down, somebody else is faster.

use crate::house::House;
use async_trait::async_trait;
use gateway_core::admin::AdminRecord;
use gateway_core::config::{Config, SHIPPED};
use gateway_core::directory::{AuditEntry, Directory, DirectoryError, KeyRecord, Page};
use gateway_core::health::{ModelHealth, Observation};
use gateway_core::limit::window::Window;
use gateway_core::money::{Amounts, Charged};
use gateway_core::store::{
    Admission, Composed, Counters, ExpiredHold, HealthStore, Settled, Settlement, StoreError, Ticket, Verdict,
    WindowUse,
};
use gateway_core::tenant::TenantRecord;
use gateway_core::tenant::key::KeyHash;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A store that does not answer.
struct Down;

fn down<T>() -> Result<T, StoreError> {
    Err(StoreError("connection refused by 10.0.0.7".to_owned()))
}

#[async_trait]
impl Counters for Down {
    async fn admit(&self, _: &Admission, _: &mut Ticket, _: bool, _: u64) -> Result<Verdict, StoreError> {
        down()
    }
    async fn extend(&self, _: &Admission, _: Amounts, _: u64) -> Result<bool, StoreError> {
        down()
    }
    async fn settle(&self, _: &Settlement, _: &Ticket, _: u64) -> Result<Settled, StoreError> {
        down()
    }
    async fn release(&self, _: &Admission, _: &Ticket, _: u64) -> Result<(), StoreError> {
        down()
    }
    async fn free_place(&self, _: &Admission, _: u64) -> Result<(), StoreError> {
        down()
    }
    async fn rebuild(
        &self,
        _: &str,
        _: Option<u64>,
        _: u64,
        _: &[(Window, Charged)],
        _: u64,
    ) -> Result<bool, StoreError> {
        down()
    }
    async fn close(&self, _: &str, _: u64, _: &Window, _: u64, _: u64) -> Result<(), StoreError> {
        down()
    }
    async fn forget(&self, _: &str) -> Result<(), StoreError> {
        down()
    }

    fn take_expired(&self, _: &str) -> Vec<ExpiredHold> {
        Vec::new()
    }
    async fn acknowledge(&self, _: &str, _: &[ExpiredHold], _: u64) -> Result<(), StoreError> {
        down()
    }
    async fn usage(&self, _: &str, _: &[Window], _: u64) -> Result<Vec<Option<WindowUse>>, StoreError> {
        down()
    }
}

#[async_trait]
impl HealthStore for Down {
    async fn snapshot(&self, _: &[Arc<str>], _: u64) -> Result<Vec<ModelHealth>, StoreError> {
        down()
    }
    async fn record(&self, _: &[Observation], _: u64) -> Result<(), StoreError> {
        down()
    }
    async fn try_probe(&self, _: &Arc<str>, _: &str, _: u64, _: u64) -> Result<bool, StoreError> {
        down()
    }
}

/// A directory of which some calls fail.
struct Failing {
    inner: Arc<dyn Directory>,
    /// How many of the next updates somebody else's are faster than.
    overtaken: AtomicU64,
    /// How many calls that change a key's expiry find the directory down.
    expiries_down: AtomicU64,
    /// How many listings of tenants do.
    lists_down: AtomicU64,
    /// How many removals, of tenants and of keys, find the disk full.
    removals_unwritten: AtomicU64,
}

fn takes_one(count: &AtomicU64) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn unwritten<T>() -> Result<T, DirectoryError> {
    Err(DirectoryError::Unwritten(std::io::Error::from(std::io::ErrorKind::StorageFull).into()))
}

fn unavailable<T>() -> Result<T, DirectoryError> {
    Err(DirectoryError::Unavailable("/var/lib/secret-place is full".to_owned()))
}

#[async_trait]
impl Directory for Failing {
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<(TenantRecord, KeyRecord)>, DirectoryError> {
        self.inner.find_key(hash).await
    }
    async fn tenant(&self, id: &str) -> Result<Option<TenantRecord>, DirectoryError> {
        self.inner.tenant(id).await
    }
    async fn tenants(&self, cursor: Option<&str>, limit: usize) -> Result<Page<TenantRecord>, DirectoryError> {
        if takes_one(&self.lists_down) { unavailable() } else { self.inner.tenants(cursor, limit).await }
    }
    async fn create_tenant(&self, tenant: &TenantRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.inner.create_tenant(tenant, audit).await
    }
    async fn update_tenant(&self, tenant: &TenantRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        if takes_one(&self.overtaken) {
            // Somebody else renames the tenant just before.
            let mut other = self.inner.tenant(&tenant.id).await?.ok_or(DirectoryError::Missing)?;
            other.name.push('!');
            other.version += 1;
            self.inner.update_tenant(&other, AuditEntry { who: "somebody else".to_owned(), ..audit.clone() }).await?;
        }
        self.inner.update_tenant(tenant, audit).await
    }
    async fn delete_tenant(&self, id: &str, version: Option<u64>, audit: AuditEntry) -> Result<(), DirectoryError> {
        if takes_one(&self.removals_unwritten) {
            unwritten()
        } else {
            self.inner.delete_tenant(id, version, audit).await
        }
    }
    async fn keys(&self, tenant: &str) -> Result<Vec<KeyRecord>, DirectoryError> {
        self.inner.keys(tenant).await
    }
    async fn create_key(&self, key: &KeyRecord, audit: AuditEntry) -> Result<u64, DirectoryError> {
        self.inner.create_key(key, audit).await
    }
    async fn update_key(&self, key: &KeyRecord, audit: AuditEntry) -> Result<u64, DirectoryError> {
        if takes_one(&self.expiries_down) { unavailable() } else { self.inner.update_key(key, audit).await }
    }
    async fn delete_key(
        &self,
        tenant: &str,
        id: &str,
        version: Option<u64>,
        audit: AuditEntry,
    ) -> Result<u64, DirectoryError> {
        if takes_one(&self.removals_unwritten) {
            unwritten()
        } else {
            self.inner.delete_key(tenant, id, version, audit).await
        }
    }
    async fn find_admin(&self, hash: &KeyHash) -> Result<Option<AdminRecord>, DirectoryError> {
        self.inner.find_admin(hash).await
    }
    async fn admin(&self, id: &str) -> Result<Option<AdminRecord>, DirectoryError> {
        self.inner.admin(id).await
    }
    async fn admins(&self, cursor: Option<&str>, limit: usize) -> Result<Page<AdminRecord>, DirectoryError> {
        self.inner.admins(cursor, limit).await
    }
    async fn create_admin(&self, admin: &AdminRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.inner.create_admin(admin, audit).await
    }
    async fn update_admin(&self, admin: &AdminRecord, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.inner.update_admin(admin, audit).await
    }
    async fn delete_admin(&self, id: &str, version: u64, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.inner.delete_admin(id, version, audit).await
    }
    async fn note(&self, audit: AuditEntry) -> Result<(), DirectoryError> {
        self.inner.note(audit).await
    }
    async fn audit(&self, cursor: Option<&str>, limit: usize) -> Result<Page<AuditEntry>, DirectoryError> {
        self.inner.audit(cursor, limit).await
    }
    async fn ping(&self) -> Result<(), DirectoryError> {
        self.inner.ping().await
    }
}

async fn failing(overtaken: u64, expiries_down: u64, lists_down: u64) -> House {
    let [overtaken, expiries_down, lists_down] = [overtaken, expiries_down, lists_down].map(AtomicU64::new);
    let removals_unwritten = AtomicU64::new(0);
    let failing = |inner| Failing { inner, overtaken, expiries_down, lists_down, removals_unwritten };
    House::built(|builder| builder, |inner| Arc::new(failing(inner))).await
}

#[tokio::test]
async fn a_revocation_that_could_not_be_written_is_refused_in_words_that_say_so() {
    let none = || AtomicU64::new(0);
    let failing = |inner| Failing {
        inner,
        overtaken: none(),
        expiries_down: none(),
        lists_down: none(),
        removals_unwritten: AtomicU64::new(2),
    };
    let house = House::built(|builder| builder, |inner| Arc::new(failing(inner))).await;
    let made = house.acme().await;
    let key = format!("/admin/tenants/acme/keys/{}", made.id);
    for (path, message) in [
        (key.as_str(), "The key was NOT revoked: the disk is full; it still works."),
        ("/admin/tenants/acme", "The tenant was NOT deleted: the disk is full; its keys still work."),
    ] {
        let refused = house.ask("DELETE", path, None).await;
        assert_eq!(refused.error(), (503, "store_unavailable", None));
        assert_eq!((refused.header("retry-after"), &refused.body["error"]["message"]), ("1", &json!(message)));
        assert_eq!(house.chat(&made.key, "sim/cheap", "hello").await.status, 200, "as it says");
    }
    assert_eq!(house.ask("DELETE", &key, None).await.status, 204);
    assert_eq!(house.chat(&made.key, "sim/cheap", "hello").await.status, 401);
}

#[tokio::test]
async fn a_change_that_was_overtaken_is_made_again_on_what_the_other_left() {
    let house = failing(3, 0, 0).await;
    let key = house.acme().await.key;
    let patched = house.ask("PATCH", "/admin/tenants/acme", Some(json!({"limits": {"daily_requests": 0}}))).await;
    assert_eq!(
        (patched.status, &patched.body["name"], &patched.body["limits"]["daily_requests"]),
        (200, &json!("Acme!!!"), &json!(0))
    );
    let entry = &house.get("/admin/audit?limit=1").await.body["data"][0];
    assert_eq!((&entry["who"], &entry["before"]["name"]), (&json!("bootstrap"), &json!("Acme!!!")));
    assert_eq!(house.chat(&key, "sim/cheap", "hello").await.error().1, "quota_exceeded");
}

#[tokio::test]
async fn a_change_that_is_always_overtaken_is_a_conflict() {
    let house = failing(1000, 0, 0).await;
    house.acme().await;
    let patched = house.ask("PATCH", "/admin/tenants/acme", Some(json!({"enabled": false}))).await;
    assert_eq!(patched.error(), (409, "conflict", None));
    assert_eq!(house.get("/admin/tenants/acme").await.body["enabled"], true);
}

#[tokio::test]
async fn a_rotation_that_fails_half_way_leaves_the_old_key_and_no_other() {
    let house = failing(0, 1, 0).await;
    let made = house.acme().await;
    let rotated = house.ask("POST", &format!("/admin/tenants/acme/keys/{}/rotate", made.id), None).await;
    assert_eq!(rotated.error(), (503, "store_unavailable", None));
    assert!(rotated.text.contains("The key was NOT rotated"), "{}", rotated.text);
    let keys = house.get("/admin/tenants/acme/keys").await.body;
    assert_eq!(keys["data"].as_array().unwrap().len(), 1);
    assert_eq!((&keys["data"][0]["id"], &keys["data"][0]["expires_at_ms"]), (&json!(made.id), &json!(null)));
    assert_eq!(house.chat(&made.key, "sim/cheap", "hello").await.status, 200);
}

#[tokio::test]
async fn a_directory_that_is_down_is_503_and_tells_nothing_of_itself() {
    let house = failing(0, 0, 1).await;
    let seen = house.get("/admin/tenants").await;
    assert_eq!(seen.error(), (503, "store_unavailable", None));
    assert_eq!(seen.header("retry-after"), "1");
    assert!(!seen.text.contains("secret-place"), "{}", seen.text);
    assert_eq!(house.get("/admin/tenants").await.status, 200);
}

#[tokio::test]
async fn with_the_store_down_tenants_are_changed_and_the_ledgers_figures_are_shown() {
    let memory = Composed::in_memory(&Config::load(SHIPPED, "gateway.toml", &|_| None).unwrap());
    let store = Composed { counters: Arc::new(Down), health: Arc::new(Down), ..memory };
    let house = House::built(|builder| builder.store(Arc::new(store)), |directory| directory).await;
    let made = house.acme().await;
    let patched = house.ask("PATCH", "/admin/tenants/acme", Some(json!({"limits": {"daily_requests": 7}}))).await;
    assert_eq!(patched.status, 200);
    let key = format!("/admin/tenants/acme/keys/{}", made.id);
    for (path, pointer, value) in [
        ("/admin/tenants/acme/usage", "/requests", json!({"used": 0, "held": 0, "limit": 7})),
        ("/admin/metrics", "/models/sim~1cheap/breaker", json!("closed")),
        ("/admin/models", "/data/0/breaker", json!("closed")),
    ] {
        let seen = house.get(path).await;
        assert_eq!((seen.status, seen.header("x-gateway-degraded")), (200, "store"), "{path}");
        assert_eq!(seen.body.pointer(pointer), Some(&value), "{path}");
        assert!(!seen.text.contains("10.0.0.7"), "{path}");
    }
    assert_eq!(house.ask("DELETE", &key, None).await.status, 204);
    assert_eq!(house.ask("DELETE", "/admin/tenants/acme/cache", None).await.status, 204);
    assert_eq!(house.ask("DELETE", "/admin/tenants/acme", None).await.status, 204);
    assert_eq!(house.get("/admin/tenants/acme").await.status, 404);
}
