//! Errors in OpenAI's envelope, as this format's clients read them.

use crate::error::{Family, HttpError};
use bytes::Bytes;
use serde_json::json;

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
