//! One call of one candidate: made, written down, and what it showed of its model.

use crate::catalog::Model;
use crate::estimate::{bill, max_output_tokens};
use crate::health::{Observation, Signal};
use crate::id::RequestId;
use crate::limit::budget::Room;
use crate::provider::{Call, Came, Chunk, Completion, ProviderError, Reply};
use crate::receipt::{Attempt, AttemptKind, AttemptOutcome};
use crate::request::work::Work;
use crate::stage::attempt::evidence::{Patience, shown};
use crate::stage::attempt::open::{OpenOptions, open};
use crate::stage::attempt::silence::{Overdue, Waiting};
use crate::stage::attempt::stream::{Drained, StreamEnd, StreamHead, Times};
use crate::stage::attempt::until_gone::{UntilGone, ends_with, gone};
use crate::stage::rank::Candidate;
use crate::stage::recall::{recall_makers, recall_signatures};
use crate::wire::facts::Facts;
use crate::wire::piece::refuses;
use crate::wire::request::Request;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How candidates are to be called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallOptions<'r> {
    /// Why the first call is made.
    pub(crate) kind: AttemptKind,
    /// The request, where it is not the client's.
    pub(crate) question: Option<&'r Request>,
    /// The same for models that go on from the beginning of an answer.
    pub(crate) prefilled: Option<&'r Request>,
    /// How long it may take, where that is less than the model's own time.
    pub(crate) within_ms: Option<u64>,
    /// Whether to ask for log-probabilities, for the judge, where the model has them.
    pub(crate) ask_logprobs: bool,
    /// When it is overdue.
    pub(crate) overdue: Option<Overdue>,
    /// Bytes of a streamed answer to wait for before it counts as begun.
    pub(crate) head_bytes: usize,
}

impl<'r> CallOptions<'r> {
    /// The client's request, as it stands.
    pub(crate) fn plain(kind: AttemptKind) -> Self {
        Self {
            kind,
            question: None,
            prefilled: None,
            within_ms: None,
            overdue: None,
            ask_logprobs: false,
            head_bytes: 0,
        }
    }

    /// What this model is asked, where it is not the client's request.
    pub(crate) fn question_for(&self, model: &Model) -> Option<&'r Request> {
        self.prefilled.filter(|_| model.capabilities.prefill).or(self.question)
    }
}

/// A candidate that answers.
pub(crate) struct Winner {
    pub(crate) model: Arc<Model>,
    pub(crate) answer: Response,
    /// Its place in the journal's attempts.
    pub(crate) attempt: usize,
    /// Whether log-probabilities were requested that the client does not want.
    pub(crate) hide_logprobs: bool,
}

/// Its answer.
pub(crate) enum Response {
    /// All of it.
    Whole(Box<Completion>),
    /// The beginning of it.
    Stream(StreamHead),
}

impl Response {
    /// Whether it is a refusal, and nothing else.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Whole(completion) => refuses(&completion.pieces),
            Self::Stream(head) => head.rest.is_none() && refuses(head.head.iter().flat_map(|chunk| &chunk.pieces)),
        }
    }
}

/// An answer that is ready to be delivered.
pub(crate) struct Produced {
    pub(crate) winner: Winner,
    /// Why it is not good enough, where it is sent because there is no better one.
    pub(crate) doubt: Option<String>,
    /// The stream that it replaces, which is read on for its usage.
    pub(crate) set_aside: Option<Drained>,
    /// The candidates after the one that answers.
    pub(crate) others: Vec<Candidate>,
}

impl Produced {
    /// An answer that nothing speaks against.
    pub(crate) fn good(winner: Winner, candidates: &[Candidate]) -> Self {
        let mut after = candidates.iter().skip_while(|candidate| candidate.model.name != winner.model.name);
        after.next();
        Self { doubt: None, set_aside: None, others: after.cloned().collect(), winner }
    }
}

/// A call that brought no answer, and what it showed of the model.
pub(crate) type Failed = (ProviderError, Option<Observation>);

/// What came of a call that is not written down yet: an answer, or why there is none and whose time was up.
pub(crate) type Called = Result<Response, (ProviderError, Patience)>;

/// Makes one call, writes it down, and answers with what it showed of the model.
pub(crate) async fn call(
    work: &mut Work<'_>,
    model: &Arc<Model>,
    options: CallOptions<'_>,
    leased_at_ms: Option<u64>,
) -> Result<Winner, Failed> {
    prepare(work, model, options).await;
    let mut calling = Calling::begin(work, model, options, leased_at_ms);
    let called = calling.called(work).await;
    work.journal.waited_for(calling.begun.elapsed());
    calling.written(work, called)
}

/// Makes a request ready for a model.
pub(crate) async fn prepare(work: &mut Work<'_>, model: &Arc<Model>, options: CallOptions<'_>) {
    note_what_is_left_out(work, model, options);
    if options.question_for(model).is_none() {
        recall_signatures(work, model).await;
        recall_makers(work, model).await;
    }
}

