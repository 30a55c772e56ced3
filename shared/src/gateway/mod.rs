//! The gateway: every border in one place, wired by hand.
//!
//! [`Gateway::builder`] takes them all. `functions/*` give it the real ones; a test replaces any one of them and leaves the
//! rest as they are. There is no global state: two gateways in one process share nothing.

pub(crate) mod outage;
pub(crate) mod over_rate;
pub(crate) mod classifier;
pub(crate) mod fleet_health;
mod lost;
mod unreachable;

use crate::catalog::{Model, Target};
use crate::clock::{Clock, SystemClock};
use crate::config::{CacheSettings, Config};
use crate::directory::Directory;
use crate::directory::authenticate::{Authenticator, Caller};
use crate::error::Error;
use crate::gateway::classifier::Classifier;
use crate::gateway::fleet_health::FleetHealth;
use crate::gateway::outage::Outage;
use crate::gateway::over_rate::OverRate;
use crate::gateway::unreachable::Warned;
use crate::id::RequestId;
use crate::ledger::standing::Standing;
use crate::ledger::{Ledger, LedgerError};
use crate::limit::budget::Budget;
use crate::limit::retry_budget::RetryBudget;
use crate::provider::unknown::Unknown;
use crate::provider::{Provider, ProviderError};
use crate::receipt::Receipt;
use crate::request::reply::Answer;
use crate::routing::decide::not_found;
use crate::routing::intent::{EmbedError, Embedder, HashedNgrams};
use crate::routing::intents::Intents;
use crate::running::{Connections, Running};
use crate::store::memory::{MemoryCache, MemoryCounters, MemoryHealth};
use crate::store::{Counters, HealthStore, ResponseCache, Separate, Store, StoreError};
use crate::telemetry::losses::LogLosses;
use crate::telemetry::metrics::Metrics;
use crate::tenant::key::KeyHasher;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// What this process has seen.
    pub metrics: Metrics,
    /// Hashes keys.
    pub hasher: KeyHasher,
    /// The requests that run.
    pub running: Arc<Running>,
    /// Memory for bodies and answers in flight.
    pub budget: Arc<Budget>,
    /// The connections of the process, where it has its own.
    pub connections: Arc<Connections>,
    /// Who is over a rate, as far as this process was told.
    pub(crate) over_rate: OverRate,
    pub(crate) authenticator: Authenticator,
    pub(crate) intents: Intents,
    /// Asks a model what a request is about.
    pub(crate) classifier: Classifier,
    /// What requests were found to be about, where the store is this process's memory.
    labels: Option<MemoryCache>,
    /// What goes on without the store.
    pub(crate) outage: Outage,
    /// What the operator was told of providers.
    pub(crate) warned: Warned,
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

/// Takes the borders of a gateway.
pub struct Builder {
    config: Config,
    clock: Arc<dyn Clock>,
    counters: Option<Arc<dyn Counters>>,
    cache: Option<Arc<dyn ResponseCache>>,
    health: Option<Arc<dyn HealthStore>>,
    store: Option<Arc<dyn Store>>,
    embedder: Arc<dyn Embedder>,
    memory_bytes: u64,
    losses: Arc<LogLosses>,
    providers: HashMap<Arc<str>, Arc<dyn Provider>>,
}

/// The memory for bodies and answers where neither the configuration nor the process says how much there is.
const MEMORY_BYTES: u64 = 256 << 20;

impl Gateway {
    /// A builder with the borders that need nothing: memory for the store, the machine's clock, the embedder in process.
    #[must_use]
    pub fn builder(config: Config) -> Builder {
        Builder {
            config,
            clock: Arc::new(SystemClock),
            counters: None,
            cache: None,
            health: None,
            store: None,
            embedder: Arc::new(HashedNgrams),
            memory_bytes: MEMORY_BYTES,
            losses: Arc::default(),
            providers: HashMap::new(),
        }
    }

    /// Where it is remembered what requests were found to be about.
    pub(crate) fn labels(&self) -> &dyn ResponseCache {
        self.labels.as_ref().map_or(self.store.cache(), |labels| labels)
    }

    /// Forgets all that is remembered for a tenant.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn purge(&self, uid: &str) -> Result<(), StoreError> {
        self.labels().purge(uid).await?;
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

