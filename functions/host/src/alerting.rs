//! When alerts are found and sent: in no request's time.
//!
//! A process that runs all the time does it once a second. Lambda freezes a process as soon as it asks for the next
//! invocation, so there it is done between an answer's last byte and that, for a bounded time; what does not fit is in the
//! ledger's outbox, for whoever comes next.

use crate::now_and_then;
use gateway_core::gateway::Gateway;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a receiver may take, in a process that runs all the time.
const TRY_WITHIN: Duration = Duration::from_secs(10);
/// The same in a function, and how long all of it may take there.
const TRY_WITHIN_A_FUNCTION: Duration = Duration::from_secs(2);
const AFTER_AN_ANSWER: Duration = Duration::from_secs(4);

/// Begins, in a process that runs all the time.
pub(crate) fn begin(gateway: &Arc<Gateway>) {
    now_and_then::begin(gateway, |gateway| async move { gateway.send_alerts(TRY_WITHIN).await });
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
