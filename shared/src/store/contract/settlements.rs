//! What becomes of a hold, one rule after the other.

use super::asks::{
    DAY_MS, HOLD, Store, VERSION, ZERO, admit, ask, ask_of, day, held, hit, introduce, over, passed, quota, rate,
    refusal, used_and_held,
};
use super::{NOW, Unticketed, incarnation_of, rebuild};
use crate::id::RequestId;
use crate::limit::window::Window;
use crate::money::Amounts;
use crate::store::{Admission, QuotaAsk, Refusal, Settled, Settlement, Ticket, Verdict, WindowUse};
use crate::tenant::{Quota, Whose};
use futures_util::future::join_all;
use tokio::task::JoinSet;

pub async fn a_settlement_replaces_the_hold(store: Store) {
    let (one, other) = (ask(), ask());
    introduce(&store, &one).await;
    held(&store, &one).await;
    held(&store, &other).await;
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used: ZERO, held: HOLD.plus(HOLD) });
    let used = Amounts { requests: 1, tokens: 33, cost_nusd: 330 };
    assert_eq!(store.settle_unticketed(&Settlement::of(&one, used), NOW).await.unwrap(), Settled::Done);
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used, held: HOLD });
}

pub async fn more_than_was_held_is_charged_exactly(store: Store) {
    let ask = Admission { quotas: vec![QuotaAsk { tokens: Some(100), ..quota(day()) }], ..ask() };
    introduce(&store, &ask).await;
    held(&store, &ask).await;
    let used = Amounts { requests: 1, tokens: 140, cost_nusd: 1_400 };
    assert_eq!(store.settle_unticketed(&Settlement::of(&ask, used), NOW).await.unwrap(), Settled::Done);
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used, held: ZERO });
    let next = Admission { id: RequestId::new(NOW), ..ask };
    assert_eq!(refusal(admit(&store, &next).await), over(Quota::DailyTokens, day()));
}

pub async fn a_settlement_sent_again_charges_once(store: Store) {
    let ask = Admission { token_rate: rate(1_000), ..ask() };
    introduce(&store, &ask).await;
    held(&store, &ask).await;
    let settlement = Settlement::of(&ask, Amounts { requests: 1, tokens: 300, cost_nusd: 50 });
    assert_eq!(store.settle_unticketed(&settlement, NOW).await.unwrap(), Settled::Done);
    for _ in 0..3 {
        assert_eq!(store.settle_unticketed(&settlement, NOW + 1).await.unwrap(), Settled::Again);
    }
    let repeated = store.settle_unticketed(&Settlement { used: HOLD, ..settlement.clone() }, NOW).await.unwrap();
    assert_eq!(repeated, Settled::Again, "the first word counts");
    assert_eq!(used_and_held(&store, "acme", day()).await, WindowUse { used: settlement.used, held: ZERO });
    // Of the 1000 tokens of the rate 300 are used, and the next request takes 100.
    let next = Admission { id: RequestId::new(NOW), ..ask };
    assert_eq!(held(&store, &next).await.1.tokens.unwrap().remaining, 600, "the rate is corrected once");
}

pub async fn a_settlement_without_its_hold_charges_once(store: Store) {
    let ask = ask();
    introduce(&store, &ask).await;
    let settlement = Settlement::of(&ask, Amounts { requests: 1, tokens: 20, cost_nusd: 200 });
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
    let (ticket, settlement) = (ticket_of(&settled).await, Settlement::of(&settled, used));
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
        let late = Settlement { only_held: true, ..Settlement::of(ask, used) };
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
    let expiring = Admission { concurrency: Some(1), ..ask() };
    introduce(&store, &expiring).await;
    held(&store, &expiring).await;
    let next =
        |after_ms| Admission { id: RequestId::new(NOW), lease_until_ms: NOW + after_ms + 60_000, ..expiring.clone() };
    let early = store.admit_unticketed(&next(59_999), false, NOW + 59_999).await.unwrap();
    assert_eq!(refusal(early), Refusal::Concurrency(Whose::Tenant), "the lease runs");
    let usage = async |at_ms| store.usage("acme", &[day()], at_ms).await.unwrap()[0].unwrap();
    assert_eq!(usage(NOW + 59_999).await, WindowUse { used: ZERO, held: HOLD });
    assert_eq!(usage(NOW + 60_000).await, WindowUse { used: HOLD, held: ZERO });
    let verdict = store.admit_unticketed(&next(60_000), false, NOW + 60_000).await.unwrap();
    assert!(matches!(verdict, Verdict::Admitted { .. }), "{verdict:?}");
    let late = Settlement::of(&expiring, Amounts { requests: 1, tokens: 1, cost_nusd: 1 });
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
    store.settle_unticketed(&Settlement::of(&ask, used), NOW).await.unwrap();
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
    store.settle_unticketed(&Settlement::of(&settled, HOLD), NOW).await.unwrap();
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

pub async fn where_little_is_left_the_upper_bound_is_held(store: Store) {
    let upper_bound = Amounts { requests: 1, tokens: 300, cost_nusd: 3_000 };
    for (tenant, tokens, cost_nusd, expected) in [
        ("no-limit", None, None, vec![HOLD, HOLD, HOLD]),
        ("by-tokens", Some(1_000), None, vec![HOLD, upper_bound]),
        ("by-tokens-but-one", Some(999), None, vec![upper_bound]),
        ("by-cost", None, Some(11_000), vec![HOLD, HOLD, upper_bound]),
        ("ample-tokens", Some(10_000), Some(10_000), vec![HOLD, upper_bound]),
    ] {
        let quotas = vec![QuotaAsk { window: day(), requests: Some(10), tokens, cost_nusd }];
        let ask =
            || Admission { tenant: tenant.into(), upper_bound_hold: upper_bound, quotas: quotas.clone(), ..ask() };
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
    assert_eq!(refusal(admit(&store, &ask()).await), Refusal::Concurrency(Whose::Tenant));
    let verdict = hit(&store, &ask()).await;
    assert!(matches!(verdict, Verdict::Admitted { .. }), "a hit takes no place in flight: {verdict:?}");
}

pub async fn a_hit_is_refused_by_an_exhausted_request_quota_alone(store: Store) {
    let limits = QuotaAsk { requests: Some(2), tokens: Some(100), cost_nusd: Some(1_000), ..quota(day()) };
    let ask = || Admission { quotas: vec![limits.clone()], ..ask() };
    let first = ask();
    introduce(&store, &first).await;
    held(&store, &first).await;
    store.settle_unticketed(&Settlement::of(&first, HOLD), NOW).await.unwrap();
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
    store.settle_unticketed(&Settlement::of(&yesterday, HOLD), later).await.unwrap();
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
    store.settle_unticketed(&Settlement::of(&other, HOLD), NOW).await.unwrap();
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
