//! The outbox in DynamoDB: what is due in one partition, which is empty as a rule, so that looking costs half a read unit;
//! what has ended in another.

use super::{DAY_MS, DynamoLedger};
use crate::alerts::alert::Claim;
use crate::alerts::delivery::Posted;
use crate::dynamodb::{Change, EXPIRES, Fault, Item, Key, Span, json, number, number_of, record_of, seconds};
use crate::ledger::{ALERTS_LISTED, LedgerError, Outbox};
use async_trait::async_trait;

const DUE: &str = "ALERTS#due";
const ENDED: &str = "ALERTS#ended";
/// After what time DynamoDB may delete an alert.
const KEEP_MS: u64 = 30 * DAY_MS;

#[async_trait]
impl Outbox for DynamoLedger {
    async fn post(&self, claim: &Claim, posted: &Posted, lease_ms: u64, now_ms: u64) -> Result<bool, LedgerError> {
        let row = row(posted, DUE, now_ms.saturating_add(lease_ms))?;
        let key = Key::alone(format!("ALERTED#{}#{}", claim.uid.as_deref().unwrap_or_default(), claim.what));
        // DynamoDB takes days to delete what is over.
        let claims = Change::put(key, [("until_ms", number(claim.until_ms)), (EXPIRES, seconds(claim.until_ms))])
            .only_if("attribute_not_exists(pk) OR until_ms <= :now")
            .with(":now", number(now_ms));
        Ok(self.table.transact(|_| Ok(vec![claims.clone(), row.clone()])).await?.is_empty())
    }

    async fn take_due(&self, limit: usize, lease_ms: u64, now_ms: u64) -> Result<Vec<Posted>, LedgerError> {
        let is_due = |item: &Item| number_of(item, "due_at_ms") <= now_ms;
        let mut taken = Vec::new();
        for item in self.table.query(Span::all(DUE), limit, is_due).await? {
            let posted: Posted = record_of(&item, "json")?;
            let take = Change::update(key(&posted, DUE), "SET due_at_ms = :lease")
                .only_if("due_at_ms = :seen")
                .with(":lease", number(now_ms.saturating_add(lease_ms)))
                .with(":seen", number(number_of(&item, "due_at_ms")));
            if self.table.write(take).await?.is_none() {
                taken.push(posted);
            }
        }
        Ok(taken)
    }

    async fn note_delivery(&self, posted: &Posted) -> Result<(), LedgerError> {
        let is_there = |change: Change| change.only_if("attribute_exists(pk)");
        match posted.due_at_ms() {
            // One that was erased meanwhile stays so.
            Some(due_at_ms) => drop(self.table.write(is_there(row(posted, DUE, due_at_ms)?)).await?),
            None => {
                let ended = row(posted, ENDED, 0)?;
                let left = is_there(Change::delete(key(posted, DUE)));
                self.table.transact(|_| Ok(vec![left.clone(), ended.clone()])).await?;
            }
        }
        Ok(())
    }

    async fn alerts(&self) -> Result<Vec<Posted>, LedgerError> {
        let latest = |pk| Span { newest_first: true, ..Span::all(pk) };
        let (due, ended) = tokio::try_join!(
            self.table.query(latest(DUE), ALERTS_LISTED, |_| true),
            self.table.query(latest(ENDED), ALERTS_LISTED, |_| true),
        )?;
        let read = due.iter().chain(&ended).map(|item| record_of(item, "json"));
        let mut alerts = read.collect::<Result<Vec<Posted>, Fault>>()?;
        alerts.sort_by(|one, other| other.alert.id.cmp(&one.alert.id));
        alerts.truncate(ALERTS_LISTED);
        Ok(alerts)
    }
}

/// By age, then by tenant, as whoever erases one must see.
fn key(posted: &Posted, pk: &str) -> Key {
    Key::new(pk, format!("{}#{}", posted.alert.id, posted.alert.uid.as_deref().unwrap_or_default()))
}

fn row(posted: &Posted, pk: &str, due_at_ms: u64) -> Result<Change, Fault> {
    let expires = seconds(posted.alert.at_ms.saturating_add(KEEP_MS));
    let attributes = [("json", json(posted)?), ("due_at_ms", number(due_at_ms)), (EXPIRES, expires)];
    Ok(Change::put(key(posted, pk), attributes))
}
