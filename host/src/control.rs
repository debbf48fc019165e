//! Changing the application while it runs: plan, prepare, publish, drain.
//!
//! One change is in work at a time, the rest queue. Whatever goes wrong before publishing leaves the running generation untouched and is
//! remembered with its problems. What was published is in the state folder before any request runs on it, so a host that ends at any
//! moment starts again with a complete generation.

mod backup;
mod refuse;
mod start;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, TryAcquireError};

use crate::application::{self, Artifacts, Checked, Databases, LinkedCode, ModuleMigrations};
use crate::artifact::{Artifact, Build};
use crate::config::{self, AppConfig, AppFiles, ModuleConfig, Overrides, Values};
use crate::engine::compile::Compiler;
use crate::failpoint::{Point, crash_point};
use crate::graph::AppGraph;
use crate::ids::{Digest, GenerationNumber, ModuleName};
use crate::link::Linked;
use crate::plan::{Plan, Side, restart};
use crate::problem::{Code, Problem, Problems, list};
use crate::runtime::{Admissions, Generation, Runtime};
use crate::state::{Cause, History, Kept, StateFolder};
use crate::telemetry::Telemetry;
use crate::telemetry::table::Came;

pub use backup::back_up_stopped;
use refuse::{contracted, explained};
pub use start::{Initial, Wanted, find_standing};

/// Changes that wait or are in work; the next is told to come back.
const MAX_CHANGES: usize = 16;

/// The application on a host, and what changes it.
pub struct Control {
    runtime: Arc<Runtime>,
    compiler: Compiler,
    databases: Databases,
    admissions: Admissions,
    telemetry: Arc<Telemetry>,
    state: StateFolder,
    /// The manifest that the host was started on, as it was named.
    app: PathBuf,
    overrides: Overrides,
    /// What the process began with.
    started: AppConfig,
    /// Changed only by the change in work.
    history: ArcSwap<History>,
    changes: Semaphore,
    /// Held by the change in work.
    running: tokio::sync::Mutex<Running>,
}

/// What runs, on paper.
struct Running {
    config: AppConfig,
    graph: AppGraph,
    values: Values,
    linked: LinkedCode,
}

/// What is asked for.
#[derive(Debug)]
pub enum Change {
    /// Another build of one module.
    Swap {
        /// The module.
        module: ModuleName,
        /// The component's bytes.
        component: Bytes,
    },
    /// A whole application.
    Apply {
        /// Its manifest and routes.
        files: AppFiles,
        /// Its components, by module.
        components: Vec<(ModuleName, Bytes)>,
    },
    /// What an earlier generation ran; without a number, what ran before the current one.
    Rollback(Option<GenerationNumber>),
}

/// What came of a change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The generation that is current now.
    pub generation: GenerationNumber,
    /// Whether it was published by this change: not where nothing changes, nor where only the plan was asked for.
    pub published: bool,
    /// What changes.
    pub plan: Plan,
    /// From the start of the work to its end, in milliseconds; what the change waited for others is not in it.
    pub millis: u64,
}

/// Why there is none.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// It is refused. Nothing has changed.
    #[error(transparent)]
    Refused(#[from] Problems),
    /// Too many changes wait.
    #[error("{MAX_CHANGES} changes wait already; nothing was changed")]
    Busy,
    /// The host stops.
    #[error("the host stops; nothing was changed")]
    Stopping,
    /// The host failed in the middle of it.
    #[error("the change ended without a result; `watertight generations` shows what runs")]
    Lost,
}

/// An application that is to run.
struct Target {
    config: AppConfig,
    artifacts: Artifacts,
    /// What stands on the disk, where that is what is asked for.
    origin: Option<Digest>,
}

impl Control {
    /// What runs.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The state folder.
    pub fn state(&self) -> &StateFolder {
        &self.state
    }

    /// All metrics, as text.
    pub fn metrics(&self) -> String {
        self.telemetry.render(|now| {
            self.runtime.sample(now);
            self.databases.sample(now);
        })
    }

