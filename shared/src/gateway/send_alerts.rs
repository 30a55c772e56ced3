//! Finding what the operator is to be told of, and telling it. See ADR 50.
//!
//! Whoever serves the gateway calls [`Gateway::send_alerts`] now and then, or under Lambda once an answer's last byte is out: no
//! request waits for an alert. A crossing is read off what is used, and not off a difference: whichever process looks next
//! finds it, and the ledger's outbox says which of them may tell it.

use crate::alerts::alert::Alert;
use crate::alerts::budget::reached;
use crate::alerts::delivery::{Delivery, Posted, State};
use crate::clock::is_within;
use crate::gateway::Gateway;
use crate::gateway::alerting::{Alerting, Used};
use crate::id::jitter;
use crate::ledger::LedgerError;
use crate::limit::window::{Window, WindowKind};
use crate::locking::lock;
use crate::money::Amounts;
use crate::tenant::Tenant;
use futures_util::future::join_all;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// How often a process looks whether an alert is due that another one posted, or that is to be tried again.
const LOOK_FOR_DUE_MS: u64 = 10_000;
/// How many are sent at once.
const AT_ONCE: usize = 16;
/// After so long an alert that somebody took is anybody's: longer than trying and noting it takes.
const LEASE_MS: u64 = 60_000;
/// A tenant that is being looked at. What ends before that is done, by a failure or because nobody waits any more, leaves it
/// to be looked at again.
struct Looking<'a> {
    at: &'a Alerting,
    used: Option<Used>,
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.used.take().into_iter().for_each(|used| self.at.note(used));
    }
}

impl Gateway {
    /// Finds what is to be told, and tells it: each try takes at most `within`. It does nothing while another call is at it.
    pub async fn send_alerts(&self, within: Duration) {
        let alerting = &self.alerting;
        if alerting.is_off() {
            return;
        }
        let Ok(_turn) = alerting.turn.try_lock() else { return };
        let now_ms = self.clock.now_ms();
        if let Err(error) = self.look_at_budgets(now_ms).await {
            tracing::warn!(%error, "what tenants have used cannot be looked at yet; alerts wait");
        }
        self.look_at_the_fleet(now_ms).await;
        let mut due = self.post_alerts(now_ms).await;
        due.extend(self.due_alerts(now_ms).await);
        let unkept = lock(&alerting.state).unkept.clone();
        let sending = join_all(due.into_iter().map(async |mut posted| {
            self.send_alert(&mut posted, within, now_ms).await;
            if let Err(error) = self.ledger.note_delivery(&posted).await {
                let id = posted.alert.id;
                tracing::warn!(%error, id, "an alert was sent and that is not noted; it is sent again");
            }
        }));
        let sending_unkept = join_all(unkept.into_iter().map(async |mut posted| {
            self.send_alert(&mut posted, within, now_ms).await;
            posted
        }));
        let (_, mut unkept) = tokio::join!(sending, sending_unkept);
        unkept.retain(|posted| posted.due_at_ms().is_some());
        lock(&alerting.state).unkept = unkept;
    }

    /// Sends a test to a tenant's destinations, or to those of no tenant, once; what came of it.
    pub async fn test_alerts(&self, tenant: Option<&Tenant>, within: Duration) -> Posted {
        let (alerting, now_ms) = (&self.alerting, self.clock.now_ms());
        let destinations = alerting.destinations(tenant.map(|tenant| &tenant.settings.alerts));
        let mut tested = Posted::new(Alert::of_test(now_ms), destinations);
        let Posted { alert, deliveries } = &mut tested;
        join_all(deliveries.iter_mut().map(async |delivery| {
            let tried = alerting.try_once(&delivery.destination, alert, within, now_ms).await;
            delivery.note_last(&tried, now_ms);
        }))
        .await;
        tested
    }

