//! Property tests of placement: what the planner accepts satisfies all constraints, and the placements that helps propose
//! are accepted.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::graph::tests::{Plan, api, artifact, config, module};
use crate::graph::{AppGraph, BuildOutcome, EdgeKind, PlacementReason};
use watertight_component::shape::{Named, Resource, Type};
use watertight_model::config::AppConfig;
use watertight_model::problem::{Code, Problem};

/// Returns the type that the interface of module `at` carries beside a number, as `kind` says. `None` if it carries only a number.
fn carried(at: usize, kind: u32) -> Option<Type> {
    match kind {
        0 => Some(Type::Own(Resource { interface: Some(api(at)), name: "thing".into() })),
        1 => {
            let body = (0..1_001).map(|case| format!("c{case}").into()).collect();
            Some(Type::Enum(Arc::new(Named { name: "large".into(), body })))
        }
        _ => None,
    }
}

/// Generates modules that call only later ones, so that there is no circle.
fn plans() -> impl Strategy<Value = Vec<Plan>> {
    (2..7_usize).prop_flat_map(|count| {
        let imports = prop::collection::btree_set(0..count, 0..3);
        let plan = (imports, prop::option::weighted(0.3, 0..3_usize), 0..6_u32);
        prop::collection::vec(plan, count).prop_map(|plans| {
            let plan = |(at, (imports, wish, kind)): (usize, (std::collections::BTreeSet<usize>, _, _))| {
                let imports: BTreeMap<usize, bool> =
                    imports.into_iter().filter(|to| *to > at).map(|to| (to, true)).collect();
                let calls = imports.keys().copied().collect();
                Plan { there: true, imports, calls, wish, carries: carried(at, kind), ..Plan::default() }
            };
            plans.into_iter().enumerate().map(plan).collect()
        })
    })
}

/// Generates modules that call only later ones. The manifest places none, and one compartment could hold them all.
fn unplaced() -> impl Strategy<Value = Vec<Plan>> {
    (2..10_usize).prop_flat_map(|count| {
        let imports = prop::collection::btree_set(0..count, 0..3);
        let marks = (prop::bool::weighted(0.2), prop::bool::weighted(0.1), prop::bool::weighted(0.15));
        prop::collection::vec((imports, marks), count).prop_map(|plans| {
            let plan = |(at, (imports, (large, concurrent, handles)))| {
                let imports: std::collections::BTreeSet<usize> = imports;
                let imports: BTreeMap<usize, bool> =
                    imports.into_iter().filter(|to| *to > at).map(|to| (to, true)).collect();
                let calls = imports.keys().copied().collect();
                let carries = carried(at, if handles { 0 } else { 2 });
                Plan { there: true, imports, calls, large, concurrent, carries, ..Plan::default() }
            };
            plans.into_iter().enumerate().map(plan).collect()
        })
    })
}

fn build(config: &AppConfig, plans: &[Plan]) -> BuildOutcome {
    let artifacts = (0..plans.len()).map(|at| (module(at), artifact(at, plans))).collect();
    AppGraph::build(config, &artifacts)
}

/// Returns the modules that the help of a problem proposes to place in one compartment. `None` if it proposes no such placement.
fn offered(problem: &Problem) -> Option<Vec<String>> {
    let help = problem.help.as_ref()?;
    let list = help.split_once("modules = [")?.1.split_once(']')?.0;
    Some(list.split(", ").map(|name| name.trim_matches('"').to_owned()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_granted_holds(plans in plans()) {
        let BuildOutcome { graph, problems } = build(&config(&plans), &plans);
        if !problems.is_empty() {
            return Ok(());
        }
        for (from, plan) in plans.iter().enumerate() {
            for to in plan.imports.keys() {
                let kind = graph.edge(&module(from), &module(*to));
                match &plans[*to].carries {
                    Some(Type::Own(_)) => prop_assert_eq!(kind, EdgeKind::Fused),
                    Some(_) => prop_assert_eq!(kind, EdgeKind::Bridged),
                    None => {}
                }
            }
        }
    }

    /// If calls have no circle and the manifest places nothing, then every module has a place.
    #[test]
    fn the_planner_makes_no_circle_of_its_own(plans in unplaced()) {
        let BuildOutcome { graph, problems } = build(&config(&plans), &plans);
        prop_assert!(problems.is_empty(), "{:?}\n{:#?}", plans, problems);
        let alone = |at: usize| graph.compartments.iter().find(|found| found.modules.contains(&module(at)));
        for (at, plan) in plans.iter().enumerate() {
            let reason = &alone(at).unwrap().reason;
            let is_main = matches!(reason, PlacementReason::Default | PlacementReason::SeparatedByCircle(_));
            prop_assert!(!is_main || !(plan.large || plan.concurrent), "{:?}", reason);
        }
    }

    /// Two modules that pass a handle share a compartment without an entry in the manifest, if one compartment can hold
    /// them.
    #[test]
    fn handles_need_no_word_in_the_manifest(count in 2..6_usize) {
        let plan = |at: usize| Plan {
            there: true,
            imports: if at + 1 < count { BTreeMap::from([(at + 1, true)]) } else { BTreeMap::new() },
            calls: if at + 1 < count { [at + 1].into() } else { Default::default() },
            carries: carried(at, 0),
            ..Plan::default()
        };
        let plans: Vec<Plan> = (0..count).map(plan).collect();
        let BuildOutcome { graph, problems } = build(&config(&plans), &plans);
        prop_assert!(problems.is_empty(), "{:?}", problems);
        prop_assert_eq!(graph.compartments.len(), 1);
    }

    /// Following the help texts of problems one after another terminates, and no help proposes a placement that is refused.
    #[test]
    fn no_help_sends_anybody_in_a_circle(plans in plans()) {
        let mut config = config(&plans);
        for _ in 0..plans.len() + 3 {
            let problems = build(&config, &plans).problems;
            let Some((problem, modules)) = problems.iter().find_map(|problem| Some((problem, offered(problem)?))) else {
                return Ok(());
            };
            let names: std::collections::BTreeSet<_> = modules.iter().map(|name| name.parse().unwrap()).collect();
            for wish in config.compartments.values_mut() {
                wish.modules.retain(|module| !names.contains(module));
            }
            let mut wish = config.compartments.values().next().cloned().unwrap();
            wish.modules = names.clone();
            config.compartments.insert(format!("helped{}", config.compartments.len()).parse().unwrap(), wish);
            let refused = build(&config, &plans).problems.into_iter().find(|next| {
                next.code == Code::Placement && next.module.as_ref().is_some_and(|module| names.contains(module))
                    && next.message == problem.message
            });
            prop_assert!(refused.is_none(), "{:?}\nled to {:?}", problem, refused);
        }
        prop_assert!(false, "{:?}", build(&config, &plans).problems);
    }
}
