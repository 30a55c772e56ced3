//! What a function does between an answer's last byte and the next invocation.

use super::lambda::{echo_router, event, within};
use super::runtime_double::{Moment, RuntimeDouble};
use gateway_host::lambda::{ResponseMode, serve};
use tokio::sync::Semaphore;

#[tokio::test]
async fn what_runs_after_an_answer_begins_with_its_last_byte_and_holds_the_next_invocation_up() {
    let (lambda, gate) = (RuntimeDouble::start().await, Semaphore::new(0));
    let after = async || gate.acquire().await.unwrap().forget();
    let address = lambda.address();
    let serving = serve(&address, echo_router(), ResponseMode::Auto, after, std::future::pending());
    let asking = async {
        assert!(lambda.invoke(event("rest-models")).answer().await.is_complete);
        assert_eq!(lambda.moments().iter().filter(|&&moment| moment == Moment::Polled).count(), 1);
        gate.add_permits(2);
        assert!(lambda.invoke(event("rest-models")).answer().await.is_complete);
    };
    within(async {
        tokio::select! {
            _ = serving => panic!("it has ended"),
            () = asking => {}
        }
    })
    .await;
}
