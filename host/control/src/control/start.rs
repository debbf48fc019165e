//! Decides what a start of the host runs: the generation that was published last, or the files on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use super::make::{keep, record};
use super::{Control, DiskReader, Queue, RunningApplication};
use crate::application::{self, Artifacts, Checked, Databases, Host, LinkedCode, SharedParts};
use crate::state::{
    Cause, DiskRecord, FileStore, History, NewGeneration, PublishedGeneration, Requester, StateFolder,
    digest_of_format_1,
};
use watertight_component::artifact::Artifact;
use watertight_graph::graph::AppGraph;
use watertight_graph::plan::Plan;
use watertight_model::config::{self, AppConfig, Overrides};
use watertight_model::ids::{Digest, GenerationNumber, ModuleName};
use watertight_model::problem::{Code, Problem, Problems, list_names, with_causes};
use watertight_openapi::compare::compare;
use watertight_openapi::format::OpenApi;
use watertight_runtime::runtime::{AdmissionTable, Runtime};
use watertight_telemetry::table::ChangeResult;

/// The source from which a start takes the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartSource {
    /// The last published generation, unless the files on disk have changed since it was published.
    Newest,
    /// The last published generation, whatever is on disk.
    Published,
    /// The files on disk, whatever was published last.
    Disk,
}

impl StartSource {
    /// Returns the command that asks for this source.
    fn command(self) -> &'static str {
        match self {
            Self::Newest => "run",
            Self::Published => "run --published",
            Self::Disk => "run --apply",
        }
    }
}

/// The application that a start is going to run, after all checks.
pub struct StartPlan {
    checked: Checked,
    app: PathBuf,
    overrides: Overrides,
    state: StateFolder,
    history: History,
    /// The command that starts the host, for the history.
    command: &'static str,
    /// A log line that says which application runs, and why.
    why: String,
    /// The record of the files on disk, if the application on disk is what runs.
    disk: Option<DiskRecord>,
    /// The generation that is resumed; `None` if the start publishes a new one.
    resumed: Option<GenerationNumber>,
    /// The differences from the last published generation. `None` if nothing was published or that generation can't be read.
    plan: Option<Plan>,
}

impl StartPlan {
    /// Decides what to run. `config` is the configuration on disk, `app` is its path, and `overrides` are the settings of flags and
    /// environment variables.
    ///
    /// Resumes the last published generation if manifest, routes and components on disk, apart from comments, are what they were when that
    /// generation was planned. Otherwise the files on disk were changed on purpose, and they run.
    ///
    /// # Errors
    ///
    /// All problems of the application that is to run.
    pub fn find(
        config: AppConfig,
        app: PathBuf,
        overrides: &Overrides,
        state: StateFolder,
        source: StartSource,
    ) -> Result<Self, Problems> {
        let history = state.history().map_err(|error| Problem::new(Code::State, with_causes(&error)))?;
        // A stored configuration may have been read under another state path. The state is in this folder.
        let overrides = Overrides { state: Some(config.state.clone()), ..overrides.clone() };
        let (artifacts, disk) = on_disk(&config);
        let last = history.last();
        let disk = match source {
            StartSource::Published => None,
            _ => Some(disk.map_err(|problems| with_rollback_hint(problems, last))?),
        };
        let choice = choose(&history, disk.as_ref(), source)?;
        if let Choice::Resume(last, why) = choice {
            let (config, artifacts) = kept_application(last, history.files(), &overrides, artifacts.values())?;
            let (resumed, checked) = (Some(last.number), application::check_with(config, &artifacts)?);
            // The record of the disk is in the history already, or the disk is not known to have what runs.
            let disk = None;
            let command = source.command();
            return Ok(Self { checked, app, overrides, state, command, why, disk, resumed, plan: None, history });
        }
        let Choice::Disk(why) = choice else { unreachable!("there are two choices") };
        let checked =
            application::check_with(config, &artifacts).map_err(|problems| with_rollback_hint(problems, last))?;
        let mut plan = last.and_then(|last| plan(&checked, last, &history, &overrides, &artifacts));
        plan.iter_mut().for_each(|plan| application::retain_pending(plan, state.path()));
        // The plan can be empty although the files differ, for example if only a default value was written out.
        let is_same = plan.as_ref().is_some_and(Plan::is_empty);
        let resumed = last.filter(|_| is_same).map(|last| last.number);
        let (disk, command) = (disk.map(|disk| disk.record), source.command());
        Ok(Self { checked, app, overrides, state, command, why, disk, resumed, plan, history })
    }

