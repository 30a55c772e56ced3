//! Finding what the operator is to be told of, and telling it. See ADR 50.
//!
//! A request only notes that something may have changed. What that is worth is found out by [`Gateway::send_alerts`], which
//! whoever serves the gateway calls now and then, or under Lambda once an answer's last byte is out: so no request waits for
//! an alert. A crossing is read off what is used, and not off a difference: whichever process looks next finds it, and the
//! ledger's outbox says which of them may tell it.

use crate::alerts::Channel;
use crate::alerts::alert::{Alert, Claim};
use crate::alerts::budget::reached;
use crate::alerts::delivery::{Delivery, Destination, Posted, State, Tried};
use crate::clock::is_within;
use crate::config::AlertSettings;
use crate::gateway::Gateway;
use crate::id::jitter;
use crate::ledger::LedgerError;
use crate::limit::window::{Window, WindowKind};
use crate::locking::lock;
use crate::money::Amounts;
use crate::tenant::{Quota, Tenant, TenantAlerts};
use futures_util::future::join_all;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;

/// How often a process looks whether an alert is due that another one posted, or that is to be tried again.
const LOOK_FOR_DUE_MS: u64 = 10_000;
/// How many are sent at once.
const AT_ONCE: usize = 16;
/// After so long an alert that somebody took is anybody's: longer than trying and noting it takes.
const LEASE_MS: u64 = 60_000;
/// How many alerts wait in this process while the ledger is down.
const WAITING: usize = 256;
/// How many claims a process remembers.
const CLAIMS_KNOWN: usize = 4_096;

/// What this process knows of alerts.
pub(crate) struct Alerting {
    webhooks: Option<Arc<dyn Channel>>,
    sns: Option<Arc<dyn Channel>>,
    /// Where what is no tenant's goes; a tenant may have another webhook.
    usual: AlertSettings,
    state: Mutex<Noted>,
    /// Held while alerts are sent: one caller does.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Noted {
    /// Whose use has changed, by uid.
    used: HashMap<Arc<str>, Used>,
    /// Claims that this process has tried, and until when they hold.
    claims: HashMap<(Option<Arc<str>>, String), u64>,
    /// Alerts that are to be posted.
    waiting: VecDeque<(Claim, Posted)>,
    looked_at_ms: u64,
}

/// What is to be looked at of a tenant.
struct Used {
    tenant: Arc<Tenant>,
    windows: HashSet<Window>,
    /// Limits that a request has met.
    refused: HashSet<Quota>,
}

impl Used {
    /// Takes in what else is to be looked at.
    fn add(&mut self, other: Self) {
        if self.tenant.version < other.tenant.version {
            self.tenant = other.tenant;
        }
        self.windows.extend(other.windows);
        self.refused.extend(other.refused);
    }
}

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

