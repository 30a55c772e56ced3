//! Plays one scenario with one selection: a whole gateway in virtual time. Time goes on when everybody waits, so three
//! minutes take a fraction of a second, and the same seed gives the same figures.

use crate::frame::Frame;
use crate::notebook::Notebook;
use crate::policy::Named;
use crate::provider::{Made, Simulated, Watched, body};
use crate::world::{Asked, MODELS, Scenario};
use anyhow::{Context, Result};
use bytes::Bytes;
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use gateway_core::clock::Clock;
use gateway_core::config::Config;
use gateway_core::directory::embedded::EmbeddedDirectory;
use gateway_core::directory::{AuditEntry, Directory, KeyRecord};
use gateway_core::gateway::Gateway;
use gateway_core::id::seed;
use gateway_core::request::incoming::Incoming;
use gateway_core::request::reply::{Answer, AnswerBody};
use gateway_core::store::Composed;
use gateway_core::tenant::TenantRecord;
use gateway_core::tenant::key::{ApiKey, KeyHasher};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// 2025-11-22 14:00:00 UTC.
const NOW: u64 = 1_763_820_000_000;
/// As many tenants send requests, in turn.
const TENANTS: usize = 3;

/// A request that was answered, or was not.
#[derive(Clone, Copy)]
pub(crate) struct Served {
    pub(crate) at_ms: u64,
    pub(crate) latency_ms: f64,
    pub(crate) answered: bool,
}

/// What came of it.
pub(crate) struct Played {
    pub(crate) served: Vec<Served>,
    pub(crate) calls: Vec<Made>,
    pub(crate) cost_nusd: u64,
}

/// Tenants and keys, the same for all that is played.
pub(crate) struct Tenants {
    directory: Arc<EmbeddedDirectory>,
    hasher: KeyHasher,
    keys: Vec<ApiKey>,
}

impl Tenants {
    /// Makes them.
    pub(crate) fn new() -> Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let name = format!("routing-simulator-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)?;
        let made = Self::made_in(&folder);
        // What is asked of it stands in memory.
        std::fs::remove_dir_all(&folder)?;
        made
    }

    fn made_in(folder: &Path) -> Result<Self> {
        let directory = Arc::new(EmbeddedDirectory::open(folder)?);
        let hasher = KeyHasher::new(b"a simulation has no secrets");
        let defaults = config(1)?.tenant_defaults;
        let keys: Vec<ApiKey> = (0..TENANTS).map(|_| ApiKey::generate()).collect();
        let making = async {
            for (number, key) in keys.iter().enumerate() {
                let id = format!("tenant-{number}");
                let tenant = TenantRecord::create(json!({"id": id}), &defaults, NOW)
                    .map_err(|error| anyhow::anyhow!("{error:?}"))?;
                directory.create_tenant(&tenant, audit(&id)).await?;
                let record = KeyRecord {
                    id: "main".into(),
                    tenant: id.as_str().into(),
                    hash: hasher.hash(key.reveal()).hex(),
                    name: "main".into(),
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
                directory.create_key(&record, audit(&id)).await?;
            }
            anyhow::Ok(())
        };
        tokio::runtime::Builder::new_current_thread().build()?.block_on(making)?;
        Ok(Self { directory, hasher, keys })
    }

    /// Plays a scenario with a selection.
    pub(crate) fn play(&self, scenario: &Arc<Scenario>, named: &Named, with: u64) -> Result<Played> {
        seed(with);
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?
            .block_on(self.run(scenario, named, with))
    }

    async fn run(&self, scenario: &Arc<Scenario>, named: &Named, with: u64) -> Result<Played> {
        let begun = Instant::now();
        let policy = named.policy.map(|make| Arc::new(Mutex::new(make())));
        let watched = Arc::new(Watched { calls: Mutex::default(), policy: policy.clone(), begun });
        let notebook = Arc::new(Notebook::default());
        let config = config(named.retries)?;
        let mut store = Composed::in_memory(&config);
        if let Some(policy) = policy {
            store.health = Arc::new(Frame { policy, begun_at_ms: NOW, dice: Mutex::new(Rng::with_seed(with)) });
        }
        let provider = Arc::new(Simulated::new(scenario.clone(), watched.clone(), with));
        let builder = Gateway::builder(config).clock(Arc::new(Virtual(begun))).store(Arc::new(store));
        let gateway =
            builder.provider("up", provider).build(self.directory.clone(), notebook.clone(), self.hasher.clone()).await;
        let (gateway, requests) = (Arc::new(gateway), scenario.requests(&mut Rng::with_seed(with)));
        let served = Mutex::new(Vec::with_capacity(requests.len()));
        let at = |at_ms| begun + Duration::from_millis(at_ms);
        let arriving = stream::iter(requests).then(|asked| async move {
            sleep_until(at(asked.at_ms)).await;
            asked
        });
        arriving
            .for_each_concurrent(None, |asked| {
                let (gateway, served) = (&gateway, &served);
                async move {
                    let answered = is_whole(gateway.chat(self.incoming(&asked)).await).await;
                    let latency_ms = at(asked.at_ms).elapsed().as_secs_f64() * 1000.0;
                    let request = Served { at_ms: asked.at_ms, latency_ms, answered };
                    served.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                }
            })
            .await;
        gateway.running.none().await;
        let calls = std::mem::take(&mut *watched.calls.lock().unwrap_or_else(PoisonError::into_inner));
        let served = served.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Played { served, calls, cost_nusd: notebook.cost_nusd.load(Relaxed) })
    }

