//! Starts: from the start of a process to its first answer.
//!
//! For the function this module plays Lambda: a Runtime API that hands one invocation out. The tenant is there before, as
//! it would be, made by the local gateway on the same data folder.

use crate::load::{self, Request};
use crate::stage::{Gateway, Stage};
use crate::wire::Wire;
use anyhow::{bail, ensure};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

const STARTS: usize = 25;
const DATA: &str = "cold";
const PATIENCE: Duration = Duration::from_secs(10);
/// A sample event, with a real key put in.
const EVENT: &str = include_str!("../../../events/rest-chat.json");

/// Milliseconds of each start.
#[derive(Default)]
pub(crate) struct Starts {
    pub(crate) local_answer_ms: Vec<f64>,
    pub(crate) function_poll_ms: Vec<f64>,
    pub(crate) function_answer_ms: Vec<f64>,
}

/// `request` is what the local gateway is asked, given its address and key.
pub(crate) async fn measure(stage: &Stage, request: impl Fn(&Gateway) -> Request) -> anyhow::Result<Starts> {
    let mut starts = Starts::default();
    let mut event = EVENT.replace("gw_live_REPLACE_WITH_A_KEY", &stage.another_gateway(DATA)?.key);
    event.push('\n');
    for _ in 0..STARTS {
        let begun = Instant::now();
        let gateway = stage.another_gateway(DATA)?;
        load::once(&request(&gateway)).await?;
        starts.local_answer_ms.push(ms(begun.elapsed()));
    }
    for _ in 0..STARTS {
        let lambda = TcpListener::bind("127.0.0.1:0").await?;
        let begun = Instant::now();
        let _function = stage.function(DATA, lambda.local_addr()?)?;
        let (polled, answered) = timeout(PATIENCE, first_invocation(&lambda, &event)).await??;
        starts.function_poll_ms.push(ms(polled - begun));
        starts.function_answer_ms.push(ms(answered - begun));
    }
    Ok(starts)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

enum Moment {
    Polled(Instant),
    Answered(Instant),
    Failed(String),
}

/// Hands the event out to whoever asks for it; when it was asked for, and when its answer was whole.
async fn first_invocation(lambda: &TcpListener, event: &str) -> anyhow::Result<(Instant, Instant)> {
    let (moments, mut came) = unbounded_channel();
    let mut connections = JoinSet::new();
    let mut polled = None;
    loop {
        tokio::select! {
            connected = lambda.accept() => {
                connections.spawn(converse(connected?.0, event.to_owned(), moments.clone()));
            }
            Some(moment) = came.recv() => match (moment, polled) {
                (Moment::Polled(at), _) => polled = Some(at),
                (Moment::Answered(at), Some(polled)) => return Ok((polled, at)),
                (Moment::Answered(_), None) => bail!("the function answered what it was not asked"),
                (Moment::Failed(why), _) => bail!("the function did not answer as it should: {why}"),
            },
        }
    }
}

async fn converse(stream: TcpStream, event: String, moments: UnboundedSender<Moment>) -> anyhow::Result<()> {
    let mut wire = Wire::over(stream)?;
    loop {
        let (_, message) = wire.receive().await?;
        let at = Instant::now();
        if message.first_line().contains("/invocation/next") {
            moments.send(Moment::Polled(at))?;
            let length = event.len();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nlambda-runtime-aws-request-id: first\r\n\
                lambda-runtime-deadline-ms: 4102444800000\r\n\
                lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-west-1:123456789012:function:gateway\r\n";
            wire.send(format!("{head}content-length: {length}\r\n\r\n{event}").as_bytes()).await?;
            continue;
        }
        let body = String::from_utf8_lossy(message.body());
        let is_right =
            message.first_line().contains("/invocation/first/response") && body.contains(r#""statusCode":200"#);
        moments.send(if is_right { Moment::Answered(at) } else { Moment::Failed(body.into_owned()) })?;
        ensure!(is_right, "what follows does not matter");
        wire.send(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await?;
    }
}