impl Alerting {
    pub(crate) fn new(
        usual: &AlertSettings,
        webhooks: Option<Arc<dyn Channel>>,
        sns: Option<Arc<dyn Channel>>,
    ) -> Self {
        Self { webhooks, sns, usual: usual.clone(), state: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Notes that a tenant has used something of these windows.
    pub(crate) fn note_use(&self, tenant: &Arc<Tenant>, windows: &[Window]) {
        self.note_used(tenant, windows, None);
    }

    fn note_used(&self, tenant: &Arc<Tenant>, windows: &[Window], refused: Option<Quota>) {
        if !self.is_told_of(&tenant.settings.alerts) {
            return;
        }
        self.note(Used {
            tenant: tenant.clone(),
            windows: windows.iter().copied().collect(),
            refused: refused.into_iter().collect(),
        });
    }

    fn note(&self, used: Used) {
        match lock(&self.state).used.entry(used.tenant.uid.clone()) {
            Entry::Occupied(mut known) => known.get_mut().add(used),
            Entry::Vacant(place) => drop(place.insert(used)),
        }
    }

    /// Notes that a request was refused, for too little is left of this limit.
    pub(crate) fn note_refusal(&self, tenant: &Arc<Tenant>, quota: Quota, now_ms: u64) {
        let window = match quota {
            Quota::MonthlyCost => Window::month(now_ms),
            _ => Window::day(now_ms, tenant.settings.window_anchor_ms),
        };
        self.note_used(tenant, &[window], Some(quota));
    }

    /// Whether anybody is told of what a tenant uses.
    fn is_told_of(&self, tenant: &TenantAlerts) -> bool {
        let has_webhook = self.webhooks.is_some() && (tenant.webhook.is_some() || self.usual.webhook.is_some());
        tenant.enabled && (has_webhook || self.sns.is_some())
    }

    /// Where an alert goes: a tenant's, or that of nobody.
    fn destinations(&self, tenant: Option<&TenantAlerts>) -> Vec<Destination> {
        let own = tenant.and_then(|tenant| tenant.webhook.as_ref());
        let webhook = self.webhooks.as_ref().and(own.or(self.usual.webhook.as_ref()));
        let topic = self.sns.as_ref().and(self.usual.sns_topic.as_ref());
        webhook.cloned().map(Destination::Webhook).into_iter().chain(topic.cloned().map(Destination::Sns)).collect()
    }

    /// Has an alert posted, unless this process has seen its claim before.
    fn tell(&self, claim: Claim, posted: Posted, now_ms: u64) {
        let mut state = lock(&self.state);
        let key = (claim.uid.clone(), claim.what.clone());
        if state.claims.get(&key).is_some_and(|until_ms| *until_ms > now_ms) || posted.deliveries.is_empty() {
            return;
        }
        if state.waiting.len() >= WAITING {
            return tracing::error!(alert = posted.alert.text, "too many alerts wait for the ledger; it is not told");
        }
        if state.claims.len() >= CLAIMS_KNOWN {
            state.claims.retain(|_, until_ms| *until_ms > now_ms);
        }
        state.claims.insert(key, claim.until_ms);
        state.waiting.push_back((claim, posted));
    }

    /// Sends an alert once.
    async fn try_once(&self, destination: &Destination, alert: &Alert, within: Duration, now_ms: u64) -> Tried {
        let (channel, to) = match destination {
            Destination::Webhook(url) => (&self.webhooks, url),
            Destination::Sns(topic) => (&self.sns, topic),
        };
        let Some(channel) = channel else { return Tried::without_answer("nothing is configured that sends it") };
        let tried = timeout(within, channel.deliver(to, alert, now_ms)).await;
        tried.unwrap_or_else(|_| Tried::without_answer("no answer in time"))
    }
}

impl Gateway {
    /// Finds what is to be told, and tells it: each try takes at most `within`. It does nothing while another call is at it.
    pub async fn send_alerts(&self, within: Duration) {
        let alerting = &self.alerting;
        if alerting.webhooks.is_none() && alerting.sns.is_none() {
            return;
        }
        let Ok(_turn) = alerting.turn.try_lock() else { return };
        let now_ms = self.clock.now_ms();
        if let Err(error) = self.look_at_budgets(now_ms).await {
            tracing::warn!(%error, "what tenants have used cannot be looked at yet; alerts wait");
        }
        let mut due = self.post_alerts(now_ms).await;
        due.extend(self.due_alerts(now_ms).await);
        join_all(due.into_iter().map(|posted| self.send_alert(posted, within, now_ms))).await;
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
                alerting.tell(reached.claim(&tenant.uid), posted, now_ms);
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

    /// Sends an alert to where it is due, and notes what came of it.
    async fn send_alert(&self, mut posted: Posted, within: Duration, now_ms: u64) {
        let Posted { alert, deliveries } = &mut posted;
        let is_due = |delivery: &&mut Delivery| delivery.state == State::Pending && delivery.due_at_ms <= now_ms;
        let sending = deliveries.iter_mut().filter(is_due).map(async |delivery| {
            let tried = self.alerting.try_once(&delivery.destination, alert, within, now_ms).await;
            delivery.note(&tried, alert.at_ms, now_ms, jitter());
            self.note_sent(alert, delivery);
        });
        join_all(sending).await;
        if let Err(error) = self.ledger.note_delivery(&posted).await {
            tracing::warn!(%error, alert = posted.alert.id, "an alert was sent and that is not noted; it is sent again");
        }
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
