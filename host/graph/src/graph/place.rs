//! The planner: it decides which modules share a compartment, and records why.
//!
//! Compartments that the manifest names come first. Of the other modules, large ones get a compartment of their own, and so
//! do those with concurrency of their own. The rest goes into one compartment. A compartment of the manifest that is not possible is reported as a problem: the planner
//! never overrides the manifest.

mod bond;
mod cross;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bond::PlacementConstraints;

use super::{Compartment, Node};
use watertight_component::profile::{self, COMPARTMENT_LIMITS, CompartmentNeeds, ExceededLimit, Profile};
use watertight_model::config::{AppConfig, Defaults, Limits};
use watertight_model::ids::{CompartmentName, ModuleName};
use watertight_model::problem::{Code, Problem, list_names};

pub use bond::PlacementConstraint;

/// The name of the compartment for modules that nothing separates.
const DEFAULT_COMPARTMENT: &str = "main";

/// Why a compartment exists and holds its modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacementReason {
    /// The manifest names the compartment and its modules.
    Manifest,
    /// Nothing separates the compartment's modules, and calls within one compartment are cheapest.
    Default,
    /// The compartment's only module needs the engine profile for concurrency. Every call of modules beside it would be slower there.
    Concurrent,
    /// The compartment's only module is too large for the small engine profiles. Modules beside it would be compiled with
    /// it at each change and would run on the engine for large modules.
    Large(ExceededLimit),
    /// The compartment exists for the inner reason. It holds further modules because of this call: the values that the call carries can't
    /// leave a compartment.
    TiedByCall(Box<PlacementReason>, PlacementConstraint),
    /// The values that this call carries can't pass within a compartment. The compartment holds the callee and the
    /// modules that the callee calls.
    SeparatedByCall(PlacementConstraint),
}

impl fmt::Display for PlacementReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("the manifest says so"),
            Self::Default => f.write_str("nothing keeps its modules apart"),
            Self::Concurrent => f.write_str("modules beside its module, which is concurrent, would be slower"),
            Self::Large(excess) => write!(f, "its module {excess}"),
            Self::TiedByCall(reason, PlacementConstraint { caller, callee, import, why }) => {
                write!(f, "{reason}; {caller} calls {import} of {callee}, which can't be in another compartment: {why}")
            }
            Self::SeparatedByCall(PlacementConstraint { caller, callee, import, why }) => {
                write!(f, "{caller} calls {import} of {callee}, which can't be in the same compartment: {why}")
            }
        }
    }
}

/// Places all modules in compartments.
///
/// `order` has the modules in instantiation order, each after the modules that it calls, unless modules call each other in a circle.
/// `acyclic` says whether there is no such circle.
pub(super) fn place(
    config: &AppConfig,
    modules: &BTreeMap<ModuleName, Node>,
    order: &[ModuleName],
    acyclic: bool,
    problems: &mut Vec<Problem>,
) -> Vec<Compartment> {
    let bonds = PlacementConstraints::of(modules);
    let mut planner = Planner { config, modules, order, bonds: &bonds, compartments: BTreeMap::new(), problems };
    planner.place();
    let compartments: Vec<Compartment> = planner.compartments.into_values().collect();
    cross::check(config, modules, &compartments, &bonds, problems);
    if acyclic {
        cross::check_circles(config, modules, &compartments, &bonds, problems);
    }
    compartments
}

struct Planner<'a> {
    config: &'a AppConfig,
    modules: &'a BTreeMap<ModuleName, Node>,
    order: &'a [ModuleName],
    bonds: &'a PlacementConstraints<'a>,
    compartments: BTreeMap<CompartmentName, Compartment>,
    problems: &'a mut Vec<Problem>,
}

