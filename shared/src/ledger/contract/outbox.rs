//! Alerts until they are delivered.

use super::{DAY_MS, MIDNIGHT_MS, Shared};
use crate::alerts::alert::{Alert, Claim};
use crate::alerts::delivery::{Destination, Posted, State, Tried};
use crate::ledger::ALERTS_LISTED;
use std::sync::Arc;
use tokio::task::JoinSet;

const LEASE_MS: u64 = 30_000;

fn claim(uid: Option<&str>, what: &str) -> Claim {
    Claim { uid: uid.map(Into::into), what: what.to_owned(), until_ms: MIDNIGHT_MS + DAY_MS }
}

fn posted(uid: Option<&str>, at_ms: u64) -> Posted {
    let uid: Option<Arc<str>> = uid.map(Into::into);
    let alert = Alert { tenant: uid.clone(), uid, ..Alert::of_test(at_ms) };
    Posted::new(alert, vec![Destination::Webhook("https://hooks.example/".to_owned())])
}

fn answered(posted: &mut Posted, status: u16, now_ms: u64) {
    let tried = Tried { status: Some(status), ..Tried::default() };
    posted.deliveries[0].note(&tried, posted.alert.at_ms, now_ms, 0);
}

pub async fn of_many_that_find_an_alert_one_posts_it(ledger: Shared) {
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let ledger = ledger.clone();
        tasks.spawn(async move {
            let (claim, posted) = (claim(Some("acme"), "daily_requests 80"), posted(Some("acme"), MIDNIGHT_MS));
            ledger.post(&claim, &posted, LEASE_MS, MIDNIGHT_MS).await.unwrap()
        });
    }
    assert_eq!(tasks.join_all().await.iter().filter(|is_first| **is_first).count(), 1);
    assert_eq!(ledger.alerts().await.unwrap().len(), 1);
    for (uid, what, now_ms, is_first) in [
        (Some("acme"), "daily_requests 80", MIDNIGHT_MS + DAY_MS - 1, false),
        (Some("acme"), "daily_requests 100", MIDNIGHT_MS, true),
        (Some("acme~2"), "daily_requests 80", MIDNIGHT_MS, true),
        (None, "daily_requests 80", MIDNIGHT_MS, true),
        (Some("acme"), "daily_requests 80", MIDNIGHT_MS + DAY_MS, true),
    ] {
        let posting = ledger.post(&claim(uid, what), &posted(uid, now_ms), LEASE_MS, now_ms).await;
        assert_eq!(posting.unwrap(), is_first, "{uid:?} {what} {now_ms}");
    }
}

pub async fn an_alert_that_nobody_delivers_is_due_when_the_lease_ends(ledger: Shared) {
    let first = posted(Some("acme"), MIDNIGHT_MS);
    assert!(ledger.post(&claim(Some("acme"), "a"), &first, LEASE_MS, MIDNIGHT_MS).await.unwrap());
    let due = async |now_ms| ledger.take_due(10, LEASE_MS, now_ms).await.unwrap();
    assert_eq!(due(MIDNIGHT_MS + LEASE_MS - 1).await, []);
    assert_eq!(due(MIDNIGHT_MS + LEASE_MS).await, std::slice::from_ref(&first));
    assert_eq!(due(MIDNIGHT_MS + LEASE_MS).await, [], "somebody has it");
    let again_ms = MIDNIGHT_MS + 2 * LEASE_MS;
    let mut taken = due(again_ms).await.remove(0);
    answered(&mut taken, 503, again_ms);
    ledger.note_delivery(&taken).await.unwrap();
    assert_eq!((due(again_ms + 4_999).await, due(again_ms + 5_000).await), (vec![], vec![taken.clone()]));
    answered(&mut taken, 200, again_ms + 5_000);
    ledger.note_delivery(&taken).await.unwrap();
    assert_eq!(due(again_ms + DAY_MS).await, []);
    assert_eq!(ledger.alerts().await.unwrap(), [taken]);
}

pub async fn the_latest_alerts_are_listed_newest_first(ledger: Shared) {
    let count = u64::try_from(ALERTS_LISTED).unwrap() + 5;
    for n in 0..count {
        let mut alert = posted(None, MIDNIGHT_MS + n);
        ledger.post(&claim(None, &n.to_string()), &alert, LEASE_MS, MIDNIGHT_MS + n).await.unwrap();
        if n % 10 != 0 {
            answered(&mut alert, 200, MIDNIGHT_MS + n);
            ledger.note_delivery(&alert).await.unwrap();
        }
    }
    let alerts = ledger.alerts().await.unwrap();
    let times: Vec<u64> = alerts.iter().map(|posted| posted.alert.at_ms - MIDNIGHT_MS).collect();
    assert_eq!((times.len(), times[0]), (ALERTS_LISTED, count - 1));
    assert!(times.is_sorted_by(|one, other| one > other), "{times:?}");
    let pending = ledger.take_due(50, LEASE_MS, MIDNIGHT_MS + DAY_MS).await.unwrap();
    let is_pending = |posted: &Posted| posted.deliveries[0].state == State::Pending;
    assert_eq!(
        (pending.len(), pending.iter().all(is_pending)),
        (11, true),
        "those that wait are kept, however many follow"
    );
}

pub async fn a_tenants_alerts_are_erased_with_it(ledger: Shared) {
    let (theirs, other) = (posted(Some("acme"), MIDNIGHT_MS), posted(Some("globex"), MIDNIGHT_MS + 1));
    for (uid, alert) in [("acme", &theirs), ("globex", &other)] {
        assert!(ledger.post(&claim(Some(uid), "a"), alert, LEASE_MS, MIDNIGHT_MS).await.unwrap());
    }
    assert_eq!(ledger.erase(Arc::new(|uid| uid == "acme"), None).await.unwrap().others, 2);
    ledger.note_delivery(&theirs).await.unwrap();
    assert_eq!(ledger.alerts().await.unwrap(), std::slice::from_ref(&other), "nor does it come back");
    assert!(ledger.post(&claim(Some("acme"), "a"), &theirs, LEASE_MS, MIDNIGHT_MS).await.unwrap());
    assert!(!ledger.post(&claim(Some("globex"), "a"), &other, LEASE_MS, MIDNIGHT_MS).await.unwrap());
}
