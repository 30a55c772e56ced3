//! Rates, concurrency, quotas and holds, one rule after the other.

use super::{NOW, Unticketed, incarnation_of, rebuild};
use crate::id::RequestId;
use crate::limit::gcra::Rate;
use crate::limit::window::Window;
use crate::money::{Amounts, Charged};
use crate::store::{
    Admission, Counters, ExpiredHold, QuotaAsk, RateRemaining, RateStatus, Refusal, Settled, Settlement, Ticket,
    Verdict, WindowUse,
};
use crate::tenant::{Quota, RateKind};
use futures_util::future::join_all;
use std::sync::Arc;
use tokio::task::JoinSet;

const DAY_MS: u64 = 86_400_000;
const VERSION: u64 = 7;
pub(super) const ZERO: Amounts = Amounts { requests: 0, tokens: 0, cost_nusd: 0 };
/// What [`ask`] holds.
const HOLD: Amounts = Amounts { requests: 1, tokens: 100, cost_nusd: 1_000 };

type Store = Arc<dyn Counters>;

pub(super) fn day() -> Window {
    Window::day(NOW, 0)
}

fn quota(window: Window) -> QuotaAsk {
    QuotaAsk { window, requests: None, tokens: None, cost_nusd: None }
}

/// A request of [`HOLD`] in today's window, without limits.
pub(super) fn ask() -> Admission {
    Admission {
        tenant: "acme".into(),
        id: RequestId::new(NOW),
        settings_version: VERSION,
        request_rate: None,
        token_rate: None,
        rate_tokens: HOLD.tokens,
        concurrency: None,
        quotas: vec![quota(day())],
        hold: HOLD,
        strict_hold: HOLD,
        lease_until_ms: NOW + 60_000,
    }
}

/// The same, with a quota of `requests` requests.
fn ask_of(requests: u64) -> Admission {
    Admission { quotas: vec![QuotaAsk { requests: Some(requests), ..quota(day()) }], ..ask() }
}

fn rate(limit: u64) -> Option<Rate> {
    Some(Rate::new(limit, 60_000, limit).unwrap())
}

pub(super) fn settlement(ask: &Admission, used: Amounts) -> Settlement {
    Settlement {
        tenant: ask.tenant.clone(),
        id: ask.id,
        windows: ask.quotas.iter().map(|quota| quota.window).collect(),
        used,
        lease_until_ms: ask.lease_until_ms,
        only_held: false,
        token_rate: ask.token_rate.map(|rate| (rate, ask.rate_tokens.min(rate.capacity()), used.tokens)),
    }
}

/// Tells the store all that `ask` needs it to know, with nothing used.
pub(super) async fn introduce(store: &Store, ask: &Admission) {
    let windows: Vec<_> = ask.quotas.iter().map(|quota| (quota.window, ZERO.into())).collect();
    rebuild(&**store, &ask.tenant, ask.settings_version, &windows, NOW).await;
}

pub(super) async fn used_and_held(store: &Store, tenant: &str, window: Window) -> WindowUse {
    store.usage(tenant, &[window], NOW).await.unwrap()[0].expect("the window is known")
}

async fn admit(store: &Store, ask: &Admission) -> Verdict {
    store.admit_unticketed(ask, false, NOW).await.unwrap()
}

async fn hit(store: &Store, ask: &Admission) -> Verdict {
    store.admit_unticketed(ask, true, NOW).await.unwrap()
}

/// What an admission that must pass holds.
async fn held(store: &Store, ask: &Admission) -> (Amounts, RateStatus) {
    match admit(store, ask).await {
        Verdict::Admitted { held, rates, .. } => (held, rates),
        other => panic!("should be admitted, but: {other:?}"),
    }
}

/// Why an admission that must not pass is refused.
fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Refused { refusal, .. } => refusal,
        other => panic!("should be refused, but: {other:?}"),
    }
}

