//! The core from outside: the contract suites of its borders, and requests through the whole pipeline.
//!
//! One binary, so that the crate is linked once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod accounting;
mod afford;
mod alerts;
mod alive;
mod answers;
mod attempts;
mod aws_secrets;
mod azure;
mod bedrock;
mod bad_input;
mod bounds;
mod caching;
mod capabilities;
mod client_leaves;
mod contracts;
mod conversations;
mod corpus;
mod dynamodb;
mod ending;
mod evidence;
mod feedback;
mod formats;
mod gemini;
mod hedge;
mod idempotency;
mod early;
mod embeddings;
mod in_flight;
mod key_limits;
mod keys;
mod known_faults;
mod memory;
mod messages;
mod model;
mod outage;
mod prices;
mod provider_answers;
mod recovery;
mod redis;
mod refusals;
mod responses;
mod retries;
mod rig;
mod routing;
mod semantic;
mod silence;
mod stages;
mod status;
mod store_waits;
mod streams;
mod thoughts;
mod tiny_answers;
mod tiny_format;
mod tiny_native;
mod total_outage;
mod unreachable;
mod unreliable;
mod upgrades;
mod vectors;
mod wire_faults;
