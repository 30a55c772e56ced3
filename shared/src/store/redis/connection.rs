//! The one connection of this process, and what is done when it fails.
//!
//! All requests share one multiplexed connection (to a cluster: one per node), made at first use. A batch is one pipeline
//! to one slot; it is given 250 ms and one repetition, which is safe because every operation is idempotent. What does
//! not answer in time is taken for a dead connection, as after a freeze of the process or behind a NAT that forgot it:
//! the repetition goes over a new one. While that is made, a cluster's old one goes on to serve the shards that are well.
//!
//! Three calls in a row that fail make the store be skipped for a second, give or take a tenth: calls fail at once, so
//! that a store that is down costs a request nothing. Then one call tries. An error that the server answers in good
//! health, such as that its memory is full, is no such failure: a settlement would pass where an admission does not.

use super::address::Address;
use super::link::{Link, server_error};
use super::script::{Batch, Place};
use crate::id::jitter;
use crate::locking::lock;
use crate::store::StoreError;
use futures_util::future::join_all;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// How long one try of a batch may take.
const CALL_TIMEOUT: Duration = Duration::from_millis(250);
/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// As many calls in a row fail before the store is skipped.
const FAILURES_TO_SKIP: u32 = 3;
/// For how long it is skipped, a tenth more or less.
const SKIP_MS: u64 = 1_000;

/// What was answered to a batch.
#[derive(Debug)]
pub(super) struct Answers {
    /// One for each command.
    values: Vec<Value>,
    /// Whether the batch was sent twice; then a copy of it may arrive after what is answered here.
    pub(super) sent_twice: bool,
}

impl Answers {
    /// The answer to one command; an error of the server's is one.
    pub(super) fn take(&mut self, Place(at): Place) -> Result<Value, StoreError> {
        let answer = self.values.get_mut(at).map(std::mem::take);
        let answer = answer.ok_or_else(|| StoreError("an answer is missing".into()))?;
        server_error(&answer).map_or(Ok(answer), |error| Err(store_error(&error)))
    }
}

/// The connection to use, and how many there were before it.
#[derive(Default)]
struct Live {
    link: Option<Link>,
    number: u64,
    is_suspect: bool,
}

/// Calls that failed in a row, and until when the store is skipped for it.
#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    skipped_until: Option<Instant>,
}

/// Timers of calls that have ended, for the next ones on the same runtime. To register a timer that is due before all others
/// costs the runtime a system call and a wakening; to move one that stands there on to a later time costs nothing.
#[derive(Default)]
struct Alarms(Mutex<Vec<Pin<Box<Sleep>>>>);

impl Alarms {
    /// What `work` comes to, or nothing if it takes longer than `limit`.
    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let due = Instant::now() + limit;
        let used = lock(&self.0).pop();
        let mut alarm = match used {
            Some(mut alarm) => {
                alarm.as_mut().reset(due);
                alarm
            }
            None => Box::pin(sleep_until(due)),
        };
        let done = tokio::select! {
            biased;
            done = work => Some(done),
            () = &mut alarm => None,
        };
        lock(&self.0).push(alarm);
        done
    }
}

/// The way to the server or cluster.
pub(super) struct Connection {
    address: Address,
    live: Mutex<Live>,
    /// Held while a connection is made.
    connecting: tokio::sync::Mutex<()>,
    failures: Mutex<Failures>,
    alarms: Alarms,
}

