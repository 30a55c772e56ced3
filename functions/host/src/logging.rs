//! The log: JSON on stdout under Lambda, readable text on stderr elsewhere; `GATEWAY_LOG` is the filter.
//!
//! A log that fails never fails a request, and never holds one up for long (B4). What cannot be written is counted
//! ([`LogLosses`]) and otherwise forgotten: the subscriber's own complaint about it would go to stderr, by a macro that
//! panics where stderr is what is broken.
//!
//! A line is written before the request goes on, for a receipt may stand nowhere else and must outlive `kill -9`. A file
//! takes a line at once or refuses it. A pipe whose reader stands still takes nothing and says nothing, so that a thread
//! writes to it, and the request waits for its line a moment, or not at all while the reader is known to stand still. What
//! waits is bounded, and what is beyond the bound is lost. Under Lambda the line is written by the request itself: after
//! the last byte of its answer the process is frozen.

use crate::environment::variable;
use gateway_core::telemetry::losses::{Line, LogLosses};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;

/// How long a request waits for its line to be written.
const PATIENCE: Duration = Duration::from_millis(100);
/// How much may wait for a reader that stands still.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// How long the end of the process waits for lines that a slow reader has not taken.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// What waits to be written, where a thread writes.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// The process has one log, as it has one stderr; a gateway that is wired in it is given this.
static LOSSES: LazyLock<Arc<LogLosses>> = LazyLock::new(Arc::default);

/// Where this process's log counts what it loses.
#[must_use]
pub fn losses() -> Arc<LogLosses> {
    LOSSES.clone()
}

/// Begins to log. `default` is the filter where `GATEWAY_LOG` says nothing.
///
/// # Errors
/// If `GATEWAY_LOG` is no filter, or no thread can be started.
pub fn start(default: &str) -> anyhow::Result<()> {
    let text = variable("GATEWAY_LOG").unwrap_or_else(|| default.to_owned());
    let filter = filter(&text).map_err(|e| anyhow::anyhow!("GATEWAY_LOG: {e}"))?;
    let builder = tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter);
    if crate::lambda::is_lambda() {
        let log = Log::direct(File::from(io::stdout().as_fd().try_clone_to_owned()?), losses());
        builder.json().with_writer(log).init();
    } else {
        // A log in a file is searched, and replayed: it has no colours.
        let colours = io::stderr().is_terminal();
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let log = match stderr.metadata()?.is_file() {
            true => Log::direct(stderr, losses()),
            false => {
                let log = Log::by_thread(stderr, losses(), PATIENCE)?;
                if let Way::ByThread(queue) = &log.way {
                    let _ = QUEUE.set(queue.clone());
                }
                log
            }
        };
        builder.with_ansi(colours).with_writer(log).init();
    }
    Ok(())
}

/// The filter that `text` names. Receipts that the ledger did not take are logged whatever else is not, unless it says of
/// `receipt` that they are not.
fn filter(text: &str) -> Result<EnvFilter, ParseError> {
    // An empty text would be read as a level.
    let directives = text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    let mut levels = directives.filter_map(|directive| directive.parse::<LevelFilter>().ok());
    let has_errors_of_all = levels.next_back().is_some_and(|level| level != LevelFilter::OFF);
    if has_errors_of_all || text.contains("receipt") {
        return EnvFilter::try_new(text);
    }
    EnvFilter::try_new([text, "receipt=error"].join(","))
}

/// Waits a moment for lines that wait for a slow reader; for the end of the process.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(LAST_PATIENCE);
    }
}

/// Says something to whoever started the process, if they still listen.
pub fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Complains to whoever started the process, if they still listen.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Where lines go. Clones write to the same place.
#[derive(Clone)]
struct Log {
    way: Way,
    losses: Arc<LogLosses>,
}

#[derive(Clone)]
enum Way {
    Direct(Arc<Mutex<Output>>),
    ByThread(Arc<Queue>),
}

/// What is written to.
struct Output {
    to: Box<dyn Write + Send>,
    /// Whether half a line stands at its end: the next one must not become part of it.
    is_torn: bool,
}

/// Lines that wait for the thread that writes them.
struct Queue {
    waiting: Mutex<Waiting>,
    /// Tells the thread of a line, and those who wait that one is done.
    changed: Condvar,
    patience: Duration,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<(Line, Vec<u8>)>,
    bytes: usize,
    /// Lines that were taken in, and lines that were written or lost, since the start.
    taken: u64,
    done: u64,
    /// Whether somebody has waited in vain since the last time that no line waited.
    stands_still: bool,
}

