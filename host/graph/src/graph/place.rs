//! The planner: it decides which modules share a compartment, and records why.
//!
//! Compartments that the manifest names come first. Of the other modules, large ones get a compartment of their own, and so
//! do those with concurrency of their own. The rest goes into one compartment, or into several if compartments would call each other in a
//! circle otherwise. A compartment of the manifest that is not possible is reported as a problem: the planner never overrides the manifest.

mod bond;
mod cross;
#[cfg(test)]
mod tests;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bond::PlacementConstraints;
use unit::{Layer, Unit};

use super::{Compartment, Node};
use watertight_component::profile::{self, COMPARTMENT_LIMITS, CompartmentNeeds, ExceededLimit, Profile};
use watertight_model::config::{AppConfig, Defaults, Limits};
use watertight_model::ids::{CompartmentName, ModuleName};
use watertight_model::problem::{Code, Problem, list_names};

pub use bond::PlacementConstraint;
pub use unit::Detour;

/// The name of the compartment for modules that nothing separates.
const DEFAULT_COMPARTMENT: &str = "main";

/// Why a compartment exists and holds its modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacementReason {
    /// The manifest names the compartment and its modules.
    Manifest,
    /// Nothing separates the compartment's modules, and calls within one compartment are cheapest.
    Default,
    /// A fake answers the calls of the compartment's only module, in the host.
    Fake,
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
    /// The compartment exists for the inner reason. It also holds these modules, because compartments would call each other in a circle if
    /// they stood elsewhere.
    JoinedByCircle(Box<PlacementReason>, BTreeSet<ModuleName>),
    /// Calls lead from this compartment through another one to a module that stands apart from this compartment for that reason.
    SeparatedByCircle(Detour),
}

