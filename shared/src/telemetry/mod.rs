//! What an operator sees of the gateway.

pub mod losses;
pub mod metrics;
