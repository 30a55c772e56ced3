//! Going through the receipts of the log, a page at a time: those of all oldest segment first, those of a tenant newest block first.
//!
//! A page is a bounded stretch of log, whatever of it is wanted: whoever reads a year for one tenant's ten receipts holds up
//! nobody for longer than that takes, and has no more in memory. A receipt is written when its request has ended, so the
//! newest of two pages may be some seconds older than the oldest of the one before.

use super::segment::{Name, Segment};
use crate::directory::Page;
use crate::ledger::{LedgerError, ReceiptQuery};
use crate::receipt::Receipt;
use std::io;
use std::path::Path;

/// How much of log one page reads.
const PAGE_BYTES: u64 = 1 << 20;

/// Where a page ended: a segment, and a place in it.
pub(super) type Cursor = (Name, u64);

/// Reads what a page gave to find the next one by.
pub(super) fn read(cursor: &str) -> Result<Cursor, LedgerError> {
    let read = cursor.split_once(':').and_then(|(name, at)| Some((Name::parse(name)?, at.parse().ok()?)));
    read.ok_or(LedgerError::UnknownCursor)
}

/// The receipts of the next stretch.
pub(super) fn page(
    folder: &Path,
    segments: &[Segment],
    query: &ReceiptQuery,
    begin: Option<&Cursor>,
) -> io::Result<Page<Receipt>> {
    let mut data = Vec::new();
    for segment in segments {
        let from_bytes = match begin {
            Some((name, _)) if segment.name < *name => continue,
            Some((name, at_bytes)) if segment.name == *name => *at_bytes,
            _ => 0,
        };
        if from_bytes >= segment.end_bytes || !segment.may_hold_one_of(&query.created_ms) {
            continue;
        }
        let wanted = |receipt: Receipt| data.extend(Some(receipt).filter(|receipt| query.is_of(receipt)));
        let at_bytes = segment.visit(folder, from_bytes, from_bytes + PAGE_BYTES, wanted)?;
        return Ok(Page { data, next: Some(format!("{}:{at_bytes}", segment.name.file_name())) });
    }
    Ok(Page { data, next: None })
}

/// Blocks that one page reads backwards, some megabytes.
const PAGE_BLOCKS: usize = 16;

/// The receipts of the next stretch back, newest first.
pub(super) fn page_back(
    folder: &Path,
    segments: &[Segment],
    query: &ReceiptQuery,
    before: Option<&Cursor>,
) -> io::Result<Page<Receipt>> {
    let mut data = Vec::new();
    let mut blocks = 0;
    for segment in segments.iter().rev() {
        let before_bytes = match before {
            Some((name, _)) if segment.name > *name => continue,
            Some((name, at_bytes)) if segment.name == *name => *at_bytes,
            _ => u64::MAX,
        };
        for stretch in segment.blocks_of(&query.created_ms).filter(|block| block.start < before_bytes) {
            let at_bytes = stretch.start;
            let wanted = |receipt: Receipt| data.extend(Some(receipt).filter(|receipt| query.is_of(receipt)));
            segment.visit(folder, stretch.start, stretch.end, wanted)?;
            blocks += 1;
            if blocks == PAGE_BLOCKS || !data.is_empty() {
                data.sort_unstable_by_key(|receipt| std::cmp::Reverse(receipt.id));
                return Ok(Page { data, next: Some(format!("{}:{at_bytes}", segment.name.file_name())) });
            }
        }
    }
    Ok(Page { data, next: None })
}
