//! Checks the calls between compartments: only what the host can relay may cross, and never in a circle.
//!
//! Each compartment has its own store. A handle of one store is meaningless in another. The host relays streams and futures of numbers,
//! texts and byte lists. In a circle of calls, an instance would wait for an instance that waits for it.

use std::collections::{BTreeMap, BTreeSet};

use super::at_module;
use super::bond::{self, MAX_FUSED_PARTS, PlacementConstraints, UnsupportedPart};
use crate::graph::{Compartment, Node, home};
use watertight_model::config::AppConfig;
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem, list_names};

/// Reports every call between compartments whose function or values can't leave a compartment, and every call within a compartment whose
/// values can't pass there.
pub(super) fn check(
    config: &AppConfig,
    modules: &BTreeMap<ModuleName, Node>,
    compartments: &[Compartment],
    constraints: &PlacementConstraints<'_>,
    problems: &mut Vec<Problem>,
) {
    for (caller, node) in modules {
        for (import, provider) in &node.calls {
            let edge = Edge { config, bonds: constraints, caller, callee: &provider.module, import };
            let interface = &node.artifact.shape.imports[import];
            if home(compartments, caller) == home(compartments, &provider.module) {
                problems.extend(bond::within(interface).iter().map(|fault| edge.cant_stay(fault)));
            } else {
                problems.extend(bond::across(interface).iter().map(|fault| edge.cant_leave(fault)));
            }
        }
    }
}

/// A call of one module to another.
struct Edge<'a> {
    config: &'a AppConfig,
    bonds: &'a PlacementConstraints<'a>,
    caller: &'a ModuleName,
    callee: &'a ModuleName,
    import: &'a InterfaceName,
}

impl Edge<'_> {
    fn both(&self) -> BTreeSet<ModuleName> {
        BTreeSet::from([self.caller.clone(), self.callee.clone()])
    }

    fn cant_leave(&self, fault: &UnsupportedPart<'_>) -> Problem {
        let Self { caller, callee, import, .. } = self;
        let why = &fault.why;
        let message = format!(
            "module `{caller}` can't call `{import}` of module `{callee}`, which stands in another compartment: {why}"
        );
        // The help must be feasible: it names all modules that would have to move, and no combination that would be
        // refused.
        let all = self.bonds.closure(self.both());
        let help = if self.bonds.fit(&all) {
            let names: Vec<String> = all.iter().map(|module| format!("\"{module}\"")).collect();
            let which = if all.len() == 2 { "both modules" } else { "these modules" };
            format!(
                "place {which} in one compartment: `modules = [{}]`; across compartments go values, and streams and futures of numbers, \
                 texts and byte lists",
                names.join(", ")
            )
        } else {
            format!(
                "let no handles go between these modules, and no other streams and futures than those of numbers, texts and byte lists: no compartment can hold both, since a type in a call \
                 there has more than {MAX_FUSED_PARTS} cases, fields or items"
            )
        };
        self.problem(fault, message, &help)
    }

    fn cant_stay(&self, fault: &UnsupportedPart<'_>) -> Problem {
        let Self { caller, callee, import, .. } = self;
        let why = &fault.why;
        let message = format!(
            "module `{caller}` can't call `{import}` of module `{callee}`, which stands in the same compartment: {why}, and \
             {MAX_FUSED_PARTS} are possible there"
        );
        let tied = self.bonds.tied(BTreeSet::from([(*caller).clone()]), |_| true).contains(*callee);
        let help = if tied {
            format!(
                "give the type at most {MAX_FUSED_PARTS} cases, fields or items; the modules can't be in different compartments, because \
                 other values that they exchange can't leave one"
            )
        } else {
            "place these modules in different compartments: a type of that size can go from one to another".to_owned()
        };
        self.problem(fault, message, &help)
    }

    fn problem(&self, fault: &UnsupportedPart<'_>, message: String, help: &str) -> Problem {
        let is_function = self.bonds.interface(self.caller, self.import).is_some_and(|interface| interface.is_function);
        let place = if is_function { &InterfaceName::world() } else { self.import };
        let problem = Problem::new(Code::Placement, message).module(self.caller).interface(place).help(help);
        let mut problem = at_module(problem, self.config, self.caller);
        problem.function = fault.function.map(str::to_owned);
        problem.type_path.clone_from(&fault.path);
        problem
    }
}

