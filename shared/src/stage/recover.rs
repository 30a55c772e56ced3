//! Recovery: a stream that breaks off after bytes of it went to the client goes on with the next candidate (A5).
//!
//! That one gets the client's conversation, what has been answered so far and a word of the user to go on, or, where a model
//! takes one, the beginning of its own answer (docs/adr/0044). Each that wrote a part is an attempt of its own, with its own
//! bill; the client sees one answer. Where two halves would make no whole, or nobody is left, the stream ends with an error.

use crate::provider::Fault;
use crate::receipt::AttemptKind;
use crate::request::work::Work;
use crate::stage::admit::hold::Hold;
use crate::stage::attempt::call::{CallOptions, Winner};
use crate::stage::attempt::first_after;
use crate::stage::attempt::passage::{Passage, has_words};
use crate::stage::attempt::stream::StreamEnd;
use crate::stage::rank::Candidate;
use crate::tenant::OnBrokenStream;
use crate::wire::facts::{AnswerFormat, Facts};
use crate::wire::request::Request;

/// What the user says to a model that takes no beginning of its answer.
const GO_ON: &str = "Your message above was cut off before its end. Go on with it exactly where it stops, as one text: begin \
    with the very next character, repeat nothing of it, and write nothing before or about the rest.";

/// Bytes of text that a token has at most, as a rule: so much of the client's bound has been used.
const BYTES_PER_TOKEN: u64 = 4;
/// The least bound that every provider takes.
const LEAST_TOKENS: u64 = 16;

/// What passes to the client of the answer to this request, of which another model may write a part.
pub(crate) fn passage(work: &Work<'_>, others: &[Candidate]) -> Passage {
    let facts = &work.request.facts;
    let why_not = match work.caller.tenant.settings.on_broken_stream {
        OnBrokenStream::Error | OnBrokenStream::Buffer => Some("the tenant does not want it to be gone on with"),
        OnBrokenStream::Continue if facts.n > 1 => Some("it is one of several answers"),
        OnBrokenStream::Continue if facts.needs.logprobs => Some("the client wants to know how likely its tokens are"),
        OnBrokenStream::Continue => others.is_empty().then_some("there is nobody else"),
    };
    why_not.map_or_else(Passage::default, Passage::closed)
}

/// Why nobody goes on with a stream that broke off so.
pub(crate) fn why_not(facts: &Facts, passage: &Passage, ended: &StreamEnd) -> Option<&'static str> {
    let is_data = facts.answer_format != AnswerFormat::Text && has_words(&passage.text);
    match ended.error.as_ref().map(|error| &error.fault) {
        Some(Fault::NoRoom) => Some("there was no memory for it"),
        // The provider's word on what was answered.
        Some(Fault::CallerFault(_) | Fault::Refused(_)) => Some("its provider refused it"),
        _ => passage.why_not().or(is_data.then_some("half of it is no JSON")),
    }
}

/// What is asked of those that go on.
struct Asked {
    /// With the user's word.
    plain: Request,
    /// Without; `None` where that cannot be asked.
    prefilled: Option<Request>,
}

impl Asked {
    /// `None` where there is no memory for it, or the client's format cannot say it.
    fn of(work: &Work<'_>, client: &Request, said: &str) -> Option<Self> {
        let bytes = client.body().bytes().len() + said.len();
        work.room.grow(bytes * 2).ok()?;
        // Nothing has been said that could be gone on with: the answer begins.
        let ask = has_words(said).then_some(GO_ON);
        let bounded = |mut request: Request| {
            request.facts.max_output_tokens =
                client.facts.max_output_tokens.map(|bound| left(&client.facts, bound, said));
            request
        };
        let plain = match ask {
            Some(_) => bounded(client.continued(said, ask)?),
            None => client.again(),
        };
        // A model that thinks begins with its thoughts, and some refuse an answer that begins with a blank at its end.
        let takes_beginning = ask.is_some() && !client.facts.needs.reasoning && !said.ends_with(char::is_whitespace);
        let prefilled = takes_beginning.then(|| client.continued(said, None)).flatten().map(bounded);
        Some(Self { plain, prefilled })
    }
}

/// What is left of the client's bound on the answer. Thoughts have a bound of their own within it, which stays below it.
fn left(facts: &Facts, bound: u64, said: &str) -> u64 {
    let used = if facts.needs.reasoning { 0 } else { said.len() as u64 / BYTES_PER_TOKEN };
    bound.saturating_sub(used).max(LEAST_TOKENS).min(bound)
}

/// Looks for the next candidate that goes on with a stream which broke off, and takes those that were tried from `others`.
/// `client` is what the client asks; what this one was asked is left in its place.
pub(crate) async fn next_one(
    work: &mut Work<'_>,
    client: &Request,
    hold: &mut Hold,
    others: &mut Vec<Candidate>,
    passage: &Passage,
) -> Option<Winner> {
    if others.is_empty() || work.left_ms() == 0 {
        return None;
    }
    let Asked { plain, prefilled } = Asked::of(work, client, &passage.text)?;
    work.request = plain;
    let options = CallOptions { prefilled: prefilled.as_ref(), ..CallOptions::plain(AttemptKind::Continuation) };
    let broken = work.observations.pop();
    let answered = first_after(work, hold, others, options, broken).await.ok();
    let place =
        answered.as_ref().and_then(|winner| others.iter().position(|other| other.model.name == winner.model.name));
    others.drain(..place.map_or(others.len(), |place| place + 1));
    answered
}
