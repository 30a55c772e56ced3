//! One connection, from its first byte to its end: what it may wait for, and for how long.
//!
//! HTTP itself is hyper's. Its own timer counts the time between two requests as that of a head, and knows nothing of a
//! client that does not read; so the socket, the request's body and the answer's are watched here, and what they show
//! makes the phases of a connection. Each phase has its bound, except the one in which the gateway is at work: that ends
//! by the request's own deadline. While the process ends, whatever is waited for is waited for a moment only.

use super::seats::{Seat, Wait};
use crate::client::Peer;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, header};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tower_service::Service;

/// How long the rest of a head, or a client that reads, is waited for when the process ends.
const LAST_CALL: Duration = Duration::from_secs(1);
/// What a connection may make the gateway keep of what came and of what is to go: so long a head may be at most. Keys, tags
/// and traces are far below it; hyper's own bound is twelve times as much, for each of a thousand connections.
const BUFFER_BYTES: usize = 32 << 10;

/// How long a connection may keep the gateway waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a whole head, from its first byte, or from the connection's beginning.
    pub(super) head: Duration,
    /// Between two requests, or for a client that takes nothing of its answer.
    pub(super) idle: Duration,
}

/// What a connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing has come since it was opened.
    New,
    /// A head has begun to come.
    Head,
    /// More of a body is waited for.
    Body,
    /// The gateway is at work.
    Answer,
    /// All of its answer is on its way to the socket.
    Sent,
    /// Nothing has come since the last answer.
    Idle,
}

/// What is seen of a connection.
struct Seen {
    phase: Phase,
    since: Instant,
    /// Since when its client takes nothing of its answer.
    unread_since: Option<Instant>,
    /// Since when the process ends.
    ending_since: Option<Instant>,
    patience: Patience,
    seat: Seat,
}

#[derive(Clone)]
struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    fn new(patience: Patience, seat: Seat) -> Self {
        let mut seen =
            Seen { phase: Phase::New, since: Instant::now(), unread_since: None, ending_since: None, patience, seat };
        seen.seat.wait(Some(Wait::Head));
        Self(Arc::new(Mutex::new(seen)))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the process may say that this connection ends: not in the middle of a head.
    fn may_end(&self) -> bool {
        self.seen().phase != Phase::Head
    }

    fn came(&self) {
        let mut seen = self.seen();
        match seen.phase {
            // The time of the first head runs from the connection's beginning.
            Phase::New => seen.phase = Phase::Head,
            Phase::Idle => seen.enter(Phase::Head),
            Phase::Head | Phase::Body | Phase::Answer | Phase::Sent => {}
        }
    }

    /// The socket has taken all that there was.
    fn flushed(&self) {
        let mut seen = self.seen();
        if seen.phase == Phase::Sent {
            seen.enter(Phase::Idle);
        }
    }

    fn wrote(&self, is_taken: bool) {
        let mut seen = self.seen();
        if is_taken != seen.unread_since.is_some() {
            return;
        }
        seen.unread_since = (!is_taken).then(Instant::now);
        seen.take_turn();
    }
}

impl Seen {
    fn enter(&mut self, phase: Phase) {
        (self.phase, self.since) = (phase, Instant::now());
        // From idle to a head nothing changes: it is the head that is waited for.
        if phase != Phase::Head {
            self.take_turn();
        }
    }

    fn take_turn(&mut self) {
        let wait = match self.phase {
            Phase::New | Phase::Head | Phase::Idle => Some(Wait::Head),
            Phase::Body => Some(Wait::Client),
            Phase::Answer | Phase::Sent => self.unread_since.map(|_| Wait::Client),
        };
        self.seat.wait(wait);
    }

