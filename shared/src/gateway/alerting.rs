//! What this process knows of alerts that are to be told: what requests have noted, and where alerts go.
//!
//! A request only notes that something may have changed; `send_alerts` finds out what that is worth.

use crate::alerts::Channel;
use crate::alerts::alert::{Alert, Claim};
use crate::alerts::delivery::{Destination, Posted, Tried};
use crate::config::AlertSettings;
use crate::limit::window::Window;
use crate::locking::lock;
use crate::tenant::{Quota, Tenant, TenantAlerts};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;

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
    pub(super) state: Mutex<Noted>,
    /// Held while alerts are sent: one caller does.
    pub(super) turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct Noted {
    /// Whose use has changed, by uid.
    pub(super) used: HashMap<Arc<str>, Used>,
    /// Claims that this process has tried, and until when they hold.
    claims: HashMap<(Option<Arc<str>>, String), u64>,
    /// Alerts that are to be posted.
    pub(super) waiting: VecDeque<(Claim, Posted)>,
    /// Alerts that cannot be kept, until they are delivered or given up.
    pub(super) unkept: Vec<Posted>,
    pub(super) looked_at_ms: u64,
}

/// What is to be looked at of a tenant.
pub(super) struct Used {
    pub(super) tenant: Arc<Tenant>,
    pub(super) windows: HashSet<Window>,
    /// Limits that a request has met.
    pub(super) refused: HashSet<Quota>,
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

impl Alerting {
    pub(crate) fn new(
        usual: &AlertSettings,
        webhooks: Option<Arc<dyn Channel>>,
        sns: Option<Arc<dyn Channel>>,
    ) -> Self {
        Self { webhooks, sns, usual: usual.clone(), state: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Whether nothing can be sent.
    pub(super) fn is_off(&self) -> bool {
        self.webhooks.is_none() && self.sns.is_none()
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
            // Of what one key uses of limits of its own nobody is told.
            windows: windows.iter().copied().filter(|window| window.key.is_none()).collect(),
            refused: refused.into_iter().collect(),
        });
    }

    pub(super) fn note(&self, used: Used) {
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
    pub(super) fn destinations(&self, tenant: Option<&TenantAlerts>) -> Vec<Destination> {
        let own = tenant.and_then(|tenant| tenant.webhook.as_ref());
        let webhook = self.webhooks.as_ref().and(own.or(self.usual.webhook.as_ref()));
        let topic = self.sns.as_ref().and(self.usual.sns_topic.as_ref());
        webhook.cloned().map(Destination::Webhook).into_iter().chain(topic.cloned().map(Destination::Sns)).collect()
    }

    /// Has the fleet's destinations told, unless this process has seen the claim before.
    pub(super) fn tell(&self, claim: Claim, alert: Alert, now_ms: u64) {
        self.tell_to(claim, Posted::new(alert, self.destinations(None)), now_ms);
    }

    /// The same of an alert that cannot be kept, for the ledger is down: it is lost with this process.
    pub(super) fn tell_unkept(&self, alert: Alert) {
        lock(&self.state).unkept.push(Posted::new(alert, self.destinations(None)));
    }

    pub(super) fn tell_to(&self, claim: Claim, posted: Posted, now_ms: u64) {
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
    pub(super) async fn try_once(
        &self,
        destination: &Destination,
        alert: &Alert,
        within: Duration,
        now_ms: u64,
    ) -> Tried {
        let (channel, to) = match destination {
            Destination::Webhook(url) => (&self.webhooks, url),
            Destination::Sns(topic) => (&self.sns, topic),
        };
        let Some(channel) = channel else { return Tried::without_answer("nothing is configured that sends it") };
        let tried = timeout(within, channel.deliver(to, alert, now_ms)).await;
        tried.unwrap_or_else(|_| Tried::without_answer("no answer in time"))
    }
}
