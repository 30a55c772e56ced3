//! Which of a tenant's limits are used up to a threshold.
//!
//! It is read off what is used and nothing else, so that a crossing is found by whoever looks next, should the process that
//! caused it have ended. Of several thresholds the highest counts alone: who is at 85 % need not hear of 50.

use super::alert::{Claim, Used};
use crate::clock::DAY_MS;
use crate::limit::window::{Window, WindowKind};
use crate::money::Amounts;
use crate::tenant::{Quota, Tenant};
use std::collections::HashSet;
use std::sync::Arc;

/// A claim outlives its window by so long, for what is settled late.
const CLAIMED_AFTER_MS: u64 = 8 * DAY_MS;
/// What remains of a limit may be less than any request holds: one that was refused stands for all of it from here on, in
/// percent.
const REFUSED_FROM_PERCENT: u64 = 90;

/// The highest threshold that is reached of each limit. `refused` are the limits that a request has met.
pub(crate) fn reached(tenant: &Tenant, uses: &[(Window, Amounts)], refused: &HashSet<Quota>) -> Vec<Used> {
    let (settings, limits) = (&tenant.settings.alerts, &tenant.settings.limits);
    if !settings.enabled {
        return Vec::new();
    }
    let amounts = uses.iter().flat_map(|(window, used)| match window.kind {
        WindowKind::Day => vec![
            (Quota::DailyRequests, *window, used.requests, limits.daily_requests),
            (Quota::DailyTokens, *window, used.tokens, limits.daily_tokens),
            (Quota::DailyCost, *window, used.cost_nusd, limits.daily_cost_nusd),
        ],
        WindowKind::Month => vec![(Quota::MonthlyCost, *window, used.cost_nusd, limits.monthly_cost_nusd)],
    });
    let highest = |(quota, window, used, limit): (Quota, Window, u64, Option<u64>)| {
        let limit = limit.filter(|limit| *limit > 0)?;
        let is_past = |percent: u64| u128::from(used) * 100 >= u128::from(limit) * u128::from(percent);
        let is_met = refused.contains(&quota) && is_past(REFUSED_FROM_PERCENT);
        let reached = settings.thresholds.iter().copied().filter(|percent| is_met || is_past((*percent).into()));
        Some(Used { quota, window, threshold: reached.max()?, used, limit })
    };
    amounts.filter_map(highest).collect()
}

impl Used {
    /// What an alert of it is kept under: the limit's value is part of it, so that a raised one alerts anew.
    pub(crate) fn claim(&self, uid: &Arc<str>) -> Claim {
        let what = format!("{} {} {} {}", self.quota.limit_name(), self.window.key(), self.limit, self.threshold);
        Claim { uid: Some(uid.clone()), what, until_ms: self.window.resets_at_ms.saturating_add(CLAIMED_AFTER_MS) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Config, SHIPPED};
    use crate::tenant::TenantRecord;
    use serde_json::{Value, json};

    const NOON: u64 = 1_763_812_800_000;

    fn tenant(settings: Value) -> Tenant {
        let defaults = Config::load(SHIPPED, "gateway.toml", &|_| None).unwrap().tenant_defaults;
        TenantRecord::create(settings, &defaults, NOON).unwrap().resolve(&defaults).unwrap()
    }

    #[test]
    fn the_highest_threshold_that_is_reached_counts_alone() {
        let limits =
            json!({"daily_requests": 200, "daily_tokens": null, "daily_cost_usd": "1", "monthly_cost_usd": "20"});
        let acme = tenant(json!({"id": "acme", "limits": limits}));
        let (day, month) = (Window::day(NOON, 0), Window::month(NOON));
        let spent = |requests, cost_nusd| Amounts { requests, tokens: 1 << 60, cost_nusd };
        let cost = Quota::DailyCost;
        for (used, of_month, refused, expected) in [
            (spent(99, 499_999_999), 0, &[][..], &[][..]),
            (spent(100, 499_999_999), 0, &[], &[(Quota::DailyRequests, 50)]),
            (spent(0, 500_000_000), 0, &[], &[(cost, 50)]),
            (spent(0, 999_999_999), 0, &[], &[(cost, 80)]),
            (spent(0, 1_000_000_000), 0, &[], &[(cost, 100)]),
            (spent(0, u64::MAX), 16_000_000_000, &[], &[(cost, 100), (Quota::MonthlyCost, 80)]),
            // What is left is less than a request may cost: nobody gets further.
            (spent(0, 900_000_000), 0, &[cost], &[(cost, 100)]),
            (spent(0, 899_999_999), 0, &[cost], &[(cost, 80)]),
            (spent(0, 0), 0, &[cost], &[]),
        ] {
            let uses = [(day, used), (month, Amounts { cost_nusd: of_month, ..Amounts::default() })];
            let found: Vec<_> = reached(&acme, &uses, &refused.iter().copied().collect())
                .iter()
                .map(|used| (used.quota, used.threshold))
                .collect();
            assert_eq!(found, expected, "{used:?} {of_month} {refused:?}");
        }
    }

    #[test]
    fn a_tenant_has_its_own_thresholds_or_none() {
        let used = [(Window::day(NOON, 0), Amounts { requests: 60, ..Amounts::default() })];
        for (alerts, expected) in [
            (json!({"thresholds": [60, 10]}), Some(60)),
            (json!({"thresholds": [61, 10]}), Some(10)),
            (json!({"thresholds": []}), None),
            (json!({"enabled": false}), None),
        ] {
            let acme = tenant(json!({"id": "acme", "limits": {"daily_requests": 100}, "alerts": alerts}));
            assert_eq!(reached(&acme, &used, &HashSet::new()).first().map(|used| used.threshold), expected);
        }
        let nothing = tenant(json!({"id": "acme", "limits": {"daily_requests": 0}}));
        assert_eq!(reached(&nothing, &used, &[Quota::DailyRequests].into()), [], "of a limit of none there is no part");
    }
}
