//! From the environment to a gateway, wired by hand in one place.
//!
//! Redis, DynamoDB, AWS's credentials and the simulated provider are features of this crate, each behind one function below: where a program
//! is built without one, that function refuses the setting that names it (see ADR 22).

use crate::environment::variable;
use crate::keys::Keys;
use crate::secrets::secret;
use crate::{alerting, flushing};
use anyhow::{Context, bail};
use gateway_core::alerts::Channel;
use gateway_core::alerts::webhook::Webhooks;
use gateway_core::clock::{Clock, SystemClock};
use gateway_core::config::{BedrockSpec, Config, EmbedderSettings, ProviderKind, ProviderSpec, SHIPPED};
use gateway_core::directory::Directory;
use gateway_core::directory::embedded::EmbeddedDirectory;
use gateway_core::gateway::Gateway;
use gateway_core::ledger::Ledger;
use gateway_core::ledger::embedded::EmbeddedLedger;
use gateway_core::provider::Provider;
use gateway_core::provider::anthropic::Anthropic;
use gateway_core::provider::azure::Azure;
use gateway_core::provider::bedrock::Bedrock;
use gateway_core::provider::embeddings::RemoteEmbedder;
use gateway_core::provider::gemini::Gemini;
use gateway_core::provider::openai::OpenAi;
use gateway_core::provider::sign::Sign;
use gateway_core::store::Store;
#[cfg(feature = "redis")]
use gateway_core::store::redis::RedisStore;
use gateway_core::tenant::key::KeyHasher;
use gateway_core::tls;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A gateway, and what the process that serves it must know.
pub struct Wired {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// The owner's token, in clear: to be hashed, and on a laptop to be shown. `None` where the environment has none and
    /// there is no data folder to keep one in.
    pub owner_token: Option<String>,
    /// Where tenants and ledger are kept.
    pub place: Place,
    /// Where the configuration came from.
    pub config_name: String,
}

/// Where tenants and ledger are kept: what `GATEWAY_DIRECTORY` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a folder of this machine.
    Folder(PathBuf),
    /// In a DynamoDB table of this name.
    Table(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Table(name) => write!(f, "the DynamoDB table {name}"),
        }
    }
}

impl Place {
    /// What `GATEWAY_DIRECTORY` says; a folder is made if it is missing.
    ///
    /// # Errors
    /// If it says something else, or the folder cannot be made.
    pub fn from_env() -> anyhow::Result<Self> {
        let default = if crate::lambda::is_lambda() { "file:/tmp/.gateway" } else { "file:.gateway" };
        let named = variable("GATEWAY_DIRECTORY").unwrap_or_else(|| default.to_owned());
        match named.split_once(':') {
            Some(("file", path)) if !path.is_empty() => {
                std::fs::create_dir_all(path)
                    .with_context(|| format!("GATEWAY_DIRECTORY: cannot make the folder {path}"))?;
                Ok(Self::Folder(PathBuf::from(path)))
            }
            Some(("dynamodb", table)) if !table.is_empty() => Ok(Self::Table(table.to_owned())),
            // As with the store: an address may hold a password.
            _ => {
                let kind = named.split(':').next().unwrap_or_default();
                bail!("GATEWAY_DIRECTORY: `{kind}` is not supported; file:FOLDER and dynamodb:TABLE are")
            }
        }
    }

    /// The ledger alone.
    ///
    /// # Errors
    /// If it cannot be opened, as when a gateway has the folder open.
    pub async fn ledger(&self) -> anyhow::Result<Arc<dyn Ledger>> {
        Ok(match self {
            Self::Folder(folder) => {
                heed_file_limit()?;
                Arc::new(EmbeddedLedger::open(folder, SystemClock.now_ms())?)
            }
            Self::Table(name) => dynamodb(name).await?.1,
        })
    }

    /// The directory alone.
    ///
    /// # Errors
    /// If it cannot be opened, as when a gateway has the folder open.
    pub async fn directory(&self) -> anyhow::Result<Arc<dyn Directory>> {
        Ok(match self {
            Self::Folder(folder) => {
                heed_file_limit()?;
                Arc::new(EmbeddedDirectory::open(folder)?)
            }
            Self::Table(name) => dynamodb(name).await?.0,
        })
    }

