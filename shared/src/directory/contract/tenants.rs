//! Tenants, their pages, and the audit log.

use super::{Shared, create, create_key, entry, hash, key, outcome, tenant, version};
use crate::directory::{AuditEntry, KeyRecord};
use crate::tenant::TenantRecord;
use futures_util::future::join_all;
use serde_json::json;

async fn tenant_ids(directory: &Shared, cursor: Option<&str>, limit: usize) -> (Vec<String>, Option<String>) {
    let page = directory.tenants(cursor, limit).await.unwrap();
    (page.data.iter().map(|tenant| tenant.id.to_string()).collect(), page.next)
}

pub async fn a_fresh_directory_answers(directory: Shared) {
    directory.ping().await.unwrap();
}

pub async fn a_tenant_is_found_as_it_was_created(directory: Shared) {
    assert_eq!(directory.tenant("acme").await.unwrap(), None, "an empty directory has no tenant");
    create(&directory, "acme").await;
    assert_eq!(directory.tenant("acme").await.unwrap(), Some(tenant("acme")));
    assert_eq!(directory.tenant("acm").await.unwrap(), None, "a prefix of an id is another id");
    assert_eq!(directory.keys("acme").await.unwrap(), [], "a new tenant has no keys");
}

pub async fn a_second_tenant_of_the_same_id_is_refused(directory: Shared) {
    create(&directory, "acme").await;
    let second = TenantRecord { name: "the second".into(), ..tenant("acme") };
    assert_eq!(outcome(directory.create_tenant(&second, entry("tenant.create", "acme")).await), "exists");
    assert_eq!(directory.tenant("acme").await.unwrap(), Some(tenant("acme")), "the first one stays as it is");
}

pub async fn an_update_needs_the_version_that_was_read(directory: Shared) {
    create(&directory, "acme").await;
    let attempts = [(0, "conflict"), (1, "conflict"), (3, "conflict"), (2, "ok"), (2, "conflict"), (3, "ok")];
    for (n, (version, expected)) in attempts.into_iter().enumerate() {
        let changed = TenantRecord { name: format!("named by attempt {n}"), version, ..tenant("acme") };
        let answer = directory.update_tenant(&changed, entry("tenant.update", "acme")).await;
        assert_eq!(outcome(answer), expected, "attempt {n}, an update to version {version}");
        let stored = directory.tenant("acme").await.unwrap().unwrap();
        assert_eq!(stored == changed, expected == "ok", "what is stored after attempt {n}");
    }
}

pub async fn an_update_of_a_tenant_that_was_made_anew_meanwhile_is_refused(directory: Shared) {
    create(&directory, "acme").await;
    let update = TenantRecord { version: 2, ..tenant("acme") };
    directory.delete_tenant("acme", None, entry("tenant.delete", "acme")).await.unwrap();
    let anew = TenantRecord { uid: Some("acme~another".into()), ..tenant("acme") };
    directory.create_tenant(&anew, entry("tenant.create", "acme")).await.unwrap();
    assert_eq!(outcome(directory.update_tenant(&update, entry("tenant.update", "acme")).await), "conflict");
    assert_eq!(directory.tenant("acme").await.unwrap(), Some(anew));
}

pub async fn a_tenant_can_be_deleted_as_it_was_read_or_not_at_all(directory: Shared) {
    create(&directory, "acme").await;
    create_key(&directory, "acme", "a").await;
    for (version, expected) in [(1, "conflict"), (3, "conflict"), (2, "ok"), (2, "missing")] {
        let deleted = directory.delete_tenant("acme", Some(version), entry("tenant.delete", "acme")).await;
        assert_eq!(outcome(deleted), expected, "at version {version}");
        let is_there = directory.find_key(&hash("acme", "a")).await.unwrap().is_some();
        assert_eq!(is_there, expected == "conflict", "its key after version {version}");
    }
}

pub async fn of_many_updates_at_once_one_wins(directory: Shared) {
    create(&directory, "acme").await;
    let updates = (0..8).map(|n| {
        let changed = TenantRecord { name: format!("named by {n}"), version: 2, ..tenant("acme") };
        let directory = directory.clone();
        async move { outcome(directory.update_tenant(&changed, entry("tenant.update", "acme")).await) }
    });
    let mut outcomes = join_all(updates).await;
    outcomes.sort_unstable();
    assert_eq!(outcomes, [&["conflict"; 7][..], &["ok"]].concat(), "one of eight updates from the same version wins");
    assert_eq!(version(&directory, "acme").await, 2);
}

pub async fn what_is_not_there_is_missing(directory: Shared) {
    let audit = || entry("test", "nobody");
    let changed = TenantRecord { version: 2, ..tenant("nobody") };
    assert_eq!(outcome(directory.update_tenant(&changed, audit()).await), "missing", "update_tenant");
    assert_eq!(outcome(directory.delete_tenant("nobody", None, audit()).await), "missing", "delete_tenant");
    assert_eq!(outcome(directory.keys("nobody").await), "missing", "keys");
    assert_eq!(outcome(directory.create_key(&key("nobody", "k"), audit()).await), "missing", "create_key");
    create(&directory, "acme").await;
    for tenant in ["nobody", "acme"] {
        let expired = directory.update_key(&key(tenant, "k"), audit()).await;
        assert_eq!(outcome(expired), "missing", "update_key of {tenant}");
        assert_eq!(
            outcome(directory.delete_key(tenant, "k", None, audit()).await),
            "missing",
            "delete_key of {tenant}"
        );
    }
    assert_eq!(version(&directory, "acme").await, 1, "what is refused raises no version");
}

