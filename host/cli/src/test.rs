//! `test`: runs the contract suites that concern a module, against the manifest's component or another build of the module.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::task::JoinHandle;

use super::installed::{new_host, overrides};
use super::module_log::BufferedLog;
use super::{TestArguments, build, output, record};
use watertight_build::{Language, Options, folders_in, outdated, outdated_file, stub};
use watertight_component::artifact::{Artifact, MAX_COMPONENT_BYTES};
use watertight_control::application::{Artifacts, Host, load_components};
use watertight_engine::{Compilation, Engines};
use watertight_graph::graph::RESUME;
use watertight_model::config::{self, AppConfig, ComponentSource, ModuleConfig};
use watertight_model::ids::{Digest, InterfaceName, ModuleName};
use watertight_model::problem::{Problem, Problems, suggest};
use watertight_suite::fake::Fake;
use watertight_suite::suite::{self, CaseReport, Failure, ModuleUnderTest, Recorded, Report, Suite};

/// The time after which a compilation is told.
const TOLD_AFTER: Duration = Duration::from_millis(400);

/// A component to test, and the module that it stands for.
struct Target {
    module: ModuleName,
    artifact: Arc<Artifact>,
    /// The part of the application that is checked with the component.
    config: AppConfig,
    /// The components of that part.
    artifacts: Artifacts,
}

/// The test results of one module.
#[derive(Serialize)]
struct ModuleReport {
    module: ModuleName,
    file: PathBuf,
    digest: Digest,
    build: String,
    language: Option<String>,
    suites: Vec<Report>,
    /// The exported interfaces that no suite tests.
    without_suite: Vec<InterfaceName>,
    passed: usize,
    failed: usize,
    /// The number of cases that need a module which is faked.
    skipped: usize,
}

/// What the command is asked to test.
enum Subject {
    /// All modules of the application.
    All,
    /// A module, in the build that the manifest names.
    Module(ModuleName),
    /// Another build of a module.
    Build {
        /// The component file.
        file: PathBuf,
        /// The folder of its sources beside the manifest. `None` for a component file.
        folder: Option<PathBuf>,
    },
}

pub(super) fn test(arguments: &TestArguments) -> anyhow::Result<()> {
    let mut config = config::load(&arguments.application.app, &overrides())?;
    // Misspelt names are told before anything is built.
    let fakes = arguments.fakes.read(&config)?;
    for (module, fake) in &fakes {
        config.fake(module, fake.contract().component());
    }
    let subject = Subject::find(arguments, &config)?;
    if let Subject::Module(name) = &subject
        && fakes.contains_key(name)
    {
        bail!("`--fake` replaces `{name}`, so there is nothing of it to test");
    }
    let suites = suite::find(&config.workspace)?;
    let is_to_build = !arguments.no_build;
    let targets = match &subject {
        Subject::Module(name) => {
            reduce(&mut config, name, &suites, is_to_build)?;
            let artifacts = load_needed(&config, &suites)?;
            let artifact = artifacts.get(name).with_context(|| format!("`{name}` has no component"))?.clone();
            vec![Target { module: name.clone(), artifact, config: config.clone(), artifacts }]
        }
        Subject::Build { file, folder } => {
            vec![other_build(file, folder.as_deref(), arguments.module.as_ref(), &config, &suites, is_to_build)?]
        }
        Subject::All => all(&config, &fakes, &suites, is_to_build)?,
    };
    if arguments.no_build {
        let notes: BTreeMap<_, _> = targets
            .iter()
            .flat_map(|target| outdated(&target.config))
            .map(|note| (note.message.clone(), note))
            .collect();
        notes.values().for_each(output::note);
    }
    for note in unanswered(&suites, targets.iter().flat_map(|target| &target.artifacts)) {
        output::warn(&note);
    }
    let log = BufferedLog::start(config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut reports, mut recorded) = (Vec::new(), Vec::new());
    for target in targets {
        let host = new_host(&target.config)?;
        // Standard output has JSON then, and whoever parses it needs no lines about progress.
        let told = (!arguments.json).then(|| runtime.spawn(tell_compilations(host.engines.clone())));
        let run = run_suites(target, &suites, &fakes, host, &log, &mut recorded);
        let report = runtime.block_on(run);
        told.inspect(JoinHandle::abort);
        reports.push(report?);
    }
    if arguments.json {
        output::print_json(&reports)?;
    }
    if arguments.record {
        record::write(recorded)?;
    }
    let sum = |count: fn(&ModuleReport) -> usize| reports.iter().map(count).sum::<usize>();
    let (passed, failed) = (sum(|report| report.passed), sum(|report| report.failed));
    let skipped = match sum(|report| report.skipped) {
        0 => String::new(),
        skipped => format!(", {skipped} skipped"),
    };
    output::say(&format!("{passed} passed, {failed} failed{skipped}"));
    if failed == 0 && passed > 0 { Ok(()) } else { Err(output::AlreadyReported.into()) }
}

