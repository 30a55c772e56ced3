//! One call for vectors, for a client's request. A team's own intents are embedded elsewhere ([`super::embeddings`]).

use super::body::whole_body;
use super::events::unusable;
use super::http::Endpoint;
use super::{Call, ProviderError, Reply};
use crate::apart::{ANSWERS, apart};
use crate::catalog::Vectors;
use crate::estimate::InputEstimate;
use crate::receipt::AttemptOutcome;
use crate::wire::answer::{Flaw, NotACompletion};
use crate::wire::embeddings::answer::{Wanted, completion};
use crate::wire::embeddings::{Abilities, body_for};
use reqwest::Url;

/// The bytes that one number may take in an answer, and that everything else may.
pub(super) const NUMBER_BYTES: usize = 32;
pub(super) const ENVELOPE_BYTES: usize = 64 << 10;

/// As long as a vector may be whose length is not known.
const MAX_DIMENSIONS: u64 = 65_536;

/// Asks for the vectors that a request wants.
pub(super) async fn embed(
    endpoint: &Endpoint,
    url: &Url,
    vectors: &Vectors,
    call: &Call<'_>,
) -> Result<Reply, ProviderError> {
    let abilities = Abilities { base64: vectors.gives_base64, dimensions: Some(vectors.dimensions) };
    let asked = body_for(call.request.body(), &call.model.provider_model, &abilities);
    let (mut body, begun) = endpoint.post_to(url, call, asked).await?;
    // What answered with 200 has worked for it, whatever comes of its answer.
    let billed = |error: ProviderError| ProviderError { may_bill: true, ..error.with_status(200) };
    let (wanted, idle_ms) = (wanted(call, vectors), call.model.timeouts.idle_ms);
    body.is_json(idle_ms).await.map_err(billed)?;
    let first_byte_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let answer = whole_body(body, most_bytes(&wanted), idle_ms, Some(call.room)).await.map_err(billed)?;
    let bytes = answer.clone();
    let read = apart(&ANSWERS, answer.len(), move || completion(answer, &wanted, first_byte_ms)).await;
    read.map(|completion| Reply::Whole(Box::new(completion))).map_err(|error| match error {
        NotACompletion { flaw: Flaw::Error, .. } => {
            unusable(error, &bytes, call.now_ms, &endpoint.mask).with_status(200)
        }
        NotACompletion { came, .. } => {
            let detail = "not one good vector for each input";
            billed(ProviderError::retryable(AttemptOutcome::Malformed, detail).with(came))
        }
    })
}

fn wanted(call: &Call<'_>, vectors: &Vectors) -> Wanted {
    let facts = &call.request.facts;
    let count = facts.inputs.map_or(0, |inputs| inputs.count);
    Wanted::of(call.request.body(), count, vectors.dimensions, InputEstimate::of(facts).estimated_tokens)
}

/// The most bytes that these vectors may take.
fn most_bytes(wanted: &Wanted) -> usize {
    let numbers = (wanted.vectors as u64).saturating_mul(wanted.dimensions.unwrap_or(MAX_DIMENSIONS));
    usize::try_from(numbers).unwrap_or(usize::MAX).saturating_mul(NUMBER_BYTES).saturating_add(ENVELOPE_BYTES)
}
