//! Property tests that compare graphs of random applications with a simple reference model.
//!
//! The folder `tests/graphs/` has the texts of the refusals.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use watertight_component::profile::EngineNeeds;
use watertight_component::shape::{Field, Function, Shape, Type};
use watertight_model::config::capability::Declarations;
use watertight_model::config::{
    AppFiles, CompartmentConfig, ComponentSource, Defaults, HttpLimits, LocatedValue, LogConfig, ModuleConfig,
};
use watertight_model::ids::{CapabilityName, Digest};
use watertight_model::problem::Code;

/// The initial memory of a large module, in bytes.
const LARGE: u64 = 3 << 20;

/// A module of the reference model, a simple description of an application. Module `i` exports the interface `m:i/api`. Importers may
/// expect wrong types of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// Whether the module's component is present.
    pub(super) there: bool,
    /// The imported modules, each with whether the import expects the right type.
    pub(super) imports: BTreeMap<usize, bool>,
    /// The modules that the manifest lets the module call.
    pub(super) calls: BTreeSet<usize>,
    /// Whether the module imports random bytes, and whether the manifest grants them.
    pub(super) random: (bool, bool),
    /// Whether the module is too large for the engine profiles of small modules.
    pub(super) large: bool,
    /// Whether the module needs the engine profile for concurrency.
    pub(super) concurrent: bool,
    /// The compartment that the manifest places the module in. `None` leaves the choice to the planner.
    pub(super) wish: Option<usize>,
    /// The type that the module's own interface carries. `None` means a number.
    pub(super) carries: Option<Type>,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    (1..8_usize).prop_flat_map(|count| {
        let imports = prop::collection::btree_map(0..count, prop::bool::weighted(0.95), 0..4);
        // Most imports are callable and most components are present. Otherwise every application would be refused.
        let rest = (prop::bool::weighted(0.97), prop::collection::btree_set(0..count, 0..2), prop::bool::weighted(0.1));
        let random = (any::<bool>(), prop::bool::weighted(0.95));
        let place = (prop::bool::weighted(0.2), prop::option::weighted(0.4, 0..3_usize));
        // In half of the applications, modules call only later ones, so that many applications have no circle.
        let plan = (imports, rest, random, place);
        (prop::collection::vec(plan, count), any::<bool>()).prop_map(|(plans, forward)| {
            let plan = |(at, (imports, (there, extra, stingy), random, (large, wish))): (
                usize,
                (BTreeMap<_, _>, (bool, BTreeSet<_>, bool), _, _),
            )| {
                let fits = |to: &usize| *to != at && (!forward || *to > at);
                let imports: BTreeMap<usize, bool> = imports.into_iter().filter(|(to, _)| fits(to)).collect();
                let mut calls: BTreeSet<usize> = extra.into_iter().filter(|to| *to != at).collect();
                if !stingy {
                    calls.extend(imports.keys());
                }
                Plan { there, imports, calls, random, large, wish, ..Plan::default() }
            };
            plans.into_iter().enumerate().map(plan).collect()
        })
    })
}

pub(super) fn module(at: usize) -> ModuleName {
    format!("m{at}").parse().unwrap()
}

pub(super) fn api(at: usize) -> InterfaceName {
    format!("test:m{at}/api@1.0.0").parse().unwrap()
}

fn interface(ty: Type) -> Interface {
    let parameters = vec![Field { name: "value".into(), ty }];
    let function = Function { parameters, result: None, is_async: false, docs: None };
    Interface { functions: BTreeMap::from([("go".to_owned(), function)]), ..Interface::default() }
}

/// Returns an interface of WASI with the one function that a module uses.
fn wasi(function: &str, result: Type) -> Interface {
    let result = Function { parameters: Vec::new(), result: Some(result), is_async: false, docs: None };
    Interface { functions: BTreeMap::from([(function.to_owned(), result)]), ..Interface::default() }
}

pub(super) fn artifact(at: usize, plans: &[Plan]) -> Arc<Artifact> {
    let plan = &plans[at];
    let carried = |at: usize| plans[at].carries.clone().unwrap_or(Type::U32);
    let import = |(to, right): (&usize, &bool)| (api(*to), interface(if *right { carried(*to) } else { Type::String }));
    let mut imports: BTreeMap<_, _> = plan.imports.iter().map(import).collect();
    if plan.random.0 {
        let name: InterfaceName = "wasi:random/random@0.2.6".parse().unwrap();
        imports.insert(name, wasi("get-random-u64", Type::U64));
    }
    let shape = Shape { imports, exports: BTreeMap::from([(api(at), interface(carried(at)))]), ..Shape::default() };
    let path = Path::new("m.wasm").to_owned();
    Arc::new(Artifact {
        path,
        bytes: bytes::Bytes::new(),
        digest: Digest::of(&[]),
        shape,
        needs: EngineNeeds {
            memory: if plan.large { LARGE } else { 0 },
            concurrency: plan.concurrent,
            ..EngineNeeds::default()
        },
        section: None,
    })
}