/// Tells which components are compiled, without end. Most take less than [`TOLD_AFTER`] and are not worth a line.
pub(super) async fn tell_compilations(engines: Engines) {
    let mut told = None;
    loop {
        tokio::time::sleep(TOLD_AFTER / 4).await;
        let compiling = engines.compiling().into_iter().find(|one| one.elapsed() >= TOLD_AFTER);
        if let Some(Compilation { what, bytes, begun }) = compiling
            && told != Some(begun)
        {
            told = Some(begun);
            let size = bytesize::ByteSize(bytes as u64);
            output::say(&format!("  compiling {what}, {size}; its code is kept for the next run"));
        }
    }
}

impl Subject {
    /// Finds what the arguments name: a module of the manifest, a component file, or a module's folder beside the manifest.
    fn find(arguments: &TestArguments, config: &AppConfig) -> anyhow::Result<Self> {
        if let Some(module) = arguments.module.as_ref().filter(|module| !config.modules.contains_key(*module)) {
            let known = suggest(module.as_str(), config.modules.keys().map(ModuleName::as_str));
            bail!("`{}` has no module `{module}`; {known}", config.name);
        }
        let Some(name) = arguments.target.as_deref() else { return Ok(Self::All) };
        if let Some(module) = config.modules.keys().find(|known| known.as_str() == name) {
            return Ok(Self::Module(module.clone()));
        }
        if Path::new(name).is_file() {
            return Ok(Self::Build { file: name.into(), folder: None });
        }
        let folders = folders_in(&config.root);
        let beside = folders.iter().find(|folder| folder.file_name().is_some_and(|beside| beside == name));
        let Some(folder) = beside.filter(|_| name.parse::<ModuleName>().is_ok()) else {
            let modules = config.modules.keys().map(ModuleName::as_str);
            let builds = folders.iter().filter(|folder| Language::is_known(folder));
            let names: BTreeSet<&str> =
                modules.chain(builds.filter_map(|folder| folder.file_name()?.to_str())).collect();
            bail!(
                "`{name}` is neither a module of `{}`, nor a file, nor a folder beside the manifest; {}",
                config.name,
                suggest(name, names)
            )
        };
        let file = config.workspace.join("target/components").join(name).with_added_extension("wasm");
        let folder = Some(folder.clone()).filter(|folder| Language::is_known(folder));
        if folder.is_none() {
            // Nothing builds it.
            load(&file)?;
        }
        Ok(Self::Build { file, folder })
    }
}

fn load(file: &Path) -> Result<Artifact, Problems> {
    Artifact::load(file, MAX_COMPONENT_BYTES).map_err(|error| Problem::from(error).into())
}

/// Reduces the application to what the suites of a module need. With `is_to_build`, builds that first from source, so that no stale
/// component passes and no other module's fault is in the way.
fn reduce(config: &mut AppConfig, name: &ModuleName, suites: &[Suite], is_to_build: bool) -> anyhow::Result<()> {
    let module = config.modules.get(name).with_context(|| format!("there is no module `{name}`"))?;
    if is_to_build {
        build_folders(config, build::folder(module).as_slice())?;
    }
    // Its exports tell which suites concern it, and these tell what they fake.
    let artifact = load(module.component.value.file()).map_err(|problems| {
        let of_module = problems.into_vec().into_iter().map(|problem| problem.module(name));
        Problems::from(of_module.collect::<Vec<_>>())
    })?;
    let concerned = suites.iter().filter(|suite| suite.concerns(name, artifact.shape.exports.keys()));
    let real = suite::reduce(config, name, concerned);
    if is_to_build {
        let others = config.modules.iter().filter(|(other, _)| *other != name && real.contains(*other));
        build_folders(config, &present_folders(others, suites))?;
    }
    Ok(())
}

