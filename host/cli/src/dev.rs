//! `dev`: builds and serves an application, and repeats both for each change of its sources.
//!
//! One change is processed at a time. Files saved meanwhile are found together by the next check. If a build fails or a change is refused,
//! the last good generation keeps serving.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::inherited::InheritedSockets;
use super::installed::{install_stand_ins, overrides};
use super::serve::{HangupAction, Signals, serve, start_log};
use super::{DevArguments, Listeners, output};
use watertight_author::dev::{Changes, MAX_FILES, Sources, Watcher};
use watertight_build::{BuildError, Built, Event, Options, Profile, build};
use watertight_control::control::{Change, ChangeError, Control, StartPlan, StartSource};
use watertight_control::state::{HostInfo, Requester, StateFolder};
use watertight_model::config::{self, AppConfig, Overrides};
use watertight_model::ids::ModuleName;
use watertight_model::problem::{Problems, list_names};
use watertight_suite::fake::{ChangedFake, ServedFakes};

/// The folder for the components that `dev` builds, relative to the workspace. The command `build` has another one, so `dev` leaves the
/// components for `run` as they are.
const COMPONENTS: &str = "target/components/dev";
/// The maximum number of changed files that an output line names.
const MAX_NAMED: usize = 3;
/// The time without output after which a build is reported as still running.
const SILENT_BUILD_NOTICE: Duration = Duration::from_secs(2);

pub(super) fn dev(arguments: DevArguments) -> anyhow::Result<()> {
    let DevArguments { application, listeners: Listeners { listen, admin, probe, admin_token }, state, fakes } =
        arguments;
    let mut given = Overrides { listen, admin, probe, ..overrides() };
    let config = config::load(&application.app, &given)?;
    let served = fakes.serve(&config)?.map(Arc::new);
    if let Some(served) = &served {
        given.fakes = served.components();
        install_stand_ins(served.clone());
    }
    let state = state.unwrap_or_else(|| StateFolder::development_beside(&config.state));
    let components = config.workspace.join(COMPONENTS);
    let overrides = Overrides { state: Some(state), components: Some(components), ..given };
    let config = config::load(&application.app, &overrides)?;
    // The host logs only what an author needs; this command prints the rest in its own lines.
    let level = format!("warn,change=error,compile=info,module={}", config.log.level.as_str());
    let (log, _flush) = start_log(config.log.format, &level)?;
    // Checked before the build, so that these faults do not appear only after minutes of building.
    drop(StateFolder::open_for_development(&config.state)?);
    check_addresses(&config)?;
    fakes.announce();

    let sources = Sources::new(application.app.clone(), overrides.clone());
    let mut author = Author { sources: Some(sources), watcher: Watcher::new(), config, fakes: served, is_first: true };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        // This handler stops builds. While a host serves, `serve` has handlers of its own.
        let mut stop_signal = Signals::install(HangupAction::Stop)?.stop;
        loop {
            let begun = Instant::now();
            let built = tokio::select! {
                () = &mut stop_signal => return Ok(()),
                built = author.first_build() => built,
            };
            let done = match built.then(|| prepare(&author.config, &application.app, &overrides, admin_token.clone())) {
                None => Ok(()),
                Some(Ok((initial, token))) => {
                    let (author, signals) = (&mut author, Signals::install(HangupAction::Stop)?);
                    let handed = InheritedSockets::default();
                    let serving = serve(initial, token, log.clone(), begun, signals, handed, move |control, info| {
                        author.follow(control, info, begun)
                    });
                    let served = Box::pin(serving).await;
                    match served {
                        Ok(()) => return Ok(()),
                        refused => refused,
                    }
                }
                Some(Err(error)) => Err(error),
            };
            if let Err(error) = done {
                if !error.is::<Problems>() {
                    return Err(error);
                }
                output::report(&error);
            }
            output::failed("nothing serves yet; the next change of a source file starts another attempt");
            tokio::select! {
                () = &mut stop_signal => return Ok(()),
                () = author.wait_for_change() => {}
            }
        }
    });
    // A build may still run. No one waits for it.
    runtime.shutdown_background();
    done
}