fn over(quota: Quota, window: Window) -> Refusal {
    Refusal::Quota { quota, resets_at_ms: window.resets_at_ms }
}

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
                .settle_unticketed(&settlement(&ask, Amounts { requests: 1, tokens: 10, cost_nusd: 100 }), NOW)
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
    let told = |used, by| Charged { used: outage(used), outage: outage(by) };
    rebuild(&*store, "acme", VERSION, &[(day(), told(5, 2))], NOW).await;
    assert_eq!(used_and_held(&store, "acme", day()).await.used, outage(5), "a new window has all of it");
    held(&store, &ask()).await;
    let incarnation = incarnation_of(&*store, "acme", NOW).await;
    let table = [(told(7, 2), 5), (told(9, 4), 7), (told(9, 4), 7), (told(6, 3), 7), (told(12, 5), 8)];
    for (place, (charged, expected)) in table.into_iter().enumerate() {
        // Whoever has served without the store names no incarnation.
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
    let (lost, settled) = (ask(), ask());
    introduce(&store, &lost).await;
    held(&store, &lost).await;
    held(&store, &settled).await;
    store.settle_unticketed(&settlement(&settled, HOLD), NOW).await.unwrap();
    let look = async |now_ms| {
        let next = Admission { lease_until_ms: now_ms + 600_000, ..ask() };
        let _ = store.admit_unticketed(&next, false, now_ms).await.unwrap();
        store.take_expired("acme")
    };
    assert_eq!(look(lost.lease_until_ms - 1).await, []);
    let expected = [ExpiredHold { id: lost.id, held: HOLD, windows: vec![day(), month] }];
    assert_eq!(look(lost.lease_until_ms).await, expected);
    assert_eq!(store.take_expired("acme"), [], "it is told to one");
    assert_eq!(look(lost.lease_until_ms + 59_999).await, [], "for a minute");
    assert_eq!(look(lost.lease_until_ms + 60_000).await, expected, "then to another");
    store.acknowledge("acme", &expected, lost.lease_until_ms + 60_001).await.unwrap();
    assert_eq!(look(lost.lease_until_ms + 200_000).await, []);
    let thawed = store.settle_unticketed(&settlement(&lost, HOLD), lost.lease_until_ms + 200_000).await.unwrap();
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
    assert_eq!(refusal(refused.clone()), Refusal::Concurrency);
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
        "request rate" => Refusal::Rate { kind: RateKind::Requests, retry_after_ms: 0 },
        "token rate" => Refusal::Rate { kind: RateKind::Tokens, retry_after_ms: 0 },
        "concurrency" => Refusal::Concurrency,
        "requests" => over(Quota::DailyRequests, day()),
        "tokens" => over(Quota::DailyTokens, day()),
        "cost" => over(Quota::DailyCost, day()),
        _ => over(Quota::MonthlyCost, month),
    };
    for _ in 0..5 {
        let got = match refusal(admit(&store, &ask(tight)).await) {
            Refusal::Rate { kind, .. } => Refusal::Rate { kind, retry_after_ms: 0 },
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
        assert_eq!(refused, Refusal::Rate { kind: RateKind::Requests, retry_after_ms: wait_ms }, "after {after_ms} ms");
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
    assert_eq!(refused, Refusal::Rate { kind: RateKind::Tokens, retry_after_ms: 12_000 });
    held(&store, &ask(40)).await;
}

pub async fn more_tokens_than_a_burst_pass_when_the_full_burst_is_there(store: Store) {
    let ask = || Admission { token_rate: rate(100), rate_tokens: 5_000, ..ask() };
    introduce(&store, &ask()).await;
    held(&store, &ask()).await;
    let refused = refusal(store.admit_unticketed(&ask(), false, NOW + 59_999).await.unwrap());
    assert_eq!(refused, Refusal::Rate { kind: RateKind::Tokens, retry_after_ms: 1 });
    let later = store.admit_unticketed(&ask(), false, NOW + 60_000).await.unwrap();
    assert!(matches!(later, Verdict::Admitted { .. }), "{later:?}");
}

pub async fn the_token_rate_is_corrected_at_settlement(store: Store) {
    let ask = |rate_tokens| Admission { token_rate: rate(1_000), rate_tokens, ..ask() };
    introduce(&store, &ask(0)).await;
    let used = |tokens| Amounts { requests: 1, tokens, cost_nusd: 1 };
    let remaining = |rates: RateStatus| rates.tokens.unwrap().remaining;
    let less = ask(600);
    assert_eq!(remaining(held(&store, &less).await.1), 400);
    store.settle_unticketed(&settlement(&less, used(100)), NOW).await.unwrap();
    let more = ask(100);
    assert_eq!(remaining(held(&store, &more).await.1), 800, "what was not used came back");
    store.settle_unticketed(&settlement(&more, used(850)), NOW).await.unwrap();
    let refused = refusal(admit(&store, &ask(100)).await);
    assert_eq!(
        refused,
        Refusal::Rate { kind: RateKind::Tokens, retry_after_ms: 3_000 },
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
        let expected = Refusal::Rate { kind, retry_after_ms: wait_ms };
        assert_eq!(refusal(asked(ask.clone(), back).await), expected);
        assert!(passed(&asked(Admission { id: RequestId::new(back), ..ask }, back + wait_ms).await), "{kind:?}");
    }
    // What was taken before is given back by the new clock: 400 of 1,000 were left, and 500 come back.
    store
        .settle_unticketed(&settlement(&ahead, Amounts { requests: 1, tokens: 100, cost_nusd: 1 }), back + 36_000)
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
    assert_eq!(refusal(admit(&store, &ask()).await), Refusal::Concurrency);
    store.settle_unticketed(&settlement(&settled, HOLD), NOW).await.unwrap();
    held(&store, &ask()).await;
    assert_eq!(refusal(admit(&store, &ask()).await), Refusal::Concurrency);
    store.release_unticketed(&released, NOW).await.unwrap();
    held(&store, &ask()).await;
    assert_eq!(refusal(admit(&store, &ask()).await), Refusal::Concurrency);
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
                store.settle_unticketed(&settlement(&passed, HOLD), NOW).await.unwrap();
            }
        }
        assert_eq!(refusal(admit(&store, &ask()).await), expected, "{tenant}");
    }
}