    fn incoming(&self, asked: &Asked) -> Incoming {
        let key = &self.keys[asked.number as usize % TENANTS];
        let mut headers = HeaderMap::new();
        if let Ok(bearer) = HeaderValue::from_str(&format!("Bearer {}", key.reveal())) {
            headers.insert("authorization", bearer);
        }
        Incoming { headers, body: Box::new(body(asked)), time_left: None }
    }
}

/// Reads an answer to its end; whether it is whole.
async fn is_whole(answer: Answer) -> bool {
    let AnswerBody::Stream(mut events) = answer.body else { return answer.status.is_success() };
    let mut last = Bytes::new();
    while let Some(bytes) = events.recv().await {
        last = bytes;
    }
    last.windows(6).any(|six| six == b"[DONE]")
}

/// The gateway as it ships, with these models, no limits, and no cache: each request is to be routed.
fn config(retries: u32) -> Result<Config> {
    let mut text =
        String::from("[providers.up]\nkind = \"openai\"\nbase_url = \"http://localhost:9\"\napi_key = \"env:KEY\"\n");
    for model in &MODELS {
        let (name, input, output) = (model.name, model.input_usd, model.output_usd);
        writeln!(
            text,
            "[models.{name}]\nprovider = \"up\"\nid = \"{name}\"\nusd_per_million = {{ input = {input}, output = {output} }}"
        )?;
    }
    let names = MODELS.map(|model| model.name);
    writeln!(text, "[tiers]\npool = {}", Value::from(names.to_vec()))?;
    text += "[intents.greeting]\ntier = \"pool\"\nexamples = [\"hello there\"]\n";
    writeln!(text, "[retry]\nmax_per_candidate = {retries}")?;
    text += "[tenant_defaults.cache]\nenabled = false\n[tenant_defaults.limits]\n";
    for limit in
        ["requests_per_minute", "tokens_per_minute", "concurrency", "daily_requests", "daily_tokens", "daily_cost_usd"]
    {
        writeln!(text, "{limit} = \"none\"")?;
    }
    Config::load(&text, "simulation.toml", &|_| Some("no-key".into())).context("the simulation's configuration")
}

fn audit(subject: &str) -> AuditEntry {
    let (who, what, subject) = ("simulation".to_owned(), "create".to_owned(), subject.to_owned());
    AuditEntry { at_ms: NOW, who, from: None, what, subject, before: Value::Null, after: Value::Null }
}

/// A clock that follows the runtime's time, which is paused.
struct Virtual(Instant);

impl Clock for Virtual {
    fn now_ms(&self) -> u64 {
        NOW + u64::try_from(self.0.elapsed().as_millis()).unwrap_or(0)
    }
}
