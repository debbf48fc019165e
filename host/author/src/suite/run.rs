//! Runs suites. The part of an application that a module needs is linked once, and each case gets its own state.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::expect::{Difference, KeptValues, differences, resolve_placeholders};
use super::read::{Case, Step, Suite};
use watertight_control::application::{
    self, Artifacts, Checked, Databases, Host, LinkedCode, SharedParts, assemble, link_all,
};
use watertight_control::state::{StateError, StateFolder};
use watertight_engine::compile::prune;
use watertight_graph::graph::AppGraph;
use watertight_graph::routes::RouteTable;
use watertight_model::config::{AppConfig, Values};
use watertight_model::ids::{FunctionPath, GenerationNumber, InterfaceName, ModuleName};
use watertight_model::problem::Problems;
use watertight_runtime::invoke::{Caller, invoke};
use watertight_runtime::link::Linked;
use watertight_runtime::runtime::{AdmissionTable, Generation};
use watertight_sql::Database;

/// The maximum time that an SQL statement of a suite may take.
const STATEMENT_TIME: Duration = Duration::from_secs(10);

/// The number of compiled compartments that are kept on the disk for later runs.
const KEPT_CODE: usize = 16;

/// A module under test with the modules that it calls: linked once, and started for each case.
pub struct ModuleUnderTest {
    module: ModuleName,
    config: AppConfig,
    graph: AppGraph,
    values: Values,
    linked: Vec<Linked>,
    host: Host,
    /// The temporary folder in which each case gets its state folder. Dropping this value deletes it.
    folder: TempDir,
}

/// The reason why a module can't be tested or a case can't run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The temporary folder for the state folders of the cases can't be created.
    #[error("a folder for the databases of test cases can't be created in `{}`", .folder.display())]
    Folder {
        /// The path of the folder in which the temporary folder should have been created.
        folder: PathBuf,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// A state folder can't be opened.
    #[error(transparent)]
    State(#[from] StateError),
    /// The application with the module under test has problems or doesn't start.
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// The result of running a contract suite for a module.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The name of what the suite tests: an interface or a module.
    pub interface: String,
    /// The path of the suite's file.
    pub file: PathBuf,
    /// The results of the cases, in the order of the suite.
    pub cases: Vec<CaseReport>,
}

/// The result of running one case of a contract suite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseReport {
    /// The name of the case.
    pub name: String,
    /// How long the case took, in milliseconds, including the start of the application.
    pub millis: u64,
    /// Why the case failed; `None` if it passed.
    pub failure: Option<Failure>,
    /// The log lines of the modules during the case. The listener of [`ModuleUnderTest::run`] adds them.
    pub log: Vec<String>,
}

/// The step at which a case failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The number of the step, from 1.
    pub step: usize,
    /// The function or SQL statement of the step, or `restart`.
    pub what: String,
    /// Why the step gave no answer that could be compared with the expectation. `None` if it gave one.
    pub reason: Option<String>,
    /// The differences between the answer and the expectation.
    pub differences: Vec<Difference>,
}

impl ModuleUnderTest {
    /// Links `module` with all modules that it calls. `config` names the component file under test, and `artifacts` has the loaded
    /// components of all modules. Compiled code is kept in `target/test` of the workspace. Blocks while it compiles.
    ///
    /// # Errors
    ///
    /// All problems of the whole application with the tested component as the module, including those of callers whose imports the
    /// component no longer fits. Variables and secrets are needed only for the modules that run.
    pub fn link(config: AppConfig, artifacts: &Artifacts, module: &ModuleName, host: Host) -> Result<Self, RunError> {
        let workspace = config.workspace.join("target/test");
        let Checked { mut config, graph, .. } = application::check_paper_with(config, artifacts)?;
        retain_modules(&mut config, &needed(&graph, module));
        let artifacts: Artifacts = artifacts
            .iter()
            .filter(|(name, _)| config.modules.contains_key(*name))
            .map(|(n, a)| (n.clone(), a.clone()))
            .collect();
        let Checked { config, graph, values, .. } = application::check_with(config, &artifacts)?;

        let no_room = |source| RunError::Folder { folder: workspace.clone(), source };
        let code = workspace.join("code");
        std::fs::create_dir_all(&code).map_err(no_room)?;
        let folder = private("state-").tempdir_in(&workspace).map_err(no_room)?;
        let state = StateFolder::open(&folder.path().join("link"))?;
        let compiler = host.compiler(&state, config.compile)?;
        // Concurrent runs may share this folder. Code that is missing, or removed meanwhile, is compiled.
        link_code(&code, &state.code());
        let linked = link_all(&graph, &compiler, &host.capabilities, &LinkedCode::new())?;
        link_code(&state.code(), &code);
        prune(&code, KEPT_CODE);
        Ok(Self { module: module.clone(), config, graph, values, linked, host, folder })
    }

