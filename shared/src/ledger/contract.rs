//! What every [`Ledger`] does, whatever it is made of: one list of cases for all implementations.
//!
//! An implementation is held to it by one line, `ledger::contract::suite(async || fresh_one()).await`, on a runtime of
//! several threads, for the sake of the cases in which many record at once.

#![cfg(any(test, feature = "contract"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod figures;

use self::figures::{figures_are_the_fold_over_the_receipts, figures_of_large_amounts_are_exact};
use super::{Begun, Erased, IdempotencyKey, Ledger, UsageQuery, UsageRow};
use crate::id::RequestId;
use crate::limit::window::Window;
use crate::money::{Amounts, Charged, Usage};
use crate::receipt::{Attempt, AttemptKind, AttemptOutcome, CacheStatus, Intent, IntentSource, Receipt};
use crate::tenant::{id_of, uid_apart};
use bytes::Bytes;
use std::sync::Arc;
use tokio::task::JoinSet;

/// 2025-11-22 00:00:00 UTC.
pub const MIDNIGHT_MS: u64 = 1_763_769_600_000;
pub const HOUR_MS: u64 = 3_600_000;
pub const DAY_MS: u64 = 24 * HOUR_MS;
/// What the receipt of [`receipt`] counts.
pub const ONE: Amounts = Amounts { requests: 1, tokens: 21, cost_nusd: 14_790 };

/// Runs every case, each on a ledger of its own that `fresh` makes, empty, at [`MIDNIGHT_MS`].
///
/// # Panics
/// If the ledger breaks the contract; the message says which case.
pub async fn suite<L: Ledger + 'static>(fresh: impl AsyncFn() -> L) {
    a_receipt_is_read_as_it_was_recorded(&fresh().await).await;
    a_receipt_that_is_sent_again_counts_once(&fresh().await).await;
    a_receipt_that_many_send_at_once_counts_once(Arc::new(fresh().await)).await;
    many_receipts_at_once_are_all_counted(Arc::new(fresh().await)).await;
    totals_are_those_of_the_named_window_alone(&fresh().await).await;
    a_receipt_without_windows_counts_in_usage_only(&fresh().await).await;
    a_tenant_sees_nothing_of_another(&fresh().await).await;
    tenants_that_had_the_same_id_are_others(&fresh().await).await;
    what_is_erased_is_gone_and_nothing_else(&fresh().await).await;
    a_receipt_can_be_read_for_thirty_days(&fresh().await).await;
    a_late_receipt_counts_where_it_belongs(&fresh().await).await;
    usage_is_by_day_tenant_and_model(&fresh().await).await;
    usage_is_filtered(&fresh().await).await;
    pages_of_usage_are_complete_and_stable(&fresh().await).await;
    figures_are_the_fold_over_the_receipts(&fresh().await).await;
    figures_of_large_amounts_are_exact(&fresh().await).await;
    any_text_survives(&fresh().await).await;
    totals_tell_what_was_admitted_without_the_store(&fresh().await).await;
    a_grant_is_given_while_all_that_was_taken_fits(&fresh().await).await;
    of_many_grants_at_once_those_that_fit_are_given(Arc::new(fresh().await)).await;
    a_window_is_opened_once(Arc::new(fresh().await)).await;
    an_idempotency_key_is_claimed_and_answered(&fresh().await).await;
    of_many_claims_at_once_one_is_fresh(Arc::new(fresh().await)).await;
    a_claim_ends_with_its_lease(&fresh().await).await;
    a_claim_that_is_given_up_is_as_if_it_had_never_been(&fresh().await).await;
    an_idempotency_key_is_forgotten_after_a_day(&fresh().await).await;
    who_lost_the_claim_changes_nothing(&fresh().await).await;
    answers_of_every_size_survive(&fresh().await).await;
    fresh().await.ping().await.expect("a fresh ledger answers");
}

