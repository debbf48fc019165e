//! Turns a configuration into a running application: check, link, compile, open databases, assemble a generation.
//!
//! Nothing is executed or written before [`Checked`] exists, so a refusal up to that point changes nothing (invariant 4).

mod databases;
mod migrations;
mod part;
mod unsupported;
mod trial;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::state::StateFolder;
use watertight_component::artifact::{Artifact, MAX_COMPONENT_BYTES};
use watertight_engine::Engines;
use watertight_engine::compile::{CompileError, Compiler};
use watertight_graph::graph::{AppGraph, room_notes, warm_faults};
use watertight_graph::plan::PlanSide;
use watertight_graph::routes::{RouteTable, unreached_notes};
use watertight_model::config::{
    self, AppConfig, CompileLimits, ModuleValues, Overrides, PartialConfig, UncertainParts, Values,
};
use watertight_model::ids::{Digest, GenerationNumber, ModuleName};
use watertight_model::problem::{Code, Problem, Problems};
use watertight_openapi::format::OpenApi;
use watertight_runtime::link::{Linked, identity, link};
use watertight_runtime::runtime::{AdmissionTable, Generation, Runtime};
use watertight_sql::Settings;
use watertight_store::ModuleData;
use watertight_store::capability::{Capabilities, ModuleContext};
use watertight_telemetry::Telemetry;

pub use databases::Databases;
pub use migrations::ModuleMigrations;
pub(crate) use migrations::retain_pending;
pub use part::{needed, retain_modules};

/// An application that passed all checks: it is complete, acyclic, type-checked, granted and routed.
#[derive(Debug)]
pub struct Checked {
    /// The manifest and routes of the application, as checked types.
    pub config: AppConfig,
    /// The modules and how they are linked.
    pub graph: AppGraph,
    /// The routes, bound to functions of the graph.
    pub routes: RouteTable,
    /// The variables and secrets of the modules. Empty if the check did not read them.
    pub values: Values,
    /// Notes that refuse nothing but matter to the application's author: see [`unreached_notes`] and [`room_notes`].
    pub notes: Vec<Problem>,
}

impl Checked {
    /// Returns the parts of this application that a `Plan` compares with those of another one.
    pub fn side(&self) -> PlanSide<'_> {
        PlanSide { config: &self.config, graph: &self.graph, values: &self.values }
    }
}

/// Reads every component, checks the application, and reads the variables and secrets of its modules.
///
/// # Errors
///
/// All problems of the application, in one list.
pub fn check(config: AppConfig) -> Result<Checked, Problems> {
    let (artifacts, problems) = load_components(&config);
    with_values(link_on_paper(PartialConfig { config, problems, uncertain: UncertainParts::default() }, &artifacts))
}

/// Checks an application with components that were read before, and reads the variables and secrets of its modules. `artifacts` needs one
/// component for each module.
///
/// # Errors
///
/// All problems of the application, in one list.
pub fn check_with(config: AppConfig, artifacts: &Artifacts) -> Result<Checked, Problems> {
    with_values(link_on_paper(with_problems_for_missing(config, artifacts), artifacts))
}

/// Checks an application with components that were read before. Does not read variables and secrets, so their problems stay unreported.
///
/// # Errors
///
/// All problems found, in one list.
pub fn check_paper_with(config: AppConfig, artifacts: &Artifacts) -> Result<Checked, Problems> {
    let (checked, problems) = link_on_paper(with_problems_for_missing(config, artifacts), artifacts);
    Problems::ok_or_problems(problems, checked)
}

/// What [`check_files`] checks in addition to manifest, routes and components.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckScope {
    /// Whether to try the migrations as a start would apply them. Failures that depend on rows or on free disk space are not found.
    pub migrations: bool,
    /// Whether to read the modules' variables and secrets.
    pub values: bool,
}

/// Reads and checks the application whose manifest is at `path`, with all its components.
///
/// # Errors
///
/// All problems of the application, in one list. A problem in the manifest or a route hides only the checks that depend on it.
pub fn check_files(path: &Path, overrides: &Overrides, scope: CheckScope) -> Result<Checked, Problems> {
    let mut partial = config::load_partial(path, overrides)?;
    let (artifacts, problems) = load_components(&partial.config);
    partial.problems.extend(problems);
    if scope.migrations {
        let refused = migrations::refused_by_a_start(&partial.config, &artifacts, &partial.config.state);
        partial.problems.extend(refused);
    }
    let linked = link_on_paper(partial, &artifacts);
    if scope.values {
        return with_values(linked);
    }
    Problems::ok_or_problems(linked.1, linked.0)
}

/// Reads the configuration of the application at `path`.
///
/// # Errors
///
/// If the configuration has problems, all problems of the application, as [`check_files`] finds them.
pub fn load(path: &Path, overrides: &Overrides) -> Result<AppConfig, Problems> {
    config::load(path, overrides).map_err(|problems| {
        match check_files(path, overrides, CheckScope { migrations: true, values: true }) {
            Err(all) => all,
            // The files were corrected between the two reads.
            Ok(_) => problems,
        }
    })
}

