//! What all processes of the gateway share: wiring from the environment, plain HTTP, and Lambda.
//!
//! A process finds out by itself which it is: started by Lambda it answers invocations, otherwise it listens.

mod alerting;
pub mod client;
pub mod coding;
mod ending;
pub mod environment;
mod flushing;
mod keys;
pub mod http;
pub mod lambda;
pub mod logging;
mod memory;
mod now_and_then;
pub mod openapi;
pub mod process;
pub mod routes;
pub mod secrets;
pub mod signals;
pub mod wiring;

/// glibc's allocator keeps what many small requests leave behind; this one is faster and gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
