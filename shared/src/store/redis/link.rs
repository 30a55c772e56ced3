//! A connection of the library's, to one server or to a cluster, and what its answers say of the server.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};

/// A connection, as cheap to clone as an `Arc`.
#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    /// Sends commands as one pipeline. A server that is not to be used is an error.
    pub(super) async fn send(&mut self, pipeline: &Pipeline, is_atomic: bool) -> RedisResult<Vec<Value>> {
        // A transaction has three kinds of answers: to MULTI, to each command that was queued, and to EXEC.
        let count = if is_atomic { pipeline.len() + 2 } else { pipeline.len() };
        let answers = match self {
            Self::Single(link) => link.req_packed_commands(pipeline, 0, count).await?,
            Self::Cluster(link) => link.req_packed_commands(pipeline, 0, count).await?,
        };
        let answers = if is_atomic { executed(answers) } else { answers };
        match answers.iter().filter_map(server_error).find(|error| is_unusable(error.kind())) {
            Some(error) => Err(error),
            None => Ok(answers),
        }
    }
}

/// The answers to the commands of a transaction; where one was not queued, none ran, and its error is the answer to all.
fn executed(mut answers: Vec<Value>) -> Vec<Value> {
    let commands = answers.len().saturating_sub(2);
    match answers.pop() {
        Some(Value::Array(executed)) => executed,
        aborted => {
            let why = answers.into_iter().find(|answer| matches!(answer, Value::ServerError(_))).or(aborted);
            vec![why.unwrap_or_default(); commands]
        }
    }
}

/// The error that a server answered, if it is one.
pub(super) fn server_error(answer: &Value) -> Option<RedisError> {
    match answer {
        Value::ServerError(error) => Some(error.clone().into()),
        _ => None,
    }
}

/// Whether a server that answers so is not to be used, as opposed to one that refuses this command.
fn is_unusable(kind: ErrorKind) -> bool {
    use ServerErrorKind as Kind;
    let ErrorKind::Server(kind) = kind else { return false };
    matches!(
        kind,
        Kind::BusyLoading
            | Kind::Moved
            | Kind::Ask
            | Kind::TryAgain
            | Kind::ClusterDown
            | Kind::MasterDown
            | Kind::ReadOnly
    )
}
