//! Wire formats: how requests and answers are written, and what the gateway reads in them.

pub(crate) mod json;
pub mod openai;
pub mod schema;
pub mod sse;
