//! The data plane as a process: answers invocations under Lambda, listens elsewhere.

use gateway_host::{http, lambda, logging, wiring};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    if lambda::is_lambda() {
        logging::start("info")?;
        return match start().await {
            Ok((router, mode)) => lambda::run(router, mode).await,
            Err(error) => {
                lambda::report_failed_start(&error).await?;
                Err(error)
            }
        };
    }
    logging::start("warn")?;
    let (router, _) = start().await?;
    let address = std::env::var("GATEWAY_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    http::serve(http::listen(&address).await?, router).await
}

async fn start() -> anyhow::Result<(axum::Router, lambda::ResponseMode)> {
    let wired = wiring::wire().await?;
    Ok((gateway_function::router(wired.gateway), lambda::ResponseMode::from_env()?))
}
