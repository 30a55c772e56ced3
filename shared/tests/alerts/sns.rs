//! Alerts to a topic of SNS, in front of a double that computes the signature for itself.

use super::receiver::{Heard, Receiver, answers};
use super::{WITHIN, spend};
use crate::rig::{ask, cheap, credentials};
use gateway_core::aws::Sns;
use gateway_core::tls::client_config;
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use upstream_double::KNOWN_KEY;

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:alerts.fifo";

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The signature of a request as AWS's documentation computes it: SigV4 of a `POST` to `/`, of the headers that it names.
fn signature(heard: &Heard, path: &str, secret: &str) -> String {
    let authorization = &heard.headers["authorization"];
    let part = |name: &str| {
        let rest = authorization.split_once(name).unwrap().1;
        rest.split(',').next().unwrap().to_owned()
    };
    let (scope, signed) = (part("Credential="), part("SignedHeaders="));
    let (_, scope) = scope.split_once('/').unwrap();
    let headers: String = signed.split(';').map(|name| format!("{name}:{}\n", heard.headers[name].trim())).collect();
    let canonical = format!("POST\n{path}\n\n{headers}\n{signed}\n{}", hex(Sha256::digest(&heard.body)));
    let to_sign =
        format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", heard.headers["x-amz-date"], hex(Sha256::digest(canonical)));
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part));
    hex(hmac(&key, &to_sign))
}

fn fields(form: &str) -> Vec<(String, String)> {
    let unescaped = |text: &str| {
        let (mut bytes, mut left) = (Vec::new(), text.as_bytes());
        while let Some((first, rest)) = left.split_first() {
            left = rest;
            match first {
                b'%' => {
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
                    left = &rest[2..];
                }
                byte => bytes.push(*byte),
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    form.split('&')
        .map(|field| field.split_once('=').unwrap())
        .map(|(name, value)| (name.into(), unescaped(value)))
        .collect()
}

#[tokio::test]
async fn a_topic_is_told_by_a_signed_call_and_again_where_it_did_not_take_it() {
    let receiver = Receiver::start([answers(503)]).await;
    let url = receiver.url.clone();
    let sns = move || Sns::at(&url, credentials(KNOWN_KEY.1), "eu-west-1", client_config().unwrap()).unwrap();
    let scene = cheap(["ok"]).table(&format!("[alerts]\nsns_topic = {TOPIC:?}"));
    let rig =
        scene.limits(json!({"daily_requests": 2})).with(move |builder| builder.sns(Arc::new(sns()))).build().await;
    spend(&rig, 1).await;
    rig.clock.advance(10_000);
    rig.gateway.send_alerts(WITHIN).await;
    rig.gateway.send_alerts(WITHIN).await;
    let heard = receiver.heard();
    assert_eq!(heard.len(), 2);
    for heard in &heard {
        let expected = format!(
            "/eu-west-1/sns/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature={}",
            signature(heard, "/hook", KNOWN_KEY.1)
        );
        assert!(heard.headers["authorization"].ends_with(&expected), "{:?}", heard.headers);
    }
    let fields = fields(&heard[1].body);
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(
        (field("Action"), field("Version"), field("TopicArn")),
        (Some("Publish"), Some("2010-03-31"), Some(TOPIC))
    );
    assert_eq!(field("Subject"), Some("AI Gateway: acme has used 50 % of its daily_requests: 1 of 2"));
    let alert: serde_json::Value = serde_json::from_str(field("Message").unwrap()).unwrap();
    assert_eq!((&alert["kind"], field("MessageDeduplicationId")), (&json!("budget"), alert["id"].as_str()));
    assert_eq!(rig.fresh(ask("up/ok")).await.status, 200);
}