    /// How the migrations of the current generation stand to the databases, by module.
    ///
    /// # Errors
    ///
    /// Only where reading broke off; a database that can't be read is told with its module.
    pub async fn migrations(self: &Arc<Self>) -> Result<Vec<ModuleMigrations>, Problems> {
        let generation = self.runtime.current();
        let read = move |control: &Self| {
            let state = control.state.path();
            Ok(generation
                .graph
                .with_data()
                .map(|(name, node)| ModuleMigrations::read(state, name, &node.artifact))
                .collect())
        };
        self.blocking(read).await
    }

    /// What was published and refused so far.
    pub fn history(&self) -> Arc<History> {
        self.history.load_full()
    }

    /// Makes a change, or with `only_plan` says what it would change. Once it is in work it is finished, whether or not anybody waits.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; the running generation is untouched then.
    pub async fn change(self: &Arc<Self>, change: Change, only_plan: bool) -> Result<Outcome, ChangeError> {
        let control = self.clone();
        let work = async move {
            let _place = control.changes.try_acquire().map_err(|error| match error {
                TryAcquireError::NoPermits => {
                    control.telemetry.changed(control.cause(&change).as_str(), Came::Busy, Duration::ZERO);
                    ChangeError::Busy
                }
                TryAcquireError::Closed => ChangeError::Stopping,
            })?;
            let mut running = control.running.lock().await;
            if control.changes.is_closed() {
                return Err(ChangeError::Stopping);
            }
            let (cause, start) = (control.cause(&change), Instant::now());
            let done = control.make(&mut running, change, cause.clone(), only_plan).await;
            control.telemetry.changed(cause.as_str(), came(&done, only_plan), start.elapsed());
            match &done {
                Ok(done) if done.published => {
                    let Outcome { generation, millis, .. } = done;
                    tracing::info!(target: "change", %generation, millis, %cause, "published");
                }
                Err(problems) if !only_plan => {
                    let codes: Vec<&str> = problems.as_slice().iter().map(|problem| problem.code.as_str()).collect();
                    tracing::warn!(target: "change", %cause, ?codes, "refused");
                    let problems = problems.clone();
                    if let Err(error) = control.remember(move |history| history.refuse(cause, &problems)).await {
                        tracing::error!(target: "change", %error, "the refusal can't be remembered");
                    }
                }
                _ => {}
            }
            Ok(done?)
        };
        tokio::spawn(work).await.unwrap_or(Err(ChangeError::Lost))
    }

    fn cause(&self, change: &Change) -> Cause {
        match change {
            Change::Swap { module, .. } => Cause::Swap { module: module.clone() },
            Change::Apply { .. } => Cause::Apply,
            Change::Rollback(to) => Cause::Rollback { to: to.unwrap_or_else(|| self.previous()) },
        }
    }

    /// The generation before the current one.
    fn previous(&self) -> GenerationNumber {
        let history = self.history();
        let before = history.published().iter().rev().nth(1).map(|published| published.number);
        before.unwrap_or(GenerationNumber(0))
    }

    async fn make(
        self: &Arc<Self>,
        running: &mut Running,
        change: Change,
        cause: Cause,
        only_plan: bool,
    ) -> Result<Outcome, Problems> {
        let start = Instant::now();
        let outcome = |generation, published, plan| {
            let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            Outcome { generation, published, plan, millis }
        };
        let current = self.runtime.current().number;
        let side = (running.config.clone(), running.graph.clone(), running.values.clone());
        let (checked, plan, is_same, origin) = self
            .blocking(move |control| {
                let is_swap = matches!(change, Change::Swap { .. });
                let target = control.target((&side.0, &side.1), change)?;
                // Where the state is for development, the database is made anew.
                if !control.state.is_for_development() {
                    contracted(&side.1, &target.artifacts)?;
                }
                let checked = application::check_with(target.config, &target.artifacts)
                    .map_err(|problems| explained(problems, &side.1, &target.artifacts, is_swap))?;
                let old = Side { config: &side.0, graph: &side.1, values: &side.2 };
                let mut plan = Plan::new(old, checked.side());
                let is_same = plan.is_empty();
                // What the process began with holds until it ends, whatever was applied since.
                plan.restart = restart(&control.started, &checked.config);
                Ok((checked, plan, is_same, target.origin))
            })
            .await?;
        if only_plan {
            return Ok(outcome(current, false, plan));
        }
        if is_same && !self.databases.are_torn() {
            if let Some(origin) = origin {
                self.remember(move |history| history.note_origin(origin)).await?;
            }
            return Ok(outcome(current, false, plan));
        }
        crash_point(Point::ChangePlanned);
        let number = self.history().next();
        *running = self.bring_up(number, checked, running.linked.clone(), cause, origin).await?;
        Ok(outcome(number, true, plan))
    }

