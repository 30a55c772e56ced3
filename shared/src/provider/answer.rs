//! How an answer that came over HTTP is read, in whichever form it comes: a stream may come as a whole answer, and a whole
//! answer as a stream (A7).

use super::body::{Body, whole};
use super::events::unusable;
use super::mask::Mask;
use super::{Call, Chunk, Chunks, Completion, NotACompletion, ProviderError, Reply};
use crate::apart::{ANSWERS, apart};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

/// How answers to a request for `n` are read in one format.
pub(super) trait Reading: Sync {
    /// The answers that stream in this body.
    fn stream(&self, body: Body, call: &Call<'_>, mask: &Arc<Mask>) -> Reply;

    /// Reads a whole answer.
    fn whole(&self, body: Bytes, n: u64, first_byte_ms: f64) -> Result<Completion, NotACompletion>;

    /// Reads a stream that nobody asked for, to its end.
    fn gathered(&self, body: Bytes, n: u64, first_byte_ms: f64) -> Result<Completion, NotACompletion>;

    /// Reads a whole answer where a stream was asked for.
    fn as_stream(&self, body: Bytes, n: u64) -> Result<Vec<Chunk>, NotACompletion>;
}

/// Reads an answer.
pub(super) async fn answer(
    mut body: Body,
    begun: Instant,
    call: &Call<'_>,
    mask: &Arc<Mask>,
    reading: &'static dyn Reading,
) -> Result<Reply, ProviderError> {
    let n = call.request.facts.n;
    let (timeouts, streamed) = (&call.model.timeouts, call.stream);
    let is_json = body.is_json(if streamed { timeouts.first_token_ms } else { timeouts.idle_ms }).await?;
    if streamed && !is_json {
        return Ok(reading.stream(body, call, mask));
    }
    let first_byte_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let body = whole(body, call).await?;
    let bytes = body.clone();
    let read = apart(&ANSWERS, body.len(), move || match (streamed, is_json) {
        (true, _) => reading.as_stream(body, n).map(|chunks| Reply::Stream(Box::new(AtOnce(Some(chunks))))),
        (false, true) => reading.whole(body, n, first_byte_ms).map(|whole| Reply::Whole(Box::new(whole))),
        (false, false) => reading.gathered(body, n, first_byte_ms).map(|whole| Reply::Whole(Box::new(whole))),
    });
    read.await.map_err(|error| unusable(error, &bytes, call.now_ms, mask))
}

/// A stream of which all has come.
struct AtOnce(Option<Vec<Chunk>>);

#[async_trait]
impl Chunks for AtOnce {
    async fn next(&mut self) -> Result<Option<Vec<Chunk>>, ProviderError> {
        Ok(self.0.take())
    }
}
