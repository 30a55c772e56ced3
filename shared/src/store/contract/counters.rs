//! Rates, concurrency and quotas, one rule after the other.

use super::asks::{
    HOLD, Store, VERSION, ZERO, admit, ask, ask_of, day, held, hit, introduce, over, passed, quota, rate, refusal,
    used_and_held,
};
use super::{NOW, Unticketed, incarnation_of, rebuild};
use crate::id::RequestId;
use crate::limit::gcra::Rate;
use crate::limit::window::Window;
use crate::money::{Amounts, Charged};
use crate::store::{
    Admission, ExpiredHold, QuotaAsk, RateRemaining, RateStatus, Refusal, Settled, Settlement, Verdict, WindowUse,
};
use crate::tenant::{Quota, RateKind, Whose};
use tokio::task::JoinSet;

pub async fn what_is_not_known_is_stale_and_takes_nothing(store: Store) {
    let month = Window::month(NOW);
    let ask = Admission { quotas: vec![quota(day()), quota(month)], ..ask() };
    let incarnation = incarnation_of(&*store, "acme", NOW).await;
    let stale = |settings, windows| Verdict::Stale { settings, windows, incarnation };
    assert_eq!(admit(&store, &ask).await, stale(true, vec![day(), month]), "an empty store");
    assert_eq!(hit(&store, &ask).await, stale(true, vec![day(), month]), "a hit asks no less");
    rebuild(&*store, "acme", VERSION, &[], NOW).await;
    assert_eq!(admit(&store, &ask).await, stale(false, vec![day(), month]), "the version alone");
    rebuild(&*store, "acme", VERSION, &[(day(), ZERO.into())], NOW).await;
    assert_eq!(admit(&store, &ask).await, stale(false, vec![month]), "one window of two");
    rebuild(&*store, "acme", VERSION, &[(month, ZERO.into())], NOW).await;
    let newer = Admission { settings_version: VERSION + 1, ..ask.clone() };
    assert_eq!(admit(&store, &newer).await, stale(true, vec![]), "settings that the store has not heard of");
    for window in [day(), month] {
        assert_eq!(used_and_held(&store, "acme", window).await, WindowUse::default(), "nothing was taken");
    }
    assert_eq!(held(&store, &ask).await.0, HOLD);
}

pub async fn an_older_version_does_not_replace_a_newer_one(store: Store) {
    for version in [5, 3, 9, 8] {
        rebuild(&*store, "acme", version, &[(day(), ZERO.into())], NOW).await;
    }
    for (version, stale) in [(3, true), (5, true), (8, true), (10, true), (9, false)] {
        let verdict = admit(&store, &Admission { settings_version: version, ..ask() }).await;
        assert_eq!(matches!(verdict, Verdict::Stale { settings: true, .. }), stale, "{version}: {verdict:?}");
    }
}

pub async fn a_rebuild_keeps_what_is_counted_already(store: Store) {
    let used = Amounts { requests: 3, tokens: 30, cost_nusd: 300 };
    rebuild(&*store, "acme", VERSION, &[(day(), used.into())], NOW).await;
    held(&store, &ask()).await;
    let other = Amounts { requests: 9, tokens: 90, cost_nusd: 900 };
    rebuild(&*store, "acme", VERSION, &[(day(), other.into())], NOW).await;
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used, held: HOLD });
}

