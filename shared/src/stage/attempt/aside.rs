//! Answers that nobody gets, for there is a better one.

use crate::request::work::Work;
use crate::stage::attempt::call::{Response, Winner, close};
use crate::stage::attempt::stream::{Drained, Sink, read_on};

/// A stream that nobody gets is read on for its usage, beside the better one (M4).
pub(crate) fn set_aside(work: &Work<'_>, first: Winner) -> Option<Drained> {
    let Response::Stream(opened) = first.answer else { return None };
    let (times, model, deadline) = (opened.times(), first.model.clone(), work.deadline.clone());
    // Awaited in `drain`, before the request is settled.
    #[allow(clippy::disallowed_methods)]
    let reading = tokio::spawn(async move { read_on(opened, &model, &deadline, Sink::Nowhere).await.0 });
    Some(Drained { attempt: first.attempt, model: first.model, times, reading })
}

/// Waits for the stream that was set aside, and writes down what it used.
pub(crate) async fn drain(work: &mut Work<'_>, set_aside: Option<Drained>) {
    let Some(Drained { attempt, model, times, reading }) = set_aside else { return };
    let ended = work.journal.wait(reading).await.unwrap_or_default();
    close(work, attempt, &model, times, &ended, false);
}
