//! The test bench: a whole gateway on a scene that a test describes in a few words.
//!
//! Everything is real but the surroundings. Models named `sim/…` are the simulated provider's, all others are served by
//! the upstream double over loopback, each misbehaving as its name says. Time is a manual clock, so that rates, windows
//! and breakers stand still unless a test moves them. Directory and ledger are the embedded ones in a folder of their own.
//! Order is what the configuration says: the ranking's hysteresis and its refreshing traffic are switched off, unless a
//! test switches them on.

mod door;
mod folder;
mod got;
mod providers;

pub use door::{DOORS, Door, Heard};
pub use folder::Folder;
pub use got::{Got, read_on};
pub use providers::credentials;

use crate::unreliable::Unreliable;
use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use gateway_core::clock::{Clock, ManualClock};
use gateway_core::config::Config;
use gateway_core::directory::embedded::EmbeddedDirectory;
use gateway_core::directory::{AuditEntry, Directory, KeyRecord};
use gateway_core::door::refusal;
use gateway_core::gateway::Gateway;
use gateway_core::gateway::builder::Builder;
use gateway_core::ledger::Ledger;
use gateway_core::ledger::embedded::EmbeddedLedger;
use gateway_core::limit::window::Window;
use gateway_core::money::{Amounts, Usage};
use gateway_core::provider::keys::SecretSource;
use gateway_core::request::incoming::Incoming;
use gateway_core::request::reply::Answer;
use gateway_core::store::{Composed, Counters};
use gateway_core::tenant::TenantRecord;
use gateway_core::tenant::key::{ApiKey as TenantKey, KeyHasher};
use http::{HeaderMap, HeaderName, HeaderValue};
use providers::served;
use serde_json::{Value, json};
use simulated_provider::Simulated;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use upstream_double::{Double, KNOWN_KEY};

/// 2025-11-22 14:00:00 UTC.
pub const NOW: u64 = 1_763_820_000_000;

/// What the double is called with; no caller of the gateway may see it.
pub const OUR_KEY: &str = "sk-ours-0123456789abcdef";

/// Stands in further tables for the double's address, without a path.
pub const DOUBLE: &str = "http://double";

/// What the cheap tier's models cost for a million tokens, and those of the reasoning tier: whole nano-dollars a token.
const CHEAP_PRICE: &str = "{ input = 0.59, cached_input = 0.295, output = 0.79, reasoning = 0.81 }";
const REASONING_PRICE: &str = "{ input = 2.5, cached_input = 1.25, output = 10.0, reasoning = 12.0 }";

/// What a test wants to stand on.
pub struct Scene {
    tiers: Vec<(String, Vec<String>)>,
    models: String,
    tables: String,
    tenant: Value,
    inject: Vec<Box<dyn FnOnce(Builder) -> Builder>>,
    store: Option<Box<dyn FnOnce(Composed) -> Composed>>,
    intents: &'static str,
    health: &'static str,
    credentials: SharedCredentialsProvider,
    secrets: Option<Arc<dyn SecretSource>>,
}

/// Two intents, far apart.
const INTENTS: &str = r#"
[intents.greeting]
tier = "cheap"
examples = ["hello there", "good morning", "hi, how are you", "good evening"]
[intents.design]
tier = "reasoning"
examples = ["design a distributed database", "architect a scalable queue", "review this system architecture"]
"#;

/// A scene without models.
pub fn scene() -> Scene {
    Scene {
        tiers: Vec::new(),
        models: String::new(),
        tables: String::new(),
        tenant: json!({}),
        inject: Vec::new(),
        store: None,
        intents: INTENTS,
        secrets: None,
        health: "margin_percent = 1000\nrefresh_percent = 0",
        credentials: credentials(KNOWN_KEY.1),
    }
}

/// A scene with one tier of these models.
pub fn cheap<const N: usize>(behaviours: [&str; N]) -> Scene {
    scene().tier("cheap", &behaviours).tier("reasoning", &["ok@strong"])
}