/// A receipt of one request of [`ONE`], charged to its UTC day and month.
pub fn receipt(uid: &str, created_at_ms: u64) -> Receipt {
    let usage = Usage { input_tokens: 9, cached_input_tokens: 1, output_tokens: 12, reasoning_tokens: 2 };
    let attempt = Attempt {
        model: "groq/llama-3.3-70b".into(),
        kind: AttemptKind::First,
        outcome: AttemptOutcome::Ok,
        status: Some(200),
        cause: None,
        ttft_ms: Some(180.25),
        latency_ms: 410.5,
        usage,
        cost_nusd: ONE.cost_nusd,
        estimated: false,
    };
    Receipt {
        id: RequestId::new(created_at_ms),
        tenant: id_of(uid).into(),
        tenant_uid: uid_apart(&uid.into()),
        key_last4: "x9Qz".into(),
        created_at_ms,
        status: 200,
        requested_model: "auto".into(),
        model: Some("groq/llama-3.3-70b".into()),
        tier: Some("cheap".into()),
        intent: Some(Intent { name: "greeting".into(), confidence: 0.97, source: IntentSource::Embedding }),
        difficulty: Some(0.03),
        cache: CacheStatus::Miss,
        streamed: true,
        upgraded: false,
        config_version: 1,
        tags: [("team".to_owned(), "a".to_owned())].into(),
        usage,
        cost_nusd: ONE.cost_nusd,
        estimated: false,
        latency_ms: 412.125,
        overhead_ms: 0.2,
        ttft_ms: Some(180.5),
        reasons: vec!["intent greeting goes to the tier cheap".to_owned()],
        attempts: vec![attempt],
        windows: vec![Window::day(created_at_ms, 0), Window::month(created_at_ms)],
        outage: false,
    }
}

/// `n` requests of [`ONE`].
pub fn times(n: u64) -> Amounts {
    (0..n).fold(Amounts::default(), |sum, _| sum.plus(ONE))
}

async fn record(ledger: &impl Ledger, receipt: &Receipt) {
    ledger.record(receipt).await.expect("a receipt is recorded");
}

async fn totals(ledger: &impl Ledger, tenant: &str, window: Window) -> Amounts {
    ledger.totals(tenant, &window).await.expect("totals are read").used
}

async fn usage(ledger: &impl Ledger, query: &UsageQuery) -> Vec<UsageRow> {
    let page = ledger.usage(query, None, 1000).await.expect("usage is read");
    assert_eq!(page.next, None, "all rows fit the page");
    page.data
}

pub async fn a_receipt_is_read_as_it_was_recorded(ledger: &impl Ledger) {
    let full = receipt("acme", MIDNIGHT_MS);
    let bare = Receipt {
        id: RequestId::new(MIDNIGHT_MS),
        status: 502,
        model: None,
        tier: None,
        intent: None,
        difficulty: None,
        tags: [].into(),
        ttft_ms: None,
        reasons: vec![],
        attempts: vec![],
        windows: vec![],
        ..full.clone()
    };
    record(ledger, &full).await;
    record(ledger, &bare).await;
    for expected in [full, bare] {
        let found = ledger.receipt("acme", expected.id, MIDNIGHT_MS).await.unwrap();
        assert_eq!(found, Some(expected));
    }
    let other = RequestId::new(MIDNIGHT_MS);
    assert_eq!(ledger.receipt("acme", other, MIDNIGHT_MS).await.unwrap(), None, "an id of the same instant");
}

pub async fn a_receipt_that_is_sent_again_counts_once(ledger: &impl Ledger) {
    let first = receipt("acme", MIDNIGHT_MS);
    let changed = Receipt { cost_nusd: 1, estimated: true, ..first.clone() };
    for again in [&first, &first, &changed] {
        record(ledger, again).await;
    }
    ledger.note_hit(&first).unwrap();
    for window in first.windows.iter().copied() {
        assert_eq!(totals(ledger, "acme", window).await, ONE, "in {window:?}");
    }
    let rows = usage(ledger, &UsageQuery::default()).await;
    assert_eq!(rows.iter().map(|row| (row.requests, row.cost_nusd)).collect::<Vec<_>>(), [(1, ONE.cost_nusd)]);
    let found = ledger.receipt("acme", first.id, MIDNIGHT_MS).await.unwrap();
    assert_eq!(found, Some(first), "the first one counts");
}

pub async fn a_receipt_that_many_send_at_once_counts_once<L: Ledger + 'static>(ledger: Arc<L>) {
    for n in 1..=10 {
        let sent = receipt("acme", MIDNIGHT_MS + n);
        let mut senders = JoinSet::new();
        for _ in 0..8 {
            let (ledger, sent) = (ledger.clone(), sent.clone());
            senders.spawn(async move { record(&*ledger, &sent).await });
        }
        senders.join_all().await;
        assert_eq!(totals(&*ledger, "acme", sent.windows[0]).await, times(n), "after {n} receipts, each sent 8 times");
    }
}