/// Checks that no other process listens on the addresses of the host's listeners.
fn check_addresses(config: &AppConfig) -> anyhow::Result<()> {
    let mut taken = Vec::new();
    let probe = config.probe.map(|address| (address, "--probe"));
    for (address, flag) in [(config.listen, "--listen"), (config.admin, "--admin")].into_iter().chain(probe) {
        let listener = std::net::TcpListener::bind(address).map(drop);
        if let Err(error) = listener {
            taken.push(format!(
                "can't listen on {address} ({error}); choose another with {flag} (port 0 takes any that is free)"
            ));
        }
    }
    anyhow::ensure!(taken.is_empty(), taken.join("\n"));
    Ok(())
}

/// Prepares a start: checks the application and reads the token of the admin listener.
fn prepare(
    config: &AppConfig,
    app: &std::path::Path,
    overrides: &Overrides,
    admin_token: Option<String>,
) -> anyhow::Result<(StartPlan, String)> {
    let state = StateFolder::open_for_development(&config.state)?;
    let token = state.token(admin_token).context("the admin token can't be used")?;
    Ok((StartPlan::find(config.clone(), app.to_owned(), overrides, state, StartSource::Newest)?, token))
}

/// The state of `dev`: the author's files and what was built from them.
struct Author {
    /// The tracked sources. They are `None` while a blocking thread uses them.
    sources: Option<Sources>,
    watcher: Watcher,
    /// The configuration from the last manifest and routes that had no faults.
    config: AppConfig,
    fakes: Option<Arc<ServedFakes>>,
    /// Whether the next build is the first one.
    is_first: bool,
}

/// The result of building some modules.
struct BuildResult {
    built: Vec<Built>,
    /// The modules that did not compile.
    failed: Vec<String>,
    time: Duration,
}

impl Author {
    /// Reads all sources and builds all modules. Returns whether both succeeded.
    async fn first_build(&mut self) -> bool {
        let look = self.look().await;
        let Some(look) = self.adopt_config(look) else { return false };
        // Everything is built, even after a start that failed for another reason: unchanged modules are quick.
        let folders = self.folders();
        // The first build shows the tools' output, because it takes so long that it would seem to hang.
        let quiet = !std::mem::take(&mut self.is_first);
        let made = self.build(folders, quiet).await;
        self.record_build_outputs(look).await;
        made.failed.is_empty()
    }

    /// Waits until a source has changed. Changes that tools make are ignored.
    async fn wait_for_change(&mut self) {
        loop {
            self.watcher.changed().await;
            let look = self.look().await;
            if look.has_changes {
                return;
            }
        }
    }

    /// Builds and applies each change of the author, without end. `begun` is the time at which the command started.
    async fn follow(&mut self, control: Arc<Control>, info: HostInfo, begun: Instant) -> Infallible {
        let number = control.runtime().current().number;
        let HostInfo { listen, admin, .. } = info;
        output::live(&format!(
            "generation {number} serves on http://{listen} (admin {admin}), {}",
            seconds(begun.elapsed())
        ));
        loop {
            self.watcher.changed().await;
            let look = self.look().await;
            if look.has_changes {
                self.process_change(look, &control).await;
            }
        }
    }

    /// Builds the modules that have changed and applies the result to the running host.
    async fn process_change(&mut self, changes: Changes, control: &Arc<Control>) {
        let what = self.names(&changes);
        let number = || control.runtime().current().number;
        let scripts = self.renew_fakes();
        if !scripts.is_empty() && changes.changed.iter().all(|file| scripts.iter().any(|script| is_same(script, file)))
        {
            return;
        }
        let Some(look) = self.adopt_config(changes) else {
            return output::failed(&format!(
                "{what}: the configuration can't be read; generation {} goes on",
                number()
            ));
        };
        let made = self.build(self.with_companions(&look), true).await;
        self.record_build_outputs(look).await;
        let told = made.summary();
        if !made.failed.is_empty() {
            let failed = made.failed.join(", ");
            output::failed(&format!(
                "{what}: {failed} can't be built ({}); generation {} goes on",
                seconds(made.time),
                number()
            ));
            if made.built.iter().all(|built| !built.changed) {
                return;
            }
        }
        let begun = Instant::now();
        match self.apply(control).await {
            Ok(outcome) if outcome.published => {
                let (generation, swap) = (outcome.generation, seconds(begun.elapsed()));
                output::live(&format!("{what}: {told}put in place in {swap}; generation {generation} serves"));
                if !outcome.plan.restart.is_empty() {
                    let keys = list_names(&outcome.plan.restart);
                    output::same(&format!("{keys}: a changed value takes effect only after a restart of this process"));
                }
            }
            Ok(_) => output::same(&format!("{what}: {told}nothing is different; generation {} serves", number())),
            Err(ChangeError::Refused(problems)) => {
                output::problems_found(&problems);
                output::failed(&format!("{what}: {told}refused; generation {} goes on", number()));
            }
            Err(error) => output::failed(&format!("{what}: {told}{error}; generation {} goes on", number())),
        }
    }