pub async fn many_who_rebuild_at_once_lose_nothing(store: Store) {
    let before = Amounts { requests: 7, tokens: 70, cost_nusd: 700 };
    let mut tasks = JoinSet::new();
    for _ in 0..32 {
        let store = store.clone();
        tasks.spawn(async move {
            let ask = ask();
            if let Verdict::Stale { incarnation, .. } = admit(&store, &ask).await {
                let windows = [(day(), before.into())];
                assert!(store.rebuild("acme", Some(incarnation), VERSION, &windows, NOW).await.unwrap());
                held(&store, &ask).await;
            }
            store
                .settle_unticketed(&Settlement::of(&ask, Amounts { requests: 1, tokens: 10, cost_nusd: 100 }), NOW)
                .await
                .unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let used = Amounts { requests: 39, tokens: 390, cost_nusd: 3_900 };
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used, held: ZERO });
}

pub async fn what_was_used_without_the_store_is_charged_once(store: Store) {
    let outage = |requests| Amounts { requests, tokens: requests * 10, cost_nusd: requests * 100 };
    let charged = |used, by| Charged { used: outage(used), outage: outage(by) };
    rebuild(&*store, "acme", VERSION, &[(day(), charged(5, 2))], NOW).await;
    assert_eq!(used_and_held(&store, "acme", day()).await.used, outage(5), "a new window has all of it");
    held(&store, &ask()).await;
    let incarnation = incarnation_of(&*store, "acme", NOW).await;
    let table = [(charged(7, 2), 5), (charged(9, 4), 7), (charged(9, 4), 7), (charged(6, 3), 7), (charged(12, 5), 8)];
    for (place, (charged, expected)) in table.into_iter().enumerate() {
        // A request that was served without the store names no incarnation.
        let named = [None, Some(incarnation)][place % 2];
        assert!(store.rebuild("acme", named, VERSION, &[(day(), charged)], NOW).await.unwrap());
        let expected = WindowUse { used: outage(expected), held: HOLD };
        assert_eq!(used_and_held(&store, "acme", day()).await, expected, "{charged:?}");
    }
}

pub async fn a_closed_window_refuses_until_its_time_and_is_then_missing(store: Store) {
    rebuild(&*store, "acme", VERSION, &[], NOW).await;
    let incarnation = incarnation_of(&*store, "acme", NOW).await;
    let until_ms = NOW + 90_000;
    store.close("acme", incarnation, &day(), until_ms, NOW).await.unwrap();
    store.close("acme", incarnation, &day(), until_ms + 50_000, NOW + 1).await.unwrap();
    for (now_ms, retry_after_ms) in [(NOW, 90_000), (until_ms - 1, 1)] {
        let refused = refusal(store.admit_unticketed(&ask(), false, now_ms).await.unwrap());
        assert_eq!(refused, Refusal::Closed { retry_after_ms });
    }
    let stale = Verdict::Stale { settings: false, windows: vec![day()], incarnation };
    assert_eq!(store.admit_unticketed(&ask(), false, until_ms).await.unwrap(), stale);
    rebuild(&*store, "acme", VERSION, &[(day(), HOLD.into())], until_ms).await;
    let admitted = store.admit_unticketed(&ask(), false, until_ms).await.unwrap();
    assert!(matches!(admitted, Verdict::Admitted { .. }), "{admitted:?}");
    store.close("acme", incarnation, &day(), until_ms + 90_000, until_ms).await.unwrap();
    let admitted = store.admit_unticketed(&ask(), false, until_ms).await.unwrap();
    assert!(matches!(admitted, Verdict::Admitted { .. }), "a window that is there is not closed: {admitted:?}");
}

pub async fn an_expired_hold_is_told_until_it_is_acknowledged(store: Store) {
    let month = Window::month(NOW);
    let ask = || Admission { quotas: vec![quota(day()), quota(month)], ..ask() };
    let (expiring, settled) = (ask(), ask());
    introduce(&store, &expiring).await;
    held(&store, &expiring).await;
    held(&store, &settled).await;
    store.settle_unticketed(&Settlement::of(&settled, HOLD), NOW).await.unwrap();
    let look = async |now_ms| {
        let next = Admission { lease_until_ms: now_ms + 600_000, ..ask() };
        let _ = store.admit_unticketed(&next, false, now_ms).await.unwrap();
        store.take_expired("acme")
    };
    assert_eq!(look(expiring.lease_until_ms - 1).await, []);
    let expected = [ExpiredHold { id: expiring.id, held: HOLD, windows: vec![day(), month] }];
    assert_eq!(look(expiring.lease_until_ms).await, expected);
    assert_eq!(store.take_expired("acme"), [], "it is handed out once");
    assert_eq!(look(expiring.lease_until_ms + 59_999).await, [], "for a minute");
    assert_eq!(look(expiring.lease_until_ms + 60_000).await, expected, "then to another");
    store.acknowledge("acme", &expected, expiring.lease_until_ms + 60_001).await.unwrap();
    assert_eq!(look(expiring.lease_until_ms + 200_000).await, []);
    let thawed =
        store.settle_unticketed(&Settlement::of(&expiring, HOLD), expiring.lease_until_ms + 200_000).await.unwrap();
    assert_eq!(thawed, Settled::Again, "it is charged already");
    assert_eq!(store.take_expired("nobody"), []);
}

pub async fn a_request_that_is_released_before_its_admission_comes_takes_nothing(store: Store) {
    let late = ask();
    introduce(&store, &late).await;
    store.release_unticketed(&late, NOW).await.unwrap();
    let verdict = store.admit_unticketed(&late, false, NOW + 1).await.unwrap();
    assert!(matches!(verdict, Verdict::Admitted { held: ZERO, .. }), "{verdict:?}");
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse::default());
}

