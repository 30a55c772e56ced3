//! Receipts, once each, and the totals of windows that they add up to.

use super::{DAY_MS, HOUR_MS, MIDNIGHT_MS, ONE, Shared, receipt, record, times, totals, usage};
use crate::id::RequestId;
use crate::ledger::UsageQuery;
use crate::limit::window::Window;
use crate::money::Charged;
use crate::receipt::Receipt;
use tokio::task::JoinSet;

pub async fn a_fresh_ledger_answers(ledger: Shared) {
    ledger.ping().await.unwrap();
}

pub async fn a_receipt_is_read_as_it_was_recorded(ledger: Shared) {
    let full = receipt("acme", MIDNIGHT_MS);
    let bare = Receipt {
        id: RequestId::new(MIDNIGHT_MS),
        status: 502,
        model: None,
        tier: None,
        intent: None,
        difficulty: None,
        doubt: None,
        tags: [].into(),
        ttft_ms: None,
        reasons: vec![],
        attempts: vec![],
        windows: vec![],
        ..full.clone()
    };
    record(&ledger, &full).await;
    record(&ledger, &bare).await;
    for expected in [full, bare] {
        let found = ledger.receipt("acme", expected.id, MIDNIGHT_MS).await.unwrap();
        assert_eq!(found, Some(expected));
    }
    let other = RequestId::new(MIDNIGHT_MS);
    assert_eq!(ledger.receipt("acme", other, MIDNIGHT_MS).await.unwrap(), None, "an id of the same instant");
}

pub async fn a_receipt_that_is_sent_again_counts_once(ledger: Shared) {
    let first = receipt("acme", MIDNIGHT_MS);
    let changed = Receipt { cost_nusd: 1, estimated: true, ..first.clone() };
    for again in [&first, &first, &changed] {
        record(&ledger, again).await;
    }
    ledger.note_hit(&first).unwrap();
    for window in first.windows.iter().copied() {
        assert_eq!(totals(&ledger, "acme", window).await, ONE, "in {window:?}");
    }
    let rows = usage(&ledger, &UsageQuery::default()).await;
    assert_eq!(rows.iter().map(|row| (row.requests, row.cost_nusd)).collect::<Vec<_>>(), [(1, ONE.cost_nusd)]);
    let found = ledger.receipt("acme", first.id, MIDNIGHT_MS).await.unwrap();
    assert_eq!(found, Some(first), "the first one counts");
}

pub async fn a_receipt_that_many_send_at_once_counts_once(ledger: Shared) {
    for n in 1..=10 {
        let sent = receipt("acme", MIDNIGHT_MS + n);
        let mut senders = JoinSet::new();
        for _ in 0..8 {
            let (ledger, sent) = (ledger.clone(), sent.clone());
            senders.spawn(async move { record(&ledger, &sent).await });
        }
        senders.join_all().await;
        assert_eq!(totals(&ledger, "acme", sent.windows[0]).await, times(n), "after {n} receipts, each sent 8 times");
    }
}

pub async fn many_receipts_at_once_are_all_counted(ledger: Shared) {
    let mut senders = JoinSet::new();
    for _ in 0..8 {
        let ledger = ledger.clone();
        senders.spawn(async move {
            let sent: Vec<_> = (0..25).map(|n| receipt("acme", MIDNIGHT_MS + n)).collect();
            for receipt in &sent {
                record(&ledger, receipt).await;
            }
            sent
        });
    }
    let sent = senders.join_all().await.concat();
    assert_eq!(totals(&ledger, "acme", Window::day(MIDNIGHT_MS, 0)).await, times(200));
    for expected in sent {
        let found = ledger.receipt("acme", expected.id, MIDNIGHT_MS).await.unwrap();
        assert_eq!(found, Some(expected));
    }
}

pub async fn totals_are_those_of_the_named_window_alone(ledger: Shared) {
    let days = [MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS - 1, MIDNIGHT_MS + DAY_MS, MIDNIGHT_MS + 9 * DAY_MS];
    for created_at_ms in days {
        record(&ledger, &receipt("acme", created_at_ms)).await;
    }
    // Another anchor cuts other days, even where they begin at the same instant as no other.
    let anchored = Window::day(MIDNIGHT_MS, 9 * HOUR_MS);
    record(&ledger, &Receipt { windows: vec![anchored], ..receipt("acme", MIDNIGHT_MS) }).await;
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
        assert_eq!(totals(&ledger, "acme", window).await, expected, "in {window:?}");
    }
}

pub async fn a_receipt_without_windows_counts_in_usage_only(ledger: Shared) {
    record(&ledger, &Receipt { windows: vec![], ..receipt("acme", MIDNIGHT_MS) }).await;
    assert_eq!(totals(&ledger, "acme", Window::day(MIDNIGHT_MS, 0)).await, times(0));
    assert_eq!(usage(&ledger, &UsageQuery::default()).await.len(), 1);
}

pub async fn totals_tell_what_was_admitted_without_the_store(ledger: Shared) {
    for outage in [false, true, true] {
        record(&ledger, &Receipt { outage, ..receipt("acme", MIDNIGHT_MS) }).await;
    }
    for window in [Window::day(MIDNIGHT_MS, 0), Window::month(MIDNIGHT_MS)] {
        let found = ledger.totals("acme", &window).await.unwrap();
        assert_eq!(found, Charged { used: times(3), outage: times(2) }, "in {window:?}");
    }
}

pub async fn a_receipt_can_be_read_for_thirty_days(ledger: Shared) {
    let old = receipt("acme", MIDNIGHT_MS);
    record(&ledger, &old).await;
    for (age_ms, is_there) in [(0, true), (29 * DAY_MS, true), (30 * DAY_MS + 1, false), (400 * DAY_MS, false)] {
        let found = ledger.receipt("acme", old.id, MIDNIGHT_MS + age_ms).await.unwrap();
        assert_eq!(found.is_some(), is_there, "{age_ms} ms after it was made");
    }
    assert_eq!(totals(&ledger, "acme", old.windows[0]).await, ONE, "totals do not age with it");
}

pub async fn a_late_receipt_counts_where_it_belongs(ledger: Shared) {
    let late: Vec<_> = (1..=5).map(|n| receipt("acme", MIDNIGHT_MS - n * DAY_MS)).collect();
    record(&ledger, &receipt("acme", MIDNIGHT_MS + DAY_MS)).await;
    for _ in 0..2 {
        for receipt in &late {
            record(&ledger, receipt).await;
        }
    }
    for receipt in &late {
        assert_eq!(totals(&ledger, "acme", receipt.windows[0]).await, ONE, "its own day, once");
        let found = ledger.receipt("acme", receipt.id, MIDNIGHT_MS).await.unwrap();
        assert_eq!(found.as_ref(), Some(receipt));
    }
    assert_eq!(usage(&ledger, &UsageQuery::default()).await.len(), 6);
}

pub async fn any_text_survives(ledger: Shared) {
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
    record(&ledger, &odd).await;
    record(&ledger, &receipt("acme", MIDNIGHT_MS)).await;
    let found = ledger.receipt("acme", odd.id, MIDNIGHT_MS).await.unwrap();
    assert_eq!(found, Some(odd));
    let query = UsageQuery { model: Some(text.to_owned()), ..UsageQuery::default() };
    assert_eq!(usage(&ledger, &query).await.len(), 1);
}