pub async fn a_settlement_replaces_the_hold(store: Store) {
    let (one, other) = (ask(), ask());
    introduce(&store, &one).await;
    held(&store, &one).await;
    held(&store, &other).await;
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used: ZERO, held: HOLD.plus(HOLD) });
    let used = Amounts { requests: 1, tokens: 33, cost_nusd: 330 };
    assert_eq!(store.settle_unticketed(&settlement(&one, used), NOW).await.unwrap(), Settled::Done);
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used, held: HOLD });
}

pub async fn more_than_was_held_is_charged_exactly(store: Store) {
    let ask = Admission { quotas: vec![QuotaAsk { tokens: Some(100), ..quota(day()) }], ..ask() };
    introduce(&store, &ask).await;
    held(&store, &ask).await;
    let used = Amounts { requests: 1, tokens: 140, cost_nusd: 1_400 };
    assert_eq!(store.settle_unticketed(&settlement(&ask, used), NOW).await.unwrap(), Settled::Done);
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used, held: ZERO });
    let next = Admission { id: RequestId::new(NOW), ..ask };
    assert_eq!(refusal(admit(&store, &next).await), over(Quota::DailyTokens, day()));
}

pub async fn a_settlement_sent_again_charges_once(store: Store) {
    let ask = Admission { token_rate: rate(1_000), ..ask() };
    introduce(&store, &ask).await;
    held(&store, &ask).await;
    let settlement = settlement(&ask, Amounts { requests: 1, tokens: 300, cost_nusd: 50 });
    assert_eq!(store.settle_unticketed(&settlement, NOW).await.unwrap(), Settled::Done);
    for _ in 0..3 {
        assert_eq!(store.settle_unticketed(&settlement, NOW + 1).await.unwrap(), Settled::Again);
    }
    let again = store.settle_unticketed(&Settlement { used: HOLD, ..settlement.clone() }, NOW).await.unwrap();
    assert_eq!(again, Settled::Again, "the first word counts");
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used: settlement.used, held: ZERO });
    // Of the 1000 tokens of the rate 300 are used, and the next request takes 100.
    let next = Admission { id: RequestId::new(NOW), ..ask };
    assert_eq!(held(&store, &next).await.1.tokens.unwrap().remaining, 600, "the rate is corrected once");
}