pub async fn many_receipts_at_once_are_all_counted<L: Ledger + 'static>(ledger: Arc<L>) {
    let mut senders = JoinSet::new();
    for _ in 0..8 {
        let ledger = ledger.clone();
        senders.spawn(async move {
            let sent: Vec<_> = (0..25).map(|n| receipt("acme", MIDNIGHT_MS + n)).collect();
            for receipt in &sent {
                record(&*ledger, receipt).await;
            }
            sent
        });
    }
    let sent = senders.join_all().await.concat();
    assert_eq!(totals(&*ledger, "acme", Window::day(MIDNIGHT_MS, 0)).await, times(200));
    for expected in sent {
        let found = ledger.receipt("acme", expected.id, MIDNIGHT_MS).await.unwrap();
        assert_eq!(found, Some(expected));
    }
}

pub async fn totals_are_those_of_the_named_window_alone(ledger: &impl Ledger) {
    let days = [MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS - 1, MIDNIGHT_MS + DAY_MS, MIDNIGHT_MS + 9 * DAY_MS];
    for created_at_ms in days {
        record(ledger, &receipt("acme", created_at_ms)).await;
    }
    // Another anchor cuts other days, even where they begin at the same instant as no other.
    let anchored = Window::day(MIDNIGHT_MS, 9 * HOUR_MS);
    record(ledger, &Receipt { windows: vec![anchored], ..receipt("acme", MIDNIGHT_MS) }).await;
    let (day, month) = (|ms| Window::day(ms, 0), Window::month);
    for (window, expected) in [
        (day(MIDNIGHT_MS), times(2)),
        (day(MIDNIGHT_MS + DAY_MS), ONE),
        (day(MIDNIGHT_MS + 2 * DAY_MS), times(0)),
        (day(MIDNIGHT_MS - DAY_MS), times(0)),
        (day(MIDNIGHT_MS + 9 * DAY_MS), ONE),
        (month(MIDNIGHT_MS), times(3)),
        (month(MIDNIGHT_MS + 9 * DAY_MS), ONE),
        (anchored, ONE),
    ] {
        assert_eq!(totals(ledger, "acme", window).await, expected, "in {window:?}");
    }
}

pub async fn a_receipt_without_windows_counts_in_usage_only(ledger: &impl Ledger) {
    record(ledger, &Receipt { windows: vec![], ..receipt("acme", MIDNIGHT_MS) }).await;
    assert_eq!(totals(ledger, "acme", Window::day(MIDNIGHT_MS, 0)).await, times(0));
    assert_eq!(usage(ledger, &UsageQuery::default()).await.len(), 1);
}

pub async fn tenants_that_had_the_same_id_are_others(ledger: &impl Ledger) {
    let all = ["acme", "acme~one", "acme~two"];
    let window = Window::day(MIDNIGHT_MS, 0);
    let key = |tenant: &str| IdempotencyKey { tenant: tenant.into(), hash: [7; 32] };
    for (before, uid) in all.into_iter().enumerate() {
        assert_eq!(totals(ledger, uid, window).await, times(0), "the totals of {uid} after {before} others");
        assert!(ledger.open_window(uid, &window).await.unwrap(), "the window of {uid}");
        assert!(ledger.grant(uid, &window, ONE, ONE).await.unwrap(), "the grant of {uid}");
        let (id, until_ms) = (RequestId::new(MIDNIGHT_MS), MIDNIGHT_MS + HOUR_MS);
        let begun = ledger.begin(&key(uid), [1; 32], id, until_ms, MIDNIGHT_MS).await.unwrap();
        assert_eq!(begun, Begun::Fresh, "the idempotency key of {uid}");
        let its = receipt(uid, MIDNIGHT_MS);
        assert_eq!((&*its.tenant, &**its.uid()), ("acme", uid));
        record(ledger, &its).await;
        for other in all {
            let found = ledger.receipt(other, its.id, MIDNIGHT_MS).await.unwrap();
            assert_eq!(found, (other == uid).then(|| its.clone()), "the receipt of {uid}, to {other}");
        }
        let query = UsageQuery { tenant: Some(uid.to_owned()), ..UsageQuery::default() };
        let rows = usage(ledger, &query).await;
        assert_eq!((rows.len(), &*rows[0].tenant, rows[0].requests), (1, uid, 1));
    }
    let rows = usage(ledger, &UsageQuery::default()).await;
    assert_eq!(rows.iter().map(|row| &*row.tenant).collect::<Vec<_>>(), all, "as rows of three tenants, in order");
}

