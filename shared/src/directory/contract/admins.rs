//! Admins: found by their token's hash, changed from the version that was read.

use super::{Shared, entry, hash, outcome};
use crate::admin::{AdminRecord, Role};
use futures_util::future::join_all;

fn admin(id: &str) -> AdminRecord {
    AdminRecord {
        id: id.into(),
        name: format!("{id} 鍵"),
        role: Role::Operator,
        hash: hash("admin", id).hex(),
        prefix: "gw_admin_abcd".into(),
        last4: "wxyz".into(),
        created_at_ms: 1_763_820_000_003,
        expires_at_ms: Some(1_763_820_000_004),
        version: 1,
    }
}

async fn create_admin(directory: &Shared, id: &str) -> AdminRecord {
    directory.create_admin(&admin(id), entry("admin.create", id)).await.expect("an admin is created");
    admin(id)
}

pub async fn an_admin_is_found_by_id_and_by_the_tokens_hash(directory: Shared) {
    assert_eq!(directory.admin("ann").await.unwrap(), None, "an empty directory has no admin");
    assert_eq!(directory.find_admin(&hash("admin", "ann")).await.unwrap(), None);
    let (ann, bob) = (create_admin(&directory, "ann").await, create_admin(&directory, "bob").await);
    for admin in [&ann, &bob] {
        assert_eq!(directory.admin(&admin.id).await.unwrap().as_ref(), Some(admin));
        assert_eq!(directory.find_admin(&hash("admin", &admin.id)).await.unwrap().as_ref(), Some(admin));
    }
    assert_eq!(directory.find_admin(&hash("admin", "an")).await.unwrap(), None, "an unknown hash finds nobody");
    assert_eq!(directory.find_key(&hash("admin", "ann")).await.unwrap(), None, "an admin's token is no key");
}

pub async fn an_admins_id_and_hash_are_taken_once(directory: Shared) {
    let ann = create_admin(&directory, "ann").await;
    let same_id = AdminRecord { hash: hash("admin", "new").hex(), ..ann.clone() };
    let same_hash = AdminRecord { id: "bob".into(), ..ann.clone() };
    for (name, again) in [("id", same_id), ("hash", same_hash)] {
        assert_eq!(
            outcome(directory.create_admin(&again, entry("admin.create", "x")).await),
            "exists",
            "the same {name}"
        );
    }
    assert_eq!(directory.admins(None, 9).await.unwrap().data, [ann]);
    assert_eq!(directory.find_admin(&hash("admin", "new")).await.unwrap(), None, "a refused admin is not let in");
}

pub async fn an_admin_is_changed_from_the_version_that_was_read(directory: Shared) {
    create_admin(&directory, "ann").await;
    let attempts = [(0, "conflict"), (1, "conflict"), (3, "conflict"), (2, "ok"), (2, "conflict"), (3, "ok")];
    for (n, (version, expected)) in attempts.into_iter().enumerate() {
        let changed = AdminRecord { name: format!("attempt {n}"), role: Role::ALL[n % 3], version, ..admin("ann") };
        let answer = directory.update_admin(&changed, entry("admin.update", "ann")).await;
        assert_eq!(outcome(answer), expected, "attempt {n}, to version {version}");
        for found in [directory.admin("ann").await, directory.find_admin(&hash("admin", "ann")).await] {
            assert_eq!(found.unwrap().unwrap() == changed, expected == "ok", "what is stored after attempt {n}");
        }
    }
    for (version, expected) in [(2, "conflict"), (4, "conflict"), (3, "ok"), (3, "missing")] {
        let deleted = directory.delete_admin("ann", version, entry("admin.delete", "ann")).await;
        assert_eq!(outcome(deleted), expected, "deleted at version {version}");
    }
    let late = AdminRecord { version: 4, ..admin("ann") };
    assert_eq!(outcome(directory.update_admin(&late, entry("admin.update", "ann")).await), "missing");
}

pub async fn a_token_that_was_replaced_or_deleted_finds_nobody(directory: Shared) {
    let (ann, bob) = (create_admin(&directory, "ann").await, create_admin(&directory, "bob").await);
    let rotated = AdminRecord { hash: hash("admin", "new").hex(), version: 2, ..ann.clone() };
    directory.update_admin(&rotated, entry("admin.rotate", "ann")).await.unwrap();
    assert_eq!(directory.find_admin(&hash("admin", "ann")).await.unwrap(), None, "the old token");
    assert_eq!(directory.find_admin(&hash("admin", "new")).await.unwrap(), Some(rotated));
    directory.delete_admin("ann", 2, entry("admin.delete", "ann")).await.unwrap();
    assert_eq!(directory.find_admin(&hash("admin", "new")).await.unwrap(), None, "a deleted admin's token");
    assert_eq!(directory.find_admin(&hash("admin", "bob")).await.unwrap(), Some(bob), "another's works");
}

pub async fn of_many_changes_of_an_admin_at_once_one_wins(directory: Shared) {
    create_admin(&directory, "ann").await;
    let changes = (0..8).map(|n| {
        let hash = if n % 2 == 0 { hash("admin", "ann") } else { hash("admin", &format!("new {n}")) };
        let changed = AdminRecord { name: format!("by {n}"), hash: hash.hex(), version: 2, ..admin("ann") };
        let directory = directory.clone();
        async move { outcome(directory.update_admin(&changed, entry("admin.update", "ann")).await) }
    });
    let mut outcomes = join_all(changes).await;
    outcomes.sort_unstable();
    assert_eq!(outcomes, [&["conflict"; 7][..], &["ok"]].concat());
    let stored = directory.admin("ann").await.unwrap().unwrap();
    let mut found = 0;
    for id in ["ann", "new 1", "new 3", "new 5", "new 7"] {
        if let Some(admin) = directory.find_admin(&hash("admin", id)).await.unwrap() {
            assert_eq!(admin, stored);
            found += 1;
        }
    }
    assert_eq!(found, 1, "one token works");
}

pub async fn pages_of_admins_are_complete_and_ordered(directory: Shared) {
    for id in ["c", "a", "e", "b", "d"] {
        create_admin(&directory, id).await;
    }
    for limit in 1..=6 {
        let (mut all, mut cursor) = (String::new(), None::<String>);
        loop {
            let page = directory.admins(cursor.as_deref(), limit).await.unwrap();
            assert!(page.data.len() == limit || page.next.is_none(), "only the last page is short of {limit}");
            all.extend(page.data.iter().map(|admin| &*admin.id));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(all, "abcde", "by pages of {limit}");
    }
}

pub async fn a_change_of_an_admin_is_in_the_audit_log_and_a_refused_one_is_not(directory: Shared) {
    let ann = create_admin(&directory, "ann").await;
    let refused = || entry("refused", "ann");
    outcome(directory.create_admin(&ann, refused()).await);
    outcome(directory.update_admin(&ann, refused()).await);
    outcome(directory.delete_admin("ann", 7, refused()).await);
    outcome(directory.delete_admin("bob", 1, refused()).await);
    let from = Some("2001:db8::7".parse().unwrap());
    let known = crate::directory::AuditEntry { from, ..entry("admin.update", "ann") };
    directory.update_admin(&AdminRecord { version: 2, ..ann }, known.clone()).await.unwrap();
    directory.delete_admin("ann", 2, entry("admin.delete", "ann")).await.unwrap();
    let log = directory.audit(None, 9).await.unwrap().data;
    assert_eq!(log, [entry("admin.delete", "ann"), known, entry("admin.create", "ann")]);
}
