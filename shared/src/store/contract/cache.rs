//! Remembered answers.

use super::NOW;
use crate::store::{CacheKey, MAX_NOTE_BYTES, NOTES_KEPT, ResponseCache};
use bytes::Bytes;
use std::sync::Arc;
use tokio::task::JoinSet;

type Cache = Arc<dyn ResponseCache>;

fn key(tenant: &str, number: u8) -> CacheKey {
    CacheKey { tenant: tenant.into(), hash: [number; 32] }
}

async fn got(cache: &Cache, key: &CacheKey, after_ms: u64) -> Option<Bytes> {
    cache.get(key, NOW + after_ms).await.unwrap()
}

async fn put(cache: &Cache, key: &CacheKey, value: &'static [u8], ttl_ms: u64) {
    cache.put(key, Bytes::from_static(value), ttl_ms, NOW).await.unwrap();
}

pub async fn what_was_put_is_got_to_the_byte(cache: Cache) {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let values = [Bytes::new(), Bytes::from(all_bytes), Bytes::from("é🙂\r\n\0"), Bytes::from(vec![7; 256 << 10])];
    for (number, value) in values.into_iter().enumerate() {
        let key = key("acme", u8::try_from(number).unwrap());
        assert_eq!(got(&cache, &key, 0).await, None, "nothing is remembered yet");
        cache.put(&key, value.clone(), 60_000, NOW).await.unwrap();
        assert_eq!(got(&cache, &key, 0).await, Some(value));
    }
}

pub async fn an_answer_is_forgotten_when_its_time_is_over(cache: Cache) {
    put(&cache, &key("acme", 1), b"a", 1_000).await;
    put(&cache, &key("acme", 2), b"b", 30 * 86_400_000).await;
    assert_eq!(got(&cache, &key("acme", 1), 999).await.as_deref(), Some(&b"a"[..]));
    assert_eq!(got(&cache, &key("acme", 1), 1_000).await, None);
    assert_eq!(got(&cache, &key("acme", 1), 1_001).await, None);
    assert_eq!(got(&cache, &key("acme", 2), 30 * 86_400_000 - 1).await.as_deref(), Some(&b"b"[..]));
}

pub async fn what_is_put_again_replaces_value_and_time(cache: Cache) {
    put(&cache, &key("acme", 1), b"long", 60_000).await;
    put(&cache, &key("acme", 1), b"short", 1_000).await;
    assert_eq!(got(&cache, &key("acme", 1), 0).await.as_deref(), Some(&b"short"[..]));
    assert_eq!(got(&cache, &key("acme", 1), 1_000).await, None);
    put(&cache, &key("acme", 1), b"longer", 90_000).await;
    assert_eq!(got(&cache, &key("acme", 1), 89_999).await.as_deref(), Some(&b"longer"[..]));
}

pub async fn keys_and_tenants_are_apart(cache: Cache) {
    // Tenants whose names might run together with what stands beside them in a backend's key.
    let keys = [key("acme", 1), key("acme", 2), key("acme2", 1), key("a", 1), key("acme:1", 1), key("ACME", 1)];
    for (number, key) in keys.iter().enumerate() {
        cache.put(key, Bytes::from(number.to_string()), 60_000, NOW).await.unwrap();
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(got(&cache, key, 0).await, Some(Bytes::from(number.to_string())), "{key:?}");
    }
    let mut near = key("acme", 1);
    near.hash[31] = 0;
    assert_eq!(got(&cache, &near, 0).await, None, "every byte of the hash counts");
}

pub async fn a_purge_takes_all_of_one_tenant_and_nothing_of_another(cache: Cache) {
    cache.purge("acme").await.unwrap();
    for number in 0..20 {
        put(&cache, &key("acme", number), b"a", 60_000).await;
        put(&cache, &key("acme2", number), b"b", 60_000).await;
    }
    cache.purge("acme").await.unwrap();
    for number in 0..20 {
        assert_eq!(got(&cache, &key("acme", number), 0).await, None);
        assert_eq!(got(&cache, &key("acme2", number), 0).await.as_deref(), Some(&b"b"[..]));
    }
    put(&cache, &key("acme", 1), b"again", 60_000).await;
    assert_eq!(got(&cache, &key("acme", 1), 0).await.as_deref(), Some(&b"again"[..]));
}

pub async fn many_at_once_get_one_value_or_another_and_never_a_mixture(cache: Cache) {
    let mut tasks = JoinSet::new();
    for writer in 0..16u8 {
        let cache = cache.clone();
        tasks.spawn(async move {
            for _ in 0..20 {
                cache.put(&key("acme", 1), Bytes::from(vec![writer; 10_000]), 60_000, NOW).await.unwrap();
                let value = got(&cache, &key("acme", 1), 0).await.expect("somebody has put something");
                assert!(value.len() == 10_000 && value.iter().all(|byte| *byte == value[0]));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

async fn notes(cache: &Cache, group: &CacheKey, after_ms: u64) -> Vec<Bytes> {
    cache.notes(group, NOW + after_ms).await.unwrap()
}

async fn note(cache: &Cache, group: &CacheKey, note: &str, ttl_ms: u64) {
    cache.note(group, note.to_owned().into(), ttl_ms, NOW).await.unwrap();
}

pub async fn a_group_has_its_latest_notes_for_their_time(cache: Cache) {
    let (group, other) = (key("acme", 1), key("acme", 2));
    assert!(notes(&cache, &group, 0).await.is_empty());
    put(&cache, &group, b"an answer under the same hash", 60_000).await;
    for (text, ttl_ms) in [("first", 1_000), ("second", 60_000), ("\0\r\n", 2_000)] {
        note(&cache, &group, text, ttl_ms).await;
    }
    note(&cache, &other, "of another group", 60_000).await;
    assert_eq!(notes(&cache, &group, 0).await, ["\0\r\n", "second", "first"]);
    assert_eq!(notes(&cache, &group, 1_000).await, ["\0\r\n", "second"]);
    assert_eq!(notes(&cache, &group, 2_000).await, ["second"], "a later note that expires earlier takes nothing along");
    assert_eq!(notes(&cache, &other, 0).await, ["of another group"]);
    assert_eq!(got(&cache, &group, 0).await.as_deref(), Some(&b"an answer under the same hash"[..]));
}

pub async fn a_group_is_bounded_in_number_and_a_note_in_bytes(cache: Cache) {
    let group = key("acme", 1);
    for number in 0..NOTES_KEPT + 10 {
        note(&cache, &group, &number.to_string(), 60_000).await;
    }
    note(&cache, &group, &"x".repeat(MAX_NOTE_BYTES + 1), 60_000).await;
    let kept = notes(&cache, &group, 0).await;
    assert_eq!((kept.len(), &kept[0][..]), (NOTES_KEPT, (NOTES_KEPT + 9).to_string().as_bytes()));
}

pub async fn a_purge_takes_the_notes_of_one_tenant(cache: Cache) {
    for tenant in ["acme", "acme2"] {
        note(&cache, &key(tenant, 1), tenant, 60_000).await;
    }
    cache.purge("acme").await.unwrap();
    assert!(notes(&cache, &key("acme", 1), 0).await.is_empty());
    assert_eq!(notes(&cache, &key("acme2", 1), 0).await, ["acme2"]);
    note(&cache, &key("acme", 1), "again", 60_000).await;
    assert_eq!(notes(&cache, &key("acme", 1), 0).await, ["again"]);
}
