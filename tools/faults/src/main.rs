//! `cargo run -p faults [--short] [--list] [NAME …]`: plays the scenarios, those whose names contain one of the words if any
//! are given, and prints their figures; ends with the table that `docs/reliability.md` has, and with an error if one fails.

use anyhow::{Result, ensure};
use faults::{HEADINGS, play, scenarios};

#[tokio::main]
async fn main() -> Result<()> {
    let (options, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let has = |option: &str| options.iter().any(|given| given == option);
    let named = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut chosen = scenarios();
    chosen.retain(|scenario| named(scenario.name) && !(has("--short") && scenario.is_long));
    if has("--list") {
        chosen.iter().for_each(|scenario| println!("{}: {}", scenario.name, scenario.expected));
        return Ok(());
    }
    let figures = play(&chosen, |scenario, figures| println!("{}: {figures}", scenario.name)).await?;
    println!("\n| fault | expected | {} |\n|---|---|{}", HEADINGS.join(" | "), "---|".repeat(HEADINGS.len()));
    for (scenario, figures) in chosen.iter().zip(&figures) {
        println!("| {} | {} | {} |", scenario.name, scenario.expected, figures.cells().join(" | "));
    }
    let failed = figures.iter().filter(|figures| !figures.hold()).count();
    ensure!(failed == 0, "{failed} of {} scenarios fail", chosen.len());
    Ok(())
}
