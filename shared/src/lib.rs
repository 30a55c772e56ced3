//! The gateway's core, in the order in which a request meets it.
//!
//! Start with [`pipeline`]: one request, start to end, on one screen. This crate knows nothing of Lambda, of axum or of
//! AWS event types; `functions/*` turn HTTP into calls of it and back.

// The way of a request.
pub mod pipeline;
pub mod gateway;
pub mod instructions;
pub mod request;
mod json;
mod paid;
pub mod authenticate;
pub mod budget;
mod apart;
pub mod decide;
pub mod intent;
pub mod estimate;
mod idempotency;
mod over_rate;
mod admit;
mod afford;
mod refill;
mod outage;
mod classify;
pub mod rank;
mod attempt;
mod evidence;
mod unreachable;
pub mod judge;
pub mod schema;
mod upgrade;
mod deliver;
mod stream;
mod settle;
pub mod running;
mod journal;
pub mod answer;
pub mod events;
mod route;
mod ready;

// What it meets.
pub mod store;
pub mod health;
pub mod directory;
pub mod ledger;
pub mod dynamodb;
pub mod disk;
pub mod provider;

// What all of them speak of.
pub mod config;
pub mod catalog;
pub mod tenant;
pub mod key;
pub mod receipt;
pub mod metrics;
pub mod losses;
pub mod error;
pub mod money;
pub mod usd;
pub mod gcra;
pub mod window;
pub mod retry_budget;
pub mod id;
pub mod steps;
pub mod clock;