    /// Prepares a generation and publishes it. What of `known` it needs isn't linked again.
    async fn bring_up(
        self: &Arc<Self>,
        number: GenerationNumber,
        checked: Checked,
        known: LinkedCode,
        cause: Cause,
        origin: Option<Digest>,
    ) -> Result<Running, Problems> {
        self.databases.close_others(&self.runtime.modules_with_data()).await;
        let (checked, linked, configuration, (new, opened)) = self
            .blocking(move |control| {
                let linked = application::link_all(&checked.graph, &control.compiler, &known)?;
                crash_point(Point::ChangeLinked);
                let configuration = keep(control.history().kept(), &checked.graph, &checked.config)?;
                crash_point(Point::ChangeKept);
                control.databases.make_anew(&checked.graph, &control.state)?;
                let opened = control.databases.open_beside(&checked.graph, &control.state);
                crash_point(Point::ChangeOpened);
                Ok((checked, linked, configuration, opened))
            })
            .await?;
        let running = Running::new(&checked, &linked);
        let prepared = match opened {
            Ok(()) => self.prepare(number, checked, linked).await,
            Err(problems) => Err(problems),
        };
        let generation = match prepared {
            Ok(generation) => generation,
            Err(problems) => {
                self.databases.unmake(&new, &self.state).await;
                return Err(problems);
            }
        };
        let place = self.runtime.drain_place().await;
        // From here on a restart serves it; so the requests may.
        let builds = builds(&running.graph);
        self.remember(move |history| history.publish(cause, configuration, builds, origin)).await?;
        crash_point(Point::ChangePublished);
        self.runtime.publish(generation, place);
        self.databases.mended();
        crash_point(Point::ChangeCurrent);
        Ok(running)
    }

    /// Makes a generation whose databases are open, and the first instance of each of its compartments; then migrates.
    async fn prepare(
        &self,
        number: GenerationNumber,
        checked: Checked,
        linked: Vec<Linked>,
    ) -> Result<Arc<Generation>, Problems> {
        let graph = checked.graph.clone();
        let (databases, admissions) = (&self.databases, &self.admissions);
        let generation = application::assemble(number, checked, linked, databases, admissions, &self.telemetry);
        generation.warm_up(Some(&self.runtime.current())).await?;
        crash_point(Point::ChangeWarm);
        self.databases.migrate(&graph).await?;
        crash_point(Point::ChangeMigrated);
        Ok(generation)
    }

