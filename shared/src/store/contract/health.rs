//! The models' health, as one store sees it for a whole fleet.

use super::NOW;
use crate::health::breaker::{BreakerSettings, BreakerState};
use crate::health::refusals::Refused;
use crate::health::score::{HealthSettings, Standing};
use crate::health::welford::{Figures, Welford};
use crate::health::{ModelHealth, Observation, Signal};
use crate::store::HealthStore;
use std::sync::Arc;
use tokio::task::JoinSet;

pub(super) type Store = Arc<dyn HealthStore>;

/// Past the longest time for which a breaker stays open at first, jitter included.
pub(super) const DUE_MS: u64 = 5_501;
const LEASE_MS: u64 = 30_000;

fn model() -> Arc<str> {
    "groq/llama-3.3-70b".into()
}

pub(super) async fn see(store: &Store, signal: Signal, begun_at_ms: u64, now_ms: u64) {
    store.record(&[Observation { model: model(), begun_at_ms, signal }], now_ms).await.unwrap();
}

pub(super) async fn health(store: &Store, now_ms: u64) -> ModelHealth {
    store.snapshot(&[model()], now_ms).await.unwrap()[0]
}

pub(super) async fn probe(store: &Store, now_ms: u64) -> bool {
    probe_of(store, "acme", now_ms).await
}

async fn probe_of(store: &Store, tenant: &str, now_ms: u64) -> bool {
    store.try_probe(&model(), tenant, LEASE_MS, now_ms).await.unwrap()
}

/// The refusal of a tenant's request of this number.
pub(super) fn refused(tenant: &str, request: u64) -> Signal {
    let mark = Refused::of(crate::id::RequestId::new(NOW), tenant);
    Signal::Refused(Refused { request, ..mark })
}

/// Three requests are refused at `now_ms`, of these tenants.
pub(super) async fn refuse(store: &Store, tenants: [&str; 3], now_ms: u64) {
    for (request, tenant) in (1..).zip(tenants) {
        see(store, refused(tenant, request), now_ms, now_ms).await;
    }
}

pub(super) const ANSWERED: Signal = Signal::Answered { ttft_ms: 100.0, ms_per_token: Some(10.0) };

/// Opens the breaker at `now_ms`.
pub(super) async fn open(store: &Store, now_ms: u64) {
    for _ in 0..BreakerSettings::default().consecutive_failures {
        see(store, Signal::Failed, now_ms, now_ms).await;
    }
    assert_eq!(health(store, now_ms).await.breaker, BreakerState::Open);
}

pub async fn an_unknown_model_is_ready_and_has_no_figures(store: Store) {
    let health = health(&store, NOW).await;
    assert_eq!((health.standing, health.breaker, health.cooldown_until_ms), (Standing::Ready, BreakerState::Closed, 0));
    let measures = [health.measures.ttft_ms, health.measures.ms_per_token, health.measures.failure];
    assert_eq!(measures, [Figures::default(); 3]);
    assert!(!probe(&store, NOW).await, "there is nothing to find out");
}

pub async fn health_is_told_in_the_order_asked(store: Store) {
    let names: Vec<Arc<str>> = ["a", "b", "a/b", "c d"].map(Arc::from).to_vec();
    let cooled = |n: usize| Observation {
        model: names[n].clone(),
        begun_at_ms: NOW,
        signal: Signal::CoolDown { until_ms: NOW + 1_000 + n as u64 },
    };
    store.record(&[cooled(0), cooled(1), cooled(2), cooled(3)], NOW).await.unwrap();
    let asked: Vec<Arc<str>> = [2, 0, 0, 3].map(|n: usize| names[n].clone()).to_vec();
    let got = store.snapshot(&asked, NOW).await.unwrap();
    let until: Vec<u64> = got.iter().map(|health| health.cooldown_until_ms - NOW).collect();
    assert_eq!(until, [1_002, 1_000, 1_000, 1_003]);
    assert_eq!(store.snapshot(&[], NOW).await.unwrap(), []);
}