pub async fn a_deleted_tenant_takes_its_keys_along_and_no_others(directory: Shared) {
    // Ids next to one another, so that a range that is too wide would be noticed.
    for id in ["acm", "acme", "acme-2", "acme.a"] {
        create(&directory, id).await;
        create_key(&directory, id, "a").await;
        create_key(&directory, id, "b").await;
    }
    directory.delete_tenant("acme", None, entry("tenant.delete", "acme")).await.unwrap();
    assert_eq!(directory.tenant("acme").await.unwrap(), None);
    assert_eq!(outcome(directory.keys("acme").await), "missing");
    for id in ["a", "b"] {
        assert_eq!(directory.find_key(&hash("acme", id)).await.unwrap(), None, "key {id} works no more");
        for other in ["acm", "acme-2", "acme.a"] {
            assert!(directory.find_key(&hash(other, id)).await.unwrap().is_some(), "key {id} of {other} still works");
        }
    }
    create(&directory, "acme").await;
    assert_eq!(directory.keys("acme").await.unwrap(), [], "a tenant made anew has none of the old keys");
}

pub async fn pages_of_tenants_are_complete_ordered_and_stable(directory: Shared) {
    assert_eq!(tenant_ids(&directory, None, 5).await, (vec![], None), "an empty directory has one empty page");
    let ids: Vec<String> = (0..7).map(|n| format!("t{n}")).collect();
    for id in [3, 0, 6, 2, 5, 1, 4].map(|n: usize| &ids[n]) {
        create(&directory, id).await;
    }
    for limit in 1..=8 {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let (page, next) = tenant_ids(&directory, cursor.as_deref(), limit).await;
            assert!(page.len() == limit || next.is_none(), "only the last page is short of {limit}");
            all.extend(page);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(all, ids, "by pages of {limit}");
    }
    let (first, cursor) = tenant_ids(&directory, None, 3).await;
    assert_eq!(first, ids[..3]);
    // A row before the cursor is not shown, one behind it is, and a deleted one, even the cursor's own, is no obstacle.
    create(&directory, "t00").await;
    create(&directory, "t30").await;
    directory.delete_tenant("t2", None, entry("tenant.delete", "t2")).await.unwrap();
    let (rest, _) = tenant_ids(&directory, cursor.as_deref(), 9).await;
    assert_eq!(rest, ["t3", "t30", "t4", "t5", "t6"]);
}

pub async fn the_audit_log_is_read_from_its_newest_entry(directory: Shared) {
    assert_eq!(directory.audit(None, 5).await.unwrap().data, [], "nothing was done yet");
    for n in 0..5 {
        create(&directory, &format!("t{n}")).await;
    }
    let (mut subjects, mut cursor) = (Vec::new(), None);
    loop {
        let page = directory.audit(cursor.as_deref(), 2).await.unwrap();
        assert!(page.data.len() == 2 || page.next.is_none(), "only the last page is short");
        if cursor.is_none() {
            assert_eq!(page.data[0], entry("tenant.create", "t4"), "an entry is kept as it was given");
            // What is done while somebody reads comes before what they have read.
            create(&directory, "t5").await;
        }
        subjects.extend(page.data.into_iter().map(|entry| entry.subject));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(subjects, ["t4", "t3", "t2", "t1", "t0"]);
    assert_eq!(directory.audit(None, 1).await.unwrap().data[0].subject, "t5");
    assert_eq!(outcome(directory.audit(Some("nonsense"), 1).await), "missing", "a cursor that was never given");
}

pub async fn a_refused_change_leaves_no_audit_entry(directory: Shared) {
    create(&directory, "acme").await;
    create_key(&directory, "acme", "a").await;
    let audit = || entry("refused", "acme");
    outcome(directory.create_tenant(&tenant("acme"), audit()).await);
    outcome(directory.update_tenant(&tenant("acme"), audit()).await);
    outcome(directory.delete_tenant("nobody", None, audit()).await);
    outcome(directory.create_key(&key("acme", "a"), audit()).await);
    outcome(directory.update_key(&key("acme", "b"), audit()).await);
    outcome(directory.delete_key("acme", "b", None, audit()).await);
    let done: Vec<_> = directory.audit(None, 9).await.unwrap().data.into_iter().map(|entry| entry.what).collect();
    assert_eq!(done, ["key.create", "tenant.create"]);
}

pub async fn any_text_survives(directory: Shared) {
    let text = "Żółć & 株式会社 🦀 \"quoted\" \\ \n\t\u{0} end";
    let mut named = TenantRecord { name: text.into(), ..tenant("acme") };
    named.set.insert("allowed_models".into(), json!([text]));
    let audit = AuditEntry { who: text.into(), before: json!({text: [text]}), ..entry("tenant.create", "acme") };
    directory.create_tenant(&named, audit.clone()).await.unwrap();
    assert_eq!(directory.tenant("acme").await.unwrap(), Some(named));
    assert_eq!(directory.audit(None, 1).await.unwrap().data, [audit]);
    let id = "schlüssel 鍵";
    let key = KeyRecord { name: text.into(), last4: "日本語ß".into(), ..key("acme", id) };
    directory.create_key(&key, entry("key.create", "acme/k")).await.unwrap();
    assert_eq!(directory.keys("acme").await.unwrap(), [key]);
    directory.delete_key("acme", id, None, entry("key.revoke", "acme/k")).await.unwrap();
}
