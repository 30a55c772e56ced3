//! The provider that was not wired: it stands in the configuration and was not given to the builder.

use super::{Call, Fault, Provider, ProviderError, Reply};
use crate::receipt::AttemptOutcome;
use async_trait::async_trait;

/// Refuses every call, so that the request fails over.
pub(crate) struct Unknown;

#[async_trait]
impl Provider for Unknown {
    async fn chat(&self, _call: Call<'_>) -> Result<Reply, ProviderError> {
        let error = ProviderError::retryable(AttemptOutcome::Reset, "this provider is not wired");
        Err(ProviderError { fault: Fault::CandidateDown, ..error })
    }
}