pub(super) fn config(plans: &[Plan]) -> AppConfig {
    let module_config = |plan: &Plan| ModuleConfig {
        component: LocatedValue { value: ComponentSource::File("m.wasm".into()), line: 1 },
        calls: plan.calls.iter().map(|to| (module(*to), 1)).collect(),
        uses: if plan.random.1 {
            BTreeMap::from([(CapabilityName::RANDOM.parse().unwrap(), 1)])
        } else {
            BTreeMap::new()
        },
        config: BTreeMap::new(),
        secrets: BTreeMap::new(),
        settings: BTreeMap::new(),
        resume: None,
        is_fake: false,
        line: 1,
    };
    AppConfig {
        name: "demo".parse().unwrap(),
        manifest: "app.toml".into(),
        root: ".".into(),
        workspace: ".".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        probe: None,
        admin: "127.0.0.1:0".parse().unwrap(),
        state: "state".into(),
        modules: plans.iter().enumerate().map(|(at, plan)| (module(at), module_config(plan))).collect(),
        compartments: wishes(plans),
        defaults: Defaults::default(),
        http: HttpLimits::default(),
        log: LogConfig::default(),
        compile: watertight_model::config::CompileLimits::default(),
        telemetry: watertight_model::config::TracingConfig::default(),
        routes: Vec::new(),
        mounts: Vec::new(),
        middlewares: Vec::new(),
        cors: Vec::new(),
        door: watertight_model::config::DoorConfig::default(),
        capabilities: Declarations::default(),
        files: AppFiles::default(),
    }
}

/// Returns the compartments of the manifest: only those that hold a module.
fn wishes(plans: &[Plan]) -> BTreeMap<CompartmentName, CompartmentConfig> {
    let Defaults { instances, limits } = Defaults::default();
    let mut wishes: BTreeMap<CompartmentName, CompartmentConfig> = BTreeMap::new();
    for (at, plan) in plans.iter().enumerate() {
        if let Some(wish) = plan.wish {
            let empty = CompartmentConfig { modules: BTreeSet::new(), instances, limits, line: 1 };
            wishes.entry(format!("c{wish}").parse().unwrap()).or_insert(empty).modules.insert(module(at));
        }
    }
    wishes
}

/// Returns the name of the compartment in which a module stands, unless compartments would call each other in a circle.
fn compartment(at: usize, plan: &Plan) -> String {
    match plan.wish {
        Some(wish) => format!("c{wish}"),
        None if plan.large => format!("m{at}"),
        None => "main".to_owned(),
    }
}

/// Returns the calls between modules that can be linked.
fn edges(plans: &[Plan]) -> BTreeSet<(usize, usize)> {
    let of = |(at, plan): (usize, &Plan)| {
        let linked = plan.imports.keys().filter(|to| plan.calls.contains(to) && plans[**to].there);
        linked.map(|to| (at, *to)).collect::<Vec<_>>()
    };
    plans.iter().enumerate().filter(|(_, plan)| plan.there).flat_map(of).collect()
}

/// Whether some module reaches itself.
fn has_circle(count: usize, edges: &BTreeSet<(usize, usize)>) -> bool {
    let reach = reach(count, edges);
    (0..count).any(|at| reach[at][at])
}

/// Tells for each two modules whether the first reaches the second. Warshall's closure shares nothing with the searches under test.
fn reach(count: usize, edges: &BTreeSet<(usize, usize)>) -> Vec<Vec<bool>> {
    let mut reach = vec![vec![false; count]; count];
    edges.iter().for_each(|(from, to)| reach[*from][*to] = true);
    for via in 0..count {
        for from in 0..count {
            for to in 0..count {
                reach[from][to] |= reach[from][via] && reach[via][to];
            }
        }
    }
    reach
}

/// Whether compartments call each other in a circle wherever the planner places the rest: calls lead from one compartment of the manifest to
/// another and back.
fn is_circular_by_the_manifest(plans: &[Plan], edges: &BTreeSet<(usize, usize)>) -> bool {
    let all = 0..plans.len();
    let unit = |at: usize| match plans[at].wish {
        Some(_) => plans.iter().position(|other| other.wish == plans[at].wish).unwrap(),
        None => at,
    };
    let reach = reach(plans.len(), &edges.iter().map(|(from, to)| (unit(*from), unit(*to))).collect());
    let placed: Vec<usize> = all.filter(|at| plans[*at].wish.is_some()).map(unit).collect();
    placed.iter().any(|one| placed.iter().any(|other| one != other && reach[*one][*other] && reach[*other][*one]))
}

