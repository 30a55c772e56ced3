#![allow(clippy::unwrap_used, clippy::panic)]
mod requests;
mod streams;