pub async fn figures_are_those_of_the_decayed_statistics(store: Store) {
    let tau_ms = HealthSettings::default().tau_ms;
    let (mut ttft, mut per_token, mut failure) = (Welford::default(), Welford::default(), Welford::default());
    let mut now_ms = NOW;
    for step in 0..40u32 {
        now_ms += u64::from(step * 731 % 9_000);
        let begun_at_ms = now_ms.saturating_sub(500);
        if step % 5 == 3 {
            failure.record(1.0, now_ms, tau_ms);
            see(&store, Signal::Failed, begun_at_ms, now_ms).await;
            continue;
        }
        let ttft_ms = 80.0 + f64::from(step * 37 % 101) / 3.0;
        let ms_per_token = (step % 4 != 0).then(|| 5.0 + f64::from(step % 7) / 9.0);
        ttft.record(ttft_ms, now_ms, tau_ms);
        failure.record(0.0, now_ms, tau_ms);
        if let Some(ms_per_token) = ms_per_token {
            per_token.record(ms_per_token, now_ms, tau_ms);
        }
        see(&store, Signal::Answered { ttft_ms, ms_per_token }, begun_at_ms, now_ms).await;
    }
    // What is not used fades, and reading changes nothing.
    for later_ms in [0, 1, 30_000, 600_000, 0] {
        let got = health(&store, now_ms + later_ms).await.measures;
        for (name, got, kept) in
            [("ttft", got.ttft_ms, ttft), ("per token", got.ms_per_token, per_token), ("failure", got.failure, failure)]
        {
            let want = kept.read(now_ms + later_ms, tau_ms);
            for (got, want) in [
                (got.mean, want.mean),
                (got.variance, want.variance),
                (got.n_eff, want.n_eff),
                (got.weight, want.weight),
            ] {
                assert!(
                    (got - want).abs() <= 1e-9 * want.abs().max(1.0),
                    "{name} after {later_ms} ms: {got}, not {want}"
                );
            }
        }
    }
}

pub async fn a_cooldown_lasts_as_long_as_the_longest_that_was_asked_for(store: Store) {
    for until_ms in [NOW + 2_000, NOW + 5_000, NOW + 3_000] {
        see(&store, Signal::CoolDown { until_ms }, NOW, NOW).await;
    }
    let got = health(&store, NOW + 4_999).await;
    assert_eq!((got.standing, got.cooldown_until_ms), (Standing::CoolingDown { until_ms: NOW + 5_000 }, NOW + 5_000));
    assert_eq!(got.measures.failure, Figures::default(), "a model that is asked too much has not failed");
    see(&store, ANSWERED, NOW, NOW + 4_999).await;
    assert!(
        matches!(health(&store, NOW + 4_999).await.standing, Standing::CoolingDown { .. }),
        "an answer ends no pause"
    );
    let got = health(&store, NOW + 5_000).await;
    assert_eq!((got.standing, got.cooldown_until_ms), (Standing::Ready, 0));
}

pub async fn five_failures_in_a_row_open_the_breaker_and_four_do_not(store: Store) {
    for round in 0..3 {
        for _ in 0..4 {
            see(&store, Signal::Failed, NOW, NOW).await;
        }
        assert_eq!(health(&store, NOW).await.standing, Standing::Ready, "round {round}");
        for _ in 0..8 {
            see(&store, ANSWERED, NOW, NOW).await;
        }
    }
    open(&store, NOW).await;
    let got = health(&store, NOW).await;
    let Standing::BreakerOpen { until_ms } = got.standing else { panic!("{got:?}") };
    assert!((NOW + 4_500..=NOW + 5_500).contains(&until_ms), "5 s, give or take a tenth: {}", until_ms - NOW);
    assert_eq!(health(&store, until_ms - 1).await.breaker, BreakerState::Open);
    let got = health(&store, until_ms).await;
    assert_eq!((got.breaker, got.standing), (BreakerState::HalfOpen, Standing::ProbeDue));
    assert!(!probe(&store, until_ms - 1).await, "it is not due yet");
}

pub async fn answers_from_before_a_run_of_failures_make_up_for_half_of_it(store: Store) {
    // Of a run of four: answers from before it, then failures until the breaker opens.
    for (answers, failures) in [(1, 1), (2, 2), (7, 4), (8, 5)] {
        let from_ms = NOW + 100_000 * answers;
        for _ in 0..20 {
            see(&store, ANSWERED, from_ms, from_ms).await;
        }
        for _ in 0..4 {
            see(&store, Signal::Failed, from_ms + 10, from_ms + 20).await;
        }
        for _ in 0..answers {
            see(&store, ANSWERED, from_ms + 9, from_ms + 20).await;
        }
        for failed in 1..=failures {
            assert_eq!(health(&store, from_ms + 20).await.breaker, BreakerState::Closed, "{answers}, {failed}");
            see(&store, Signal::Failed, from_ms + 20, from_ms + 20).await;
        }
        assert_eq!(health(&store, from_ms + 20).await.breaker, BreakerState::Open, "{answers}");
        assert!(probe(&store, from_ms + 90_000).await);
        see(&store, ANSWERED, from_ms + 90_000, from_ms + 90_001).await;
    }
}

