//! The data plane as a process: answers invocations under Lambda, listens elsewhere.

use gateway_host::lambda::ResponseMode;
use gateway_host::process::{self, Function};
use gateway_host::wiring;

fn main() -> anyhow::Result<()> {
    process::run(async || {
        let gateway = wiring::wire().await?.gateway;
        Ok(Function { router: gateway_function::router(gateway.clone()), gateway, mode: ResponseMode::from_env()? })
    })
}
