//! How many retries may be made, and how long to wait before one.
//!
//! When a provider is down every request fails, and retrying each of them doubles the load on whatever is left of it. So
//! retries are paid from a budget that follows the traffic: in any window at most a fifth of the requests, and at least
//! three, so that a quiet gateway may still retry. A count per try alone was rejected: it bounds one request, not an outage.
//!
//! The budget is the fleet's, kept in its store: "at least three" of each of twenty processes would be sixty. The store is asked only
//! when a retry is wanted, and then told of the requests that it has not heard of; while it is down each process has a budget of its
//! own (ADR 41).
//!
//! The window slides in ten steps, a counter pair each, so it covers the last nine to ten seconds and costs 160 bytes at
//! any rate of traffic. The wait is drawn from zero to the bound ("full jitter"): drawn around the bound instead, clients
//! that failed together would return together.
//!
//! Serves A3. A Retry-After of the provider's goes before [`backoff_ms`]; that choice is the caller's.

use serde::Deserialize;

/// Steps in which the window slides.
pub(crate) const STEPS: u64 = 10;

/// How often and how soon to retry: the table `[retry]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// Retries in a window, in percent of its requests. Default 20.
    pub budget_percent: u32,
    /// Retries that a window allows however few its requests are. Default 3.
    pub least_retries: u64,
    /// The window over which both are counted. Default 10000.
    pub window_ms: u64,
    /// The longest wait before the first retry; doubled for each further one. Default 50.
    pub backoff_base_ms: u64,
    /// The longest wait before any retry. Default 2000.
    pub backoff_cap_ms: u64,
}

impl RetrySettings {
    /// The step in which this instant lies.
    pub(crate) fn step(&self, now_ms: u64) -> u64 {
        now_ms / (self.window_ms / STEPS).max(1)
    }
}

/// What the fleet is asked for a retry, and told by the way.
#[derive(Debug, Clone)]
pub struct RetryAsk<'a> {
    /// How many retries there may be.
    pub settings: &'a RetrySettings,
    /// The requests of which this process has not told yet: in which step of the window, and how many.
    pub requests: Vec<(u64, u64)>,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { budget_percent: 20, least_retries: 3, window_ms: 10_000, backoff_base_ms: 50, backoff_cap_ms: 2_000 }
    }
}

/// Requests and retries of the window that ends now, as one process knows them.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    settings: RetrySettings,
    /// The latest step seen: Unix time in steps. Its counters are at this number modulo `STEPS`.
    newest: u64,
    requests: [u64; STEPS as usize],
    retries: [u64; STEPS as usize],
    /// Of how many requests the fleet knows.
    told: [u64; STEPS as usize],
}

impl RetryBudget {
    /// A budget of which nothing is used.
    pub fn new(settings: RetrySettings) -> Self {
        let none = [0; STEPS as usize];
        Self { settings, newest: 0, requests: none, retries: none, told: none }
    }

    /// Counts a request, once, however often it is tried.
    pub fn note_request(&mut self, now_ms: u64) {
        let step = self.slide(now_ms);
        self.requests[step] += 1;
    }

    /// Counts the requests that another process tells of.
    pub(crate) fn note_requests(&mut self, told: &[(u64, u64)], now_ms: u64) {
        self.slide(now_ms);
        for (step, requests) in told {
            if *step <= self.newest && self.newest - step < STEPS {
                self.requests[(step % STEPS) as usize] += requests;
            }
        }
    }

    /// The requests of the window that were not told of before, by their steps. Now they count as told.
    pub(crate) fn untold(&mut self, now_ms: u64) -> Vec<(u64, u64)> {
        self.slide(now_ms);
        let steps = (0..STEPS).filter_map(|age| self.newest.checked_sub(age));
        let untold = steps.map(|step| {
            let place = (step % STEPS) as usize;
            let told = std::mem::replace(&mut self.told[place], self.requests[place]);
            (step, self.requests[place] - told)
        });
        untold.filter(|(_, requests)| *requests > 0).collect()
    }

    /// Counts a retry that the fleet has granted.
    pub(crate) fn note_retry(&mut self, now_ms: u64) {
        let step = self.slide(now_ms);
        self.retries[step] += 1;
    }

    /// Takes one retry from the budget; false, and nothing taken, if it is used up.
    pub fn try_retry(&mut self, now_ms: u64) -> bool {
        let step = self.slide(now_ms);
        let requests: u64 = self.requests.iter().sum();
        let share = requests.saturating_mul(u64::from(self.settings.budget_percent)) / 100;
        let allowed = self.retries.iter().sum::<u64>() < share.max(self.settings.least_retries);
        self.retries[step] += u64::from(allowed);
        allowed
    }

