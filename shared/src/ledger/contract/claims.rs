//! What one of many is given: grants, windows to open, idempotency keys.

use super::{DAY_MS, MIDNIGHT_MS, Shared, times, totals};
use crate::id::RequestId;
use crate::ledger::{Begun, IdempotencyKey};
use crate::limit::window::Window;
use crate::money::Amounts;
use bytes::Bytes;
use tokio::task::JoinSet;

const BODY: [u8; 32] = [7; 32];

const fn amounts(requests: u64, tokens: u64, cost_nusd: u64) -> Amounts {
    Amounts { requests, tokens, cost_nusd }
}

fn idempotency_key(tenant: &str, first: u8) -> IdempotencyKey {
    let mut hash = [0; 32];
    hash[0] = first;
    IdempotencyKey { tenant: tenant.into(), hash }
}

/// Begins with [`BODY`] and a lease of a minute.
async fn begin(ledger: &Shared, key: &IdempotencyKey, request: RequestId, now_ms: u64) -> Begun {
    ledger.begin(key, BODY, request, now_ms + 60_000, now_ms).await.expect("a claim is answered")
}

async fn finish(ledger: &Shared, key: &IdempotencyKey, request: RequestId, answer: Option<&Bytes>, now_ms: u64) {
    ledger.finish(key, request, answer.cloned(), now_ms).await.expect("a claim is ended");
}

pub async fn a_grant_is_given_while_all_that_was_taken_fits(ledger: Shared) {
    let (day, next) = (Window::day(MIDNIGHT_MS, 0), Window::day(MIDNIGHT_MS + DAY_MS, 0));
    let max = amounts(10, 100, u64::MAX);
    let steps = [
        // tenant, window, more, most, whether it is given
        ("acme", day, amounts(11, 0, 0), max, false),
        ("acme", day, amounts(4, 60, u64::MAX), max, true),
        ("acme", day, amounts(4, 41, 0), max, false),
        ("acme", day, amounts(7, 0, 0), max, false),
        ("acme", day, amounts(6, 40, 0), max, true),
        ("acme", day, amounts(0, 0, 0), max, true),
        ("acme", day, amounts(0, 1, 0), max, false),
        // The most may change meanwhile: what was taken stays taken.
        ("acme", day, amounts(0, 0, 0), amounts(9, 100, u64::MAX), false),
        ("acme", day, amounts(5, 50, 0), amounts(15, 150, u64::MAX), true),
        ("acme", day, amounts(0, 0, 0), max, false),
        ("acme", next, amounts(10, 100, 0), max, true),
        ("acm", day, amounts(10, 100, 0), max, true),
        ("acm", day, amounts(1, 0, 0), max, false),
    ];
    for (step, (tenant, window, more, max, is_given)) in steps.into_iter().enumerate() {
        assert_eq!(ledger.grant(tenant, &window, more, max).await.unwrap(), is_given, "step {step}");
    }
    assert_eq!(totals(&ledger, "acme", day).await, times(0), "a grant is not usage");
}

pub async fn of_many_grants_at_once_those_that_fit_are_given(ledger: Shared) {
    let window = Window::day(MIDNIGHT_MS, 0);
    let mut askers = JoinSet::new();
    for _ in 0..16 {
        let ledger = ledger.clone();
        askers
            .spawn(async move { ledger.grant("acme", &window, amounts(3, 1, 7), amounts(20, 99, 999)).await.unwrap() });
    }
    let given = askers.join_all().await.into_iter().filter(|given| *given).count();
    assert_eq!(given, 6, "of 16 times 3 requests, those within 20");
}

pub async fn a_window_is_opened_once(ledger: Shared) {
    let window = Window::day(MIDNIGHT_MS, 0);
    let mut openers = JoinSet::new();
    for _ in 0..8 {
        let ledger = ledger.clone();
        openers.spawn(async move { ledger.open_window("acme", &window).await.unwrap() });
    }
    assert_eq!(openers.join_all().await.into_iter().filter(|first| *first).count(), 1, "of eight at once");
    assert!(!ledger.open_window("acme", &window).await.unwrap(), "and never again");
    for (tenant, other) in
        [("acm", window), ("acme", Window::month(MIDNIGHT_MS)), ("acme", Window::day(MIDNIGHT_MS, 7))]
    {
        assert!(ledger.open_window(tenant, &other).await.unwrap(), "{tenant}, {other:?}: another window");
    }
}

