//! Keys that have limits of their own beside their tenant's: a request passes both, or takes nothing of either.

use super::asks::{
    HOLD, Store, VERSION, ZERO, admit, ask, day, held, hit, introduce, over, passed, quota, rate, refusal,
    used_and_held,
};
use super::{NOW, Unticketed, incarnation_of, rebuild};
use crate::id::RequestId;
use crate::limit::lineage::Lineage;
use crate::limit::window::Window;
use crate::money::Amounts;
use crate::store::{
    Admission, ExpiredHold, PaceLimits, QuotaAsk, RateRemaining, Refusal, Settled, Settlement, Verdict, WindowUse,
};
use crate::tenant::{Quota, RateKind, Whose};
use tokio::task::JoinSet;

const ONE: Amounts = Amounts { requests: 1, tokens: 10, cost_nusd: 100 };

fn lineage() -> Lineage {
    Lineage::of("ci")
}

fn day_of_key() -> Window {
    day().of_key(lineage())
}

/// A request with a key of so many requests a day, of a tenant of so many.
fn ask_of(tenant: u64, key: u64) -> Admission {
    let of = |window, requests| QuotaAsk { requests: Some(requests), ..quota(window) };
    Admission { quotas: vec![of(day(), tenant), of(day_of_key(), key)], ..ask() }
}

fn at_pace(limits: PaceLimits) -> Admission {
    Admission { key: Some((lineage(), limits)), ..ask() }
}

async fn both(store: &Store) -> [WindowUse; 2] {
    [used_and_held(store, "acme", day()).await, used_and_held(store, "acme", day_of_key()).await]
}

pub async fn a_request_that_does_not_fit_the_key_takes_nothing_of_its_tenant(store: Store) {
    introduce(&store, &ask_of(9, 1)).await;
    held(&store, &ask_of(9, 1)).await;
    let before = both(&store).await;
    assert_eq!(before, [WindowUse { used: ZERO, held: HOLD }; 2]);
    for _ in 0..3 {
        assert_eq!(refusal(admit(&store, &ask_of(9, 1)).await), over(Quota::DailyRequests, day_of_key()));
    }
    assert_eq!(both(&store).await, before);
    held(&store, &ask()).await;
}

pub async fn a_request_that_does_not_fit_the_tenant_takes_nothing_of_its_key(store: Store) {
    let limits = PaceLimits { request_rate: rate(2), token_rate: rate(1_000), concurrency: Some(2) };
    let of_key = |requests| Admission { key: Some((lineage(), limits)), ..ask_of(requests, 9) };
    introduce(&store, &of_key(1)).await;
    held(&store, &of_key(1)).await;
    let before = both(&store).await;
    for _ in 0..3 {
        assert_eq!(refusal(admit(&store, &of_key(1)).await), over(Quota::DailyRequests, day()));
    }
    assert_eq!(both(&store).await, before);
    let (_, rates) = held(&store, &of_key(2)).await;
    assert_eq!((rates.requests.unwrap().remaining, rates.tokens.unwrap().remaining), (0, 800), "two were taken");
}

/// A request of which exactly two pass: by rates, by places, and by each quota of the key; but one, by its limit of this number.
fn two_pass(tight: Option<usize>) -> Admission {
    let month = Window::month(NOW).of_key(lineage());
    let limit = |place, tight_limit: u64, loose: u64| if tight == Some(place) { tight_limit } else { loose };
    let burst = |per_minute, burst| crate::limit::gcra::Rate::new(per_minute, 60_000, burst).ok();
    let own = PaceLimits {
        request_rate: burst(10, limit(0, 1, 10)),
        token_rate: burst(1_000, limit(1, 150, 1_000)),
        concurrency: Some(limit(2, 1, 2)),
    };
    let quotas = vec![
        quota(day()),
        QuotaAsk {
            window: day_of_key(),
            requests: Some(limit(3, 1, 2)),
            tokens: Some(limit(4, 199, 200)),
            cost_nusd: Some(limit(5, 1_999, 2_000)),
        },
        QuotaAsk { cost_nusd: Some(limit(6, 1_999, 2_000)), ..quota(month) },
    ];
    let tenant = PaceLimits { request_rate: rate(20), token_rate: rate(2_000), concurrency: Some(2) };
    let PaceLimits { request_rate, token_rate, concurrency } = tenant;
    Admission { request_rate, token_rate, concurrency, key: Some((lineage(), own)), quotas, ..super::asks::ask() }
}

