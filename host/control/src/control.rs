//! Changes the application while it runs, in the steps plan, prepare, publish and drain.
//!
//! Swaps and applies run one at a time. A rollback overtakes them: it waits for no compilation, copy or drain, and refuses every change
//! that arrived earlier and isn't published yet. Dry runs and backups run beside all of them.
//!
//! A failure before publishing leaves the running generation unchanged, and the history records it with its problems. A generation is in
//! the state folder before any request runs on it, so a host that crashes at any moment restarts with a complete generation.

mod backup;
mod disk;
mod make;
mod part;
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
use crate::state::{Cause, DiskRecord, History, HistoryWriteError, Requester, StateFolder};
use watertight_engine::compile::Compiler;
use watertight_graph::graph::AppGraph;
use watertight_graph::plan::{Plan, PlanSide};
use watertight_model::config::{AppConfig, AppFiles, Overrides, Values};
use watertight_model::ids::{GenerationNumber, ModuleName};
use watertight_model::problem::{Code, Problem, Problems};
use watertight_runtime::link::Linked;
use watertight_runtime::runtime::{AdmissionTable, Runtime};
use watertight_store::capability::Capabilities;
use watertight_telemetry::Telemetry;
use watertight_telemetry::table::ChangeResult;

pub use backup::back_up_stopped;
use disk::DiskReader;
pub use part::{UnpublishedPart, UnpublishedPlan};
use queue::{Interruption, OperationKind, Queue, RollbackCount};
pub use start::{StartPlan, StartSource, find_application_on_start, find_published_application};
pub use watertight_engine::Compilation;

/// The application that runs on a host, and the operations that change it.
pub struct Control {
    runtime: Arc<Runtime>,
    compiler: Compiler,
    databases: Databases,
    admissions: AdmissionTable,
    telemetry: Arc<Telemetry>,
    capabilities: Capabilities,
    state: StateFolder,
    disk: Arc<DiskReader>,
    overrides: Overrides,
    /// The configuration with which the process started.
    start_config: AppConfig,
    queue: Queue,
    /// The history of published generations and refused changes. Only the holder of [`Queue::publishing`] replaces it.
    history: ArcSwap<History>,
    /// The application that runs. Only the holder of [`Queue::publishing`] replaces it.
    running: ArcSwap<RunningApplication>,
}

/// The application that runs: its configuration, graph and linked code.
struct RunningApplication {
    config: AppConfig,
    graph: AppGraph,
    values: Values,
    linked: LinkedCode,
    /// The components of the application that ran before, so that a rollback need not read them from disk.
    previous_components: Artifacts,
    /// The files in the code cache that hold the code of the application that ran before.
    previous_code: Vec<Arc<Path>>,
}

/// A change of the running application that a client requests.
#[derive(Debug)]
pub enum Change {
    /// Replaces the build of one module.
    Swap {
        /// The name of the module to replace.
        module: ModuleName,
        /// The bytes of the new component.
        component: Bytes,
    },
    /// Replaces the whole application.
    Apply {
        /// The manifest and routes of the new application.
        files: AppFiles,
        /// The components of the new application, by module.
        components: Vec<(ModuleName, Bytes)>,
    },
    /// Returns to the application of an earlier generation. Without a number, to the one before the generation that is current when the
    /// request arrives.
    Rollback(Option<GenerationNumber>),
}

/// The state of the host when a request for a change arrives. The change is judged by it, however long it waits for its turn.
pub struct ChangeRequest {
    rollbacks_seen: RollbackCount,
    /// The generation before the current one.
    previous: GenerationNumber,
    /// The task that reads the digests of the application's files on disk.
    disk: JoinHandle<Option<DiskRecord>>,
    by: Option<Requester>,
}

/// The result of a change or a dry run that was not refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangeOutcome {
    /// The generation that is current after the change.
    pub generation: GenerationNumber,
    /// Whether this change published a generation. False if nothing differed, and for a dry run.
    pub published: bool,
    /// The differences between the running application and the requested one.
    pub plan: Plan,
    /// Dry runs only: the results of trying migrations on copies of the data, one sentence for each module with new migrations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How long the change took, in milliseconds, without the time it waited for other changes.
    pub millis: u64,
}

/// The reason why a change produced no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// The change is refused. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Problems),
    /// At most the given number of changes of this kind may wait or run, and that many do.
    #[error("{0} changes are waiting already; nothing was changed; try again later")]
    Busy(usize),
    /// The host is shutting down.
    #[error("the host is stopping; nothing was changed")]
    Stopping,
    /// The task that made the change failed, so its result is unknown.
    #[error("the change ended without a result; `watertight generations` shows what runs")]
    Aborted,
}

impl From<Problem> for ChangeError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem.into())
    }
}

impl From<HistoryWriteError> for ChangeError {
    fn from(error: HistoryWriteError) -> Self {
        Problem::from(error).into()
    }
}

impl From<HistoryWriteError> for Problem {
    fn from(error: HistoryWriteError) -> Self {
        Problem::new(Code::State, error.to_string())
    }
}

