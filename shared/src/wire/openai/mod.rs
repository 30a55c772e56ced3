//! OpenAI's chat completions.

pub mod answer;
pub(crate) mod paid;
pub mod request;