/// The key's own limits, one after the other the one that is to deny.
pub async fn a_denial_by_one_of_the_keys_limits_takes_nothing_of_any(fresh: impl AsyncFn() -> Store) {
    use RateKind::{Requests, Tokens};
    let month = Window::month(NOW).of_key(lineage());
    let of_rate = |kind| Refusal::Rate { whose: Whose::Key, kind, retry_after_ms: 0 };
    for (tight, expected) in [
        of_rate(Requests),
        of_rate(Tokens),
        Refusal::Concurrency(Whose::Key),
        over(Quota::DailyRequests, day_of_key()),
        over(Quota::DailyTokens, day_of_key()),
        over(Quota::DailyCost, day_of_key()),
        over(Quota::MonthlyCost, month),
    ]
    .into_iter()
    .enumerate()
    {
        let store = fresh().await;
        introduce(&store, &two_pass(None)).await;
        held(&store, &two_pass(None)).await;
        for _ in 0..3 {
            let got = match refusal(admit(&store, &two_pass(Some(tight))).await) {
                Refusal::Rate { whose, kind, .. } => Refusal::Rate { whose, kind, retry_after_ms: 0 },
                other => other,
            };
            assert_eq!(got, expected);
        }
        // Two places in flight, of the tenant and of the key, and exactly two requests pass: nobody else left a trace.
        let (_, rates) = held(&store, &two_pass(None)).await;
        assert_eq!((rates.requests.unwrap().remaining, rates.tokens.unwrap().remaining), (8, 800), "{expected:?}");
        let bare = Admission { key: None, ..two_pass(None) };
        let refused = store.admit_unticketed(&bare, false, NOW).await.unwrap();
        let Verdict::Refused { refusal: Refusal::Concurrency(Whose::Tenant), rates } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((rates.requests.unwrap().remaining, rates.tokens.unwrap().remaining), (18, 1_800), "{expected:?}");
    }
}

pub async fn the_rates_that_are_told_are_those_with_less_left(store: Store) {
    let own = PaceLimits { request_rate: rate(3), token_rate: rate(10_000), concurrency: None };
    let ask = |own| Admission { request_rate: rate(10), token_rate: rate(1_000), ..at_pace(own) };
    introduce(&store, &ask(own)).await;
    let (_, rates) = held(&store, &ask(own)).await;
    assert_eq!(rates.requests, Some(RateRemaining { limit: 3, remaining: 2, reset_ms: 20_000 }), "the key's");
    assert_eq!(rates.tokens, Some(RateRemaining { limit: 1_000, remaining: 900, reset_ms: 6_000 }), "the tenant's");
    for _ in 0..7 {
        held(&store, &Admission { key: None, ..ask(own) }).await;
    }
    let (_, rates) = held(&store, &ask(own)).await;
    assert_eq!(
        rates.requests.map(|rate| (rate.limit, rate.remaining)),
        Some((10, 1)),
        "as few, and longer until all are there again"
    );
}

pub async fn a_release_gives_back_what_was_taken_of_the_key(store: Store) {
    let own = PaceLimits { request_rate: rate(10), token_rate: rate(150), concurrency: Some(1) };
    let ask = || Admission { rate_tokens: 5_000, key: Some((lineage(), own)), ..ask_of(9, 1) };
    let released = ask();
    introduce(&store, &released).await;
    let before = held(&store, &released).await;
    for _ in 0..2 {
        store.release_unticketed(&released, NOW).await.unwrap();
        assert_eq!(both(&store).await, [WindowUse::default(); 2]);
    }
    assert_eq!(held(&store, &ask()).await, before);
}

pub async fn a_settlement_corrects_both_and_frees_both_places(store: Store) {
    let own = PaceLimits { request_rate: None, token_rate: rate(1_000), concurrency: Some(1) };
    let ask = || Admission { token_rate: rate(2_000), key: Some((lineage(), own)), ..ask_of(9, 9) };
    let (first, used) = (ask(), Amounts { requests: 1, tokens: 400, cost_nusd: 7 });
    introduce(&store, &first).await;
    held(&store, &first).await;
    assert_eq!(refusal(admit(&store, &ask()).await), Refusal::Concurrency(Whose::Key));
    let settlement = Settlement::of(&first, used);
    assert_eq!(store.settle_unticketed(&settlement, NOW).await.unwrap(), Settled::Done);
    assert_eq!(store.settle_unticketed(&settlement, NOW).await.unwrap(), Settled::Again);
    assert_eq!(both(&store).await, [WindowUse { used, held: ZERO }; 2]);
    let (_, rates) = held(&store, &ask()).await;
    assert_eq!(rates.tokens.map(|rate| rate.remaining), Some(500), "400 used and 100 asked, of the key's 1,000");
}

