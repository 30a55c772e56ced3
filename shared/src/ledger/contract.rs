//! What every [`Ledger`] does, whatever it is made of: one list of cases for all implementations.
//!
//! An implementation is held to it by one line, `ledger_contract!(on_disk, fresh_one())`, which makes a test of
//! each case, on a ledger of its own: empty, at [`MIDNIGHT_MS`].

#![cfg(any(test, feature = "contract"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod claims;
mod feedback;
mod figures;
mod outbox;
mod receipts;
pub mod tags;
mod tenants;
mod usage;

use super::{Ledger, UsageQuery, UsageRow};
use crate::id::RequestId;
use crate::limit::window::Window;
use crate::money::{Amounts, Usage};
use crate::receipt::{Attempt, AttemptKind, AttemptOutcome, CacheStatus, Intent, IntentSource, Receipt};
use crate::tenant::{id_of, uid_apart};
use std::sync::Arc;

/// Makes a test of each case: `ledger_contract!(NAME, FRESH)`; see [`contract_tests`](macro@crate::contract_tests).
#[macro_export]
macro_rules! ledger_contract {
    ($($to:tt)*) => {
        $crate::contract_tests! {
            ($($to)*) $crate::ledger::contract::cases => std::sync::Arc<dyn $crate::ledger::Ledger>;
            one receipts {
                a_fresh_ledger_answers
                a_receipt_is_read_as_it_was_recorded
                a_receipt_that_is_sent_again_counts_once
                a_receipt_that_many_send_at_once_counts_once
                many_receipts_at_once_are_all_counted
                totals_are_those_of_the_named_window_alone
                a_receipt_without_windows_counts_in_usage_only
                totals_tell_what_was_admitted_without_the_store
                a_receipt_can_be_read_for_thirty_days
                a_late_receipt_counts_where_it_belongs
                any_text_survives
            }
            one feedback {
                what_is_said_last_of_a_receipt_is_kept_beside_it
                only_a_receipt_of_this_tenant_that_is_there_takes_feedback
                of_many_that_speak_at_once_one_is_heard_whole
                receipts_are_gone_through_page_by_page
                receipts_of_a_tenant_come_newest_first
            }
            one tenants {
                a_tenant_sees_nothing_of_another
                tenants_that_had_the_same_id_are_others
                what_is_erased_is_gone_and_nothing_else
            }
            one usage {
                usage_is_by_day_tenant_and_model
                usage_is_filtered
                pages_of_usage_are_complete_and_stable
            }
            one tags {
                usage_is_the_fold_over_the_receipts_however_it_is_told_apart
                a_request_with_several_tags_is_in_one_row
                values_without_end_take_no_room_and_the_sum_stays
            }
            one figures {
                figures_are_the_fold_over_the_receipts
                figures_of_large_amounts_are_exact
            }
            one claims {
                a_grant_is_given_while_all_that_was_taken_fits
                of_many_grants_at_once_those_that_fit_are_given
                a_window_is_opened_once
                an_idempotency_key_is_claimed_and_answered
                of_many_claims_at_once_one_is_fresh
                a_claim_ends_with_its_lease
                a_claim_that_is_given_up_is_as_if_it_had_never_been
                an_idempotency_key_is_forgotten_after_a_day
                who_lost_the_claim_changes_nothing
                answers_of_every_size_survive
            }
            one outbox {
                of_many_that_find_an_alert_one_posts_it
                an_alert_that_nobody_delivers_is_due_when_the_lease_ends
                the_latest_alerts_are_listed_newest_first
                a_tenants_alerts_are_erased_with_it
            }
        }
    };
}

/// Every case, by name; one that is not in the list shows as unused.
pub mod cases {
    crate::ledger_contract!(cases);
}

type Shared = Arc<dyn Ledger>;

/// 2025-11-22 00:00:00 UTC.
pub const MIDNIGHT_MS: u64 = 1_763_769_600_000;
pub use crate::clock::{DAY_MS, HOUR_MS};
/// What the receipt of [`receipt`] counts.
pub const ONE: Amounts = Amounts { requests: 1, tokens: 21, cost_nusd: 14_790 };

/// A receipt of one request of [`ONE`], charged to its UTC day and month.
pub fn receipt(uid: &str, created_at_ms: u64) -> Receipt {
    let usage =
        Usage { input_tokens: 9, cached_input_tokens: 1, output_tokens: 12, reasoning_tokens: 2, ..Usage::default() };
    let attempt = Attempt {
        model: "groq/llama-3.3-70b".into(),
        kind: AttemptKind::First,
        outcome: AttemptOutcome::Ok,
        status: Some(200),
        cause: None,
        price_note: None,
        ttft_ms: Some(180.25),
        latency_ms: 410.5,
        usage,
        cost_nusd: ONE.cost_nusd,
        estimated: false,
    };
    Receipt {
        id: RequestId::new(created_at_ms),
        tenant: id_of(uid).into(),
        tenant_uid: uid_apart(&uid.into()),
        key_last4: "x9Qz".into(),
        created_at_ms,
        status: 200,
        requested_model: "auto".into(),
        model: Some("groq/llama-3.3-70b".into()),
        tier: Some("cheap".into()),
        intent: Some(Intent { name: "greeting".into(), confidence: 0.97, source: IntentSource::Embedding }),
        difficulty: Some(0.03),
        needs: vec![],
        scores: [("greeting".into(), 0.97)].into(),
        quality: Some(0.5),
        doubt: Some(0.25),
        cache: CacheStatus::Miss,
        similar: None,
        streamed: true,
        upgraded: false,
        config_version: 1,
        tags: [("team".to_owned(), "a".to_owned())].into(),
        usage,
        cost_nusd: ONE.cost_nusd,
        estimated: false,
        latency_ms: 412.125,
        overhead_ms: 0.2,
        ttft_ms: Some(180.5),
        reasons: vec!["intent greeting goes to the tier cheap".to_owned()],
        attempts: vec![attempt],
        windows: vec![Window::day(created_at_ms, 0), Window::month(created_at_ms)],
        outage: false,
        feedback: None,
    }
}

/// `n` requests of [`ONE`].
pub fn times(n: u64) -> Amounts {
    (0..n).fold(Amounts::default(), |sum, _| sum.plus(ONE))
}

async fn record(ledger: &Shared, receipt: &Receipt) {
    ledger.record(receipt).await.expect("a receipt is recorded");
}

async fn totals(ledger: &Shared, tenant: &str, window: Window) -> Amounts {
    ledger.totals(tenant, &window).await.expect("totals are read").used
}

async fn usage(ledger: &Shared, query: &UsageQuery) -> Vec<UsageRow> {
    let page = ledger.usage(query, None, 1000).await.expect("usage is read");
    assert_eq!(page.next, None, "all rows fit the page");
    page.data
}
