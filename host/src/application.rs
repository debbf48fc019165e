//! From a configuration to a running application: the whole way of the data, step by step.
//!
//! Up to [`Checked`] nothing is executed or written; a refusal there changes nothing (invariant 4).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::artifact::{Artifact, MAX_COMPONENT_BYTES};
use crate::config::{AppConfig, Capability};
use crate::database::{Database, OpenError, Settings};
use crate::engine::Engines;
use crate::engine::compile::Compiler;
use crate::graph::AppGraph;
use crate::ids::{GenerationNumber, ModuleName};
use crate::link::{Linked, link};
use crate::problem::{Code, Problem, Problems, with_causes};
use crate::routes::RouteTable;
use crate::runtime::{Generation, Runtime};
use crate::state::StateFolder;
use crate::store::ModuleData;

/// An application that is complete, acyclic, type-checked, granted and routed.
#[derive(Debug)]
pub struct Checked {
    /// What was configured.
    pub config: AppConfig,
    /// How the modules are linked.
    pub graph: AppGraph,
    /// Where requests go.
    pub routes: RouteTable,
}

/// Reads every component and links the application on paper.
///
/// # Errors
///
/// Everything that is wrong, in one list.
pub fn check(config: AppConfig) -> Result<Checked, Problems> {
    let mut problems = Vec::new();
    let mut artifacts = BTreeMap::new();
    for (name, module) in &config.modules {
        match Artifact::load(module.component.value.file(), MAX_COMPONENT_BYTES) {
            Ok(artifact) => {
                artifacts.insert(name.clone(), Arc::new(artifact));
            }
            Err(error) => problems.push(Problem::from(error).module(name)),
        }
    }
    let linked = AppGraph::build(&config, &artifacts);
    problems.extend(linked.problems);
    let (routes, route_problems) = RouteTable::bind(&config, &linked.graph);
    problems.extend(route_problems);
    Problems::or(problems, Checked { config, graph: linked.graph, routes })
}

/// How to run what was checked.
pub struct Host {
    /// The engines.
    pub engines: Engines,
    /// The binary that compiles: this one.
    pub program: PathBuf,
    /// How databases work.
    pub database: Settings,
}

impl Host {
    /// The host as its binary runs it.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { engines: Engines::new(), program: std::env::current_exe()?, database: Settings::default() })
    }
}

/// Compiles, links, migrates and starts an application. Blocks while it compiles; must run inside a tokio runtime, on a thread that
/// may block.
///
/// # Errors
///
/// Everything that is wrong. Migrations are applied only after all else was found right; one that fails leaves its database as it was.
pub fn start(checked: Checked, state: &StateFolder, host: &Host) -> Result<Runtime, Problems> {
    let Checked { config, graph, routes } = checked;
    let compiler = Compiler::new(host.engines.clone(), &state.code(), host.program.clone())
        .map_err(|error| Problem::new(Code::State, error.to_string()))?;
    let linked = link_all(&graph, &compiler)?;
    let databases = open_databases(&graph, state, &host.database)?;
    let with_data = |(linked, compartment): (Linked, &crate::graph::Compartment)| {
        let data = |module: &ModuleName| ModuleData {
            name: module.clone(),
            database: databases.get(module).cloned(),
            config: config.modules[module].config.clone(),
        };
        (linked, compartment.modules.iter().map(data).collect::<Arc<[ModuleData]>>())
    };
    let parts = linked.into_iter().zip(&graph.compartments).map(with_data).collect();
    Ok(Runtime::new(Generation::new(GenerationNumber(1), graph, routes, parts)))
}

fn link_all(graph: &AppGraph, compiler: &Compiler) -> Result<Vec<Linked>, Problems> {
    let (mut linked, mut problems) = (Vec::new(), Vec::new());
    for compartment in &graph.compartments {
        let start = Instant::now();
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

fn open_databases(
    graph: &AppGraph,
    state: &StateFolder,
    settings: &Settings,
) -> Result<BTreeMap<ModuleName, Database>, Problems> {
    let (mut databases, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, node) in graph.modules.iter().filter(|(_, node)| node.granted.contains(&Capability::Sql)) {
        match Database::open(&state.database(name), settings.clone(), node.artifact.migrations()) {
            Ok(database) => {
                databases.insert(name.clone(), database);
            }
            Err(error) => {
                // The disk's fault or the module's: the message names the file of the one, the component holds the other.
                let problem = match &error {
                    OpenError::Database { .. } | OpenError::Files { .. } => {
                        Problem::new(Code::State, with_causes(&error))
                    }
                    _ => Problem::new(Code::Migration, with_causes(&error)).file(&node.artifact.path),
                };
                problems.push(problem.module(name));
            }
        }
    }
    Problems::or(problems, databases)
}

/// Makes a first instance of each compartment, so that a module that can't start is found before a request finds it, and lets
/// modules resume what an earlier process left unfinished.
pub async fn warm_up(runtime: &Runtime) -> Result<(), Problems> {
    let generation = runtime.current();
    let problems = generation.warm_up().await;
    Problems::or(problems, ())?;
    generation.resume().await;
    Ok(())
}