pub async fn what_is_erased_is_gone_and_nothing_else(ledger: &impl Ledger) {
    let all = ["acm", "acme", "acme-2", "acme~one", "acme~one1"];
    let window = Window::day(MIDNIGHT_MS, 0);
    let key = |tenant: &str| IdempotencyKey { tenant: tenant.into(), hash: [7; 32] };
    let mut receipts = Vec::new();
    for uid in all {
        receipts.push(receipt(uid, MIDNIGHT_MS));
        record(ledger, receipts.last().unwrap()).await;
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
    assert_eq!((erased.receipts, erased.usage_rows), (1, 1));
    assert!(erased.others > 3, "totals, a grant, an opened window, an idempotency key: {erased:?}");
    for (uid, its) in all.into_iter().zip(&receipts) {
        let is_there = uid != "acme~one";
        let found = ledger.receipt(uid, its.id, MIDNIGHT_MS).await.unwrap();
        assert_eq!(found, is_there.then(|| its.clone()), "the receipt of {uid}");
        assert_eq!(totals(ledger, uid, window).await, times(u64::from(is_there)), "the totals of {uid}");
        assert_eq!(ledger.open_window(uid, &window).await.unwrap(), !is_there, "the window of {uid}");
        assert_eq!(ledger.grant(uid, &window, ONE, ONE).await.unwrap(), !is_there, "the grant of {uid}");
        let id = RequestId::new(MIDNIGHT_MS);
        let begun = ledger.begin(&key(uid), [1; 32], id, MIDNIGHT_MS + HOUR_MS, MIDNIGHT_MS).await.unwrap();
        assert_eq!(matches!(begun, Begun::Done(_)), is_there, "the idempotency key of {uid}");
        assert_eq!(begun == Begun::Fresh, !is_there, "the idempotency key of {uid}");
    }
    let rows = usage(ledger, &UsageQuery::default()).await;
    let left: Vec<_> = rows.iter().map(|row| &*row.tenant).collect();
    assert_eq!(left, ["acm", "acme", "acme-2", "acme~one1"]);
    let again = ledger.erase(Arc::new(|uid: &str| uid == "nobody"), None).await.unwrap();
    assert_eq!(again, Erased::default(), "nothing of nobody");
}

pub async fn a_tenant_sees_nothing_of_another(ledger: &impl Ledger) {
    let theirs = receipt("acme", MIDNIGHT_MS);
    record(ledger, &theirs).await;
    for other in ["acm", "acme2", "ACME", ""] {
        assert_eq!(ledger.receipt(other, theirs.id, MIDNIGHT_MS).await.unwrap(), None, "a receipt, to {other:?}");
        assert_eq!(totals(ledger, other, theirs.windows[0]).await, times(0), "totals, to {other:?}");
        let query = UsageQuery { tenant: Some(other.to_owned()), ..UsageQuery::default() };
        assert_eq!(usage(ledger, &query).await, [], "usage, to {other:?}");
    }
}

pub async fn a_receipt_can_be_read_for_thirty_days(ledger: &impl Ledger) {
    let old = receipt("acme", MIDNIGHT_MS);
    record(ledger, &old).await;
    for (age_ms, is_there) in [(0, true), (29 * DAY_MS, true), (30 * DAY_MS + 1, false), (400 * DAY_MS, false)] {
        let found = ledger.receipt("acme", old.id, MIDNIGHT_MS + age_ms).await.unwrap();
        assert_eq!(found.is_some(), is_there, "{age_ms} ms after it was made");
    }
    assert_eq!(totals(ledger, "acme", old.windows[0]).await, ONE, "totals do not age with it");
}

pub async fn a_late_receipt_counts_where_it_belongs(ledger: &impl Ledger) {
    let late: Vec<_> = (1..=5).map(|n| receipt("acme", MIDNIGHT_MS - n * DAY_MS)).collect();
    record(ledger, &receipt("acme", MIDNIGHT_MS + DAY_MS)).await;
    for _ in 0..2 {
        for receipt in &late {
            record(ledger, receipt).await;
        }
    }
    for receipt in &late {
        assert_eq!(totals(ledger, "acme", receipt.windows[0]).await, ONE, "its own day, once");
        let found = ledger.receipt("acme", receipt.id, MIDNIGHT_MS).await.unwrap();
        assert_eq!(found.as_ref(), Some(receipt));
    }
    assert_eq!(usage(ledger, &UsageQuery::default()).await.len(), 6);
}

pub async fn usage_is_by_day_tenant_and_model(ledger: &impl Ledger) {
    let miss = receipt("acme", MIDNIGHT_MS);
    record(ledger, &miss).await;
    record(ledger, &receipt("acme", MIDNIGHT_MS + DAY_MS - 1)).await;
    let nothing = Usage::default();
    for (cache, n) in [(CacheStatus::Hit, 1), (CacheStatus::HitSemantic, 2), (CacheStatus::Bypass, 3)] {
        let id = RequestId::new(MIDNIGHT_MS + n);
        ledger.note_hit(&Receipt { id, cache, usage: nothing, cost_nusd: 0, ..miss.clone() }).unwrap();
    }
    record(ledger, &Receipt { model: None, ..receipt("acme", MIDNIGHT_MS) }).await;
    let rows = usage(ledger, &UsageQuery::default()).await;
    let row = |model: &str, requests, cache_hits, receipts| UsageRow {
        day: "2025-11-22".to_owned(),
        tenant: "acme".into(),
        model: model.into(),
        requests,
        cache_hits,
        input_tokens: receipts * 9,
        output_tokens: receipts * 12,
        cost_nusd: receipts * ONE.cost_nusd,
    };
    assert_eq!(rows, [row("", 1, 0, 1), row("groq/llama-3.3-70b", 5, 2, 2)]);
}

/// Three days, two tenants, three models: 18 rows, each of several hours.
async fn record_eighteen_rows(ledger: &impl Ledger) -> Vec<(String, String, String)> {
    let mut keys = Vec::new();
    for (n, day) in ["2025-11-22", "2025-11-23", "2025-11-24"].into_iter().enumerate() {
        for tenant in ["acme", "zeta"] {
            for model in ["", "a/b", "a/b/c"] {
                for hour in [0, 9, 23] {
                    let received = receipt(tenant, MIDNIGHT_MS + n as u64 * DAY_MS + hour * HOUR_MS);
                    record(ledger, &Receipt { model: Some(model.into()), ..received }).await;
                }
                keys.push((day.to_owned(), tenant.to_owned(), model.to_owned()));
            }
        }
    }
    keys
}

fn keys(rows: &[UsageRow]) -> Vec<(String, String, String)> {
    rows.iter().map(|row| (row.day.clone(), row.tenant.to_string(), row.model.to_string())).collect()
}

pub async fn usage_is_filtered(ledger: &impl Ledger) {
    let all = record_eighteen_rows(ledger).await;
    let text = |text: &str| Some(text.to_owned());
    let none = UsageQuery::default;
    for (query, count) in [
        (none(), 18),
        (UsageQuery { from: text("2025-11-23"), ..none() }, 12),
        (UsageQuery { to: text("2025-11-23"), ..none() }, 12),
        (UsageQuery { from: text("2025-11-23"), to: text("2025-11-23"), ..none() }, 6),
        (UsageQuery { from: text("2025-11-25"), ..none() }, 0),
        (UsageQuery { from: text("2025-11-24"), to: text("2025-11-22"), ..none() }, 0),
        (UsageQuery { tenant: text("zeta"), ..none() }, 9),
        (UsageQuery { tenant: text("zet"), ..none() }, 0),
        (UsageQuery { model: text("a/b"), ..none() }, 6),
        (UsageQuery { model: text(""), ..none() }, 6),
        (UsageQuery { tenant: text("acme"), model: text("a/b/c"), to: text("2025-11-22"), ..none() }, 1),
    ] {
        let rows = usage(ledger, &query).await;
        let expected: Vec<_> = all
            .iter()
            .filter(|(day, ..)| query.from.as_ref().is_none_or(|from| day >= from))
            .filter(|(day, ..)| query.to.as_ref().is_none_or(|to| day <= to))
            .filter(|(_, tenant, _)| query.tenant.as_ref().is_none_or(|asked| tenant == asked))
            .filter(|(_, _, model)| query.model.as_ref().is_none_or(|asked| model == asked))
            .cloned()
            .collect();
        assert_eq!(expected.len(), count, "{query:?}");
        assert_eq!(keys(&rows), expected, "{query:?}");
    }
}

pub async fn pages_of_usage_are_complete_and_stable(ledger: &impl Ledger) {
    let all = record_eighteen_rows(ledger).await;
    let models: Vec<_> = all.iter().filter(|(_, _, model)| model == "a/b").cloned().collect();
    for (model, expected) in [(None, &all), (Some("a/b".to_owned()), &models)] {
        for limit in [1, 2, 5, 6, 17, 18, 19] {
            let query = UsageQuery { model: model.clone(), ..UsageQuery::default() };
            let (mut rows, mut cursor) = (Vec::new(), None);
            loop {
                let page = ledger.usage(&query, cursor.as_deref(), limit).await.unwrap();
                assert!(page.data.len() == limit || page.next.is_none(), "only the last page is short of {limit}");
                rows.extend(page.data);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
                // What is counted while somebody reads adds to a row and makes no other.
                record(ledger, &Receipt { model: Some("a/b".into()), ..receipt("acme", MIDNIGHT_MS) }).await;
            }
            assert_eq!(keys(&rows), *expected, "of {model:?}, by pages of {limit}");
        }
    }
}

pub async fn any_text_survives(ledger: &impl Ledger) {
    let text = "Żółć & 株式会社 🦀 \"quoted\" \\ \n\r\t\u{0} \u{2028} end";
    let odd = Receipt {
        key_last4: "日本語ß".into(),
        model: Some(text.into()),
        requested_model: text.into(),
        tags: [(text.to_owned(), text.to_owned())].into(),
        reasons: vec![text.to_owned(); 3],
        latency_ms: 0.1 + 0.2,
        ..receipt("acme", MIDNIGHT_MS)
    };
    record(ledger, &odd).await;
    record(ledger, &receipt("acme", MIDNIGHT_MS)).await;
    let found = ledger.receipt("acme", odd.id, MIDNIGHT_MS).await.unwrap();
    assert_eq!(found, Some(odd));
    let query = UsageQuery { model: Some(text.to_owned()), ..UsageQuery::default() };
    assert_eq!(usage(ledger, &query).await.len(), 1);
}

pub async fn totals_tell_what_was_admitted_without_the_store(ledger: &impl Ledger) {
    for outage in [false, true, true] {
        record(ledger, &Receipt { outage, ..receipt("acme", MIDNIGHT_MS) }).await;
    }
    for window in [Window::day(MIDNIGHT_MS, 0), Window::month(MIDNIGHT_MS)] {
        let found = ledger.totals("acme", &window).await.unwrap();
        assert_eq!(found, Charged { used: times(3), outage: times(2) }, "in {window:?}");
    }
}

const fn amounts(requests: u64, tokens: u64, cost_nusd: u64) -> Amounts {
    Amounts { requests, tokens, cost_nusd }
}

pub async fn a_grant_is_given_while_all_that_was_taken_fits(ledger: &impl Ledger) {
    let (day, next) = (Window::day(MIDNIGHT_MS, 0), Window::day(MIDNIGHT_MS + DAY_MS, 0));
    let most = amounts(10, 100, u64::MAX);
    let steps = [
        // tenant, window, more, most, whether it is given
        ("acme", day, amounts(11, 0, 0), most, false),
        ("acme", day, amounts(4, 60, u64::MAX), most, true),
        ("acme", day, amounts(4, 41, 0), most, false),
        ("acme", day, amounts(7, 0, 0), most, false),
        ("acme", day, amounts(6, 40, 0), most, true),
        ("acme", day, amounts(0, 0, 0), most, true),
        ("acme", day, amounts(0, 1, 0), most, false),
        // The most may change meanwhile: what was taken stays taken.
        ("acme", day, amounts(0, 0, 0), amounts(9, 100, u64::MAX), false),
        ("acme", day, amounts(5, 50, 0), amounts(15, 150, u64::MAX), true),
        ("acme", day, amounts(0, 0, 0), most, false),
        ("acme", next, amounts(10, 100, 0), most, true),
        ("acm", day, amounts(10, 100, 0), most, true),
        ("acm", day, amounts(1, 0, 0), most, false),
    ];
    for (step, (tenant, window, more, most, is_given)) in steps.into_iter().enumerate() {
        assert_eq!(ledger.grant(tenant, &window, more, most).await.unwrap(), is_given, "step {step}");
    }
    assert_eq!(totals(ledger, "acme", day).await, times(0), "a grant is not usage");
}

pub async fn of_many_grants_at_once_those_that_fit_are_given<L: Ledger + 'static>(ledger: Arc<L>) {
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

pub async fn a_window_is_opened_once<L: Ledger + 'static>(ledger: Arc<L>) {
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

const BODY: [u8; 32] = [7; 32];

fn idempotency_key(tenant: &str, first: u8) -> IdempotencyKey {
    let mut hash = [0; 32];
    hash[0] = first;
    IdempotencyKey { tenant: tenant.into(), hash }
}

/// Begins with [`BODY`] and a lease of a minute.
async fn begin(ledger: &impl Ledger, key: &IdempotencyKey, request: RequestId, now_ms: u64) -> Begun {
    ledger.begin(key, BODY, request, now_ms + 60_000, now_ms).await.expect("a claim is answered")
}

async fn finish(ledger: &impl Ledger, key: &IdempotencyKey, request: RequestId, answer: Option<&Bytes>, now_ms: u64) {
    ledger.finish(key, request, answer.cloned(), now_ms).await.expect("a claim is ended");
}

pub async fn an_idempotency_key_is_claimed_and_answered(ledger: &impl Ledger) {
    let (key, now_ms) = (idempotency_key("acme", 1), MIDNIGHT_MS);
    let (first, second) = (RequestId::new(now_ms), RequestId::new(now_ms));
    assert_eq!(begin(ledger, &key, first, now_ms).await, Begun::Fresh);
    assert_eq!(begin(ledger, &key, first, now_ms).await, Begun::Fresh, "asked again by the same request");
    assert_eq!(begin(ledger, &key, second, now_ms).await, Begun::Running);
    let other_body = ledger.begin(&key, [8; 32], second, now_ms + 60_000, now_ms).await.unwrap();
    assert_eq!(other_body, Begun::Mismatch);
    for (tenant, hash) in [("acme", 2), ("acm", 1)] {
        let other = idempotency_key(tenant, hash);
        assert_eq!(begin(ledger, &other, second, now_ms).await, Begun::Fresh, "{tenant} {hash}: another key");
    }
    let answer = Bytes::from_static(b"the answer");
    finish(ledger, &key, first, Some(&answer), now_ms + 1).await;
    for (who, at_ms) in [(first, 2), (second, 2), (second, 60_001), (second, DAY_MS - 1)] {
        assert_eq!(begin(ledger, &key, who, now_ms + at_ms).await, Begun::Done(answer.clone()), "after {at_ms} ms");
    }
    let other_body = ledger.begin(&key, [8; 32], second, now_ms + 60_000, now_ms + 2).await.unwrap();
    assert_eq!(other_body, Begun::Mismatch, "an answer is for its own body");
}

pub async fn of_many_claims_at_once_one_is_fresh<L: Ledger + 'static>(ledger: Arc<L>) {
    let key = idempotency_key("acme", 1);
    let mut askers = JoinSet::new();
    for n in 0..12 {
        let (ledger, key) = (ledger.clone(), key.clone());
        askers.spawn(async move { begin(&*ledger, &key, RequestId::new(MIDNIGHT_MS + n), MIDNIGHT_MS).await });
    }
    let told = askers.join_all().await;
    assert_eq!(told.iter().filter(|begun| **begun == Begun::Fresh).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|begun| **begun == Begun::Running).count(), 11, "{told:?}");
}