/// Reports circles of calls between compartments whose modules form no circle. An example: `a` and `c` share a
/// compartment, `b` has another one, `a` calls `b` and `b` calls `c`.
pub(super) fn check_circles(
    config: &AppConfig,
    modules: &BTreeMap<ModuleName, Node>,
    compartments: &[Compartment],
    constraints: &PlacementConstraints<'_>,
    problems: &mut Vec<Problem>,
) {
    let mut calls: Vec<BTreeMap<usize, (&ModuleName, &ModuleName)>> = vec![BTreeMap::new(); compartments.len()];
    for (caller, node) in modules {
        for provider in node.calls.values() {
            if let (Some(from), Some(to)) = (home(compartments, caller), home(compartments, &provider.module))
                && from != to
            {
                calls[from].entry(to).or_insert((caller, &provider.module));
            }
        }
    }
    let mut reported: BTreeSet<usize> = BTreeSet::new();
    for start in 0..compartments.len() {
        let Some(way) = circle(&calls, start).filter(|way| way.iter().all(|place| !reported.contains(place))) else {
            continue;
        };
        reported.extend(&way);
        let names = way.iter().chain(&way[..1]).map(|place| compartments[*place].name.to_string());
        let steps = way.iter().zip(way.iter().cycle().skip(1)).map(|(from, to)| calls[*from][to]);
        let steps: Vec<String> = steps.map(|(caller, callee)| format!("`{caller}` calls `{callee}`")).collect();
        let message = format!(
            "compartments call each other in a circle: {} ({})",
            names.collect::<Vec<_>>().join(" -> "),
            steps.join(", ")
        );
        let involved = way.iter().zip(way.iter().cycle().skip(1)).flat_map(|(from, to)| {
            let (caller, callee) = calls[*from][to];
            [caller.clone(), callee.clone()]
        });
        let help = circle_help(&involved.collect(), constraints);
        let (module, _) = calls[way[0]][&way[1]];
        problems.push(at_module(Problem::new(Code::Cycle, message).module(module).help(help), config, module));
    }
}

/// Describes how to resolve a circle of compartments. The help proposes only placements that the planner accepts.
fn circle_help(involved: &BTreeSet<ModuleName>, constraints: &PlacementConstraints<'_>) -> String {
    let all = constraints.closure(involved.clone());
    let is_bound = |module: &ModuleName| constraints.tied(BTreeSet::from([module.clone()]), |_| true).len() > 1;
    let apart = !all.iter().any(is_bound);
    match (constraints.fit(&all), apart) {
        (true, true) => format!("place {} in one compartment, or each in one of its own", list_names(&all)),
        (true, false) => format!("place {} in one compartment", list_names(&all)),
        (false, true) => format!("place {}, each in a compartment of its own", list_names(&all)),
        (false, false) => {
            "turn one of these calls around, or let only values that can leave a compartment go between these modules \
                           and place each in a compartment of its own"
                .to_owned()
        }
    }
}

/// Finds the shortest circle of calls between compartments that begins and ends at `start`, an index into `calls`. `None` if there is none.
fn circle(calls: &[BTreeMap<usize, (&ModuleName, &ModuleName)>], start: usize) -> Option<Vec<usize>> {
    let mut came_from: BTreeMap<usize, usize> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(place) = queue.pop_front() {
        for &next in calls[place].keys() {
            if next == start {
                let mut way = vec![place];
                while let Some(&before) = came_from.get(&way[way.len() - 1]) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if let std::collections::btree_map::Entry::Vacant(free) = came_from.entry(next) {
                free.insert(place);
                queue.push_back(next);
            }
        }
    }
    None
}
