//! Holds a configuration with faults, as far as it could be read, so that other faults of the application are found in the same pass.

use std::collections::BTreeSet;

use super::AppConfig;
use super::middleware::MiddlewareConfig;
use super::mount::MountConfig;
use super::route::RouteConfig;
use crate::ids::ModuleName;
use crate::problem::{Code, Problem, Problems};

/// A configuration with its faults and the parts that they leave in doubt. Nothing may run from a configuration that has faults.
pub struct PartialConfig {
    /// The parts that could be read. A part with a fault is missing or has its default value.
    pub config: AppConfig,
    /// All faults of the configuration.
    pub problems: Vec<Problem>,
    /// The parts of the configuration that can't be known because of the faults.
    pub uncertain: UncertainParts,
}

/// The parts of a configuration that can't be known because of faults. Problems that may be mere consequences of those faults are not
/// reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UncertainParts {
    /// Modules for which it is unknown which modules they may call.
    pub(super) calls: BTreeSet<ModuleName>,
    /// Modules for which it is unknown which capabilities they are granted.
    pub(super) uses: BTreeSet<ModuleName>,
    /// Whether it is unknown which modules share a compartment.
    pub(super) placement: bool,
    /// Routes with faults.
    pub routes: Vec<PartialRoute>,
    /// Mounts with faults. Their modules are known. Another part with a fault has its default value.
    pub mounts: Vec<MountConfig>,
    /// Middlewares with faults. Their modules are known. Another part with a fault has its default value.
    pub middlewares: Vec<MiddlewareConfig>,
    /// Whether it is unknown which modules are middlewares.
    pub(super) middlewares_are_unknown: bool,
}

/// A route with faults. Its function is known; a route whose function is unknown has no such entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialRoute {
    /// The parts that could be read. A part with a fault has its default value.
    pub route: RouteConfig,
    /// Whether method, path, body and headers have no fault, so that it is known which parameters are bound.
    pub bindings: bool,
    /// Whether it is known which error cases of the function have a status.
    pub errors: bool,
    /// Whether the keys `status` and `answer` have no fault.
    pub answer: bool,
}

impl PartialConfig {
    /// Returns the configuration if it has no faults.
    ///
    /// # Errors
    ///
    /// The faults of the configuration.
    pub fn into_config(self) -> Result<AppConfig, Problems> {
        Problems::ok_or_problems(self.problems, self.config)
    }
}

impl UncertainParts {
    /// Whether `problem`, found in the graph of modules, may be the mere consequence of a fault that is already reported.
    pub fn may_cause(&self, problem: &Problem) -> bool {
        let module = problem.module.as_ref();
        match problem.code {
            Code::UndeclaredCall | Code::MissingExport | Code::Ambiguous => {
                let is_middleware =
                    |module: &ModuleName| self.middlewares.iter().any(|one| one.module.value == *module);
                let passes = problem.interface.as_ref().is_some_and(|name| name.unversioned() == "wasi:http/handler");
                (passes && self.middlewares_are_unknown)
                    || module.is_some_and(|module| self.calls.contains(module) || is_middleware(module))
            }
            Code::Ungranted => module.is_some_and(|module| self.uses.contains(module)),
            // A cycle of compartments depends on which modules share one. A cycle of modules doesn't.
            Code::Cycle => self.placement && problem.message.starts_with("compartments"),
            Code::Placement => self.placement,
            _ => false,
        }
    }
}
