//! The data plane as a process: answers invocations under Lambda, listens elsewhere.

use gateway_host::{lambda, process, wiring};

fn main() -> anyhow::Result<()> {
    process::run(async || {
        let wired = wiring::wire().await?;
        Ok((gateway_function::router(wired.gateway), lambda::ResponseMode::from_env()?))
    })
}
