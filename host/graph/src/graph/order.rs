//! The order in which modules are instantiated: each after the modules that it calls. Calls in a circle have no such order and are
//! reported.

use std::collections::{BTreeMap, BTreeSet};

use super::Node;
use watertight_model::config::AppConfig;
use watertight_model::ids::ModuleName;
use watertight_model::problem::{Code, Problem};

/// The progress of a depth-first search over calls, at one module.
enum VisitState {
    /// The module is on the path of calls from the first module of the search to the current one.
    InProgress,
    Done,
}

struct DepthFirstSearch<'a> {
    config: &'a AppConfig,
    modules: &'a BTreeMap<ModuleName, Node>,
    marks: BTreeMap<&'a ModuleName, VisitState>,
    path: Vec<&'a ModuleName>,
    order: Vec<ModuleName>,
    problems: &'a mut Vec<Problem>,
}

/// Returns all modules, each after the modules that it calls. Reports each circle of calls that the search meets.
pub(super) fn instantiation_order(
    config: &AppConfig,
    modules: &BTreeMap<ModuleName, Node>,
    problems: &mut Vec<Problem>,
) -> Vec<ModuleName> {
    let mut walk =
        DepthFirstSearch { config, modules, marks: BTreeMap::new(), path: Vec::new(), order: Vec::new(), problems };
    for name in modules.keys() {
        walk.visit(name);
    }
    walk.order
}

impl<'a> DepthFirstSearch<'a> {
    /// Visits a module and its callees, depth first. The number of modules bounds the depth, and the manifest bounds that
    /// number.
    fn visit(&mut self, name: &'a ModuleName) {
        match self.marks.get(name) {
            Some(VisitState::Done) => return,
            Some(VisitState::InProgress) => return self.report_cycle(name),
            None => {}
        }
        let Some(node) = self.modules.get(name) else { return };
        self.marks.insert(name, VisitState::InProgress);
        self.path.push(name);
        let callees: BTreeSet<&ModuleName> = node.calls.values().map(|provider| &provider.module).collect();
        for callee in callees {
            self.visit(callee);
        }
        self.path.pop();
        self.marks.insert(name, VisitState::Done);
        self.order.push(name.clone());
    }

    fn report_cycle(&mut self, name: &ModuleName) {
        let start = self.path.iter().position(|on_way| *on_way == name).expect("an open module is on the way");
        let mut names: Vec<String> = self.path[start..].iter().map(ToString::to_string).collect();
        names.push(name.to_string());
        let message = format!("modules call each other in a circle: {}", names.join(" -> "));
        let help =
            "move what these modules need of each other into a module that calls none of them, or turn one call around";
        let mut problem = Problem::new(Code::Cycle, message).module(name).file(&self.config.manifest).help(help);
        problem.line = self.config.modules.get(name).map(|module| module.line);
        self.problems.push(problem);
    }
}