impl Log {
    fn direct(to: impl Write + Send + 'static, losses: Arc<LogLosses>) -> Self {
        Self { way: Way::Direct(Arc::new(Mutex::new(Output::new(to)))), losses }
    }

    fn by_thread(to: impl Write + Send + 'static, losses: Arc<LogLosses>, patience: Duration) -> io::Result<Self> {
        let queue = Arc::new(Queue { waiting: Mutex::default(), changed: Condvar::new(), patience });
        let (theirs, count) = (queue.clone(), losses.clone());
        thread::Builder::new().name("log".to_owned()).spawn(move || theirs.write_to(Output::new(to), &count))?;
        Ok(Self { way: Way::ByThread(queue), losses })
    }

    fn put(&self, line: Line, bytes: &[u8]) {
        match &self.way {
            Way::Direct(output) => {
                output.lock().unwrap_or_else(PoisonError::into_inner).put(line, bytes, &self.losses);
            }
            Way::ByThread(queue) => queue.put(line, bytes, &self.losses),
        }
    }
}

impl Output {
    fn new(to: impl Write + Send + 'static) -> Self {
        Self { to: Box::new(to), is_torn: false }
    }

    /// Writes a line, by one call where nothing fails, and counts it if it cannot be written whole.
    fn put(&mut self, line: Line, bytes: &[u8], losses: &LogLosses) {
        if self.is_torn && self.to.write_all(b"\n").is_err() {
            return losses.lost(line);
        }
        let mut left = bytes;
        while !left.is_empty() {
            match self.to.write(left) {
                Ok(0) => break,
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.is_torn = !left.is_empty() && left.len() < bytes.len();
        if left.is_empty() { losses.wrote() } else { losses.lost(line) }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: Line, bytes: &[u8], losses: &LogLosses) {
        let mut waiting = self.lock();
        if waiting.bytes + bytes.len() > MAX_WAITING_BYTES {
            return losses.lost(line);
        }
        waiting.bytes += bytes.len();
        waiting.lines.push_back((line, bytes.to_vec()));
        waiting.taken += 1;
        let mine = waiting.taken;
        self.changed.notify_all();
        if waiting.stands_still {
            return;
        }
        let waited = self.changed.wait_timeout_while(waiting, self.patience, |waiting| waiting.done < mine);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.stands_still |= waiting.done < mine;
    }

    fn flush(&self, patience: Duration) {
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |waiting| waiting.done < waiting.taken);
        drop(waited);
    }

    fn write_to(&self, mut output: Output, losses: &LogLosses) {
        loop {
            let mut waiting = self.lock();
            while waiting.lines.is_empty() {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let Some((line, bytes)) = waiting.lines.pop_front() else { continue };
            drop(waiting);
            output.put(line, &bytes, losses);
            let mut waiting = self.lock();
            waiting.bytes -= bytes.len();
            waiting.done += 1;
            // One that is slow is known for it until it has caught up.
            waiting.stands_still &= !waiting.lines.is_empty();
            self.changed.notify_all();
        }
    }
}

/// Takes one line.
struct LineWriter<'a> {
    log: &'a Log,
    line: Line,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.log.put(self.line, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { log: self, line: Line::Other }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> LineWriter<'a> {
        // A receipt is logged as an error where it stands nowhere else.
        let is_only = meta.target() == "receipt" && *meta.level() == Level::ERROR;
        LineWriter { log: self, line: if is_only { Line::OnlyReceipt } else { Line::Other } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use tracing_subscriber::prelude::*;

    /// A disk with room for so many bytes.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Disk {
        fn with_room(bytes: usize) -> Self {
            Self(Arc::new(Mutex::new((bytes, Vec::new()))))
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().1.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (room, written) = &mut *self.0.lock().unwrap();
            let fits = bytes.len().min(*room);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= fits;
            written.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A pipe whose reader takes one write for each word that it is given.
    struct Pipe(Receiver<()>, Disk);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pipe() -> (Sender<()>, Disk, Pipe) {
        let ((reads, read), disk) = (channel(), Disk::with_room(usize::MAX));
        (reads, disk.clone(), Pipe(read, disk))
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_a_lost_receipt_on_its_own() {
        let losses = Arc::new(LogLosses::default());
        let log = Log::direct(Disk::with_room(0), losses.clone());
        let subscriber = tracing_subscriber::registry()
            .with(tracing_subscriber::fmt::layer().log_internal_errors(false).with_writer(log));
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("something is wrong");
            tracing::info!(target: "receipt", receipt = "{}");
            tracing::error!(target: "receipt", receipt = "{}", "the ledger is down");
        });
        assert_eq!((losses.lines(), losses.receipts()), (3, 1));
    }

    #[test]
    fn after_half_a_line_the_next_one_stands_alone() {
        let (losses, disk) = (Arc::new(LogLosses::default()), Disk::with_room(8));
        let log = Log::direct(disk.clone(), losses.clone());
        for line in ["first\n", "second\n", "third\n"] {
            log.put(Line::Other, line.as_bytes());
        }
        assert_eq!((disk.text().as_str(), losses.lines()), ("first\nse", 2));
        disk.0.lock().unwrap().0 = 100;
        log.put(Line::Other, b"fourth\n");
        assert_eq!((disk.text().as_str(), losses.lines()), ("first\nse\nfourth\n", 2));
    }

    #[test]
    fn a_line_is_written_when_the_request_goes_on() {
        let (reads, disk, pipe) = pipe();
        let log = Log::by_thread(pipe, Arc::default(), Duration::MAX).unwrap();
        for n in 0..100 {
            reads.send(()).unwrap();
            log.put(Line::Other, b"line\n");
            assert_eq!(disk.text().len(), 5 * (n + 1));
        }
    }

    #[test]
    fn a_reader_that_is_slow_holds_nobody_up_again_until_it_has_caught_up() {
        let (reads, _, pipe) = pipe();
        let log = Log::by_thread(pipe, Arc::default(), Duration::ZERO).unwrap();
        let Way::ByThread(queue) = &log.way else { unreachable!() };
        (0..3).for_each(|_| log.put(Line::Other, b"line\n"));
        for (done, is_slow) in [(1, true), (2, true), (3, false)] {
            reads.send(()).unwrap();
            let waiting = queue.changed.wait_while(queue.lock(), |waiting| waiting.done < done).unwrap();
            assert_eq!(waiting.stands_still, is_slow, "after {done} lines");
        }
    }

    #[test]
    fn a_reader_that_stands_still_holds_nobody_up_and_what_is_beyond_the_bound_is_lost() {
        let (reads, disk, pipe) = pipe();
        let losses = Arc::new(LogLosses::default());
        let log = Log::by_thread(pipe, losses.clone(), Duration::ZERO).unwrap();
        let line = [b'x'; 64 << 10];
        for _ in 0..20 {
            log.put(Line::Other, &line);
        }
        assert_eq!(losses.lines(), 4, "sixteen wait");
        let Way::ByThread(queue) = &log.way else { panic!("by thread") };
        // It reads again: all that waits is written, and lines are waited for again.
        (0..16).for_each(|_| reads.send(()).unwrap());
        let mut waiting = queue.lock();
        while waiting.done < 16 {
            waiting = queue.changed.wait(waiting).unwrap();
        }
        assert!(!waiting.stands_still && waiting.bytes == 0);
        assert_eq!((disk.text().len(), losses.lines()), (16 * line.len(), 4));
    }

    #[test]
    fn a_closed_pipe_is_a_loss_and_no_failure() {
        let (reads, _, pipe) = pipe();
        drop(reads);
        let losses = Arc::new(LogLosses::default());
        let log = Log::by_thread(pipe, losses.clone(), Duration::MAX).unwrap();
        log.put(Line::OnlyReceipt, b"line\n");
        assert_eq!((losses.lines(), losses.receipts()), (1, 1));
    }

    #[test]
    fn receipts_that_stand_nowhere_else_pass_every_filter_that_does_not_name_them() {
        let table = [
            // filter, whether a receipt that stands nowhere else is logged, whether every one is
            ("off", true, false),
            ("gateway_core=info", true, false),
            ("off,gateway_core=debug", true, false),
            ("", true, false),
            ("warn", true, false),
            ("info", true, true),
            ("warn,gateway_core=debug", true, false),
            ("warn,receipt=info", true, true),
            ("receipt=off", false, false),
        ];
        for (text, only, every) in table {
            let disk = Disk::with_room(usize::MAX);
            let layer = tracing_subscriber::fmt::layer().with_writer(Log::direct(disk.clone(), Arc::default()));
            let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter(text).unwrap()));
            tracing::subscriber::with_default(subscriber, || {
                tracing::error!(target: "receipt", receipt = "only");
                tracing::info!(target: "receipt", receipt = "every");
            });
            let logged = ["only", "every"].map(|word| disk.text().contains(word));
            assert_eq!(logged, [only, every], "`{text}`");
        }
        assert!(filter("=x=").is_err());
    }
}