    async fn open(&self) -> anyhow::Result<Kept> {
        match self {
            // The directory first: its file says best that another gateway has the folder.
            Self::Folder(_) => Ok((self.directory().await?, self.ledger().await?)),
            Self::Table(name) => dynamodb(name).await,
        }
    }
}

/// Tenants and ledger.
type Kept = (Arc<dyn Directory>, Arc<dyn Ledger>);

/// Tenants and ledger in the table of this name. An emulator's on this machine is made where it is missing; one of AWS
/// never is.
#[cfg(feature = "dynamodb")]
async fn dynamodb(table: &str) -> anyhow::Result<Kept> {
    use gateway_core::directory::dynamodb::DynamoDirectory;
    use gateway_core::dynamodb::Table;
    use gateway_core::ledger::dynamodb::DynamoLedger;
    let table = Table::from_env(table).await.context("GATEWAY_DIRECTORY")?;
    let endpoint = variable("AWS_ENDPOINT_URL_DYNAMODB").unwrap_or_default();
    if ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"].iter().any(|local| endpoint.starts_with(local)) {
        table.create().await.context("AWS_ENDPOINT_URL_DYNAMODB")?;
    }
    Ok((Arc::new(DynamoDirectory::new(table.clone())), Arc::new(DynamoLedger::new(table))))
}

#[cfg(not(feature = "dynamodb"))]
async fn dynamodb(_table: &str) -> anyhow::Result<Kept> {
    Err(left_out("GATEWAY_DIRECTORY", "dynamodb", "file:FOLDER is what it has"))
}

/// Why a setting is refused that names what this program was built without.
#[cfg(not(all(feature = "aws", feature = "dynamodb", feature = "redis", feature = "simulated")))]
fn left_out(setting: &str, feature: &str, instead: &str) -> anyhow::Error {
    anyhow::anyhow!("{setting}: this program was built without the cargo feature `{feature}`; {instead}")
}

/// A limit on the size of files (`ulimit -f`) is to be an error of the write that meets it, like a full disk. Its signal,
/// SIGXFSZ, ends a process that does not listen to it.
fn heed_file_limit() -> std::io::Result<()> {
    const SIGXFSZ: i32 = 25;
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(SIGXFSZ)).map(drop)
}

/// The configuration that `GATEWAY_CONFIG` names, or the compiled-in one.
///
/// # Errors
/// If the file cannot be read or is refused.
pub fn config() -> anyhow::Result<(Config, String)> {
    let (text, name) = match variable("GATEWAY_CONFIG") {
        Some(path) => {
            (std::fs::read_to_string(&path).with_context(|| format!("GATEWAY_CONFIG: cannot read {path}"))?, path)
        }
        None => (SHIPPED.to_owned(), "the compiled-in configuration".to_owned()),
    };
    let file = Path::new(&name).file_name().map_or_else(|| name.clone(), |file| file.to_string_lossy().into_owned());
    Ok((Config::load(&text, &file, &variable)?, name))
}

/// What `GATEWAY_STORE` says.
fn store_name() -> String {
    variable("GATEWAY_STORE").unwrap_or_else(|| "memory".to_owned())
}

/// The store of this name; `None` for this process's memory.
fn store(named: &str, config: &Config) -> anyhow::Result<Option<Arc<dyn Store>>> {
    match named.split(':').next().unwrap_or_default() {
        "memory" if named == "memory" => Ok(None),
        "redis" | "rediss" | "redis-cluster" | "rediss-cluster" => redis(named, config).map(Some),
        // The address may hold a password; nothing of it is repeated.
        _ => bail!(
            "GATEWAY_STORE: not supported; memory, redis://, rediss://, redis-cluster:// and rediss-cluster:// are"
        ),
    }
}

/// The store in Redis that `GATEWAY_STORE` names, to be looked into; `None` if that is a process's memory.
///
/// # Errors
/// If it names something else, or the address or its authority cannot be used.
#[cfg(feature = "redis")]
pub fn redis_store(config: &Config) -> anyhow::Result<Option<RedisStore>> {
    let named = store_name();
    if named == "memory" { Ok(None) } else { redis_at(&named, config).map(Some) }
}