impl Planner<'_> {
    fn place(&mut self) {
        let wished: BTreeSet<&ModuleName> = self.config.compartments.values().flat_map(|wish| &wish.modules).collect();
        let mut open: BTreeSet<ModuleName> =
            self.modules.keys().filter(|name| !wished.contains(*name)).cloned().collect();
        self.place_by_manifest(&mut open);
        self.place_the_rest(open);
    }

    /// Creates the compartments of the manifest. An unplaced module joins one of them if a call ties it to that
    /// compartment alone.
    fn place_by_manifest(&mut self, open: &mut BTreeSet<ModuleName>) {
        let config = self.config;
        let wishes: Vec<(&CompartmentName, BTreeSet<ModuleName>)> = config
            .compartments
            .iter()
            .map(|(name, wish)| {
                (name, wish.modules.iter().filter(|m| self.modules.contains_key(*m)).cloned().collect())
            })
            .collect();
        for (name, modules) in &wishes {
            let joined = self.bonds.tied(modules.clone(), |module| open.contains(module));
            let claimed = |other: &BTreeSet<ModuleName>| {
                self.bonds.tied(other.clone(), |module| open.contains(module)).intersection(&joined).next().is_some()
            };
            let is_claimed_twice = wishes.iter().any(|(other, theirs)| other != name && claimed(theirs));
            let (modules, reason) = if joined.len() > modules.len() && !is_claimed_twice && self.bonds.fit(&joined) {
                let newcomers = joined.difference(modules).cloned().collect();
                open.retain(|module| !joined.contains(module));
                (&joined, self.tied(PlacementReason::Manifest, &newcomers, &joined))
            } else {
                (modules, PlacementReason::Manifest)
            };
            let wish = &config.compartments[*name];
            let settings = Defaults { instances: wish.instances, limits: wish.limits };
            self.insert((*name).clone(), self.in_order(modules), settings, reason);
        }
    }

    fn place_the_rest(&mut self, mut open: BTreeSet<ModuleName>) {
        let mut together = BTreeSet::new();
        while let Some(module) = open.pop_first() {
            let group = self.bonds.tied(BTreeSet::from([module.clone()]), |other| open.contains(other));
            let group = if self.bonds.fit(&group) { group } else { BTreeSet::from([module]) };
            open.retain(|other| !group.contains(other));
            // A module that has a reason to stand apart takes the modules that are tied to it along.
            let why = |module: &ModuleName| Some((module.clone(), self.apart(module)?));
            match group.iter().find_map(why) {
                Some((module, reason)) => {
                    let name = module.as_str().parse().expect("a module's name is a compartment's too");
                    let reason = if group.len() == 1 { reason } else { self.tied(reason, &group, &group) };
                    self.add(name, &group, reason);
                }
                None => together.extend(group),
            }
        }
        self.separate(&mut together);
        if !together.is_empty() {
            self.add(DEFAULT_COMPARTMENT.parse().expect("`main` is kebab-case"), &together, PlacementReason::Default);
        }
    }

    /// Returns why `module` needs a compartment of its own, as far as its component alone decides. `None` if it needs none.
    fn apart(&self, module: &ModuleName) -> Option<PlacementReason> {
        let needs = &self.modules[module].artifact.needs;
        let concurrent = needs.concurrency.then_some(PlacementReason::Concurrent);
        concurrent.or_else(|| Profile::exceeded_limit(needs).map(PlacementReason::Large))
    }

    /// Extends `reason` by a call that ties one of `newcomers`, modules that join the compartment, to another module of `all`.
    fn tied(
        &self,
        reason: PlacementReason,
        newcomers: &BTreeSet<ModuleName>,
        all: &BTreeSet<ModuleName>,
    ) -> PlacementReason {
        let tie = self.bonds.ties_of(newcomers, all).next().cloned();
        tie.into_iter().fold(reason, |reason, tie| PlacementReason::TiedByCall(Box::new(reason), tie))
    }

    /// Gives each callee that can't share a compartment with its caller a compartment of its own. All modules that such a
    /// callee calls move with it, so that compartments do not call each other in a circle.
    fn separate(&mut self, together: &mut BTreeSet<ModuleName>) {
        let mut parts = vec![(None, std::mem::take(together))];
        let mut at = 0;
        while at < parts.len() {
            let modules = parts[at].1.clone();
            let moved = self.bonds.rifts_in(&modules).find_map(|rift| {
                let moved = self.bonds.called(BTreeSet::from([rift.callee.clone()]), |module| modules.contains(module));
                (!moved.contains(&rift.caller)).then_some((rift, moved))
            });
            match moved {
                Some((rift, moved)) => {
                    parts[at].1.retain(|module| !moved.contains(module));
                    parts.push((Some(rift.clone()), moved));
                }
                None => at += 1,
            }
        }
        for (rift, modules) in parts {
            match rift {
                None => *together = modules,
                Some(rift) => {
                    let name = rift.callee.as_str().parse().expect("a module's name is a compartment's too");
                    self.add(name, &modules, PlacementReason::SeparatedByCall(rift));
                }
            }
        }
    }

    /// Adds a compartment that the planner named. Reports a problem if another compartment has that name.
    fn add(&mut self, name: CompartmentName, modules: &BTreeSet<ModuleName>, reason: PlacementReason) {
        if self.compartments.contains_key(&name) {
            let first = modules.first().expect("a compartment holds a module");
            let message = format!(
                "{} would stand in a compartment `{name}` ({reason}), and another one has that name",
                list_names(modules)
            );
            let help = "add these modules to a compartment of the manifest, or rename the other compartment";
            let problem = Problem::new(Code::Placement, message).module(first).help(help);
            self.problems.push(at_module(problem, self.config, first));
            return;
        }
        self.insert(name, self.in_order(modules), self.config.defaults, reason);
    }

    fn insert(&mut self, name: CompartmentName, modules: Vec<ModuleName>, settings: Defaults, reason: PlacementReason) {
        let Defaults { instances, limits } = settings;
        let needs = modules.iter().map(|module| (module, &self.modules[module].artifact.needs));
        let (profile, profile_reason) = Profile::choose(instances.mode, needs).unwrap_or_else(|no_room| {
            let module = &no_room.module;
            let problem = Problem::new(Code::Placement, no_room.to_string()).module(module);
            self.problems.push(at_module(problem.help(no_room.excess.help()), self.config, module));
            (Profile::Large, profile::ProfileReason::Large(module.clone(), no_room.excess))
        });
        self.check_total(&name, &modules, &limits);
        let compartment =
            Compartment { name: name.clone(), modules, instances, limits, reason, profile, profile_reason };
        self.compartments.insert(name, compartment);
    }

    /// Reports a compartment if its modules together exceed what one store can hold.
    fn check_total(&mut self, name: &CompartmentName, modules: &[ModuleName], limits: &Limits) {
        let total = modules.iter().map(|module| self.modules[module].artifact.needs.total);
        let CompartmentNeeds { core_instances, memories, memory, tables } =
            total.fold(CompartmentNeeds::default(), |sum, more| sum + more);
        // Wasmtime may add one adapter instance for each module that calls another one.
        let adapters = u32::try_from(modules.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let counts = [
            ("instances of core modules", core_instances.saturating_add(adapters), COMPARTMENT_LIMITS.core_instances),
            ("memories", memories, COMPARTMENT_LIMITS.memories),
            ("tables", tables, COMPARTMENT_LIMITS.tables),
        ];
        let [first, others @ ..] = modules else { return };
        let too_many = counts.into_iter().find(|(_, count, limit)| count > limit);
        let (message, help) = if let Some((what, count, limit)) = too_many {
            let message = format!(
                "the modules of compartment `{name}` have {count} {what} together, and one compartment can have {limit}"
            );
            let apart = "place some of these modules in a compartment of their own";
            (message, if others.is_empty() { "build the module from fewer core modules" } else { apart })
        } else if memory > limits.memory {
            let message = format!(
                "compartment `{name}` can't start: its modules start with {} KiB of memory, and `limits.memory` allows {} KiB",
                memory.div_ceil(1 << 10),
                limits.memory >> 10
            );
            (message, "raise `limits.memory`, or build the modules to start with less memory")
        } else {
            return;
        };
        let problem = Problem::new(Code::Placement, message).module(first).help(help);
        self.problems.push(at_module(problem, self.config, first));
    }

    /// Sorts `modules` into instantiation order, and leaves out modules that are not in the graph.
    fn in_order(&self, modules: &BTreeSet<ModuleName>) -> Vec<ModuleName> {
        self.order.iter().filter(|module| modules.contains(*module)).cloned().collect()
    }
}

/// Sets a problem's file and line to the module's entry in the manifest.
fn at_module(mut problem: Problem, config: &AppConfig, module: &ModuleName) -> Problem {
    problem.line = config.modules.get(module).map(|module| module.line);
    problem.file(&config.manifest)
}