    /// Returns the configuration of the application that is going to run.
    pub fn config(&self) -> &AppConfig {
        &self.checked.config
    }

    /// Returns the graph of the application that is going to run.
    pub fn graph(&self) -> &AppGraph {
        &self.checked.graph
    }

    /// Returns a sentence that says which application is going to run, and why.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Returns the state folder.
    pub fn state(&self) -> &StateFolder {
        &self.state
    }

    /// Compiles, links, migrates, makes first instances, and publishes unless it resumes a generation. Blocks while it compiles. Must run
    /// inside a tokio runtime, on a thread that may block.
    ///
    /// # Errors
    ///
    /// All problems found. Migrations run after all other checks.
    pub fn start(self, host: &Host) -> Result<Control, Problems> {
        let begun = Instant::now();
        let Self { checked, app, overrides, state, mut history, command, why, disk, resumed, plan } = self;
        tracing::info!(target: "change", "{why}");
        let changes = plan.map(|plan| plan.to_string()).unwrap_or_default();
        if resumed.is_none() {
            changes.lines().for_each(|line| tracing::info!(target: "change", "{line}"));
        }
        if history.published().is_empty() && !history.databases().is_empty() {
            let databases = list_names(history.databases());
            let words = "the state folder has databases but no history, so it is unknown what was published before";
            tracing::warn!(target: "state", databases, folder = %state.path().display(), "{words}");
        }
        let compiler = host.compiler(&state, checked.config.compile)?;
        let linked = application::link_all(&checked.graph, &compiler, &host.capabilities, &LinkedCode::new())?;
        let databases = Databases::new(host.database.clone());
        databases.recreate_edited(&checked.graph, &state)?;
        databases.open(&checked.graph, &state, history.databases())?;
        let admissions = AdmissionTable::default();
        let running = RunningApplication::new(&checked, &linked, None);
        let number = resumed.unwrap_or_else(|| history.next());
        let (capabilities, telemetry) = (&host.capabilities, &host.telemetry);
        let parts = SharedParts { databases: &databases, admissions: &admissions, capabilities, telemetry };
        let generation = application::assemble(number, checked, linked, parts)?;
        tokio::runtime::Handle::current().block_on(generation.warm_up(None))?;
        let result = if resumed.is_some() {
            if let Some(disk) = disk {
                history.record_disk(disk).map_err(Problem::from)?;
            }
            ChangeResult::Unchanged
        } else {
            let configuration = keep(history.files(), &running.graph, &running.config)?;
            let by = Some(Requester::new(None, Some(command)));
            let changes = changes.lines().map(str::to_owned).collect();
            let told = record(&running.graph, configuration, Cause::Run, by);
            history.publish(NewGeneration { disk, changes, ..told }).map_err(Problem::from)?;
            history.prune();
            ChangeResult::Published
        };
        databases.mark_published(running.graph.modules_with_database().map(|(name, _)| name), &state);
        host.telemetry.record_change(Cause::Run.as_str(), result, begun.elapsed());
        // From now on, requests come before compiling. In development, the author waits for each build.
        let compiler = if state.is_for_development() { compiler } else { compiler.with_idle_priority() };
        Ok(Control {
            runtime: Arc::new(Runtime::new(generation)),
            compiler,
            databases,
            admissions,
            telemetry: host.telemetry.clone(),
            capabilities: host.capabilities.clone(),
            state,
            disk: Arc::new(DiskReader::new(app, overrides.clone())),
            overrides,
            start_config: running.config.clone(),
            queue: Queue::new(),
            history: ArcSwap::from_pointee(history),
            running: ArcSwap::from_pointee(running),
        })
    }
}