    /// Has those told whose limits are used up to a threshold. What cannot be looked at is looked at again.
    async fn look_at_budgets(&self, now_ms: u64) -> Result<(), LedgerError> {
        let alerting = &self.alerting;
        let uids: Vec<Arc<str>> = lock(&alerting.state).used.keys().cloned().collect();
        for uid in uids {
            let used = lock(&alerting.state).used.remove(&uid);
            let mut looking = Looking { at: alerting, used };
            let Some(Used { tenant, windows, refused }) = &looking.used else { continue };
            let uses = self.used_of(tenant, windows, now_ms).await?;
            let destinations = alerting.destinations(Some(&tenant.settings.alerts));
            for reached in reached(tenant, &uses, refused) {
                let posted = Posted::new(Alert::of_budget(tenant, &reached, now_ms), destinations.clone());
                alerting.tell_to(reached.claim(&tenant.uid), posted, now_ms);
            }
            looking.used = None;
        }
        Ok(())
    }

    /// What a tenant has used, as the store has it, and where it does not answer or has lost it, as the ledger has.
    async fn used_of(
        &self,
        tenant: &Tenant,
        windows: &HashSet<Window>,
        now_ms: u64,
    ) -> Result<Vec<(Window, Amounts)>, LedgerError> {
        let has_month = tenant.settings.limits.monthly_cost_nusd.is_some();
        let windows: Vec<Window> =
            windows.iter().filter(|window| has_month || window.kind == WindowKind::Day).copied().collect();
        let known = self.store.counters().usage(&tenant.uid, &windows, now_ms).await.unwrap_or_default();
        let mut uses = Vec::with_capacity(windows.len());
        for (place, window) in windows.into_iter().enumerate() {
            let used = match known.get(place).copied().flatten() {
                Some(known) => known.used,
                None => self.ledger.totals(&tenant.uid, &window).await?.used,
            };
            uses.push((window, used));
        }
        Ok(uses)
    }

    /// Posts what waits; answers what this process is to send. While the ledger is down, it waits on.
    async fn post_alerts(&self, now_ms: u64) -> Vec<Posted> {
        let mut ours = Vec::new();
        while ours.len() < AT_ONCE {
            let Some((claim, posted)) = lock(&self.alerting.state).waiting.front().cloned() else { break };
            match self.ledger.post(&claim, &posted, LEASE_MS, now_ms).await {
                Ok(is_ours) => ours.extend(is_ours.then_some(posted)),
                Err(error) => {
                    tracing::warn!(%error, "alerts wait for the ledger");
                    break;
                }
            }
            // Only now, for a function may be frozen while it waits.
            lock(&self.alerting.state).waiting.pop_front();
        }
        ours
    }

    /// What is due of what was posted before.
    async fn due_alerts(&self, now_ms: u64) -> Vec<Posted> {
        {
            let mut state = lock(&self.alerting.state);
            if is_within(LOOK_FOR_DUE_MS, state.looked_at_ms, now_ms) {
                return Vec::new();
            }
            state.looked_at_ms = now_ms;
        }
        self.ledger.take_due(AT_ONCE, LEASE_MS, now_ms).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "it is not known which alerts are due");
            Vec::new()
        })
    }

    /// Sends an alert to where it is due.
    async fn send_alert(&self, posted: &mut Posted, within: Duration, now_ms: u64) {
        let Posted { alert, deliveries } = posted;
        let is_due = |delivery: &&mut Delivery| delivery.state == State::Pending && delivery.due_at_ms <= now_ms;
        let sending = deliveries.iter_mut().filter(is_due).map(async |delivery| {
            let tried = self.alerting.try_once(&delivery.destination, alert, within, now_ms).await;
            delivery.note(&tried, alert.at_ms, now_ms, jitter());
            self.note_sent(alert, delivery);
        });
        join_all(sending).await;
    }

    fn note_sent(&self, alert: &Alert, delivery: &Delivery) {
        let (id, last) = (&alert.id, &delivery.last);
        match delivery.state {
            State::Delivered => self.metrics.alert_sent(),
            State::Pending => tracing::warn!(id, last, alert = alert.text, "an alert is not delivered yet"),
            State::Failed => {
                self.metrics.alert_failed();
                tracing::error!(id, last, alert = alert.text, "an alert is given up");
            }
        }
    }
}
