//! A request on its way: its options for the gateway, what was done about it, and what goes back.

pub(crate) mod client;
pub mod incoming;
pub mod instructions;
pub(crate) mod journal;
pub mod reply;
pub mod events;
pub(crate) mod work;
