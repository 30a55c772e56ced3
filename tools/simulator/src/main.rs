//! `cargo run --release -p routing-simulator [--training] [--ours] [NAME …]`: plays the scenarios, those whose names contain one
//! of the words if any are given, with the gateway's selection and, unless only ours is asked for, with those of others;
//! prints the tables that `docs/routing.md` has, and ends with an error if the gateway's selection does not do what it is to.

mod figures;
mod frame;
mod notebook;
mod play;
mod policy;
mod provider;
mod scenarios;
#[cfg(test)]
mod tests;
mod verdict;
mod world;

use anyhow::{Result, ensure};
use figures::{Figures, HEADINGS};
use play::Tenants;
use policy::policies;
use scenarios::scenarios;
use std::ops::Range;
use std::sync::Arc;
use verdict::missed;

/// The seeds on which anything may be tuned.
const TRAINING_SEEDS: Range<u64> = 1_000..1_002;
/// Those that are reported, on which nothing was.
const SEEDS: Range<u64> = 2_000..2_002;

fn main() -> Result<()> {
    let (options, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let has = |option: &str| options.iter().any(|given| given == option);
    let seeds = if has("--training") { TRAINING_SEEDS } else { SEEDS };
    let others = if has("--ours") { 0 } else { usize::MAX - 1 };
    let named = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let tenants = Tenants::new()?;
    let mut summary = vec![format!("| scenario | {} |\n|---|{}", HEADINGS.join(" | "), "---|".repeat(HEADINGS.len()))];
    let mut failures = Vec::new();
    for scenario in scenarios().into_iter().filter(|scenario| named(scenario.name)) {
        let scenario = Arc::new(scenario);
        println!("\n**{}**: {}.\n", scenario.name, scenario.what);
        println!("| selection | {} |\n|---|{}", HEADINGS.join(" | "), "---|".repeat(HEADINGS.len()));
        let mut played = Vec::new();
        for named in policies().into_iter().take(1 + others) {
            let mut figures = Figures::default();
            for seed in seeds.clone() {
                figures.add(&scenario, &tenants.play(&scenario, &named, seed)?);
            }
            println!("| {} | {} |", named.name, figures.cells().join(" | "));
            played.push((named.name, figures));
        }
        let (_, ours) = &played[0];
        summary.push(format!("| {} | {} |", scenario.name, ours.cells().join(" | ")));
        failures
            .extend(missed(&scenario, ours, &played[1..]).into_iter().map(|why| format!("{}: {why}", scenario.name)));
    }
    println!("\n**The gateway in all of them**\n\n{}", summary.join("\n"));
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