/// Returns the modules that a suite concerns, each with the part of the application that its suites need. With `is_to_build`, builds these
/// parts first. A module whose exports are unknown before it is built counts as one that a suite concerns.
fn all(
    config: &AppConfig,
    fakes: &BTreeMap<ModuleName, Fake>,
    suites: &[Suite],
    is_to_build: bool,
) -> anyhow::Result<Vec<Target>> {
    let (mut parts, mut needed) = (Vec::new(), BTreeSet::new());
    for (name, module) in config.modules.iter().filter(|(name, _)| !fakes.contains_key(*name)) {
        let exports = exports(module, config, is_to_build);
        let concerns = |suite: &&Suite| exports.as_ref().is_none_or(|exports| suite.concerns(name, exports.iter()));
        let concerned: Vec<_> = suites.iter().filter(concerns).collect();
        if concerned.is_empty() && exports.is_some() {
            output::say(&format!("{name}: no suite concerns it"));
            continue;
        }
        let mut part = config.clone();
        needed.extend(suite::reduce(&mut part, name, concerned));
        parts.push((name, part));
    }
    if is_to_build {
        let modules = config.modules.iter().filter(|(name, _)| needed.contains(*name));
        build_folders(config, &present_folders(modules, suites))?;
    }
    let (mut targets, mut problems) = (Vec::new(), Vec::new());
    for (name, config) in parts {
        match load_needed(&config, suites) {
            Ok(artifacts) => {
                let Some(artifact) = artifacts.get(name).cloned() else { continue };
                targets.push(Target { module: name.clone(), artifact, config, artifacts });
            }
            Err(found) => {
                let new: Vec<_> = found.into_vec().into_iter().filter(|one| !problems.contains(one)).collect();
                problems.extend(new);
            }
        }
    }
    Ok(Problems::ok_or_problems(problems, targets)?)
}

/// Returns what the component of a module exports: with `is_to_build`, what its sources say, and else what the component on the disk says.
/// `None` if that can't be read.
fn exports(module: &ModuleConfig, config: &AppConfig, is_to_build: bool) -> Option<BTreeSet<InterfaceName>> {
    let in_sources = || stub::exports(&build::folder(module)?, &config.workspace);
    let in_component = || Some(load(module.component.value.file()).ok()?.shape.exports.into_keys().collect());
    if is_to_build { in_sources().or_else(in_component) } else { in_component().or_else(in_sources) }
}

/// Reads the components of an application. A module that suites fake may have none: a case that needs it as it is reports that.
fn load_needed(config: &AppConfig, suites: &[Suite]) -> Result<Artifacts, Problems> {
    let (artifacts, mut problems) = load_components(config);
    problems.retain(|problem| problem.module.as_ref().is_none_or(|module| !is_faked_by(suites, module)));
    Problems::ok_or_problems(problems, artifacts)
}

/// Returns the folders of modules. A module that suites fake may have none yet.
fn present_folders<'a>(
    modules: impl IntoIterator<Item = (&'a ModuleName, &'a ModuleConfig)>,
    suites: &[Suite],
) -> Vec<PathBuf> {
    let folder =
        |(name, module)| build::folder(module).filter(|folder: &PathBuf| folder.is_dir() || !is_faked_by(suites, name));
    modules.into_iter().filter_map(folder).collect()
}

fn build_folders(config: &AppConfig, folders: &[PathBuf]) -> anyhow::Result<()> {
    if folders.is_empty() {
        return Ok(());
    }
    build::build_with_progress(folders, Options { quiet: true, ..Options::of(config.workspace.clone()) }).map(drop)
}

