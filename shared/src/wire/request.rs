//! A request as it came: its bytes, whose format they are in, and what the pipeline needs to know of it.

use crate::error::Error;
use crate::wire::body::Body;
use crate::wire::facts::Facts;
use crate::wire::format::{Format, Overrides};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A request that has been read and checked.
#[derive(Debug, Clone)]
pub struct Request {
    /// The format of the door that it came through.
    pub format: &'static dyn Format,
    /// What the pipeline knows of it.
    pub facts: Facts,
    body: Body,
}

impl Request {
    /// Reads and checks a body that is in this format.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] names the first field that is missing or not what it must be.
    pub fn read(format: &'static dyn Format, bytes: Bytes) -> Result<Self, Error> {
        let (body, facts) = format.read(bytes)?;
        Ok(Self { format, facts, body })
    }

    /// Its bytes, and where its fields stand.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// What goes to a provider that speaks this format.
    #[must_use]
    pub fn body_for(&self, format: &dyn Format, overrides: &Overrides<'_>) -> Bytes {
        format.splice(&self.body, overrides)
    }

    /// SHA-256 of the body as it came.
    #[must_use]
    pub fn body_hash(&self) -> [u8; 32] {
        Sha256::digest(self.body.bytes()).into()
    }
}
