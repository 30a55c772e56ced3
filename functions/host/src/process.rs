//! A process that is one function: it finds out by itself whether Lambda started it.

use crate::ending::end;
use crate::lambda::{self, ResponseMode};
use crate::signals::Signals;
use crate::{alerting, http, logging};
use axum::Router;
use gateway_core::gateway::Gateway;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long requests are waited for after Lambda's SIGTERM, which comes 500 ms or 2 s before its SIGKILL. What an
/// invocation began is settled before its answer ends, so there are hardly ever any.
const DRAIN_UNDER_LAMBDA: Duration = Duration::from_millis(200);

/// What a function is made of.
pub struct Function {
    /// What answers its requests.
    pub router: Router,
    /// What stands behind that.
    pub gateway: Arc<Gateway>,
    /// Which of its answers stream under Lambda.
    pub mode: ResponseMode,
}

/// Runs one function: makes it by `start`, then answers Lambda's invocations, or listens on `GATEWAY_ADDR`.
///
/// One thread does it all, for a Lambda instance has about one core and serves one request at a time.
///
/// # Errors
/// Whatever keeps it from starting; Lambda gets it as well.
pub fn run(start: impl AsyncFnOnce() -> anyhow::Result<Function>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        if lambda::is_lambda() {
            let started = async {
                logging::start("info")?;
                start().await
            };
            return match started.await {
                Ok(Function { router, gateway, mode }) => {
                    let ended = lambda::run(router, mode, async || alerting::after_an_answer(&gateway).await).await;
                    end(&gateway, 0, DRAIN_UNDER_LAMBDA, JoinSet::new()).await;
                    ended
                }
                Err(error) => {
                    lambda::report_failed_start(&error).await?;
                    Err(error)
                }
            };
        }
        logging::start("warn")?;
        let mut signals = Signals::listen()?;
        let address = http::address();
        let started = tokio::select! {
            started = start() => started?,
            () = signals.end() => return Ok(()),
        };
        let Function { router, gateway, .. } = started;
        let listener = http::listen(&address).await?;
        logging::say(&format!("listening on http://{}", listener.local_addr()?));
        http::serve(listener, router, gateway, &mut signals).await
    });
    // A name that is being looked up, say, is not waited for.
    runtime.shutdown_background();
    logging::flush();
    ended
}