pub async fn a_settlement_without_its_hold_charges_once(store: Store) {
    let ask = ask();
    introduce(&store, &ask).await;
    let settlement = settlement(&ask, Amounts { requests: 1, tokens: 20, cost_nusd: 200 });
    assert_eq!(store.settle_unticketed(&settlement, NOW).await.unwrap(), Settled::WithoutHold);
    assert_eq!(store.settle_unticketed(&settlement, NOW).await.unwrap(), Settled::Again);
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used: settlement.used, held: ZERO });
}

pub async fn what_tells_its_ticket_counts_once(store: Store) {
    let (settled, released, earlier) = (ask(), ask(), ask());
    introduce(&store, &settled).await;
    let used = Amounts { requests: 1, tokens: 20, cost_nusd: 200 };
    let ticket_of = async |ask: &Admission| {
        let mut ticket = Ticket::new(ask.id);
        let verdict = store.admit(ask, &mut ticket, false, NOW).await.unwrap();
        assert!(matches!(verdict, Verdict::Admitted { held: HOLD, .. }), "{verdict:?}");
        assert!(!ticket.is_doubtful());
        ticket
    };
    let (ticket, settlement) = (ticket_of(&settled).await, settlement(&settled, used));
    for expected in [Settled::Done, Settled::Again, Settled::Again] {
        assert_eq!(store.settle(&settlement, &ticket, NOW).await.unwrap(), expected);
    }
    store.release(&settled, &ticket, NOW).await.unwrap();
    let ticket = ticket_of(&released).await;
    for _ in 0..2 {
        store.release(&released, &ticket, NOW).await.unwrap();
    }
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used, held: ZERO });
    // Its hold was lost with the counters of before.
    let mut ticket = Ticket::new(earlier.id);
    ticket.admitted_in(Some(1));
    let before = Settlement { id: earlier.id, ..settlement };
    assert_eq!(store.settle(&before, &ticket, NOW).await.unwrap(), Settled::WithoutHold);
    assert_eq!(store.settle(&before, &ticket, NOW).await.unwrap(), Settled::Again);
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used: used.plus(used), held: ZERO });
}

pub async fn what_is_charged_only_in_place_of_its_hold_is_not_charged_without(store: Store) {
    let (with, without) = (ask(), ask());
    introduce(&store, &with).await;
    held(&store, &with).await;
    let used = Amounts { requests: 1, tokens: 20, cost_nusd: 200 };
    for (ask, expected) in [(&without, Settled::WithoutHold), (&with, Settled::Done)] {
        let late = Settlement { only_held: true, ..settlement(ask, used) };
        assert_eq!(store.settle_unticketed(&late, NOW).await.unwrap(), expected);
        assert_eq!(store.settle_unticketed(&late, NOW).await.unwrap(), Settled::Again);
    }
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used, held: ZERO });
}

pub async fn a_released_hold_leaves_no_trace(store: Store) {
    let ask = || Admission { request_rate: rate(10), token_rate: rate(1_000), concurrency: Some(1), ..ask_of(1) };
    let released = ask();
    introduce(&store, &released).await;
    let before = held(&store, &released).await;
    store.release_unticketed(&released, NOW).await.unwrap();
    store.release_unticketed(&released, NOW).await.unwrap();
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse::default());
    assert_eq!(held(&store, &ask()).await, before, "rates, quota and places in flight are as they were");
    store.release_unticketed(&released, NOW).await.unwrap();
    assert_eq!(used_and_held(&store, "acme", day()).await.held, HOLD, "it gives back nobody else's");
}

