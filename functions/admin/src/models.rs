//! `/admin/models`: the catalog, and how each model does.

use crate::Plane;
use crate::ask::Params;
use crate::guard::{Outcome, reply};
use crate::quota::DEGRADED;
use axum::extract::State;
use gateway_core::catalog::{Capabilities, Model};
use gateway_core::health::ModelHealth;
use gateway_core::health::score::health_percent;
use gateway_core::money::{Price, format_usd};
use gateway_core::store::HealthStore;
use gateway_core::store::memory::MemoryHealth;
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// The health of models, and whether the store that knows it is there.
pub(crate) struct Health {
    pub(crate) models: Vec<ModelHealth>,
    pub(crate) is_down: bool,
}

impl Plane {
    /// The health of `names`, in their order; that of models of which nothing is known while the store is down.
    pub(crate) async fn health(&self, names: &[Arc<str>]) -> Health {
        let (gateway, now_ms) = (&self.gateway, self.gateway.clock.now_ms());
        match gateway.store.health().snapshot(names, now_ms).await {
            Ok(models) => Health { models, is_down: false },
            Err(error) => {
                tracing::warn!(%error, "the health of models is not to be had");
                let nothing = MemoryHealth::new(&gateway.config.health, gateway.config.breaker.clone());
                Health { models: nothing.snapshot(names, now_ms).await.unwrap_or_default(), is_down: true }
            }
        }
    }
}

fn capabilities(can: Capabilities) -> Vec<&'static str> {
    can.named().into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

/// What a model charges at this moment for a short prompt; `null` if nobody knows.
fn usd_per_million(price: &Price, now_ms: u64) -> Value {
    if price.is_unknown() {
        return Value::Null;
    }
    let rates = price.rates_at(now_ms);
    json!({"input": format_usd(rates.input), "cached_input": format_usd(rates.cached_input),
        "cache_write": format_usd(rates.cache_write), "cache_write_1h": format_usd(rates.cache_write_1h),
        "output": format_usd(rates.output), "reasoning": format_usd(rates.reasoning)})
}

/// `GET /admin/models`
pub(crate) async fn list(State(plane): State<Arc<Plane>>, params: Params) -> Outcome {
    params.finish()?;
    let (catalog, now_ms) = (&plane.gateway.config.catalog, plane.gateway.clock.now_ms());
    let names: Vec<Arc<str>> = catalog.models.iter().map(|model| model.name.clone()).collect();
    let health = plane.health(&names).await;
    let tiers_of = |model: &Model| -> Vec<&str> {
        let lists = catalog.tiers.iter().filter(|tier| tier.models.iter().any(|listed| listed.name == model.name));
        lists.map(|tier| &*tier.name).collect()
    };
    let row = |(model, health): (&Arc<Model>, &ModelHealth)| {
        json!({"name": model.name, "provider": model.provider, "tiers": tiers_of(model),
            "usd_per_million": usd_per_million(&model.price, now_ms),
            "capabilities": capabilities(model.capabilities), "context_tokens": model.context_tokens,
            "max_output_tokens": model.max_output_tokens,
            "health": health_percent(&health.measures.failure, health.standing), "breaker": health.breaker,
            "cooldown_until_ms": (health.cooldown_until_ms > 0).then_some(health.cooldown_until_ms)})
    };
    let data: Vec<Value> = catalog.models.iter().zip(&health.models).map(row).collect();
    let mut answer = reply(StatusCode::OK, &json!({"data": data, "next": null}));
    answer.headers_mut().extend(health.is_down.then_some(DEGRADED));
    Ok(answer)
}
