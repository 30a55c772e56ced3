//! The installation's own secrets: the owner's token, and the secret that keys are hashed with.
//!
//! On a laptop both are made once and kept in the data folder, readable by its owner only. Where many processes share one
//! directory both must come from the environment, for they must be the same everywhere.

use anyhow::{Context, bail};
use gateway_core::tenant::key::ApiKey;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The least length of a secret that somebody chose.
const LEAST_CHARS: usize = 32;

/// The secret of this name, without the white space around it: from the environment, else from the data folder, else made and
/// put there; `None` where the environment has none and there is no folder.
///
/// # Errors
/// If the variable is shorter than 32 characters, or the folder cannot be read or written.
pub fn secret(variable: &str, folder: Option<&Path>, file: &str) -> anyhow::Result<Option<String>> {
    if let Some(given) = crate::environment::variable(variable) {
        if given.chars().count() < LEAST_CHARS {
            bail!("{variable}: must have at least {LEAST_CHARS} characters");
        }
        return Ok(Some(given));
    }
    let Some(folder) = folder else { return Ok(None) };
    let path = folder.join(file);
    let kept = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    // An empty one is what a start that was killed left behind. A short one was written by somebody, and replacing it would
    // void all that was made with it.
    if let Some(kept) = kept.filter(|kept| !kept.is_empty()) {
        if kept.chars().count() < LEAST_CHARS {
            bail!(
                "{} holds fewer than {LEAST_CHARS} characters; mend it, or remove it and all keys with it",
                path.display()
            );
        }
        return Ok(Some(kept));
    }
    // A key's random characters: 178 bits in an alphabet that every shell and header can carry.
    let made = ApiKey::generate().reveal().trim_start_matches("gw_live_").to_owned();
    let mut out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    out.write_all(made.as_bytes())?;
    out.sync_all()?;
    Ok(Some(made))
}
