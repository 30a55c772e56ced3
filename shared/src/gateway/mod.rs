//! The gateway: every border in one place, wired by hand.
//!
//! [`Gateway::builder`] (`builder.rs`) takes them all. `functions/*` give it the real ones; a test replaces any one of them and leaves the
//! rest as they are. There is no global state: two gateways in one process share nothing.

pub(crate) mod alerting;
pub mod builder;
pub(crate) mod outage;
pub(crate) mod over_rate;
pub(crate) mod classifier;
pub(crate) mod embedding;
pub(crate) mod fleet_health;
mod expired;
mod fleet_alerts;
mod send_alerts;
pub(crate) mod seen;
mod unreachable;

use crate::catalog::Model;
use crate::clock::Clock;
use crate::config::Config;
use crate::directory::Directory;
use crate::directory::authenticate::Authenticator;
use crate::gateway::alerting::Alerting;
use crate::gateway::classifier::Classifier;
use crate::gateway::embedding::Embedding;
use crate::gateway::fleet_health::FleetHealth;
use crate::gateway::outage::Outage;
use crate::gateway::over_rate::OverRate;
use crate::gateway::seen::Seen;
use crate::gateway::unreachable::Warned;
use crate::ledger::standing::Standing;
use crate::ledger::{Ledger, LedgerError};
use crate::limit::budget::Budget;
use crate::limit::retry_budget::{RetryAsk, RetryBudget};
use crate::locking::lock;
use crate::provider::unknown::Unknown;
use crate::provider::{Provider, ProviderError};
use crate::receipt::Receipt;
use crate::routing::intents::Intents;
use crate::running::{Connections, Running};
use crate::store::memory::MemoryCache;
use crate::store::{ResponseCache, Store, StoreError};
use crate::telemetry::losses::LogLosses;
use crate::telemetry::metrics::Metrics;
use crate::tenant::key::KeyHasher;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The gateway.
pub struct Gateway {
    /// The configuration that it runs by.
    pub config: Config,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Counters, cache and health.
    pub store: Arc<dyn Store>,
    /// Tenants and keys.
    pub directory: Arc<dyn Directory>,
    /// Receipts and totals.
    pub ledger: Arc<dyn Ledger>,
    /// What this process has observed.
    pub metrics: Metrics,
    /// Hashes keys.
    pub hasher: KeyHasher,
    /// The requests that run.
    pub running: Arc<Running>,
    /// Memory for bodies and answers in flight.
    pub budget: Arc<Budget>,
    /// The connections of the process, where it has its own.
    pub connections: Arc<Connections>,
    /// Who is over a rate, as far as this process knows.
    pub(crate) over_rate: OverRate,
    pub(crate) authenticator: Authenticator,
    pub(crate) intents: Intents,
    /// Asks a model what a request is about.
    pub(crate) classifier: Classifier,
    /// An embedding model for a team's own intents, where one is configured.
    pub(crate) embedding: Option<Arc<Embedding>>,
    /// What requests were found to be about, where the store is this process's memory.
    labels: Option<MemoryCache>,
    /// On which models conversations are, where the store is this process's memory.
    conversations: Option<MemoryCache>,
    /// The items of answers, where the store is this process's memory.
    items: Option<MemoryCache>,
    /// What goes on without the store.
    pub(crate) outage: Outage,
    /// When the operator was last warned of a provider.
    pub(crate) warned: Warned,
    /// What the operator is to be told of.
    pub(crate) alerting: Alerting,
    /// What this process has seen of the fleet that the operator is to be told of.
    pub(crate) seen: Seen,
    /// Whether the ledger takes receipts.
    pub(crate) ledger_standing: Standing,
    /// When the directory was found at fault, in Unix milliseconds, and its state and fault in words.
    pub(crate) directory_fault: Mutex<Option<(u64, (&'static str, &'static str))>>,
    /// What could not be logged.
    pub losses: Arc<LogLosses>,
    /// What is known of the models.
    pub(crate) health: FleetHealth,
    providers: HashMap<Arc<str>, Arc<dyn Provider>>,
    retries: Mutex<RetryBudget>,
}