/// Returns a note for each suite of an interface that modules export only in other versions.
fn unanswered<'a>(
    suites: &[Suite],
    artifacts: impl IntoIterator<Item = (&'a ModuleName, &'a Arc<Artifact>)>,
) -> Vec<String> {
    let exports: BTreeSet<&InterfaceName> =
        artifacts.into_iter().flat_map(|(_, artifact)| artifact.shape.exports.keys()).collect();
    let note = |suite: &Suite| {
        let interface = Some(&suite.interface).filter(|name| !name.is_world())?;
        let versions: Vec<String> = exports
            .iter()
            .filter(|export| export.unversioned() == interface.unversioned())
            .map(|export| format!("`{export}`"))
            .collect();
        let is_answered = versions.is_empty() || exports.iter().any(|export| export.can_serve(interface));
        let (file, versions) = (suite.file.display(), versions.join(", "));
        (!is_answered).then(|| {
            format!("no module is tested by the suite `{file}`: it is for `{interface}`, and modules export {versions}")
        })
    };
    suites.iter().filter_map(note).collect()
}

/// Whether a case of a suite fakes the module.
fn is_faked_by(suites: &[Suite], module: &ModuleName) -> bool {
    suites.iter().flat_map(|suite| &suite.cases).any(|case| case.fakes.contains_key(module))
}

/// Reads another build of a module. It stands for the module `wanted`, or for the one that its exports tell. With `is_to_build`, builds its
/// `folder` first, and of the modules that it may call those that a suite needs.
///
/// The component is checked with the whole application, so that callers which it no longer fits are told. If the component of another module
/// is missing or older than its sources, only what the suites need is checked.
fn other_build(
    file: &Path,
    folder: Option<&Path>,
    wanted: Option<&ModuleName>,
    config: &AppConfig,
    suites: &[Suite],
    is_to_build: bool,
) -> anyhow::Result<Target> {
    if is_to_build {
        build_folders(config, folder.map(Path::to_owned).as_slice())?;
    } else {
        outdated_file(file, config).iter().for_each(output::note);
    }
    let artifact = load(file)?;
    let module = match wanted {
        Some(module) => Some(module.clone()),
        None => module_for(&artifact, config, suites, is_to_build)?,
    };
    let module = module.with_context(|| {
        let file = file.display();
        format!("no module of `{}` exports the same contracts as {file}; name a module with `--as`", config.name)
    })?;
    let concerned = suites.iter().filter(|suite| suite.concerns(&module, artifact.shape.exports.keys()));
    let mut part = config.clone();
    // The manifest's own component of this module is not tested, so its problems do not count.
    let place = part.modules.get_mut(&module).with_context(|| format!("there is no module `{module}`"))?;
    place.component.value = ComponentSource::File(file.to_owned());
    let whole = part.clone();
    let real = suite::reduce(&mut part, &module, concerned);
    if is_to_build {
        let others = config.modules.iter().filter(|(other, _)| **other != module && real.contains(*other));
        build_folders(config, &present_folders(others, suites))?;
    }
    let artifact = Arc::new(artifact);
    let unknown: BTreeSet<_> = outdated(&whole).into_iter().filter_map(|note| note.module).collect();
    if let Ok(artifacts) = load_needed(&whole, suites)
        && unknown.is_empty()
    {
        return Ok(Target { module, artifact, config: whole, artifacts });
    }
    let artifacts = load_needed(&part, suites)?;
    output::warn(&format!(
        "components of other modules are missing or older than their sources; whether callers of `{module}` still fit, `watertight check` says \
         after a build"
    ));
    Ok(Target { module, artifact, config: part, artifacts })
}

/// Returns the module that a component can stand for: the only one that exports the same contracts. Returns `None` if no module does.
fn module_for(
    artifact: &Artifact,
    config: &AppConfig,
    suites: &[Suite],
    is_to_build: bool,
) -> anyhow::Result<Option<ModuleName>> {
    let own: BTreeSet<InterfaceName> = artifact.shape.exports.keys().cloned().collect();
    let can_serve = |exports: &BTreeSet<InterfaceName>, interface: &InterfaceName| {
        exports.iter().any(|name| name.can_serve(interface))
    };
    let contracts: Vec<_> =
        suites.iter().map(|s| &s.interface).filter(|name| !name.is_world() && can_serve(&own, name)).collect();
    let fits = |other: &BTreeSet<InterfaceName>| match contracts.as_slice() {
        [] => other.iter().all(|name| can_serve(&own, name)),
        contracts => contracts.iter().all(|name| can_serve(other, name)),
    };
    let modules = config.modules.iter();
    let others = modules.filter_map(|(name, module)| Some((name, exports(module, config, is_to_build)?)));
    let places: Vec<_> = others.filter(|(_, other)| fits(other)).map(|(name, _)| name).collect();
    match places.as_slice() {
        [] => Ok(None),
        [module] => Ok(Some((*module).clone())),
        several => {
            let names: Vec<_> = several.iter().map(ToString::to_string).collect();
            bail!("the component could stand for several modules: {}; name one with `--as`", names.join(", "))
        }
    }
}