/// A call on its way.
pub(crate) struct Calling<'c> {
    pub(crate) model: &'c Arc<Model>,
    pub(crate) options: CallOptions<'c>,
    pub(crate) begun: Instant,
    /// The same, in Unix milliseconds.
    begun_at_ms: u64,
    /// What came of a streamed answer before it counted as begun.
    head: Vec<Chunk>,
}

impl<'c> Calling<'c> {
    /// One that is made now, or dated with the lease of a probe.
    pub(crate) fn begin(
        work: &Work<'_>,
        model: &'c Arc<Model>,
        options: CallOptions<'c>,
        leased_at_ms: Option<u64>,
    ) -> Self {
        let begun_at_ms = leased_at_ms.unwrap_or_else(|| work.gateway.clock.now_ms());
        Self { model, options, begun: Instant::now(), begun_at_ms, head: Vec::new() }
    }

    /// Waits for the answer, or for the beginning of a streamed one. Dropped, it hangs up.
    pub(crate) async fn called(&mut self, work: &Work<'_>) -> Called {
        ask(work, self.model, self.options, self.begun, self.begun_at_ms, &mut self.head).await
    }

    /// Writes down what came of it.
    pub(crate) fn written(self, work: &mut Work<'_>, called: Called) -> Result<Winner, Failed> {
        let Self { model, options, begun, begun_at_ms, head } = self;
        let request = options.question_for(model).unwrap_or(&work.request);
        let latency_ms = begun.elapsed().as_secs_f64() * 1000.0;
        let mut attempt = Attempt::of(model.name.clone(), options.kind, latency_ms);
        let place = work.journal.receipt.attempts.len();
        match called {
            Ok(answer) => {
                let (now_ms, is_refusal) = (work.gateway.clock.now_ms(), answer.is_refusal());
                match &answer {
                    Response::Whole(completion) => {
                        attempt.ttft_ms = Some(completion.first_byte_ms);
                        bill(&mut attempt, &request.facts, model, completion.came(), now_ms);
                        let signal = Signal::of_whole(latency_ms, attempt.usage.output_tokens);
                        work.observations.push(Observation { model: model.name.clone(), begun_at_ms, signal });
                    }
                    Response::Stream(head) => {
                        attempt.ttft_ms = Some(head.ttft_ms);
                        if is_refusal {
                            bill(&mut attempt, &request.facts, model, came_of(&head.head), now_ms);
                        }
                    }
                }
                if is_refusal {
                    attempt.outcome = AttemptOutcome::Refused;
                }
                work.journal.receipt.attempts.push(attempt);
                let hide_logprobs = options.ask_logprobs && model.capabilities.logprobs;
                Ok(Winner { model: model.clone(), answer, attempt: place, hide_logprobs })
            }
            Err((mut error, patience)) => {
                *error.came = error.came.plus(came_of(&head));
                fail(work, &mut attempt, &error, &request.facts, model);
                work.journal.receipt.attempts.push(attempt);
                let signal = shown(work, &error, patience, begun_at_ms);
                Err((error, Some(Observation { model: model.name.clone(), begun_at_ms, signal })))
            }
        }
    }
}

/// What these events brought.
fn came_of(chunks: &[Chunk]) -> Came {
    chunks.iter().fold(Came::default(), |came, chunk| came.plus(chunk.came()))
}

/// Writes into an attempt why it failed, and what is billed of it (M4).
pub(crate) fn fail(work: &Work<'_>, attempt: &mut Attempt, error: &ProviderError, facts: &Facts, model: &Model) {
    work.gateway.warn_of(model, error);
    tracing::info!(request = %work.journal.receipt.id, model = %model.name, status = error.status, outcome = ?error.outcome, detail = error.detail, "an attempt failed");
    (attempt.outcome, attempt.status, attempt.cause) = (error.outcome, error.status, error.cause);
    if error.is_billed() {
        bill(attempt, facts, model, *error.came, work.gateway.clock.now_ms());
    }
}

/// Writes down what the model's provider does not get, for its format has no word for it.
pub(crate) fn note_what_is_left_out(work: &mut Work<'_>, model: &Model, options: CallOptions<'_>) {
    let Some(format) = work.gateway.config.catalog.format_of(model) else { return };
    let request = options.question_for(model).unwrap_or(&work.request);
    let left_out = request.left_out(format).unwrap_or_default();
    let is_same = request.format.name() == format.name();
    let (knows_effort, thinks) = (request.facts.effort_is_known(model.capabilities), model.capabilities.reasoning);
    let is_not_asked = !thinks && is_same && request.format.asks_for_thoughts(request.body());
    if !knows_effort {
        work.journal.because(format!("{} is not told how much to think, for it does not know that", model.name));
    } else if is_not_asked {
        work.journal.because(format!("{} does not think, and is asked for no thoughts", model.name));
    }
    if !left_out.is_empty() {
        work.journal.because(format!(
            "{} does not get what its format has no word for: {}",
            model.name,
            left_out.join(", ")
        ));
    }
}

