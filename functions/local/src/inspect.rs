//! `ai-gateway inspect TENANT|MODEL`: what the store has of a tenant or a model, in words.
//!
//! It asks the store that the environment names, beside the gateways that use it, and changes nothing. A tenant is named by
//! its id, which is looked up in the directory, or by its uid, under which the store has it: that takes no directory, and
//! finds a deleted tenant too. A name that is a model's and a tenant's is taken for the model's.

use anyhow::{Context, bail};
use gateway_core::catalog::Target;
use gateway_core::clock::{Clock, SystemClock};
use gateway_core::config::Config;
use gateway_core::store::redis::RedisStore;
use gateway_core::tenant::UID_MARK;
use gateway_host::logging;
use gateway_host::wiring::{Place, config, redis_store};

/// Says what the store has of `name`.
pub(crate) async fn run(name: &str) -> anyhow::Result<()> {
    logging::start("warn")?;
    let (config, config_name) = config()?;
    let Some(store) = redis_store(&config)? else {
        bail!(
            "GATEWAY_STORE is memory: the counters live inside the running gateway; ask it by GET /admin/tenants/ID/usage and GET /admin/models"
        )
    };
    let words = match config.catalog.resolve(name) {
        Some(Target::Model(model)) => of_model(&store, &model.name).await?,
        _ => of_tenant(&store, name, &config, &config_name).await?,
    };
    logging::say(&words);
    Ok(())
}

async fn of_model(store: &RedisStore, name: &str) -> anyhow::Result<String> {
    let record = store.inspect_model(name).await?;
    Ok(report("model", name, record.map(|record| record.words(SystemClock.now_ms()))))
}

async fn of_tenant(store: &RedisStore, name: &str, config: &Config, config_name: &str) -> anyhow::Result<String> {
    let uid = if name.contains(UID_MARK) { name.into() } else { uid_of(name, config, config_name).await? };
    let record = store.inspect_tenant(&uid).await?;
    Ok(report("tenant", &uid, record.map(|record| record.words(SystemClock.now_ms()))))
}

/// The uid of the tenant of this id.
async fn uid_of(id: &str, config: &Config, config_name: &str) -> anyhow::Result<std::sync::Arc<str>> {
    let place = Place::from_env()?;
    let directory = place.directory().await.with_context(|| {
        format!(
            "{id} is no model; to look it up among the tenants (inspect takes a tenant's uid, too, and then need not)"
        )
    })?;
    match directory.tenant(id).await? {
        Some(tenant) => Ok(tenant.uid().clone()),
        None => match config.catalog.resolve(id) {
            Some(_) => bail!("{id} is neither one model nor a tenant, but a tier or an alias of {config_name}"),
            None => bail!("{id} is neither a model of {config_name} nor a tenant of {place}"),
        },
    }
}

fn report(kind: &str, name: &str, words: Option<String>) -> String {
    let words = words.unwrap_or_else(|| "the store has nothing of it\n".to_owned());
    format!("{kind} {name}\n\n{}", words.trim_end())
}
