//! The control plane as a process: answers invocations under Lambda, listens elsewhere.

use admin_function::{OwnerToken, standalone};
use anyhow::Context;
use gateway_host::lambda::ResponseMode;
use gateway_host::process::{self, Function};
use gateway_host::wiring;

fn main() -> anyhow::Result<()> {
    process::run(async || {
        let wired = wiring::wire().await?;
        let token = wired.owner_token.context("GATEWAY_ADMIN_TOKEN: must be set where GATEWAY_DIRECTORY is a table")?;
        let owner = OwnerToken::new(&token, &wired.gateway.hasher)?;
        let gateway = wired.gateway;
        Ok(Function { router: standalone(gateway.clone(), owner), gateway, mode: ResponseMode::from_env()? })
    })
}