    /// Takes one retry from the budget of this process (A3).
    pub(crate) fn may_retry(&self) -> bool {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).try_retry(self.clock.now_ms())
    }

    /// Counts a request for the budget of retries.
    pub(crate) fn count_for_retries(&self) {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).note_request(self.clock.now_ms());
    }

    /// Sends the store what it is owed.
    pub async fn pay(&self) {
        self.outage.pay(&*self.store, self.clock.now_ms()).await;
    }

    /// Warns of a provider that cannot be used, if that is why a call failed and nobody was told within a minute.
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

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        self.authenticator.authenticate(crate::request::instructions::key_of(headers), self.clock.now_ms()).await
    }

    /// `GET /v1/models`: what this key may use, `auto` and tiers included.
    ///
    /// # Errors
    /// 401 and 403 as for any request.
    pub async fn models(&self, headers: &HeaderMap) -> Result<Answer, Error> {
        let caller = self.caller(headers).await?;
        let catalog = &self.config.catalog;
        let names = catalog.names().filter(|name| caller.tenant.allows(name));
        let data: Vec<Value> = names.filter_map(|name| Some(told_model(name, &catalog.resolve(name)?))).collect();
        Ok(Answer::json(StatusCode::OK, &json!({"object": "list", "data": data})))
    }

    /// `GET /v1/models/{id}`: one of them.
    ///
    /// # Errors
    /// 401 and 403 as for any request, 404 for one that does not exist or is not this key's to use.
    pub async fn model(&self, headers: &HeaderMap, name: &str) -> Result<Answer, Error> {
        let caller = self.caller(headers).await?;
        match self.config.catalog.resolve(name).filter(|_| caller.tenant.allows(name)) {
            Some(target) => Ok(Answer::json(StatusCode::OK, &told_model(name, &target))),
            None => Err(not_found(&self.config.catalog, &caller, name)),
        }
    }

    /// `GET /v1/receipts/{id}`: what one of this tenant's requests did (T1).
    ///
    /// # Errors
    /// 401 and 403 as for any request, 404 for a receipt that is not this tenant's, 503 while the ledger is down.
    pub async fn receipt(&self, headers: &HeaderMap, id: &str) -> Result<Answer, Error> {
        let caller = self.caller(headers).await?;
        let id: RequestId = id.parse().map_err(|_| Error::NotFound)?;
        let found = self.ledger.receipt(&caller.tenant.uid, id, self.clock.now_ms()).await;
        let receipt = found.map_err(|e| Error::Unavailable(e.to_string()))?.ok_or(Error::NotFound)?;
        Ok(Answer::json(StatusCode::OK, &serde_json::to_value(receipt).unwrap_or_default()))
    }
}

/// A name as the lists of models tell it: a model is its provider's; a tier, an alias and `auto` are the gateway's own.
fn told_model(name: &str, target: &Target) -> Value {
    let owner = match target {
        Target::Model(model) if *model.name == *name => &*model.provider,
        Target::Model(_) | Target::Tier(_) | Target::Auto => "gateway",
    };
    json!({"id": name, "object": "model", "created": 0, "owned_by": owner})
}

impl Builder {
    /// The clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The counters alone.
    #[must_use]
    pub fn counters(mut self, counters: Arc<dyn Counters>) -> Self {
        self.counters = Some(counters);
        self
    }

    /// The response cache alone.
    #[must_use]
    pub fn cache(mut self, cache: Arc<dyn ResponseCache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Health alone.
    #[must_use]
    pub fn health(mut self, health: Arc<dyn HealthStore>) -> Self {
        self.health = Some(health);
        self
    }

    /// A store that makes its own batches; the three parts are then not used.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The embedder.
    #[must_use]
    pub fn embedder(mut self, embedder: Arc<dyn Embedder>) -> Self {
        self.embedder = embedder;
        self
    }

    /// The memory for bodies and answers in flight, where the configuration leaves it to the machine.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Where the process's log counts what it loses.
    #[must_use]
    pub fn losses(mut self, losses: Arc<LogLosses>) -> Self {
        self.losses = losses;
        self
    }

    /// The provider of this name in the configuration.
    #[must_use]
    pub fn provider(mut self, name: &str, provider: Arc<dyn Provider>) -> Self {
        self.providers.insert(name.into(), provider);
        self
    }

    /// Puts the gateway together; `hasher` must be keyed as the directory's keys were.
    ///
    /// # Errors
    /// If the embedder cannot embed the intents' examples.
    pub async fn build(
        self,
        directory: Arc<dyn Directory>,
        ledger: Arc<dyn Ledger>,
        hasher: KeyHasher,
    ) -> Result<Gateway, EmbedError> {
        let config = self.config;
        let bytes = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        // Answers share what a shared store has; in this process's memory the labels have a bound of their own.
        let is_memory = self.store.is_none() && self.cache.is_none();
        let labels = MemoryCache::new(bytes(config.intent.remember_entries), usize::MAX, usize::MAX);
        let store = self.store.unwrap_or_else(|| {
            Arc::new(Separate {
                counters: self.counters.unwrap_or_else(|| Arc::new(MemoryCounters::default())),
                cache: self.cache.unwrap_or_else(|| {
                    let CacheSettings { max_entries, max_bytes, max_entry_bytes } = config.cache;
                    Arc::new(MemoryCache::new(bytes(max_entries), bytes(max_bytes), bytes(max_entry_bytes)))
                }),
                health: self
                    .health
                    .unwrap_or_else(|| Arc::new(MemoryHealth::new(&config.health, config.breaker.clone()))),
                kind: "memory",
            })
        });
        let intents = Intents::learn(&config.intents, self.embedder).await?;
        Ok(Gateway {
            classifier: Classifier::new(&config, &intents),
            health: FleetHealth::new(store.clone(), MemoryHealth::new(&config.health, config.breaker.clone())),
            intents,
            over_rate: OverRate::default(),
            budget: Budget::new(config.server.memory_bytes.unwrap_or(self.memory_bytes)),
            authenticator: Authenticator::new(directory.clone(), hasher.clone(), config.tenant_defaults.clone()),
            retries: Mutex::new(RetryBudget::new(config.retry.clone())),
            metrics: Metrics::new(self.clock.now_ms()),
            clock: self.clock,
            labels: is_memory.then_some(labels),
            outage: Outage::default(),
            warned: Warned::default(),
            ledger_standing: Standing::default(),
            directory_fault: Mutex::default(),
            losses: self.losses,
            providers: self.providers,
            store,
            directory,
            ledger,
            hasher,
            running: Arc::default(),
            connections: Arc::default(),
            config,
        })
    }
}
