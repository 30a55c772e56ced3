//! An admin: a person or program with a token of the admin plane, and a role.
//!
//! The role is in the record and not in the token, and the record is read with each request: whoever is demoted, deleted or
//! past the expiry is so with the next request.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What an admin may do. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read.
    Viewer,
    /// Change tenants, their keys and settings.
    Operator,
    /// Everything: admins too.
    Owner,
}

impl Role {
    /// All of them, from the least.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Owner];

    /// Its name in requests and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Owner => "owner",
        }
    }
}

/// What the directory stores of an admin. The token itself is nowhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdminRecord {
    /// Made with it and never used again; names it in the audit log.
    pub id: Arc<str>,
    /// A name for people.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The keyed hash of its token, in hexadecimal.
    pub hash: String,
    /// The first thirteen characters of the token.
    pub prefix: String,
    /// The last four characters of the token.
    pub last4: Arc<str>,
    /// When it was made, in Unix milliseconds.
    pub created_at_ms: u64,
    /// When the token stops working, in Unix milliseconds.
    pub expires_at_ms: Option<u64>,
    /// Begins with 1 and grows by one with every change.
    pub version: u64,
}