pub async fn a_model_that_fails_most_of_the_time_is_given_up(store: Store) {
    let mut failures = 0;
    while health(&store, NOW).await.breaker == BreakerState::Closed {
        failures += 1;
        assert!(failures < 100, "four of five calls fail, and nobody minds");
        let signal = if failures % 5 == 0 { ANSWERED } else { Signal::Failed };
        see(&store, signal, NOW, NOW).await;
    }
    assert!(failures >= 8, "it takes {} samples to say so", BreakerSettings::default().least_samples);
}

pub async fn exactly_one_of_many_gets_the_probe(store: Store) {
    open(&store, NOW).await;
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let store = store.clone();
        tasks.spawn(async move { probe(&store, NOW + DUE_MS).await });
    }
    let mut leased = 0;
    while let Some(got) = tasks.join_next().await {
        leased += usize::from(got.unwrap());
    }
    assert_eq!(leased, 1);
    let until_ms = NOW + DUE_MS + LEASE_MS;
    assert_eq!(health(&store, NOW + DUE_MS).await.standing, Standing::BreakerOpen { until_ms }, "the others keep away");
}

pub async fn a_probe_that_works_closes_the_breaker(store: Store) {
    open(&store, NOW).await;
    // What began before the outage was noticed says nothing of how the model does now.
    see(&store, ANSWERED, NOW - 1, NOW + DUE_MS).await;
    assert_eq!(health(&store, NOW + DUE_MS).await.breaker, BreakerState::HalfOpen);
    assert!(probe(&store, NOW + DUE_MS).await);
    see(&store, ANSWERED, NOW + DUE_MS, NOW + DUE_MS + 100).await;
    let got = health(&store, NOW + DUE_MS + 100).await;
    assert_eq!((got.breaker, got.standing), (BreakerState::Closed, Standing::Ready));
    // Nor does what began before it was closed.
    for _ in 0..10 {
        see(&store, Signal::Failed, NOW + DUE_MS, NOW + DUE_MS + 200).await;
    }
    assert_eq!(health(&store, NOW + DUE_MS + 200).await.breaker, BreakerState::Closed);
}

pub async fn a_probe_that_fails_opens_it_for_longer(store: Store) {
    open(&store, NOW).await;
    let mut now_ms = NOW + DUE_MS;
    for (least_ms, most_ms) in [(9_000, 11_000), (18_000, 22_000), (18_000, 22_000)] {
        assert!(probe(&store, now_ms).await);
        see(&store, Signal::Failed, now_ms, now_ms).await;
        let Standing::BreakerOpen { until_ms } = health(&store, now_ms).await.standing else { panic!("it is closed") };
        assert!((now_ms + least_ms..=now_ms + most_ms).contains(&until_ms), "open for {} ms", until_ms - now_ms);
        now_ms = until_ms;
    }
}

pub async fn a_probe_that_shows_nothing_is_given_back(store: Store) {
    open(&store, NOW).await;
    for (round, signal) in [Signal::Nothing, Signal::CoolDown { until_ms: NOW }].into_iter().enumerate() {
        let now_ms = NOW + DUE_MS + round as u64;
        assert!(probe(&store, now_ms).await);
        assert!(!probe(&store, now_ms).await);
        see(&store, signal, now_ms, now_ms).await;
        assert_eq!(health(&store, now_ms).await.standing, Standing::ProbeDue, "{signal:?}");
    }
    assert!(probe(&store, NOW + DUE_MS + 2).await);
}

