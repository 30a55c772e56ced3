//! Errors in Anthropic's envelope, as this format's clients read them.
//!
//! Their types are few, so the contract's own word stands beside: as `code`, and where Anthropic's clients look for one.

use crate::error::{Family, HttpError};
use bytes::Bytes;
use serde_json::{Value, json};

/// An error in Anthropic's envelope, with the request's id where there is one.
#[must_use]
pub fn envelope(http: &HttpError, request_id: Option<&str>) -> Bytes {
    let mut details = json!({"error_code": http.code});
    match &http.details {
        Some(Value::Object(more)) => more.iter().for_each(|(name, value)| details[name] = value.clone()),
        Some(more) => details["attempts"] = more.clone(),
        None => {}
    }
    let error = json!({"type": type_of(http), "message": http.message, "code": http.code, "param": http.param,
        "details": details});
    Bytes::from(json!({"type": "error", "error": error, "request_id": request_id}).to_string())
}

fn type_of(http: &HttpError) -> &'static str {
    match (http.family, http.status) {
        (Family::InvalidRequest, 404) => "not_found_error",
        (Family::InvalidRequest, 413) => "request_too_large",
        (Family::InvalidRequest, _) => "invalid_request_error",
        (Family::Authentication, _) => "authentication_error",
        (Family::Permission, _) => "permission_error",
        (Family::RequestRate | Family::TokenRate | Family::Quota, _) => "rate_limit_error",
        (Family::Server, 503) => "overloaded_error",
        (Family::Server, 504) => "timeout_error",
        (Family::Server, _) => "api_error",
    }
}
