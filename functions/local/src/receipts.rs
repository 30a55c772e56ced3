//! The receipts that are kept, for commands that go through all of them, one page in memory at a time.
//!
//! They come from the ledger itself or, where a running gateway has its folder open, from that gateway: a ledger on disk
//! has one owner.

use crate::plane::Plane;
use anyhow::Context;
use gateway_core::clock::{Clock, DAY_MS, SystemClock};
use gateway_core::ledger::{Ledger, ReceiptQuery};
use gateway_core::limit::window::beginning_of;
use gateway_core::receipt::Receipt;
use gateway_core::tenant::UID_MARK;
use gateway_host::http::address;
use gateway_host::wiring::Place;
use std::sync::Arc;

/// For how long receipts are shown.
const KEPT_MS: u64 = 30 * DAY_MS;

/// Which receipts are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The tenant's id or uid.
    pub(crate) tenant: Option<String>,
    pub(crate) from_ms: Option<u64>,
    pub(crate) to_ms: Option<u64>,
}

impl Wanted {
    /// Takes an option of the command line, if it is one of these.
    ///
    /// # Errors
    /// Its value is not what it must be.
    pub(crate) fn take(&mut self, option: &str, value: &str) -> anyhow::Result<bool> {
        let day = beginning_of(value);
        let ms = || day.or_else(|| value.parse().ok());
        let wrong = || format!("{option}: {value} is neither a UTC day as YYYY-MM-DD nor Unix milliseconds");
        match option {
            "--tenant" => self.tenant = Some(value.to_owned()),
            "--from" => self.from_ms = Some(ms().with_context(wrong)?),
            // A day is meant to its end.
            "--to" => self.to_ms = Some(day.map(|day| day + DAY_MS - 1).or_else(ms).with_context(wrong)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn created_ms(&self) -> std::ops::RangeInclusive<u64> {
        let first_ms = SystemClock.now_ms().saturating_sub(KEPT_MS);
        self.from_ms.unwrap_or(0).max(first_ms)..=self.to_ms.unwrap_or(u64::MAX)
    }
}

/// Gives `each` the receipts that are wanted, and answers where they came from.
///
/// # Errors
/// Neither the ledger nor a gateway that has it can be read, or there is no such tenant.
pub(crate) async fn visit(wanted: &Wanted, mut each: impl FnMut(&Receipt)) -> anyhow::Result<String> {
    let place = Place::from_env()?;
    match (place.ledger().await, &place) {
        (Ok(ledger), _) => {
            let tenant = match &wanted.tenant {
                Some(name) => Some(uid_of(&place, name).await?),
                None => None,
            };
            of_ledger(&*ledger, ReceiptQuery { tenant, created_ms: wanted.created_ms() }, &mut each).await?;
            Ok(place.to_string())
        }
        (Err(refused), Place::Folder(_)) => {
            let address = address();
            let asked = of_gateway(wanted, &mut each).await;
            asked.with_context(|| format!("{refused:#}; so the gateway on {address} was asked"))?;
            Ok(format!("the gateway on {address}"))
        }
        (Err(refused), Place::Table(_)) => Err(refused),
    }
}

async fn uid_of(place: &Place, name: &str) -> anyhow::Result<Arc<str>> {
    if name.contains(UID_MARK) {
        return Ok(name.into());
    }
    let tenant = place.directory().await?.tenant(name).await?;
    Ok(tenant.with_context(|| format!("--tenant: there is no tenant {name} in {place}"))?.uid().clone())
}

async fn of_ledger(ledger: &dyn Ledger, query: ReceiptQuery, each: &mut impl FnMut(&Receipt)) -> anyhow::Result<()> {
    let mut cursor = None;
    loop {
        let page = ledger.receipts(&query, cursor.as_deref()).await?;
        page.data.iter().for_each(&mut *each);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// The receipts as the admin plane sends them.
async fn of_gateway(wanted: &Wanted, each: &mut impl FnMut(&Receipt)) -> anyhow::Result<()> {
    let plane = Plane::from_env()?;
    let (from, to) = (wanted.from_ms.map(|ms| ms.to_string()), wanted.to_ms.map(|ms| ms.to_string()));
    let said = [("tenant", &wanted.tenant), ("from", &from), ("to", &to)];
    let params: Vec<(&str, &str)> = said.iter().filter_map(|(name, said)| Some((*name, said.as_deref()?))).collect();
    let mut cursor = String::new();
    loop {
        let page = plane.page("receipts", &params, &cursor).await?;
        let receipts: Vec<Receipt> =
            serde_json::from_value(page["data"].clone()).context("its answer is no page of receipts")?;
        receipts.iter().for_each(&mut *each);
        let Some(next) = page["next"].as_str() else { return Ok(()) };
        next.clone_into(&mut cursor);
    }
}
