//! When alerts are found and sent: in no request's time.
//!
//! A process that runs all the time does it once a second. Lambda freezes a process as soon as it asks for the next
//! invocation, so there it is done between an answer's last byte and that, for a bounded time; what does not fit is in the
//! ledger's outbox, for whoever comes next.

use gateway_core::gateway::Gateway;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

const EVERY: Duration = Duration::from_secs(1);
/// How long a receiver may take, in a process that runs all the time.
const TRY_WITHIN: Duration = Duration::from_secs(10);
/// The same in a function, and how long all of it may take there.
const TRY_WITHIN_A_FUNCTION: Duration = Duration::from_secs(2);
const AFTER_AN_ANSWER: Duration = Duration::from_secs(4);

/// Begins, for as long as there is the gateway.
pub(crate) fn begin(gateway: &Arc<Gateway>) {
    let gateway = Arc::downgrade(gateway);
    #[allow(clippy::disallowed_methods, reason = "what is told of a request is no part of it")]
    tokio::spawn(now_and_then(gateway));
}

async fn now_and_then(gateway: Weak<Gateway>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(gateway) = gateway.upgrade() else { return };
        gateway.send_alerts(TRY_WITHIN).await;
    }
}

/// Finds and sends them in a function that has answered.
pub(crate) async fn after_an_answer(gateway: &Gateway) {
    if timeout(AFTER_AN_ANSWER, gateway.send_alerts(TRY_WITHIN_A_FUNCTION)).await.is_err() {
        tracing::warn!("alerts take long; what is not sent stays in the outbox");
    }
}

/// The last ones of a process that ends.
pub(crate) async fn at_the_end(gateway: &Gateway) {
    // Another call that is at it ends with the process; what it has begun stays in the outbox.
    let _ = timeout(TRY_WITHIN_A_FUNCTION, gateway.send_alerts(TRY_WITHIN_A_FUNCTION)).await;
}