/// The application that a start runs, and a log line with the reason.
pub(super) enum Choice<'a> {
    Resume(&'a PublishedGeneration, String),
    Disk(String),
}

/// The record of the files on disk, in the current format and in that of a history of format 1.
pub(super) struct DiskState {
    record: DiskRecord,
    of_format_1: Digest,
}

/// Chooses between the last published generation and the files on disk. Without `disk`, chooses the former.
pub(super) fn choose<'a>(
    history: &'a History,
    disk: Option<&DiskState>,
    source: StartSource,
) -> Result<Choice<'a>, Problems> {
    let Some(last) = history.last() else {
        return match disk {
            Some(_) => Ok(Choice::Disk(
                "starting the application on disk: nothing was published in this state folder yet".to_owned(),
            )),
            None => Err(Problem::new(Code::State, "nothing was published in the state folder yet")
                .help("start without `--published`")
                .into()),
        };
    };
    let resume = |why: &str| {
        let PublishedGeneration { number, at, cause, .. } = last;
        Ok(Choice::Resume(last, format!("resuming generation {number}, published last ({cause}, {at}): {why}")))
    };
    let takes = |why: &str| {
        let number = last.number;
        let line = "the application on disk takes the place of the last published generation";
        Ok(Choice::Disk(format!("{line}: {why} since generation {number}")))
    };
    let Some(disk) = disk else { return resume("`--published` asks for it, whatever is on disk") };
    if source == StartSource::Disk {
        let number = last.number;
        let line = format!("starting the application on disk instead of generation {number}: `--apply` asks for it");
        return Ok(Choice::Disk(line));
    }
    match (&last.disk, history.origin_of_format_1()) {
        (Some(record), _) => match record.describe_difference(&disk.record) {
            None => resume("the files on disk are the same as then"),
            Some(different) => takes(&format!("{different} changed on disk")),
        },
        // Hosts that wrote format 1 recorded the files on disk only at `run` and `apply`.
        (None, Some(origin)) if origin == disk.of_format_1 => {
            resume("the files on disk are the same as at the last `run` or `apply`")
        }
        (None, Some(_)) if !matches!(last.cause, Cause::Rollback { .. }) => {
            takes("manifest, routes or components changed on disk")
        }
        (None, _) => {
            resume("the files on disk at that time are not recorded; `run --apply` starts those that are there now")
        }
    }
}

/// Returns the configuration and components that a start on `state` would run now, without checking whether they can run. Creates and locks
/// nothing.
///
/// # Errors
///
/// The problems of files that can't be read.
pub fn find_application_on_start(
    config: AppConfig,
    overrides: &Overrides,
    state: &Path,
) -> Result<(AppConfig, Artifacts), Problems> {
    let history = StateFolder::read_history(state).map_err(|error| Problem::new(Code::State, with_causes(&error)))?;
    let (artifacts, disk) = on_disk(&config);
    match choose(&history, Some(&disk?), StartSource::Newest)? {
        Choice::Resume(last, _) => kept_application(last, history.files(), overrides, artifacts.values()),
        Choice::Disk(_) => Ok((config, artifacts)),
    }
}