    /// Runs every case of a suite. Calls `heard` with the result of each case as soon as the case has ended.
    ///
    /// # Errors
    ///
    /// [`RunError`] if a case can't run at all. A failed case is not an error.
    pub async fn run(&self, suite: &Suite, mut heard: impl FnMut(&mut CaseReport)) -> Result<Report, RunError> {
        let mut cases = Vec::with_capacity(suite.cases.len());
        for case in &suite.cases {
            let start = Instant::now();
            let failure = self.run_case(suite, case).await?;
            let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            let mut report = CaseReport { name: case.name.clone(), millis, failure, log: Vec::new() };
            heard(&mut report);
            cases.push(report);
        }
        Ok(Report { interface: suite.subject(), file: suite.file.clone(), cases })
    }

    /// Starts the application on an empty state, runs the steps, and stops it.
    async fn run_case(&self, suite: &Suite, case: &Case) -> Result<Option<Failure>, RunError> {
        let no_room = |source| RunError::Folder { folder: self.folder.path().to_owned(), source };
        let folder = private("case-").tempdir_in(self.folder.path()).map_err(no_room)?;
        let state = StateFolder::open(folder.path())?;
        let started = self.start(GenerationNumber(1), &state).await?;
        let mut run = CaseRun { subject: self, suite, state, started, kept: KeptValues::new() };
        let failure = run.steps(case).await;
        run.started.databases.close().await;
        Ok(failure)
    }

    /// Starts the application on a state folder as a host does, as the generation with this number.
    async fn start(&self, number: GenerationNumber, state: &StateFolder) -> Result<RunningCase, RunError> {
        let databases = Databases::new(self.host.database.clone());
        tokio::task::block_in_place(|| databases.open_unpublished(&self.graph, state))?;
        // A suite calls functions directly, so it needs no routes.
        let (config, graph, routes) = (self.config.clone(), self.graph.clone(), RouteTable::default());
        let checked = Checked { config, graph, routes, values: self.values.clone(), notes: Vec::new() };
        let (linked, admissions) = (self.linked.clone(), AdmissionTable::default());
        let Host { capabilities, telemetry, .. } = &self.host;
        let parts = SharedParts { databases: &databases, admissions: &admissions, capabilities, telemetry };
        let generation = assemble(number, checked, linked, parts)?;
        generation.resume().await;
        Ok(RunningCase { generation, databases })
    }
}

/// Returns a builder of temporary folders that other users can't access.
fn private(prefix: &str) -> tempfile::Builder<'_, '_> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).permissions(Permissions::from_mode(0o700));
    builder
}

/// Returns a module and all modules that it calls directly or indirectly.
fn needed(graph: &AppGraph, module: &ModuleName) -> BTreeSet<ModuleName> {
    let (mut needed, mut open) = (BTreeSet::new(), vec![module.clone()]);
    while let Some(module) = open.pop() {
        if let Some(node) = graph.modules.get(&module) {
            open.extend(node.calls.values().map(|provider| provider.module.clone()));
        }
        needed.insert(module);
        open.retain(|module| !needed.contains(module));
    }
    needed
}

/// Removes all other modules, all routes and all mounts from the configuration.
fn retain_modules(config: &mut AppConfig, modules: &BTreeSet<ModuleName>) {
    config.routes.clear();
    config.mounts.clear();
    // A module that passes requests on must stand in a table.
    config.middlewares.retain(|middleware| modules.contains(&middleware.module.value));
    config.modules.retain(|name, _| modules.contains(name));
    for module in config.modules.values_mut() {
        module.calls.retain(|name| modules.contains(name));
    }
    for compartment in config.compartments.values_mut() {
        compartment.modules.retain(|name| modules.contains(name));
    }
    config.compartments.retain(|_, compartment| !compartment.modules.is_empty());
}

/// Hard-links compiled code from one folder into another. The file names identify the contents, and the files never change.
fn link_code(from: &Path, to: &Path) {
    let Ok(entries) = std::fs::read_dir(from) else { return };
    for entry in entries.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "cwasm") {
            // Fails if the link exists already or the file is gone. Missing code is compiled again.
            let _ = std::fs::hard_link(entry.path(), to.join(entry.file_name()));
        }
    }
}

/// The execution of one test case: the running application, and the values that the case has kept.
struct CaseRun<'a> {
    subject: &'a ModuleUnderTest,
    suite: &'a Suite,
    state: StateFolder,
    started: RunningCase,
    kept: KeptValues,
}

/// The running application of a case.
struct RunningCase {
    generation: Arc<Generation>,
    databases: Databases,
}

