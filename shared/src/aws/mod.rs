//! What the parts that call AWS share: an HTTP client for its SDK, and signatures with the credentials that its tools find.

mod http;
mod secrets;
mod signer;
mod sns;

pub use http::{NoClient, http_client};
pub use secrets::{AwsSecrets, NoSecrets};
pub use signer::Signer;
pub use sns::{NoSns, Sns};
