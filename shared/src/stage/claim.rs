//! Idempotency keys: the same request sent again gets the same answer and is charged once.
//!
//! A key is claimed in the ledger before anything is held, by one conditional write, so that of two that come at once
//! one runs and the other has to wait. The answer is kept there before the client gets its last byte, as durably as the
//! receipt. Only a whole answer is kept: a client that was refused, or got an error that may pass, sends the same key
//! again to try again, and that is what the key is for. Should the process die, the claim is free when the request's
//! hold has expired.

use crate::error::Error;
use crate::ledger::{Begun, IdempotencyKey};
use crate::request::reply::{Answer, AnswerBody, Reply};
use crate::request::work::Work;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

/// What is kept of an answer beside its body.
#[derive(Serialize, Deserialize)]
struct Head {
    headers: Vec<(String, String)>,
}

/// Claims the request's idempotency key, if it has one; answers what it was answered before.
///
/// # Errors
/// 409 while another request has it, 422 if it came with another body, 503 while the ledger is down.
pub(crate) async fn claim(work: &mut Work<'_>) -> Result<Option<Bytes>, Error> {
    let Some(hash) = work.options.idempotency_key else { return Ok(None) };
    let key = IdempotencyKey { tenant: work.caller.tenant.uid.clone(), hash };
    let now_ms = work.gateway.clock.now_ms();
    let lease_until_ms = work.lease_until_ms(now_ms);
    let id = work.journal.receipt.id;
    let begun = work.gateway.ledger.begin(&key, work.request.hash(), id, lease_until_ms, now_ms).await;
    let claimed = match begun {
        Ok(Begun::Fresh) => Ok(None),
        Ok(Begun::Running) => return Err(Error::IdempotencyInProgress),
        Ok(Begun::Mismatch) => return Err(Error::IdempotencyMismatch),
        Ok(Begun::Done(answer)) => return Ok(Some(answer)),
        // It may have reached the ledger: what ends this request ends the claim as well.
        Err(error) => Err(Error::NotWritten {
            message: "The idempotency key cannot be kept now, and nothing was done. Try again, or without one.".into(),
            why: error.to_string(),
        }),
    };
    work.claim = Some((key, id));
    claimed
}

/// Ends the request's claim: with the answer that is given to all who come with the key, or with none.
pub(crate) async fn finish(work: &Work<'_>, answer: Option<(HeaderMap, Bytes)>) {
    let Some((key, id)) = &work.claim else { return };
    let kept = answer.and_then(|(headers, body)| {
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
        // What is left of a rate is not what it was.
        let lasting = headers.iter().filter(|(name, _)| !name.as_str().starts_with("x-ratelimit-"));
        let headers = lasting.filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect();
        let mut bytes = serde_json::to_vec(&Head { headers }).ok()?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&body);
        Some(Bytes::from(bytes))
    });
    let now_ms = work.gateway.clock.now_ms();
    if let Err(error) = work.gateway.ledger.finish(key, *id, kept, now_ms).await {
        tracing::error!(request = %work.journal.receipt.id, %error, "an idempotency key stays claimed until its lease ends");
    }
}

/// Gives the answer that was given before.
pub(crate) fn answer_again(work: &Work<'_>, kept: Bytes, reply: &mut Reply) -> Result<(), Error> {
    work.room.grow(kept.len())?;
    let kept = work.room.keep(kept);
    let broken = || Error::Internal("an answer kept under an idempotency key cannot be read".to_owned());
    let line = kept.iter().position(|&byte| byte == b'\n').ok_or_else(broken)?;
    let head: Head = serde_json::from_slice(&kept[..line]).map_err(|_| broken())?;
    let mut headers = HeaderMap::new();
    for (name, value) in head.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    reply.send(Answer { status: StatusCode::OK, headers, body: AnswerBody::Whole(kept.slice(line + 1..)) });
    Ok(())
}
