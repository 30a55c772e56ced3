//! Real servers for tests and benchmarks, each a process of its own on a free port of loopback, ended with the value that
//! stands for it, or with the process where all its tests share it; a link in front of them that delays, drops and cuts; and a front of DynamoDB that refuses.

pub mod dynamodb;
pub mod front;
pub mod link;
pub mod redis;
mod shared;
