//! Limits, as arithmetic: rates, windows, retries and memory.

pub mod budget;
pub mod gcra;
pub mod lineage;
pub mod retry_budget;
pub mod window;
