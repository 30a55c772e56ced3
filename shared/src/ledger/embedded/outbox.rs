//! The outbox of the embedded ledger, beside its claims.

use super::super::{ALERTS_LISTED, LedgerError, WhoseUid};
use super::rows::{json, parse};
use crate::alerts::alert::Claim;
use crate::alerts::delivery::Posted;
use crate::disk::database::FileDatabase;
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

/// Until when each claim holds, in Unix milliseconds, by tenant and what it is of.
const CLAIMED: TableDefinition<(&str, &str), u64> = TableDefinition::new("alert_claims");
/// Alerts, as JSON, by their ids.
const ALERTS: TableDefinition<&str, &[u8]> = TableDefinition::new("alerts");

/// An alert and when it is due.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    posted: Posted,
    due_at_ms: Option<u64>,
}

/// Makes the tables where they are missing.
pub(super) fn open(change: &WriteTransaction) -> Result<(), redb::Error> {
    change.open_table(CLAIMED)?;
    change.open_table(ALERTS)?;
    Ok(())
}

/// Removes what is of these tenants; answers how much that was.
pub(super) fn erase(change: &WriteTransaction, whose: &WhoseUid) -> Result<u64, LedgerError> {
    let (mut claimed, mut alerts) = (change.open_table(CLAIMED)?, change.open_table(ALERTS)?);
    let before = claimed.len()? + alerts.len()?;
    claimed.retain(|(uid, _), _| uid.is_empty() || !whose(uid))?;
    let is_theirs = |row: &[u8]| {
        let row = parse::<Row>(row).ok();
        row.and_then(|row| row.posted.alert.uid).is_some_and(|uid| whose(&uid))
    };
    alerts.retain(|_, row| !is_theirs(row))?;
    Ok(before - claimed.len()? - alerts.len()?)
}

/// The outbox in the database of the claims.
pub(super) struct Outbox<'a>(pub(super) &'a FileDatabase);

impl Outbox<'_> {
    pub(super) fn post(&self, claim: &Claim, posted: &Posted, lease_ms: u64, now_ms: u64) -> Result<bool, LedgerError> {
        let key = (claim.uid.as_deref().unwrap_or_default(), &*claim.what);
        self.0.write(|change| {
            let (mut claimed, mut alerts) = (change.open_table(CLAIMED)?, change.open_table(ALERTS)?);
            if claimed.get(key)?.is_some_and(|until_ms| until_ms.value() > now_ms) {
                return Ok(false);
            }
            claimed.retain(|_, until_ms| until_ms > now_ms)?;
            claimed.insert(key, claim.until_ms)?;
            let row = Row { posted: posted.clone(), due_at_ms: Some(now_ms.saturating_add(lease_ms)) };
            alerts.insert(&*posted.alert.id, json(&row)?.as_slice())?;
            let mut too_many = alerts.len()?.saturating_sub(ALERTS_LISTED as u64);
            // Ids sort by age. One that is not delivered yet stays.
            alerts.retain(|_, row| {
                let goes = too_many > 0 && parse::<Row>(row).is_ok_and(|row| row.posted.due_at_ms().is_none());
                too_many -= u64::from(goes);
                !goes
            })?;
            Ok(true)
        })
    }

    pub(super) fn take_due(&self, limit: usize, lease_ms: u64, now_ms: u64) -> Result<Vec<Posted>, LedgerError> {
        let due: Vec<Posted> = self.rows(|row| row.due_at_ms.is_some_and(|due_at_ms| due_at_ms <= now_ms))?;
        let due: Vec<Posted> = due.into_iter().take(limit).collect();
        if due.is_empty() {
            return Ok(due);
        }
        self.0.write(|change| {
            let mut alerts = change.open_table(ALERTS)?;
            for posted in &due {
                let row = Row { posted: posted.clone(), due_at_ms: Some(now_ms.saturating_add(lease_ms)) };
                alerts.insert(&*posted.alert.id, json(&row)?.as_slice())?;
            }
            Ok(due)
        })
    }

    pub(super) fn note_delivery(&self, posted: &Posted) -> Result<(), LedgerError> {
        self.0.write(|change| {
            let row = Row { posted: posted.clone(), due_at_ms: posted.due_at_ms() };
            let mut alerts = change.open_table(ALERTS)?;
            // One that was erased meanwhile stays so.
            if alerts.get(&*posted.alert.id)?.is_some() {
                alerts.insert(&*posted.alert.id, json(&row)?.as_slice())?;
            }
            Ok(())
        })
    }

    pub(super) fn alerts(&self) -> Result<Vec<Posted>, LedgerError> {
        let mut alerts = self.rows(|_| true)?;
        alerts.reverse();
        alerts.truncate(ALERTS_LISTED);
        Ok(alerts)
    }

    /// The alerts whose rows are so, oldest first.
    fn rows(&self, is_wanted: impl Fn(&Row) -> bool) -> Result<Vec<Posted>, LedgerError> {
        self.0.read(|read| {
            let mut found = Vec::new();
            for row in read.open_table(ALERTS)?.iter()? {
                found.extend(Some(parse::<Row>(row?.1.value())?).filter(&is_wanted).map(|row| row.posted));
            }
            Ok(found)
        })
    }
}