async fn run_suites(
    target: Target,
    suites: &[Suite],
    fakes: &BTreeMap<ModuleName, Fake>,
    host: Host,
    log: &BufferedLog,
    recorded: &mut Vec<Recorded>,
) -> anyhow::Result<ModuleReport> {
    let Target { module, artifact, mut config, mut artifacts } = target;
    let exports = &artifact.shape.exports;
    let suites: Vec<_> = suites.iter().filter(|suite| suite.concerns(&module, exports.keys())).collect();
    let tested = |export: &InterfaceName| suites.iter().any(|suite| export.can_serve(&suite.interface));
    // `resume` is no contract of the workspace: the host calls it, and suites test it with a step `restart`.
    let resume: InterfaceName = RESUME.parse().expect("the host's own interface is well named");
    let is_contract = |export: &&InterfaceName| !export.can_serve(&resume) && !export.is_world() && !export.is_label();
    let without_suite: Vec<_> = exports.keys().filter(is_contract).filter(|export| !tested(export)).cloned().collect();
    let language = artifact.language();
    let of = language.map(|language| format!(" in {language}")).unwrap_or_default();
    output::say(&format!("{module}{of}, build {}: {}", artifact.build(), artifact.path.display()));
    for export in &without_suite {
        output::say(&format!("  {export} has no suite"));
    }
    let mut report = ModuleReport {
        module: module.clone(),
        file: artifact.path.clone(),
        digest: artifact.digest,
        build: artifact.build(),
        language: language.map(str::to_owned),
        suites: Vec::new(),
        without_suite,
        passed: 0,
        failed: 0,
        skipped: 0,
    };
    if suites.is_empty() {
        return Ok(report);
    }
    let place = config.modules.get_mut(&module).with_context(|| format!("there is no module `{module}`"))?;
    place.component.value = ComponentSource::File(artifact.path.clone());
    artifacts.insert(module.clone(), artifact.clone());
    let subject = ModuleUnderTest::new(config, artifacts, &module, fakes.clone(), host)?;
    for suite in suites {
        let shown = suite.file.file_name().unwrap_or_default().to_string_lossy();
        output::say(&format!("  {} ({shown})", suite.subject()));
        let heard = |report: &mut CaseReport| {
            report.log = log.take();
            print_case(report);
        };
        let run = subject.run(suite, heard).await?;
        let failed = run.cases.iter().filter(|case| case.failure.is_some()).count();
        report.failed += failed;
        let skipped = run.cases.iter().filter(|case| case.skipped.is_some()).count();
        report.skipped += skipped;
        report.passed += run.cases.len() - failed - skipped;
        report.suites.push(run);
    }
    recorded.push(subject.take_recorded());
    Ok(report)
}

/// Prints the result of a case: its name, what modules logged during it, and for a failure the expected and found values.
fn print_case(report: &CaseReport) {
    let left_out = match report.left_out {
        0 => String::new(),
        1 => ", without 1 step that looks into a faked module".to_owned(),
        count => format!(", without {count} steps that look into a faked module"),
    };
    let line = format!("{} ({} ms{left_out})", report.name, report.millis);
    match (&report.failure, &report.skipped) {
        (Some(_), _) => output::failed(&line),
        (None, Some(why)) => output::skipped(&format!("{}: {why}", report.name)),
        (None, None) => output::passed(&line),
    }
    for line in &report.log {
        output::say(&format!("              {line}"));
    }
    let Some(Failure { step, what, reason, differences }) = &report.failure else { return };
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    output::say(&format!(
        "              step {step}, {what}{}",
        reason.iter().map(|reason| format!(": {reason}")).collect::<String>()
    ));
    for difference in differences {
        let at = if difference.at.is_empty() { "the whole answer" } else { &difference.at };
        output::say(&format!("                {at}"));
        output::say(&format!("                  expected {}", output::shown(difference.expected.as_ref())));
        output::say(&format!("                  found    {}", output::shown(difference.found.as_ref())));
    }
}
