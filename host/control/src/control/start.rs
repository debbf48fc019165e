//! What a start of the host runs: what was published last, or what stands on the disk now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use super::make::{keep, record};
use super::{Control, Disk, Queue, Running};
use crate::application::{self, Artifacts, Checked, Databases, Host, LinkedCode};
use crate::state::{Asker, Cause, History, Kept, OnDisk, Publication, Published, StateFolder, digest_of_format_1};
use watertight_component::artifact::Artifact;
use watertight_graph::plan::Plan;
use watertight_model::config::{self, AppConfig, Overrides};
use watertight_model::ids::{Digest, GenerationNumber, ModuleName};
use watertight_model::problem::{Code, Problem, Problems, list, with_causes};
use watertight_runtime::runtime::{Admissions, Runtime};
use watertight_telemetry::table::Came;

/// Which application a start is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What was published last, unless the disk has something else than when that was published.
    Newest,
    /// What was published last, whatever stands on the disk.
    Published,
    /// What stands on the disk, whatever was published last.
    Disk,
}

impl Wanted {
    /// The command that asks for it.
    fn command(self) -> &'static str {
        match self {
            Self::Newest => "run",
            Self::Published => "run --published",
            Self::Disk => "run --apply",
        }
    }
}

/// What a start is to run, checked on paper.
pub struct Initial {
    checked: Checked,
    app: PathBuf,
    overrides: Overrides,
    state: StateFolder,
    history: History,
    wanted: Wanted,
    /// Which it is and why, in one line.
    why: String,
    /// What stands on the disk, where that is what runs.
    disk: Option<OnDisk>,
    /// The generation that is resumed, where nothing has changed since it was published.
    resumed: Option<GenerationNumber>,
    /// What else changes it.
    plan: Option<Plan>,
}

impl Initial {
    /// Finds out what is to run. `config` is what the disk says, `app` where that is, `overrides` what flags and environment say.
    ///
    /// What was published last is resumed, whichever change that was, as long as manifest, routes and components on the disk are what
    /// they were when it was planned, apart from comments. Otherwise somebody put something new there since, and that is what runs.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with what is to run.
    pub fn find(
        config: AppConfig,
        app: PathBuf,
        overrides: &Overrides,
        state: StateFolder,
        wanted: Wanted,
    ) -> Result<Self, Problems> {
        let history = state.history().map_err(|error| Problem::new(Code::State, with_causes(&error)))?;
        // What is kept was read elsewhere, perhaps: its state is here.
        let overrides = Overrides { state: Some(config.state.clone()), ..overrides.clone() };
        let (artifacts, disk) = on_disk(&config);
        let last = history.last();
        let disk = match wanted {
            Wanted::Published => None,
            _ => Some(disk.map_err(|problems| or_published(problems, last))?),
        };
        let choice = choose(&history, disk.as_ref(), wanted)?;
        if let Choice::Resume(last, why) = choice {
            let (config, artifacts) = kept_application(last, history.kept(), &overrides, artifacts.values())?;
            let (resumed, checked) = (Some(last.number), application::check_with(config, &artifacts)?);
            // It is recorded already, or not known to be what runs.
            let disk = None;
            return Ok(Self { checked, app, overrides, state, wanted, why, disk, resumed, plan: None, history });
        }
        let Choice::Disk(why) = choice else { unreachable!("there are two choices") };
        let checked = application::check_with(config, &artifacts).map_err(|problems| or_published(problems, last))?;
        let plan = last.and_then(|last| plan(&checked, last, &history, &overrides, &artifacts));
        // Only what goes without saying is said now, for example.
        let is_same = plan.as_ref().is_some_and(Plan::is_empty);
        let resumed = last.filter(|_| is_same).map(|last| last.number);
        let disk = disk.map(|disk| disk.record);
        Ok(Self { checked, app, overrides, state, wanted, why, disk, resumed, plan, history })
    }

    /// What is configured.
    pub fn config(&self) -> &AppConfig {
        &self.checked.config
    }

    /// The state folder.
    pub fn state(&self) -> &StateFolder {
        &self.state
    }

