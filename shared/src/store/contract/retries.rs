//! The budget of retries of all who share a store.

use super::NOW;
use crate::limit::retry_budget::{RetryAsk, RetrySettings};
use crate::store::HealthStore;
use std::sync::Arc;
use tokio::task::JoinSet;

type Store = Arc<dyn HealthStore>;

/// How many of fifty may retry, when so many requests are told with the first ask.
async fn granted(store: &Store, requests: u64, now_ms: u64) -> usize {
    let settings = RetrySettings::default();
    let mut granted = 0;
    for requests in [requests].into_iter().chain([0; 49]) {
        let requests = vec![(settings.step(now_ms), requests)];
        let may = store.try_retry(&RetryAsk { settings: &settings, requests }, now_ms).await.unwrap();
        granted += usize::from(may);
    }
    granted
}

pub async fn a_fifth_of_the_fleets_requests_may_be_retried_and_never_fewer_than_three(store: Store) {
    assert_eq!(granted(&store, 0, NOW).await, 3);
    assert_eq!(granted(&store, 19, NOW).await, 0);
    // What one process has seen pays for another one's retry.
    assert_eq!(granted(&store, 1, NOW).await, 1);
    assert_eq!(granted(&store, 80, NOW).await, 16);
}

pub async fn retries_that_have_left_the_window_come_back(store: Store) {
    assert_eq!(granted(&store, 100, NOW).await, 20);
    assert_eq!(granted(&store, 0, NOW + 9_999).await, 0);
    assert_eq!(granted(&store, 0, NOW + 10_000).await, 3);
    assert_eq!(granted(&store, 0, NOW + 86_400_000).await, 3);
}

pub async fn of_many_who_want_to_retry_at_once_those_that_are_paid_for_may(store: Store) {
    let mut asks = JoinSet::new();
    for _ in 0..60 {
        let store = store.clone();
        asks.spawn(async move {
            let settings = RetrySettings::default();
            let ask = RetryAsk { settings: &settings, requests: vec![(settings.step(NOW), 1)] };
            store.try_retry(&ask, NOW).await.unwrap()
        });
    }
    let granted = asks.join_all().await.into_iter().filter(|granted| *granted).count();
    assert!((3..=12).contains(&granted), "{granted} of 60 requests");
}