pub async fn a_hold_past_its_lease_is_charged_in_full_and_frees_its_place(store: Store) {
    let lost = Admission { concurrency: Some(1), ..ask() };
    introduce(&store, &lost).await;
    held(&store, &lost).await;
    let next =
        |after_ms| Admission { id: RequestId::new(NOW), lease_until_ms: NOW + after_ms + 60_000, ..lost.clone() };
    let early = store.admit_unticketed(&next(59_999), false, NOW + 59_999).await.unwrap();
    assert_eq!(refusal(early), Refusal::Concurrency, "the lease runs");
    let usage = async |at_ms| store.usage("acme", &[day()], at_ms).await.unwrap()[0].unwrap();
    assert_eq!(usage(NOW + 59_999).await, WindowUse { used: ZERO, held: HOLD });
    assert_eq!(usage(NOW + 60_000).await, WindowUse { used: HOLD, held: ZERO });
    let verdict = store.admit_unticketed(&next(60_000), false, NOW + 60_000).await.unwrap();
    assert!(matches!(verdict, Verdict::Admitted { .. }), "{verdict:?}");
    let late = settlement(&lost, Amounts { requests: 1, tokens: 1, cost_nusd: 1 });
    assert_eq!(store.settle_unticketed(&late, NOW + 60_001).await.unwrap(), Settled::Again, "it is charged already");
    assert_eq!(usage(NOW + 60_001).await, WindowUse { used: HOLD, held: HOLD });
}

pub async fn a_hold_is_extended_as_far_as_the_quota_goes(store: Store) {
    let month = Window::month(NOW);
    let limits = QuotaAsk { requests: Some(1), tokens: Some(300), ..quota(day()) };
    let ask = Admission { quotas: vec![limits, QuotaAsk { cost_nusd: Some(2_000), ..quota(month) }], ..ask() };
    introduce(&store, &ask).await;
    let target = |tokens, cost_nusd| Amounts { requests: 1, tokens, cost_nusd };
    assert!(!store.extend(&ask, target(1, 1), NOW).await.unwrap(), "there is no hold yet");
    held(&store, &ask).await;
    let mut expected = HOLD;
    for (to, granted) in [
        (target(301, 1_000), false),
        (target(100, 2_001), false),
        (target(300, 2_001), false),
        (target(250, 1_900), true),
        (target(250, 1_900), true),
        (target(301, 1_900), false),
        (target(10, 2_000), true),
        (target(300, 10), true),
        (target(300, 2_001), false),
        (target(0, 0), true),
    ] {
        assert_eq!(store.extend(&ask, to, NOW).await.unwrap(), granted, "{to:?}");
        if granted {
            expected = Amounts {
                requests: 1,
                tokens: expected.tokens.max(to.tokens),
                cost_nusd: expected.cost_nusd.max(to.cost_nusd),
            };
        }
        for window in [day(), month] {
            assert_eq!(used_and_held(&store, "acme", window).await, WindowUse { used: ZERO, held: expected }, "{to:?}");
        }
    }
    let used = Amounts { requests: 1, tokens: 250, cost_nusd: 1_500 };
    store.settle_unticketed(&settlement(&ask, used), NOW).await.unwrap();
    for window in [day(), month] {
        assert_eq!(
            used_and_held(&store, "acme", window).await,
            WindowUse { used, held: ZERO },
            "all of it is replaced"
        );
    }
    assert!(!store.extend(&ask, target(1, 1), NOW).await.unwrap(), "there is no hold any more");
}