/// Returns the problems of a faulty configuration together with those that a check of its components finds.
pub fn all_problems(faulty: PartialConfig, artifacts: &Artifacts) -> Problems {
    link_on_paper(faulty, artifacts).1.into()
}

/// The component of each module.
pub type Artifacts = BTreeMap<ModuleName, Arc<Artifact>>;

/// Reads the components that the manifest names. Returns a problem for each one that can't be read.
pub fn load_components(config: &AppConfig) -> (Artifacts, Vec<Problem>) {
    let (mut artifacts, mut problems) = (Artifacts::new(), Vec::new());
    for (name, module) in &config.modules {
        match Artifact::load(module.component.value.file(), MAX_COMPONENT_BYTES) {
            Ok(artifact) => {
                artifacts.insert(name.clone(), Arc::new(artifact));
            }
            Err(error) => problems.push(Problem::from(error).module(name)),
        }
    }
    (artifacts, problems)
}

/// Wraps a valid configuration, with a problem for each module that has no component.
fn with_problems_for_missing(config: AppConfig, artifacts: &Artifacts) -> PartialConfig {
    let missing = config.modules.keys().filter(|name| !artifacts.contains_key(*name));
    let problem = |name| Problem::new(Code::Unreadable, "the module has no component").module(name);
    let problems = missing.map(problem).collect();
    PartialConfig { config, problems, uncertain: UncertainParts::default() }
}

/// Links as much of an application as could be read. Returns it with the problems of its configuration and those of linking. Leaves out
/// problems that only follow from a reported one.
fn link_on_paper(partial: PartialConfig, artifacts: &Artifacts) -> (Checked, Vec<Problem>) {
    let PartialConfig { config, mut problems, uncertain: doubts } = partial;
    let linked = AppGraph::build(&config, artifacts);
    problems.extend(linked.problems.into_iter().filter(|problem| !doubts.may_cause(problem)));
    unsupported::reject_unsupported(&linked.graph, &mut problems);
    let (routes, route_problems) = RouteTable::bind(&config, &linked.graph);
    problems.extend(route_problems);
    problems.extend(RouteTable::check_partial(&doubts, &linked.graph));
    if problems.is_empty() {
        problems.extend(warm_faults(&config, &linked.graph));
    }
    let mut notes = Vec::new();
    if problems.is_empty() {
        notes = unreached_notes(&config, &linked.graph, &routes);
        notes.extend(room_notes(&config, &linked.graph));
        notes.extend(OpenApi::stale_examples(&linked.graph, &routes, &config.manifest));
    }
    (Checked { config, graph: linked.graph, routes, values: Values::default(), notes }, problems)
}

/// Reads the variables and secrets of a checked application's modules, and adds the problems found to `problems`.
fn with_values((mut checked, mut problems): (Checked, Vec<Problem>)) -> Result<Checked, Problems> {
    match Values::read(&checked.config) {
        Ok(values) => checked.values = values,
        Err(missing) => problems.extend(missing.into_vec()),
    }
    Problems::ok_or_problems(problems, checked)
}

/// The facilities by which a host compiles and runs applications.
pub struct Host {
    /// The Wasmtime engines.
    pub engines: Engines,
    /// The executable that is started as a child process to compile: the host's own.
    pub program: PathBuf,
    /// The settings of the modules' databases.
    pub database: Settings,
    /// The metrics of the host.
    pub telemetry: Arc<Telemetry>,
    /// The capabilities that modules may be granted. Manifests must be read with their declarations: see [`Overrides::capabilities`].
    pub capabilities: Capabilities,
    /// Other folders of this user with compiled code, which is taken instead of compiling the same again.
    pub code: Vec<PathBuf>,
}

impl Host {
    /// Returns the default facilities, with the current executable as the compiler.
    ///
    /// # Errors
    ///
    /// The I/O error if the path of the current executable can't be determined.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self::with_program(std::env::current_exe()?))
    }

    /// Returns the default facilities, with `program` as the compiler: a binary of the same version of the host.
    pub fn with_program(program: PathBuf) -> Self {
        Self {
            engines: Engines::new(),
            program,
            database: Settings::default(),
            telemetry: Telemetry::new(),
            capabilities: Capabilities::default(),
            code: Vec::new(),
        }
    }

    /// Returns a compiler that caches code in the state folder and keeps the limits of the manifest. It is for a start: somebody waits for
    /// it and nothing is served yet, so its child process has the host's own priority.
    ///
    /// # Errors
    ///
    /// A problem with the code `state` if the code cache can't be used.
    pub fn compiler(&self, state: &StateFolder, limits: CompileLimits) -> Result<Compiler, Problems> {
        self.prepare(Compiler::new(self.engines.clone(), &state.code(), self.program.clone(), limits))
    }

    /// Returns a compiler like [`Self::compiler`] that caches code in a folder which other processes may use at the same time.
    ///
    /// # Errors
    ///
    /// A problem with the code `state` if the folder can't be used.
    pub fn shared_compiler(&self, folder: &Path, limits: CompileLimits) -> Result<Compiler, Problems> {
        self.prepare(Compiler::shared(self.engines.clone(), folder, self.program.clone(), limits))
    }

    fn prepare(&self, compiler: Result<Compiler, CompileError>) -> Result<Compiler, Problems> {
        let compiler = compiler.map_err(|error| Problem::new(Code::State, error.to_string()))?;
        Ok(compiler.with_host_priority().with_code_of(self.code.iter().cloned()))
    }
}

