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
        let told = |name| {
            let target = catalog.resolve(name)?;
            // Anthropic has no endpoint at which vectors could be asked for.
            (!is_anthropics(headers) || !makes_vectors(&target)).then(|| told_model(headers, name, &target))
        };
        let data: Vec<Value> = names.filter_map(told).collect();
        if !is_anthropics(headers) {
            return Ok(Answer::json(StatusCode::OK, &json!({"object": "list", "data": data})));
        }
        let id = |model: Option<&Value>| model.map(|model| model["id"].clone());
        let (first, last) = (id(data.first()), id(data.last()));
        let list = json!({"data": data, "has_more": false, "first_id": first, "last_id": last});
        Ok(Answer::json(StatusCode::OK, &list))
    }

    /// `GET /v1/models/{id}`: one of them.
    ///
    /// # Errors
    /// 401 and 403 as for any request, 404 for one that does not exist or is not this key's to use.
    pub async fn model(&self, headers: &HeaderMap, name: &str) -> Result<Answer, Error> {
        let caller = self.caller(headers).await?;
        match self.config.catalog.resolve(name).filter(|_| caller.tenant.allows(name)) {
            Some(target) => Ok(Answer::json(StatusCode::OK, &told_model(headers, name, &target))),
            None => Err(not_found(&self.config.catalog, &caller, name)),
        }
    }
}

/// Whether a client of Anthropic's asks.
fn is_anthropics(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

fn makes_vectors(target: &Target) -> bool {
    matches!(target, Target::Model(model) if model.vectors.is_some())
}

/// A name as the lists of models show it, in the caller's dialect: a model is its provider's; a tier, an alias and `auto` are
/// the gateway's own. When it was made nobody knows.
fn told_model(headers: &HeaderMap, name: &str, target: &Target) -> Value {
    let model = match target {
        Target::Model(model) => Some(model),
        Target::Tier(_) | Target::Auto => None,
    };
    if is_anthropics(headers) {
        return json!({"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z",
            "lifecycle": "active", "max_input_tokens": model.map(|model| model.context_tokens),
            "max_tokens": model.map(|model| model.max_output_tokens)});
    }
    let owner = model.filter(|model| *model.name == *name).map_or("gateway", |model| &*model.provider);
    json!({"id": name, "object": "model", "created": 0, "owned_by": owner})
}