pub async fn an_admission_sent_again_after_its_end_takes_nothing_more(store: Store) {
    let ask = || Admission { request_rate: rate(10), concurrency: Some(1), ..ask() };
    let (settled, released, hit_once) = (ask(), ask(), ask());
    introduce(&store, &settled).await;
    held(&store, &settled).await;
    store.settle_unticketed(&settlement(&settled, HOLD), NOW).await.unwrap();
    held(&store, &released).await;
    store.release_unticketed(&released, NOW).await.unwrap();
    hit(&store, &hit_once).await;
    let before = used_and_held(&store, "acme", day()).await;
    assert_eq!(before, WindowUse { used: HOLD.plus(Amounts { requests: 1, ..ZERO }), held: ZERO });
    for (late, is_hit) in [(&settled, false), (&released, false), (&hit_once, true)] {
        let verdict = store.admit_unticketed(late, is_hit, NOW).await.unwrap();
        assert!(matches!(verdict, Verdict::Admitted { held: ZERO, .. }), "{verdict:?}");
    }
    assert_eq!(used_and_held(&store, "acme", day()).await, before);
    assert_eq!(
        held(&store, &ask()).await.1.requests.unwrap().remaining,
        7,
        "the rate was taken from by three requests"
    );
}

pub async fn where_little_is_left_the_strict_hold_is_taken(store: Store) {
    let strict = Amounts { requests: 1, tokens: 300, cost_nusd: 3_000 };
    for (tenant, tokens, cost_nusd, expected) in [
        ("no-limit", None, None, vec![HOLD, HOLD, HOLD]),
        ("by-tokens", Some(1_000), None, vec![HOLD, strict]),
        ("by-tokens-but-one", Some(999), None, vec![strict]),
        ("by-cost", None, Some(11_000), vec![HOLD, HOLD, strict]),
        ("ample-tokens", Some(10_000), Some(10_000), vec![HOLD, strict]),
    ] {
        let quotas = vec![QuotaAsk { window: day(), requests: Some(10), tokens, cost_nusd }];
        let ask = || Admission { tenant: tenant.into(), strict_hold: strict, quotas: quotas.clone(), ..ask() };
        introduce(&store, &ask()).await;
        for (place, expected) in expected.into_iter().enumerate() {
            assert_eq!(held(&store, &ask()).await.0, expected, "{tenant}: request {place}");
        }
    }
}

pub async fn a_hit_holds_nothing_and_counts_one_request(store: Store) {
    let ask = || Admission { request_rate: rate(10), token_rate: rate(1_000), concurrency: Some(1), ..ask_of(5) };
    introduce(&store, &ask()).await;
    for hits in 1..=3 {
        let verdict = hit(&store, &ask()).await;
        let Verdict::Admitted { held: ZERO, rates, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(rates.requests.unwrap().remaining, 10 - hits);
        assert_eq!(rates.tokens.unwrap().remaining, 1_000, "the rate of tokens is not asked");
        let used = Amounts { requests: hits, ..ZERO };
        assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used, held: ZERO });
    }
    held(&store, &ask()).await;
    assert_eq!(refusal(admit(&store, &ask()).await), Refusal::Concurrency);
    let verdict = hit(&store, &ask()).await;
    assert!(matches!(verdict, Verdict::Admitted { .. }), "a hit takes no place in flight: {verdict:?}");
}

pub async fn a_hit_is_refused_by_an_exhausted_request_quota_alone(store: Store) {
    let limits = QuotaAsk { requests: Some(2), tokens: Some(100), cost_nusd: Some(1_000), ..quota(day()) };
    let ask = || Admission { quotas: vec![limits.clone()], ..ask() };
    let first = ask();
    introduce(&store, &first).await;
    held(&store, &first).await;
    store.settle_unticketed(&settlement(&first, HOLD), NOW).await.unwrap();
    assert_eq!(refusal(admit(&store, &ask()).await), over(Quota::DailyTokens, day()));
    let verdict = hit(&store, &ask()).await;
    assert!(matches!(verdict, Verdict::Admitted { .. }), "a hit uses neither tokens nor money: {verdict:?}");
    assert_eq!(refusal(hit(&store, &ask()).await), over(Quota::DailyRequests, day()));
}

