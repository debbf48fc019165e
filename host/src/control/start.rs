//! What a start of the host runs: what was published last, or what stands on the disk now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::{Control, MAX_CHANGES, Running, builds, keep, unwritten};
use crate::application::{self, Artifacts, Checked, Databases, Host, LinkedCode};
use crate::config::{self, AppConfig, AppFiles, Overrides};
use crate::ids::{Digest, GenerationNumber, ModuleName};
use crate::plan::Plan;
use crate::problem::{Code, Problem, Problems, with_causes};
use crate::runtime::{Admissions, Runtime};
use crate::state::{Cause, History, Kept, Published, StateFolder};
use crate::telemetry::table::Came;

/// Which application a start is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What stands on the disk, where that has changed since the last `run` or `apply`; otherwise what was published last.
    Newest,
    /// What was published last, whatever stands on the disk.
    Published,
}

/// What a start is to run, checked on paper.
pub struct Initial {
    checked: Checked,
    app: PathBuf,
    overrides: Overrides,
    state: StateFolder,
    history: History,
    /// What stands on the disk, where that is what runs.
    origin: Option<Digest>,
    /// The generation that is resumed, where nothing has changed since it was published.
    resumed: Option<GenerationNumber>,
    /// What else changes it, and which it was.
    plan: Option<(GenerationNumber, Plan)>,
}

impl Initial {
    /// Finds out what is to run. `config` is what the disk says, `app` where that is, `overrides` what flags and environment say.
    ///
    /// What was published last is resumed where manifest, routes and components on the disk are what they were at the last `run` or
    /// `apply`, apart from comments: a swapped build stays swapped. Otherwise the disk counts, unless something else is wanted.
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
        let (artifacts, origin) = on_disk(&config);
        let last = history.last();
        let (origin, resumed) = match wanted {
            Wanted::Newest => {
                let origin = origin.map_err(|problems| or_published(problems, last))?;
                (Some(origin), last.filter(|_| history.origin() == Some(origin)))
            }
            Wanted::Published => {
                let nothing = || Problem::new(Code::State, "nothing was published yet").help("start without that wish");
                (None, Some(last.ok_or_else(nothing)?))
            }
        };
        if let Some(last) = resumed {
            let (config, artifacts) = kept_application(last, history.kept(), &overrides, &artifacts)?;
            let (resumed, checked) = (Some(last.number), application::check_with(config, &artifacts)?);
            return Ok(Self { checked, app, overrides, state, origin, resumed, plan: None, history });
        }
        let checked = application::check_with(config, &artifacts).map_err(|problems| or_published(problems, last))?;
        let plan = last.and_then(|last| Some((last.number, plan(&checked, last, &history, &overrides, &artifacts)?)));
        // Only what goes without saying is said now, for example.
        let resumed = plan.as_ref().filter(|(_, plan)| plan.is_empty()).map(|(number, _)| *number);
        Ok(Self { checked, app, overrides, state, origin, resumed, plan, history })
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
        let Self { checked, app, overrides, state, mut history, origin, resumed, plan } = self;
        if let Some((last, plan)) = plan.filter(|(_, plan)| !plan.is_empty()) {
            tracing::info!(target: "change", %last, "what stands on the disk is not what was published last, and takes its place");
            plan.to_string().lines().for_each(|line| tracing::info!(target: "change", "{line}"));
        }
        let compiler = host.compiler(&state, checked.config.compile)?;
        let linked = application::link_all(&checked.graph, &compiler, &LinkedCode::new())?;
        let databases = Databases::new(host.database.clone());
        databases.make_anew(&checked.graph, &state)?;
        databases.open(&checked.graph, &state)?;
        let admissions = Admissions::default();
        let running = Running::new(&checked, &linked);
        let number = resumed.unwrap_or_else(|| history.next());
        let generation = application::assemble(number, checked, linked, &databases, &admissions, &host.telemetry);
        tokio::runtime::Handle::current().block_on(generation.warm_up(None))?;
        let came = if resumed.is_some() {
            if let Some(origin) = origin {
                history.note_origin(origin).map_err(|error| unwritten(&error))?;
            }
            Came::Unchanged
        } else {
            let configuration = keep(history.kept(), &running.graph, &running.config)?;
            let published = history.publish(Cause::Run, configuration, builds(&running.graph), origin);
            published.map_err(|error| unwritten(&error))?;
            Came::Published
        };
        host.telemetry.changed(Cause::Run.as_str(), came, begun.elapsed());
        Ok(Control {
            runtime: Arc::new(Runtime::new(generation)),
            compiler,
            databases,
            admissions,
            telemetry: host.telemetry.clone(),
            state,
            app,
            overrides,
            started: running.config.clone(),
            history: ArcSwap::from_pointee(history),
            changes: Semaphore::new(MAX_CHANGES),
            running: tokio::sync::Mutex::new(running),
        })
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
    let (artifacts, origin) = on_disk(&config);
    let origin = origin?;
    match history.last().filter(|_| history.origin() == Some(origin)) {
        Some(last) => kept_application(last, history.kept(), overrides, &artifacts),
        None => Ok((config, artifacts)),
    }
}

/// The components that a configuration names, and what they and it are in one digest; the problems where some can't be read.
fn on_disk(config: &AppConfig) -> (Artifacts, Result<Digest, Problems>) {
    let (artifacts, problems) = application::load_components(config);
    let digests = artifacts.iter().map(|(name, artifact)| (name.clone(), artifact.digest)).collect();
    let origin = Problems::or(problems, origin(&config.files, &digests));
    (artifacts, origin)
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
    let (config, artifacts) = kept_application(last, history.kept(), overrides, known).ok()?;
    let old = application::check_with(config, &artifacts).ok()?;
    Some(Plan::new(old.side(), checked.side()))
}

/// The application of a published generation, as it was kept. Components that are among `known` aren't read again.
pub(super) fn kept_application(
    published: &Published,
    kept: &Kept,
    overrides: &Overrides,
    known: &Artifacts,
) -> Result<(AppConfig, Artifacts), Problems> {
    let config = config::parse(&kept.configuration(&published.configuration)?, overrides)?;
    let (mut artifacts, mut problems) = (Artifacts::new(), Vec::new());
    for (module, record) in &published.modules {
        if let Some(known) = known.values().find(|known| known.digest == record.digest) {
            artifacts.insert(module.clone(), known.clone());
            continue;
        }
        match kept.component(&record.digest) {
            Ok(artifact) => drop(artifacts.insert(module.clone(), Arc::new(artifact))),
            Err(found) => problems.extend(found.into_vec().into_iter().map(|problem| problem.module(module))),
        }
    }
    Problems::or(problems, (config, artifacts))
}

/// What files and components are, in one digest. Comments and the order of keys are no part of it: who edits those doesn't want a
/// swapped build to be undone by the next start.
pub(super) fn origin(files: &AppFiles, components: &BTreeMap<ModuleName, Digest>) -> Digest {
    let all = std::iter::once(&files.manifest).chain(&files.routes);
    // The files were read as TOML before; what isn't would count as it is written.
    let tables: Vec<_> = all.map(|file| file.text.parse::<toml::Table>().map_err(|_| &file.text)).collect();
    Digest::of(&serde_json::to_vec(&(tables, components)).expect("tables, texts and names are JSON"))
}