impl From<Interruption> for ChangeError {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Stopping => Self::Stopping,
            Interruption::Overtaken => {
                let message = "a rollback was made after this change was requested and before it was published";
                let help = "`watertight generations` shows what runs; request the change again if it is still wanted";
                Problem::new(Code::Overtaken, message).help(help).into()
            }
        }
    }
}

impl Control {
    /// Returns the runtime that serves the application.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// Returns the compilations that run for changes, in the order of their begin.
    pub fn compiling(&self) -> Vec<Compilation> {
        self.compiler.engines().compiling()
    }

    /// Returns the state folder.
    pub fn state(&self) -> &StateFolder {
        &self.state
    }

    /// Returns all metrics in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.telemetry.render(|now| {
            self.runtime.sample(now);
            self.databases.sample(now);
        })
    }

    /// Compares the migrations of the current generation with those that the databases have, by module. The entry of a module says if its
    /// database can't be read.
    ///
    /// # Errors
    ///
    /// A problem only if the reading thread failed.
    pub async fn migrations(self: &Arc<Self>) -> Result<Vec<ModuleMigrations>, Problems> {
        let generation = self.runtime.current();
        let read = move |control: &Self| {
            let state = control.state.path();
            Ok(generation
                .graph
                .modules_with_database()
                .map(|(name, node)| ModuleMigrations::read(state, name, &node.artifact))
                .collect())
        };
        self.run_blocking(read).await
    }

    /// Returns the history of published generations and refused changes.
    pub fn history(&self) -> Arc<History> {
        self.history.load_full()
    }

    /// Records the state of the host by which a request for a change is judged. Call it when the request arrives, before reading its body.
    /// Must run inside a tokio runtime.
    pub fn receive(&self, by: Option<Requester>) -> ChangeRequest {
        let disk = self.disk.clone();
        ChangeRequest {
            rollbacks_seen: self.queue.rollback_count(),
            previous: self.previous(),
            disk: tokio::task::spawn_blocking(move || disk.read()),
            by,
        }
    }

    /// Makes a change that arrives now, without recording who asked. See [`Self::change_from`].
    ///
    /// # Errors
    ///
    /// [`ChangeError`]. The running generation is unchanged.
    pub async fn change(self: &Arc<Self>, change: Change, only_plan: bool) -> Result<ChangeOutcome, ChangeError> {
        self.change_from(self.receive(None), change, only_plan).await
    }

    /// Makes a change. `arrival` is the state of the host when the change was requested. With `only_plan`, makes a dry run that only
    /// reports what would change. The change runs to its end even if the returned future is dropped.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]. The running generation is unchanged, except perhaps after [`ChangeError::Aborted`].
    pub async fn change_from(
        self: &Arc<Self>,
        arrival: ChangeRequest,
        change: Change,
        only_plan: bool,
    ) -> Result<ChangeOutcome, ChangeError> {
        let control = self.clone();
        let work = async move { control.run_change(arrival, change, only_plan).await };
        tokio::spawn(work).await.unwrap_or(Err(ChangeError::Aborted))
    }

    async fn run_change(
        self: &Arc<Self>,
        arrival: ChangeRequest,
        change: Change,
        only_plan: bool,
    ) -> Result<ChangeOutcome, ChangeError> {
        let (cause, by) = (arrival.cause(&change), arrival.by.clone());
        let kind = match &change {
            _ if only_plan => OperationKind::Plan,
            // In development, a rollback may recreate databases, so it takes its turn like any other change.
            Change::Rollback(_) if !self.state.is_for_development() => OperationKind::Rollback,
            _ => OperationKind::Change,
        };
        let start = Instant::now();
        let _place = self.queue.acquire_permit(kind).inspect_err(|error| {
            if matches!(error, ChangeError::Busy(_)) {
                self.telemetry.record_change(cause.as_str(), ChangeResult::Busy, Duration::ZERO);
            }
        })?;
        let made = match kind {
            // A rollback doesn't wait for its turn.
            OperationKind::Rollback => self.roll_back(arrival, change, cause.clone()).await,
            _ => match self.queue.wait_turn(kind, arrival.rollbacks_seen).await {
                Err(halt) => Err(halt.into()),
                Ok(turn) => {
                    let made = match kind {
                        OperationKind::Plan => self.plan_only(&arrival, change).await,
                        _ => self.run_swap_or_apply(arrival, change, cause.clone()).await,
                    };
                    if let (Err(ChangeError::Refused(_)), OperationKind::Change) = (&made, kind) {
                        let publishing = self.queue.publishing.lock().await;
                        self.prune(&publishing).await;
                    }
                    drop(turn);
                    made
                }
            },
        };
        self.record_outcome(&made, only_plan, cause, by, start).await;
        made
    }

    /// Counts and logs the result of a change, and records a refusal in the history.
    async fn record_outcome(
        self: &Arc<Self>,
        made: &Result<ChangeOutcome, ChangeError>,
        only_plan: bool,
        cause: Cause,
        by: Option<Requester>,
        start: Instant,
    ) {
        let change_result = match made {
            Ok(_) if only_plan => ChangeResult::Planned,
            Ok(done) if done.published => ChangeResult::Published,
            Ok(_) => ChangeResult::Unchanged,
            Err(ChangeError::Refused(_)) => ChangeResult::Refused,
            Err(_) => return,
        };
        let asker = by.as_ref().map_or_else(String::new, ToString::to_string);
        match made {
            Ok(done) if done.published => {
                self.telemetry.record_change(cause.as_str(), change_result, Duration::from_millis(done.millis));
                let ChangeOutcome { generation, millis, .. } = done;
                tracing::info!(target: "change", %generation, millis, %cause, by = asker, "a generation was published");
            }
            Err(ChangeError::Refused(problems)) if !only_plan => {
                self.telemetry.record_change(cause.as_str(), change_result, start.elapsed());
                let codes: Vec<&str> = problems.as_slice().iter().map(|problem| problem.code.as_str()).collect();
                tracing::warn!(target: "change", %cause, by = asker, ?codes, "a change was refused");
                let problems = problems.clone();
                let publishing = self.queue.publishing.lock().await;
                if let Err(error) =
                    self.update_history(&publishing, move |history| history.record_refusal(cause, by, &problems)).await
                {
                    tracing::error!(target: "change", %error, "the refusal of a change can't be recorded in the history");
                }
            }
            _ => self.telemetry.record_change(cause.as_str(), change_result, start.elapsed()),
        }
    }

    /// Removes stored files that no generation needs. The caller must hold the turn of changes and [`Queue::publishing`]: a change that is
    /// being prepared stores such files, too.
    async fn prune(self: &Arc<Self>, _publishing: &MutexGuard<'_, ()>) {
        let done = self.run_blocking(|control| {
            control.history().prune();
            Ok(())
        });
        if let Err(problems) = done.await {
            tracing::error!(target: "change", %problems, "stored files that no generation needs any more can't be removed");
        }
    }

    /// Returns the generation before the current one; 0 if there is none.
    fn previous(&self) -> GenerationNumber {
        let history = self.history();
        let before = history.published().iter().rev().nth(1).map(|published| published.number);
        before.unwrap_or(GenerationNumber(0))
    }

    /// Changes the history on a thread that may wait for the disk. Readers see the old history until the change is written.
    async fn update_history(
        self: &Arc<Self>,
        _publishing: &MutexGuard<'_, ()>,
        change: impl FnOnce(&mut History) -> Result<(), HistoryWriteError> + Send + 'static,
    ) -> Result<(), HistoryWriteError> {
        let control = self.clone();
        let changed = move || {
            if let Err(displaced) = control.state.check() {
                control.state.record_loss(&displaced);
                return Err(HistoryWriteError::displaced(displaced));
            }
            let mut history = History::clone(&control.history.load());
            change(&mut history)?;
            control.history.store(Arc::new(history));
            Ok(())
        };
        tokio::task::spawn_blocking(changed).await.unwrap_or_else(|error| Err(HistoryWriteError::thread_failed(&error)))
    }

    /// Runs blocking work on a thread that may block.
    async fn run_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problems> + Send + 'static,
    ) -> Result<T, Problems> {
        let control = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&control)).await;
        done.unwrap_or_else(|error| Err(Problem::new(Code::State, format!("a host task failed: {error}")).into()))
    }

    /// Refuses further changes, waits until no change is running, and closes the databases. All requests must have ended before.
    pub async fn close(&self) {
        self.queue.close().await;
        self.databases.close().await;
    }
}