pub async fn usage_is_told_per_window_in_the_order_asked(store: Store) {
    let month = Window::month(NOW);
    let windows = [month, day(), Window::day(NOW + DAY_MS, 0)];
    assert_eq!(store.usage("acme", &windows, NOW).await.unwrap(), [None, None, None], "nobody has been here");
    let used = |requests| Amounts { requests, tokens: 0, cost_nusd: 0 };
    rebuild(&*store, "acme", VERSION, &[(day(), used(2).into()), (month, used(9).into())], NOW).await;
    let of = |requests| Some(WindowUse { used: used(requests), held: ZERO });
    assert_eq!(store.usage("acme", &windows, NOW).await.unwrap(), [of(9), of(2), None]);
    assert_eq!(store.usage("other", &windows, NOW).await.unwrap(), [None, None, None]);
}

pub async fn a_new_day_begins_at_zero_and_the_old_one_is_charged_to_its_end(store: Store) {
    let yesterday = Admission { lease_until_ms: NOW + 2 * DAY_MS, ..ask_of(1) };
    introduce(&store, &yesterday).await;
    held(&store, &yesterday).await;
    let (tomorrow, later) = (Window::day(NOW + DAY_MS, 0), NOW + DAY_MS);
    let quotas = vec![QuotaAsk { requests: Some(1), ..quota(tomorrow) }];
    let next = Admission { quotas, lease_until_ms: NOW + 2 * DAY_MS, ..ask() };
    let verdict = store.admit_unticketed(&next, false, later).await.unwrap();
    let incarnation = incarnation_of(&*store, "acme", later).await;
    assert_eq!(verdict, Verdict::Stale { settings: false, windows: vec![tomorrow], incarnation });
    rebuild(&*store, "acme", VERSION, &[(tomorrow, ZERO.into())], later).await;
    assert!(matches!(store.admit_unticketed(&next, false, later).await.unwrap(), Verdict::Admitted { .. }));
    store.settle_unticketed(&settlement(&yesterday, HOLD), later).await.unwrap();
    let of = |used, held| Some(WindowUse { used, held });
    let windows = store.usage("acme", &[day(), tomorrow], later).await.unwrap();
    assert_eq!(windows, [of(HOLD, ZERO), of(ZERO, HOLD)]);
}

pub async fn tenants_share_nothing(store: Store) {
    let acme = Admission { request_rate: rate(1), concurrency: Some(1), ..ask_of(1) };
    let other = Admission { tenant: "acme2".into(), ..acme.clone() };
    introduce(&store, &acme).await;
    held(&store, &acme).await;
    assert!(matches!(admit(&store, &other).await, Verdict::Stale { settings: true, .. }));
    introduce(&store, &other).await;
    held(&store, &other).await;
    store.settle_unticketed(&settlement(&other, HOLD), NOW).await.unwrap();
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used: ZERO, held: HOLD }, "one id, two tenants");
    assert_eq!(used_and_held(&store, "acme2", day()).await, WindowUse { used: HOLD, held: ZERO });
}

pub async fn of_two_hundred_at_once_exactly_fifty_pass(store: Store) {
    introduce(&store, &ask_of(50)).await;
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let store = store.clone();
        // Each request is sent twice, as after a time-out.
        tasks.spawn(async move {
            let asks = [ask_of(50), ask_of(50)];
            let verdicts = join_all(asks.iter().chain(&asks).map(|ask| admit(&store, ask))).await;
            assert_eq!(
                verdicts[..2].iter().map(passed).collect::<Vec<_>>(),
                verdicts[2..].iter().map(passed).collect::<Vec<_>>()
            );
            verdicts[..2].iter().filter(|verdict| passed(verdict)).count()
        });
    }
    let mut passing = 0;
    while let Some(done) = tasks.join_next().await {
        passing += done.unwrap();
    }
    assert_eq!(passing, 50);
    assert_eq!(used_and_held(&store, "acme", day()).await.held.requests, 50);
}

fn passed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Admitted { .. })
}
