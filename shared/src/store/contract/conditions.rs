//! How models do, as whoever may use them is told.

use super::NOW;
use super::health::{ANSWERED, DUE_MS, Store, health, open, probe, refuse, refused, see};
use crate::health::{Condition, Signal, Word};

async fn condition(store: &Store, tenant: &str, now_ms: u64) -> (Word, u64) {
    let Condition { word, since_ms } = health(store, now_ms).await.condition_for(tenant);
    (word, since_ms)
}

pub async fn how_a_model_does_is_told_with_the_instant_when_it_began(store: Store) {
    let told = async |now_ms| condition(&store, "acme", now_ms).await;
    assert_eq!(told(NOW).await, (Word::Ok, 0), "nothing is known of it");
    for at_ms in [NOW, NOW + 1_000] {
        see(&store, Signal::Failed, at_ms, at_ms).await;
        assert_eq!(told(at_ms).await, (Word::Degraded, NOW));
    }
    see(&store, ANSWERED, NOW + 2_000, NOW + 2_000).await;
    assert_eq!(told(NOW + 2_000).await, (Word::Degraded, NOW), "one answer to two failures");
    for _ in 0..20 {
        see(&store, ANSWERED, NOW + 3_000, NOW + 3_000).await;
    }
    assert_eq!(told(NOW + 4_000).await, (Word::Ok, NOW + 3_000));

    let out_ms = NOW + 10_000;
    open(&store, out_ms).await;
    let (again_ms, back_ms) = (out_ms + DUE_MS, out_ms + DUE_MS + 12_000);
    for (probe_ms, signal, expected) in [(again_ms, Signal::Failed, Word::Down), (back_ms, ANSWERED, Word::Degraded)] {
        assert_eq!(told(probe_ms).await, (Word::Down, out_ms));
        assert!(probe(&store, probe_ms).await);
        see(&store, signal, probe_ms, probe_ms).await;
        assert_eq!(told(probe_ms).await, (expected, out_ms), "from the first failure to being well");
    }
    let well_ms = back_ms + 600_000;
    assert_eq!(told(well_ms).await, (Word::Degraded, out_ms), "time alone makes nothing well");
    see(&store, ANSWERED, well_ms, well_ms).await;
    assert_eq!(told(well_ms).await, (Word::Ok, well_ms));

    see(&store, Signal::CoolDown { until_ms: well_ms + 5_000 }, well_ms + 1, well_ms + 1).await;
    see(&store, ANSWERED, well_ms, well_ms + 2).await;
    assert_eq!(
        told(well_ms + 6_000).await,
        (Word::Degraded, well_ms + 1),
        "an answer from before the pause ends it not"
    );
    see(&store, ANSWERED, well_ms + 7_000, well_ms + 7_000).await;
    assert_eq!(told(well_ms + 7_000).await, (Word::Ok, well_ms + 7_000));
}

pub async fn that_one_tenants_requests_alone_are_refused_is_told_to_that_one(store: Store) {
    refuse(&store, ["acme"; 3], NOW).await;
    assert_eq!(condition(&store, "acme", NOW).await, (Word::Down, NOW));
    assert_eq!(condition(&store, "globex", NOW).await, (Word::Ok, 0));
    let later_ms = NOW + DUE_MS;
    for (request, tenant) in (7..).zip(["globex", "initech", "globex"]) {
        see(&store, refused(tenant, request), later_ms, later_ms).await;
    }
    for tenant in ["acme", "globex", "hooli"] {
        assert_eq!(condition(&store, tenant, later_ms).await, (Word::Down, later_ms), "{tenant}: for all since then");
    }
}