impl ChangeRequest {
    fn cause(&self, change: &Change) -> Cause {
        match change {
            Change::Swap { module, .. } => Cause::Swap { module: module.clone() },
            Change::Apply { .. } => Cause::Apply,
            Change::Rollback(to) => Cause::Rollback { to: to.unwrap_or(self.previous) },
        }
    }
}

impl RunningApplication {
    /// Describes the application `checked` as the running one, which replaces `before`.
    fn new(checked: &Checked, linked: &[Linked], before: Option<&Self>) -> Self {
        let linked = linked.iter().map(|linked| (linked.identity, linked.clone())).collect();
        let Checked { config, graph, values, .. } = checked;
        let previous_code = before.map(|before| before.code().cloned().collect()).unwrap_or_default();
        let previous_components = before.map(Self::artifacts).unwrap_or_default();
        Self {
            config: config.clone(),
            graph: graph.clone(),
            values: values.clone(),
            linked,
            previous_components,
            previous_code,
        }
    }

    /// Returns the files in the code cache that hold the code of this application.
    fn code(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.linked.values().map(|linked| &linked.code)
    }

    fn artifacts(&self) -> Artifacts {
        self.graph.modules.iter().map(|(name, node)| (name.clone(), node.artifact.clone())).collect()
    }

    fn side(&self) -> PlanSide<'_> {
        PlanSide { config: &self.config, graph: &self.graph, values: &self.values }
    }
}
