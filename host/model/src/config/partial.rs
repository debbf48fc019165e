//! A configuration with faults, as far as it could be read: so that what else is wrong with the application is found in the same pass.

use std::collections::BTreeSet;

use super::AppConfig;
use super::route::RouteConfig;
use crate::ids::ModuleName;
use crate::problem::{Code, Problem, Problems};

/// A configuration, its faults, and which parts of it they leave in doubt. Nothing may run from one that has faults.
pub struct Partial {
    /// What could be read. A part with a fault is left out, or is as if nothing had been said.
    pub config: AppConfig,
    /// The faults.
    pub problems: Vec<Problem>,
    /// What they leave in doubt.
    pub doubts: Doubts,
}

/// The parts of a configuration that faults leave in doubt. What is wrong only because of them isn't reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Modules of which it isn't known whom they may call.
    pub(super) calls: BTreeSet<ModuleName>,
    /// Modules of which it isn't known what they are granted.
    pub(super) uses: BTreeSet<ModuleName>,
    /// Whether it isn't known which modules share a compartment.
    pub(super) placement: bool,
    /// Routes with faults.
    pub routes: Vec<PartialRoute>,
}

/// A route with faults, of which at least the function is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialRoute {
    /// What could be read. What couldn't is as if nothing had been said.
    pub route: RouteConfig,
    /// Whether method, path, body and headers have no fault: then it is known which parameters are bound.
    pub bindings: bool,
    /// Whether it is known which error cases have a status.
    pub errors: bool,
}

impl Partial {
    /// The configuration.
    ///
    /// # Errors
    ///
    /// Its faults, where it has any.
    pub fn whole(self) -> Result<AppConfig, Problems> {
        Problems::or(self.problems, self.config)
    }
}

impl Doubts {
    /// Whether a problem of the graph may be there only because of a fault that was reported.
    pub fn explain(&self, problem: &Problem) -> bool {
        let module = problem.module.as_ref();
        match problem.code {
            Code::UndeclaredCall | Code::MissingExport | Code::Ambiguous => {
                module.is_some_and(|module| self.calls.contains(module))
            }
            Code::Ungranted => module.is_some_and(|module| self.uses.contains(module)),
            // A circle of compartments depends on who shares one; a circle of modules doesn't.
            Code::Cycle => self.placement && problem.message.starts_with("compartments"),
            Code::Placement => self.placement,
            _ => false,
        }
    }
}
