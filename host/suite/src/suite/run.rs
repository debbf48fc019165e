//! Runs suites. Each case gets its own state, and its own fakes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::read::{Case, Step, Suite};
use super::variant::{Cast, Variant};
use crate::expect::{Difference, KeptValues, add_kept_names, add_used_names, differences, resolve_placeholders};
use crate::fake::{Fake, FakeError, Play};
use watertight_control::application::{Artifacts, Checked, Databases, Host, SharedParts, assemble};
use watertight_control::invoke::{Caller, invoke};
use watertight_control::state::{StateError, StateFolder};
use watertight_graph::routes::RouteTable;
use watertight_model::config::{AppConfig, ExampleCall, Examples};
use watertight_model::ids::{Digest, FunctionPath, GenerationNumber, InterfaceName, ModuleName};
use watertight_model::problem::Problems;
use watertight_runtime::runtime::{AdmissionTable, Generation};
use watertight_sql::Database;

/// The maximum time that an SQL statement of a suite may take.
const STATEMENT_TIME: Duration = Duration::from_secs(10);

/// A module under test with the modules that it calls, real or faked: linked once for each set of fakes, and started for each case.
pub struct ModuleUnderTest {
    module: ModuleName,
    config: AppConfig,
    artifacts: Artifacts,
    /// The fakes of all cases that name no others.
    fakes: BTreeMap<ModuleName, Fake>,
    cast: Arc<Cast>,
    /// The linked variants, by the components of the modules that are faked in them.
    variants: Mutex<BTreeMap<Vec<(ModuleName, Digest)>, Arc<Variant>>>,
    host: Host,
    /// The calls of the module under test that gave what the suites expect, by the interfaces' suites.
    recorded: Mutex<Recorded>,
    /// The temporary folder in which each case gets its state folder. Dropping this value deletes it.
    folder: TempDir,
}

