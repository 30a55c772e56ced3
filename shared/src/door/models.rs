//! `GET /v1/models`: what a key may use.

use crate::catalog::Target;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::request::reply::Answer;
use crate::routing::decide::not_found;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

impl Gateway {
    /// `GET /v1/models`: what this key may use, `auto` and tiers included.
    ///
    /// # Errors
    /// 401 and 403 as for any request.
    pub async fn models(&self, headers: &HeaderMap) -> Result<Answer, Error> {
        let caller = self.caller(headers).await?;
        let catalog = &self.config.catalog;
        let names = catalog.names().filter(|name| caller.tenant.allows(name));
        let data: Vec<Value> = names.filter_map(|name| Some(told_model(name, &catalog.resolve(name)?))).collect();
        Ok(Answer::json(StatusCode::OK, &json!({"object": "list", "data": data})))
    }

    /// `GET /v1/models/{id}`: one of them.
    ///
    /// # Errors
    /// 401 and 403 as for any request, 404 for one that does not exist or is not this key's to use.
    pub async fn model(&self, headers: &HeaderMap, name: &str) -> Result<Answer, Error> {
        let caller = self.caller(headers).await?;
        match self.config.catalog.resolve(name).filter(|_| caller.tenant.allows(name)) {
            Some(target) => Ok(Answer::json(StatusCode::OK, &told_model(name, &target))),
            None => Err(not_found(&self.config.catalog, &caller, name)),
        }
    }
}

/// A name as the lists of models show it: a model is its provider's; a tier, an alias and `auto` are the gateway's own.
fn told_model(name: &str, target: &Target) -> Value {
    let owner = match target {
        Target::Model(model) if *model.name == *name => &*model.provider,
        Target::Model(_) | Target::Tier(_) | Target::Auto => "gateway",
    };
    json!({"id": name, "object": "model", "created": 0, "owned_by": owner})
}
