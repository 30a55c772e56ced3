//! Errors in OpenAI's envelope: as this format's clients read them, and as its providers write them.

use crate::error::{Family, HttpError, Objection};
use bytes::Bytes;
use serde_json::{Value, json};

/// An error in OpenAI's envelope, with the request's id beside it where there is one.
#[must_use]
pub fn envelope(http: &HttpError, request_id: Option<&str>) -> Bytes {
    let kind = type_of(http.family);
    let mut error = json!({"message": http.message, "type": kind, "param": http.param, "code": http.code});
    if let Some(details) = &http.details {
        error["details"] = details.clone();
    }
    Bytes::from(json!({"error": error, "request_id": request_id}).to_string())
}

fn type_of(family: Family) -> &'static str {
    match family {
        Family::InvalidRequest => "invalid_request_error",
        Family::Authentication => "authentication_error",
        Family::Permission => "permission_error",
        Family::RequestRate => "requests",
        Family::TokenRate => "tokens",
        Family::Quota => "insufficient_quota",
        Family::Server => "server_error",
    }
}

/// What a provider's `error` object finds wrong with a request.
pub(crate) fn objection(error: &Value) -> Objection {
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    Objection { code: text("code").or_else(|| text("type")), message: text("message"), param: text("param") }
}

/// Stand-in.
pub(crate) fn error_in(bytes: &[u8]) -> Option<()> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    value.get("error").map(|_| ())
}