    /// Compiles, links, migrates, makes first instances, and publishes what is not a resumed generation. Blocks while it compiles; must
    /// run inside a tokio runtime, on a thread that may block.
    ///
    /// # Errors
    ///
    /// Everything that is wrong. Migrations are applied only after all else was found right.
    pub fn start(self, host: &Host) -> Result<Control, Problems> {
        let begun = Instant::now();
        let Self { checked, app, overrides, state, mut history, wanted, why, disk, resumed, plan } = self;
        tracing::info!(target: "change", "{why}");
        let changes = plan.map(|plan| plan.to_string()).unwrap_or_default();
        if resumed.is_none() {
            changes.lines().for_each(|line| tracing::info!(target: "change", "{line}"));
        }
        if history.published().is_empty() && !history.databases().is_empty() {
            let databases = list(history.databases());
            let words = "the state folder has databases and no history: what was published before is not known";
            tracing::warn!(target: "state", databases, folder = %state.path().display(), "{words}");
        }
        let compiler = host.compiler(&state, checked.config.compile)?;
        let linked = application::link_all(&checked.graph, &compiler, &LinkedCode::new())?;
        let databases = Databases::new(host.database.clone());
        databases.make_anew(&checked.graph, &state)?;
        databases.open(&checked.graph, &state, history.databases())?;
        let admissions = Admissions::default();
        let running = Running::new(&checked, &linked, None);
        let number = resumed.unwrap_or_else(|| history.next());
        let generation = application::assemble(number, checked, linked, &databases, &admissions, &host.telemetry);
        tokio::runtime::Handle::current().block_on(generation.warm_up(None))?;
        let came = if resumed.is_some() {
            if let Some(disk) = disk {
                history.note_disk(disk).map_err(Problem::from)?;
            }
            Came::Unchanged
        } else {
            let configuration = keep(history.kept(), &running.graph, &running.config)?;
            let by = Some(Asker::new(None, Some(wanted.command())));
            let changes = changes.lines().map(str::to_owned).collect();
            let told = record(&running.graph, configuration, Cause::Run, by);
            history.publish(Publication { disk, changes, ..told }).map_err(Problem::from)?;
            history.prune();
            Came::Published
        };
        databases.published(running.graph.with_data().map(|(name, _)| name), &state);
        host.telemetry.changed(Cause::Run.as_str(), came, begun.elapsed());
        Ok(Control {
            runtime: Arc::new(Runtime::new(generation)),
            compiler,
            databases,
            admissions,
            telemetry: host.telemetry.clone(),
            state,
            disk: Arc::new(Disk::new(app, overrides.clone())),
            overrides,
            started: running.config.clone(),
            queue: Queue::new(),
            history: ArcSwap::from_pointee(history),
            running: ArcSwap::from_pointee(running),
        })
    }
}

/// What a start runs, and why.
enum Choice<'a> {
    Resume(&'a Published, String),
    Disk(String),
}

/// What stands on the disk, as histories of this format and of format 1 record it.
struct Standing {
    record: OnDisk,
    of_format_1: Digest,
}

/// Chooses between what was published last and what stands on the disk; without the latter, what was published last.
fn choose<'a>(history: &'a History, disk: Option<&Standing>, wanted: Wanted) -> Result<Choice<'a>, Problems> {
    let Some(last) = history.last() else {
        return match disk {
            Some(_) => Ok(Choice::Disk("starting what stands on the disk: nothing was published here yet".to_owned())),
            None => {
                Err(Problem::new(Code::State, "nothing was published yet").help("start without `--published`").into())
            }
        };
    };
    let resume = |why: &str| {
        let Published { number, at, cause, .. } = last;
        Ok(Choice::Resume(last, format!("resuming generation {number}, published last ({cause}, {at}): {why}")))
    };
    let takes = |why: &str| {
        let number = last.number;
        let line = "what stands on the disk is not what was published last, and takes its place";
        Ok(Choice::Disk(format!("{line}: {why} since generation {number}")))
    };
    let Some(disk) = disk else { return resume("`--published` asks for it, whatever stands on the disk") };
    if wanted == Wanted::Disk {
        let number = last.number;
        let line = format!("starting what stands on the disk, whatever generation {number} is: `--apply` asks for it");
        return Ok(Choice::Disk(line));
    }
    match (&last.disk, history.origin_of_format_1()) {
        (Some(record), _) => match record.difference(&disk.record) {
            None => resume("the disk has what it had then"),
            Some(different) => takes(&format!("{different} changed there")),
        },
        // A host before this one recorded the disk at `run` and `apply` only.
        (None, Some(origin)) if origin == disk.of_format_1 => {
            resume("the disk has what it had at the last `run` or `apply`")
        }
        (None, Some(_)) if !matches!(last.cause, Cause::Rollback { .. }) => {
            takes("manifest, routes or components changed there")
        }
        (None, _) => resume("what stood on the disk then is not recorded; `run --apply` takes what stands there now"),
    }
}

