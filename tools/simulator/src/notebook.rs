//! A ledger that adds up what was paid, and keeps nothing else.

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::alerts::alert::Claim;
use gateway_core::alerts::delivery::Posted;
use gateway_core::directory::Page;
use gateway_core::feedback::Feedback;
use gateway_core::id::RequestId;
use gateway_core::ledger::{
    Begun, Claims, Column, Erased, Figures, IdempotencyKey, Ledger, LedgerError, Outbox, Period, ReceiptQuery,
    UsageQuery, UsageRow, WhoseUid,
};
use gateway_core::limit::window::Window;
use gateway_core::money::{Amounts, Charged};
use gateway_core::receipt::Receipt;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The ledger.
#[derive(Default)]
pub(crate) struct Notebook {
    /// Nano-dollars.
    pub(crate) cost_nusd: AtomicU64,
}

fn not_kept<T>() -> Result<T, LedgerError> {
    Err(LedgerError::Unavailable("it is not kept".into()))
}

#[async_trait]
impl Claims for Notebook {
    async fn grant(&self, _: &str, _: &Window, _: Amounts, _: Amounts) -> Result<bool, LedgerError> {
        not_kept()
    }

    async fn open_window(&self, _: &str, _: &Window) -> Result<bool, LedgerError> {
        Ok(false)
    }

    async fn begin(&self, _: &IdempotencyKey, _: [u8; 32], _: RequestId, _: u64, _: u64) -> Result<Begun, LedgerError> {
        not_kept()
    }

    async fn finish(&self, _: &IdempotencyKey, _: RequestId, _: Option<Bytes>, _: u64) -> Result<(), LedgerError> {
        not_kept()
    }
}

#[async_trait]
impl Outbox for Notebook {
    async fn post(&self, _: &Claim, _: &Posted, _: u64, _: u64) -> Result<bool, LedgerError> {
        not_kept()
    }

    async fn take_due(&self, _: usize, _: u64, _: u64) -> Result<Vec<Posted>, LedgerError> {
        not_kept()
    }

    async fn note_delivery(&self, _: &Posted) -> Result<(), LedgerError> {
        not_kept()
    }

    async fn alerts(&self) -> Result<Vec<Posted>, LedgerError> {
        not_kept()
    }
}

#[async_trait]
impl Ledger for Notebook {
    async fn record(&self, receipt: &Receipt) -> Result<(), LedgerError> {
        self.cost_nusd.fetch_add(receipt.cost_nusd, Relaxed);
        Ok(())
    }

    fn note_hit(&self, _: &Receipt) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn totals(&self, _: &str, _: &Window) -> Result<Charged, LedgerError> {
        Ok(Charged::default())
    }

    async fn receipt(&self, _: &str, _: RequestId, _: u64) -> Result<Option<Receipt>, LedgerError> {
        Ok(None)
    }

    async fn keep_feedback(&self, _: &str, _: RequestId, _: &Feedback, _: u64) -> Result<bool, LedgerError> {
        Ok(false)
    }

    async fn receipts(&self, _: &ReceiptQuery, _: Option<&str>) -> Result<Page<Receipt>, LedgerError> {
        not_kept()
    }

    async fn usage(&self, _: &UsageQuery, _: Option<&str>, _: usize) -> Result<Page<UsageRow>, LedgerError> {
        not_kept()
    }

    async fn usage_by(&self, _: &UsageQuery, _: &BTreeSet<Column>) -> Result<Vec<UsageRow>, LedgerError> {
        not_kept()
    }

    async fn figures(&self, _: &Period) -> Result<Figures, LedgerError> {
        not_kept()
    }

    fn keeps_hours_ms(&self) -> u64 {
        0
    }

    async fn flush(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn erase(&self, _: WhoseUid, _: Option<&str>) -> Result<Erased, LedgerError> {
        not_kept()
    }

    async fn ping(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn probe(&self) -> Result<(), LedgerError> {
        Ok(())
    }
}
