//! How providers are called over HTTP: connections, and keys in turn.
//!
//! What is sent and what comes back is the formats' business. Address and keys come from the configuration alone (T4).
//! What an error means, and what of its text leaves this module, is decided in [`refusal`](super::refusal) (A2).

use super::body::{Body, whole_body};
use super::keys::{KeyValue, ProviderKey, without_key};
use super::mask::Mask;
use super::reach::no_answer;
use super::refusal::refused;
use super::retry_after::{limit_resets, retry_after};
use super::sign::{Sign, Unsigned};
use super::{Call, Fault, ProviderError, RefusedKey};
use crate::health::refusals::{Run, mark_of_request};
use crate::id::RequestId;
use crate::locking::lock;
use crate::receipt::{AttemptOutcome, Cause};
use crate::tls::bare_client;
use crate::wire::error_body::error_of;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Most bytes of an error's body that are read.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// A key that was refused or used up is tried last for this long, while there are others.
const KEY_REST_MS: u64 = 60_000;

/// Where a provider is, and with which keys and connections it is called.
pub(super) struct Endpoint {
    url: Url,
    headers: HeaderMap,
    /// The header in which a key goes.
    key_header: HeaderName,
    keys: Vec<Key>,
    /// Who signs what is sent, where no key goes with it.
    signer: Option<Arc<dyn Sign>>,
    next_key: AtomicUsize,
    tls: rustls::ClientConfig,
    /// What of an error's text no caller may read.
    pub(super) mask: Arc<Mask>,
    /// One connection pool per connect time-out, made when first needed: a cold start pays for none of them.
    clients: Mutex<HashMap<u64, Client>>,
}

/// For which request something is sent and when, and how long is waited for what.
#[derive(Clone, Copy)]
struct Asked {
    id: RequestId,
    connect_ms: u64,
    /// Milliseconds to the answer's head; `None` leaves that to who asks.
    head_ms: Option<u64>,
    /// Unix milliseconds.
    now_ms: u64,
}

/// In which header, and behind what, which keys go.
pub(super) type KeysIn<'k> = (HeaderName, &'static str, &'k [ProviderKey]);

struct Key {
    value: KeyValue,
    rests_until_ms: AtomicU64,
    /// The latest requests that were refused with it, for what may be their own fault.
    refused: Mutex<Run>,
    /// What the provider answered when it last refused it, until somebody asks.
    refused_with: AtomicU16,
}

impl Key {
    /// Notes how a request ended; until when the key rests, if it is the key's doing.
    fn ended(&self, refusal: Option<&ProviderError>, request: RequestId, now_ms: u64) -> Option<u64> {
        let mut run = lock(&self.refused);
        let rest = Some(now_ms + KEY_REST_MS);
        match refusal {
            None => {
                *run = Run::default();
                None
            }
            Some(ProviderError { fault: Fault::RateLimited { until_ms }, .. }) => until_ms.or(rest),
            Some(ProviderError { cause: Some(Cause::Unauthorized), .. } | ProviderError { status: Some(429), .. }) => {
                rest
            }
            Some(_) => rest.filter(|_| run.is_third(mark_of_request(request))),
        }
    }
}

impl Endpoint {
    /// An endpoint that is called with these headers and one of these keys in a header of its own; nothing is dialled yet.
    pub(super) fn new(
        url: Url,
        headers: HeaderMap,
        (key_header, scheme, keys): KeysIn<'_>,
        tls: rustls::ClientConfig,
    ) -> Self {
        let secrets = headers.iter().filter(|(name, _)| is_secret(name)).filter_map(|(_, value)| value.to_str().ok());
        let mask = Mask::of(secrets.map(|text| text.trim_start_matches("Bearer ").to_owned()));
        let key = |key: &ProviderKey| {
            let value = KeyValue::new(key, scheme, &mask);
            Key { value, rests_until_ms: AtomicU64::new(0), refused: Mutex::default(), refused_with: AtomicU16::new(0) }
        };
        let keys = keys.iter().map(key).collect();
        Self {
            url,
            headers,
            key_header,
            keys,
            signer: None,
            next_key: AtomicUsize::new(0),
            tls,
            mask: Arc::new(mask),
            clients: Mutex::default(),
        }
    }

    /// The same, with everything signed that is sent.
    pub(super) fn signed_by(self, signer: Option<Arc<dyn Sign>>) -> Self {
        Self { signer, ..self }
    }

    /// The keys that were refused since this was last called.
    pub(super) fn take_refused_keys(&self) -> Vec<RefusedKey> {
        let taken = |key: &Key| {
            let status = key.refused_with.swap(0, Ordering::Relaxed);
            (status > 0).then(|| RefusedKey { last4: key.value.last4(), status })
        };
        self.keys.iter().filter_map(taken).collect()
    }

