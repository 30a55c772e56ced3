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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::Error;
    use serde_json::Value;

    #[test]
    fn an_error_is_told_with_its_kind_its_field_and_its_details() {
        let http = HttpError { details: Some(json!({"more": 1})), ..Error::invalid("n", "Too many.").to_http() };
        let read: Value = serde_json::from_slice(&envelope(&http, Some("id"))).unwrap();
        let error = json!({"message": "Too many.", "type": "invalid_request_error", "param": "n", "code": http.code,
            "details": {"more": 1}});
        assert_eq!(read, json!({"error": error, "request_id": "id"}));
        for (family, kind) in [
            (Family::Authentication, "authentication_error"),
            (Family::Permission, "permission_error"),
            (Family::RequestRate, "requests"),
            (Family::TokenRate, "tokens"),
            (Family::Quota, "insufficient_quota"),
            (Family::Server, "server_error"),
        ] {
            let read: Value = serde_json::from_slice(&envelope(&HttpError { family, ..http.clone() }, None)).unwrap();
            assert_eq!((&read["error"]["type"], &read["request_id"]), (&json!(kind), &Value::Null));
        }
    }
}