    /// Until when it may go on as it is.
    fn by(&self) -> Option<Instant> {
        let Patience { head, idle } = self.patience;
        let phase = match self.phase {
            Phase::New | Phase::Head => Some(self.since + head),
            Phase::Idle => Some(self.since + idle),
            Phase::Body | Phase::Answer | Phase::Sent => None,
        };
        let unread = self.unread_since.map(|since| since + idle);
        let by = phase.into_iter().chain(unread).min()?;
        let last_call = self.ending_since.map(|ending| ending.max(self.unread_since.unwrap_or(ending)) + LAST_CALL);
        Some(last_call.map_or(by, |last_call| by.min(last_call)))
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    peer: Peer,
    router: Router,
    patience: Patience,
    seat: Seat,
    mut ending: watch::Receiver<bool>,
) {
    let told_to_go = seat.told_to_go();
    let watch = Watch::new(patience, seat);
    let io = TokioIo::new(Watched { socket, watch: watch.clone() });
    let (watching, has_ended) = (watch.clone(), ending.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let answering = Answering::begin(&watching);
        let answer = router.clone().call(arriving(request, &peer, &watching));
        let has_ended = has_ended.clone();
        async move {
            let mut answer = answer.await?;
            // hyper says so by itself, unless it learns of the end in the middle of this.
            if *has_ended.borrow() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer.map(|body| Leaving { body, _answering: answering }))
        }
    });
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_buf_size(BUFFER_BYTES);
    let mut connection = pin!(http.serve_connection(io, service));
    let mut timer = pin!(sleep_until(Instant::now() + patience.head));
    let mut is_ending = false;
    let mut is_told = false;
    let mut ends = pin!(async move {
        // Without a sender there is no server any more.
        let _ = ending.wait_for(|ending| *ending).await;
    });
    let mut must_go = pin!(told_to_go.notified());
    let ended = poll_fn(|context| {
        while must_go.as_mut().poll(context).is_ready() {
            if watch.seen().seat.has_to_go() {
                return Poll::Ready("closed for another one");
            }
            must_go.set(told_to_go.notified());
        }
        if !is_ending && ends.as_mut().poll(context).is_ready() {
            is_ending = true;
            watch.seen().ending_since = Some(Instant::now());
        }
        loop {
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready("done");
            }
            if is_told || !is_ending || !watch.may_end() {
                break;
            }
            is_told = true;
            connection.as_mut().graceful_shutdown();
        }
        let Some(by) = watch.seen().by() else { return Poll::Pending };
        if timer.deadline() != by {
            timer.as_mut().reset(by);
        }
        timer.as_mut().poll(context).map(|()| "its client was waited for too long")
    });
    let ended = ended.await;
    tracing::debug!(phase = ?watch.seen().phase, "a connection has ended: {ended}");
}

/// A request whose body is watched, and which says where it came from.
fn arriving(request: Request<Incoming>, peer: &Peer, watch: &Watch) -> Request<Body> {
    let mut request = request.map(|body| Body::new(Arriving { body, watch: watch.clone() }));
    if let Some(from) = peer.client(request.headers()) {
        request.extensions_mut().insert(from);
    }
    request
}

/// A socket that reports when bytes come, and when none are taken.
struct Watched<S> {
    socket: S,
    watch: Watch,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.watch.came();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.watch.wrote(wrote.is_ready());
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(context, pieces);
        self.watch.wrote(wrote.is_ready());
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when it has written all that it has.
        let flushed = ready!(Pin::new(&mut self.socket).poll_flush(context));
        self.watch.flushed();
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// A request's body that reports when all of it has come.
struct Arriving {
    body: Incoming,
    watch: Watch,
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let mut seen = self.watch.seen();
        match (polled.is_pending(), seen.phase) {
            (true, Phase::Answer) => seen.enter(Phase::Body),
            (false, Phase::Body) => seen.enter(Phase::Answer),
            _ => {}
        }
        drop(seen);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request that is being answered.
struct Answering(Watch);

impl Answering {
    fn begin(watch: &Watch) -> Self {
        watch.seen().enter(Phase::Answer);
        Self(watch.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.seen().enter(Phase::Sent);
    }
}

/// An answer's body; when it is gone, hyper has all of it.
struct Leaving {
    body: Body,
    _answering: Answering,
}

impl http_body::Body for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::http::seats::Seats;
    use axum::routing::{get, post};
    use gateway_core::clock::ManualClock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::{advance, timeout};

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Patience = Patience { head: Duration::from_secs(10), idle: Duration::from_secs(75) };
    const GET: &[u8] = b"GET /small HTTP/1.1\r\nhost: a\r\n\r\n";

    struct Connected {
        client: DuplexStream,
        begun: Instant,
        ending: watch::Sender<bool>,
        served: JoinHandle<()>,
        seats: Arc<Seats>,
    }

    async fn connected() -> Connected {
        let router = Router::new()
            .route("/small", get(async || "small"))
            .route("/large", get(async || "large".repeat(100_000)))
            .route(
                "/slow",
                post(async |body: String| {
                    tokio::time::sleep(600 * SECOND).await;
                    body
                }),
            );
        let (client, socket) = duplex(4096);
        let seats = Seats::limited(1, Arc::default(), Arc::new(ManualClock::at(0)));
        let ((), seat) = seats.seat(async || Ok(())).await;
        let (ending, ends) = watch::channel(false);
        let nobody = Peer { address: None, trusted: Arc::default() };
        #[allow(clippy::disallowed_methods)]
        let served = tokio::spawn(serve(socket, nobody, router, PATIENCE, seat, ends));
        tokio::task::yield_now().await;
        Connected { client, begun: Instant::now(), ending, served, seats }
    }

