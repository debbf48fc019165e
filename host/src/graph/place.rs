//! The planner: which modules share a compartment, and why. The manifest's wishes come first; then modules that bring along what is
//! one and the same for a whole compartment stand apart, large ones do, and all others stand together.
//!
//! A wish that can't be granted is a problem: nothing is ever placed elsewhere than was asked for.

mod cross;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Compartment, Node};
use crate::config::{AppConfig, Defaults, InstanceMode};
use crate::ids::{CompartmentName, InterfaceName, ModuleName};
use crate::problem::{Code, Problem, list};
use crate::profile::{self, Excess, Profile};

/// Where modules stand that nothing keeps apart.
const TOGETHER: &str = "main";

/// Why a compartment is there and holds the modules that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The manifest says so.
    Wish,
    /// Nothing keeps its modules apart, and calls between them are cheapest here.
    Together,
    /// Its one module imports this, which would be one and the same for all modules beside it.
    Apart(InterfaceName),
    /// Its one module is no small one: whatever stood beside it would be compiled with it at each change, and run by an engine for
    /// large modules.
    Large(Excess),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wish => f.write_str("the manifest says so"),
            Self::Together => f.write_str("nothing keeps its modules apart"),
            Self::Large(excess) => write!(f, "its module {excess}"),
            Self::Apart(import) => write!(f, "{import} would be the same one for every module beside it"),
        }
    }
}

/// Places all modules. `order` has them as they can be instantiated, a provider before its callers, unless they call each other in a
/// circle; `acyclic` says whether they don't.
pub(super) fn place(
    config: &AppConfig,
    modules: &BTreeMap<ModuleName, Node>,
    order: &[ModuleName],
    acyclic: bool,
    problems: &mut Vec<Problem>,
) -> Vec<Compartment> {
    let mut planner = Planner { config, modules, order, compartments: BTreeMap::new(), problems };
    planner.grant_wishes();
    planner.place_the_rest();
    let compartments: Vec<Compartment> = planner.compartments.into_values().collect();
    cross::check(config, modules, &compartments, problems);
    if acyclic {
        cross::check_circles(config, modules, &compartments, problems);
    }
    compartments
}

struct Planner<'a> {
    config: &'a AppConfig,
    modules: &'a BTreeMap<ModuleName, Node>,
    order: &'a [ModuleName],
    compartments: BTreeMap<CompartmentName, Compartment>,
    problems: &'a mut Vec<Problem>,
}

impl Planner<'_> {
    fn grant_wishes(&mut self) {
        for (name, wish) in &self.config.compartments {
            let modules = self.in_order(&wish.modules);
            if let [_, second, ..] = self.heavy(&modules).as_slice() {
                self.refuse_second(name, &modules, second);
            }
            let settings = Defaults { instances: wish.instances, limits: wish.limits };
            self.insert(name.clone(), modules, settings, Reason::Wish);
        }
    }

    fn place_the_rest(&mut self) {
        let wished: BTreeSet<&ModuleName> = self.config.compartments.values().flat_map(|wish| &wish.modules).collect();
        let mut together = BTreeSet::new();
        for (module, node) in self.modules.iter().filter(|(module, _)| !wished.contains(module)) {
            let large = || Profile::excess(&node.artifact.needs).map(Reason::Large);
            match node.merging().map(|import| Reason::Apart(import.clone())).or_else(large) {
                Some(reason) => {
                    let name = module.as_str().parse().expect("a module's name is a compartment's too");
                    self.add(name, &BTreeSet::from([module.clone()]), reason);
                }
                None => drop(together.insert(module.clone())),
            }
        }
        if !together.is_empty() {
            self.add(TOGETHER.parse().expect("`main` is kebab-case"), &together, Reason::Together);
        }
    }

    /// Adds a compartment that nobody named, unless somebody gave its name to another.
    fn add(&mut self, name: CompartmentName, modules: &BTreeSet<ModuleName>, reason: Reason) {
        if self.compartments.contains_key(&name) {
            let first = modules.first().expect("a compartment holds a module");
            let message = format!(
                "{} would stand in a compartment `{name}` ({reason}), and another one has that name",
                list(modules)
            );
            let help = "name them in a compartment of the manifest, or give the other one another name";
            let problem = Problem::new(Code::Placement, message).module(first).help(help);
            self.problems.push(at_module(problem, self.config, first));
            return;
        }
        self.insert(name, self.in_order(modules), self.config.defaults, reason);
    }

    fn insert(&mut self, name: CompartmentName, modules: Vec<ModuleName>, settings: Defaults, reason: Reason) {
        let Defaults { mut instances, limits } = settings;
        let needs = modules.iter().map(|module| (module, &self.modules[module].artifact.needs));
        let (profile, profile_reason) = Profile::choose(instances.mode, needs).unwrap_or_else(|no_room| {
            let module = &no_room.module;
            let problem = Problem::new(Code::Placement, no_room.to_string()).module(module);
            let help = "build it to start with less: what it needs later it can ask for then";
            self.problems.push(at_module(problem.help(help), self.config, module));
            (Profile::Large, profile::Reason::Large(module.clone(), no_room.excess))
        });
        if profile == Profile::Async {
            // A function may return and go on. In a warm instance it would do so in the next call, under another request's name.
            instances.mode = InstanceMode::Fresh;
        }
        let compartment =
            Compartment { name: name.clone(), modules, instances, limits, reason, profile, profile_reason };
        self.compartments.insert(name, compartment);
    }

    /// Those that are there, providers first.
    fn in_order(&self, modules: &BTreeSet<ModuleName>) -> Vec<ModuleName> {
        self.order.iter().filter(|module| modules.contains(*module)).cloned().collect()
    }

    /// Those of `modules`, by name, that import what would be one for all of a compartment.
    fn heavy(&self, modules: &[ModuleName]) -> Vec<ModuleName> {
        let heavy: BTreeSet<&ModuleName> =
            modules.iter().filter(|module| self.modules[*module].merging().is_some()).collect();
        heavy.into_iter().cloned().collect()
    }

    fn refuse_second(&mut self, name: &CompartmentName, modules: &[ModuleName], second: &ModuleName) {
        let message = format!(
            "modules {} each bring WASI along or ask other hosts, and one compartment, here `{name}`, can hold one such module",
            list(self.heavy(modules))
        );
        let help = "place all but one of them in other compartments, or build them for a target without WASI, such as \
                    `wasm32-unknown-unknown`";
        let problem = Problem::new(Code::Placement, message).module(second).help(help);
        self.problems.push(at_module(problem, self.config, second));
    }
}

/// A problem at a module's place in the manifest.
fn at_module(mut problem: Problem, config: &AppConfig, module: &ModuleName) -> Problem {
    problem.line = config.modules.get(module).map(|module| module.line);
    problem.file(&config.manifest)
}
