//! From the environment to a gateway, wired by hand in one place.

use crate::secrets::secret;
use anyhow::{Context, bail};
use gateway_core::clock::{Clock, SystemClock};
use gateway_core::config::{ApiKey, Config, ProviderKind, SHIPPED, Secret, SecretRef};
use gateway_core::directory::embedded::EmbeddedDirectory;
use gateway_core::gateway::Gateway;
use gateway_core::key::KeyHasher;
use gateway_core::ledger::embedded::EmbeddedLedger;
use gateway_core::provider::openai::OpenAi;
use gateway_core::provider::simulated::Simulated;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A gateway, and what the process that serves it must know.
pub struct Wired {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// The owner's token, in clear: to be hashed, and on a laptop to be shown.
    pub owner_token: String,
    /// The data folder.
    pub folder: PathBuf,
    /// Where the configuration came from.
    pub config_name: String,
}

/// The configuration that `GATEWAY_CONFIG` names, or the compiled-in one.
///
/// # Errors
/// If the file cannot be read or is refused.
pub fn config() -> anyhow::Result<(Config, String)> {
    let (text, name) = match std::env::var("GATEWAY_CONFIG") {
        Ok(path) => {
            (std::fs::read_to_string(&path).with_context(|| format!("GATEWAY_CONFIG: cannot read {path}"))?, path)
        }
        Err(_) => (SHIPPED.to_owned(), "the compiled-in configuration".to_owned()),
    };
    let file = Path::new(&name).file_name().map_or_else(|| name.clone(), |file| file.to_string_lossy().into_owned());
    Ok((Config::load(&text, &file, &|variable| std::env::var(variable).ok())?, name))
}

/// The data folder that `GATEWAY_DIRECTORY` names, made if it is missing.
fn folder() -> anyhow::Result<PathBuf> {
    let default = if crate::lambda::is_lambda() { "file:/tmp/.gateway" } else { "file:.gateway" };
    let named = std::env::var("GATEWAY_DIRECTORY").unwrap_or_else(|_| default.to_owned());
    let Some(path) = named.strip_prefix("file:").filter(|path| !path.is_empty()) else {
        // As with the store: an address may hold a password.
        let kind = named.split(':').next().unwrap_or_default();
        bail!("GATEWAY_DIRECTORY: `{kind}` is not supported; file:FOLDER is");
    };
    std::fs::create_dir_all(path).with_context(|| format!("GATEWAY_DIRECTORY: cannot make the folder {path}"))?;
    Ok(PathBuf::from(path))
}

/// Puts a gateway together from the environment.
///
/// # Errors
/// Says which variable, file or field is to blame.
pub async fn wire() -> anyhow::Result<Wired> {
    let store = std::env::var("GATEWAY_STORE").unwrap_or_else(|_| "memory".to_owned());
    if store != "memory" {
        // The address may hold a password; only its kind is repeated.
        bail!("GATEWAY_STORE: `{}` is not supported; memory is", store.split(':').next().unwrap_or_default());
    }
    let (config, config_name) = config()?;
    let folder = folder()?;
    let hasher = KeyHasher::new(secret("GATEWAY_HASH_SECRET", &folder, "hash-secret")?.as_bytes());
    let owner_token = secret("GATEWAY_ADMIN_TOKEN", &folder, "admin-token")?;
    let directory = Arc::new(EmbeddedDirectory::open(&folder)?);
    let ledger = Arc::new(EmbeddedLedger::open(&folder, SystemClock.now_ms())?);

    let tls = gateway_core::provider::tls()?;
    let mut builder = Gateway::builder(config.clone());
    for provider in &config.providers {
        builder = match &provider.kind {
            ProviderKind::Simulated => builder.provider(&provider.name, Arc::new(Simulated::new())),
            ProviderKind::OpenAi(spec) => {
                let keys = spec.api_keys.iter().map(known).collect::<anyhow::Result<Vec<Secret>>>();
                let keys = keys.with_context(|| format!("providers.{}", provider.name))?;
                builder.provider(&provider.name, Arc::new(OpenAi::new(spec, &keys, tls.clone())?))
            }
        };
    }
    let gateway = builder.build(directory, ledger, hasher).await?;
    Ok(Wired { gateway: Arc::new(gateway), owner_token, folder, config_name })
}

fn known(key: &ApiKey) -> anyhow::Result<Secret> {
    match key {
        ApiKey::Known(secret) => Ok(secret.clone()),
        ApiKey::Pending(SecretRef::Ssm(name) | SecretRef::SecretsManager(name) | SecretRef::Env(name)) => {
            bail!("api_key: {name} cannot be fetched by this process; give the key as env:NAME")
        }
    }
}
