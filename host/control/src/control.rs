//! Changing the application while it runs: plan, prepare, publish, drain.
//!
//! Swaps and applies are made one after the other. A rollback overtakes them: it waits for nothing that is compiled, copied or drained,
//! and what arrived before it and isn't published then is refused. Dry runs and backups go on beside all of them.
//!
//! Whatever goes wrong before publishing leaves the running generation untouched and is remembered with its problems. What was published
//! is in the state folder before any request runs on it, so a host that ends at any moment starts again with a complete generation.

mod backup;
mod disk;
mod make;
mod queue;
mod refuse;
mod start;
mod target;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::MutexGuard;
use tokio::task::JoinHandle;

use crate::application::{Artifacts, Checked, Databases, LinkedCode, ModuleMigrations};
use crate::state::{Asker, Cause, History, OnDisk, StateFolder, Unwritten};
use watertight_engine::compile::Compiler;
use watertight_graph::graph::AppGraph;
use watertight_graph::plan::{Plan, Side};
use watertight_model::config::{AppConfig, AppFiles, Overrides, Values};
use watertight_model::ids::{GenerationNumber, ModuleName};
use watertight_model::problem::{Code, Problem, Problems};
use watertight_runtime::link::Linked;
use watertight_runtime::runtime::{Admissions, Runtime};
use watertight_telemetry::Telemetry;
use watertight_telemetry::table::Came;

pub use backup::back_up_stopped;
use disk::Disk;
use queue::{Halt, Kind, Queue, Seen};
pub use start::{Initial, Wanted, find_standing};

/// The application on a host, and what changes it.
pub struct Control {
    runtime: Arc<Runtime>,
    compiler: Compiler,
    databases: Databases,
    admissions: Admissions,
    telemetry: Arc<Telemetry>,
    state: StateFolder,
    disk: Arc<Disk>,
    overrides: Overrides,
    /// What the process began with.
    started: AppConfig,
    queue: Queue,
    /// Changed only by who holds [`Queue::publishing`].
    history: ArcSwap<History>,
    /// Likewise.
    running: ArcSwap<Running>,
}

/// What runs, on paper.
struct Running {
    config: AppConfig,
    graph: AppGraph,
    values: Values,
    linked: LinkedCode,
    /// The components of what ran before: what a rollback needs isn't read from the disk.
    before: Artifacts,
    /// The files of the cache that have its code.
    before_code: Vec<Arc<Path>>,
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
    /// What an earlier generation ran; without a number, what ran before the one that is current when the request arrives.
    Rollback(Option<GenerationNumber>),
}

/// What holds when a request for a change arrives, whenever its turn comes.
pub struct Arrival {
    seen: Seen,
    /// The generation before the current one.
    previous: GenerationNumber,
    /// What stands on the disk.
    disk: JoinHandle<Option<OnDisk>>,
    by: Option<Asker>,
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
    /// Of a dry run: what came of trying migrations on copies of the data, a sentence for each module that brings some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// From the start of the work to its end, in milliseconds; what the change waited for others is not in it.
    pub millis: u64,
}

/// Why there is none.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// It is refused. Nothing has changed.
    #[error(transparent)]
    Refused(#[from] Problems),
    /// Too many of its kind wait: so many.
    #[error("{0} changes wait already; nothing was changed")]
    Busy(usize),
    /// The host stops.
    #[error("the host stops; nothing was changed")]
    Stopping,
    /// The host failed in the middle of it.
    #[error("the change ended without a result; `watertight generations` shows what runs")]
    Lost,
}

impl From<Problem> for ChangeError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem.into())
    }
}

impl From<Unwritten> for ChangeError {
    fn from(error: Unwritten) -> Self {
        Problem::from(error).into()
    }
}

impl From<Unwritten> for Problem {
    fn from(error: Unwritten) -> Self {
        Problem::new(Code::State, error.to_string())
    }
}

