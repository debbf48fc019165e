//! From a configuration to a running application: the whole way of the data, step by step.
//!
//! Up to [`Checked`] nothing is executed or written; a refusal there changes nothing (invariant 4).

mod databases;
mod migrations;
mod refused;
mod rehearse;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::state::StateFolder;
use watertight_component::artifact::{Artifact, MAX_COMPONENT_BYTES};
use watertight_engine::Engines;
use watertight_engine::compile::Compiler;
use watertight_graph::graph::AppGraph;
use watertight_graph::plan::Side;
use watertight_graph::routes::{RouteTable, unreached};
use watertight_model::config::{self, AppConfig, Capability, Compiling, Doubts, Overrides, Partial, Values};
use watertight_model::ids::{Digest, GenerationNumber, ModuleName};
use watertight_model::problem::{Code, Problem, Problems};
use watertight_runtime::link::{Linked, identity, link};
use watertight_runtime::outbound::Outgoing;
use watertight_runtime::runtime::{Admissions, Generation, Runtime};
use watertight_runtime::store::ModuleData;
use watertight_sql::Settings;
use watertight_telemetry::Telemetry;

pub use databases::Databases;
pub use migrations::ModuleMigrations;

/// An application that is complete, acyclic, type-checked, granted and routed.
#[derive(Debug)]
pub struct Checked {
    /// What was configured.
    pub config: AppConfig,
    /// How the modules are linked.
    pub graph: AppGraph,
    /// Where requests go.
    pub routes: RouteTable,
    /// What the modules are configured with. Empty where only the application on paper was checked.
    pub values: Values,
    /// What is no fault, and whoever made the application should know: see [`unreached`].
    pub notes: Vec<Problem>,
}

impl Checked {
    /// What is compared with another application.
    pub fn side(&self) -> Side<'_> {
        Side { config: &self.config, graph: &self.graph, values: &self.values }
    }
}

/// Reads every component, links the application on paper, and reads what its modules are configured with.
///
/// # Errors
///
/// Everything that is wrong, in one list.
pub fn check(config: AppConfig) -> Result<Checked, Problems> {
    let (artifacts, problems) = load_components(&config);
    with_values(link_on_paper(Partial { config, problems, doubts: Doubts::default() }, &artifacts))
}

/// The same with components that were read before: one for each module.
///
/// # Errors
///
/// Everything that is wrong, in one list.
pub fn check_with(config: AppConfig, artifacts: &Artifacts) -> Result<Checked, Problems> {
    with_values(link_on_paper(without_missing(config, artifacts), artifacts))
}

/// Checks an application on paper alone, with the given components: values and secrets of modules aren't read.
///
/// # Errors
///
/// Everything that is wrong, in one list.
pub fn check_paper_with(config: AppConfig, artifacts: &Artifacts) -> Result<Checked, Problems> {
    let (checked, problems) = link_on_paper(without_missing(config, artifacts), artifacts);
    Problems::or(problems, checked)
}

/// What of an application is looked at beside manifest, routes and components.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Tries the migrations as a start would apply them, as far as that depends neither on rows nor on the disk.
    pub migrations: bool,
    /// Reads what the modules are configured with: variables and secrets.
    pub values: bool,
}

/// Reads the application at `path` and every component, and links it on paper.
///
/// # Errors
///
/// Everything that is wrong, in one list: a fault in the manifest or the routes hides only what depends on it.
pub fn check_files(path: &Path, overrides: &Overrides, look: Look) -> Result<Checked, Problems> {
    let mut partial = config::load_partial(path, overrides)?;
    let (artifacts, problems) = load_components(&partial.config);
    partial.problems.extend(problems);
    if look.migrations {
        let refused = migrations::refused_by_a_start(&partial.config, &artifacts, &partial.config.state);
        partial.problems.extend(refused);
    }
    let linked = link_on_paper(partial, &artifacts);
    if look.values {
        return with_values(linked);
    }
    Problems::or(linked.1, linked.0)
}

/// Reads the configuration of the application at `path`.
///
/// # Errors
///
/// Where the configuration has faults: everything that is wrong with the application, as [`check_files`] finds it.
pub fn load(path: &Path, overrides: &Overrides) -> Result<AppConfig, Problems> {
    config::load(path, overrides).map_err(|problems| {
        match check_files(path, overrides, Look { migrations: true, values: true }) {
            Err(all) => all,
            // The files changed meanwhile.
            Ok(_) => problems,
        }
    })
}

/// Everything that is wrong with an application that has faults: those, and what else is found on paper.
pub fn all_problems(faulty: Partial, artifacts: &Artifacts) -> Problems {
    link_on_paper(faulty, artifacts).1.into()
}

/// The component of each module.
pub type Artifacts = BTreeMap<ModuleName, Arc<Artifact>>;

/// Reads the components that the manifest names; those that can't be read are problems.
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

/// A configuration without faults, and a problem for each module without a component.
fn without_missing(config: AppConfig, artifacts: &Artifacts) -> Partial {
    let missing = config.modules.keys().filter(|name| !artifacts.contains_key(*name));
    let problem = |name| Problem::new(Code::Unreadable, "the module has no component").module(name);
    let problems = missing.map(problem).collect();
    Partial { config, problems, doubts: Doubts::default() }
}