pub async fn an_idempotency_key_is_claimed_and_answered(ledger: Shared) {
    let (key, now_ms) = (idempotency_key("acme", 1), MIDNIGHT_MS);
    let (first, second) = (RequestId::new(now_ms), RequestId::new(now_ms));
    assert_eq!(begin(&ledger, &key, first, now_ms).await, Begun::Fresh);
    assert_eq!(begin(&ledger, &key, first, now_ms).await, Begun::Fresh, "asked again by the same request");
    assert_eq!(begin(&ledger, &key, second, now_ms).await, Begun::Running);
    let other_body = ledger.begin(&key, [8; 32], second, now_ms + 60_000, now_ms).await.unwrap();
    assert_eq!(other_body, Begun::Mismatch);
    for (tenant, hash) in [("acme", 2), ("acm", 1)] {
        let other = idempotency_key(tenant, hash);
        assert_eq!(begin(&ledger, &other, second, now_ms).await, Begun::Fresh, "{tenant} {hash}: another key");
    }
    let answer = Bytes::from_static(b"the answer");
    finish(&ledger, &key, first, Some(&answer), now_ms + 1).await;
    for (who, at_ms) in [(first, 2), (second, 2), (second, 60_001), (second, DAY_MS - 1)] {
        assert_eq!(begin(&ledger, &key, who, now_ms + at_ms).await, Begun::Done(answer.clone()), "after {at_ms} ms");
    }
    let other_body = ledger.begin(&key, [8; 32], second, now_ms + 60_000, now_ms + 2).await.unwrap();
    assert_eq!(other_body, Begun::Mismatch, "an answer is for its own body");
}

pub async fn of_many_claims_at_once_one_is_fresh(ledger: Shared) {
    let key = idempotency_key("acme", 1);
    let mut askers = JoinSet::new();
    for n in 0..12 {
        let (ledger, key) = (ledger.clone(), key.clone());
        askers.spawn(async move { begin(&ledger, &key, RequestId::new(MIDNIGHT_MS + n), MIDNIGHT_MS).await });
    }
    let begun = askers.join_all().await;
    assert_eq!(begun.iter().filter(|begun| **begun == Begun::Fresh).count(), 1, "{begun:?}");
    assert_eq!(begun.iter().filter(|begun| **begun == Begun::Running).count(), 11, "{begun:?}");
}

pub async fn a_claim_ends_with_its_lease(ledger: Shared) {
    let (key, now_ms) = (idempotency_key("acme", 1), MIDNIGHT_MS);
    let [first, second, third] = [1, 2, 3].map(|n| RequestId::new(now_ms + n));
    assert_eq!(begin(&ledger, &key, first, now_ms).await, Begun::Fresh);
    assert_eq!(begin(&ledger, &key, second, now_ms + 59_999).await, Begun::Running, "a millisecond before its end");
    let other_body = ledger.begin(&key, [8; 32], second, now_ms + 120_000, now_ms + 60_000).await.unwrap();
    assert_eq!(other_body, Begun::Fresh, "at its end, even for another body");
    assert_eq!(begin(&ledger, &key, third, now_ms + 60_001).await, Begun::Mismatch, "the body is now the second's");
    finish(&ledger, &key, first, Some(&Bytes::from_static(b"late")), now_ms + 60_002).await;
    let begun = ledger.begin(&key, [8; 32], third, now_ms + 120_000, now_ms + 60_003).await.unwrap();
    assert_eq!(begun, Begun::Running, "the first one's answer comes too late");
    // Nobody took it over, so that an answer after the lease still counts.
    let key = idempotency_key("acme", 2);
    assert_eq!(begin(&ledger, &key, first, now_ms).await, Begun::Fresh);
    let answer = Bytes::from_static(b"slow");
    finish(&ledger, &key, first, Some(&answer), now_ms + 70_000).await;
    assert_eq!(begin(&ledger, &key, second, now_ms + 70_001).await, Begun::Done(answer));
}