pub async fn the_same_request_asked_twice_has_one_verdict_and_one_hold(store: Store) {
    let first = Admission { request_rate: rate(10), concurrency: Some(1), ..ask_of(1) };
    introduce(&store, &first).await;
    let verdict = admit(&store, &first).await;
    assert!(matches!(verdict, Verdict::Admitted { held: HOLD, .. }), "{verdict:?}");
    for _ in 0..3 {
        assert_eq!(admit(&store, &first).await, verdict, "the limits are used up, but by itself");
    }
    assert_eq!(used_and_held(&store, "acme", day()).await.held, HOLD);
    let second = Admission { id: RequestId::new(NOW), ..first };
    let refused = admit(&store, &second).await;
    assert_eq!(refusal(refused.clone()), Refusal::Concurrency(Whose::Tenant));
    assert_eq!(admit(&store, &second).await, refused);
}

/// The limits, each with the name of the one that is to deny.
const TIGHT: [&str; 7] = ["request rate", "token rate", "concurrency", "requests", "tokens", "cost", "month's cost"];

pub async fn a_denial_by_one_limit_takes_nothing_of_the_others(fresh: impl AsyncFn() -> Store) {
    for tight in TIGHT {
        a_denial_takes_nothing_of_the_others(fresh().await, tight).await;
    }
}

