//! What the cases ask of counters, and what they look for in the answers.

use super::{NOW, Unticketed, rebuild};
use crate::id::RequestId;
use crate::limit::gcra::Rate;
use crate::limit::window::Window;
use crate::money::Amounts;
use crate::store::{Admission, Counters, QuotaAsk, RateStatus, Refusal, Verdict, WindowUse};
use crate::tenant::Quota;
use std::sync::Arc;

pub(super) use crate::clock::DAY_MS;
pub(super) const VERSION: u64 = 7;
pub(super) const ZERO: Amounts = Amounts { requests: 0, tokens: 0, cost_nusd: 0 };
/// What [`ask`] holds.
pub(super) const HOLD: Amounts = Amounts { requests: 1, tokens: 100, cost_nusd: 1_000 };

pub(super) type Store = Arc<dyn Counters>;

pub(super) fn day() -> Window {
    Window::day(NOW, 0)
}

pub(super) fn quota(window: Window) -> QuotaAsk {
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
        key: None,
        quotas: vec![quota(day())],
        hold: HOLD,
        upper_bound_hold: HOLD,
        lease_until_ms: NOW + 60_000,
    }
}

/// The same, with a quota of `requests` requests.
pub(super) fn ask_of(requests: u64) -> Admission {
    Admission { quotas: vec![QuotaAsk { requests: Some(requests), ..quota(day()) }], ..ask() }
}

pub(super) fn rate(limit: u64) -> Option<Rate> {
    Some(Rate::new(limit, 60_000, limit).unwrap())
}

/// Tells the store all that `ask` needs it to know, with nothing used.
pub(super) async fn introduce(store: &Store, ask: &Admission) {
    let windows: Vec<_> = ask.quotas.iter().map(|quota| (quota.window, ZERO.into())).collect();
    rebuild(&**store, &ask.tenant, ask.settings_version, &windows, NOW).await;
}

pub(super) async fn used_and_held(store: &Store, tenant: &str, window: Window) -> WindowUse {
    store.usage(tenant, &[window], NOW).await.unwrap()[0].expect("the window is known")
}

pub(super) async fn admit(store: &Store, ask: &Admission) -> Verdict {
    store.admit_unticketed(ask, false, NOW).await.unwrap()
}

pub(super) async fn hit(store: &Store, ask: &Admission) -> Verdict {
    store.admit_unticketed(ask, true, NOW).await.unwrap()
}

/// What an admission that must pass holds.
pub(super) async fn held(store: &Store, ask: &Admission) -> (Amounts, RateStatus) {
    match admit(store, ask).await {
        Verdict::Admitted { held, rates, .. } => (held, rates),
        other => panic!("should be admitted, but: {other:?}"),
    }
}

/// Why an admission that must not pass is refused.
pub(super) fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Refused { refusal, .. } => refusal,
        other => panic!("should be refused, but: {other:?}"),
    }
}

pub(super) fn over(quota: Quota, window: Window) -> Refusal {
    Refusal::Quota { quota, window }
}

pub(super) fn passed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Admitted { .. })
}