pub async fn a_claim_that_is_given_up_is_as_if_it_had_never_been(ledger: Shared) {
    let (key, now_ms) = (idempotency_key("acme", 1), MIDNIGHT_MS);
    let (first, second) = (RequestId::new(now_ms), RequestId::new(now_ms));
    assert_eq!(begin(&ledger, &key, first, now_ms).await, Begun::Fresh);
    finish(&ledger, &key, first, None, now_ms + 1).await;
    let other_body = ledger.begin(&key, [8; 32], second, now_ms + 60_000, now_ms + 2).await.unwrap();
    assert_eq!(other_body, Begun::Fresh);
}

pub async fn an_idempotency_key_is_forgotten_after_a_day(ledger: Shared) {
    let now_ms = MIDNIGHT_MS;
    let (first, second) = (RequestId::new(now_ms), RequestId::new(now_ms));
    let small = Bytes::from_static(b"small");
    let large = Bytes::from(vec![b'x'; 1 << 20]);
    for (n, answer) in [(1, &small), (2, &large)] {
        let key = idempotency_key("acme", n);
        assert_eq!(begin(&ledger, &key, first, now_ms).await, Begun::Fresh);
        finish(&ledger, &key, first, Some(answer), now_ms + 1).await;
        assert_eq!(begin(&ledger, &key, second, now_ms + DAY_MS - 1).await, Begun::Done(answer.clone()));
        assert_eq!(begin(&ledger, &key, second, now_ms + DAY_MS).await, Begun::Fresh);
        finish(&ledger, &key, second, Some(&small), now_ms + DAY_MS + 1).await;
        assert_eq!(
            begin(&ledger, &key, first, now_ms + DAY_MS + 2).await,
            Begun::Done(small.clone()),
            "the new answer"
        );
    }
}

pub async fn who_lost_the_claim_changes_nothing(ledger: Shared) {
    let (key, now_ms) = (idempotency_key("acme", 1), MIDNIGHT_MS);
    let [first, second, third] = [1, 2, 3].map(|n| RequestId::new(now_ms + n));
    finish(&ledger, &key, first, Some(&Bytes::from_static(b"never begun")), now_ms).await;
    assert_eq!(begin(&ledger, &key, second, now_ms).await, Begun::Fresh, "nothing was begun, nothing is ended");
    for answer in [None, Some(&Bytes::from_static(b"not mine"))] {
        finish(&ledger, &key, first, answer, now_ms + 1).await;
        assert_eq!(begin(&ledger, &key, third, now_ms + 2).await, Begun::Running, "{answer:?} of another request");
    }
    let answer = Bytes::from_static(b"mine");
    finish(&ledger, &key, second, Some(&answer), now_ms + 3).await;
    for again in [None, Some(&Bytes::from_static(b"again"))] {
        finish(&ledger, &key, second, again, now_ms + 4).await;
        assert_eq!(begin(&ledger, &key, third, now_ms + 5).await, Begun::Done(answer.clone()), "{again:?} of the same");
    }
}

pub async fn answers_of_every_size_survive(ledger: Shared) {
    let now_ms = MIDNIGHT_MS;
    let (first, second) = (RequestId::new(now_ms), RequestId::new(now_ms));
    for (n, length) in (0..).zip([0, 1, 349_999, 350_000, 350_001, 700_000, 5 << 20]) {
        let key = idempotency_key("acme", n);
        // Every byte there is, and no part like another.
        let answer: Bytes = (0..length).map(|at: u32| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect();
        assert_eq!(begin(&ledger, &key, first, now_ms).await, Begun::Fresh);
        finish(&ledger, &key, first, Some(&answer), now_ms).await;
        assert!(begin(&ledger, &key, second, now_ms).await == Begun::Done(answer), "an answer of {length} bytes");
    }
}