    fn client(&self, connect_ms: u64) -> Result<Client, ProviderError> {
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(&connect_ms) {
            return Ok(client.clone());
        }
        let client = bare_client(self.tls.clone(), Duration::from_millis(connect_ms))
            .build()
            .map_err(|_| ProviderError::retryable(AttemptOutcome::Reset, "no HTTP client"))?;
        clients.insert(connect_ms, client.clone());
        Ok(client)
    }

    /// The keys in turn, those that rest last.
    fn keys_in_turn(&self, now_ms: u64) -> Vec<Option<&Key>> {
        if self.keys.is_empty() {
            return vec![None];
        }
        let first = self.next_key.fetch_add(1, Ordering::Relaxed) % self.keys.len();
        let mut keys: Vec<&Key> = self.keys[first..].iter().chain(&self.keys[..first]).collect();
        keys.sort_by_key(|key| key.rests_until_ms.load(Ordering::Relaxed) > now_ms);
        keys.into_iter().map(Some).collect()
    }

    /// Sends a body with this key, and with further headers in place of those of their names; waits for the answer's head.
    async fn send(
        &self,
        client: &Client,
        url: &Url,
        key: Option<&HeaderValue>,
        more: &HeaderMap,
        (body, asked): (Bytes, Asked),
    ) -> Result<Response, ProviderError> {
        let mut headers = self.headers.clone();
        headers.extend(more.clone());
        if let Some(key) = key {
            headers.insert(self.key_header.clone(), key.clone());
        } else if let Some(signer) = &self.signer {
            headers.extend(signer.sign(url.as_str(), &body, asked.now_ms).await.map_err(unsigned)?);
        }
        let answered = client.post(url.clone()).headers(headers).body(body).send();
        let answered = match asked.head_ms {
            None => answered.await,
            Some(head_ms) => timeout(Duration::from_millis(head_ms), answered).await.map_err(|_| {
                ProviderError::retryable(AttemptOutcome::Timeout, "the answer's head did not come in time")
            })?,
        };
        answered.map_err(|error| no_answer(&error))
    }

    /// Sends a body, with one key after the other while that may help; answers with the head of a good answer, and when the
    /// call was made that brought it.
    pub(super) async fn post_to(
        &self,
        url: &Url,
        call: &Call<'_>,
        body: Bytes,
    ) -> Result<(Body, Instant), ProviderError> {
        self.post_with(url, call, &HeaderMap::new(), body).await
    }

    /// The same with further headers.
    pub(super) async fn post_with(
        &self,
        url: &Url,
        call: &Call<'_>,
        more: &HeaderMap,
        body: Bytes,
    ) -> Result<(Body, Instant), ProviderError> {
        let timeouts = &call.model.timeouts;
        // The head of a whole answer comes with the answer.
        let head_ms = timeouts.head_ms.filter(|_| call.stream);
        let asked = Asked { id: call.id, connect_ms: timeouts.connect_ms, head_ms, now_ms: call.now_ms };
        self.post_in_turn(url, asked, more, body).await
    }

    /// The usual address.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The same for a call that is none of a model: by which request it is known, and how long connecting may take.
    pub(super) async fn post_for(
        &self,
        url: &Url,
        id: RequestId,
        connect_ms: u64,
        now_ms: u64,
        body: Bytes,
    ) -> Result<(Body, Instant), ProviderError> {
        self.post_in_turn(url, Asked { id, connect_ms, head_ms: None, now_ms }, &HeaderMap::new(), body).await
    }

    async fn post_in_turn(
        &self,
        url: &Url,
        asked: Asked,
        more: &HeaderMap,
        body: Bytes,
    ) -> Result<(Body, Instant), ProviderError> {
        let Asked { id, connect_ms, now_ms, .. } = asked;
        let client = self.client(connect_ms)?;
        let keys = self.keys_in_turn(now_ms);
        let last = keys.len() - 1;
        for (i, key) in keys.into_iter().enumerate() {
            let refusal = match self.post_with_key(&client, url, key, more, (&body, asked)).await? {
                Ok(answered) => {
                    key.and_then(|key| key.ended(None, id, now_ms));
                    return Ok(answered);
                }
                Err(refusal) => refusal,
            };
            // Another key may do better: this one is used up or refused, or seems so.
            use Cause::{Forbidden, KeyUnread, PaymentRequired, Unauthorized};
            let other_key = matches!(refusal.fault, Fault::RateLimited { .. })
                || matches!(refusal.cause, Some(Unauthorized | PaymentRequired | Forbidden | KeyUnread));
            if !other_key {
                return Err(refusal);
            }
            if let Some((key, until_ms)) = key.and_then(|key| Some((key, key.ended(Some(&refusal), id, now_ms)?))) {
                key.rests_until_ms.store(until_ms, Ordering::Relaxed);
                if let (Some(Unauthorized | PaymentRequired | Forbidden), Some(status)) =
                    (refusal.cause, refusal.status)
                {
                    key.refused_with.store(status, Ordering::Relaxed);
                }
            }
            if i == last {
                return Err(refusal);
            }
        }
        Err(ProviderError::retryable(AttemptOutcome::Reset, "no key"))
    }

