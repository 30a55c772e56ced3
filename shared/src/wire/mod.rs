//! Wire formats: how requests and answers are written, and what the gateway reads in them.

pub mod answer;
pub mod anthropic;
pub mod body;
pub mod context;
pub mod conversation;
pub mod converse;
pub(crate) mod delay;
pub mod embeddings;
pub mod error_body;
pub mod facts;
pub mod format;
pub mod frames;
pub mod gemini;
pub mod json;
pub mod openai;
pub mod piece;
pub(crate) mod pieces;
pub(crate) mod reading;
pub mod request;
pub mod responses;
pub mod schema;
pub mod sse;
pub(crate) mod values;
pub mod writer;
pub(crate) mod writing;

#[cfg(test)]
mod tests;
