//! Real servers for tests and benchmarks, each a process of its own on a free port of loopback, ended with the value that
//! stands for it; and a link in front of them that delays, drops and cuts.

pub mod dynamodb;
pub mod link;
pub mod redis;