/// A scene with two tiers.
pub fn two_tiers<const N: usize, const M: usize>(cheap: [&str; N], reasoning: [&str; M]) -> Scene {
    scene().tier("cheap", &cheap).tier("reasoning", &reasoning)
}

/// Whether a model has its table elsewhere, or none.
fn is_named(behaviour: &str) -> bool {
    ["sim/", "gemini/", "claude/"].iter().any(|provider| behaviour.starts_with(provider))
}

/// A model's catalog name: the beginning of what it does, without what no name may have.
pub fn name_of(behaviour: &str) -> String {
    let fitting = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    if is_named(behaviour) {
        return behaviour.to_owned();
    }
    format!("up/{}", behaviour.chars().take(100).map(fitting).collect::<String>())
}

impl Scene {
    /// A further tier, dearer than those before it.
    pub fn tier(mut self, name: impl Into<String>, behaviours: &[&str]) -> Self {
        let name = name.into();
        let price = if name == "cheap" { CHEAP_PRICE } else { REASONING_PRICE };
        for behaviour in behaviours {
            self = self.model_at(price, behaviour, "");
        }
        self.tiers.push((name, behaviours.iter().map(|behaviour| name_of(behaviour)).collect()));
        self
    }

    /// A further tier of models that have their tables.
    pub fn tier_of(mut self, name: &str, models: Vec<String>) -> Self {
        self.tiers.push((name.to_owned(), models));
        self
    }

    /// A cheap model with these fields in its table, whether or not a tier that follows lists it.
    pub fn model(self, behaviour: &str, fields: &str) -> Self {
        self.model_at(CHEAP_PRICE, behaviour, fields)
    }

    /// The same at another price.
    pub fn model_at(mut self, price: &str, behaviour: &str, fields: &str) -> Self {
        let (name, id) = (Value::from(name_of(behaviour)), Value::from(behaviour));
        let head = format!("[models.{name}]\n");
        if !is_named(behaviour) && !self.models.contains(&head) {
            let capabilities =
                r#"capabilities = ["tools", "json_schema", "vision", "documents", "reasoning", "logprobs"]"#;
            let served = format!("provider = \"up\"\nid = {id}\nusd_per_million = {price}\n{capabilities}\n");
            writeln!(self.models, "{head}{served}{fields}").unwrap();
        }
        self
    }

    /// A model named `claude/…` that the double serves in Anthropic's format.
    pub fn claude(mut self, behaviour: &str) -> Self {
        let name = Value::from(format!("claude/{}", behaviour.replace(' ', "_")));
        let id = Value::from(behaviour);
        let capabilities = r#"capabilities = ["tools", "json_schema", "vision", "documents", "reasoning", "prefill"]"#;
        writeln!(
            self.models,
            "[models.{name}]\nprovider = \"claude\"\nid = {id}\nusd_per_million = {CHEAP_PRICE}\n{capabilities}"
        )
        .unwrap();
        self
    }

    /// A model named `gemini/…` that the double serves in Google's format.
    pub fn gemini(mut self, behaviour: &str) -> Self {
        let name = Value::from(format!("gemini/{}", behaviour.replace(' ', "_")));
        let id = Value::from(behaviour);
        let capabilities = r#"capabilities = ["tools", "json_schema", "vision", "documents", "reasoning", "logprobs"]"#;
        writeln!(
            self.models,
            "[models.{name}]\nprovider = \"gemini\"\nid = {id}\nusd_per_million = {CHEAP_PRICE}\n{capabilities}"
        )
        .unwrap();
        self
    }

    /// Further tables of the configuration.
    pub fn table(mut self, toml: &str) -> Self {
        writeln!(self.tables, "{toml}").unwrap();
        self
    }

    /// The intents that come with the gateway.
    pub fn shipped_intents(mut self) -> Self {
        self.intents = "";
        self
    }

    /// Candidates are ranked by their health as they are in production.
    pub fn ranked_by_health(mut self) -> Self {
        self.health = "refresh_percent = 0";
        self
    }

