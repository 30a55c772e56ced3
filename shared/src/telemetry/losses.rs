//! What the process's log has lost: lines that a full disk or a closed pipe did not take.
//!
//! A log that fails never fails a request (B4), so this is how anybody hears of it: `/ready` and the metrics show it. A
//! receipt that the ledger did not take either is lost for good; it is counted on its own.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What a line was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// A receipt that stands nowhere else: the ledger did not take it.
    OnlyReceipt,
    /// Anything else.
    Other,
}

/// Counts what is lost.
#[derive(Debug, Default)]
pub struct LogLosses {
    lines: AtomicU64,
    receipts: AtomicU64,
    is_failing: AtomicBool,
}

impl LogLosses {
    /// Notes that a line was written.
    pub fn wrote(&self) {
        self.is_failing.store(false, Relaxed);
    }

    /// Notes that a line was lost.
    pub fn lost(&self, line: Line) {
        self.lines.fetch_add(1, Relaxed);
        self.receipts.fetch_add(u64::from(line == Line::OnlyReceipt), Relaxed);
        self.is_failing.store(true, Relaxed);
    }

    /// Lines that were lost since the start.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines.load(Relaxed)
    }

    /// Those of them that were receipts, lost for good.
    #[must_use]
    pub fn receipts(&self) -> u64 {
        self.receipts.load(Relaxed)
    }

    /// For `/ready`. While the log fails a line is tried, so that the next call shows when it is well.
    pub(crate) fn to_json(&self) -> Value {
        if self.is_failing.load(Relaxed) {
            tracing::error!(lines = self.lines(), receipts = self.receipts(), "lines of the log were lost");
        }
        let state = if self.is_failing.load(Relaxed) { "degraded" } else { "ok" };
        json!({"state": state, "lines_lost": self.lines(), "receipts_lost": self.receipts()})
    }
}
