#![allow(clippy::unwrap_used, clippy::panic)]

mod answers;
mod requests;