impl Connection {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            live: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            failures: Mutex::default(),
            alarms: Alarms::default(),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.address, Address::Cluster(_))
    }

    /// Whether calls fail at once now.
    pub(super) fn is_skipped(&self) -> bool {
        lock(&self.failures).skipped_until.is_some_and(|until| Instant::now() < until)
    }

    /// Sends a batch, whose keys are of one slot, and waits for the answers; an answer may be an error of the server's.
    pub(super) async fn send(&self, batch: &Batch<'_>) -> Result<Answers, StoreError> {
        self.pass()?;
        let first = self.attempt(batch, Shape::Pipeline).await;
        let sent_twice = first.is_err();
        let sent = match first {
            // Where a slot is on its way to another node, each command must be sent there on its own.
            Err(_) => self.attempt(batch, if self.is_cluster() { Shape::Apart } else { Shape::Pipeline }).await,
            answered => answered,
        };
        let mut failures = lock(&self.failures);
        match sent {
            Ok(values) => {
                *failures = Failures::default();
                Ok(Answers { values, sent_twice })
            }
            Err(error) => {
                failures.in_a_row = failures.in_a_row.saturating_add(1);
                if failures.in_a_row >= FAILURES_TO_SKIP {
                    failures.skipped_until = Some(Instant::now() + skip_time());
                }
                if failures.in_a_row == FAILURES_TO_SKIP {
                    tracing::warn!(%error, "the store failed time and again and is skipped");
                }
                Err(error)
            }
        }
    }

    /// Fails while the store is skipped. The first call after that passes, and the others go on to fail until it is back.
    fn pass(&self) -> Result<(), StoreError> {
        let mut failures = lock(&self.failures);
        match failures.skipped_until {
            Some(until) if Instant::now() < until => Err(StoreError("it is skipped, having failed repeatedly".into())),
            Some(_) => {
                failures.skipped_until = Some(Instant::now() + skip_time());
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn attempt(&self, batch: &Batch<'_>, shape: Shape) -> Result<Vec<Value>, StoreError> {
        let (link, number) = match self.good(shape) {
            Some(good) => good,
            None => match timeout(CONNECT_TIMEOUT, Box::pin(self.link(shape))).await {
                Ok(made) => made?,
                Err(_) => return Err(StoreError(format!("no connection in {} ms", CONNECT_TIMEOUT.as_millis()))),
            },
        };
        let exchange = async {
            match shape {
                Shape::Pipeline => exchange(link, batch).await,
                Shape::Apart => {
                    let apart = batch.apart().map(async |step| exchange(link.clone(), &step).await);
                    let answers: RedisResult<Vec<Vec<Value>>> = join_all(apart).await.into_iter().collect();
                    answers.map(|answers| answers.into_iter().flatten().collect())
                }
            }
        };
        let error = match self.alarms.within(CALL_TIMEOUT, exchange).await {
            Some(Ok(answers)) => return Ok(answers),
            Some(Err(error)) => error,
            None => {
                self.suspect(number);
                return Err(StoreError(format!("no answer in {} ms", CALL_TIMEOUT.as_millis())));
            }
        };
        // A server that has become a replica, or is loading, may not be the one that the name stands for any more.
        self.suspect(number);
        Err(store_error(&error))
    }

    /// The connection, made anew unless another call has made it meanwhile.
    async fn link(&self, shape: Shape) -> Result<(Link, u64), StoreError> {
        let _turn = self.connecting.lock().await;
        if let Some(good) = self.good(shape) {
            return Ok(good);
        }
        let link = self.address.connect().await.map_err(|error| store_error(&error))?;
        let mut live = lock(&self.live);
        let number = live.number + 1;
        *live = Live { link: Some(link.clone()), number, is_suspect: false };
        Ok((link, number))
    }

    /// The connection, if it has not failed. To a cluster it is tried all the same, but not twice by the same call: it may
    /// have failed one node, and the others are well.
    fn good(&self, shape: Shape) -> Option<(Link, u64)> {
        let live = lock(&self.live);
        let is_usable = !live.is_suspect || (self.is_cluster() && matches!(shape, Shape::Pipeline));
        live.link.clone().filter(|_| is_usable).map(|link| (link, live.number))
    }

    fn suspect(&self, number: u64) {
        let mut live = lock(&self.live);
        if live.number == number {
            live.is_suspect = true;
        }
    }
}

/// How a batch travels.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// As one pipeline.
    Pipeline,
    /// Its commands apart, at once.
    Apart,
}

/// Sends a batch; then again, with their texts, those of its scripts that the server does not know. Of a transaction all is
/// sent again: what was read beside such a script is older than what that does.
async fn exchange(mut link: Link, batch: &Batch<'_>) -> RedisResult<Vec<Value>> {
    let mut answers = link.send(&batch.pipeline, batch.is_atomic).await?;
    let is_unknown = |answer: &Value| {
        server_error(answer).is_some_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
    };
    let mut unknown: Vec<usize> = (0..answers.len()).filter(|&at| is_unknown(&answers[at])).collect();
    if !unknown.is_empty() {
        if batch.is_atomic {
            unknown = (0..answers.len()).collect();
        }
        let taught = link.send(&batch.teaching(&unknown), batch.is_atomic).await?;
        for (at, taught) in unknown.into_iter().zip(taught) {
            answers[at] = taught;
        }
    }
    Ok(answers)
}

/// The error for the operator. The library's texts hold hosts and the server's own words, no passwords.
fn store_error(error: &RedisError) -> StoreError {
    StoreError(error.to_string())
}

fn skip_time() -> Duration {
    Duration::from_millis(SKIP_MS * 9 / 10 + jitter() % (SKIP_MS / 5 + 1))
}
