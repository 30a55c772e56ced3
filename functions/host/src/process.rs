//! A process that is one function: it finds out by itself whether Lambda started it.

use crate::lambda::{self, ResponseMode};
use crate::{http, logging};
use axum::Router;

/// Runs one function: makes its router by `start`, then answers Lambda's invocations, or listens on `GATEWAY_ADDR`.
///
/// One thread does it all, for a Lambda instance has about one core and serves one request at a time.
///
/// # Errors
/// Whatever keeps it from starting; Lambda is told as well.
pub fn run(start: impl AsyncFnOnce() -> anyhow::Result<(Router, ResponseMode)>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if lambda::is_lambda() {
            let started = async {
                logging::start("info")?;
                start().await
            };
            return match started.await {
                Ok((router, mode)) => lambda::run(router, mode).await,
                Err(error) => {
                    lambda::report_failed_start(&error).await?;
                    Err(error)
                }
            };
        }
        logging::start("warn")?;
        let address = http::address();
        let (router, _) = start().await?;
        let listener = http::listen(&address).await?;
        logging::say(&format!("listening on http://{}", listener.local_addr()?));
        http::serve(listener, router).await
    })
}