/// Links what could be read of an application, and adds what is wrong with it to its faults. What is wrong only because of a fault that
/// was reported isn't said.
fn link_on_paper(partial: Partial, artifacts: &Artifacts) -> (Checked, Vec<Problem>) {
    let Partial { config, mut problems, doubts } = partial;
    let linked = AppGraph::build(&config, artifacts);
    problems.extend(linked.problems.into_iter().filter(|problem| !doubts.explain(problem)));
    refused::check(&linked.graph, &mut problems);
    let (routes, route_problems) = RouteTable::bind(&config, &linked.graph);
    problems.extend(route_problems);
    problems.extend(RouteTable::check_partial(&doubts, &linked.graph));
    let notes = if problems.is_empty() { unreached(&config, &linked.graph, &routes) } else { Vec::new() };
    (Checked { config, graph: linked.graph, routes, values: Values::default(), notes }, problems)
}

/// Reads what the modules are configured with.
fn with_values((mut checked, mut problems): (Checked, Vec<Problem>)) -> Result<Checked, Problems> {
    match Values::read(&checked.config) {
        Ok(values) => checked.values = values,
        Err(missing) => problems.extend(missing.into_vec()),
    }
    Problems::or(problems, checked)
}

/// How to run what was checked.
pub struct Host {
    /// The engines.
    pub engines: Engines,
    /// The binary that compiles: this one.
    pub program: PathBuf,
    /// How databases work.
    pub database: Settings,
    /// What counts.
    pub telemetry: Arc<Telemetry>,
}

impl Host {
    /// The host as its binary runs it.
    pub fn new() -> std::io::Result<Self> {
        let (program, database) = (std::env::current_exe()?, Settings::default());
        Ok(Self { engines: Engines::new(), program, database, telemetry: Telemetry::new() })
    }

    /// What compiles for applications with that state, within the limits of their manifest.
    pub fn compiler(&self, state: &StateFolder, limits: Compiling) -> Result<Compiler, Problems> {
        let compiler = Compiler::new(self.engines.clone(), &state.code(), self.program.clone(), limits)
            .map_err(|error| Problem::new(Code::State, error.to_string()))?;
        // An author waits for each build.
        Ok(if state.is_for_development() { compiler.urgent() } else { compiler })
    }
}

/// Compiles, links, migrates and starts an application that nobody changes while it runs. Blocks while it compiles; must run inside a
/// tokio runtime, on a thread that may block.
///
/// # Errors
///
/// Everything that is wrong. Migrations are applied only after all else was found right; one that fails leaves its database as it was.
pub fn start(checked: Checked, state: &StateFolder, host: &Host) -> Result<Runtime, Problems> {
    let linked = link_all(&checked.graph, &host.compiler(state, checked.config.compile)?, &LinkedCode::new())?;
    let databases = Databases::new(host.database.clone());
    databases.open_alone(&checked.graph, state)?;
    let admissions = Admissions::default();
    Ok(Runtime::new(assemble(GenerationNumber(1), checked, linked, &databases, &admissions, &host.telemetry)))
}

/// Puts a generation together from its linked compartments, in the graph's order. Must run inside a tokio runtime.
pub fn assemble(
    number: GenerationNumber,
    checked: Checked,
    linked: Vec<Linked>,
    databases: &Databases,
    admissions: &Admissions,
    telemetry: &Arc<Telemetry>,
) -> Arc<Generation> {
    let Checked { config, graph, routes, values, .. } = checked;
    let with_data = |(linked, compartment): (Linked, &watertight_graph::graph::Compartment)| {
        let data = |module: &ModuleName| ModuleData {
            name: module.clone(),
            database: databases
                .of(module)
                .filter(|_| graph.modules[module].keeps_data())
                .map(|database| database.limited(compartment.limits.sql)),
            statements: telemetry.sql(module),
            values: values.of(module).cloned().unwrap_or_default(),
            outgoing: graph.modules[module]
                .granted
                .contains(&Capability::Http)
                .then(|| Outgoing::new(config.modules[module].http.clone(), telemetry.outbound(module))),
            brings_wasi: graph.modules[module].merging().is_some(),
        };
        (linked, compartment.modules.iter().map(data).collect::<Arc<[ModuleData]>>())
    };
    let parts = linked.into_iter().zip(&graph.compartments).map(with_data).collect();
    Arc::new(Generation::new(number, graph, routes, parts, config.http.drain, admissions, telemetry))
}

/// Compartments that are linked already, by their identity.
pub type LinkedCode = BTreeMap<Digest, Linked>;

pub fn link_all(graph: &AppGraph, compiler: &Compiler, known: &LinkedCode) -> Result<Vec<Linked>, Problems> {
    let (mut linked, mut problems) = (Vec::new(), Vec::new());
    for compartment in &graph.compartments {
        let start = Instant::now();
        if let Some(known) = known.get(&identity(graph, compartment)) {
            linked.push(known.clone());
            continue;
        }
        match link(graph, compartment, compiler) {
            Ok(done) => {
                let millis = start.elapsed().as_millis();
                tracing::info!(compartment = %compartment.name, cached = done.cached, millis, "linked");
                linked.push(done);
            }
            Err(error) => problems.push(Problem::from(error)),
        }
    }
    Problems::or(problems, linked)
}
