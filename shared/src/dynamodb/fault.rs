//! Why a call of DynamoDB failed.

use aws_sdk_dynamodb::error::BuildError;

/// Why a call of DynamoDB failed; the text is for the operator.
#[derive(Debug, Clone, thiserror::Error)]
#[error("DynamoDB: {0}")]
pub struct Fault(pub(crate) String);

/// A request that lacks a part, which none of ours does.
pub(crate) fn fault(error: BuildError) -> Fault {
    Fault(error.to_string())
}
