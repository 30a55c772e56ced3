//! The configuration: `gateway.toml`, read once at the start, whole or not at all.
//!
//! A gateway that starts with half of a misread file would bill by the wrong price or send work to the wrong model.
//! So whatever cannot be right is refused before the first request, with file, line and the field's path, all problems
//! at once. Tables that are left out have the defaults that `assets/gateway.toml` documents; that file is compiled in
//! and is the configuration of a gateway that was given none.
//!
//! Keeps T3 (a file holds references to keys, never keys; no message repeats a value that may be one) and T4
//! (addresses, keys and headers of providers come from here only).
//!
//! `reader` is the way of reading a table; every other file is a group of tables.

mod alerts;
mod answers;
mod embedder;
mod intents;
mod model;
mod models;
mod names;
mod prices;
mod providers;
mod reader;
mod secret;
mod settings;
mod shipped;

pub use alerts::AlertSettings;
#[cfg(feature = "aws")]
pub(crate) use alerts::region_of;
pub use embedder::EmbedderSettings;
pub use intents::{IntentSpec, shipped_utterances};
pub use providers::{ApiKey, AzureSpec, BedrockSpec, OpenAiSpec, ProviderKind, ProviderSpec, VendorSpec};
pub use secret::{Secret, SecretRef};
pub use settings::{CacheSettings, IntentSettings, ServerSettings, UpgradeSettings};
pub use shipped::shipped_models;

use crate::catalog::Catalog;
use crate::health::breaker::BreakerSettings;
use crate::health::score::HealthSettings;
use crate::limit::retry_budget::RetrySettings;
use crate::tenant::TenantSettings;
use reader::{Section, read_file};

/// The configuration of a gateway that is given none.
pub const SHIPPED: &str = include_str!("../../../assets/gateway.toml");

/// What a configuration file, in the light of the environment, makes of the gateway.
#[derive(Debug, Clone)]
pub struct Config {
    /// Changes whenever the file does; stands on every receipt.
    pub version: u64,
    /// Changes with whatever in the file changes what is answered; part of every cache key (T1).
    pub answers: [u8; 32],
    /// The providers that can serve, in the order of the file.
    pub providers: Vec<ProviderSpec>,
    /// Their models, the tiers and the aliases.
    pub catalog: Catalog,
    /// What requests are about; never empty.
    pub intents: Vec<IntentSpec>,
    /// What a tenant has that sets nothing of its own.
    pub tenant_defaults: TenantSettings,
    /// How much the memory store's cache holds.
    pub cache: CacheSettings,
    /// How candidates are ranked.
    pub health: HealthSettings,
    /// When a model is given up for a while.
    pub breaker: BreakerSettings,
    /// How many retries all requests together may make, and how soon.
    pub retry: RetrySettings,
    /// How often one request may try the same candidate again.
    pub max_retries_per_candidate: u32,
    /// How long one request may take with all its attempts.
    pub request_deadline_ms: u64,
    /// When a cheap answer is replaced by a stronger tier's.
    pub upgrade: UpgradeSettings,
    /// How it is found out what a request is about.
    pub intent: IntentSettings,
    /// An embedding model for a team's own intents, if not the table in process.
    pub embedder: Option<EmbedderSettings>,
    /// Who is told of what, without asking.
    pub alerts: AlertSettings,
    /// What the server takes.
    pub server: ServerSettings,
    /// What the operator should know: providers that were skipped, answers that are simulated.
    pub notices: Vec<String>,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct ConfigError {
    /// Each as `FILE:LINE: PATH: MESSAGE`, in the order of the file; never empty.
    pub problems: Vec<String>,
}

impl Config {
    /// Reads a configuration.
    ///
    /// `file_name` is for messages only; `env` answers what a variable of the environment holds. Keys kept elsewhere
    /// than in the environment stay [`ApiKey::Pending`]: they are read when they are needed.
    ///
    /// # Errors
    /// Every problem of the file, or the first where it is not TOML.
    pub fn load(text: &str, file_name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let read = read_file(text, file_name, |root| read(root, env));
        let mut config = read.map_err(|problems| ConfigError { problems })?;
        config.version = u64::from(crc32fast::hash(text.as_bytes()));
        config.answers = answers::fingerprint(&config);
        Ok(config)
    }
}

/// The problems of a configuration file, none if it can be used: what `check gateway.toml` prints.
///
/// Every variable that the file names counts as set: a file is checked where its keys are not.
pub fn check(text: &str, file_name: &str) -> Vec<String> {
    Config::load(text, file_name, &|_| Some("set".to_owned())).err().map_or_else(Vec::new, |error| error.problems)
}

fn read(root: &mut Section<'_, '_>, env: &dyn Fn(&str) -> Option<String>) -> Config {
    let (timeouts, request_deadline_ms) = root.table("timeouts_ms", |section| {
        (settings::timeouts(section, settings::TIMEOUTS), settings::request_deadline_ms(section))
    });
    let providers = providers::read(root, env);
    let models::Read { catalog, providers, skipped: mut notices, embedder, names } =
        models::read(root, providers, timeouts);
    if providers.iter().all(|provider| matches!(provider.kind, ProviderKind::Simulated)) {
        notices.push("no provider has a key: every answer is simulated".to_owned());
    }
    let own = intents::read(root);
    let own = intents::checked(own, root.problems, &catalog);
    let (intent, intents) = settings::intent(root, &catalog, own, intents::shipped(&catalog));
    if embedder.is_some() && intents.iter().all(|intent| intent.examples.is_empty()) {
        notices.push("the embedder has nothing to embed: there are no intents with examples".to_owned());
    }
    let (retry, max_retries_per_candidate) = settings::retry(root);
    let alerts = alerts::read(root, env);
    Config {
        version: 0,
        answers: [0; 32],
        tenant_defaults: settings::tenant_defaults(root, &names, &catalog, alerts.thresholds.clone()),
        alerts,
        cache: settings::cache(root),
        health: settings::health(root),
        breaker: settings::breaker(root),
        retry,
        max_retries_per_candidate,
        request_deadline_ms,
        upgrade: settings::upgrade(root),
        intent,
        embedder,
        server: settings::server(root),
        providers,
        catalog,
        intents,
        notices,
    }
}

#[cfg(test)]
mod tests;
