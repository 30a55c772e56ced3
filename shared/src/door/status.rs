//! `GET /v1/status`: how the models do that a key may use, and since when.
//!
//! It is the fleet's knowledge, the same from every process, and what any caller of these models finds out: whether they
//! answer. No figure is told, for figures are made of the traffic of all (T1); and what one tenant's requests alone are
//! refused is told to that tenant alone (T5).

use crate::catalog::Target;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::health::{Condition, Word};
use crate::request::reply::Answer;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

impl Gateway {
    /// `GET /v1/status`: each name of `GET /v1/models`, with `ok`, `degraded` or `down`.
    ///
    /// # Errors
    /// 401 and 403 as for any request.
    pub async fn status(&self, headers: &HeaderMap) -> Result<Answer, Error> {
        let caller = self.caller(headers).await?;
        let (tenant, catalog) = (&caller.tenant, &self.config.catalog);
        let models: Vec<Arc<str>> = catalog.models.iter().map(|model| model.name.clone()).collect();
        let (health, is_shared) = self.health.snapshot(&models, self.clock.now_ms()).await;
        let known: HashMap<Arc<str>, Condition> =
            models.into_iter().zip(&health).map(|(name, health)| (name, health.condition_for(&tenant.uid))).collect();
        let of = |name: &Arc<str>| known.get(name).copied();
        let condition = |name: &str| match catalog.resolve(name)? {
            Target::Model(model) => of(&model.name),
            Target::Tier(tier) => of_several(tier.models.iter().filter_map(|model| of(&model.name))),
            Target::Auto => {
                of_several(catalog.tiers.iter().flat_map(|tier| &tier.models).filter_map(|model| of(&model.name)))
            }
        };
        let names = catalog.names().filter(|name| tenant.allows(name));
        let data: Vec<Value> = names.filter_map(|name| Some(told(name, condition(name)?))).collect();
        let mut answer = Answer::json(StatusCode::OK, &json!({"object": "list", "data": data}));
        if !is_shared {
            answer.headers.insert(HeaderName::from_static("x-gateway-degraded"), HeaderValue::from_static("health"));
        }
        Ok(answer)
    }
}

fn told(name: &str, Condition { word, since_ms }: Condition) -> Value {
    let since_ms = (since_ms > 0).then_some(since_ms);
    json!({"id": name, "object": "model.status", "state": word, "since_ms": since_ms})
}

/// How models do of which any may answer: down if all are, well if all are, both since the last of them; else degraded, since
/// the first that is not well.
fn of_several(models: impl Iterator<Item = Condition>) -> Option<Condition> {
    let all: Vec<Condition> = models.collect();
    let (best, worst) = (all.iter().map(|one| one.word).min()?, all.iter().map(|one| one.word).max()?);
    let word = if best == worst { best } else { Word::Degraded };
    let since = all.iter().filter(|one| word == best || one.word != Word::Ok).map(|one| one.since_ms);
    let since_ms = if best == worst && word != Word::Degraded { since.max() } else { since.min() };
    Some(Condition { word, since_ms: since_ms? })
}