#[cfg(feature = "redis")]
fn redis_at(url: &str, config: &Config) -> anyhow::Result<RedisStore> {
    let max_entry_bytes = usize::try_from(config.cache.max_entry_bytes).unwrap_or(usize::MAX);
    let authority = variable("GATEWAY_STORE_CA")
        .map(|path| std::fs::read(&path).with_context(|| format!("GATEWAY_STORE_CA: cannot read {path}")));
    let authority = authority.transpose()?;
    let store = RedisStore::trusting(authority.as_deref(), url, &config.health, &config.breaker, max_entry_bytes);
    store.context("GATEWAY_STORE")
}

#[cfg(feature = "redis")]
fn redis(url: &str, config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    Ok(Arc::new(redis_at(url, config)?))
}

#[cfg(not(feature = "redis"))]
fn redis(_url: &str, _config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    Err(left_out("GATEWAY_STORE", "redis", "memory is what it has"))
}

/// Where a provider of the configuration is reached.
async fn provider(spec: &ProviderSpec, keys: &Keys, tls: tls::ClientConfig) -> anyhow::Result<Arc<dyn Provider>> {
    let keys = keys.of_provider(spec);
    match &spec.kind {
        ProviderKind::Simulated => simulated(&spec.name),
        ProviderKind::OpenAi(openai) => Ok(Arc::new(OpenAi::new(openai, &keys, tls)?)),
        ProviderKind::Anthropic(anthropic) => Ok(Arc::new(Anthropic::new(anthropic, &keys, tls)?)),
        ProviderKind::Azure(azure) => Ok(Arc::new(Azure::new(azure, &keys, tls)?)),
        ProviderKind::Gemini(gemini) => Ok(Arc::new(Gemini::new(gemini, &keys, tls)?)),
        ProviderKind::Bedrock(bedrock) => {
            let signer = if keys.is_empty() { Some(signer(&spec.name, bedrock).await?) } else { None };
            Ok(Arc::new(Bedrock::new(bedrock, &keys, signer, tls)?))
        }
    }
}

/// Who signs what goes to Bedrock: the function's own role, or whoever else AWS's tools find.
#[cfg(feature = "aws")]
async fn signer(_name: &str, bedrock: &BedrockSpec) -> anyhow::Result<Arc<dyn Sign>> {
    Ok(Arc::new(gateway_core::aws::Signer::from_env(&bedrock.region, bedrock.service()).await?))
}

#[cfg(not(feature = "aws"))]
async fn signer(name: &str, _bedrock: &BedrockSpec) -> anyhow::Result<Arc<dyn Sign>> {
    Err(left_out(&format!("providers.{name}"), "aws", "give it an api_key"))
}

/// What publishes to the topic that the configuration names.
#[cfg(feature = "aws")]
async fn sns(topic: &str, tls: tls::ClientConfig) -> anyhow::Result<Arc<dyn Channel>> {
    Ok(Arc::new(gateway_core::aws::Sns::from_env(topic, tls, &variable).await.context("alerts.sns_topic")?))
}

#[cfg(not(feature = "aws"))]
async fn sns(_topic: &str, _tls: tls::ClientConfig) -> anyhow::Result<Arc<dyn Channel>> {
    Err(left_out("alerts.sns_topic", "aws", "leave it out"))
}

/// The embedding model that the configuration names.
fn embedder(
    settings: &EmbedderSettings,
    config: &Config,
    keys: &Keys,
    tls: tls::ClientConfig,
) -> anyhow::Result<RemoteEmbedder> {
    let spec = config.providers.iter().find(|spec| spec.name == settings.model.provider);
    let Some((spec, ProviderKind::OpenAi(openai))) = spec.map(|spec| (spec, &spec.kind)) else {
        bail!("embedder.model: the provider {} has no embeddings", settings.model.provider)
    };
    Ok(RemoteEmbedder::new(openai, &keys.of_provider(spec), tls, settings.clone())?)
}