    /// Beginnings of streams are judged before the client gets them: so much shows how an answer begins.
    pub fn holding_streams_back(self) -> Self {
        self.table("[tenant_defaults.upgrade]\nstream_holdback_bytes = 48")
    }

    /// The settings of the tenant.
    pub fn tenant(mut self, settings: Value) -> Self {
        self.tenant = settings;
        self
    }

    /// The limits of the tenant; none other holds.
    pub fn limits(self, limits: Value) -> Self {
        self.tenant(json!({"limits": limits}))
    }

    /// Whose credentials sign what goes to Bedrock.
    pub fn credentials(self, credentials: SharedCredentialsProvider) -> Self {
        Self { credentials, ..self }
    }

    /// Replaces a border.
    pub fn with(mut self, inject: impl FnOnce(Builder) -> Builder + 'static) -> Self {
        self.inject.push(Box::new(inject));
        self
    }

    /// Replaces a part of the store.
    pub fn store(mut self, change: impl FnOnce(Composed) -> Composed + 'static) -> Self {
        self.store = Some(Box::new(change));
        self
    }

    /// Says where the keys are kept that the configuration only names.
    pub fn secrets(mut self, secrets: Arc<dyn SecretSource>) -> Self {
        self.secrets = Some(secrets);
        self
    }

    /// Replaces the counters.
    pub fn counters(self, counters: Arc<dyn Counters>) -> Self {
        self.store(|memory| Composed { counters, ..memory })
    }

    fn config(&self, base_url: &str) -> String {
        let mut text =
            format!("[providers.up]\nkind = \"openai\"\nbase_url = \"{base_url}\"\napi_key = \"env:UP_KEY\"\n");
        text += "[providers.sim]\nkind = \"simulated\"\n";
        if self.models.contains("provider = \"gemini\"") {
            text += &format!(
                "[providers.gemini]\nkind = \"gemini\"\nbase_url = \"{base_url}beta\"\napi_key = \"env:UP_KEY\"\n"
            );
        }
        if self.models.contains("provider = \"claude\"") {
            text += &format!(
                "[providers.claude]\nkind = \"anthropic\"\nbase_url = \"{base_url}\"\napi_key = \"env:UP_KEY\"\n"
            );
        }
        text += &self.models;
        text += "[tiers]\n";
        for (name, models) in &self.tiers {
            writeln!(text, "{name} = {}", json!(models)).unwrap();
        }
        text += self.intents;
        writeln!(text, "[health]\n{}", self.health).unwrap();
        if !self.tables.contains("[intent]") {
            text += "[intent]\nask_below = 0\n";
        }
        text += "[tenant_defaults.limits]\n";
        for limit in [
            "requests_per_minute",
            "tokens_per_minute",
            "concurrency",
            "daily_requests",
            "daily_tokens",
            "daily_cost_usd",
        ] {
            writeln!(text, "{limit} = \"none\"").unwrap();
        }
        text + &self.tables.replace(DOUBLE, base_url.trim_end_matches("/v1"))
    }

    /// Sets it up.
    pub async fn build(self) -> Rig {
        let double = Double::start().await;
        let text = self.config(&double.base_url());
        let env = |name: &str| (name == "UP_KEY").then(|| OUR_KEY.to_owned());
        let config = Config::load(&text, "test.toml", &env).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let clock = Arc::new(ManualClock::at(NOW));
        let folder = Folder::new();
        let directory = Arc::new(Unreliable::new(EmbeddedDirectory::open(&folder.0).unwrap()));
        let ledger = Arc::new(Unreliable::new(EmbeddedLedger::open(&folder.0, NOW).unwrap()));
        let hasher = KeyHasher::new(b"the installation's secret");
        let mut builder =
            Gateway::builder(config.clone()).clock(clock.clone()).provider("sim", Arc::new(Simulated::new()));
        builder = served(builder, &config, &self.credentials, self.secrets.as_ref());
        if let Some(change) = self.store {
            builder = builder.store(Arc::new(change(Composed::in_memory(&config))));
        }
        for inject in self.inject {
            builder = inject(builder);
        }
        let gateway = Arc::new(builder.build(directory.clone(), ledger.clone(), hasher.clone()).await);
        let mut rig = Rig { gateway, double, clock, directory, ledger, hasher, key: String::new(), folder };
        rig.key = rig.add_tenant("acme", self.tenant).await;
        rig
    }
}

