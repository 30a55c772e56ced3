//! Keys: found by their hash; each change raises their tenant's version.

use super::{Shared, create, create_key, entry, expiry, hash, key, outcome, tenant, version};
use crate::directory::{Expiry, KeyRecord};
use crate::tenant::Limits;
use crate::tenant::TenantRecord;
use futures_util::future::join_all;

pub async fn a_key_is_found_by_its_hash_and_by_no_other(directory: Shared) {
    create(&directory, "acme").await;
    create(&directory, "other").await;
    let raised = create_key(&directory, "acme", "ci").await;
    create_key(&directory, "other", "ci").await;
    let (owner, found) = directory.find_key(&hash("acme", "ci")).await.unwrap().expect("the key is found");
    assert_eq!(found, key("acme", "ci"));
    assert_eq!(owner, TenantRecord { version: raised, ..tenant("acme") }, "with its own tenant, at its new version");
    assert_eq!(directory.find_key(&hash("acme", "cd")).await.unwrap(), None, "an unknown hash finds nothing");
}

pub async fn a_key_id_is_unique_within_its_tenant_and_a_hash_everywhere(directory: Shared) {
    create(&directory, "acme").await;
    create(&directory, "other").await;
    create_key(&directory, "acme", "ci").await;
    let same_id = KeyRecord { hash: hash("acme", "new").hex(), ..key("acme", "ci") };
    let same_hash = KeyRecord { hash: hash("acme", "ci").hex(), ..key("other", "cd") };
    for (name, again) in [("id", same_id), ("hash", same_hash)] {
        assert_eq!(outcome(directory.create_key(&again, entry("key.create", "ci")).await), "exists", "the same {name}");
    }
    assert_eq!(directory.keys("acme").await.unwrap(), [key("acme", "ci")]);
    assert_eq!(directory.find_key(&hash("acme", "new")).await.unwrap(), None, "a refused key does not work");
    assert_eq!((version(&directory, "acme").await, version(&directory, "other").await), (2, 1));
    create_key(&directory, "other", "ci").await;
}

pub async fn every_change_of_a_key_raises_its_tenants_version_by_one(directory: Shared) {
    create(&directory, "acme").await;
    create(&directory, "other").await;
    let audit = || entry("key.change", "acme/a");
    assert_eq!(create_key(&directory, "acme", "a").await, 2);
    let retired = Expiry { retires_at_ms: Some(6), ..expiry(9) };
    for (expected, expiry) in [(3, expiry(7)), (4, retired), (5, Expiry::default())] {
        let own = expected - 2;
        for other in [own - 1, own + 1] {
            let changed = KeyRecord { version: other + 1, ..super::key("acme", "a") };
            let refused = directory.update_key(&changed, audit()).await;
            assert_eq!(outcome(refused), "conflict", "from version {other} of the key, and not {own}");
            let refused = directory.delete_key("acme", "a", Some(other), audit()).await;
            assert_eq!(outcome(refused), "conflict", "removed at version {other}");
        }
        let models = Some(vec![format!("model {own}")]);
        let limits = Some(Limits { daily_cost_nusd: Some(own), ..Limits::default() });
        let first = Some(format!("key {own}").into());
        let key = KeyRecord { allowed_models: models, limits, first, ..key("acme", "a").with_expiry(expiry) };
        let key = KeyRecord { version: own + 1, ..key };
        let anew = KeyRecord { hash: hash("acme", "b").hex(), ..key.clone() };
        assert_eq!(outcome(directory.update_key(&anew, audit()).await), "conflict", "another key of its id");
        assert_eq!(directory.update_key(&key, audit()).await.unwrap(), expected);
        let (owner, found) = directory.find_key(&hash("acme", "a")).await.unwrap().unwrap();
        assert_eq!((owner.version, &found), (expected, &key), "as it is found");
        assert_eq!(directory.keys("acme").await.unwrap(), [found], "as it is listed");
    }
    assert_eq!(directory.delete_key("acme", "a", Some(4), audit()).await.unwrap(), 6);
    assert_eq!(version(&directory, "acme").await, 6);
    assert_eq!(version(&directory, "other").await, 1, "another tenant's version stays");
    let stale = TenantRecord { version: 2, ..tenant("acme") };
    assert_eq!(outcome(directory.update_tenant(&stale, audit()).await), "conflict", "an update from before the keys");
}

pub async fn keys_created_at_once_each_raise_the_version(directory: Shared) {
    create(&directory, "acme").await;
    let mut versions = join_all(["a", "b", "c", "d"].map(|id| create_key(&directory, "acme", id))).await;
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5], "each change has a version of its own");
    let ids: Vec<_> = directory.keys("acme").await.unwrap().into_iter().map(|key| key.id).collect();
    assert_eq!(ids, ["a", "b", "c", "d"].map(std::sync::Arc::<str>::from), "in the order of their ids");
}

pub async fn a_deleted_key_is_gone_and_the_others_stay(directory: Shared) {
    create(&directory, "acme").await;
    for id in ["a", "ab", "b"] {
        create_key(&directory, "acme", id).await;
    }
    directory.delete_key("acme", "a", None, entry("key.revoke", "acme/a")).await.unwrap();
    assert_eq!(directory.find_key(&hash("acme", "a")).await.unwrap(), None, "a revoked key finds nothing");
    assert_eq!(directory.keys("acme").await.unwrap(), [key("acme", "ab"), key("acme", "b")]);
    assert!(directory.find_key(&hash("acme", "ab")).await.unwrap().is_some());
    create_key(&directory, "acme", "a").await;
    assert!(directory.find_key(&hash("acme", "a")).await.unwrap().is_some(), "an id may be used again");
}
