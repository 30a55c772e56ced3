//! What is of one tenant, and of no other.

use super::{HOUR_MS, MIDNIGHT_MS, ONE, Shared, receipt, record, times, totals, usage};
use crate::id::RequestId;
use crate::ledger::{Begun, Column, Erased, IdempotencyKey, TagQuery, UsageQuery};
use crate::limit::window::Window;
use bytes::Bytes;
use std::sync::Arc;

pub async fn a_tenant_sees_nothing_of_another(ledger: Shared) {
    let theirs = receipt("acme", MIDNIGHT_MS);
    record(&ledger, &theirs).await;
    for other in ["acm", "acme2", "ACME", ""] {
        assert_eq!(ledger.receipt(other, theirs.id, MIDNIGHT_MS).await.unwrap(), None, "a receipt, to {other:?}");
        assert_eq!(totals(&ledger, other, theirs.windows[0]).await, times(0), "totals, to {other:?}");
        let query = UsageQuery { tenant: Some(other.to_owned()), ..UsageQuery::default() };
        assert_eq!(usage(&ledger, &query).await, [], "usage, to {other:?}");
    }
}

pub async fn tenants_that_had_the_same_id_are_others(ledger: Shared) {
    let all = ["acme", "acme~one", "acme~two"];
    let window = Window::day(MIDNIGHT_MS, 0);
    let key = |tenant: &str| IdempotencyKey { tenant: tenant.into(), hash: [7; 32] };
    for (before, uid) in all.into_iter().enumerate() {
        assert_eq!(totals(&ledger, uid, window).await, times(0), "the totals of {uid} after {before} others");
        assert!(ledger.open_window(uid, &window).await.unwrap(), "the window of {uid}");
        assert!(ledger.grant(uid, &window, ONE, ONE).await.unwrap(), "the grant of {uid}");
        let (id, until_ms) = (RequestId::new(MIDNIGHT_MS), MIDNIGHT_MS + HOUR_MS);
        let begun = ledger.begin(&key(uid), [1; 32], id, until_ms, MIDNIGHT_MS).await.unwrap();
        assert_eq!(begun, Begun::Fresh, "the idempotency key of {uid}");
        let its = receipt(uid, MIDNIGHT_MS);
        assert_eq!((&*its.tenant, &**its.uid()), ("acme", uid));
        record(&ledger, &its).await;
        for other in all {
            let found = ledger.receipt(other, its.id, MIDNIGHT_MS).await.unwrap();
            assert_eq!(found, (other == uid).then(|| its.clone()), "the receipt of {uid}, to {other}");
        }
        let query = UsageQuery { tenant: Some(uid.to_owned()), ..UsageQuery::default() };
        let rows = usage(&ledger, &query).await;
        assert_eq!((rows.len(), &*rows[0].tenant, rows[0].requests), (1, uid, 1));
    }
    let rows = usage(&ledger, &UsageQuery::default()).await;
    assert_eq!(rows.iter().map(|row| &*row.tenant).collect::<Vec<_>>(), all, "as rows of three tenants, in order");
}

pub async fn what_is_erased_is_gone_and_nothing_else(ledger: Shared) {
    let all = ["acm", "acme", "acme-2", "acme~one", "acme~one1"];
    let window = Window::day(MIDNIGHT_MS, 0);
    let key = |tenant: &str| IdempotencyKey { tenant: tenant.into(), hash: [7; 32] };
    let mut receipts = Vec::new();
    for uid in all {
        receipts.push(receipt(uid, MIDNIGHT_MS));
        record(&ledger, receipts.last().unwrap()).await;
        assert!(ledger.grant(uid, &window, ONE, ONE).await.unwrap());
        assert!(ledger.open_window(uid, &window).await.unwrap());
        let id = RequestId::new(MIDNIGHT_MS);
        ledger.begin(&key(uid), [1; 32], id, MIDNIGHT_MS + HOUR_MS, MIDNIGHT_MS).await.unwrap();
        ledger.finish(&key(uid), id, Some(Bytes::from(vec![b'a'; 400_000])), MIDNIGHT_MS).await.unwrap();
    }
    let (mut erased, mut cursor) = (Erased::default(), None);
    loop {
        let some = ledger.erase(Arc::new(|uid: &str| uid == "acme~one"), cursor.as_deref()).await.unwrap();
        erased.receipts += some.receipts;
        erased.usage_rows += some.usage_rows;
        erased.others += some.others;
        cursor = some.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((erased.receipts, erased.usage_rows), (1, 2), "a row of all, and one by tag");
    assert!(erased.others > 3, "totals, a grant, an opened window, an idempotency key: {erased:?}");
    for (uid, its) in all.into_iter().zip(&receipts) {
        let is_there = uid != "acme~one";
        let found = ledger.receipt(uid, its.id, MIDNIGHT_MS).await.unwrap();
        assert_eq!(found, is_there.then(|| its.clone()), "the receipt of {uid}");
        assert_eq!(totals(&ledger, uid, window).await, times(u64::from(is_there)), "the totals of {uid}");
        assert_eq!(ledger.open_window(uid, &window).await.unwrap(), !is_there, "the window of {uid}");
        assert_eq!(ledger.grant(uid, &window, ONE, ONE).await.unwrap(), !is_there, "the grant of {uid}");
        let id = RequestId::new(MIDNIGHT_MS);
        let begun = ledger.begin(&key(uid), [1; 32], id, MIDNIGHT_MS + HOUR_MS, MIDNIGHT_MS).await.unwrap();
        assert_eq!(matches!(begun, Begun::Done(_)), is_there, "the idempotency key of {uid}");
        assert_eq!(begun == Begun::Fresh, !is_there, "the idempotency key of {uid}");
    }
    let query = UsageQuery::default();
    let rows = usage(&ledger, &query).await;
    let left: Vec<_> = rows.iter().map(|row| &*row.tenant).collect();
    assert_eq!(left, ["acm", "acme", "acme-2", "acme~one1"]);
    let query = UsageQuery { tag: Some(TagQuery { key: "team".to_owned(), value: Some("a".to_owned()) }), ..query };
    let rows = ledger.usage_by(&query, &[Column::Tenant].into()).await.unwrap();
    assert_eq!(rows.iter().map(|row| &*row.tenant).collect::<Vec<_>>(), left, "by tag");
    let again = ledger.erase(Arc::new(|uid: &str| uid == "nobody"), None).await.unwrap();
    assert_eq!(again, Erased::default(), "nothing of nobody");
}