    /// Sends a body with one key, and with what stands in its place by now, where it is refused: a good answer and when it was
    /// asked for, or the refusal.
    async fn post_with_key(
        &self,
        client: &Client,
        url: &Url,
        key: Option<&Key>,
        more: &HeaderMap,
        (body, asked): (&Bytes, Asked),
    ) -> Result<Result<(Body, Instant), ProviderError>, ProviderError> {
        let now_ms = asked.now_ms;
        let mut value = None;
        if let Some(key) = key {
            value = key.value.now(now_ms, &self.mask).await;
            if value.is_none() {
                return Ok(Err(without_key()));
            }
        }
        loop {
            let begun = Instant::now();
            let response = self.send(client, url, value.as_ref(), more, (body.clone(), asked)).await?;
            if response.status().is_success() {
                return Ok(Ok((Body::readable(response)?, begun)));
            }
            let refusal = self.refusal(response, now_ms).await;
            let refused = value.filter(|_| refusal.cause == Some(Cause::Unauthorized));
            let (Some(key), Some(refused)) = (key, refused) else { return Ok(Err(refusal)) };
            value = key.value.in_place_of(&refused, now_ms, &self.mask).await;
            if value.is_none() {
                return Ok(Err(refusal));
            }
        }
    }

    /// What an error status means.
    async fn refusal(&self, response: Response, now_ms: u64) -> ProviderError {
        let status = response.status().as_u16();
        // What remains of a limit is told with every answer: it is the reason only where a rate was exceeded.
        let resets_at_ms = || if status == 429 { limit_resets(response.headers(), now_ms) } else { None };
        let retry_at_ms = retry_after(response.headers(), now_ms).or_else(resets_at_ms);
        let named = response.headers().get(AWS_ERROR).and_then(|name| name.to_str().ok()).map(plain_name);
        let body = whole_body(Body::of(response), MAX_ERROR_BYTES, 1000, None).await.unwrap_or_default();
        let mut error = error_of(&body);
        error.kind = named.or(error.kind);
        refused(status, error, retry_at_ms, now_ms, &self.mask)
    }
}

/// What AWS calls an error; the body may not say it.
const AWS_ERROR: &str = "x-amzn-errortype";

/// An error's name without the namespace before it and the address behind.
fn plain_name(name: &str) -> String {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().to_owned()
}

/// A request could not be signed: nothing was sent, and nothing will be while that is so.
fn unsigned(Unsigned(detail): Unsigned) -> ProviderError {
    let error = ProviderError::retryable(AttemptOutcome::HttpError, detail);
    ProviderError { fault: Fault::CandidateDown, cause: Some(Cause::Unauthorized), ..error }
}

/// Whether a header's value is not to be told: all but a few of those that are configured authenticate.
fn is_secret(name: &HeaderName) -> bool {
    ["key", "auth", "token", "secret", "cookie"].iter().any(|word| name.as_str().contains(word))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Secret;

    const NOW: u64 = 1_763_769_600_000;

    #[test]
    fn a_key_rests_for_what_is_its_own_fault_and_not_for_one_requests() {
        let refusal = |status, fault| ProviderError {
            fault,
            status: Some(status),
            cause: (status == 401).then_some(Cause::Unauthorized),
            ..ProviderError::retryable(AttemptOutcome::HttpError, "refused")
        };
        let rest = Some(NOW + KEY_REST_MS);
        let until = Some(NOW + 5);
        for (status, fault, after) in [
            (401, Fault::CandidateDown, [rest, rest, rest]),
            (429, Fault::CandidateDown, [rest, rest, rest]),
            (429, Fault::RateLimited { until_ms: until }, [until, until, until]),
            (429, Fault::RateLimited { until_ms: None }, [rest, rest, rest]),
            (402, Fault::CandidateDown, [None, None, rest]),
            (403, Fault::CandidateDown, [None, None, rest]),
        ] {
            let value = KeyValue::new(&Secret::new("k").unwrap().into(), "Bearer ", &Mask::default());
            let (rests_until_ms, refused_with, refused) = Default::default();
            let key = Key { value, rests_until_ms, refused, refused_with };
            let refused = refusal(status, fault);
            let requests = [(); 3].map(|()| RequestId::new(NOW));
            assert_eq!(requests.map(|request| key.ended(Some(&refused), request, NOW)), after, "{status}");
            // Tries of one request are one, and an answer begins the count anew.
            if after[0].is_none() {
                let again = [requests[0], requests[1], requests[1], requests[0]];
                assert_eq!(again.map(|request| key.ended(Some(&refused), request, NOW)), [None; 4], "{status}");
                key.ended(None, requests[2], NOW);
                assert_eq!(key.ended(Some(&refused), requests[2], NOW), None);
            }
        }
    }
}