    /// Forgets the steps that have left the window; the index of the present one. Time never goes back.
    fn slide(&mut self, now_ms: u64) -> usize {
        let now = self.settings.step(now_ms);
        for passed in 1..=now.saturating_sub(self.newest).min(STEPS) {
            let step = ((self.newest % STEPS + passed) % STEPS) as usize;
            (self.requests[step], self.retries[step], self.told[step]) = (0, 0, 0);
        }
        self.newest = self.newest.max(now);
        (self.newest % STEPS) as usize
    }
}

/// The wait before a candidate's `retry_number`th retry (from 1): even over `0..=min(cap, base · 2^(retry_number − 1))` ms.
///
/// `random` is any number, drawn evenly by the caller.
pub fn backoff_ms(retry_number: u32, random: u64, settings: &RetrySettings) -> u64 {
    let doublings = retry_number.saturating_sub(1).min(63);
    let longest_ms = settings.backoff_base_ms.saturating_mul(1 << doublings).min(settings.backoff_cap_ms);
    random % longest_ms.saturating_add(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_763_769_600_000;

    fn after(requests: u64) -> RetryBudget {
        let mut budget = RetryBudget::new(RetrySettings::default());
        for _ in 0..requests {
            budget.note_request(NOW);
        }
        budget
    }

    fn granted(budget: &mut RetryBudget, now_ms: u64) -> u64 {
        (0..10_000).filter(|_| budget.try_retry(now_ms)).count() as u64
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_retried_and_never_fewer_than_three() {
        for (requests, retries) in [(0, 3), (1, 3), (15, 3), (19, 3), (20, 4), (100, 20), (104, 20), (5_000, 1_000)] {
            assert_eq!(granted(&mut after(requests), NOW), retries, "{requests} requests");
        }
    }

    #[test]
    fn the_budget_comes_back_when_the_window_has_passed() {
        let mut budget = after(100);
        assert_eq!(granted(&mut budget, NOW + 9_999), 20);
        // The requests have left the window, the retries have not.
        assert_eq!(granted(&mut budget, NOW + 10_000), 0);
        assert_eq!(granted(&mut budget, NOW + 18_999), 0);
        assert_eq!(granted(&mut budget, NOW + 19_000), 3);
    }

    #[test]
    fn a_long_silence_forgets_everything() {
        let mut budget = after(100);
        assert_eq!(granted(&mut budget, NOW + 365 * 86_400_000), 3);
    }

    #[test]
    fn a_clock_that_steps_back_opens_no_new_window() {
        let mut budget = after(20);
        assert_eq!(granted(&mut budget, NOW), 4);
        assert_eq!(granted(&mut budget, NOW - 60_000), 0);
        assert_eq!(granted(&mut budget, NOW), 0);
    }

    #[test]
    fn waits_double_up_to_the_cap_and_start_at_zero() {
        let settings = RetrySettings::default();
        for (retry_number, longest_ms) in
            [(1, 50), (2, 100), (3, 200), (6, 1_600), (7, 2_000), (64, 2_000), (u32::MAX, 2_000)]
        {
            let waits: Vec<_> = (0..10_000).map(|random| backoff_ms(retry_number, random, &settings)).collect();
            assert_eq!((waits.iter().min(), waits.iter().max()), (Some(&0), Some(&longest_ms)));
        }
    }

    #[test]
    fn no_setting_breaks_it() {
        let zero: RetrySettings = serde_json::from_str(
            r#"{"budget_percent":0,"least_retries":0,"window_ms":0,"backoff_base_ms":0,"backoff_cap_ms":0}"#,
        )
        .unwrap();
        assert_eq!(backoff_ms(3, 77, &zero), 0);
        let mut none = RetryBudget::new(zero);
        none.note_request(u64::MAX);
        assert!(!none.try_retry(u64::MAX));
        let largest = RetrySettings { backoff_base_ms: u64::MAX, backoff_cap_ms: u64::MAX, ..RetrySettings::default() };
        assert_eq!(backoff_ms(9, 77, &largest), 77);
    }

    proptest! {
        #[test]
        fn in_any_window_retries_stay_within_the_share(
            steps in prop::collection::vec((0..3_000_u64, any::<bool>()), 1..300),
        ) {
            let mut budget = RetryBudget::new(RetrySettings::default());
            let (mut now_ms, mut requests, mut retries) = (NOW, Vec::new(), Vec::new());
            for (wait_ms, retry) in steps {
                // Most steps wait for nothing, so that windows fill.
                now_ms += wait_ms.saturating_sub(2_500);
                let in_window = |times: &[u64]| times.iter().filter(|&&t| t / 1_000 + 10 > now_ms / 1_000).count();
                if retry {
                    let allowed = in_window(&retries) < (in_window(&requests) / 5).max(3);
                    prop_assert_eq!(budget.try_retry(now_ms), allowed);
                    if allowed {
                        retries.push(now_ms);
                    }
                } else {
                    budget.note_request(now_ms);
                    requests.push(now_ms);
                }
            }
        }
    }
}
