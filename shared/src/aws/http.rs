//! How the AWS SDK reaches the network: through the HTTP client that everything else here uses.
//!
//! The SDK's own client reads the machine's certificates, which takes longer than all the rest of a cold start, and would
//! be a second TLS stack beside the one that there is. Requests and answers of what is called so are small (of DynamoDB at most
//! 16 MB) and whole, so that handing them over is all there is to do.

use crate::tls::{bare_client, client_config};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use bytes::Bytes;
use std::time::Duration;

/// How long a connection may take to be made.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// A service's address in a region.
pub(super) fn address(service: &str, region: &str) -> String {
    let country = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://{service}.{region}.amazonaws.com{country}/")
}

/// No client can be made; why, for the operator.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no HTTP client: {0}")]
pub struct NoClient(String);

/// A client for the AWS SDK; its connections are kept and shared.
///
/// # Errors
/// The TLS library lacks the default protocol versions, which it does not.
pub fn http_client() -> Result<SharedHttpClient, NoClient> {
    let tls = client_config().map_err(|error| NoClient(error.to_string()))?;
    let client = bare_client(tls, CONNECT_WITHIN).build().map_err(|error| NoClient(error.to_string()))?;
    let connector = SharedHttpConnector::new(Connector(client));
    Ok(http_client_fn(move |_, _| connector.clone()))
}

#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move { exchange(&client, request).await })
    }
}

async fn exchange(client: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
    let request = request.try_into_http1x().map_err(|error| unusable(error.into()))?.map(|body| {
        // A body is always in memory: no operation that is used here streams.
        reqwest::Body::from(Bytes::copy_from_slice(body.bytes().unwrap_or_default()))
    });
    let request = reqwest::Request::try_from(request).map_err(|error| unusable(error.into()))?;
    let answer = client.execute(request).await.map_err(broken)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut whole = http::Response::new(answer.bytes().await.map_err(broken)?.into());
    (*whole.status_mut(), *whole.headers_mut()) = (status, headers);
    HttpResponse::try_from(whole).map_err(|error| ConnectorError::other(error.into(), None))
}

/// Whether it timed out or broke, the SDK may try again: every write is conditional or carries a token.
fn broken(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() { ConnectorError::timeout(error.into()) } else { ConnectorError::io(error.into()) }
}