/// Examples of calls, by the folders of the contracts in whose suites they are.
pub type Recorded = BTreeMap<PathBuf, Examples>;

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
    /// A fake can't be used.
    #[error(transparent)]
    Fake(#[from] FakeError),
    /// A fake stands for a module that the application doesn't have.
    #[error("there is a fake of module `{module}`, which the application doesn't have")]
    NoModule {
        /// The name of the module.
        module: ModuleName,
    },
    /// A fake stands for the module under test.
    #[error("there is a fake of module `{module}`, which is the module under test")]
    Itself {
        /// The name of the module.
        module: ModuleName,
    },
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
    /// Why the case was not run; `None` if it was.
    pub skipped: Option<String>,
    /// The number of steps that were left out, because they look into a module that is faked.
    pub left_out: usize,
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
    /// Prepares the tests of `module`. `config` names the component file under test, `artifacts` has the loaded components of all modules,
    /// and `fakes` are those of all cases that name no others.
    ///
    /// # Errors
    ///
    /// The folder for temporary files can't be created.
    pub fn new(
        config: AppConfig,
        artifacts: Artifacts,
        module: &ModuleName,
        fakes: BTreeMap<ModuleName, Fake>,
        mut host: Host,
    ) -> Result<Self, RunError> {
        let parent = config.workspace.join("target/test");
        let no_room = |source| RunError::Folder { folder: parent.clone(), source };
        std::fs::create_dir_all(&parent).map_err(no_room)?;
        let folder = private("state-").tempdir_in(&parent).map_err(no_room)?;
        let cast = Arc::new(Cast::default());
        host.capabilities = host.capabilities.with_stand_ins(cast.clone());
        let module = module.clone();
        Ok(Self {
            module,
            config,
            artifacts,
            fakes,
            cast,
            variants: Mutex::default(),
            host,
            recorded: Mutex::default(),
            folder,
        })
    }

    /// Takes the examples of calls that the suites gave, by the folders of their contracts.
    pub fn take_recorded(&self) -> Recorded {
        std::mem::take(&mut *self.recorded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs every case of a suite. Calls `heard` with the result of each case as soon as the case has ended.
    ///
    /// # Errors
    ///
    /// [`RunError`] if a case can't run at all, which includes all problems of the whole application with the tested component as the module:
    /// also those of callers whose imports the component no longer fits. Variables and secrets are needed only for the modules that run. A
    /// failed case is not an error.
    pub async fn run(&self, suite: &Suite, mut heard: impl FnMut(&mut CaseReport)) -> Result<Report, RunError> {
        let mut cases = Vec::with_capacity(suite.cases.len());
        for case in &suite.cases {
            let mut report = self.run_case(suite, case).await?;
            heard(&mut report);
            cases.push(report);
        }
        Ok(Report { interface: suite.subject(), file: suite.file.clone(), cases })
    }

    /// Starts the application on an empty state, runs the steps, and stops it.
    async fn run_case(&self, suite: &Suite, case: &Case) -> Result<CaseReport, RunError> {
        let mut report = CaseReport {
            name: case.name.clone(),
            millis: 0,
            failure: None,
            skipped: None,
            left_out: 0,
            log: Vec::new(),
        };
        let mut fakes = self.fakes.clone();
        for (module, source) in &case.fakes {
            fakes.insert(module.clone(), Fake::read(&self.config, module, source)?);
        }
        let left_out = match self.steps_to_leave_out(case) {
            Ok(left_out) => left_out,
            Err(why) => {
                report.skipped = Some(why);
                return Ok(report);
            }
        };
        report.left_out = left_out.len();
        let variant = tokio::task::block_in_place(|| self.variant(&fakes))?;
        let begun = Instant::now();
        let no_room = |source| RunError::Folder { folder: self.folder.path().to_owned(), source };
        let folder = private("case-").tempdir_in(self.folder.path()).map_err(no_room)?;
        let state = StateFolder::open(folder.path())?;
        let plays = fakes.iter().map(|(module, fake)| (module.clone(), fake.start())).collect();
        self.cast.set(&plays);
        let started = self.start(&variant, GenerationNumber(1), &state).await?;
        let mut run = CaseRun { subject: self, variant, plays, suite, state, started, kept: KeptValues::new() };
        report.failure = run.steps(case, &left_out).await;
        run.started.databases.close().await;
        report.millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(report)
    }

    /// Returns the linked application with these fakes.
    fn variant(&self, fakes: &BTreeMap<ModuleName, Fake>) -> Result<Arc<Variant>, RunError> {
        if let Some(module) = fakes.keys().find(|module| **module == self.module) {
            return Err(RunError::Itself { module: module.clone() });
        }
        let digest = |(name, fake): (&ModuleName, &Fake)| (name.clone(), fake.contract().artifact().digest);
        let key: Vec<_> = fakes.iter().map(digest).collect();
        let mut variants = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(variant) = variants.get(&key) {
            return Ok(variant.clone());
        }
        let config = self.config.clone();
        let variant = Arc::new(Variant::link(config, &self.artifacts, &self.module, fakes, &self.host)?);
        variants.insert(key, variant.clone());
        Ok(variant)
    }

    /// Returns the indices of the steps that only look into a module that is faked although the case doesn't ask for it.
    ///
    /// # Errors
    ///
    /// Why the case can't run without the real module.
    fn steps_to_leave_out(&self, case: &Case) -> Result<BTreeSet<usize>, String> {
        let fakes: Vec<_> = self.fakes.iter().filter(|(module, _)| !case.fakes.contains_key(*module)).collect();
        if let Some((module, _)) = fakes.iter().find(|(module, _)| case.real.contains(*module)) {
            return Err(format!("it needs the real `{module}`"));
        }
        let mut left_out = BTreeSet::new();
        let (mut kept, mut lost) = (BTreeSet::new(), BTreeSet::new());
        for (at, step) in case.steps.iter().enumerate() {
            let module = step.of().and_then(|of| fakes.iter().find(|(_, fake)| fake.contract().exports(of)));
            let expected = step.expected();
            match module {
                Some((module, _)) if matches!(step, Step::Execute { .. }) => {
                    return Err(format!("step {} writes to the database of `{module}`, which is faked", at + 1));
                }
                Some(_) => {
                    left_out.insert(at);
                    expected.iter().for_each(|value| add_kept_names(value, &mut lost));
                }
                None => {
                    let mut used = BTreeSet::new();
                    step.values().for_each(|value| add_used_names(value, &mut used));
                    if let Some(name) = used.iter().find(|name| lost.contains(*name) && !kept.contains(*name)) {
                        return Err(format!("step {} needs `{name}`, which a faked module can't tell", at + 1));
                    }
                    expected.iter().for_each(|value| add_kept_names(value, &mut kept));
                }
            }
        }
        Ok(left_out)
    }

    /// Starts the application on a state folder as a host does, as the generation with this number.
    async fn start(
        &self,
        variant: &Variant,
        number: GenerationNumber,
        state: &StateFolder,
    ) -> Result<RunningCase, RunError> {
        let databases = Databases::new(self.host.database.clone());
        tokio::task::block_in_place(|| databases.open_unpublished(&variant.graph, state))?;
        // A suite calls functions directly, so it needs no routes.
        let (config, graph, routes) = (variant.config.clone(), variant.graph.clone(), RouteTable::default());
        let checked = Checked { config, graph, routes, values: variant.values.clone(), notes: Vec::new() };
        let (linked, admissions) = (variant.linked.clone(), AdmissionTable::default());
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

/// The execution of one test case: the running application, and the values that the case has kept.
struct CaseRun<'a> {
    subject: &'a ModuleUnderTest,
    variant: Arc<Variant>,
    /// The fakes that answer in this case.
    plays: BTreeMap<ModuleName, Arc<Play>>,
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
    async fn steps(&mut self, case: &Case, left_out: &BTreeSet<usize>) -> Option<Failure> {
        for (index, step) in case.steps.iter().enumerate().filter(|(index, _)| !left_out.contains(index)) {
            let outcome = self.step(step).await;
            let unprepared: Vec<String> = self.plays.values().flat_map(|play| play.take_failures()).collect();
            let (reason, differences) = match outcome {
                // What a fake was not prepared for explains all that follows from it.
                _ if !unprepared.is_empty() => (Some(unprepared.join("; ")), Vec::new()),
                Ok(differences) if differences.is_empty() => continue,
                Ok(differences) => (None, differences),
                Err(reason) => (Some(reason), Vec::new()),
            };
            let what = match step {
                Step::Call { function, .. } => function.clone(),
                Step::Query { sql, .. } | Step::Execute { sql, .. } => sql.clone(),
                Step::Called { module, .. } => format!("the calls of `{module}`"),
                Step::Restart => "restart".to_owned(),
            };
            return Some(Failure { step: index + 1, what, reason, differences });
        }
        for (module, play) in &self.plays {
            let (reason, differences) = match play.compare_scripted_calls() {
                Ok(differences) if differences.is_empty() => continue,
                Ok(differences) => (None, differences),
                Err(reason) => (Some(reason), Vec::new()),
            };
            let what = format!("the calls of `{module}` that its fake expects by the end");
            return Some(Failure { step: case.steps.len(), what, reason, differences });
        }
        None
    }

    async fn step(&mut self, step: &Step) -> Result<Vec<Difference>, String> {
        match step {
            Step::Call { of, function, arguments, answer, at_once } => {
                let arguments = arguments.iter().map(|argument| resolve_placeholders(argument, &self.kept));
                let arguments = arguments.collect::<Result<Vec<_>, String>>()?;
                for found in self.call(of.as_ref(), function, &arguments, *at_once).await? {
                    let differences = differences(answer, &found, &mut self.kept)?;
                    if !differences.is_empty() {
                        return Ok(differences);
                    }
                    if of.is_none() {
                        self.record(function, ExampleCall { arguments: arguments.clone(), answer: found });
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
            Step::Called { module, calls } => {
                let play = self.plays.get(module).ok_or_else(|| format!("`{module}` is not faked in this case"))?;
                play.compare_calls(calls, &mut self.kept)
            }
            Step::Restart => {
                self.started.databases.close().await;
                let next = GenerationNumber(self.started.generation.number.0 + 1);
                let started = self.subject.start(&self.variant, next, &self.state).await;
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
        let arguments: Vec<String> = arguments.iter().map(Value::to_string).collect();
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

    /// Records a call of the module under test, for a contract.
    fn record(&self, function: &str, call: ExampleCall) {
        let Suite { file, interface, module: None, .. } = self.suite else { return };
        let Some(contract) = file.parent().and_then(Path::parent) else { return };
        let mut recorded = self.subject.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.entry(contract.to_owned()).or_default().add(interface, function, call);
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
        let exports = self.variant.graph.modules.iter().filter_map(|(module, node)| {
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
