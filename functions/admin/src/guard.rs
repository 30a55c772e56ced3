//! What stands around every handler: the token is checked before anything else, every answer gets its id, and errors
//! become HTTP here and nowhere else.
//!
//! A handler that fails answers with nothing but its [`Failure`], which travels in the response's extensions; the envelope
//! is written here, where the request's id is known. Missing, malformed and wrong tokens get the same words, on
//! known and unknown paths alike: who has no token learns nothing of what is there. Who is let in, [`crate::caller`] says.

use crate::{Plane, ROUTES};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gateway_core::directory::DirectoryError;
use gateway_core::error::Error;
use gateway_core::id::RequestId;
use gateway_core::ledger::LedgerError;
use gateway_core::request::reply::Answer;
use gateway_core::tenant::InvalidTenant;
use gateway_core::wire::openai::error::envelope;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde_json::Value;
use std::sync::Arc;

/// What a handler answers.
pub(crate) type Outcome = Result<Response, Failure>;

/// A request that is not answered.
#[derive(Debug, Clone)]
pub(crate) struct Failure(pub(crate) Error);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        Self(match error {
            DirectoryError::Exists => Error::Conflict("There is something of this id already."),
            DirectoryError::Missing => Error::NotFound,
            DirectoryError::Conflict => Error::Conflict("It was changed by somebody else meanwhile; try again."),
            DirectoryError::Unwritten(fault) => {
                Error::NotWritten { message: format!("Nothing was changed: {}.", fault.words), why: fault.to_string() }
            }
            DirectoryError::Unavailable(why) => Error::NotWritten {
                message: "The directory does not answer now. If you asked for a change, look whether it was made."
                    .into(),
                why,
            },
        })
    }
}

impl Failure {
    /// Says what the failure of a change means: nobody may take a key for revoked that still works.
    pub(crate) fn said(error: DirectoryError, not_done: &str, holds: &str) -> Self {
        match error {
            DirectoryError::Unwritten(fault) => Self(Error::NotWritten {
                message: format!("{not_done}: {}; {holds}.", fault.words),
                why: fault.to_string(),
            }),
            DirectoryError::Unavailable(why) => Self(Error::NotWritten {
                message: format!("{not_done}, as far as is known: the directory did not answer; {holds}. Ask again."),
                why,
            }),
            error => error.into(),
        }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self(match error {
            LedgerError::UnknownCursor => Error::invalid("cursor", "It must be the `next` of an earlier answer."),
            down => Error::Unavailable(down.to_string()),
        })
    }
}

impl From<InvalidTenant> for Failure {
    fn from(error: InvalidTenant) -> Self {
        let param = (!error.path.is_empty()).then_some(error.path);
        Self(Error::InvalidRequest { param, message: error.message })
    }
}

/// A JSON answer.
pub(crate) fn reply(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Lets in whose role is enough, and gives every answer what all of them have.
pub(crate) async fn guard(State(plane): State<Arc<Plane>>, request: Request, next: Next) -> Response {
    let request_id = RequestId::new(plane.gateway.clock.now_ms());
    let id = request_id.to_string();
    let (parts, body) = request.into_parts();
    let mut response = match plane.admitted(&parts).await {
        Ok(caller) => plane.once(request_id, caller, parts, body, next).await,
        Err(failure) => failure.into_response(),
    };
    if let Some(Failure(error)) = response.extensions_mut().remove::<Failure>() {
        write_error(&error, &id, &mut response);
    }
    let headers = response.headers_mut();
    // An answer may show a new key, and is never true for long.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

/// Writes the envelope of `error` over `response`, whose other headers (such as `allow`) stay.
fn write_error(error: &Error, id: &str, response: &mut Response) {
    if let Error::Internal(why) | Error::Unavailable(why) | Error::NotWritten { why, .. } = error {
        tracing::error!(request = id, why, "an admin's request could not be served");
    }
    let http = error.to_http();
    let body = envelope(&http, Some(id));
    let Answer { status, headers, body: _ } = Answer::of_error(&http, body.clone());
    *response.status_mut() = status;
    *response.body_mut() = Body::from(body);
    response.headers_mut().remove(CONTENT_LENGTH);
    response.headers_mut().extend(headers);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
}

/// There is nothing at this path.
pub(crate) async fn nothing_here(method: Method, uri: Uri) -> Failure {
    Failure(ROUTES.no_route(method.as_str(), uri.path()))
}

/// Not with this method.
pub(crate) async fn not_so(method: Method, uri: Uri) -> Failure {
    Failure(ROUTES.not_so(method.as_str(), uri.path()))
}
