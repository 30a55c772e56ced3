//! The same routers under AWS Lambda: an event becomes a request, the router's answer becomes what the event's sender
//! can read, and all the rest of the gateway knows nothing of it.
//!
//! [`event`] turns API Gateway's and Function URLs' events into requests, [`answer`] turns answers into Lambda's two
//! forms, [`runtime`] is the loop around both. Why the loop is ours: `docs/adr/0003-runtime-api-loop.md`.
//!
//! Whether an answer may stream is not in the event, nor in anything else that a function gets from Lambda: a streaming
//! integration sends the same event as a buffered one, and reads *every* answer, also one that is no stream, as
//! "prelude, eight NULs, body", while a buffered one reads every answer as one JSON document. An answer in the wrong
//! form is a 502 or garbage. So whoever deploys says it, in `GATEWAY_RESPONSE_MODE`, beside the integration itself:
//!
//! | | REST API | Function URL | HTTP API |
//! |---|---|---|---|
//! | unset, `buffered`: as AWS sets up each of them by default | whole | whole | whole |
//! | `auto`: what can stream, streams (`responseTransferMode: STREAM`, `InvokeMode: RESPONSE_STREAM`) | streamed | streamed | whole |
//! | `streamed`: for local emulators, whose events look like an HTTP API's | streamed | streamed | streamed |
//!
//! Of the invariants it serves A1 (an answer that breaks off is never ended as if it were complete) and the deadline
//! that bounds every await: [`InvocationDeadline`] is the least of what Lambda and the transport allow.

mod answer;
mod event;
mod runtime;

pub use runtime::serve;

use crate::environment::variable;
use anyhow::Context;
use std::str::FromStr;

const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";
const RESPONSE_MODE: &str = "GATEWAY_RESPONSE_MODE";

/// Which answers leave piece by piece; see the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResponseMode {
    /// None.
    #[default]
    Buffered,
    /// Those to a REST API or a Function URL.
    Auto,
    /// All.
    Streamed,
}

impl ResponseMode {
    /// Reads `GATEWAY_RESPONSE_MODE`.
    ///
    /// # Errors
    /// The variable holds none of `buffered`, `auto`, `streamed`.
    pub fn from_env() -> anyhow::Result<Self> {
        variable(RESPONSE_MODE).map_or(Ok(Self::default()), |mode| mode.parse())
    }
}

impl FromStr for ResponseMode {
    type Err = anyhow::Error;

    fn from_str(mode: &str) -> anyhow::Result<Self> {
        match mode {
            "buffered" => Ok(Self::Buffered),
            "auto" => Ok(Self::Auto),
            "streamed" => Ok(Self::Streamed),
            other => anyhow::bail!("{RESPONSE_MODE} is `{other}`; it may be buffered, auto or streamed"),
        }
    }
}

/// In a request's extensions: the instant at which Lambda ends the invocation, or the transport in front of it gives
/// up, in Unix milliseconds. It is the hard end; settling and the last bytes must come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvocationDeadline {
    /// Unix milliseconds.
    pub at_ms: u64,
}

/// Whether this process was started by Lambda, or by something that acts as Lambda does.
#[must_use]
pub fn is_lambda() -> bool {
    variable(RUNTIME_API).is_some()
}

/// Answers invocations by `router` until Lambda says SIGTERM; `after` runs after each answer's last byte.
///
/// # Errors
/// The Runtime API is not there, or no longer answers.
pub async fn run(router: axum::Router, mode: ResponseMode, after: impl AsyncFn()) -> anyhow::Result<()> {
    serve(&runtime_api()?, router, mode, after, terminated()?).await
}

/// Tells Lambda that this process could not start, so that the function's log names the cause instead of a time-out.
///
/// # Errors
/// The Runtime API is not there.
pub async fn report_failed_start(error: &anyhow::Error) -> anyhow::Result<()> {
    runtime::RuntimeApi::at(&runtime_api()?)?.fail_init(&format!("{error:#}")).await.map_err(anyhow::Error::from_boxed)
}

fn runtime_api() -> anyhow::Result<String> {
    variable(RUNTIME_API).with_context(|| format!("{RUNTIME_API} is not set: this process was not started by Lambda"))
}

fn terminated() -> anyhow::Result<impl Future<Output = ()>> {
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        signal.recv().await;
    })
}