async fn a_denial_takes_nothing_of_the_others(store: Store, tight: &str) {
    let month = Window::month(NOW);
    let ask = |tight: &str| {
        let limit = |name: &str, tight_limit: u64, loose: u64| if name == tight { tight_limit } else { loose };
        Admission {
            // Of one rate with bursts of different lengths: what is stored of a rate is a time, which depends on the rate.
            request_rate: Rate::new(10, 60_000, limit("request rate", 1, 10)).ok(),
            token_rate: Rate::new(1_000, 60_000, limit("token rate", 150, 1_000)).ok(),
            concurrency: Some(limit("concurrency", 1, 2)),
            quotas: vec![
                QuotaAsk {
                    window: day(),
                    requests: Some(limit("requests", 1, 2)),
                    tokens: Some(limit("tokens", 199, 200)),
                    cost_nusd: Some(limit("cost", 1_999, 2_000)),
                },
                QuotaAsk { cost_nusd: Some(limit("month's cost", 1_999, 2_000)), ..quota(month) },
            ],
            ..ask()
        }
    };
    introduce(&store, &ask("")).await;
    held(&store, &ask("")).await;
    let expected = match tight {
        "request rate" => Refusal::Rate { whose: Whose::Tenant, kind: RateKind::Requests, retry_after_ms: 0 },
        "token rate" => Refusal::Rate { whose: Whose::Tenant, kind: RateKind::Tokens, retry_after_ms: 0 },
        "concurrency" => Refusal::Concurrency(Whose::Tenant),
        "requests" => over(Quota::DailyRequests, day()),
        "tokens" => over(Quota::DailyTokens, day()),
        "cost" => over(Quota::DailyCost, day()),
        _ => over(Quota::MonthlyCost, month),
    };
    for _ in 0..5 {
        let got = match refusal(admit(&store, &ask(tight)).await) {
            Refusal::Rate { kind, .. } => Refusal::Rate { whose: Whose::Tenant, kind, retry_after_ms: 0 },
            other => other,
        };
        assert_eq!(got, expected, "{tight}");
    }
    // All limits are such that exactly two requests pass: had one of the denied ones left a trace, this would not.
    let (_, rates) = held(&store, &ask("")).await;
    let taken = [rates.requests, rates.tokens].map(|rate| rate.map(|rate| rate.limit - rate.remaining));
    assert_eq!(taken, [Some(2), Some(200)], "{tight}: the rates");
    let both = HOLD.plus(HOLD);
    for window in [day(), month] {
        assert_eq!(used_and_held(&store, "acme", window).await, WindowUse { used: ZERO, held: both }, "{tight}");
    }
}

pub async fn requests_beyond_the_rate_are_told_when_to_come_again(store: Store) {
    let ask = || Admission { request_rate: rate(2), ..ask() };
    introduce(&store, &ask()).await;
    held(&store, &ask()).await;
    let (_, rates) = held(&store, &ask()).await;
    assert_eq!(rates.requests, Some(RateRemaining { limit: 2, remaining: 0, reset_ms: 60_000 }));
    for (after_ms, wait_ms) in [(0, 30_000), (1, 29_999), (29_999, 1)] {
        let refused = refusal(store.admit_unticketed(&ask(), false, NOW + after_ms).await.unwrap());
        assert_eq!(
            refused,
            Refusal::Rate { whose: Whose::Tenant, kind: RateKind::Requests, retry_after_ms: wait_ms },
            "after {after_ms} ms"
        );
    }
    let later = store.admit_unticketed(&ask(), false, NOW + 30_000).await.unwrap();
    assert!(matches!(later, Verdict::Admitted { .. }), "{later:?}");
}

pub async fn tokens_beyond_the_rate_are_told_when_to_come_again(store: Store) {
    let ask = |rate_tokens| Admission { token_rate: rate(100), rate_tokens, ..ask() };
    introduce(&store, &ask(0)).await;
    let (_, rates) = held(&store, &ask(60)).await;
    assert_eq!(rates.tokens, Some(RateRemaining { limit: 100, remaining: 40, reset_ms: 36_000 }));
    // A token comes back every 600 ms, and 20 are missing.
    let refused = refusal(admit(&store, &ask(60)).await);
    assert_eq!(refused, Refusal::Rate { whose: Whose::Tenant, kind: RateKind::Tokens, retry_after_ms: 12_000 });
    held(&store, &ask(40)).await;
}

pub async fn more_tokens_than_a_burst_pass_when_the_full_burst_is_there(store: Store) {
    let ask = || Admission { token_rate: rate(100), rate_tokens: 5_000, ..ask() };
    introduce(&store, &ask()).await;
    held(&store, &ask()).await;
    let refused = refusal(store.admit_unticketed(&ask(), false, NOW + 59_999).await.unwrap());
    assert_eq!(refused, Refusal::Rate { whose: Whose::Tenant, kind: RateKind::Tokens, retry_after_ms: 1 });
    let later = store.admit_unticketed(&ask(), false, NOW + 60_000).await.unwrap();
    assert!(matches!(later, Verdict::Admitted { .. }), "{later:?}");
}

