//! What the store does not know, read from the directory and the ledger and written to it.
//!
//! A window that is missing is rebuilt before the next admission, and one that lacks what was admitted without the
//! store is charged with it (M5). The settings version rides along (T2). What is written names the incarnation of the
//! admission that asked for it: a store that was lost again since refuses it, and says so to the admission that
//! follows.

use crate::error::Error;
use crate::ledger::LedgerError;
use crate::limit::window::Window;
use crate::request::work::{LEASE_AFTER_DEADLINE_MS, Work};
use crate::stage::admit::ask::quota_windows;
use crate::stage::admit::hold::Refused;
use std::time::Duration;

/// How long a strict tenant's request waits for another one to open a window.
const OPENING: Duration = Duration::from_millis(20);

/// With the store back: sends it the pending calls, and has it charge what this tenant did without it.
pub(crate) async fn reconcile(work: &mut Work<'_>) -> Result<(), Refused> {
    let gateway = work.gateway;
    let tenant = work.caller.tenant.uid.clone();
    gateway.flush_pending().await;
    let owners = gateway.outage.take_unreconciled(&work.caller);
    if owners.is_empty() {
        return Ok(());
    }
    let now_ms = gateway.clock.now_ms();
    let mut windows = quota_windows(&work.caller, now_ms);
    windows.retain(|window| owners.contains(&window.key));
    let charged = async {
        // Whether it is back at all, before the ledger is read in vain. A window that it lost is rebuilt with all that
        // was used of it, in its turn: a strict tenant's stays closed first.
        let known = gateway.store.counters().usage(&tenant, &windows, now_ms).await?;
        let kept: Vec<Window> =
            windows.iter().zip(known).filter(|(_, known)| known.is_some()).map(|(window, _)| *window).collect();
        // One that is lost by then is not begun by this: what was read for it would be older than its loss.
        restore_windows(work, None, &kept, now_ms).await
    };
    match charged.await {
        Ok(()) => Ok(()),
        Err(refused) => {
            gateway.outage.mark_unreconciled(&work.caller);
            match refused {
                // Without the ledger nobody knows what there is to charge; that must not keep a request from being served.
                Refused::Final(_) => Ok(()),
                down @ Refused::Down(_) => Err(down),
            }
        }
    }
}

/// Whether what was decided about a request holds still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settings {
    /// It does.
    Current,
    /// The tenant's settings have changed since.
    Stale,
}

impl Settings {
    pub(crate) fn is_stale(self) -> bool {
        self == Self::Stale
    }
}

/// What an admission found stale.
pub(crate) struct Stale<'a> {
    pub(crate) settings: bool,
    pub(crate) windows: &'a [Window],
    pub(crate) incarnation: u64,
}

/// Reads the truth and writes it to the store; answers whether the tenant's settings were others than the truth's.
/// `waited_for` are the windows of a strict tenant that this request has found missing before, in which incarnation: a
/// request that opened one is given the time of one more look, and one that was lost is closed for as long as a hold
/// can be in flight (M5).
pub(crate) async fn reload(
    work: &mut Work<'_>,
    stale: Stale<'_>,
    waited_for: &mut Vec<(Window, u64)>,
    now_ms: u64,
) -> Result<Settings, Refused> {
    let Stale { settings, windows, incarnation } = stale;
    let gateway = work.gateway;
    let version = work.caller.tenant.version;
    if settings {
        work.caller = gateway.authenticator.again(&work.caller, now_ms).await?;
    }
    let mut missing = windows.to_vec();
    if work.caller.tenant.settings.strict {
        let tenant = work.caller.tenant.uid.clone();
        let lease_ms = gateway.config.request_deadline_ms + LEASE_AFTER_DEADLINE_MS;
        for window in windows {
            match waited_for.iter().filter(|known| **known == (*window, incarnation)).count() {
                0 if gateway.ledger.open_window(&tenant, window).await.map_err(ledger_is_down)? => {}
                0 => {
                    missing.retain(|other| other != window);
                    tokio::time::sleep(OPENING).await;
                }
                1 => {
                    missing.retain(|other| other != window);
                    gateway.store.counters().close(&tenant, incarnation, window, now_ms + lease_ms, now_ms).await?;
                }
                // It was closed, and is not any more.
                _ => {}
            }
            waited_for.push((*window, incarnation));
        }
    }
    restore_windows(work, Some(incarnation), &missing, now_ms).await?;
    Ok(if work.caller.tenant.version == version { Settings::Current } else { Settings::Stale })
}

/// Tells the store what the ledger says that windows had used. Whether it heeds that is seen by the next admission.
async fn restore_windows(
    work: &Work<'_>,
    incarnation: Option<u64>,
    windows: &[Window],
    now_ms: u64,
) -> Result<(), Refused> {
    let (gateway, tenant) = (work.gateway, &work.caller.tenant);
    let mut totals = Vec::with_capacity(windows.len());
    for window in windows {
        totals.push((*window, gateway.ledger.totals(&tenant.uid, window).await.map_err(ledger_is_down)?));
    }
    gateway.store.counters().rebuild(&tenant.uid, incarnation, tenant.version, &totals, now_ms).await?;
    Ok(())
}

fn ledger_is_down(error: LedgerError) -> Error {
    Error::Unavailable(error.to_string())
}
