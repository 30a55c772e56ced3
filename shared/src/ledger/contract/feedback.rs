//! What is said of receipts, and going through all of them.

use super::{DAY_MS, MIDNIGHT_MS, Shared, receipt, record};
use crate::feedback::{Feedback, Rating, Verdict};
use crate::id::RequestId;
use crate::ledger::ReceiptQuery;
use crate::receipt::Receipt;
use std::ops::RangeInclusive;
use tokio::task::JoinSet;

fn said(verdict: Verdict, comment: Option<&str>, created_at_ms: u64) -> Feedback {
    Feedback { verdict, comment: comment.map(Into::into), created_at_ms }
}

async fn kept(ledger: &Shared, tenant: &str, id: RequestId) -> Option<Feedback> {
    ledger.receipt(tenant, id, MIDNIGHT_MS).await.unwrap().and_then(|receipt| receipt.feedback)
}

pub async fn what_is_said_last_of_a_receipt_is_kept_beside_it(ledger: Shared) {
    let (one, other) = (receipt("acme", MIDNIGHT_MS), receipt("acme", MIDNIGHT_MS));
    for receipt in [&one, &other] {
        record(&ledger, receipt).await;
    }
    assert_eq!(kept(&ledger, "acme", one.id).await, None);
    let odd = "株式会社 🦀 \"quoted\" \\ \n\t\u{2028} end";
    for feedback in [
        said(Verdict::Rating(Rating::Bad), Some(odd), MIDNIGHT_MS + 1),
        said(Verdict::Rating(Rating::Bad), Some(odd), MIDNIGHT_MS + 1),
        said(Verdict::Score(0.1 + 0.2), None, MIDNIGHT_MS + 2),
        // Whose clock is behind speaks later all the same.
        said(Verdict::Rating(Rating::Good), Some(&"é".repeat(500)), MIDNIGHT_MS),
    ] {
        assert!(ledger.keep_feedback("acme", one.id, &feedback, MIDNIGHT_MS).await.unwrap());
        assert_eq!(kept(&ledger, "acme", one.id).await, Some(feedback));
    }
    assert_eq!(kept(&ledger, "acme", other.id).await, None, "of the other one nothing was said");
    // A receipt that is sent again takes nothing away.
    record(&ledger, &one).await;
    let found = ledger.receipt("acme", one.id, MIDNIGHT_MS).await.unwrap().unwrap();
    assert!(found.feedback.is_some());
    assert_eq!(Receipt { feedback: None, ..found }, one);
}

pub async fn only_a_receipt_of_this_tenant_that_is_there_takes_feedback(ledger: Shared) {
    let mine = receipt("acme", MIDNIGHT_MS);
    record(&ledger, &mine).await;
    let bad = said(Verdict::Rating(Rating::Bad), None, MIDNIGHT_MS);
    for (tenant, id, now_ms, is_kept) in [
        ("other", mine.id, MIDNIGHT_MS, false),
        ("acme~0123456789abcdef", mine.id, MIDNIGHT_MS, false),
        ("acme", RequestId::new(MIDNIGHT_MS), MIDNIGHT_MS, false),
        ("acme", mine.id, MIDNIGHT_MS + 30 * DAY_MS + 1, false),
        ("acme", mine.id, MIDNIGHT_MS + 30 * DAY_MS, true),
    ] {
        assert_eq!(ledger.keep_feedback(tenant, id, &bad, now_ms).await.unwrap(), is_kept, "{tenant} {id} {now_ms}");
        assert_eq!(kept(&ledger, "acme", mine.id).await.is_some(), is_kept);
    }
    // What came too early was not kept for later.
    let late = receipt("acme", MIDNIGHT_MS);
    assert!(!ledger.keep_feedback("acme", late.id, &bad, MIDNIGHT_MS).await.unwrap());
    record(&ledger, &late).await;
    assert_eq!(kept(&ledger, "acme", late.id).await, None);
}