/// Returns the configuration and components of a published generation, without checking whether they can run. `None` as the number means
/// the generation that was published last. Creates and locks nothing.
///
/// # Errors
///
/// A problem if the history of `state` doesn't keep the generation, and those of files that can't be read.
pub fn find_published_application(
    number: Option<GenerationNumber>,
    overrides: &Overrides,
    state: &Path,
) -> Result<(AppConfig, Artifacts), Problems> {
    let history = StateFolder::read_history(state).map_err(|error| Problem::new(Code::State, with_causes(&error)))?;
    let found = number.map_or_else(|| history.last(), |number| history.find(number));
    let published = found.ok_or_else(|| {
        let known: Vec<String> = history.published().iter().map(|one| one.number.to_string()).collect();
        let (message, help) = match number {
            Some(number) => (
                format!("the history doesn't keep generation {number}"),
                format!("the history keeps {}", known.join(", ")),
            ),
            None => {
                ("nothing was published in the state folder yet".to_owned(), "`watertight run` publishes".to_owned())
            }
        };
        Problem::new(Code::UnknownName, message).help(help)
    })?;
    kept_application(published, history.files(), overrides, std::iter::empty())
}

/// Reads the components that a configuration names, and makes the record of all files. Returns the problems instead of the record if a
/// component can't be read.
pub(super) fn on_disk(config: &AppConfig) -> (Artifacts, Result<DiskState, Problems>) {
    let (artifacts, problems) = application::load_components(config);
    let digests: BTreeMap<ModuleName, Digest> =
        artifacts.iter().map(|(name, artifact)| (name.clone(), artifact.digest)).collect();
    let of_format_1 = digest_of_format_1(&config.files, &digests);
    let standing = DiskState { record: DiskRecord::new(&config.files, digests), of_format_1 };
    let standing = Problems::ok_or_problems(problems, standing);
    (artifacts, standing)
}

/// Adds a hint to the problems of the files on disk: the last published generation can run instead.
fn with_rollback_hint(problems: Problems, last: Option<&PublishedGeneration>) -> Problems {
    let mut problems = problems.into_vec();
    problems.extend(last.map(|last| {
        let message = format!("generation {}, which was published before, can still run", last.number);
        Problem::new(Code::State, message).help("`run --published` starts it, whatever is on disk")
    }));
    Problems::from(problems)
}

/// Returns the differences between the last published generation and the application that is going to run. `None` if the generation can't
/// be read.
fn plan(
    checked: &Checked,
    last: &PublishedGeneration,
    history: &History,
    overrides: &Overrides,
    known: &Artifacts,
) -> Option<Plan> {
    let (config, artifacts) = kept_application(last, history.files(), overrides, known.values()).ok()?;
    let old = application::check_with(config, &artifacts).ok()?;
    let mut plan = Plan::new(old.side(), checked.side());
    if !plan.is_empty() {
        let document = |checked: &Checked| OpenApi::new(&checked.graph, &checked.routes);
        plan.clients = compare(&document(&old), &document(checked));
    }
    Some(plan)
}

/// Loads the application of a published generation. Takes components from `known` instead of reading them again.
pub(super) fn kept_application<'a>(
    published: &PublishedGeneration,
    files: &FileStore,
    overrides: &Overrides,
    known: impl Iterator<Item = &'a Arc<Artifact>>,
) -> Result<(AppConfig, Artifacts), Problems> {
    let config = config::parse(&files.configuration(&published.configuration)?, overrides)?;
    let (mut artifacts, mut problems) = (Artifacts::new(), Vec::new());
    let known: BTreeMap<Digest, &Arc<Artifact>> = known.map(|artifact| (artifact.digest, artifact)).collect();
    for (module, record) in &published.modules {
        if let Some(known) = known.get(&record.digest) {
            artifacts.insert(module.clone(), Arc::clone(known));
            continue;
        }
        match files.component(&record.digest) {
            Ok(artifact) => drop(artifacts.insert(module.clone(), Arc::new(artifact))),
            Err(found) => problems.extend(found.into_vec().into_iter().map(|problem| problem.module(module))),
        }
    }
    Problems::ok_or_problems(problems, (config, artifacts))
}