pub async fn a_claim_ends_with_its_lease(ledger: &impl Ledger) {
    let (key, now_ms) = (idempotency_key("acme", 1), MIDNIGHT_MS);
    let [first, second, third] = [1, 2, 3].map(|n| RequestId::new(now_ms + n));
    assert_eq!(begin(ledger, &key, first, now_ms).await, Begun::Fresh);
    assert_eq!(begin(ledger, &key, second, now_ms + 59_999).await, Begun::Running, "a millisecond before its end");
    let other_body = ledger.begin(&key, [8; 32], second, now_ms + 120_000, now_ms + 60_000).await.unwrap();
    assert_eq!(other_body, Begun::Fresh, "at its end, even for another body");
    assert_eq!(begin(ledger, &key, third, now_ms + 60_001).await, Begun::Mismatch, "the body is now the second's");
    finish(ledger, &key, first, Some(&Bytes::from_static(b"late")), now_ms + 60_002).await;
    let told = ledger.begin(&key, [8; 32], third, now_ms + 120_000, now_ms + 60_003).await.unwrap();
    assert_eq!(told, Begun::Running, "the first one's answer comes too late");
    // Nobody took it over, so that an answer after the lease still counts.
    let key = idempotency_key("acme", 2);
    assert_eq!(begin(ledger, &key, first, now_ms).await, Begun::Fresh);
    let answer = Bytes::from_static(b"slow");
    finish(ledger, &key, first, Some(&answer), now_ms + 70_000).await;
    assert_eq!(begin(ledger, &key, second, now_ms + 70_001).await, Begun::Done(answer));
}

