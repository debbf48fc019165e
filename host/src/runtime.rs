//! What runs: the current generation, and the instances that serve its calls.
//!
//! One writer publishes a generation by exchanging one pointer; readers take the current one without waiting and keep it until they
//! are done (invariants 3 and 5).

pub mod compartment;
mod instance;
mod limits;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use wasmtime::component::Val;

use crate::graph::{AppGraph, RESUME};
use crate::ids::{GenerationNumber, InterfaceName, ModuleName};
use crate::link::{FunctionIndex, Linked};
use crate::problem::{Code, Problem};
use crate::routes::{Route, RouteTable};
use crate::store::{BridgeIndex, CallContext, CallFuture, CallResult, Callees, ModuleData};

pub use crate::store::CallError;
pub use compartment::{Compartment, InstanceStats};

/// How often one start asks one module whether it has more to resume. A module that always has is asked again at the next start.
const MAX_RESUME_CALLS: u32 = 10_000;

/// A function of the running application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The compartment, by its place in the generation.
    pub compartment: usize,
    /// The function in it.
    pub function: FunctionIndex,
}

/// One immutable, fully linked application.
pub struct Generation {
    /// Its number.
    pub number: GenerationNumber,
    /// What it is linked from.
    pub graph: AppGraph,
    /// Where its requests go.
    pub routes: RouteTable,
    compartments: Vec<Arc<Compartment>>,
    targets: HashMap<(ModuleName, InterfaceName, String), Target>,
    /// For each compartment, where its bridges lead.
    bridges: Vec<Vec<Target>>,
    /// Each route's function, by the route's place.
    route_targets: Vec<Target>,
}

impl Generation {
    /// Puts linked compartments together. `linked` has one entry for each compartment of the graph, in order, and `modules` what the
    /// modules of each have.
    pub fn new(
        number: GenerationNumber,
        graph: AppGraph,
        routes: RouteTable,
        linked: Vec<(Linked, Arc<[ModuleData]>)>,
    ) -> Self {
        let mut targets = HashMap::new();
        let mut compartments = Vec::new();
        let mut bridges = Vec::new();
        for (place, (linked, modules)) in linked.into_iter().enumerate() {
            for (name, function) in linked.functions() {
                targets.insert(name.clone(), Target { compartment: place, function });
            }
            bridges.push(linked.bridges.clone());
            compartments.push(Compartment::new(&graph.compartments[place], linked, modules));
        }
        let target = |name| *targets.get(name).expect("the graph checked that the callee exports what is called");
        let bridges = bridges.iter().map(|bridges| bridges.iter().map(target).collect()).collect();
        let target = |route: &Route| {
            let name = (route.module.clone(), route.interface.clone(), route.function.clone());
            *targets.get(&name).expect("a route was bound to a function that linking found")
        };
        let route_targets = routes.routes().iter().map(target).collect();
        Self { number, graph, routes, compartments, targets, bridges, route_targets }
    }

    /// The function of the route at `place`.
    pub fn route_target(&self, place: usize) -> Target {
        self.route_targets[place]
    }

    /// How long a call of `target` may take.
    pub fn time(&self, target: Target) -> Duration {
        self.compartments[target.compartment].limits().request
    }

    /// What a result of `target` may take as JSON, in bytes.
    pub fn result_limit(&self, target: Target) -> usize {
        usize::try_from(self.compartments[target.compartment].limits().result).unwrap_or(usize::MAX)
    }

    /// The function of a module's exported interface.
    pub fn target(&self, module: &ModuleName, interface: &InterfaceName, function: &str) -> Option<Target> {
        self.targets.get(&(module.clone(), interface.clone(), function.to_owned())).copied()
    }

    /// The compartments.
    pub fn compartments(&self) -> &[Arc<Compartment>] {
        &self.compartments
    }

    /// Calls a function. Returns its result, where it returns one.
    pub async fn call(self: &Arc<Self>, target: Target, parameters: &[Val], call: CallContext) -> CallResult {
        let call = call.within(self.clone(), target.compartment);
        self.compartments[target.compartment].call(target.function, parameters, call).await
    }

    /// Makes a first instance of each compartment, so that a module that can't start is found before a request finds it. Returns what
    /// is wrong.
    pub async fn warm_up(self: &Arc<Self>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (place, compartment) in self.compartments.iter().enumerate() {
            let call = CallContext::new("start".into(), Instant::now() + compartment.limits().request);
            if let Err(error) = compartment.warm_up(call.within(self.clone(), place)).await {
                let message = format!("compartment `{}` doesn't start: {error}", compartment.name());
                problems.push(Problem::new(Code::Compile, message));
            }
        }
        problems
    }

    /// Lets every module that wants to pick up what an earlier process left unfinished. What fails is logged: it is asked for again at
    /// the next start.
    pub async fn resume(self: &Arc<Self>) {
        let name: InterfaceName = RESUME.parse().expect("the host's own interface is well named");
        for (module, node) in &self.graph.modules {
            let export = node.artifact.shape.exports.keys().find(|export| export.serves(&name));
            let Some(target) = export.and_then(|export| self.target(module, export, "resume")) else { continue };
            if let Err(reason) = self.resume_module(target).await {
                tracing::error!(%module, reason, "the module could not resume what it left unfinished");
            }
        }
    }

    async fn resume_module(self: &Arc<Self>, target: Target) -> Result<(), String> {
        for _ in 0..MAX_RESUME_CALLS {
            let call = CallContext::new("resume".into(), Instant::now() + self.time(target));
            match self.call(target, &[], call).await {
                Ok(Some(Val::Result(Ok(Some(more))))) if *more == Val::Bool(true) => {}
                Ok(Some(Val::Result(Err(Some(reason))))) => {
                    return Err(if let Val::String(reason) = *reason { reason } else { String::new() });
                }
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(format!("it had more to resume after {MAX_RESUME_CALLS} calls"))
    }
}

impl Callees for Generation {
    fn call_across<'a>(
        self: Arc<Self>,
        caller: usize,
        bridge: BridgeIndex,
        parameters: &'a [Val],
        mut call: CallContext,
    ) -> CallFuture<'a> {
        let target = self.bridges[caller][bridge.0 as usize];
        // What is left of the caller's time, unless the callee's own limit is tighter.
        call.deadline = call.deadline.min(Instant::now() + self.time(target));
        Box::pin(async move { self.call(target, parameters, call).await })
    }
}

/// The running application.
pub struct Runtime {
    current: ArcSwap<Generation>,
}

impl Runtime {
    /// Starts with a first generation.
    pub fn new(first: Generation) -> Self {
        Self { current: ArcSwap::from_pointee(first) }
    }

    /// The current generation: whoever holds it can finish on it.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }
}
