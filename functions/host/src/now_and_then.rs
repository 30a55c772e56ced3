//! What is done once a second, for as long as there is the gateway. A task of its own does it, and not the next request:
//! there may be none for a long time.

use gateway_core::gateway::Gateway;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_secs(1);

/// Begins.
pub(crate) fn begin<F>(gateway: &Arc<Gateway>, work: impl Fn(Arc<Gateway>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let gateway = Arc::downgrade(gateway);
    #[allow(clippy::disallowed_methods, reason = "what is done now and then is no request's")]
    tokio::spawn(async move {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(gateway) = gateway.upgrade() else { return };
            work(gateway).await;
        }
    });
}