pub async fn a_claim_that_is_given_up_is_as_if_it_had_never_been(ledger: &impl Ledger) {
    let (key, now_ms) = (idempotency_key("acme", 1), MIDNIGHT_MS);
    let (first, second) = (RequestId::new(now_ms), RequestId::new(now_ms));
    assert_eq!(begin(ledger, &key, first, now_ms).await, Begun::Fresh);
    finish(ledger, &key, first, None, now_ms + 1).await;
    let other_body = ledger.begin(&key, [8; 32], second, now_ms + 60_000, now_ms + 2).await.unwrap();
    assert_eq!(other_body, Begun::Fresh);
}

pub async fn an_idempotency_key_is_forgotten_after_a_day(ledger: &impl Ledger) {
    let now_ms = MIDNIGHT_MS;
    let (first, second) = (RequestId::new(now_ms), RequestId::new(now_ms));
    let small = Bytes::from_static(b"small");
    let large = Bytes::from(vec![b'x'; 1 << 20]);
    for (n, answer) in [(1, &small), (2, &large)] {
        let key = idempotency_key("acme", n);
        assert_eq!(begin(ledger, &key, first, now_ms).await, Begun::Fresh);
        finish(ledger, &key, first, Some(answer), now_ms + 1).await;
        assert_eq!(begin(ledger, &key, second, now_ms + DAY_MS - 1).await, Begun::Done(answer.clone()));
        assert_eq!(begin(ledger, &key, second, now_ms + DAY_MS).await, Begun::Fresh);
        finish(ledger, &key, second, Some(&small), now_ms + DAY_MS + 1).await;
        assert_eq!(begin(ledger, &key, first, now_ms + DAY_MS + 2).await, Begun::Done(small.clone()), "the new answer");
    }
}