/// What a start on `state` would run now, without looking whether it can: configuration and components. Nothing is made or locked.
///
/// # Errors
///
/// What can't be read of it.
pub fn find_standing(
    config: AppConfig,
    overrides: &Overrides,
    state: &Path,
) -> Result<(AppConfig, Artifacts), Problems> {
    let history = StateFolder::read_history(state).map_err(|error| Problem::new(Code::State, with_causes(&error)))?;
    let (artifacts, disk) = on_disk(&config);
    match choose(&history, Some(&disk?), Wanted::Newest)? {
        Choice::Resume(last, _) => kept_application(last, history.kept(), overrides, artifacts.values()),
        Choice::Disk(_) => Ok((config, artifacts)),
    }
}

/// The components that a configuration names, and the record of them and it; the problems where some can't be read.
fn on_disk(config: &AppConfig) -> (Artifacts, Result<Standing, Problems>) {
    let (artifacts, problems) = application::load_components(config);
    let digests: BTreeMap<ModuleName, Digest> =
        artifacts.iter().map(|(name, artifact)| (name.clone(), artifact.digest)).collect();
    let of_format_1 = digest_of_format_1(&config.files, &digests);
    let standing = Standing { record: OnDisk::new(&config.files, digests), of_format_1 };
    let standing = Problems::or(problems, standing);
    (artifacts, standing)
}

/// Why what stands on the disk can't run, and what could.
fn or_published(problems: Problems, last: Option<&Published>) -> Problems {
    let mut problems = problems.into_vec();
    problems.extend(last.map(|last| {
        let message = format!("generation {}, which was published before, is kept", last.number);
        Problem::new(Code::State, message).help("`run --published` starts it, whatever stands on the disk")
    }));
    Problems::from(problems)
}

/// What changes between what was published last and what is to run; none where that can't be had any more.
fn plan(
    checked: &Checked,
    last: &Published,
    history: &History,
    overrides: &Overrides,
    known: &Artifacts,
) -> Option<Plan> {
    let (config, artifacts) = kept_application(last, history.kept(), overrides, known.values()).ok()?;
    let old = application::check_with(config, &artifacts).ok()?;
    Some(Plan::new(old.side(), checked.side()))
}

/// The application of a published generation, as it was kept. Components that are among `known` aren't read again.
pub(super) fn kept_application<'a>(
    published: &Published,
    kept: &Kept,
    overrides: &Overrides,
    known: impl Iterator<Item = &'a Arc<Artifact>>,
) -> Result<(AppConfig, Artifacts), Problems> {
    let config = config::parse(&kept.configuration(&published.configuration)?, overrides)?;
    let (mut artifacts, mut problems) = (Artifacts::new(), Vec::new());
    let known: BTreeMap<Digest, &Arc<Artifact>> = known.map(|artifact| (artifact.digest, artifact)).collect();
    for (module, record) in &published.modules {
        if let Some(known) = known.get(&record.digest) {
            artifacts.insert(module.clone(), Arc::clone(known));
            continue;
        }
        match kept.component(&record.digest) {
            Ok(artifact) => drop(artifacts.insert(module.clone(), Arc::new(artifact))),
            Err(found) => problems.extend(found.into_vec().into_iter().map(|problem| problem.module(module))),
        }
    }
    Problems::or(problems, (config, artifacts))
}
