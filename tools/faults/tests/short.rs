//! The scenarios that are short enough for every run of the tests, one after another: they share two cores.

#![allow(clippy::unwrap_used)]

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_short_scenarios_hold() {
    let mut chosen = faults::scenarios();
    chosen.retain(|scenario| !scenario.is_long);
    let figures = faults::play(&chosen, |scenario, figures| println!("{}: {figures}", scenario.name)).await.unwrap();
    let failed: Vec<_> = chosen.iter().zip(&figures).filter(|(_, figures)| !figures.hold()).collect();
    let failed: Vec<String> =
        failed.iter().map(|(scenario, figures)| format!("{}: {figures}", scenario.name)).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(figures.len() == chosen.len() && !figures.is_empty());
}
