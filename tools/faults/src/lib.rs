//! Faults, injected into real servers under a gateway that is under load.
//!
//! Each scenario starts what it needs (a Redis or a cluster of six nodes, DynamoDB Local, the double of a provider, and
//! gateways as processes of their own), sends open-loop load, breaks one thing, and then holds the books against one
//! another: what the tenant's window counts, what the ledger says, and what the provider billed. What must be so of a
//! fault stands beside it, in [`scenarios`]; what must be so of all of them, M1, M2, M5 and M6 from outside, in
//! [`verdict`]. `make test` plays the short ones, `make torture` all.

#![allow(clippy::disallowed_methods, reason = "what is tested here is what happens in time")]

mod books;
mod client;
mod configuration;
mod exact;
mod gateway;
mod hostile;
mod http;
mod ledger;
mod load;
mod process;
mod restarts;
mod stage;
mod store;
mod table;
mod verdict;

use stage::Rig;
use std::future::Future;
use std::pin::Pin;
use verdict::Played;
pub use verdict::{Figures, HEADINGS};

type Playing<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Played>> + 'a>>;

/// One fault, and what is expected of it.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What must come of it, in words.
    pub expected: &'static str,
    /// Whether it takes longer than `make test` has time for.
    pub is_long: bool,
    play: for<'a> fn(&'a Rig) -> Playing<'a>,
}

/// All of them, in the order of the table.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    [
        exact::scenarios(),
        store::scenarios(),
        ledger::scenarios(),
        process::scenarios(),
        restarts::scenarios(),
        client::scenarios(),
        hostile::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Plays scenarios one after another and tells of each as soon as it has ended; answers the figures of all, in their order.
///
/// # Errors
/// What all of them need cannot be started.
pub async fn play(scenarios: &[Scenario], report: impl Fn(&Scenario, &Figures)) -> anyhow::Result<Vec<Figures>> {
    let rig = Rig::start().await?;
    let mut figures: Vec<Option<Figures>> = scenarios.iter().map(|_| None).collect();
    // Leases take a minute to end: other scenarios are played meanwhile.
    let mut waiting = Vec::new();
    for (place, scenario) in scenarios.iter().enumerate() {
        let shown = match (scenario.play)(&rig).await {
            Ok(played) if played.allowed.killed => {
                waiting.push((place, played));
                continue;
            }
            Ok(played) => played.judged().await,
            Err(error) => Figures::failed(&error),
        };
        report(scenario, &shown);
        figures[place] = Some(shown);
    }
    for (place, played) in waiting {
        let shown = played.judged().await;
        report(&scenarios[place], &shown);
        figures[place] = Some(shown);
    }
    Ok(figures.into_iter().flatten().collect())
}