    /// Reads changed scripts of fakes and tells what is wrong with them. Returns their files.
    fn renew_fakes(&self) -> Vec<PathBuf> {
        let changed = self.fakes.iter().flat_map(|fakes| fakes.renew());
        let told = |fake: ChangedFake| {
            let ChangedFake { module, file, fault } = fake;
            match fault {
                None => output::live(&format!("{}: answers for `{module}` from now on", file.display())),
                Some(fault) => output::failed(&format!("{fault}\n{:>9} the last good script goes on", "")),
            }
            file
        };
        changed.map(told).collect()
    }

    /// Applies the manifest, routes and components on the disk to the running host.
    async fn apply(&self, control: &Arc<Control>) -> Result<watertight_control::control::ChangeOutcome, ChangeError> {
        let read = |(name, module): (&ModuleName, &config::ModuleConfig)| {
            // A missing component is left out here. The change reports it together with all other problems.
            std::fs::read(module.component.value.file()).ok().map(|bytes| (name.clone(), bytes.into()))
        };
        let components = self.config.modules.iter().filter_map(read).collect();
        let arrival = control.receive(Some(Requester::new(None, Some("watertight dev"))));
        control.change_from(arrival, Change::Apply { files: self.config.files.clone(), components }, false).await
    }

    /// Takes over the configuration that was read with these changes. If it has problems, prints them and returns `None`.
    fn adopt_config(&mut self, changes: Changes) -> Option<Changes> {
        match &changes.config {
            Ok(config) => {
                self.config = config.clone();
                Some(changes)
            }
            Err(problems) => {
                output::problems_found(problems);
                None
            }
        }
    }

    /// Returns the folders to build: the changed modules, and with a changed Rust module all other Rust modules.
    ///
    /// Cargo resolves features for the set of packages in one build. For another set it would compile the dependencies of macros anew.
    /// Building all Rust modules keeps the set equal, and unchanged ones take no time.
    fn with_companions(&self, changes: &Changes) -> Vec<PathBuf> {
        let mut folders: BTreeSet<PathBuf> = changes.modules.iter().cloned().collect();
        let is_rust = |folder: &PathBuf| folder.join("Cargo.toml").is_file();
        if folders.iter().any(is_rust) {
            folders.extend(self.folders().into_iter().filter(is_rust));
        }
        folders.into_iter().collect()
    }

    /// Returns the folders of all modules that are built from source.
    fn folders(&self) -> Vec<PathBuf> {
        self.config.modules.values().filter_map(super::build::folder).collect()
    }