impl CaseRun<'_> {
    async fn steps(&mut self, case: &Case) -> Option<Failure> {
        for (index, step) in case.steps.iter().enumerate() {
            let (reason, differences) = match self.step(step).await {
                Ok(differences) if differences.is_empty() => continue,
                Ok(differences) => (None, differences),
                Err(reason) => (Some(reason), Vec::new()),
            };
            let what = match step {
                Step::Call { function, .. } => function.clone(),
                Step::Query { sql, .. } | Step::Execute { sql, .. } => sql.clone(),
                Step::Restart => "restart".to_owned(),
            };
            return Some(Failure { step: index + 1, what, reason, differences });
        }
        None
    }

    async fn step(&mut self, step: &Step) -> Result<Vec<Difference>, String> {
        match step {
            Step::Call { of, function, arguments, answer, at_once } => {
                for found in self.call(of.as_ref(), function, arguments, *at_once).await? {
                    let differences = differences(answer, &found, &mut self.kept)?;
                    if !differences.is_empty() {
                        return Ok(differences);
                    }
                }
                Ok(Vec::new())
            }
            Step::Query { of, sql, rows } => {
                let found = self.database(of.as_ref())?.query(sql, Vec::new(), Instant::now() + STATEMENT_TIME).await;
                let found = found.map_err(|error| format!("the statement failed: {error}"))?;
                let found: Vec<Value> = found.into_iter().map(|row| row.into_iter().map(json).collect()).collect();
                differences(rows, &found.into(), &mut self.kept)
            }
            Step::Execute { of, sql } => {
                let done = self.database(of.as_ref())?.execute(sql, Vec::new(), Instant::now() + STATEMENT_TIME).await;
                done.map(|_| Vec::new()).map_err(|error| format!("the statement failed: {error}"))
            }
            Step::Restart => {
                self.started.databases.close().await;
                let next = GenerationNumber(self.started.generation.number.0 + 1);
                let started = self.subject.start(next, &self.state).await;
                self.started = started.map_err(|error| format!("the application doesn't start again: {error}"))?;
                Ok(Vec::new())
            }
        }
    }

    /// Calls a function several times at once, and returns the answers after all calls have ended.
    async fn call(
        &self,
        of: Option<&InterfaceName>,
        function: &str,
        arguments: &[Value],
        at_once: usize,
    ) -> Result<Vec<Value>, String> {
        let path = self.path(of, function)?;
        let arguments = arguments.iter().map(|argument| Ok(resolve_placeholders(argument, &self.kept)?.to_string()));
        let arguments = arguments.collect::<Result<Vec<_>, String>>()?;
        let mut calls = JoinSet::new();
        for _ in 0..at_once {
            let (generation, path, arguments) = (self.started.generation.clone(), path.clone(), arguments.clone());
            calls.spawn(async move { invoke(&generation, &path, &arguments, Caller::concurrent("test")).await });
        }
        let answers = calls.join_all().await.into_iter().map(|answer| {
            let answer = answer.map_err(|error| format!("the call failed: {error}"))?;
            serde_json::from_str(answer.get()).map_err(|error| format!("the result of the call is not JSON: {error}"))
        });
        answers.collect()
    }

    /// Returns the path of the function that a step calls.
    fn path(&self, of: Option<&InterfaceName>, function: &str) -> Result<FunctionPath, String> {
        let (module, interface) = self.export(of)?;
        // In the suite of a module, `text.echo` is a function of the interface that the module's world calls `text`.
        let (interface, function) = match function.rsplit_once('.') {
            Some((label, function)) if interface.is_empty() => (label.to_owned(), function),
            _ => (interface, function),
        };
        Ok(FunctionPath { module, interface, function: function.to_owned() })
    }

    /// Returns the module that exports an interface, and the name of the export, in the wanted version or a newer compatible one. Without
    /// `of`, returns the module under test.
    fn export(&self, of: Option<&InterfaceName>) -> Result<(ModuleName, String), String> {
        if let (Some(_), None) = (&self.suite.module, of) {
            return Ok((self.subject.module.clone(), String::new()));
        }
        let wanted = of.unwrap_or(&self.suite.interface);
        let exports = self.subject.graph.modules.iter().filter_map(|(module, node)| {
            let export = node.artifact.shape.exports.keys().find(|export| export.can_serve(wanted))?;
            Some((module.clone(), export.to_string()))
        });
        let mut exports: Vec<_> =
            exports.filter(|(module, _)| of.is_some() || *module == self.subject.module).collect();
        match (exports.pop(), exports.is_empty()) {
            (Some(export), true) => Ok(export),
            (None, _) => Err(format!("no module that runs in this test exports `{wanted}`")),
            (Some(_), false) => Err(format!("several modules that run in this test export `{wanted}`")),
        }
    }

    fn database(&self, of: Option<&InterfaceName>) -> Result<Database, String> {
        let (module, _) = self.export(of)?;
        let database = self.started.databases.get(&module);
        database.ok_or_else(|| format!("`{module}` has no database: the manifest doesn't grant it `sql`"))
    }
}

/// Converts a database value to JSON. A blob becomes padded base64, as everywhere in JSON.
fn json(value: watertight_sql::Value) -> Value {
    match value {
        watertight_sql::Value::Null => Value::Null,
        watertight_sql::Value::Integer(integer) => integer.into(),
        watertight_sql::Value::Real(real) => real.into(),
        watertight_sql::Value::Text(text) => text.into(),
        watertight_sql::Value::Blob(bytes) => BASE64.encode(bytes).into(),
    }
}
