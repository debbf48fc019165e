//! From a configuration to a running application: the whole way of the data, step by step.
//!
//! Up to [`Checked`] nothing is executed or written; a refusal there changes nothing (invariant 4).

mod databases;
mod migrations;
mod refused;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::artifact::{Artifact, MAX_COMPONENT_BYTES};
use crate::config::{AppConfig, Capability, Compiling, Values};
use crate::database::Settings;
use crate::engine::Engines;
use crate::engine::compile::Compiler;
use crate::graph::AppGraph;
use crate::ids::{Digest, GenerationNumber, ModuleName};
use crate::link::{Linked, identity, link};
use crate::outbound::Outgoing;
use crate::plan::Side;
use crate::problem::{Code, Problem, Problems};
use crate::routes::RouteTable;
use crate::runtime::{Admissions, Generation, Runtime};
use crate::state::StateFolder;
use crate::store::ModuleData;
use crate::telemetry::Telemetry;

pub(crate) use databases::Databases;
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
    /// What the modules are configured with.
    pub values: Values,
}

impl Checked {
    /// What is compared with another application.
    pub fn side(&self) -> Side<'_> {
        Side { config: &self.config, graph: &self.graph, values: &self.values }
    }
}

/// Reads every component and links the application on paper.
///
/// # Errors
///
/// Everything that is wrong, in one list.
pub fn check(config: AppConfig) -> Result<Checked, Problems> {
    let (artifacts, problems) = load_components(&config);
    link_on_paper(config, &artifacts, problems)
}

/// The same, and tries the migrations as a start on `state` would apply them, as far as that depends neither on rows nor on the disk.
///
/// # Errors
///
/// Everything that is wrong, in one list.
pub fn check_for_start(config: AppConfig, state: &Path) -> Result<Checked, Problems> {
    let (artifacts, mut problems) = load_components(&config);
    problems.extend(migrations::refused_by_a_start(&config, &artifacts, state));
    link_on_paper(config, &artifacts, problems)
}

/// The same with components that were read before: one for each module.
///
/// # Errors
///
/// Everything that is wrong, in one list.
pub fn check_with(config: AppConfig, artifacts: &Artifacts) -> Result<Checked, Problems> {
    let missing = config.modules.keys().filter(|name| !artifacts.contains_key(*name));
    let problem = |name| Problem::new(Code::Unreadable, "the module has no component").module(name);
    let problems = missing.map(problem).collect();
    link_on_paper(config, artifacts, problems)
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

fn link_on_paper(config: AppConfig, artifacts: &Artifacts, mut problems: Vec<Problem>) -> Result<Checked, Problems> {
    let linked = AppGraph::build(&config, artifacts);
    problems.extend(linked.problems);
    refused::check(&linked.graph, &mut problems);
    let (routes, route_problems) = RouteTable::bind(&config, &linked.graph);
    problems.extend(route_problems);
    let values = Values::read(&config).unwrap_or_else(|missing| {
        problems.extend(missing.into_vec());
        Values::default()
    });
    Problems::or(problems, Checked { config, graph: linked.graph, routes, values })
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
    pub(crate) fn compiler(&self, state: &StateFolder, limits: Compiling) -> Result<Compiler, Problems> {
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
pub(crate) fn assemble(
    number: GenerationNumber,
    checked: Checked,
    linked: Vec<Linked>,
    databases: &Databases,
    admissions: &Admissions,
    telemetry: &Arc<Telemetry>,
) -> Arc<Generation> {
    let Checked { config, graph, routes, values } = checked;
    let with_data = |(linked, compartment): (Linked, &crate::graph::Compartment)| {
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
pub(crate) type LinkedCode = BTreeMap<Digest, Linked>;

pub(crate) fn link_all(graph: &AppGraph, compiler: &Compiler, known: &LinkedCode) -> Result<Vec<Linked>, Problems> {
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
