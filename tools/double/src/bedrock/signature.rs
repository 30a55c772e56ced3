//! AWS's Signature Version 4, computed from its description, so that whoever signs with another program is checked.

use super::KNOWN_KEY;
use crate::http::{Request, header};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// Checks the signature of a request.
///
/// # Errors
/// What AWS would say is wrong with it.
pub(super) fn check(request: &Request) -> Result<(), String> {
    let authorization = header(&request.headers, "authorization").unwrap_or_default();
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("no algorithm that is known")?;
    let part = |name: &str| rest.split(", ").find_map(|part| part.strip_prefix(name)).unwrap_or_default();
    let scope: Vec<&str> = part("Credential=").splitn(2, '/').collect();
    let [key, scope] = scope[..] else { return Err("no credential scope".into()) };
    let (signed, given) = (part("SignedHeaders="), part("Signature="));
    let date = header(&request.headers, "x-amz-date").unwrap_or_default();
    if key != KNOWN_KEY.0 {
        return Err("The security token included in the request is invalid.".into());
    }
    for needed in ["host", "x-amz-date"] {
        if !signed.split(';').any(|name| name == needed) {
            return Err(format!("'{needed}' must be a signed header"));
        }
    }
    if header(&request.headers, "x-amz-security-token").is_some() && !signed.contains("x-amz-security-token") {
        return Err("the token is not signed".into());
    }
    let computed = signature(request, signed, date, scope)?;
    if computed == given { Ok(()) } else { Err("The request signature we calculated does not match.".into()) }
}

fn signature(request: &Request, signed: &str, date: &str, scope: &str) -> Result<String, String> {
    let headers: String = signed
        .split(';')
        .map(|name| format!("{name}:{}\n", header(&request.headers, name).unwrap_or_default().trim()))
        .collect();
    // What is sent is encoded once more: of all services only S3 signs a path as it stands.
    let path: String = request.path.split('/').map(encoded).collect::<Vec<_>>().join("/");
    let canonical = format!(
        "{}\n{path}\n{}\n{headers}\n{signed}\n{}",
        request.method,
        request.query,
        hex(&Sha256::digest(&request.body))
    );
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let parts: Vec<&str> = scope.split('/').collect();
    let [day, _, service, "aws4_request"] = parts[..] else { return Err("no credential scope".into()) };
    if !date.starts_with(day) || service != "bedrock" {
        return Err(format!("Credential should be scoped to correct service: 'bedrock', and to {date}"));
    }
    let first = format!("AWS4{}", KNOWN_KEY.1).into_bytes();
    let key = parts.iter().fold(first, |key, part| mac(&key, part.as_bytes()));
    Ok(hex(&mac(&key, to_sign.as_bytes())))
}

#[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encoded(segment: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    segment.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AWS's own test suite, `post-vanilla` and `post-x-www-form-urlencoded`, but for the name of the service.
    #[test]
    fn a_published_example_is_signed_as_it_is_published() {
        let request = Request {
            method: "POST".into(),
            path: "/".into(),
            query: String::new(),
            headers: vec![
                ("host".into(), "example.amazonaws.com".into()),
                ("x-amz-date".into(), "20150830T123600Z".into()),
            ],
            body: Vec::new(),
            keep_alive: true,
        };
        let headers = "host:example.amazonaws.com\nx-amz-date:20150830T123600Z\n";
        let empty = hex(&Sha256::digest(b""));
        let canonical = format!("POST\n/\n\n{headers}\nhost;x-amz-date\n{empty}");
        assert_eq!(
            hex(&Sha256::digest(canonical.as_bytes())),
            "553f88c9e4d10fc9e109e2aeb65f030801b70c2f6468faca261d401ae622fc87"
        );
        let scope = "20150830/us-east-1/service/aws4_request";
        assert!(signature(&request, "host;x-amz-date", "20150830T123600Z", scope).is_err(), "of another service");
        let key =
            scope.split('/').fold(format!("AWS4{}", KNOWN_KEY.1).into_bytes(), |key, part| mac(&key, part.as_bytes()));
        let to_sign =
            format!("AWS4-HMAC-SHA256\n20150830T123600Z\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        assert_eq!(
            hex(&mac(&key, to_sign.as_bytes())),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
    }
}