pub async fn an_extension_goes_as_far_as_the_smaller_of_both(store: Store) {
    let of = |window, tokens| QuotaAsk { tokens: Some(tokens), ..quota(window) };
    let ask = |tenant, key| Admission { quotas: vec![of(day(), tenant), of(day_of_key(), key)], ..ask() };
    for (tenant, key) in [(150, 900), (900, 150)] {
        let asked = ask(tenant, key);
        introduce(&store, &asked).await;
        held(&store, &asked).await;
        let target = |tokens| Amounts { tokens, ..HOLD };
        let before = both(&store).await;
        assert!(!store.extend(&asked, target(151), NOW).await.unwrap());
        assert_eq!(both(&store).await, before, "nothing is held of either");
        assert!(store.extend(&asked, target(150), NOW).await.unwrap());
        assert_eq!(both(&store).await.map(|counted| counted.held), [target(150); 2]);
        store.release_unticketed(&asked, NOW).await.unwrap();
    }
}

pub async fn a_lost_hold_is_charged_to_the_key_and_leaves_its_place(store: Store) {
    let own = PaceLimits { concurrency: Some(1), ..PaceLimits::default() };
    let next = |lease_until_ms| Admission { lease_until_ms, key: Some((lineage(), own)), ..ask_of(9, 9) };
    let lost = next(NOW + 60_000);
    introduce(&store, &lost).await;
    held(&store, &lost).await;
    let later = store.admit_unticketed(&next(NOW + 200_000), false, NOW + 59_999).await.unwrap();
    assert_eq!(refusal(later), Refusal::Concurrency(Whose::Key));
    let later = next(NOW + 200_000);
    let verdict = store.admit_unticketed(&later, false, NOW + 60_000).await.unwrap();
    assert!(passed(&verdict), "{verdict:?}");
    let windows = vec![day(), day_of_key()];
    assert_eq!(store.take_expired("acme"), [ExpiredHold { id: lost.id, held: HOLD, windows }]);
    let usage = store.usage("acme", &[day(), day_of_key()], NOW + 60_000).await.unwrap();
    assert_eq!(usage, [Some(WindowUse { used: HOLD, held: HOLD }); 2]);
    let thawed = store.settle_unticketed(&Settlement::of(&lost, ONE), NOW + 60_001).await.unwrap();
    assert_eq!(thawed, Settled::Again);
    let more = store.admit_unticketed(&next(NOW + 200_000), false, NOW + 60_001).await.unwrap();
    assert_eq!(refusal(more), Refusal::Concurrency(Whose::Key), "the late settlement freed nobody's place");
}

pub async fn a_freed_place_is_free_in_both_and_once(store: Store) {
    let own = PaceLimits { concurrency: Some(1), ..PaceLimits::default() };
    let ask = || Admission { concurrency: Some(1), ..at_pace(own) };
    let gone = ask();
    introduce(&store, &gone).await;
    held(&store, &gone).await;
    for _ in 0..2 {
        store.free_place(&gone, NOW).await.unwrap();
    }
    let second = ask();
    held(&store, &second).await;
    store.settle_unticketed(&Settlement::of(&gone, ONE), NOW).await.unwrap();
    assert_eq!(refusal(admit(&store, &ask()).await), Refusal::Concurrency(Whose::Tenant));
    let wide = Admission { concurrency: None, ..ask() };
    assert_eq!(refusal(admit(&store, &wide).await), Refusal::Concurrency(Whose::Key), "the second has it");
    store.settle_unticketed(&Settlement::of(&second, ONE), NOW).await.unwrap();
    held(&store, &ask()).await;
}

pub async fn a_hit_counts_one_request_of_both(store: Store) {
    let own = PaceLimits { request_rate: rate(10), token_rate: rate(1), concurrency: Some(1) };
    let ask = || Admission { key: Some((lineage(), own)), ..ask_of(9, 2) };
    introduce(&store, &ask()).await;
    for _ in 0..2 {
        assert!(passed(&hit(&store, &ask()).await));
    }
    let one = Amounts { requests: 2, ..ZERO };
    assert_eq!(both(&store).await, [WindowUse { used: one, held: ZERO }; 2]);
    assert_eq!(refusal(hit(&store, &ask()).await), over(Quota::DailyRequests, day_of_key()));
}

