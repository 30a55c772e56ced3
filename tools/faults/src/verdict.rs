//! What a scenario showed, held against what it must show.

use crate::books::{Books, Counted};
use crate::load::{Load, Seen};
use crate::stage::{LOST_WRITTEN, SOON, Stage};
use crate::store::IN_FLIGHT;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// What must be so of a scenario beyond what must always be so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    /// The tenant's limit on requests.
    pub(crate) limit: u64,
    /// How many requests may be served above the limit (M5).
    pub(crate) overspend: u64,
    /// How many clients may be told that the service is unavailable.
    pub(crate) unavailable: u64,
    /// How many may see a broken connection or another error.
    pub(crate) others: u64,
    /// How many must be served at the least.
    pub(crate) served: u64,
    /// How many of them must have been told that a backend was down, at the least.
    pub(crate) degraded: u64,
    /// Whether a process was killed: its holds end by their lease, and the ledger may have estimates above the bill.
    pub(crate) killed: bool,
}

impl Allowed {
    /// Nothing but what the limit allows.
    pub(crate) fn nothing(limit: u64) -> Self {
        Self { limit, overspend: 0, unavailable: 0, others: 0, served: 0, degraded: 0, killed: false }
    }
}

/// A scenario that has played; its books are yet to be looked at.
pub(crate) struct Played {
    pub(crate) stage: Stage,
    pub(crate) load: Load,
    pub(crate) seen: Seen,
    pub(crate) allowed: Allowed,
    /// What else went wrong, and what else is worth telling.
    pub(crate) problems: Vec<String>,
    pub(crate) notes: Vec<String>,
    ended: Instant,
}

impl Played {
    pub(crate) fn new(stage: Stage, load: Load, seen: Seen, allowed: Allowed) -> Self {
        Self { stage, load, seen, allowed, problems: Vec::new(), notes: Vec::new(), ended: Instant::now() }
    }

    /// Looks at the books when they have come to rest.
    pub(crate) async fn judged(self) -> Figures {
        let Self { stage, load, seen, allowed, mut problems, mut notes, ended } = self;
        let by = if allowed.killed { LOST_WRITTEN } else { SOON };
        let by = by.saturating_sub(ended.elapsed()).max(Duration::from_secs(5));
        match stage.replay().await {
            Ok(0) => {}
            Ok(receipts) => notes.push(format!("{receipts} receipts replayed from the log")),
            Err(error) => problems.push(format!("no replay: {error:#}")),
        }
        // The holds that are lost with a store are charged neither by the rebuild nor to the new window, or by both.
        let wrong = |books: &Books| {
            let differs = || books.store_differs(allowed.overspend).filter(|_| !allowed.killed);
            books.wrong(allowed.killed).or_else(differs)
        };
        let books = match stage.settled(&load, by, |books| wrong(books).is_none()).await {
            Ok(books) => books,
            Err(error) => {
                problems.push(format!("no books: {error:#}"));
                return Figures { seen, books: None, overspend: 0, notes, problems };
            }
        };
        let overspend = books.double().requests.saturating_sub(allowed.limit);
        // Whoever was served without the store was granted what the ledger had left, which lacks what was in flight.
        let max_overspend = if seen.degraded > 0 { allowed.overspend.max(IN_FLIGHT) } else { allowed.overspend };
        let mut must = |so: bool, what: String| problems.extend((!so).then_some(what));
        must(overspend <= max_overspend, format!("{overspend} requests above the limit"));
        must(
            books.used.requests + books.held.requests <= allowed.limit + max_overspend,
            format!("the window counts {:?}", books.used),
        );
        must(books.held == Counted::default(), format!("{:?} are left held", books.held));
        must(seen.served >= allowed.served, format!("only {} served", seen.served));
        must(seen.degraded >= allowed.degraded, format!("only {} degraded", seen.degraded));
        must(seen.unavailable <= allowed.unavailable, format!("{} unavailable", seen.unavailable));
        let first = seen.first_other.clone().unwrap_or_default();
        must(seen.others <= allowed.others, format!("{} other errors, such as: {first}", seen.others));
        problems.extend(wrong(&books));
        let (flagged, estimates) = books.estimates();
        if flagged > 0 {
            let above = books.ledger.cost_nusd.saturating_sub(books.double().cost_nusd);
            let charged = estimates.cost_nusd;
            notes.push(format!(
                "{flagged} receipts flagged as estimates have {charged} nusd, {above} of it above the bill"
            ));
        }
        problems.extend(stage.log().contains("panicked").then(|| "a gateway panicked".to_owned()));
        Figures { seen, books: Some(books), overspend, notes, problems }
    }
}

/// What a scenario showed.
#[derive(Debug)]
pub struct Figures {
    seen: Seen,
    books: Option<Books>,
    overspend: u64,
    notes: Vec<String>,
    problems: Vec<String>,
}

impl Figures {
    /// Those of a scenario that could not be played.
    pub(crate) fn failed(error: &anyhow::Error) -> Self {
        let problems = vec![format!("not played: {error:#}")];
        Self { seen: Seen::default(), books: None, overspend: 0, notes: Vec::new(), problems }
    }

    /// Whether all was as it must be.
    #[must_use]
    pub fn hold(&self) -> bool {
        self.problems.is_empty()
    }

    /// As cells of a table in Markdown, in the order of [`HEADINGS`].
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        let seen = &self.seen;
        let (held, books) = self.books.as_ref().map_or(("?".to_owned(), "?".to_owned()), |books| {
            let (ledger, double) = (books.ledger, books.double());
            let same = if ledger == double { "=" } else { "/" };
            (books.held.requests.to_string(), format!("{} {same} {} tokens", ledger.tokens(), double.tokens()))
        });
        let verdict = if self.hold() { "holds".to_owned() } else { format!("FAILS: {}", self.problems.join("; ")) };
        let counts = [seen.requests, seen.served, seen.degraded, seen.quota, seen.unavailable, seen.others];
        let mut cells: Vec<String> = counts.iter().map(u64::to_string).collect();
        cells.push(format!("{:.0} / {:.0}", seen.percentile_ms(50), seen.percentile_ms(99)));
        cells.extend([self.overspend.to_string(), held, books]);
        cells.push(std::iter::once(verdict).chain(self.notes.clone()).collect::<Vec<_>>().join("; "));
        cells
    }
}

/// What the cells of [`Figures::cells`] are.
pub const HEADINGS: [&str; 11] = [
    "requests",
    "200",
    "degraded",
    "429",
    "503",
    "others",
    "p50 / p99 ms",
    "above the limit",
    "held after",
    "ledger, double",
    "verdict",
];

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = HEADINGS.iter().zip(self.cells()).map(|(name, cell)| format!("{name} {cell}"));
        out.write_str(&named.collect::<Vec<_>>().join(" · "))
    }
}
