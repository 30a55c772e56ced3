//! What every store does, whatever it is made of: one list of cases for each of its three borders.
//!
//! An implementation is held to it by one line for each border, `counters_contract!(in_memory, fresh_one())`,
//! which makes a test of each case, on a store of its own. Time is passed in, so nothing here waits; an implementation that
//! leaves expiry to its backend's own clock does not keep the contract.
//!
//! The cases hold up M1, M2, M5, M7 (counters), T1 (cache) and A6 (health).

#![cfg(any(test, feature = "contract"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod asks;
mod cache;
mod conditions;
mod counters;
mod health;
mod interleavings;
mod keys;
mod retries;
mod settlements;

use super::{Admission, Counters, Settled, Settlement, StoreError, Ticket, Verdict};
use crate::id::RequestId;
use crate::limit::window::Window;
use crate::money::Charged;
use async_trait::async_trait;

/// Makes a test of each case of the counters: `counters_contract!(NAME, FRESH)`; see
/// [`contract_tests`](macro@crate::contract_tests).
#[macro_export]
macro_rules! counters_contract {
    ($($to:tt)*) => {
        $crate::contract_tests! {
            ($($to)*) $crate::store::contract::counters_cases => std::sync::Arc<dyn $crate::store::Counters>;
            one counters {
                what_is_not_known_is_stale_and_takes_nothing
                an_older_version_does_not_replace_a_newer_one
                a_rebuild_keeps_what_is_counted_already
                many_who_rebuild_at_once_lose_nothing
                what_was_used_without_the_store_is_charged_once
                a_closed_window_refuses_until_its_time_and_is_then_missing
                an_expired_hold_is_told_until_it_is_acknowledged
                a_request_that_is_released_before_its_admission_comes_takes_nothing
                the_same_request_asked_twice_has_one_verdict_and_one_hold
                requests_beyond_the_rate_are_told_when_to_come_again
                tokens_beyond_the_rate_are_told_when_to_come_again
                more_tokens_than_a_burst_pass_when_the_full_burst_is_there
                no_more_tokens_are_given_back_than_were_taken
                the_token_rate_is_corrected_at_settlement
                a_clock_that_is_set_back_refuses_for_no_longer_than_a_burst_takes
                a_place_in_flight_is_free_after_settlement_and_after_release
                a_place_in_flight_is_freed_before_its_hold_ends
                a_quota_is_used_to_its_last_unit_and_no_further
            }
            many counters {
                a_denial_by_one_limit_takes_nothing_of_the_others
            }
            one settlements {
                a_settlement_replaces_the_hold
                more_than_was_held_is_charged_exactly
                a_settlement_sent_again_charges_once
                a_settlement_without_its_hold_charges_once
                what_tells_its_ticket_counts_once
                what_is_charged_only_in_place_of_its_hold_is_not_charged_without
                a_released_hold_leaves_no_trace
                a_hold_past_its_lease_is_charged_in_full_and_frees_its_place
                a_hold_is_extended_as_far_as_the_quota_goes
                an_admission_sent_again_after_its_end_takes_nothing_more
                where_little_is_left_the_upper_bound_is_held
                a_hit_holds_nothing_and_counts_one_request
                a_hit_is_refused_by_an_exhausted_request_quota_alone
                usage_is_told_per_window_in_the_order_asked
                a_new_day_begins_at_zero_and_the_old_one_is_charged_to_its_end
                tenants_share_nothing
                of_two_hundred_at_once_exactly_fifty_pass
            }
            one keys {
                a_request_that_does_not_fit_the_key_takes_nothing_of_its_tenant
                a_request_that_does_not_fit_the_tenant_takes_nothing_of_its_key
                the_rates_that_are_told_are_those_with_less_left
                a_release_gives_back_what_was_taken_of_the_key
                a_settlement_corrects_both_and_frees_both_places
                an_extension_goes_as_far_as_the_smaller_of_both
                a_lost_hold_is_charged_to_the_key_and_leaves_its_place
                a_freed_place_is_free_in_both_and_once
                a_hit_counts_one_request_of_both
                what_the_store_lacks_of_a_key_is_told_and_rebuilt
                keys_of_two_lineages_share_nothing_but_their_tenant
                of_many_at_once_no_more_than_the_keys_money_is_spent
            }
            many keys {
                a_denial_by_one_of_the_keys_limits_takes_nothing_of_any
            }
            one interleavings {
                what_lacks_the_store_begins_no_window
            }
            many interleavings {
                what_was_read_before_the_store_was_lost_is_refused
                a_window_is_not_closed_by_who_found_it_missing_before_another_loss
                many_tasks_keep_within_the_limit
            }
        }
    };
}

/// Makes a test of each case of the response cache, with room for 4 MiB, and for 1 MiB in one answer:
/// `response_cache_contract!(NAME, FRESH)`; see [`contract_tests`](macro@crate::contract_tests).
#[macro_export]
macro_rules! response_cache_contract {
    ($($to:tt)*) => {
        $crate::contract_tests! {
            ($($to)*) $crate::store::contract::cache_cases => std::sync::Arc<dyn $crate::store::ResponseCache>;
            one cache {
                what_was_put_is_got_to_the_byte
                an_answer_is_forgotten_when_its_time_is_over
                what_is_put_again_replaces_value_and_time
                keys_and_tenants_are_apart
                a_purge_takes_all_of_one_tenant_and_nothing_of_another
                many_at_once_get_one_value_or_another_and_never_a_mixture
                a_group_has_its_latest_notes_for_their_time
                a_group_is_bounded_in_number_and_a_note_in_bytes
                a_purge_takes_the_notes_of_one_tenant
            }
        }
    };
}