pub async fn no_more_tokens_are_given_back_than_were_taken(store: Store) {
    let ask = |rate_tokens| Admission { token_rate: rate(100), rate_tokens, ..ask() };
    let (other, large, late) = (ask(60), ask(5_000), ask(60));
    introduce(&store, &other).await;
    held(&store, &other).await;
    let now_ms = NOW + 36_000;
    assert!(passed(&store.admit_unticketed(&large, false, now_ms).await.unwrap()), "the full burst is there again");
    let used = Amounts { requests: 1, tokens: 110, cost_nusd: 1 };
    store.settle_unticketed(&Settlement::of(&other, used), now_ms).await.unwrap();
    store.release_unticketed(&large, now_ms).await.unwrap();
    // What the other used above is still taken: 50 of 100.
    let refused = refusal(store.admit_unticketed(&late, false, now_ms).await.unwrap());
    assert_eq!(refused, Refusal::Rate { whose: Whose::Tenant, kind: RateKind::Tokens, retry_after_ms: 6_000 });
}

pub async fn the_token_rate_is_corrected_at_settlement(store: Store) {
    let ask = |rate_tokens| Admission { token_rate: rate(1_000), rate_tokens, ..ask() };
    introduce(&store, &ask(0)).await;
    let used = |tokens| Amounts { requests: 1, tokens, cost_nusd: 1 };
    let remaining = |rates: RateStatus| rates.tokens.unwrap().remaining;
    let less = ask(600);
    assert_eq!(remaining(held(&store, &less).await.1), 400);
    store.settle_unticketed(&Settlement::of(&less, used(100)), NOW).await.unwrap();
    let more = ask(100);
    assert_eq!(remaining(held(&store, &more).await.1), 800, "what was not used came back");
    store.settle_unticketed(&Settlement::of(&more, used(850)), NOW).await.unwrap();
    let refused = refusal(admit(&store, &ask(100)).await);
    assert_eq!(
        refused,
        Refusal::Rate { whose: Whose::Tenant, kind: RateKind::Tokens, retry_after_ms: 3_000 },
        "what was used above was taken"
    );
}