    impl Connected {
        async fn answer(&mut self) -> String {
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"small") {
                assert!(self.client.read_buf(&mut bytes).await.unwrap() > 0);
            }
            String::from_utf8(bytes).unwrap()
        }

        /// After how long the connection was closed by the gateway.
        async fn closed(self) -> Duration {
            timeout(3_600 * SECOND, self.served).await.expect("it is closed").unwrap();
            assert_eq!(self.seats.open(), 0);
            self.begun.elapsed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_sends_nothing_or_half_a_head_is_closed_by_the_heads_time() {
        assert_eq!(connected().await.closed().await, PATIENCE.head);

        let mut half = connected().await;
        half.client.write_all(b"GET /small HTTP/1.1\r\n").await.unwrap();
        assert_eq!(half.closed().await, PATIENCE.head);

        let mut dribbling = connected().await;
        for _ in 0..9 {
            advance(SECOND).await;
            dribbling.client.write_all(b"x").await.unwrap();
        }
        assert_eq!(dribbling.closed().await, PATIENCE.head);
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_it_may_rest_longer_and_the_next_head_has_its_own_time() {
        let mut resting = connected().await;
        for _ in 0..3 {
            resting.client.write_all(GET).await.unwrap();
            assert!(resting.answer().await.starts_with("HTTP/1.1 200"));
            advance(PATIENCE.idle - SECOND).await;
        }
        assert_eq!(resting.closed().await, 2 * (PATIENCE.idle - SECOND) + PATIENCE.idle);

        let mut half = connected().await;
        half.client.write_all(GET).await.unwrap();
        half.answer().await;
        advance(20 * SECOND).await;
        half.client.write_all(&GET[..9]).await.unwrap();
        assert_eq!(half.closed().await, 20 * SECOND + PATIENCE.head);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_of_its_answer_is_not_kept() {
        let mut deaf = connected().await;
        deaf.client.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert_eq!(deaf.closed().await, PATIENCE.idle);

        // One that is slow gets all of it.
        let mut slow = connected().await;
        slow.client.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut bytes = 0;
        while bytes < 500_000 {
            advance(PATIENCE.idle - SECOND).await;
            let mut buffer = [0; 8192];
            let more = slow.client.read(&mut buffer).await.unwrap();
            assert!(more > 0, "it was closed after {bytes} bytes");
            bytes += more;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_served_is_bounded_by_its_own_deadline_alone() {
        let mut busy = connected().await;
        busy.client.write_all(b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nsmall").await.unwrap();
        assert!(busy.answer().await.starts_with("HTTP/1.1 200"));
        assert_eq!(busy.begun.elapsed(), 600 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_process_ends_only_what_is_served_is_waited_for() {
        for (before, lasts) in [
            ("", Duration::ZERO),
            ("GET /small HTTP/1.1\r\nhost: a\r\n\r\n", Duration::ZERO),
            ("GET /sm", LAST_CALL),
            ("GET /large HTTP/1.1\r\nhost: a\r\n\r\n", LAST_CALL),
            ("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nsmall", 600 * SECOND),
        ] {
            let mut connected = connected().await;
            connected.client.write_all(before.as_bytes()).await.unwrap();
            if before.starts_with("GET /small") {
                connected.answer().await;
            }
            // All that came is seen.
            advance(Duration::from_millis(1)).await;
            connected.begun = Instant::now();
            connected.ending.send_replace(true);
            let mut received = String::new();
            if before.starts_with("POST") {
                connected.client.read_to_string(&mut received).await.unwrap();
                assert!(received.contains("connection: close"), "{received}");
            }
            assert_eq!(connected.closed().await, lasts, "{before}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_is_on_its_way_when_the_process_ends_is_answered() {
        let mut late = connected().await;
        late.client.write_all(&GET[..9]).await.unwrap();
        advance(Duration::from_millis(1)).await;
        late.ending.send_replace(true);
        advance(LAST_CALL / 2).await;
        late.client.write_all(&GET[9..]).await.unwrap();
        assert!(late.answer().await.contains("connection: close"));
        late.closed().await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_to_go_for_another_goes_at_once() {
        let resting = connected().await;
        advance(SECOND).await;
        let next = resting.seats.clone();
        let ((), _seat) = timeout(SECOND, next.seat(async || Ok(()))).await.expect("there is room");
        assert_eq!((next.open(), resting.begun.elapsed()), (1, SECOND));
    }
}