    /// Changes the history, on a thread that may wait for the disk; whoever reads it meanwhile finds what it was. Only the change in
    /// work does this.
    async fn remember(
        self: &Arc<Self>,
        change: impl FnOnce(&mut History) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Problems> {
        let changed = move |control: &Self| {
            let mut history = History::clone(&control.history.load());
            change(&mut history).map_err(|error| unwritten(&error))?;
            control.history.store(Arc::new(history));
            Ok(())
        };
        self.blocking(changed).await
    }

    /// Runs what blocks on a thread that may.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problems> + Send + 'static,
    ) -> Result<T, Problems> {
        let control = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&control)).await;
        done.unwrap_or_else(|error| Err(Problem::new(Code::State, format!("the change failed: {error}")).into()))
    }

    /// What a change asks for, as a whole application.
    fn target(&self, running: (&AppConfig, &AppGraph), change: Change) -> Result<Target, Problems> {
        let (config, graph) = running;
        let known: Artifacts = graph.modules.iter().map(|(name, node)| (name.clone(), node.artifact.clone())).collect();
        match change {
            Change::Swap { module, component } => {
                let mut artifacts = known.clone();
                if !artifacts.contains_key(&module) {
                    let problem = Problem::new(Code::UnknownName, format!("there is no module `{module}`"));
                    return Err(problem
                        .help(format!("the application's modules are {}", list(artifacts.keys())))
                        .into());
                }
                artifacts.insert(module.clone(), read(&module, component, &known)?);
                Ok(Target { config: config.clone(), artifacts, origin: None })
            }
            Change::Apply { files, components } => {
                let config = config::parse(&files, &self.overrides)?;
                let (mut artifacts, mut problems) = (Artifacts::new(), Vec::new());
                for (module, component) in components {
                    if !config.modules.contains_key(&module) {
                        let problem = Problem::new(Code::UnknownName, format!("there is no module `{module}`"));
                        problems
                            .push(problem.help("send one component for each module of the manifest, and no others"));
                        continue;
                    }
                    match read(&module, component, &known) {
                        Ok(artifact) => drop(artifacts.insert(module, artifact)),
                        Err(found) => problems.extend(found.into_vec()),
                    }
                }
                Problems::or(problems, Target { config, artifacts, origin: self.origin() })
            }
            Change::Rollback(to) => {
                let (config, artifacts) = self.earlier(to.unwrap_or_else(|| self.previous()), &known)?;
                Ok(Target { config, artifacts, origin: None })
            }
        }
    }

    /// What an earlier generation ran.
    fn earlier(&self, number: GenerationNumber, known: &Artifacts) -> Result<(AppConfig, Artifacts), Problems> {
        let history = self.history();
        let Some(published) = history.find(number) else {
            let message = match number.0 {
                0 => "nothing was published before the current generation".to_owned(),
                _ => format!("generation {number} is not kept"),
            };
            let known: Vec<String> = history.published().iter().map(|one| one.number.to_string()).collect();
            let help = format!("kept are {}", known.join(", "));
            return Err(Problem::new(Code::UnknownName, message).help(help).into());
        };
        start::kept_application(published, history.kept(), &self.overrides, known)
    }

    /// What stands on the disk where the host was started, if it can be read.
    fn origin(&self) -> Option<Digest> {
        let config = config::load(&self.app, &self.overrides).ok()?;
        let digest = |(name, module): (&ModuleName, &ModuleConfig)| {
            let bytes = std::fs::read(module.component.value.file()).ok()?;
            Some((name.clone(), Digest::of(&bytes)))
        };
        let components = config.modules.iter().map(digest).collect::<Option<_>>()?;
        Some(start::origin(&config.files, &components))
    }

    /// Closes the databases, after the change in work. Those that wait are not begun, and no request may be in work any more.
    pub async fn close(&self) {
        self.changes.close();
        let _ended = self.running.lock().await;
        self.databases.close().await;
    }
}

fn came(done: &Result<Outcome, Problems>, only_plan: bool) -> Came {
    match done {
        Ok(_) if only_plan => Came::Planned,
        Ok(done) if done.published => Came::Published,
        Ok(_) => Came::Unchanged,
        Err(_) => Came::Refused,
    }
}

impl Running {
    fn new(checked: &Checked, linked: &[Linked]) -> Self {
        let linked = linked.iter().map(|linked| (linked.identity, linked.clone())).collect();
        let Checked { config, graph, values, .. } = checked;
        Self { config: config.clone(), graph: graph.clone(), values: values.clone(), linked }
    }
}

/// Keeps all that a generation is made of, durably; returns what its configuration goes by.
fn keep(kept: &Kept, graph: &AppGraph, config: &AppConfig) -> Result<Digest, Problems> {
    for node in graph.modules.values() {
        kept.keep_component(&node.artifact)?;
    }
    Ok(kept.keep_configuration(&config.files)?)
}

/// Reads an uploaded component, unless it is one of the running ones.
fn read(module: &ModuleName, component: Bytes, known: &Artifacts) -> Result<Arc<Artifact>, Problems> {
    if let Some(known) = known.values().find(|known| known.bytes == component) {
        return Ok(known.clone());
    }
    // There is no file: problems name the module.
    let artifact = Artifact::new(Path::new(""), component);
    artifact.map(Arc::new).map_err(|error| Problem::from(error).module(module).into())
}

/// The builds of a graph's modules.
fn builds(graph: &AppGraph) -> BTreeMap<ModuleName, Build> {
    graph.modules.iter().map(|(name, node)| (name.clone(), Build::from(&*node.artifact))).collect()
}

fn unwritten(error: &io::Error) -> Problem {
    Problem::new(Code::State, format!("the history of generations can't be written: {error}"))
}
