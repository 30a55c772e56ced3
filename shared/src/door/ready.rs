//! Whether requests can be served, and what is wrong with whom: `GET /ready`, and the faults that metrics show (B4).

use crate::clock::{LEFT_ALONE_MS, is_within};
use crate::directory::DirectoryError;
use crate::gateway::Gateway;
use crate::locking::lock;
use crate::request::reply::Answer;
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;

impl Gateway {
    /// `GET /ready`: whether requests can be served, and each backend's state.
    pub async fn ready(&self) -> Answer {
        let now_ms = self.clock.now_ms();
        let state = |works: bool| if works { "ok" } else { "down" };
        let backend = |fault: Option<(&str, &str)>| {
            fault.map_or_else(|| json!({"state": "ok"}), |(state, words)| json!({"state": state, "error": words}))
        };
        let asked = Instant::now();
        let (directory, ledger, (store, latency)) = tokio::join!(self.directory_fault(), self.ledger_fault(), async {
            (self.store.ping(now_ms).await, asked.elapsed())
        });
        let mut providers = serde_json::Map::new();
        for provider in &self.config.providers {
            let models: Vec<Arc<str>> = self
                .config
                .catalog
                .models
                .iter()
                .filter(|model| model.provider == provider.name)
                .map(|model| model.name.clone())
                .collect();
            let (health, _) = self.health.snapshot(&models, now_ms).await;
            let usable = health
                .iter()
                .filter(|model| crate::health::score::health_percent(&model.measures.failure, model.standing) > 0)
                .count();
            let word = match usable {
                _ if health.is_empty() || usable == health.len() => "ok",
                0 => "down",
                _ => "degraded",
            };
            providers.insert(provider.name.to_string(), json!({"state": word}));
        }
        // Without the store tenants go on within their outage share, as long as the ledger grants it.
        let ready = directory.is_none_or(|(state, _)| state != "down") && (store.is_ok() || ledger.is_none());
        let latency_ms = store.is_ok().then(|| (latency.as_secs_f64() * 1e6).round() / 1e3);
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut body = json!({"ready": ready, "store": {"kind": self.store.kind(), "state": state(store.is_ok()), "latency_ms": latency_ms},
            "directory": backend(directory), "ledger": backend(ledger.map(|words| ("down", words))),
            "log": self.losses.to_json(), "providers": providers});
        if let Some(connections) = self.connections.to_json(now_ms) {
            body["connections"] = connections;
        }
        Answer::json(status, &body)
    }

    /// What is wrong with directory and ledger, by name, in words; empty if nothing is.
    pub async fn faults(&self) -> Value {
        let (directory, ledger) = tokio::join!(self.directory_fault(), self.ledger_fault());
        let faults = [("directory", directory.map(|(_, words)| words)), ("ledger", ledger)];
        faults.into_iter().filter_map(|(name, words)| Some((name.to_owned(), Value::from(words?)))).collect()
    }

    /// The state of a directory that does not do all that it should, and why. While it does not it is tried once a
    /// second: it may have to try a write to find out, and anybody may ask us.
    async fn directory_fault(&self) -> Option<(&'static str, &'static str)> {
        let known = || lock(&self.directory_fault);
        let now_ms = self.clock.now_ms();
        let kept = *known();
        if let Some((_, fault)) = kept.filter(|(asked_at_ms, _)| is_within(LEFT_ALONE_MS, *asked_at_ms, now_ms)) {
            return Some(fault);
        }
        let fault = match self.directory.ping().await {
            Ok(()) => None,
            // Keys are known, and requests are served; only an admin is refused.
            Err(DirectoryError::Unwritten(fault)) => Some(("degraded", fault.words)),
            Err(_) => Some(("down", "it does not answer")),
        };
        *known() = fault.map(|fault| (now_ms, fault));
        fault
    }

    /// What is wrong with the ledger: with what was written last, or with what a ping finds.
    async fn ledger_fault(&self) -> Option<&'static str> {
        if self.ledger_is_down().await {
            return self.ledger_standing.fault();
        }
        let mark = self.ledger_standing.mark();
        let pinged = self.ledger.ping().await;
        if pinged.is_err() {
            // Those who require the ledger need not wait for a write to find out.
            self.ledger_standing.note(mark, &pinged, self.clock.now_ms());
        }
        pinged.err().map(|error| error.words())
    }
}