pub async fn of_many_that_speak_at_once_one_is_heard_whole(ledger: Shared) {
    let mine = receipt("acme", MIDNIGHT_MS);
    record(&ledger, &mine).await;
    let each = |n: u32| said(Verdict::Score(f64::from(n) / 8.0), Some(&n.to_string()), MIDNIGHT_MS + u64::from(n));
    let mut speakers = JoinSet::new();
    for n in 0..8 {
        let (ledger, id) = (ledger.clone(), mine.id);
        speakers.spawn(async move { ledger.keep_feedback("acme", id, &each(n), MIDNIGHT_MS).await.unwrap() });
    }
    assert_eq!(speakers.join_all().await, [true; 8]);
    let heard = kept(&ledger, "acme", mine.id).await.unwrap();
    assert!((0..8).any(|n| each(n) == heard), "{heard:?}");
}

async fn all(ledger: &Shared, tenant: Option<&str>, created_ms: RangeInclusive<u64>) -> Vec<Receipt> {
    let query = ReceiptQuery { tenant: tenant.map(Into::into), created_ms };
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = ledger.receipts(&query, cursor.as_deref()).await.unwrap();
        all.extend(page.data);
        cursor = page.next;
        if cursor.is_none() {
            all.sort_unstable_by_key(|receipt| receipt.id);
            return all;
        }
    }
}

pub async fn receipts_are_gone_through_page_by_page(ledger: Shared) {
    assert_eq!(all(&ledger, None, 0..=u64::MAX).await, []);
    // More than a page.
    let long = |n: u64| Receipt { reasons: vec!["why ".repeat(20_000)], ..receipt("acme", MIDNIGHT_MS + n) };
    let mut mine: Vec<Receipt> = (0..40).map(long).collect();
    mine.push(receipt("acme", MIDNIGHT_MS + 2 * DAY_MS));
    let theirs = receipt("other", MIDNIGHT_MS + 5);
    for receipt in mine.iter().chain([&theirs]) {
        record(&ledger, receipt).await;
    }
    let bad = said(Verdict::Rating(Rating::Bad), None, MIDNIGHT_MS);
    ledger.keep_feedback("acme", mine[3].id, &bad, MIDNIGHT_MS).await.unwrap();
    mine[3].feedback = Some(bad);
    mine.sort_unstable_by_key(|receipt| receipt.id);
    assert_eq!(all(&ledger, Some("acme"), 0..=u64::MAX).await, mine);
    assert_eq!(all(&ledger, Some("other"), 0..=u64::MAX).await, [theirs]);
    assert_eq!(all(&ledger, None, 0..=u64::MAX).await.len(), 42);
    let some = all(&ledger, Some("acme"), MIDNIGHT_MS + 3..=MIDNIGHT_MS + 4).await;
    assert_eq!(
        some.iter().map(|receipt| receipt.created_at_ms).collect::<Vec<_>>(),
        [MIDNIGHT_MS + 3, MIDNIGHT_MS + 4]
    );
    let late = MIDNIGHT_MS + DAY_MS..=MIDNIGHT_MS + 3 * DAY_MS;
    assert_eq!(all(&ledger, None, late).await.len(), 1);
    let query = ReceiptQuery { tenant: None, created_ms: 0..=u64::MAX };
    assert!(ledger.receipts(&query, Some("no cursor")).await.is_err());
}

pub async fn receipts_of_a_tenant_come_newest_first(ledger: Shared) {
    let mut mine = Vec::new();
    for n in 0..130 {
        mine.push(receipt("acme", MIDNIGHT_MS + n % 3 * DAY_MS + n));
        record(&ledger, &receipt("other", MIDNIGHT_MS + n)).await;
    }
    mine.push(receipt("acme", MIDNIGHT_MS + 20 * DAY_MS));
    mine.sort_unstable_by_key(|receipt| receipt.id);
    for receipt in &mine {
        record(&ledger, receipt).await;
    }
    mine.reverse();
    let query = |created_ms| ReceiptQuery { tenant: Some("acme".into()), created_ms };
    for created_ms in [0..=u64::MAX, MIDNIGHT_MS + 5..=MIDNIGHT_MS + 2 * DAY_MS + 50] {
        let expected: Vec<_> = mine.iter().filter(|receipt| created_ms.contains(&receipt.created_at_ms)).collect();
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = ledger.receipts(&query(created_ms.clone()), cursor.as_deref()).await.unwrap();
            all.extend(page.data);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(all.iter().collect::<Vec<_>>(), expected);
    }
    assert!(ledger.receipts(&query(0..=u64::MAX), Some("no cursor")).await.is_err());
}
