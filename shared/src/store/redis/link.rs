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
    pub(super) async fn send(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let answers = match self {
            Self::Single(link) => link.req_packed_commands(pipeline, 0, pipeline.len()).await?,
            Self::Cluster(link) => link.req_packed_commands(pipeline, 0, pipeline.len()).await?,
        };
        match answers.iter().filter_map(server_error).find(|error| is_unusable(error.kind())) {
            Some(error) => Err(error),
            None => Ok(answers),
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
