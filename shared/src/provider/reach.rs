//! Why a provider could not be reached: what the layers below HTTP say, each in its own words.
//!
//! An error of the HTTP client says "error sending request" and hides the rest behind its sources, which are other
//! crates' types; the operating system's and the TLS library's are looked for among them.

use super::ProviderError;
use crate::receipt::{AttemptOutcome, Cause};
use std::error::Error;
use std::io;

/// The failure of a request whose answer's head never came.
pub(super) fn no_answer(error: &reqwest::Error) -> ProviderError {
    if !error.is_connect() {
        return ProviderError::retryable(AttemptOutcome::Reset, "the connection broke before the answer's head");
    }
    let (cause, detail) = cause_of(error);
    let outcome = if cause == Cause::ConnectTimeout { AttemptOutcome::Timeout } else { AttemptOutcome::Reset };
    ProviderError { may_bill: false, cause: Some(cause), ..ProviderError::retryable(outcome, detail) }
}

/// Whether a body broke because what came of it cannot be decoded, and not because no more came.
pub(super) fn is_garbage(error: &reqwest::Error) -> bool {
    let mut below: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(layer) = below {
        if let Some(io) = layer.downcast_ref::<io::Error>() {
            return matches!(io.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData);
        }
        below = layer.source();
    }
    false
}

fn cause_of(error: &reqwest::Error) -> (Cause, &'static str) {
    let mut below: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(source) = below {
        if let Some(found) = told_by(source) {
            return found;
        }
        below = source.source();
    }
    match error.is_timeout() {
        true => (Cause::ConnectTimeout, "it did not accept the connection in time"),
        false => (Cause::Unreachable, "no connection"),
    }
}

/// What this layer says by itself.
fn told_by(layer: &(dyn Error + 'static)) -> Option<(Cause, &'static str)> {
    if let Some(tls) = layer.downcast_ref::<rustls::Error>() {
        return Some(of_tls(tls));
    }
    // The resolver's own error differs from system to system; what wraps it says this everywhere.
    if layer.to_string() == "dns error" {
        return Some((Cause::Dns, "its name cannot be resolved"));
    }
    let io = layer.downcast_ref::<io::Error>()?;
    // What an error of the system wraps is not among its sources.
    if let Some(found) = io.get_ref().and_then(|inner| told_by(inner)) {
        return Some(found);
    }
    match io.kind() {
        io::ErrorKind::ConnectionRefused => Some((Cause::ConnectionRefused, "it refuses connections")),
        io::ErrorKind::TimedOut => Some((Cause::ConnectTimeout, "it did not accept the connection in time")),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some((Cause::Unreachable, "there is no way to its address"))
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof => {
            Some((Cause::Unreachable, "it closed the connection at once"))
        }
        _ => None,
    }
}

fn of_tls(error: &rustls::Error) -> (Cause, &'static str) {
    use rustls::CertificateError as Bad;
    let detail = match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => "its TLS certificate is self-signed, or of an issuer that nobody knows",
            Bad::Expired | Bad::ExpiredContext { .. } => "its TLS certificate has expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "its TLS certificate is not valid yet",
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "its TLS certificate is for another name",
            Bad::Revoked => "its TLS certificate is revoked",
            _ => "its TLS certificate cannot be accepted, perhaps it is self-signed",
        },
        rustls::Error::InvalidMessage(_) => "what answers there does not speak TLS",
        _ => "the TLS handshake failed",
    };
    (Cause::Tls, detail)
}
