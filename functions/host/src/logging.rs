//! The log: JSON on stdout under Lambda, readable text on stderr elsewhere; `GATEWAY_LOG` is the filter.

use crate::environment::variable;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Begins to log. `default` is the filter where `GATEWAY_LOG` says nothing.
///
/// # Errors
/// If `GATEWAY_LOG` is no filter.
pub fn start(default: &str) -> anyhow::Result<()> {
    let text = variable("GATEWAY_LOG").unwrap_or_else(|| default.to_owned());
    let filter = EnvFilter::try_new(&text).map_err(|e| anyhow::anyhow!("GATEWAY_LOG: {e}"))?;
    if crate::lambda::is_lambda() {
        tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stdout).init();
    } else {
        // A log in a file is searched, and replayed: it has no colours.
        let colours = std::io::stderr().is_terminal();
        tracing_subscriber::fmt().with_ansi(colours).with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    Ok(())
}