/// Compiles, links, migrates and starts an application that no change replaces while it runs. Blocks while it compiles. Must run inside a
/// tokio runtime, on a thread that may block.
///
/// # Errors
///
/// All problems found. Migrations run last; one that fails leaves its database unchanged.
pub fn start(checked: Checked, state: &StateFolder, host: &Host) -> Result<Runtime, Problems> {
    let compiler = host.compiler(state, checked.config.compile)?;
    let linked = link_all(&checked.graph, &compiler, &host.capabilities, &LinkedCode::new())?;
    let databases = Databases::new(host.database.clone());
    databases.open_unpublished(&checked.graph, state)?;
    let (capabilities, telemetry) = (&host.capabilities, &host.telemetry);
    let parts = SharedParts { databases: &databases, admissions: &AdmissionTable::default(), capabilities, telemetry };
    Ok(Runtime::new(assemble(GenerationNumber(1), checked, linked, parts)?))
}

/// The parts of a host that all its generations share.
#[derive(Clone, Copy)]
pub struct SharedParts<'a> {
    /// The open databases.
    pub databases: &'a Databases,
    /// For each module, the bounds on the calls that run and wait, which all generations share.
    pub admissions: &'a AdmissionTable,
    /// The capabilities that modules may be granted.
    pub capabilities: &'a Capabilities,
    /// The metrics of the host.
    pub telemetry: &'a Arc<Telemetry>,
}

/// Assembles a generation from its linked compartments, which are in the order of the graph. Must run inside a tokio runtime.
///
/// # Errors
///
/// All problems that capabilities have with the application or its modules.
pub fn assemble(
    number: GenerationNumber,
    checked: Checked,
    linked: Vec<Linked>,
    parts: SharedParts<'_>,
) -> Result<Arc<Generation>, Problems> {
    let SharedParts { databases, admissions, capabilities, telemetry } = parts;
    let Checked { config, graph, routes, values, .. } = checked;
    capabilities.prepare_application(&config)?;
    let (no_values, mut problems) = (ModuleValues::default(), Vec::new());
    let mut linked_with_data = Vec::new();
    for (linked, compartment) in linked.into_iter().zip(&graph.compartments) {
        let data = |name: &ModuleName| {
            let node = &graph.modules[name];
            let context = ModuleContext {
                name,
                config: &config.modules[name],
                limits: &compartment.limits,
                values: values.of(name).unwrap_or(&no_values),
                database: databases.get(name).filter(|_| node.has_database),
                telemetry,
            };
            let shared = capabilities.prepare(&context).unwrap_or_else(|found| {
                problems.extend(found.into_vec());
                Vec::new()
            });
            ModuleData { name: name.clone(), shared }
        };
        linked_with_data.push((linked, compartment.modules.iter().map(data).collect::<Arc<[ModuleData]>>()));
    }
    let generation = || {
        let drain = config.http.drain;
        Arc::new(Generation::new(number, graph, routes, linked_with_data, drain, admissions, telemetry))
    };
    if problems.is_empty() { Ok(generation()) } else { Err(problems.into()) }
}

/// Linked compartments that can be reused, by their identity.
pub type LinkedCode = BTreeMap<Digest, Linked>;

/// Links and compiles the compartments of a graph. Takes those whose identity is in `known` over without linking them again. Blocks.
///
/// # Errors
///
/// A problem for each compartment that can't be linked or compiled.
pub fn link_all(
    graph: &AppGraph,
    compiler: &Compiler,
    capabilities: &Capabilities,
    known: &LinkedCode,
) -> Result<Vec<Linked>, Problems> {
    let (mut linked, mut problems) = (Vec::new(), Vec::new());
    for compartment in &graph.compartments {
        let start = Instant::now();
        if let Some(known) = known.get(&identity(graph, compartment)) {
            linked.push(known.clone());
            continue;
        }
        match link(graph, compartment, compiler, capabilities) {
            Ok(done) => {
                let millis = start.elapsed().as_millis();
                tracing::info!(compartment = %compartment.name, cached = done.cached, millis, "a compartment was linked");
                linked.push(done);
            }
            Err(error) => problems.push(Problem::from(error)),
        }
    }
    Problems::ok_or_problems(problems, linked)
}
