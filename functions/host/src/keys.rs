//! The providers' keys, and the secret that alerts are signed with: known from the environment, or read where they are kept when they are needed.
//!
//! Nothing is asked of AWS here, and nothing is made that could, unless the configuration names a key that is kept there.

use crate::environment::variable;
use anyhow::Context;
use gateway_core::config::{ApiKey, Config, ProviderSpec};
use gateway_core::provider::keys::{ProviderKey, SecretSource};
use std::sync::Arc;

/// Where keys come from.
pub(crate) struct Keys(Option<Arc<dyn SecretSource>>);

impl Keys {
    /// What this configuration needs.
    ///
    /// # Errors
    /// It names keys that are kept with AWS, and no region is set or this program cannot read them.
    pub(crate) async fn of(config: &Config) -> anyhow::Result<Self> {
        let is_kept = |key: &ApiKey| matches!(key, ApiKey::Pending(_));
        let has_kept = |spec: &&ProviderSpec| spec.kind.api_keys().iter().any(is_kept);
        let of_provider = config.providers.iter().find(has_kept).map(|spec| format!("providers.{}.api_key", spec.name));
        let of_alerts = config.alerts.secret.as_ref().filter(|secret| is_kept(secret)).map(|_| "alerts.secret".into());
        match of_provider.or(of_alerts) {
            Some(field) => Ok(Self(Some(kept().await.context(field)?))),
            None => Ok(Self(None)),
        }
    }

    /// A provider's keys.
    pub(crate) fn of_provider(&self, spec: &ProviderSpec) -> Vec<ProviderKey> {
        spec.kind.api_keys().iter().filter_map(|key| self.get(key)).collect()
    }

    /// A key, or how it is read.
    pub(crate) fn get(&self, key: &ApiKey) -> Option<ProviderKey> {
        match key {
            ApiKey::Known(secret) => Some(secret.clone().into()),
            ApiKey::Pending(reference) => Some(ProviderKey::Kept(reference.clone(), self.0.clone()?)),
        }
    }
}

#[cfg(feature = "aws")]
async fn kept() -> anyhow::Result<Arc<dyn SecretSource>> {
    Ok(Arc::new(gateway_core::aws::AwsSecrets::from_env(&variable).await?))
}

#[cfg(not(feature = "aws"))]
async fn kept() -> anyhow::Result<Arc<dyn SecretSource>> {
    let _ = variable;
    anyhow::bail!("this program was built without the cargo feature `aws`; give the key as env:NAME")
}