impl fmt::Display for PlacementReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("the manifest says so"),
            Self::Default => f.write_str("nothing keeps its modules apart"),
            Self::Fake => f.write_str("its module is faked"),
            Self::Concurrent => f.write_str("modules beside its module, which is concurrent, would be slower"),
            Self::Large(excess) => write!(f, "its module {excess}"),
            Self::TiedByCall(reason, PlacementConstraint { caller, callee, import, why }) => {
                write!(f, "{reason}; {caller} calls {import} of {callee}, which can't be in another compartment: {why}")
            }
            Self::SeparatedByCall(PlacementConstraint { caller, callee, import, why }) => {
                write!(f, "{caller} calls {import} of {callee}, which can't be in the same compartment: {why}")
            }
            Self::JoinedByCircle(reason, joined) => {
                let (names, stand) = (
                    joined.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                    if joined.len() == 1 { "stands" } else { "stand" },
                );
                write!(
                    f,
                    "{reason}; {names} {stand} here too: elsewhere, compartments would call each other in a circle"
                )
            }
            Self::SeparatedByCircle(Detour { caller, callee, back }) => {
                write!(
                    f,
                    "{caller} calls {callee} in another compartment, and that leads to {back}: beside {back}, compartments would call each other in a circle"
                )
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
    planner.place(acyclic);
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

impl<'a> Planner<'a> {
    fn place(&mut self, acyclic: bool) {
        let mut units = self.units();
        if acyclic {
            units = unit::merge_circles(units, self.modules, self.bonds);
        }
        let mut is_free = Vec::new();
        for unit in &units {
            is_free.push(!self.place_unit(unit));
        }
        if acyclic {
            for layer in unit::layers(&units, &is_free, self.modules) {
                self.place_layer(layer);
            }
        } else {
            let free = units.into_iter().zip(is_free).filter(|(_, is_free)| *is_free);
            let modules = free.flat_map(|(unit, _)| unit.modules).collect();
            self.place_layer(Layer { modules, detour: None });
        }
    }

    /// Returns the modules that must share compartments: those of each compartment of the manifest, and those that calls tie together. An
    /// unplaced module joins a compartment of the manifest if a call ties it to that compartment alone.
    fn units(&self) -> Vec<Unit<'a>> {
        let wishes = self.config.compartments.iter().map(|(name, wish)| {
            (name, wish.modules.iter().filter(|m| self.modules.contains_key(*m)).cloned().collect())
        });
        let wishes: Vec<(&CompartmentName, BTreeSet<ModuleName>)> = wishes.collect();
        let wished: BTreeSet<&ModuleName> = wishes.iter().flat_map(|(_, modules)| modules).collect();
        let mut open: BTreeSet<ModuleName> =
            self.modules.keys().filter(|name| !wished.contains(*name)).cloned().collect();
        let mut units = Vec::new();
        for (name, modules) in &wishes {
            let joined = self.bonds.tied(modules.clone(), |module| open.contains(module));
            let claimed = |other: &BTreeSet<ModuleName>| {
                self.bonds.tied(other.clone(), |module| open.contains(module)).intersection(&joined).next().is_some()
            };
            let is_claimed_twice = wishes.iter().any(|(other, theirs)| other != name && claimed(theirs));
            let modules = if !is_claimed_twice && self.bonds.fit(&joined) { &joined } else { modules };
            open.retain(|module| !modules.contains(module));
            let tied = modules.iter().filter(|module| !wished.contains(module)).cloned().collect();
            units.push(Unit { modules: modules.clone(), wish: Some(*name), tied, ..Unit::default() });
        }
        while let Some(module) = open.pop_first() {
            let group = self.bonds.tied(BTreeSet::from([module.clone()]), |other| open.contains(other));
            let modules = if self.bonds.fit(&group) { group } else { BTreeSet::from([module]) };
            open.retain(|other| !modules.contains(other));
            units.push(Unit { tied: modules.clone(), modules, ..Unit::default() });
        }
        units
    }

    /// Creates the compartment of a unit that the manifest places, or that has a module with a reason to stand apart. Such a module takes
    /// those that must share its compartment along. Returns whether the unit is either.
    fn place_unit(&mut self, unit: &Unit<'_>) -> bool {
        let why = |module: &ModuleName| Some((module.clone(), self.apart(module)?));
        let (name, settings, reason) = if let Some(name) = unit.wish {
            let wish = &self.config.compartments[name];
            let settings = Defaults { instances: wish.instances, limits: wish.limits };
            (name.clone(), Some(settings), PlacementReason::Manifest)
        } else if let Some((module, reason)) = unit.modules.iter().find_map(why) {
            (own_name(&module), None, reason)
        } else {
            return false;
        };
        let tie = self.bonds.ties_of(&unit.tied, &unit.modules).next().cloned();
        let reason = tie.into_iter().fold(reason, |reason, tie| PlacementReason::TiedByCall(Box::new(reason), tie));
        let reason = if unit.encircled.is_empty() {
            reason
        } else {
            PlacementReason::JoinedByCircle(Box::new(reason), unit.encircled.clone())
        };
        match settings {
            Some(settings) => self.insert(name, self.in_order(&unit.modules), settings, reason),
            None => self.add(name, &unit.modules, reason),
        }
        true
    }

    /// Creates the compartments of a layer. A layer that calls keep apart from the one before it is named after a module with such a call.
    fn place_layer(&mut self, Layer { mut modules, detour }: Layer) {
        self.separate(&mut modules);
        let Some(first) = modules.first() else { return };
        let (name, reason) = match detour {
            Some(detour) => {
                let named = if modules.contains(&detour.caller) { &detour.caller } else { first };
                (own_name(named), PlacementReason::SeparatedByCircle(detour))
            }
            None => (DEFAULT_COMPARTMENT.parse().expect("`main` is kebab-case"), PlacementReason::Default),
        };
        self.add(name, &modules, reason);
    }

    /// Returns why `module` needs a compartment of its own, as far as its component alone decides. `None` if it needs none.
    fn apart(&self, module: &ModuleName) -> Option<PlacementReason> {
        if self.config.modules.get(module).is_some_and(|module| module.is_fake) {
            return Some(PlacementReason::Fake);
        }
        let needs = &self.modules[module].artifact.needs;
        let concurrent = needs.concurrency.then_some(PlacementReason::Concurrent);
        concurrent.or_else(|| Profile::exceeded_limit(needs).map(PlacementReason::Large))
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
                    self.add(own_name(&rift.callee), &modules, PlacementReason::SeparatedByCall(rift));
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

/// Returns the name of the compartment that the planner names after `module`.
fn own_name(module: &ModuleName) -> CompartmentName {
    module.as_str().parse().expect("a module's name is a compartment's too")
}

/// Sets a problem's file and line to the module's entry in the manifest.
fn at_module(mut problem: Problem, config: &AppConfig, module: &ModuleName) -> Problem {
    problem.line = config.modules.get(module).map(|module| module.line);
    problem.file(&config.manifest)
}