/// What the provider is given.
fn call_of<'a>(
    model: &'a Model,
    request: &'a Request,
    options: CallOptions<'_>,
    now_ms: u64,
    id: RequestId,
    room: &'a Room,
) -> Call<'a> {
    Call {
        model,
        request,
        max_output_tokens: max_output_tokens(&request.facts, model),
        stream: request.facts.stream,
        ask_logprobs: options.ask_logprobs && model.capabilities.logprobs,
        now_ms,
        id,
        room,
    }
}

/// Waits for the answer, or for the beginning of a streamed one, of which what came stands in `head`.
async fn ask(
    work: &Work<'_>,
    model: &Arc<Model>,
    options: CallOptions<'_>,
    begun: Instant,
    begun_at_ms: u64,
    head: &mut Vec<Chunk>,
) -> Called {
    let request = options.question_for(model).unwrap_or(&work.request);
    let (timeouts, deadline, room) = (&model.timeouts, &work.deadline, &work.room);
    let after = |ms| begun + Duration::from_millis(ms);
    let ends = after(timeouts.total_ms);
    let patience = after(if request.facts.stream { timeouts.first_token_ms } else { timeouts.total_ms }).min(ends);
    // The shorter of two times is whose patience it was.
    let (by, whose) = match options.within_ms.map(after) {
        Some(ours) if ours < patience => (ours, Patience::Ours),
        _ => (patience, Patience::Models),
    };
    let (id, tenant) = (work.journal.receipt.id, &*work.caller.tenant.uid);
    let call = call_of(model, request, options, begun_at_ms, id, room);
    let provider = work.gateway.provider(model);
    let waiting = Waiting { gateway: work.gateway, model, tenant, id, begun, begun_at_ms };
    let client = ends_with(work, model, options.kind);
    let late = |detail| ProviderError::retryable(AttemptOutcome::Timeout, detail);
    let answered = async {
        let reply = match deadline.bound_by(by, provider.chat(call)).await {
            Err(_) if deadline.comes_by(by) => return Err((late("no answer in time"), Patience::Ours)),
            Err(_) => return Err((late("no answer in time"), whose)),
            Ok(reply) => reply.map_err(|error| (error, Patience::Models))?,
        };
        let chunks = match (reply, &client) {
            (Reply::Whole(completion), _) => return Ok(Response::Whole(completion)),
            (Reply::Stream(chunks), None) => chunks,
            (Reply::Stream(chunks), Some(client)) => Box::new(UntilGone { chunks, client: client.clone() }),
        };
        if !request.facts.stream {
            let error = ProviderError::retryable(AttemptOutcome::Malformed, "a stream that nobody asked for");
            return Err((error, Patience::Models));
        }
        let (bytes, idle_ms) = (options.head_bytes, timeouts.idle_ms);
        let open_options = OpenOptions { begun, begun_at_ms, bytes, idle_ms, patience, ends };
        match deadline.bound(open(chunks, open_options, room, head)).await {
            Err(_) => Err((late("the deadline passed"), Patience::Ours)),
            Ok(opened) => opened.map(Response::Stream).map_err(|error| {
                // It had its first token in time, and went on until the whole attempt's time was over.
                let ran_out = patience < ends && ends <= Instant::now();
                (error, if ran_out { Patience::Ours } else { Patience::Models })
            }),
        }
    };
    tokio::select! {
        biased;
        answered = answered => answered,
        () = waiting.gives_up(options.overdue) => {
            Err((late("silent for longer than usual, as to others"), Patience::Ours))
        }
        error = gone(client.as_ref()) => Err((error, Patience::Ours)),
    }
}

/// Writes down what a stream came to: usage, cost and outcome of its attempt, and what it showed of its model.
pub(crate) fn close(
    work: &mut Work<'_>,
    attempt: usize,
    model: &Model,
    times: Times,
    ended: &StreamEnd,
    client_left: bool,
) {
    let Some(entry) = work.journal.receipt.attempts.get_mut(attempt) else { return };
    bill(entry, &work.request.facts, model, ended.came, work.gateway.clock.now_ms());
    entry.latency_ms = times.begun.elapsed().as_secs_f64() * 1000.0;
    entry.status = ended.error.as_ref().and_then(|error| error.status).or(entry.status);
    entry.outcome = match (&ended.error, client_left) {
        (Some(error), _) => error.outcome,
        (None, true) => AttemptOutcome::ClientGone,
        (None, false) => entry.outcome,
    };
    #[allow(clippy::cast_precision_loss)]
    let after_first = entry.usage.output_tokens.saturating_sub(1) as f64;
    let ms_per_token = (after_first > 0.0).then(|| (entry.latency_ms - times.ttft_ms).max(0.0) / after_first);
    // A model that is still answering when its time has ended has not failed.
    let patience = if work.left_ms() == 0 || ended.ran_out { Patience::Ours } else { Patience::Models };
    let signal = match &ended.error {
        None => Signal::Answered { ttft_ms: times.ttft_ms, ms_per_token },
        Some(error) => shown(work, error, patience, times.begun_at_ms),
    };
    work.observations.push(Observation { model: model.name.clone(), begun_at_ms: times.begun_at_ms, signal });
}