impl From<Halt> for ChangeError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Stopping => Self::Stopping,
            Halt::Overtaken => {
                let message = "a rollback was made after this change was asked for and before it was published";
                let help = "see what runs by `watertight generations`; ask for the change again if it is still wanted";
                Problem::new(Code::Overtaken, message).help(help).into()
            }
        }
    }
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

    /// Notes what a request for a change is held to: to be called when it arrives, before its body is read. Must run inside a tokio
    /// runtime.
    pub fn arrive(&self, by: Option<Asker>) -> Arrival {
        let disk = self.disk.clone();
        Arrival {
            seen: self.queue.seen(),
            previous: self.previous(),
            disk: tokio::task::spawn_blocking(move || disk.read()),
            by,
        }
    }

    /// Makes a change that arrives now, for nobody in particular. See [`Self::change_from`].
    ///
    /// # Errors
    ///
    /// As [`Self::change_from`].
    pub async fn change(self: &Arc<Self>, change: Change, only_plan: bool) -> Result<Outcome, ChangeError> {
        self.change_from(self.arrive(None), change, only_plan).await
    }

    /// Makes a change, or with `only_plan` says what it would change. Once it is in work it is finished, whether or not anybody waits.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; the running generation is untouched then.
    pub async fn change_from(
        self: &Arc<Self>,
        arrival: Arrival,
        change: Change,
        only_plan: bool,
    ) -> Result<Outcome, ChangeError> {
        let control = self.clone();
        let work = async move { control.work(arrival, change, only_plan).await };
        tokio::spawn(work).await.unwrap_or(Err(ChangeError::Lost))
    }

    async fn work(self: &Arc<Self>, arrival: Arrival, change: Change, only_plan: bool) -> Result<Outcome, ChangeError> {
        let (cause, by) = (arrival.cause(&change), arrival.by.clone());
        let kind = match &change {
            _ if only_plan => Kind::Plan,
            // There, a change makes databases anew: nothing may go on beside it.
            Change::Rollback(_) if !self.state.is_for_development() => Kind::Rollback,
            _ => Kind::Change,
        };
        let start = Instant::now();
        let _place = self.queue.enter(kind).inspect_err(|error| {
            if matches!(error, ChangeError::Busy(_)) {
                self.telemetry.changed(cause.as_str(), Came::Busy, Duration::ZERO);
            }
        })?;
        let made = match kind {
            // Ahead of all that wait.
            Kind::Rollback => self.roll_back(arrival, change, cause.clone()).await,
            _ => match self.queue.turn(kind, arrival.seen).await {
                Err(halt) => Err(halt.into()),
                Ok(turn) => {
                    let made = match kind {
                        Kind::Plan => self.plan_only(&arrival, change).await,
                        _ => self.make(arrival, change, cause.clone()).await,
                    };
                    if let (Err(ChangeError::Refused(_)), Kind::Change) = (&made, kind) {
                        let publishing = self.queue.publishing.lock().await;
                        self.prune(&publishing).await;
                    }
                    drop(turn);
                    made
                }
            },
        };
        self.tell(&made, only_plan, cause, by, start).await;
        made
    }

    /// Counts, logs and remembers what came of a change.
    async fn tell(
        self: &Arc<Self>,
        made: &Result<Outcome, ChangeError>,
        only_plan: bool,
        cause: Cause,
        by: Option<Asker>,
        start: Instant,
    ) {
        let came = match made {
            Ok(_) if only_plan => Came::Planned,
            Ok(done) if done.published => Came::Published,
            Ok(_) => Came::Unchanged,
            Err(ChangeError::Refused(_)) => Came::Refused,
            Err(_) => return,
        };
        let asker = by.as_ref().map_or_else(String::new, ToString::to_string);
        match made {
            Ok(done) if done.published => {
                self.telemetry.changed(cause.as_str(), came, Duration::from_millis(done.millis));
                let Outcome { generation, millis, .. } = done;
                tracing::info!(target: "change", %generation, millis, %cause, by = asker, "published");
            }
            Err(ChangeError::Refused(problems)) if !only_plan => {
                self.telemetry.changed(cause.as_str(), came, start.elapsed());
                let codes: Vec<&str> = problems.as_slice().iter().map(|problem| problem.code.as_str()).collect();
                tracing::warn!(target: "change", %cause, by = asker, ?codes, "refused");
                let problems = problems.clone();
                let publishing = self.queue.publishing.lock().await;
                if let Err(error) =
                    self.remember(&publishing, move |history| history.refuse(cause, by, &problems)).await
                {
                    tracing::error!(target: "change", %error, "the refusal can't be remembered");
                }
            }
            _ => self.telemetry.changed(cause.as_str(), came, start.elapsed()),
        }
    }

    /// Removes what no generation has any more. To be called by who has the turn: a change in preparation keeps such, too.
    async fn prune(self: &Arc<Self>, _publishing: &MutexGuard<'_, ()>) {
        let done = self.blocking(|control| {
            control.history().prune();
            Ok(())
        });
        if let Err(problems) = done.await {
            tracing::error!(target: "change", %problems, "what no generation has any more can't be removed");
        }
    }

    /// The generation before the current one.
    fn previous(&self) -> GenerationNumber {
        let history = self.history();
        let before = history.published().iter().rev().nth(1).map(|published| published.number);
        before.unwrap_or(GenerationNumber(0))
    }

    /// Changes the history, on a thread that may wait for the disk; whoever reads it meanwhile finds what it was.
    async fn remember(
        self: &Arc<Self>,
        _publishing: &MutexGuard<'_, ()>,
        change: impl FnOnce(&mut History) -> Result<(), Unwritten> + Send + 'static,
    ) -> Result<(), Unwritten> {
        let control = self.clone();
        let changed = move || {
            if let Err(displaced) = control.state.check() {
                control.state.lose(&displaced);
                return Err(Unwritten::elsewhere(displaced));
            }
            let mut history = History::clone(&control.history.load());
            change(&mut history)?;
            control.history.store(Arc::new(history));
            Ok(())
        };
        tokio::task::spawn_blocking(changed).await.unwrap_or_else(|error| Err(Unwritten::failed(&error)))
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

    /// Lets no further change in, and closes the databases once none is in work. No request may be in work any more.
    pub async fn close(&self) {
        self.queue.close().await;
        self.databases.close().await;
    }
}

impl Arrival {
    fn cause(&self, change: &Change) -> Cause {
        match change {
            Change::Swap { module, .. } => Cause::Swap { module: module.clone() },
            Change::Apply { .. } => Cause::Apply,
            Change::Rollback(to) => Cause::Rollback { to: to.unwrap_or(self.previous) },
        }
    }
}

impl Running {
    /// What `checked` is once it runs in the place of `before`.
    fn new(checked: &Checked, linked: &[Linked], before: Option<&Self>) -> Self {
        let linked = linked.iter().map(|linked| (linked.identity, linked.clone())).collect();
        let Checked { config, graph, values, .. } = checked;
        let before_code = before.map(|before| before.code().cloned().collect()).unwrap_or_default();
        let before = before.map(Self::artifacts).unwrap_or_default();
        Self { config: config.clone(), graph: graph.clone(), values: values.clone(), linked, before, before_code }
    }

    /// The files of the cache that have its code.
    fn code(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.linked.values().map(|linked| &linked.code)
    }

    fn artifacts(&self) -> Artifacts {
        self.graph.modules.iter().map(|(name, node)| (name.clone(), node.artifact.clone())).collect()
    }

    fn side(&self) -> Side<'_> {
        Side { config: &self.config, graph: &self.graph, values: &self.values }
    }
}
