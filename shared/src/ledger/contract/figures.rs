//! Figures: whatever receipts come, in whatever order and however often, they are the fold over them.

use super::{DAY_MS, HOUR_MS, MIDNIGHT_MS, Shared, receipt, record};
use crate::id::RequestId;
use crate::ledger::{Figures, Period, Tally};
use crate::money::Usage;
use crate::receipt::{Attempt, AttemptKind, AttemptOutcome, CacheStatus, Receipt};
use futures_util::future::join_all;

const MODELS: [&str; 7] =
    ["groq/llama-3.3-70b", "openai/gpt-4o-mini", "openai/gpt-4o", "anthropic/claude-sonnet", "a", "a!", "sim/fail-50"];
const OUTCOMES: [AttemptOutcome; 9] = [
    AttemptOutcome::Ok,
    AttemptOutcome::Timeout,
    AttemptOutcome::Reset,
    AttemptOutcome::HttpError,
    AttemptOutcome::RateLimited,
    AttemptOutcome::Truncated,
    AttemptOutcome::Malformed,
    AttemptOutcome::LowConfidence,
    AttemptOutcome::ClientGone,
];
const KINDS: [AttemptKind; 7] = [
    AttemptKind::First,
    AttemptKind::Retry,
    AttemptKind::Failover,
    AttemptKind::Upgrade,
    AttemptKind::Classifier,
    AttemptKind::Continuation,
    AttemptKind::Embedding,
];

/// Numbers that look like chance and are the same each time (Marsaglia's xorshift).
pub(super) struct Draws(pub(super) u64);

impl Draws {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    pub(super) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }

    /// As many short ones as long ones, from none to days.
    #[allow(clippy::cast_precision_loss)]
    fn ms(&mut self) -> f64 {
        let max = 10_u64.pow(u32::try_from(self.below(12)).unwrap());
        self.below(max) as f64 / 1000.0
    }

    pub(super) fn receipt(&mut self) -> Receipt {
        let created_at_ms = MIDNIGHT_MS + self.below(3 * DAY_MS);
        let attempts: Vec<Attempt> = (0..self.below(6))
            .map(|_| Attempt {
                outcome: self.one_of(&OUTCOMES),
                ttft_ms: (self.below(2) == 0).then(|| self.ms()),
                ..Attempt::of(self.one_of(&MODELS).into(), self.one_of(&KINDS), self.ms())
            })
            .collect();
        let answering = attempts.last().filter(|_| self.below(4) > 0).map(|attempt| attempt.model.clone());
        let tokens = 10_u64.pow(u32::try_from(self.below(13)).unwrap());
        Receipt {
            status: self.one_of(&[200, 200, 400, 499, 500, 502, 504]),
            model: answering,
            cache: self.one_of(&[CacheStatus::Miss, CacheStatus::Bypass, CacheStatus::Hit, CacheStatus::HitSemantic]),
            upgraded: self.below(3) == 0,
            outage: self.below(5) == 0,
            usage: Usage { input_tokens: self.below(tokens), output_tokens: self.below(tokens), ..Usage::default() },
            cost_nusd: self.below(tokens * 1000),
            estimated: self.below(4) == 0,
            latency_ms: self.ms(),
            overhead_ms: self.ms(),
            attempts,
            ..receipt(self.one_of(&["acme", "acme~2", "zeta"]), created_at_ms)
        }
    }
}

fn fold(receipts: &[Receipt], period: &Period) -> Figures {
    let mut figures = Figures::default();
    for receipt in receipts {
        let hour_ms = receipt.created_at_ms / HOUR_MS * HOUR_MS;
        if period.has(hour_ms, hour_ms + HOUR_MS) {
            let mut tally = Tally::default();
            tally.count(receipt);
            figures.add(period, hour_ms, receipt.uid(), &tally);
        }
    }
    figures
}

pub async fn figures_are_the_fold_over_the_receipts(ledger: Shared) {
    let mut draws = Draws(0x2545_f491_4f6c_dd1d);
    let receipts: Vec<Receipt> = (0..300).map(|_| draws.receipt()).collect();
    // In another order than they were made in, some again, and hits in passing.
    let mut sent: Vec<&Receipt> = receipts.iter().chain(receipts.iter().step_by(7)).collect();
    sent.sort_by_key(|receipt| receipt.id.draw());
    for some in sent.chunks(10) {
        join_all(some.iter().map(async |receipt| match receipt.cache {
            CacheStatus::Hit | CacheStatus::HitSemantic => ledger.note_hit(receipt).expect("a hit is noted"),
            _ => record(&ledger, receipt).await,
        }))
        .await;
    }
    ledger.flush().await.unwrap();
    let whole = Period { from_ms: MIDNIGHT_MS, to_ms: MIDNIGHT_MS + 3 * DAY_MS, step_ms: None };
    for period in [
        whole,
        Period { step_ms: Some(HOUR_MS), ..whole },
        Period { step_ms: Some(DAY_MS), ..whole },
        Period { from_ms: MIDNIGHT_MS + 5 * HOUR_MS, to_ms: MIDNIGHT_MS + 30 * HOUR_MS, step_ms: Some(HOUR_MS) },
        Period { from_ms: MIDNIGHT_MS + DAY_MS, to_ms: MIDNIGHT_MS + 2 * DAY_MS, step_ms: None },
        Period { from_ms: MIDNIGHT_MS + 9 * DAY_MS, to_ms: MIDNIGHT_MS + 10 * DAY_MS, step_ms: Some(HOUR_MS) },
    ] {
        let found = ledger.figures(&period).await.unwrap();
        let expected = fold(&receipts, &period);
        assert_eq!(found.whole, expected.whole, "in {period:?}");
        assert_eq!(found, expected, "in {period:?}");
    }
    let found = ledger.figures(&whole).await.unwrap().whole;
    let calls: u64 = receipts.iter().map(|receipt| receipt.attempts.len() as u64).sum();
    assert_eq!((found.counts.requests, found.models.values().map(|calls| calls.requests).sum()), (300, calls));
}

/// A failure shows what was added, with its size: a ledger that counts in floats or in too few digits gives itself
/// away.
pub async fn figures_of_large_amounts_are_exact(ledger: Shared) {
    let usage = Usage { input_tokens: u64::MAX / 4 + 1, output_tokens: 1, ..Usage::default() };
    for n in 0..3 {
        let id = RequestId::new(MIDNIGHT_MS + n);
        record(&ledger, &Receipt { id, usage, cost_nusd: (1 << 61) + 1, ..receipt("acme", MIDNIGHT_MS) }).await;
    }
    let period = Period { from_ms: MIDNIGHT_MS, to_ms: MIDNIGHT_MS + HOUR_MS, step_ms: None };
    let counts = ledger.figures(&period).await.unwrap().tenants["acme"];
    assert_eq!((counts.input_tokens, counts.cost_nusd), (3 * usage.input_tokens, 3 * ((1 << 61) + 1)));
}
