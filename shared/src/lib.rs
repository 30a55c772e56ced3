//! The gateway's core, in the order in which a request meets it.
//!
//! Start with [`pipeline`]: one request, start to end, on one screen. This crate knows nothing of Lambda, of axum or of
//! AWS event types; `functions/*` turn HTTP into calls of it and back.

// The way of a request.
pub mod door;
pub mod pipeline;
pub mod stage;
pub mod request;
pub mod routing;
pub mod likeness;
pub mod gateway;

// What it meets.
pub mod wire;
pub mod provider;
pub mod store;
pub mod health;
pub mod directory;
pub mod ledger;
#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod disk;
pub mod alerts;
pub mod telemetry;

// What all of them speak of.
pub mod config;
pub mod catalog;
pub mod estimate;
pub mod tenant;
pub mod admin;
pub mod receipt;
pub mod feedback;
pub mod error;
pub mod money;
pub mod limit;
pub mod running;
pub mod network;
pub mod tls;
mod apart;
mod contract_tests;
mod locking;
pub mod id;
pub mod steps;
pub mod clock;