pub async fn a_clock_that_is_set_back_refuses_for_no_longer_than_a_burst_takes(store: Store) {
    let back = NOW - 3_600_000;
    let by_requests = || Admission { request_rate: rate(10), ..ask() };
    let by_tokens = || Admission { token_rate: rate(1_000), rate_tokens: 600, ..ask() };
    introduce(&store, &ask()).await;
    let ahead = by_tokens();
    held(&store, &ahead).await;
    for _ in 0..10 {
        held(&store, &by_requests()).await;
    }
    let asked = async |ask: Admission, now_ms| store.admit_unticketed(&ask, false, now_ms).await.unwrap();
    for (ask, kind, wait_ms) in [(by_requests(), RateKind::Requests, 6_000), (by_tokens(), RateKind::Tokens, 36_000)] {
        let expected = Refusal::Rate { whose: Whose::Tenant, kind, retry_after_ms: wait_ms };
        assert_eq!(refusal(asked(ask.clone(), back).await), expected);
        assert!(passed(&asked(Admission { id: RequestId::new(back), ..ask }, back + wait_ms).await), "{kind:?}");
    }
    // What was taken before is given back by the new clock: 400 of 1,000 were left, and 500 come back.
    store
        .settle_unticketed(&Settlement::of(&ahead, Amounts { requests: 1, tokens: 100, cost_nusd: 1 }), back + 36_000)
        .await
        .unwrap();
    let verdict = asked(by_tokens(), back + 36_000).await;
    let Verdict::Refused { rates, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!(rates.tokens.unwrap().remaining, 500);
}

pub async fn a_place_in_flight_is_free_after_settlement_and_after_release(store: Store) {
    let ask = || Admission { concurrency: Some(2), ..ask() };
    let (settled, released) = (ask(), ask());
    introduce(&store, &settled).await;
    held(&store, &settled).await;
    held(&store, &released).await;
    assert_eq!(refusal(admit(&store, &ask()).await), Refusal::Concurrency(Whose::Tenant));
    store.settle_unticketed(&Settlement::of(&settled, HOLD), NOW).await.unwrap();
    held(&store, &ask()).await;
    assert_eq!(refusal(admit(&store, &ask()).await), Refusal::Concurrency(Whose::Tenant));
    store.release_unticketed(&released, NOW).await.unwrap();
    held(&store, &ask()).await;
    assert_eq!(refusal(admit(&store, &ask()).await), Refusal::Concurrency(Whose::Tenant));
}

pub async fn a_place_in_flight_is_freed_before_its_hold_ends(store: Store) {
    let ask = || Admission { concurrency: Some(1), ..ask() };
    let (left, expired) = (ask(), ask());
    introduce(&store, &left).await;
    held(&store, &left).await;
    store.free_place(&left, NOW).await.unwrap();
    held(&store, &expired).await;
    // Told twice, it is free once; and what it holds stays.
    store.free_place(&left, NOW).await.unwrap();
    assert_eq!(refusal(admit(&store, &ask()).await), Refusal::Concurrency(Whose::Tenant));
    assert_eq!(used_and_held(&store, "acme", day()).await.held, HOLD.plus(HOLD));
    assert_eq!(store.settle_unticketed(&Settlement::of(&left, HOLD), NOW).await.unwrap(), Settled::Done);
    assert_eq!(refusal(admit(&store, &ask()).await), Refusal::Concurrency(Whose::Tenant));
    // A lease that ends frees the place that is held, and no more than that.
    store.free_place(&expired, NOW).await.unwrap();
    let last = Admission { lease_until_ms: NOW + 600_000, ..ask() };
    held(&store, &last).await;
    let later = store.admit_unticketed(&ask(), false, NOW + 60_000).await.unwrap();
    assert_eq!(refusal(later), Refusal::Concurrency(Whose::Tenant));
    store.free_place(&ask(), NOW).await.unwrap();
    store.release_unticketed(&last, NOW).await.unwrap();
    held(&store, &ask()).await;
}

pub async fn a_quota_is_used_to_its_last_unit_and_no_further(store: Store) {
    let month = Window::month(NOW);
    let daily = |tenant: &str, ask: QuotaAsk| (tenant.to_owned(), vec![ask]);
    let monthly = vec![quota(day()), QuotaAsk { cost_nusd: Some(3_999), ..quota(month) }];
    for ((tenant, quotas), passing, expected) in [
        (daily("by-requests", QuotaAsk { requests: Some(3), ..quota(day()) }), 3, over(Quota::DailyRequests, day())),
        (daily("by-tokens", QuotaAsk { tokens: Some(300), ..quota(day()) }), 3, over(Quota::DailyTokens, day())),
        (
            daily("by-tokens-but-one", QuotaAsk { tokens: Some(299), ..quota(day()) }),
            2,
            over(Quota::DailyTokens, day()),
        ),
        (daily("by-cost", QuotaAsk { cost_nusd: Some(2_000), ..quota(day()) }), 2, over(Quota::DailyCost, day())),
        (daily("none", QuotaAsk { requests: Some(0), ..quota(day()) }), 0, over(Quota::DailyRequests, day())),
        (("by-month".to_owned(), monthly), 3, over(Quota::MonthlyCost, month)),
    ] {
        let ask = || Admission { tenant: tenant.as_str().into(), quotas: quotas.clone(), ..ask() };
        introduce(&store, &ask()).await;
        for place in 0..passing {
            let passed = ask();
            held(&store, &passed).await;
            // It makes no difference whether what is taken is held or charged.
            if place % 2 == 0 {
                store.settle_unticketed(&Settlement::of(&passed, HOLD), NOW).await.unwrap();
            }
        }
        assert_eq!(refusal(admit(&store, &ask()).await), expected, "{tenant}");
    }
}