pub async fn who_lost_the_claim_changes_nothing(ledger: &impl Ledger) {
    let (key, now_ms) = (idempotency_key("acme", 1), MIDNIGHT_MS);
    let [first, second, third] = [1, 2, 3].map(|n| RequestId::new(now_ms + n));
    finish(ledger, &key, first, Some(&Bytes::from_static(b"never begun")), now_ms).await;
    assert_eq!(begin(ledger, &key, second, now_ms).await, Begun::Fresh, "nothing was begun, nothing is ended");
    for answer in [None, Some(&Bytes::from_static(b"not mine"))] {
        finish(ledger, &key, first, answer, now_ms + 1).await;
        assert_eq!(begin(ledger, &key, third, now_ms + 2).await, Begun::Running, "{answer:?} of another request");
    }
    let answer = Bytes::from_static(b"mine");
    finish(ledger, &key, second, Some(&answer), now_ms + 3).await;
    for again in [None, Some(&Bytes::from_static(b"again"))] {
        finish(ledger, &key, second, again, now_ms + 4).await;
        assert_eq!(begin(ledger, &key, third, now_ms + 5).await, Begun::Done(answer.clone()), "{again:?} of the same");
    }
}

pub async fn answers_of_every_size_survive(ledger: &impl Ledger) {
    let now_ms = MIDNIGHT_MS;
    let (first, second) = (RequestId::new(now_ms), RequestId::new(now_ms));
    for (n, length) in (0..).zip([0, 1, 349_999, 350_000, 350_001, 700_000, 5 << 20]) {
        let key = idempotency_key("acme", n);
        // Every byte there is, and no part like another.
        let answer: Bytes = (0..length).map(|at: u32| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect();
        assert_eq!(begin(ledger, &key, first, now_ms).await, Begun::Fresh);
        finish(ledger, &key, first, Some(&answer), now_ms).await;
        assert!(begin(ledger, &key, second, now_ms).await == Begun::Done(answer), "an answer of {length} bytes");
    }
}