pub async fn a_probe_whose_lease_is_over_may_be_taken_again(store: Store) {
    open(&store, NOW).await;
    let now_ms = NOW + DUE_MS;
    assert!(probe(&store, now_ms).await);
    assert!(!probe(&store, now_ms + LEASE_MS - 1).await);
    assert!(probe(&store, now_ms + LEASE_MS).await);
    see(&store, Signal::Failed, now_ms, now_ms + LEASE_MS).await;
    assert_eq!(
        health(&store, now_ms + LEASE_MS).await.breaker,
        BreakerState::HalfOpen,
        "the first probe's word is late"
    );
}

pub async fn of_concurrent_records_each_counts(store: Store) {
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..25 {
                see(&store, ANSWERED, NOW, NOW).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let measures = health(&store, NOW).await.measures;
    for figures in [measures.ttft_ms, measures.ms_per_token, measures.failure] {
        assert!((figures.n_eff - 400.0).abs() < 1e-6, "{figures:?}");
    }
}

pub async fn a_model_is_out_when_it_refused_three_different_requests(store: Store) {
    // Tries of one request are one.
    for (tenant, request) in [("acme", 1), ("acme", 1), ("globex", 2), ("globex", 2), ("acme", 1)] {
        see(&store, refused(tenant, request), NOW, NOW).await;
        assert_eq!(health(&store, NOW).await.standing_for("acme"), Standing::Ready);
    }
    see(&store, refused("acme", 3), NOW, NOW).await;
    let got = health(&store, NOW).await;
    for tenant in ["acme", "globex", "initech"] {
        let Standing::BreakerOpen { until_ms } = got.standing_for(tenant) else { panic!("{tenant}: {got:?}") };
        assert!((NOW + 4_500..=NOW + 5_500).contains(&until_ms), "{}", until_ms - NOW);
    }
    assert_eq!((got.breaker, got.only_for), (BreakerState::Open, None));
}

pub async fn an_answer_in_between_begins_the_count_of_refusals_anew(store: Store) {
    for request in 1..=12 {
        see(&store, refused("acme", request), NOW, NOW).await;
        if request % 2 == 0 {
            see(&store, ANSWERED, NOW, NOW).await;
        }
    }
    let got = health(&store, NOW).await;
    assert_eq!((got.standing_for("acme"), got.breaker), (Standing::Ready, BreakerState::Closed));
}

pub async fn answers_to_calls_from_before_the_first_refusal_do_not_end_its_run(store: Store) {
    for request in 1..=2 {
        see(&store, refused("acme", request), NOW, NOW).await;
        see(&store, ANSWERED, NOW - 1, NOW).await;
    }
    assert_eq!(health(&store, NOW).await.standing_for("acme"), Standing::Ready);
    see(&store, refused("acme", 3), NOW, NOW).await;
    let got = health(&store, NOW).await;
    assert!(matches!(got.standing_for("acme"), Standing::BreakerOpen { .. }), "{got:?}");
}

pub async fn many_answers_end_a_run_of_refusals_whenever_their_calls_began(store: Store) {
    for request in 1..=3 {
        see(&store, refused("acme", request), NOW, NOW).await;
        for _ in 0..8 {
            see(&store, ANSWERED, NOW - 1, NOW).await;
        }
    }
    assert_eq!(health(&store, NOW).await.standing_for("acme"), Standing::Ready);
}

pub async fn one_tenants_refusals_take_a_model_from_nobody_else(store: Store) {
    refuse(&store, ["acme"; 3], NOW).await;
    let got = health(&store, NOW).await;
    assert!(matches!(got.standing_for("acme"), Standing::BreakerOpen { .. }), "{got:?}");
    assert_eq!((got.standing_for("globex"), got.breaker), (Standing::Ready, BreakerState::Closed));
    assert!(!probe_of(&store, "globex", NOW + DUE_MS).await, "there is nothing to find out for others");
    // Nor does one refusal of another's, though it comes when the model may be tried again; three of them do.
    let later_ms = NOW + DUE_MS;
    for request in [4, 4, 5] {
        see(&store, refused("globex", request), later_ms, later_ms).await;
        let got = health(&store, later_ms).await;
        assert_eq!(got.standing_for("initech"), Standing::Ready, "{got:?}");
        assert_eq!(got.standing_for("globex"), Standing::Ready, "{got:?}");
    }
    see(&store, refused("globex", 6), later_ms, later_ms).await;
    assert!(matches!(health(&store, later_ms).await.standing_for("initech"), Standing::BreakerOpen { .. }));
}

pub async fn failures_count_beside_one_tenants_refusals(store: Store) {
    refuse(&store, ["acme"; 3], NOW).await;
    // Others' failures still count, and open the breaker for all.
    open(&store, NOW).await;
    assert!(matches!(health(&store, NOW).await.standing_for("globex"), Standing::BreakerOpen { .. }));
}

pub async fn a_model_that_refused_comes_back_by_one_probe(store: Store) {
    refuse(&store, ["acme", "globex", "acme"], NOW).await;
    let mut now_ms = NOW + DUE_MS;
    // What began before is late, and says nothing.
    see(&store, ANSWERED, NOW, now_ms).await;
    assert_eq!(health(&store, now_ms).await.standing_for("globex"), Standing::ProbeDue);
    assert!(probe_of(&store, "globex", now_ms).await);
    assert!(!probe(&store, now_ms).await, "one at a time");
    assert!(matches!(health(&store, now_ms).await.standing, Standing::BreakerOpen { .. }), "the others keep away");
    // Neither a fault of the caller's nor a failure shows whether we are refused.
    for signal in [Signal::Nothing, Signal::Failed] {
        see(&store, signal, now_ms, now_ms).await;
        now_ms += 1;
        assert!(probe(&store, now_ms).await, "{signal:?}");
    }
    see(&store, refused("acme", 9), now_ms, now_ms).await;
    let Standing::BreakerOpen { until_ms } = health(&store, now_ms).await.standing else { panic!("it is closed") };
    assert!((now_ms + 9_000..=now_ms + 11_000).contains(&until_ms), "for longer: {} ms", until_ms - now_ms);
    assert!(probe(&store, until_ms).await);
    see(&store, ANSWERED, until_ms, until_ms + 10).await;
    let got = health(&store, until_ms + 10).await;
    assert_eq!((got.standing_for("acme"), got.breaker), (Standing::Ready, BreakerState::Closed));
}

pub async fn a_failure_and_a_refusal_say_nothing_of_each_other(store: Store) {
    for request in 1..=4 {
        see(&store, Signal::Failed, NOW, NOW).await;
        if request <= 2 {
            see(&store, refused("acme", request), NOW, NOW).await;
        }
    }
    let got = health(&store, NOW).await;
    assert_eq!((got.standing_for("acme"), got.measures.failure.weight), (Standing::Ready, 4.0));
    see(&store, Signal::Failed, NOW, NOW).await;
    assert_eq!(health(&store, NOW).await.breaker, BreakerState::Open, "a refusal ends no run of failures");
    see(&store, refused("acme", 3), NOW, NOW).await;
    let got = health(&store, NOW).await;
    assert!(got.only_for.is_some(), "nor a failure a run of refusals: {got:?}");
}

/// A process whose clock is an hour ahead records; or the clock of the only one is set back.
pub async fn what_a_clock_an_hour_ahead_wrote_is_over(store: Store) {
    const HOUR: u64 = 3_600_000;
    let ahead = NOW + HOUR;
    see(&store, Signal::CoolDown { until_ms: ahead + 5_000 }, ahead, ahead).await;
    assert!(matches!(health(&store, ahead).await.standing, Standing::CoolingDown { .. }));
    assert_eq!(health(&store, NOW).await.standing, Standing::Ready, "a pause of five seconds lasts no hour");
    see(&store, ANSWERED, NOW, NOW).await;
    assert_eq!(health(&store, ahead).await.standing, Standing::Ready, "nor does it come back in an hour");

    open(&store, ahead).await;
    refuse(&store, ["acme", "globex", "acme"], ahead).await;
    assert_eq!(health(&store, NOW).await.standing, Standing::ProbeDue);
    assert!(probe(&store, NOW).await);
    assert!(!probe(&store, NOW).await);
    see(&store, ANSWERED, NOW, NOW + 1).await;
    let got = health(&store, NOW + 1).await;
    assert_eq!((got.standing, got.breaker), (Standing::Ready, BreakerState::Closed), "its result is heard");

    // A lease, and what was closed.
    open(&store, NOW + 1).await;
    assert!(probe(&store, ahead).await);
    assert!(probe(&store, NOW + DUE_MS + 1).await, "a lease of half a minute lasts no hour");
    see(&store, ANSWERED, NOW + DUE_MS + 1, ahead).await;
    open(&store, NOW + DUE_MS + 2).await;
}
