//! What may go from one compartment to another: plain calls with plain values, and never in a circle.
//!
//! Each compartment has its own store. A handle means nothing in another one, a stream or future can't be read from there, and what
//! waits in a circle would wait for an instance that waits for it.

use std::collections::{BTreeMap, BTreeSet};

use super::at_module;
use crate::config::AppConfig;
use crate::graph::{Compartment, Node, home};
use crate::ids::{InterfaceName, ModuleName};
use crate::problem::{Code, Problem};
use crate::shape::{Function, Interface, Type};

/// Reports every function that is called across compartments and can't be.
pub(super) fn check(
    config: &AppConfig,
    modules: &BTreeMap<ModuleName, Node>,
    compartments: &[Compartment],
    problems: &mut Vec<Problem>,
) {
    for (caller, node) in modules {
        for (import, provider) in &node.calls {
            if home(compartments, caller) == home(compartments, &provider.module) {
                continue;
            }
            let edge = Edge { config, caller, callee: &provider.module, import };
            problems.extend(edge.faults(&node.artifact.shape.imports[import]));
        }
    }
}

/// An import that is served from another compartment.
struct Edge<'a> {
    config: &'a AppConfig,
    caller: &'a ModuleName,
    callee: &'a ModuleName,
    import: &'a InterfaceName,
}

impl Edge<'_> {
    fn faults(&self, interface: &Interface) -> Vec<Problem> {
        let mut faults = Vec::new();
        for (name, function) in &interface.functions {
            if function.is_async {
                faults.push(self.problem("it is an `async func`").function(name));
            } else if let Some((path, ty)) = uncarried(function) {
                faults.push(self.problem(&format!("it carries `{ty}`")).function(name).type_path(path));
            }
        }
        // Where no function said it: the caller can name the resource, and nobody gives it.
        let named = interface.types.iter().find_map(|(name, ty)| inside(ty, name.clone()));
        if let (true, Some((path, ty))) = (faults.is_empty(), named) {
            faults.push(self.problem(&format!("it names `{ty}`")).type_path(path));
        }
        if let (true, Some(resource)) = (faults.is_empty(), interface.resources.first()) {
            faults.push(self.problem(&format!("it has the resource `{resource}`")));
        }
        faults
    }

    fn problem(&self, why: &str) -> Problem {
        let Self { config, caller, callee, import } = self;
        let message = format!(
            "module `{caller}` can't call `{import}` of module `{callee}`, which stands in another compartment: {why}"
        );
        let help = format!(
            "place both modules in one compartment: `modules = [\"{caller}\", \"{callee}\"]`; across compartments go plain \
             functions and values"
        );
        at_module(Problem::new(Code::Placement, message).module(caller).interface(import).help(help), config, caller)
    }
}

/// The first part of a function that no other store can take, with the way to it.
fn uncarried(function: &Function) -> Option<(String, &Type)> {
    let parameters = function.parameters.iter().map(|parameter| (&*parameter.name, &parameter.ty));
    let result = function.result.iter().map(|ty| ("result", ty));
    parameters.chain(result).find_map(|(name, ty)| inside(ty, name.to_owned()))
}

/// The validator bounds the size of a type with all that it is made of, and so this walk.
fn inside(ty: &Type, path: String) -> Option<(String, &Type)> {
    let part = |part: &str| format!("{path}.{part}");
    match ty {
        Type::Own(_) | Type::Borrow(_) | Type::Stream(_) | Type::Future(_) | Type::ErrorContext => Some((path, ty)),
        Type::List(item) | Type::FixedList(item, _) => inside(item, format!("{path}[]")),
        Type::Map(key, value) => inside(key, format!("{path}[key]")).or_else(|| inside(value, format!("{path}[]"))),
        Type::Option(some) => inside(some, format!("{path}?")),
        Type::Result { ok, err } => {
            let sides = [("ok", ok), ("err", err)];
            sides.into_iter().find_map(|(name, side)| inside(side.as_deref()?, part(name)))
        }
        Type::Tuple(types) => types.iter().enumerate().find_map(|(place, ty)| inside(ty, part(&place.to_string()))),
        Type::Record(record) => record.body.iter().find_map(|field| inside(&field.ty, part(&field.name))),
        Type::Variant(variant) => variant.body.iter().find_map(|case| inside(case.ty.as_ref()?, part(&case.name))),
        _ => None,
    }
}

/// Reports circles of calls between compartments, where modules themselves have none: `a` and `c` share one, `b` stands apart,
/// `a` calls `b` and `b` calls `c`.
pub(super) fn check_circles(
    config: &AppConfig,
    modules: &BTreeMap<ModuleName, Node>,
    compartments: &[Compartment],
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
        let help = "place these modules in one compartment, or each in one of its own";
        let (module, _) = calls[way[0]][&way[1]];
        problems.push(at_module(Problem::new(Code::Cycle, message).module(module).help(help), config, module));
    }
}

/// The shortest way from `start` back to itself.
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