/// Makes a test of each case of the health store, with default settings: `health_contract!(NAME, FRESH)`; see
/// [`contract_tests`](macro@crate::contract_tests).
#[macro_export]
macro_rules! health_contract {
    ($($to:tt)*) => {
        $crate::contract_tests! {
            ($($to)*) $crate::store::contract::health_cases => std::sync::Arc<dyn $crate::store::HealthStore>;
            one health {
                an_unknown_model_is_ready_and_has_no_figures
                health_is_told_in_the_order_asked
                figures_are_those_of_the_decayed_statistics
                a_cooldown_lasts_as_long_as_the_longest_that_was_asked_for
                five_failures_in_a_row_open_the_breaker_and_four_do_not
                answers_from_before_a_run_of_failures_make_up_for_half_of_it
                a_model_that_fails_most_of_the_time_is_given_up
                exactly_one_of_many_gets_the_probe
                a_probe_that_works_closes_the_breaker
                a_probe_that_fails_opens_it_for_longer
                a_probe_that_shows_nothing_is_given_back
                a_probe_whose_lease_is_over_may_be_taken_again
                of_concurrent_records_each_counts
                a_model_is_out_when_it_refused_three_different_requests
                an_answer_in_between_begins_the_count_of_refusals_anew
                answers_to_calls_from_before_the_first_refusal_do_not_end_its_run
                many_answers_end_a_run_of_refusals_whenever_their_calls_began
                one_tenants_refusals_take_a_model_from_nobody_else
                failures_count_beside_one_tenants_refusals
                a_model_that_refused_comes_back_by_one_probe
                a_failure_and_a_refusal_say_nothing_of_each_other
                what_a_clock_an_hour_ahead_wrote_is_over
            }
            one conditions {
                how_a_model_does_is_told_with_the_instant_when_it_began
                that_one_tenants_requests_alone_are_refused_is_told_to_that_one
            }
            one retries {
                a_fifth_of_the_fleets_requests_may_be_retried_and_never_fewer_than_three
                retries_that_have_left_the_window_come_back
                of_many_who_want_to_retry_at_once_those_that_are_paid_for_may
            }
        }
    };
}

/// Every case of the counters, by name; one that is not in the list shows as unused.
pub mod counters_cases {
    crate::counters_contract!(cases);
}

/// The same of the response cache.
pub mod cache_cases {
    crate::response_cache_contract!(cases);
}

/// The same of the health store.
pub mod health_cases {
    crate::health_contract!(cases);
}

/// 2025-11-22 14:00:00 UTC: within a day and a month, at the edge of neither.
pub const NOW: u64 = 1_763_820_000_000;

/// The incarnation of a tenant's counters, as a request gets it whose settings the store does not have.
///
/// # Panics
/// If such a request is not stale.
pub async fn incarnation_of(counters: &dyn Counters, tenant: &str, now_ms: u64) -> u64 {
    let ask = Admission::of_nothing(tenant.into(), RequestId::new(now_ms), u64::MAX, now_ms + 60_000);
    match counters.admit_unticketed(&ask, false, now_ms).await.unwrap() {
        Verdict::Stale { incarnation, .. } => incarnation,
        other => panic!("should be stale, but: {other:?}"),
    }
}

/// Calls of counters with a ticket that knows nothing, as where the answer to a request's admission was lost.
#[async_trait]
pub trait Unticketed {
    async fn admit_unticketed(&self, ask: &Admission, hit: bool, now_ms: u64) -> Result<Verdict, StoreError>;
    async fn settle_unticketed(&self, settlement: &Settlement, now_ms: u64) -> Result<Settled, StoreError>;
    async fn release_unticketed(&self, ask: &Admission, now_ms: u64) -> Result<(), StoreError>;
}

#[async_trait]
impl<T: Counters + ?Sized> Unticketed for T {
    async fn admit_unticketed(&self, ask: &Admission, hit: bool, now_ms: u64) -> Result<Verdict, StoreError> {
        self.admit(ask, &mut Ticket::new(ask.id), hit, now_ms).await
    }

    async fn settle_unticketed(&self, settlement: &Settlement, now_ms: u64) -> Result<Settled, StoreError> {
        self.settle(settlement, &Ticket::new(settlement.id), now_ms).await
    }

    async fn release_unticketed(&self, ask: &Admission, now_ms: u64) -> Result<(), StoreError> {
        self.release(ask, &Ticket::new(ask.id), now_ms).await
    }
}

/// Tells counters a tenant's version and windows, as a request does that found them stale.
///
/// # Panics
/// If they do not heed it.
pub async fn rebuild(
    counters: &dyn Counters,
    tenant: &str,
    settings_version: u64,
    windows: &[(Window, Charged)],
    now_ms: u64,
) {
    let incarnation = incarnation_of(counters, tenant, now_ms).await;
    assert!(counters.rebuild(tenant, Some(incarnation), settings_version, windows, now_ms).await.unwrap());
}
