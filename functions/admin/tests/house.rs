//! A gateway to test the plane on, and what is asked of it.

use admin_function::OwnerToken;
use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use gateway_core::clock::ManualClock;
use gateway_core::config::{Config, SHIPPED};
use gateway_core::directory::Directory;
use gateway_core::directory::embedded::EmbeddedDirectory;
use gateway_core::gateway::Gateway;
use gateway_core::gateway::builder::Builder;
use gateway_core::ledger::Ledger;
use gateway_core::ledger::embedded::EmbeddedLedger;
use gateway_core::request::incoming::Incoming;
use gateway_core::request::reply::AnswerBody;
use gateway_core::tenant::key::KeyHasher;
use http::{HeaderMap, HeaderValue, Method, Request};
use serde_json::{Value, json};
use simulated_provider::Simulated;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::{env, fs, process};
use tower_service::Service;

/// 2025-11-22 12:00:00 UTC.
pub const NOON_MS: u64 = 1_763_812_800_000;
pub const HOUR_MS: u64 = 3_600_000;
pub const DAY_MS: u64 = 24 * HOUR_MS;
/// 2025-11-01 and 2025-12-01.
pub const MONTH_MS: (u64, u64) = (1_761_955_200_000, 1_764_547_200_000);
/// How long a process may go on refusing a key by what it knows of it.
pub const KEPT_MS: u64 = 10_000;
pub const TOKEN: &str = "owner-token-of-forty-characters-in-tests";

/// An answer of either plane.
#[derive(Debug, Clone)]
pub struct Seen {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The text as JSON; `null` where it is not.
    pub body: Value,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status, code and param of an error.
    pub fn error(&self) -> (u16, &str, Option<&str>) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or_default(), self.body["error"]["param"].as_str())
    }
}

/// A key as the plane made it.
pub struct Made {
    pub id: String,
    pub key: String,
}

pub struct House {
    pub folder: PathBuf,
    pub clock: Arc<ManualClock>,
    pub gateway: Arc<Gateway>,
    pub router: Router,
    /// All that the plane has said.
    pub said: Mutex<Vec<Seen>>,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl House {
    pub async fn new() -> Self {
        Self::built(|builder| builder, |directory| directory).await
    }

    /// A house with other borders than the usual.
    pub async fn built(
        with: impl FnOnce(Builder) -> Builder,
        directory: impl FnOnce(Arc<dyn Directory>) -> Arc<dyn Directory>,
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gateway-admin-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = env::temp_dir().join(name);
        let clock = Arc::new(ManualClock::at(NOON_MS));
        let config = Config::load(SHIPPED, "gateway.toml", &|_| None).unwrap();
        let embedded: Arc<dyn Directory> = Arc::new(EmbeddedDirectory::open(&folder).unwrap());
        let ledger: Arc<dyn Ledger> = Arc::new(EmbeddedLedger::open(&folder, NOON_MS).unwrap());
        let builder = Gateway::builder(config).clock(clock.clone()).provider("sim", Arc::new(Simulated::new()));
        let hasher = KeyHasher::new(b"the installation's secret");
        let gateway = Arc::new(with(builder).build(directory(embedded), ledger, hasher).await);
        let owner = OwnerToken::new(TOKEN, &gateway.hasher).unwrap();
        let router = admin_function::standalone(gateway.clone(), owner);
        Self { folder, clock, gateway, router, said: Mutex::default() }
    }

    /// Asks the plane, exactly so.
    pub async fn send(&self, request: Request<Body>) -> Seen {
        let response = self.router.clone().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        let seen = Seen { status: parts.status.as_u16(), headers: parts.headers, text, body };
        self.said.lock().unwrap().push(seen.clone());
        seen
    }

    /// Asks the plane as the owner.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Seen {
        self.send(request(method, path, body)).await
    }

    pub async fn get(&self, path: &str) -> Seen {
        self.ask("GET", path, None).await
    }

    /// Makes a tenant with these settings.
    pub async fn tenant(&self, id: &str, settings: Value) -> Value {
        let mut body = settings;
        body["id"] = id.into();
        let made = self.ask("POST", "/admin/tenants", Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.body
    }

    /// Makes a key.
    pub async fn key(&self, tenant: &str) -> Made {
        let made = self.ask("POST", &format!("/admin/tenants/{tenant}/keys"), Some(json!({"name": "ci"}))).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
        Made { id: text("id"), key: text("key") }
    }

    /// A tenant without limits of its own, and its key.
    pub async fn acme(&self) -> Made {
        self.tenant("acme", json!({"name": "Acme"})).await;
        self.key("acme").await
    }

    /// Asks the data plane for a completion.
    pub async fn chat(&self, key: &str, model: &str, text: &str) -> Seen {
        self.chat_tagged(key, model, text, "").await
    }

    /// The same, with these tags.
    pub async fn chat_tagged(&self, key: &str, model: &str, text: &str, tags: &str) -> Seen {
        let mut headers = HeaderMap::new();
        headers.insert("x-gateway-tags", HeaderValue::from_str(tags).unwrap());
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
        let body = json!({"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 2000});
        let call = Incoming { headers, body: Box::new(Bytes::from(body.to_string())), time_left: None };
        let answer = self.gateway.chat(call).await;
        let AnswerBody::Whole(bytes) = answer.body else { panic!("a stream") };
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap();
        Seen { status: answer.status.as_u16(), headers: answer.headers, text, body }
    }

    /// The newest entries of the audit log, as `what subject`, newest first.
    pub async fn audit(&self) -> Vec<String> {
        let seen = self.get("/admin/audit?limit=1000").await;
        let entry =
            |entry: &Value| format!("{} {}", entry["what"].as_str().unwrap(), entry["subject"].as_str().unwrap());
        seen.body["data"].as_array().unwrap().iter().map(entry).collect()
    }
}

/// A request of the owner's.
pub fn request(method: &str, path: &str, body: Option<Value>) -> Request<Body> {
    request_as(TOKEN, method, path, body)
}

/// A request of whoever has this token.
pub fn request_as(token: &str, method: &str, path: &str, body: Option<Value>) -> Request<Body> {
    let request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path)
        .header("authorization", format!("Bearer {token}"));
    match body {
        None => request.body(Body::empty()).unwrap(),
        Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap(),
    }
}

/// The names of an object's fields, sorted.
pub fn fields(value: &Value) -> Vec<&str> {
    value.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Every file under `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