pub async fn what_the_store_lacks_of_a_key_is_told_and_rebuilt(store: Store) {
    let ask = || ask_of(9, 5);
    let incarnation = incarnation_of(&*store, "acme", NOW).await;
    let stale = |settings, windows| Verdict::Stale { settings, windows, incarnation };
    assert_eq!(admit(&store, &ask()).await, stale(true, vec![day(), day_of_key()]));
    rebuild(&*store, "acme", VERSION, &[(day(), ZERO.into())], NOW).await;
    assert_eq!(admit(&store, &ask()).await, stale(false, vec![day_of_key()]), "a limit that is new today");
    let four = Amounts { requests: 4, ..ZERO };
    rebuild(&*store, "acme", VERSION, &[(day_of_key(), four.into())], NOW).await;
    held(&store, &ask()).await;
    assert_eq!(refusal(admit(&store, &ask()).await), over(Quota::DailyRequests, day_of_key()), "four were used before");
    assert_eq!(used_and_held(&store, "acme", day()).await.held, HOLD);
}

pub async fn keys_of_two_lineages_share_nothing_but_their_tenant(store: Store) {
    let own = PaceLimits { request_rate: rate(1), token_rate: None, concurrency: Some(1) };
    let of = |key: &str| {
        let lineage = Lineage::of(key);
        let of_key = QuotaAsk { requests: Some(1), ..quota(day().of_key(lineage)) };
        Admission { key: Some((lineage, own)), quotas: vec![quota(day()), of_key], ..ask() }
    };
    introduce(&store, &of("ci")).await;
    introduce(&store, &of("cd")).await;
    held(&store, &of("ci")).await;
    held(&store, &of("cd")).await;
    for key in ["ci", "cd"] {
        assert_eq!(refusal(admit(&store, &of(key)).await), Refusal::Concurrency(Whose::Key));
    }
    assert_eq!(used_and_held(&store, "acme", day()).await.held, HOLD.plus(HOLD));
}

/// Five dollars of one key, of a tenant that has many more, and 64 tasks with it at once; others of the tenant between.
pub async fn of_many_at_once_no_more_than_the_keys_money_is_spent(store: Store) {
    const FIVE_USD: u64 = 5_000_000_000;
    const DEAR: u64 = 70_000_000;
    let hold = Amounts { requests: 1, tokens: 100, cost_nusd: DEAR };
    let ask = move |is_of_key: bool| {
        let of_key = QuotaAsk { cost_nusd: Some(FIVE_USD), ..quota(day_of_key()) };
        let quotas = [quota(day())].into_iter().chain(is_of_key.then_some(of_key)).collect();
        Admission { id: RequestId::new(NOW), quotas, hold, upper_bound_hold: hold, ..super::asks::ask() }
    };
    introduce(&store, &ask(true)).await;
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let store = store.clone();
        tasks.spawn(async move {
            let (is_of_key, mut spent) = (task % 8 != 0, 0);
            for round in 0..4 {
                let ask = ask(is_of_key);
                let Verdict::Admitted { .. } = store.admit_unticketed(&ask, false, NOW).await.unwrap() else {
                    continue;
                };
                let counted = used_and_held(&store, "acme", day_of_key()).await;
                assert!(counted.used.plus(counted.held).cost_nusd <= FIVE_USD, "{counted:?}");
                if round == task % 4 {
                    store.release_unticketed(&ask, NOW).await.unwrap();
                    continue;
                }
                let used = Amounts { cost_nusd: DEAR - task, ..hold };
                store.settle_unticketed(&Settlement::of(&ask, used), NOW).await.unwrap();
                spent += used.cost_nusd;
            }
            (is_of_key, spent)
        });
    }
    let (mut of_key, mut of_tenant) = (0, 0);
    while let Some(done) = tasks.join_next().await {
        let (is_of_key, spent) = done.unwrap();
        of_key += if is_of_key { spent } else { 0 };
        of_tenant += spent;
    }
    let refused = loop {
        let ask = ask(true);
        match admit(&store, &ask).await {
            Verdict::Admitted { .. } => {
                assert_eq!(store.settle_unticketed(&Settlement::of(&ask, hold), NOW).await.unwrap(), Settled::Done);
                (of_key, of_tenant) = (of_key + DEAR, of_tenant + DEAR);
            }
            other => break refusal(other),
        }
    };
    assert_eq!(refused, over(Quota::DailyCost, day_of_key()));
    assert!(passed(&admit(&store, &ask(false)).await), "the tenant has more");
    let [tenant, key] = both(&store).await;
    assert_eq!((tenant.held, key.held), (hold, ZERO));
    assert_eq!((tenant.used.cost_nusd, key.used.cost_nusd), (of_tenant, of_key));
    assert!((FIVE_USD - DEAR + 1..=FIVE_USD).contains(&of_key) && of_tenant > of_key, "{of_key} of {of_tenant}");
}
