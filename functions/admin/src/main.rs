//! The control plane as a process: answers invocations under Lambda, listens elsewhere.

use admin_function::{OwnerToken, standalone};
use gateway_host::{lambda, process, wiring};

fn main() -> anyhow::Result<()> {
    process::run(async || {
        let wired = wiring::wire().await?;
        let owner = OwnerToken::new(&wired.owner_token, &wired.gateway.hasher)?;
        Ok((standalone(wired.gateway, owner), lambda::ResponseMode::from_env()?))
    })
}