/// Returns the expected number of problems by their code, without those for circles of calls.
fn expected(plans: &[Plan]) -> BTreeMap<Code, usize> {
    let mut counts = BTreeMap::new();
    let mut count = |code| *counts.entry(code).or_insert(0) += 1;
    for plan in plans.iter().filter(|plan| plan.there) {
        let blind = plan.calls.iter().any(|to| !plans[*to].there);
        for (to, right) in &plan.imports {
            match (plans[*to].there, plan.calls.contains(to)) {
                (true, true) if !right => count(Code::TypeMismatch),
                (true, true) => {}
                _ if blind => {}
                (true, false) => count(Code::UndeclaredCall),
                (false, _) => count(Code::MissingExport),
            }
        }
        if plan.random.0 && !plan.random.1 {
            count(Code::Ungranted);
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_graph_agrees_with_the_reference(plans in plans()) {
        let there = plans.iter().enumerate().filter(|(_, plan)| plan.there);
        let artifacts: BTreeMap<_, _> = there.map(|(at, _)| (module(at), artifact(at, &plans))).collect();
        let BuildOutcome { graph, problems } = AppGraph::build(&config(&plans), &artifacts);
        let edges = edges(&plans);

        let mut counts: BTreeMap<Code, usize> = BTreeMap::new();
        problems.iter().for_each(|problem| *counts.entry(problem.code).or_default() += 1);
        let circles = counts.remove(&Code::Cycle).unwrap_or_default();
        prop_assert_eq!(counts, expected(&plans));
        // The calls between compartments, if each module stands in the compartment with its name in `names`.
        let across = |names: &[String]| -> BTreeSet<(usize, usize)> {
            let place = |at: usize| names.iter().position(|name| *name == names[at]).unwrap();
            edges.iter().map(|(from, to)| (place(*from), place(*to))).filter(|(from, to)| from != to).collect()
        };
        let simple: Vec<String> = plans.iter().enumerate().map(|(at, plan)| compartment(at, plan)).collect();
        let home = |at: usize| graph.compartments.iter().find(|found| found.modules.contains(&module(at)));
        let names: Vec<String> =
            simple.iter().enumerate().map(|(at, simple)| home(at).map_or(simple.clone(), |home| home.name.to_string())).collect();
        let circular = has_circle(plans.len(), &edges);
        let refused = circular || is_circular_by_the_manifest(&plans, &edges);
        let across_simple = across(&simple);
        let across = across(&names);
        prop_assert_eq!(circles > 0, refused, "{:?} {:?}", edges, across);
        prop_assert_eq!(has_circle(plans.len(), &across) && !circular, refused && !circular, "{:?}", names);
        if circular || !has_circle(plans.len(), &across_simple) {
            prop_assert_eq!(&names, &simple);
        }
        for (at, plan) in plans.iter().enumerate() {
            if plan.wish.is_some() {
                prop_assert_eq!(&names[at], &simple[at]);
            } else if plan.large && !names[at].starts_with('c') {
                prop_assert_eq!(&names[at], &format!("m{at}"));
                prop_assert_eq!(names.iter().filter(|name| **name == names[at]).count(), 1);
            }
        }

        let calls = graph.modules.iter().flat_map(|(from, node)| node.calls.values().map(|to| (from.clone(), to.module.clone())));
        let wanted = edges.iter().map(|(from, to)| (module(*from), module(*to)));
        prop_assert_eq!(calls.collect::<BTreeSet<_>>(), wanted.collect());

        // Each step of a reported circle is a call.
        for problem in problems.iter().filter(|problem| problem.code == Code::Cycle) {
            let way = problem.message.split(": ").nth(1).unwrap().split(" (").next().unwrap();
            let way: Vec<&str> = way.split(" -> ").collect();
            prop_assert_eq!(way.first(), way.last());
            for step in way.windows(2) {
                let at = |name: &str| name[1..].parse::<usize>().unwrap();
                let between_modules = || edges.contains(&(at(step[0]), at(step[1])));
                let named = |name: &str| names.iter().position(|other| other == name).unwrap();
                let is_call = if circular { between_modules() } else { across.contains(&(named(step[0]), named(step[1]))) };
                prop_assert!(is_call, "{}", problem.message);
            }
        }

        let mut placed = BTreeSet::new();
        for found in &graph.compartments {
            let position = |at: usize| found.modules.iter().position(|name| *name == module(at));
            for (at, _) in plans.iter().enumerate().filter(|(at, _)| position(*at).is_some()) {
                prop_assert!(placed.insert(at), "a module stands twice");
            }
            if !circular {
                for (from, to) in &edges {
                    if let (Some(caller), Some(callee)) = (position(*from), position(*to)) {
                        prop_assert!(callee < caller, "{:?}", found.modules);
                    }
                }
            }
        }
        prop_assert_eq!(placed.len(), artifacts.len());
        for (from, to) in &edges {
            let kind = if names[*from] == names[*to] { EdgeKind::Fused } else { EdgeKind::Bridged };
            prop_assert_eq!(graph.edge(&module(*from), &module(*to)), kind);
        }
    }
}
