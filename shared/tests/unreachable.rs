//! A provider that cannot be reached: one warning on the log, and the cause in what the caller is told.

use crate::rig::{OUR_KEY, Rig, Scene, ask, cheap};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

/// The lines of the log that are there by default.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Log {
    /// Begins to listen, in this thread.
    fn open() -> (Self, DefaultGuard) {
        let log = Self::default();
        (log.clone(), tracing::subscriber::set_default(log))
    }

    fn warnings(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.contains("a provider cannot be used")).cloned().collect()
    }
}

/// A scene with the model `away/model`, of a provider at this address.
fn away(base_url: &str) -> Scene {
    let provider =
        format!("[providers.away]\nkind = \"openai\"\nbase_url = \"{base_url}\"\napi_key = \"env:UP_KEY\"\n");
    let model =
        "[models.\"away/model\"]\nprovider = \"away\"\nid = \"ok\"\nusd_per_million = { input = 1, output = 1 }\n";
    cheap(["ok"]).table(&format!("{provider}{model}[retry]\nmax_per_candidate = 0"))
}

/// What the caller is told of the first attempt.
async fn failed(rig: &Rig) -> Value {
    let got = rig.fresh(ask("away/model")).await;
    assert_eq!((got.status, got.error_code().as_str()), (502, "all_candidates_failed"), "{got:?}");
    let receipt = rig.receipt(&got).await;
    let details = got.json()["error"]["details"][0].clone();
    assert_eq!(receipt["attempts"][0]["cause"], details["cause"], "{receipt}");
    details
}

async fn is_told(base_url: &str, class: &str, cause: &str, words: &str) {
    let (log, _listening) = Log::open();
    let rig = away(base_url).build().await;
    for (advance_ms, warnings) in [(0, 1), (0, 1), (59_999, 1), (1, 2), (0, 2)] {
        rig.clock.advance(advance_ms);
        let details = failed(&rig).await;
        assert_eq!((&details["class"], &details["cause"]), (&class.into(), &cause.into()), "{base_url}");
        assert_eq!(log.warnings().len(), warnings, "{base_url}: {:?}", log.warnings());
    }
    let address = base_url.split_once("://").unwrap().1.split('/').next().unwrap();
    let warning = &log.warnings()[0];
    for part in ["WARN", "provider=\"away\"", address, cause, words] {
        assert!(warning.contains(part), "{part} is missing: {warning}");
    }
    assert!(!log.0.lock().unwrap().concat().contains(OUR_KEY));
}

#[tokio::test]
async fn nobody_listens_there() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    is_told(&format!("http://127.0.0.1:{port}/v1"), "reset", "connection_refused", "it refuses connections").await;
}

#[tokio::test]
async fn its_name_cannot_be_resolved() {
    // No resolver is asked for a label that is too long for any.
    let host = format!("{}.invalid", "a".repeat(64));
    is_told(&format!("http://{host}:80/v1"), "reset", "dns", "its name cannot be resolved").await;
}

#[tokio::test]
async fn it_does_not_speak_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It goes with the process.
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    is_told(&format!("https://{address}/v1"), "reset", "tls", "does not speak TLS").await;
}

/// A server with a certificate of its own making.
struct SelfSigned(Child, std::path::PathBuf);

impl Drop for SelfSigned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

#[tokio::test]
async fn nobody_knows_who_issued_its_certificate() {
    let folder = std::env::temp_dir().join(format!("gateway-self-signed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let openssl = |line: &str| {
        let mut command = Command::new("openssl");
        command.args(line.split(' ')).current_dir(&folder).stdin(Stdio::null()).stderr(Stdio::null());
        command
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -addext subjectAltName=IP:127.0.0.1";
    let made = openssl(&format!("req -x509 {new} -subj /CN=localhost -keyout key.pem -out cert.pem")).output().unwrap();
    assert!(made.status.success());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = openssl(&format!("s_server -accept 127.0.0.1:{port} -cert cert.pem -key key.pem -www"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = SelfSigned(server, folder);
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ACCEPT")));
    is_told(&format!("https://127.0.0.1:{port}/v1"), "reset", "tls", "self-signed").await;
}

#[tokio::test]
async fn it_refuses_our_key() {
    let (log, _listening) = Log::open();
    let rig = cheap(["status-401", "ok"]).build().await;
    for _ in 0..5 {
        assert_eq!(rig.fresh(ask("cheap")).await.status, 200);
    }
    let warnings = log.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let address = rig.double.address().to_string();
    for part in ["provider=\"up\"", &address, "cause=\"unauthorized\"", "status=401", "our key was refused"] {
        assert!(warnings[0].contains(part), "{part} is missing: {warnings:?}");
    }
}
