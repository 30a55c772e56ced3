//! The program from outside: the real binary in a process of its own, spoken to over real sockets.
//!
//! One binary, so that everything is linked once. Nothing here knows how the gateway works, and nothing sleeps: what a test
//! waits for is an answer, the end of a connection or the end of a process, and a minute without it is a hang.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod alerts;
mod bad_input;
mod connections;
mod crash;
mod disk;
mod edges;
mod ending;
mod first_run;
mod fleet;
mod gateway;
mod hostile_http;
mod inspecting;
mod metrics;
mod operating;
mod routing;
mod secrets;
mod streaming;
mod tenants;
mod upstream;
mod usage;
mod wire;
