#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::figures::Figures;
use crate::play::Tenants;
use crate::policy::{Named, policies};
use crate::scenarios::scenarios;
use crate::verdict::missed;
use crate::world::Scenario;
use std::sync::Arc;

/// A seed that is neither tuned on nor reported.
const SEED: u64 = 3_000;

fn played(tenants: &Tenants, scenario: &Arc<Scenario>, named: &Named) -> Figures {
    let mut figures = Figures::default();
    figures.add(scenario, &tenants.play(scenario, named, SEED).unwrap());
    figures
}

fn of(name: &str) -> Arc<Scenario> {
    Arc::new(scenarios().into_iter().find(|scenario| scenario.name == name).unwrap())
}

#[test]
fn the_gateway_serves_leaves_and_comes_back_in_every_scenario() {
    let (tenants, ours) = (Tenants::new().unwrap(), policies().remove(0));
    let missed = scenarios().into_iter().flat_map(|scenario| {
        let scenario = Arc::new(scenario);
        let missed = missed(&scenario, &played(&tenants, &scenario, &ours), &[]);
        missed.into_iter().map(|why| format!("{}: {why}", scenario.name)).collect::<Vec<_>>()
    });
    assert_eq!(missed.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn no_other_selection_is_better_in_all_where_a_model_hangs_or_fails() {
    let tenants = Tenants::new().unwrap();
    for scenario in ["recovery", "hang"].map(of) {
        let mut all: Vec<_> = policies().iter().map(|named| (named.name, played(&tenants, &scenario, named))).collect();
        let (_, ours) = all.remove(0);
        assert_eq!(missed(&scenario, &ours, &all), Vec::<String>::new(), "{}", scenario.name);
    }
}

#[test]
fn a_selection_that_heeds_no_failure_is_seen_not_to_leave() {
    let (tenants, scenario) = (Tenants::new().unwrap(), of("hang"));
    let fixed = policies().remove(1);
    assert_eq!(fixed.name, "fixed order");
    let missed = missed(&scenario, &played(&tenants, &scenario, &fixed), &[]);
    assert!(missed.iter().any(|why| why.contains("left after")), "{missed:?}");
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let (tenants, scenario) = (Tenants::new().unwrap(), of("rate limits"));
    for named in policies() {
        let twice = [(), ()].map(|()| played(&tenants, &scenario, &named).cells());
        assert_eq!(twice[0], twice[1], "{}", named.name);
    }
}