/// A gateway and its surroundings.
pub struct Rig {
    pub gateway: Arc<Gateway>,
    pub double: Double,
    pub clock: Arc<ManualClock>,
    pub directory: Arc<Unreliable<EmbeddedDirectory>>,
    pub ledger: Arc<Unreliable<EmbeddedLedger>>,
    /// The key of the tenant `acme`.
    pub key: String,
    hasher: KeyHasher,
    folder: Folder,
}

/// A chat request with one message.
pub fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "What is an interface?"}]})
}

/// The same with another message, or with further fields.
pub fn ask_with(model: &str, fields: Value) -> Value {
    let mut body = ask(model);
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

/// The same, streamed with its usage.
pub fn streamed(model: &str) -> Value {
    ask_with(model, json!({"stream": true, "stream_options": {"include_usage": true}}))
}

impl Rig {
    /// Makes a tenant; answers its key.
    pub async fn add_tenant(&self, id: &str, settings: Value) -> String {
        let mut body = settings;
        body["id"] = id.into();
        let mut record = TenantRecord::create(body, &self.gateway.config.tenant_defaults, NOW).unwrap();
        // The same in every rig, so that two of them can be processes of one deployment.
        record.uid = Some(format!("{id}~of-the-rig").into());
        self.directory.inner.create_tenant(&record, audit("tenant.create", id)).await.unwrap();
        self.add_key(id, "main").await
    }

    /// Makes a key of a tenant.
    pub async fn add_key(&self, tenant: &str, id: &str) -> String {
        self.keep_key(&TenantKey::generate(), tenant, id).await
    }

    /// Makes this key one of a tenant's.
    pub async fn keep_key(&self, key: &TenantKey, tenant: &str, id: &str) -> String {
        let record = KeyRecord {
            id: id.into(),
            tenant: tenant.into(),
            hash: self.hasher.hash(key.reveal()).hex(),
            name: id.to_owned(),
            prefix: key.prefix().to_owned(),
            last4: key.last4().into(),
            created_at_ms: NOW,
            expires_at_ms: None,
            retires_at_ms: None,
            allowed_models: None,
            limits: None,
            first: None,
            version: 1,
        };
        self.directory.inner.create_key(&record, audit("key.create", id)).await.unwrap();
        key.reveal().to_owned()
    }

    /// Changes a tenant, as the admin plane does: the directory first, then the store hears of the new version.
    pub async fn change_tenant(&self, id: &str, patch: Value) {
        let record = self.directory.inner.tenant(id).await.unwrap().unwrap();
        let record = record.patched(patch, &self.gateway.config.tenant_defaults).unwrap();
        self.directory.inner.update_tenant(&record, audit("tenant.update", id)).await.unwrap();
        self.gateway
            .store
            .counters()
            .rebuild(record.uid(), None, record.version, &[], self.clock.now_ms())
            .await
            .unwrap();
    }

    /// Sends a chat request of the tenant `acme` and waits for all of its answer.
    pub async fn chat(&self, body: Value) -> Got {
        self.chat_as(&self.key, &[], body).await
    }

    /// The same, past the cache.
    pub async fn fresh(&self, body: Value) -> Got {
        self.chat_with(&[("x-gateway-cache", "no-store")], body).await
    }

    /// The same with further headers.
    pub async fn chat_with(&self, headers: &[(&'static str, &str)], body: Value) -> Got {
        self.chat_as(&self.key, headers, body).await
    }

    /// The same with another key.
    pub async fn chat_as(&self, key: &str, headers: &[(&'static str, &str)], body: Value) -> Got {
        Got::all_of(self.begin(key, headers, body.to_string().into()).await).await
    }

    /// Sends bytes.
    pub async fn chat_bytes(&self, headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Got {
        Got::all_of(self.begin(&self.key, headers, body.into()).await).await
    }

    /// Sends a request and takes only the head of its answer.
    pub async fn begin(&self, key: &str, headers: &[(&'static str, &str)], body: Bytes) -> Answer {
        self.gateway.chat(Incoming { headers: with_key(key, headers), body: Box::new(body), time_left: None }).await
    }

    /// Where directory and ledger are kept.
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// What time it is.
    pub fn clock_now(&self) -> u64 {
        self.clock.now_ms()
    }

    /// What the ledger says that `acme` used today.
    pub async fn totals(&self) -> Amounts {
        self.totals_of("acme").await
    }

    pub async fn totals_of(&self, tenant: &str) -> Amounts {
        self.ledger.inner.totals(&self.uid_of(tenant).await, &Window::day(NOW, 0)).await.unwrap().used
    }

    /// What is kept of a tenant lies under this.
    pub async fn uid_of(&self, tenant: &str) -> Arc<str> {
        self.directory.inner.tenant(tenant).await.unwrap().unwrap().uid().clone()
    }

    /// The same of `acme`.
    pub async fn uid(&self) -> Arc<str> {
        self.uid_of("acme").await
    }

    /// What the store says that `acme` used today, and that nothing is held any more.
    pub async fn counted(&self) -> Amounts {
        let (uid, now_ms) = (self.uid().await, self.clock.now_ms());
        let usage = self.gateway.store.counters().usage(&uid, &[Window::day(NOW, 0)], now_ms).await.unwrap();
        let usage = usage[0].unwrap_or_default();
        assert_eq!(usage.held, Amounts::default(), "something is held still");
        usage.used
    }

    /// What the double billed, at the catalog's prices. Requests are not its to count.
    pub fn billed(&self) -> Amounts {
        let mut billed = Amounts::default();
        for (id, tally) in self.double.counts().models {
            let model = self.gateway.config.catalog.models.iter().find(|model| *model.provider_model == *id);
            let usage = Usage {
                input_tokens: tally.input_tokens,
                cached_input_tokens: tally.cached_tokens,
                output_tokens: tally.output_tokens,
                reasoning_tokens: tally.reasoning_tokens,
                ..Usage::default()
            };
            let cost_nusd =
                model.unwrap_or_else(|| panic!("{id} was called")).price.cost_nusd(&usage, self.clock_now());
            billed = billed.plus(Amounts { requests: 0, tokens: usage.total_tokens(), cost_nusd });
        }
        billed
    }

    /// How often the double was called for a model.
    pub fn calls(&self, behaviour: &str) -> u64 {
        self.double.counts().of(behaviour).calls
    }

    /// The receipt of an answer, as its tenant reads it.
    pub async fn receipt(&self, got: &Got) -> Value {
        let answer = self.gateway.receipt(&with_key(&self.key, &[]), got.header("x-request-id")).await;
        Got::all_of(answer.unwrap_or_else(|error| refusal(&error, None))).await.json()
    }

    /// Waits until the ledger has heard of this many requests, and not for ever.
    pub async fn recorded(&self, requests: u64) {
        let mut recorded = self.ledger.recorded.subscribe();
        let reached = timeout(Duration::from_secs(60), recorded.wait_for(|recorded| *recorded >= requests)).await;
        assert!(reached.is_ok(), "the ledger has heard of {} requests", *self.ledger.recorded.borrow());
    }
}

/// A body that is there already.
pub fn boxed(body: impl Into<Bytes>) -> Box<Bytes> {
    Box::new(body.into())
}

pub fn with_key(key: &str, headers: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
    for (name, value) in headers {
        map.insert(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn audit(what: &str, subject: &str) -> AuditEntry {
    let (who, what, subject) = ("root".to_owned(), what.to_owned(), subject.to_owned());
    AuditEntry { at_ms: NOW, who, from: None, what, subject, before: Value::Null, after: Value::Null }
}