/// The provider inside this process.
#[cfg(feature = "simulated")]
fn simulated(_name: &str) -> anyhow::Result<Arc<dyn Provider>> {
    Ok(Arc::new(simulated_provider::Simulated::new()))
}

#[cfg(not(feature = "simulated"))]
fn simulated(name: &str) -> anyhow::Result<Arc<dyn Provider>> {
    Err(left_out(&format!("providers.{name}"), "simulated", "answers come from a provider whose key is set"))
}

/// Puts a gateway together from the environment.
///
/// # Errors
/// Says which variable, file or field is to blame.
pub async fn wire() -> anyhow::Result<Wired> {
    let (config, config_name) = config()?;
    let store = store(&store_name(), &config)?;
    let place = Place::from_env()?;
    if store.is_some() && crate::lambda::is_lambda() && matches!(place, Place::Folder(_)) {
        bail!(
            "GATEWAY_DIRECTORY: must be dynamodb:TABLE where GATEWAY_STORE is shared: a window that is lost is rebuilt from the ledger, and a folder is one instance's own"
        );
    }
    let folder = match &place {
        Place::Folder(folder) => Some(folder.as_path()),
        Place::Table(_) => None,
    };
    let Some(hash_secret) = secret("GATEWAY_HASH_SECRET", folder, "hash-secret")? else {
        bail!("GATEWAY_HASH_SECRET: must be set, the same for all processes, where GATEWAY_DIRECTORY is a table")
    };
    let hasher = KeyHasher::new(hash_secret.as_bytes());
    let owner_token = secret("GATEWAY_ADMIN_TOKEN", folder, "admin-token")?;
    let (directory, ledger) = place.open().await?;

    crate::memory::give_back_at_once();
    let tls = tls::client_config()?;
    let mut builder = Gateway::builder(config.clone())
        .memory_bytes(crate::memory::for_bodies_bytes())
        .losses(crate::logging::losses());
    if let Some(store) = store {
        builder = builder.store(store);
    }
    let keys = Keys::of(&config).await?;
    for spec in &config.providers {
        builder = builder.provider(&spec.name, provider(spec, &keys, tls.clone()).await?);
    }
    if let Some(key) = config.alerts.secret.as_ref().and_then(|secret| keys.get(secret)) {
        builder = builder.webhooks(Arc::new(Webhooks::new(key, tls.clone())?));
    }
    if let Some(topic) = &config.alerts.sns_topic {
        builder = builder.sns(sns(topic, tls.clone()).await?);
    }
    if let Some(settings) = &config.embedder {
        builder = builder.embedder(Arc::new(embedder(settings, &config, &keys, tls)?));
    }
    let gateway = Arc::new(builder.build(directory, ledger, hasher).await);
    if matches!(place, Place::Table(_)) {
        flushing::begin(&gateway);
    }
    if !crate::lambda::is_lambda() {
        alerting::begin(&gateway);
    }
    Ok(Wired { gateway, owner_token, place, config_name })
}

#[cfg(all(test, not(any(feature = "dynamodb", feature = "redis", feature = "simulated"))))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_a_program_was_built_without_is_refused_by_the_name_of_the_setting() {
        let config = Config::load(SHIPPED, "gateway.toml", &|_| None).unwrap();
        let tls = tls::client_config().unwrap();
        let text = |error: anyhow::Error| format!("{error:#}");
        for (error, setting, feature) in [
            (store("redis://:hunter2@cache", &config).err(), "GATEWAY_STORE", "redis"),
            (store("rediss-cluster://:hunter2@cache", &config).err(), "GATEWAY_STORE", "redis"),
            (Place::Table("gateway".to_owned()).open().await.err(), "GATEWAY_DIRECTORY", "dynamodb"),
            (Place::Table("gateway".to_owned()).ledger().await.err(), "GATEWAY_DIRECTORY", "dynamodb"),
            (
                provider(&config.providers[0], &Keys::of(&config).await.unwrap(), tls).await.err(),
                "providers.sim",
                "simulated",
            ),
        ] {
            let text = error.map(text).unwrap();
            assert!(text.contains(&format!("{setting}: ")) && text.contains(&format!("`{feature}`")), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(store("memory", &config).unwrap().is_none());
    }
}