    /// Builds modules and prints the output of their tools.
    async fn build(&self, folders: Vec<PathBuf>, quiet: bool) -> BuildResult {
        let begun = Instant::now();
        if folders.is_empty() {
            return BuildResult { built: Vec::new(), failed: Vec::new(), time: Duration::ZERO };
        }
        let names: Vec<_> =
            folders.iter().filter_map(|folder| folder.file_name()).map(|name| name.to_string_lossy()).collect();
        let goes_on = format!("building {} …", names.join(", "));
        let (workspace, colours) = (self.config.workspace.clone(), std::io::stderr().is_terminal());
        let packages = self.sources.as_ref().expect("sources were given back").packages().clone();
        let out = Some(workspace.join(COMPONENTS));
        let options = Options { workspace, out, profile: Profile::Dev, colours, quiet, packages };
        let work = move || {
            let built = Mutex::new(Vec::new());
            let listener = |event: Event<'_>| match event {
                Event::Compiling { .. } => {}
                Event::Output(line) => output::say(line),
                Event::Warning(text) => output::say(&format!("warning: {text}")),
                Event::Built(one) => built.lock().unwrap_or_else(PoisonError::into_inner).push(one.clone()),
            };
            let failed = match build(&folders, &options, &listener) {
                Ok(_) => Vec::new(),
                Err(errors) => errors.as_slice().iter().flat_map(told).collect(),
            };
            let built = built.into_inner().unwrap_or_else(PoisonError::into_inner);
            BuildResult { built, failed, time: begun.elapsed() }
        };
        let mut work = tokio::task::spawn_blocking(work);
        let made = match tokio::time::timeout(SILENT_BUILD_NOTICE, &mut work).await {
            Ok(made) => made,
            Err(_) => {
                if quiet {
                    output::say(&goes_on);
                }
                work.await
            }
        };
        match made {
            Ok(made) => made,
            Err(error) => BuildResult { built: Vec::new(), failed: vec![error.to_string()], time: begun.elapsed() },
        }
    }

    /// Records after a build which source files the tools wrote, so that these files do not count as changes by the author.
    async fn record_build_outputs(&mut self, changes: Changes) {
        if changes.modules.is_empty() {
            return;
        }
        let found = self.with_sources(move |sources| sources.record_build(&changes)).await;
        let sources = self.sources.as_ref().expect("sources were given back");
        for file in found {
            let file = sources.display_path(&file, &self.config).display();
            output::same(&format!(
                "{file}: every build of its own module changes it, so a change during a build starts no \
                 further build; if you changed it, save it again"
            ));
        }
    }

    /// Returns the sources that have changed since the last call, and updates the set of watched folders.
    async fn look(&mut self) -> Changes {
        let look = self.with_sources(Sources::find_changes).await;
        let sources = self.sources.as_ref().expect("sources were given back");
        if look.has_changes && sources.exceeds_limit() {
            output::say(&format!(
                "warning: there are more than {MAX_FILES} source files; changes of some are not noticed"
            ));
        }
        self.watcher.set_folders(sources.folders());
        look
    }

    async fn with_sources<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Sources) -> T + Send + 'static) -> T {
        let mut sources = self.sources.take().expect("one looks at a time");
        let worked = tokio::task::spawn_blocking(move || {
            let done = work(&mut sources);
            (sources, done)
        });
        let (sources, done) = worked.await.expect("looking doesn't panic");
        self.sources = Some(sources);
        done
    }

    /// Returns the names of the changed files, for a line of output.
    fn names(&self, changes: &Changes) -> String {
        let sources = self.sources.as_ref().expect("sources were given back");
        let short = |file: &PathBuf| sources.display_path(file, &self.config).display().to_string();
        let mut text = changes.changed.iter().take(MAX_NAMED).map(short).collect::<Vec<_>>().join(", ");
        if changes.changed.len() > MAX_NAMED {
            let _ = write!(text, " and {} more", changes.changed.len() - MAX_NAMED);
        }
        text
    }
}

/// Whether two paths name the same file.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

impl BuildResult {
    /// Returns the beginning of a sentence: which modules were built and how long that took.
    fn summary(&self) -> String {
        let changed = self.built.iter().filter(|built| built.changed);
        let names: Vec<&str> = changed.map(|built| built.name.as_str()).collect();
        if names.is_empty() { String::new() } else { format!("{} built in {}, ", names.join(", "), seconds(self.time)) }
    }
}

/// Prints a build error, unless the tools' output has shown it already. Returns the modules that could not be built.
fn told(error: &BuildError) -> Vec<String> {
    match error {
        // The tool has already printed its error.
        BuildError::Toolchain { modules, .. } => modules.iter().map(ToString::to_string).collect(),
        error => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                let _ = write!(text, ": {error}");
                cause = error.source();
            }
            output::failed(&text);
            if let Some(help) = error.help() {
                output::say(&format!("{:>9} {help}", "help"));
            }
            vec!["a module".to_owned()]
        }
    }
}

fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