impl Gateway {
    /// Where it is remembered what requests were found to be about.
    pub(crate) fn labels(&self) -> &dyn ResponseCache {
        self.labels.as_ref().map_or(self.store.cache(), |labels| labels)
    }

    /// Where it is remembered on which models conversations are.
    pub(crate) fn conversations(&self) -> &dyn ResponseCache {
        self.conversations.as_ref().map_or(self.store.cache(), |conversations| conversations)
    }

    /// Where the items of answers are kept for requests that name them.
    pub(crate) fn items(&self) -> &dyn ResponseCache {
        self.items.as_ref().map_or(self.store.cache(), |items| items)
    }

    /// Forgets all that is remembered for a tenant.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn purge(&self, uid: &str) -> Result<(), StoreError> {
        self.embedding.iter().for_each(|embedding| embedding.forget());
        self.labels().purge(uid).await?;
        self.conversations().purge(uid).await?;
        self.items().purge(uid).await?;
        self.store.cache().purge(uid).await
    }

    /// Forgets all that the store has of a tenant.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn forget(&self, uid: &str) -> Result<(), StoreError> {
        self.purge(uid).await?;
        self.store.counters().forget(uid).await
    }

    /// The provider of a model.
    pub(crate) fn provider(&self, model: &Model) -> &dyn Provider {
        self.providers.get(&model.provider).map_or(&Unknown, |provider| &**provider)
    }

    /// Takes one retry from the fleet's budget, or while the store is down from one of this process's own (A3).
    pub(crate) async fn may_retry(&self) -> bool {
        let now_ms = self.clock.now_ms();
        let requests = lock(&self.retries).untold(now_ms);
        let asked = self.store.health().try_retry(&RetryAsk { settings: &self.config.retry, requests }, now_ms).await;
        let mut retries = lock(&self.retries);
        match asked {
            Ok(true) => retries.note_retry(now_ms),
            Ok(false) => {}
            Err(_) => return retries.try_retry(now_ms),
        }
        asked.is_ok_and(|granted| granted)
    }

    /// Counts a request for the budget of retries.
    pub(crate) fn count_for_retries(&self) {
        lock(&self.retries).note_request(self.clock.now_ms());
    }

    /// Sends the store the calls that are pending for it.
    pub async fn flush_pending(&self) {
        self.outage.flush_pending(&*self.store, self.clock.now_ms()).await;
    }

    /// Warns of a provider that cannot be used, if that is why a call failed and there was no warning within a minute.
    pub(crate) fn warn_of(&self, model: &Model, error: &ProviderError) {
        self.warned.warn(&self.config, model, error, self.clock.now_ms());
    }

    /// Whether the ledger is down. It is probed only after something could not be written, and then once a second.
    pub(crate) async fn ledger_is_down(&self) -> bool {
        if self.ledger_standing.takes_turn(self.clock.now_ms()) {
            let mark = self.ledger_standing.mark();
            let probed = self.ledger.probe().await;
            self.ledger_standing.note(mark, &probed, self.clock.now_ms());
        }
        self.ledger_standing.fault().is_some()
    }

    /// Writes into the ledger, and takes note of how that went.
    pub(crate) async fn record(&self, receipt: &Receipt) -> Result<(), LedgerError> {
        let mark = self.ledger_standing.mark();
        let recorded = self.ledger.record(receipt).await;
        self.ledger_standing.note(mark, &recorded, self.clock.now_ms());
        recorded
    }

    /// The same for a cache hit, which does not wait.
    pub(crate) fn record_hit(&self, receipt: &Receipt) -> Result<(), LedgerError> {
        let mark = self.ledger_standing.mark();
        let recorded = self.ledger.note_hit(receipt);
        self.ledger_standing.note(mark, &recorded, self.clock.now_ms());
        recorded
    }
}
