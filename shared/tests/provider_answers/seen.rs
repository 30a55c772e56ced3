//! What is seen of one request, in the words of the table.

use super::bodies::{as_told, begins_as, ends_with_error, word_of_stream, word_of_whole};
use super::table::Cells;
use super::{NEXT, NOW};
use crate::rig::{Got, Rig, ask, name_of, streamed};
use async_trait::async_trait;
use gateway_core::health::{ModelHealth, Observation, Signal};
use gateway_core::store::{Composed, HealthStore, StoreError};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use upstream_double::forms::{Form, REASON, Sent};
use upstream_double::{LEAK, Usage};

/// A form, and how it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub form: &'static Form,
    pub streamed: bool,
    /// Whether a good model stands behind the one that sends it.
    pub backed: bool,
}

impl Asked {
    /// What the double is to do, by a name that nobody else has.
    pub fn behaviour(&self) -> String {
        let way = if self.streamed { "streamed" } else { "whole" };
        format!("form-{}@{way}-{}", self.form.name, if self.backed { "backed" } else { "alone" })
    }

    /// The tier in which it has a model behind it.
    pub fn tier(&self) -> String {
        format!("tier-{}", self.behaviour().replace('@', "-"))
    }

    /// What is sent.
    pub fn sent(&self) -> Option<&'static Sent> {
        if self.streamed { self.form.streamed.as_ref() } else { self.form.whole.as_ref() }
    }

    /// Asks for it.
    pub async fn ask(&self, rig: &Rig, noted: &Noted) -> Seen {
        self.send(self.request(), rig, noted).await
    }

    /// The request for it.
    pub fn request(&self) -> Value {
        let model = if self.backed { self.tier() } else { name_of(&self.behaviour()) };
        let mut body = if self.streamed { streamed(&model) } else { ask(&model) };
        if self.form.n > 1 {
            body["n"] = self.form.n.into();
        }
        body
    }

    /// Asks for it with this request.
    pub async fn send(&self, request: Value, rig: &Rig, noted: &Noted) -> Seen {
        let (name, sent) = (name_of(&self.behaviour()), self.sent().unwrap());
        let got = rig.fresh(request).await;
        // A model that is not called, for it is not time yet, leaves no receipt.
        let receipt = match got.header("x-gateway-attempts") {
            "0" => json!({"attempts": [], "reasons": []}),
            _ => rig.receipt(&got).await,
        };
        let attempts = receipt["attempts"].as_array().unwrap().clone();
        let client = match got.contains(LEAK) {
            true => "a secret".to_owned(),
            false if attempts.iter().any(|attempt| attempt["kind"] == "continuation") => {
                let goes_on = got.is_done() && got.contains("kept.");
                if goes_on { "the next one goes on" } else { "half of two answers" }.to_owned()
            }
            false if got.is_done() && receipt["reasons"].to_string().contains("could not be read") => {
                "without what nobody can read".to_owned()
            }
            false => client(&got, &name, sent),
        };
        let of_form: Vec<&Value> = attempts.iter().filter(|attempt| attempt["model"] == *name).collect();
        let billed = match &of_form[..] {
            [attempt] => billed(attempt, sent.bill),
            attempts => format!("{} calls", attempts.len()),
        };
        Seen { client, billed, shows: noted.shown_by(&name), attempts, got }
    }
}

/// What one request came to.
pub struct Seen {
    client: String,
    billed: String,
    shows: String,
    /// The receipt's.
    pub attempts: Vec<Value>,
    pub got: Got,
}

impl Seen {
    /// The cells that tell what is seen of a model alone and of one with another behind it.
    pub fn told(alone: &Self, backed: &Self) -> Cells {
        let both = |alone: &str, backed: &str| match alone == backed {
            true => alone.to_owned(),
            false => format!("{alone} alone, {backed} with another behind"),
        };
        let client = match backed.client.as_str() {
            next @ ("the next one's" | "the next one goes on") => format!("{next}, or {}", alone.client),
            backed => both(&alone.client, backed),
        };
        [client, both(&alone.billed, &backed.billed), both(&alone.shows, &backed.shows)]
    }
}

