//! Puts a gateway together. What a caller does not give is what needs nothing: memory, the machine's clock, the embedder
//! in process.

use crate::alerts::Channel;
use crate::catalog::Api;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::directory::Directory;
use crate::directory::authenticate::Authenticator;
use crate::gateway::Gateway;
use crate::gateway::alerting::Alerting;
use crate::gateway::classifier::Classifier;
use crate::gateway::embedding::Embedding;
use crate::gateway::fleet_health::FleetHealth;
use crate::gateway::outage::Outage;
use crate::gateway::over_rate::OverRate;
use crate::gateway::seen::Seen;
use crate::gateway::unreachable::Warned;
use crate::ledger::Ledger;
use crate::ledger::standing::Standing;
use crate::limit::budget::Budget;
use crate::limit::retry_budget::RetryBudget;
use crate::provider::Provider;
use crate::routing::intents::Intents;
use crate::routing::text::embedder::Embedder;
use crate::store::memory::{MemoryCache, MemoryHealth};
use crate::store::{Composed, Store};
use crate::telemetry::losses::LogLosses;
use crate::telemetry::metrics::Metrics;
use crate::tenant::key::KeyHasher;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Takes the borders of a gateway.
pub struct Builder {
    config: Config,
    clock: Arc<dyn Clock>,
    store: Option<Arc<dyn Store>>,
    embedder: Option<Arc<dyn Embedder>>,
    memory_bytes: u64,
    losses: Arc<LogLosses>,
    webhooks: Option<Arc<dyn Channel>>,
    sns: Option<Arc<dyn Channel>>,
    providers: HashMap<Arc<str>, Arc<dyn Provider>>,
}

/// The memory for bodies and answers where neither the configuration nor the process says how much there is.
const MEMORY_BYTES: u64 = 256 << 20;

/// The memory for items of answers where they are kept in this process.
const ITEMS_BYTES: usize = 16 << 20;

impl Gateway {
    /// A builder with the borders that need nothing: memory for the store, the machine's clock, the embedder in process.
    #[must_use]
    pub fn builder(config: Config) -> Builder {
        Builder {
            config,
            clock: Arc::new(SystemClock),
            store: None,
            embedder: None,
            memory_bytes: MEMORY_BYTES,
            losses: Arc::default(),
            webhooks: None,
            sns: None,
            providers: HashMap::new(),
        }
    }
}

impl Builder {
    /// The clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The store, where it is another than this process's memory.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// What embeds for a team's own intents, where the configuration names a model for it.
    #[must_use]
    pub fn embedder(mut self, embedder: Arc<dyn Embedder>) -> Self {
        self.embedder = Some(embedder);
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

    /// What sends webhooks, where the configuration has a secret to sign them with.
    #[must_use]
    pub fn webhooks(mut self, webhooks: Arc<dyn Channel>) -> Self {
        self.webhooks = Some(webhooks);
        self
    }

    /// What publishes to SNS, where the configuration names a topic.
    #[must_use]
    pub fn sns(mut self, sns: Arc<dyn Channel>) -> Self {
        self.sns = Some(sns);
        self
    }

    /// The provider of this name in the configuration.
    #[must_use]
    pub fn provider(mut self, name: &str, provider: Arc<dyn Provider>) -> Self {
        self.providers.insert(name.into(), provider);
        self
    }

    /// Puts the gateway together; `hasher` must be keyed as the directory's keys were.
    pub async fn build(self, directory: Arc<dyn Directory>, ledger: Arc<dyn Ledger>, hasher: KeyHasher) -> Gateway {
        let mut config = self.config;
        let formats = self
            .providers
            .iter()
            .flat_map(|(name, provider)| Api::WORDS.map(|(_, api)| (name.clone(), api, provider.format(api))));
        config.catalog.note_formats(formats);
        // Answers share what a shared store has; in this process's memory the others have bounds of their own.
        let is_in_memory = self.store.is_none();
        let entries = usize::try_from(config.intent.remember_entries).unwrap_or(usize::MAX);
        let remember = || is_in_memory.then(|| MemoryCache::new(entries, usize::MAX, usize::MAX));
        let (labels, conversations) = (remember(), remember());
        let items = is_in_memory.then(|| MemoryCache::new(entries, ITEMS_BYTES, ITEMS_BYTES));
        let store = self.store.unwrap_or_else(|| Arc::new(Composed::in_memory(&config)));
        let intents = Intents::learn(&config.intents);
        let embedding = config.embedder.clone().zip(self.embedder).zip(intents.utterances());
        let embedding =
            embedding.map(|((settings, embedder), utterances)| Embedding::new(settings, embedder, utterances));
        if let Some(embedding) = &embedding {
            embedding.start(self.clock.now_ms()).await;
        }
        Gateway {
            classifier: Classifier::new(&config, &intents),
            health: FleetHealth::new(store.clone(), MemoryHealth::new(&config.health, config.breaker.clone())),
            intents,
            embedding,
            over_rate: OverRate::default(),
            budget: Budget::new(config.server.memory_bytes.unwrap_or(self.memory_bytes)),
            authenticator: Authenticator::new(directory.clone(), hasher.clone(), config.tenant_defaults.clone()),
            retries: Mutex::new(RetryBudget::new(config.retry.clone())),
            metrics: Metrics::new(self.clock.now_ms()),
            clock: self.clock,
            labels,
            conversations,
            items,
            outage: Outage::default(),
            warned: Warned::default(),
            alerting: Alerting::new(&config.alerts, self.webhooks, self.sns),
            seen: Seen::default(),
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
        }
    }
}
