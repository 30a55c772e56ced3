//! `ai-gateway catalog check [FILE]`: which entries of the catalog, and of a configuration, are to be seen to.

use anyhow::{Context, bail};
use gateway_core::catalog::audit::{findings, past};
use gateway_core::catalog::{Model, SIMULATED_PREFIX};
use gateway_core::clock::{Clock, SystemClock};
use gateway_core::config::{Config, SHIPPED, shipped_models};
use gateway_core::limit::window::day_utc;
use gateway_host::environment::variable;
use gateway_host::logging;
use std::sync::Arc;

/// Says what is to be seen to, of the catalog that is compiled in and of a configuration's own models: those of `file`, or of
/// the configuration that the environment names. An error if there is anything.
pub(crate) fn check(file: Option<&str>) -> anyhow::Result<()> {
    let now_ms = SystemClock.now_ms();
    let shipped = shipped_models().map_err(|problems| anyhow::anyhow!("{}", problems.join("\n")))?;
    let mut found = findings(&shipped, now_ms);
    let own = own_models(file, &shipped)?;
    found.extend(past(&own, now_ms));
    found.iter().for_each(|finding| logging::say(finding));
    let unknown = shipped.iter().filter(|model| model.price.is_unknown()).count();
    logging::say(&format!(
        "{} models of the catalog, {unknown} of them of unknown price, and {} of the configuration; {}: {} to see to",
        shipped.len(),
        own.len(),
        day_utc(now_ms),
        found.len()
    ));
    if found.is_empty() { Ok(()) } else { bail!("the catalog is to be seen to") }
}

/// The models that a configuration lists itself, whether their keys are here or not.
fn own_models(file: Option<&str>, shipped: &[Arc<Model>]) -> anyhow::Result<Vec<Arc<Model>>> {
    let named = file.map(str::to_owned).or_else(|| variable("GATEWAY_CONFIG"));
    let (text, name) = match named {
        Some(path) => (std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?, path),
        None => (SHIPPED.to_owned(), "the compiled-in configuration".to_owned()),
    };
    let config = Config::load(&text, &name, &|_| Some("set".to_owned()))?;
    let is_own = |model: &&Arc<Model>| {
        !model.name.starts_with(SIMULATED_PREFIX) && shipped.iter().all(|shipped| shipped.name != model.name)
    };
    Ok(config.catalog.models.iter().filter(is_own).cloned().collect())
}