fn client(got: &Got, name: &str, sent: &Sent) -> String {
    let body = as_told(&sent.body, name);
    if got.is_stream() && ends_with_error(got) {
        return if begins_as(got, &body) { "error event" } else { "error event after what never came" }.to_owned();
    }
    if got.status >= 400 {
        return told(got);
    }
    if got.header("x-gateway-model") == name_of(NEXT) {
        let is_whole = got.text().contains("promise") && (!got.is_stream() || got.is_done());
        return if is_whole { "the next one's" } else { "what is not the next one's" }.to_owned();
    }
    match got.is_stream() {
        true if got.is_done() => word_of_stream(got, &body).to_owned(),
        true => "neither end nor error".to_owned(),
        false => word_of_whole(got, &body).to_owned(),
    }
}

/// An error that is told with a status.
fn told(got: &Got) -> String {
    let error = &got.json()["error"];
    let mut told = match got.error_code().as_str() {
        "all_candidates_failed" => got.status.to_string(),
        code => format!("{} {code}", got.status),
    };
    if error["message"].as_str().is_some_and(|message| message.contains(REASON)) {
        told += ", its reason";
    }
    match got.header("retry-after") {
        "" => told,
        seconds => format!("{told} in {seconds} s"),
    }
}

/// What an attempt was charged. A side that differs from the provider's bill can only be an estimate, and one not below it.
fn billed(attempt: &Value, bill: Usage) -> String {
    let tokens = |name: &str| attempt["usage"][name].as_u64().unwrap();
    let is_estimate = attempt["estimated"] == true;
    let (input, output) = (tokens("input_tokens"), tokens("output_tokens"));
    let side = |tokens, billed, part: u64, of: &str| match part {
        _ if is_estimate && tokens > billed => "estimate".to_owned(),
        0 => format!("{tokens}"),
        part => format!("{tokens}({part} {of})"),
    };
    let input_told = side(input, bill.input, tokens("cached_input_tokens"), "cached");
    let output_told = side(output, bill.output, tokens("reasoning_tokens"), "thoughts");
    match (input_told.as_str(), output_told.as_str()) {
        _ if input < bill.input || output < bill.output => "less than the provider's".to_owned(),
        ("0", "0") => "nothing".to_owned(),
        ("estimate", "estimate") => "estimate".to_owned(),
        (input, output) => format!("{input}+{output}"),
    }
}

/// What has been observed of models, on its way to the store.
#[derive(Default)]
pub struct Noted(Mutex<Vec<Observation>>);

impl Noted {
    /// The same store, with this before its health.
    pub fn before(self: Arc<Self>, memory: Composed) -> Composed {
        Composed { health: Arc::new(Noting { noted: self, health: memory.health.clone() }), ..memory }
    }

    fn shown_by(&self, model: &str) -> String {
        let mut noted = self.0.lock().unwrap();
        let (of_model, rest): (Vec<_>, Vec<_>) = noted.drain(..).partition(|observation| *observation.model == *model);
        *noted = rest;
        let word = |observation: &Observation| match observation.signal {
            Signal::Answered { .. } => "answered".to_owned(),
            Signal::Failed => "failed".to_owned(),
            Signal::Refused(_) => "refused".to_owned(),
            Signal::CoolDown { until_ms } => match until_ms - NOW {
                5_000 => "cools down".to_owned(),
                ms => format!("cools down {} s", ms.div_ceil(1000)),
            },
            Signal::Nothing => "nothing".to_owned(),
        };
        let words: Vec<String> = of_model.iter().map(word).collect();
        if words.is_empty() { "nothing".to_owned() } else { words.join(" and ") }
    }
}

/// A store's health, of which every observation is noted.
struct Noting {
    noted: Arc<Noted>,
    health: Arc<dyn HealthStore>,
}

#[async_trait]
impl HealthStore for Noting {
    async fn snapshot(&self, models: &[Arc<str>], now_ms: u64) -> Result<Vec<ModelHealth>, StoreError> {
        self.health.snapshot(models, now_ms).await
    }

    async fn record(&self, observations: &[Observation], now_ms: u64) -> Result<(), StoreError> {
        self.noted.0.lock().unwrap().extend_from_slice(observations);
        self.health.record(observations, now_ms).await
    }

    async fn try_probe(&self, model: &Arc<str>, tenant: &str, lease_ms: u64, now_ms: u64) -> Result<bool, StoreError> {
        self.health.try_probe(model, tenant, lease_ms, now_ms).await
    }
}
