//! TLS and passwords, against a server that has both.

use super::{HealthSettings, MIB, ask, introduce, used_and_held};
use gateway_core::health::breaker::BreakerSettings;
use gateway_core::store::redis::RedisStore;
use gateway_core::store::{Store, StoreError};
use std::path::{Path, PathBuf};
use std::process::Command;
use test_servers::redis::Redis;

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority, and a certificate of it for `localhost`.
fn certificates(folder: &Path) {
    let openssl = |line: &str| {
        let done = Command::new("openssl").args(line.split(' ')).current_dir(folder).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(&format!("req -x509 {new} -subj /CN=authority -keyout authority.key -out authority.pem"));
    openssl(&format!("req {new} -subj /CN=localhost -keyout server.key -out server.csr"));
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost").unwrap();
    openssl(
        "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
}

#[tokio::test]
async fn a_server_is_spoken_to_over_tls_if_its_authority_is_trusted_and_the_password_is_right() {
    let folder = Folder(std::env::temp_dir().join(format!("gateway-tls-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    certificates(&folder.0);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = |name: &str| folder.0.join(name).display().to_string();
    let (tls_port, certificate, key, authority) =
        (port.to_string(), file("server.pem"), file("server.key"), file("authority.pem"));
    let tls = ["--tls-port", &tls_port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let more = ["--tls-ca-cert-file", &authority, "--tls-auth-clients", "no"];
    let user = ["--user", "gateway", "on", ">s3cret", "~*", "+@all"];
    let redis = Redis::start(&[&tls[..], &more, &user].concat()).await.unwrap();

    let authority = std::fs::read(&authority).unwrap();
    let store = |authority: Option<&[u8]>, address: &str| {
        let (health, breaker) = (HealthSettings::default(), BreakerSettings::default());
        RedisStore::trusting(authority, address, &health, &breaker, MIB).unwrap()
    };
    let address = |user: &str, host: &str| format!("rediss://{user}@{host}:{port}");
    let good = store(Some(&authority), &address("gateway:s3cret", "localhost"));
    introduce(&good, &ask("acme")).await;
    assert_eq!(used_and_held(&good, "acme").await, Default::default());

    for (why, bad) in [
        ("nobody knows its authority", store(None, &address("gateway:s3cret", "localhost"))),
        ("its certificate is for another name", store(Some(&authority), &address("gateway:s3cret", "127.0.0.1"))),
        ("the password is wrong", store(Some(&authority), &address("gateway:hunter2", "localhost"))),
        ("it expects TLS", store(None, &format!("redis://localhost:{port}"))),
    ] {
        let StoreError(why_not) = bad.ping(super::NOW).await.expect_err(why);
        assert!(!why_not.contains("hunter2") && !why_not.contains("s3cret"), "{why}: {why_not}");
    }
    drop(redis);
}
