//! `test`: runs the contract suites that concern a module, against the manifest's component or another build of the module.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::Value;

use super::installed::{new_host, overrides};
use super::module_log::BufferedLog;
use super::{TestArguments, build, output};
use watertight_build::{Language, Options};
use watertight_component::artifact::{Artifact, MAX_COMPONENT_BYTES};
use watertight_control::application::{Artifacts, load_components};
use watertight_graph::graph::RESUME;
use watertight_model::config::{self, AppConfig, ComponentSource};
use watertight_model::ids::{Digest, InterfaceName, ModuleName};
use watertight_model::problem::{Problem, Problems, list_names};
use watertight_suite::fake::Fake;
use watertight_suite::suite::{self, CaseReport, Failure, ModuleUnderTest, Report, Suite};

/// The maximum length of an expected or found value in the output, in bytes. A longer value is cut.
const MAX_SHOWN: usize = 400;

/// A component to test, and the module that it stands for.
struct Target {
    module: ModuleName,
    artifact: Arc<Artifact>,
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

pub(super) fn test(arguments: &TestArguments) -> anyhow::Result<()> {
    let mut config = config::load(&arguments.application.app, &overrides())?;
    let suites = suite::find(&config.workspace)?;
    let fakes = arguments.fakes.read(&config)?;
    for (module, fake) in &fakes {
        if !config.fake(module, fake.contract().component()) {
            bail!("`{}` has no module `{module}`, only {}", config.name, list_names(config.modules.keys()));
        }
    }
    if !arguments.no_build {
        build_first(&config, arguments.target.as_deref(), &suites)?;
    }
    let (artifacts, mut problems) = load_components(&config);
    // A case that needs such a module as it is reports that it has no component.
    problems.retain(|problem| problem.module.as_ref().is_none_or(|module| !is_faked_by(&suites, module)));
    let targets = match &arguments.target {
        Some(name) if fakes.keys().any(|faked| faked.as_str() == name) => {
            bail!("`--fake` replaces `{name}`, so there is nothing of it to test")
        }
        Some(name) => vec![target(name, arguments.module.as_ref(), &config, &artifacts, &suites, &mut problems)?],
        None => artifacts
            .iter()
            .filter(|(module, _)| !fakes.contains_key(*module))
            .map(|(module, artifact)| Target { module: module.clone(), artifact: artifact.clone() })
            .collect(),
    };
    Problems::ok_or_problems(problems, ())?;
    let log = BufferedLog::start(config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut reports = Vec::new();
    for target in targets {
        reports.push(runtime.block_on(run_suites(&target, &config, &artifacts, &suites, &fakes, &log))?);
    }
    if arguments.json {
        output::print_json(&reports)?;
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

/// Builds the tested components from source, so that no stale component passes. It builds all module folders of the application, and the
/// target's folder if that is another build beside the manifest. A module that suites fake may have no folder yet.
fn build_first(config: &AppConfig, target: Option<&str>, suites: &[Suite]) -> anyhow::Result<()> {
    let mut folders = build::folders(config, &[])?;
    let is_faked = |folder: &PathBuf| {
        let name = folder.file_name().and_then(|name| name.to_str()?.parse().ok());
        name.is_some_and(|module| is_faked_by(suites, &module))
    };
    folders.retain(|folder| folder.is_dir() || !is_faked(folder));
    let is_other =
        |name: &&str| !config.modules.keys().any(|known| known.as_str() == *name) && !Path::new(name).is_file();
    if let Some(name) = target.filter(is_other).and_then(|name| name.parse::<ModuleName>().ok()) {
        let beside = config.root.join(name.as_str());
        // Any other name is refused later, by `target`.
        folders.extend(Some(beside).filter(|folder| Language::is_known(folder)));
    }
    if folders.is_empty() {
        return Ok(());
    }
    build::build_with_progress(&folders, Options { quiet: true, ..Options::of(config.workspace.clone()) }).map(drop)
}

/// Whether a case of a suite fakes the module.
fn is_faked_by(suites: &[Suite], module: &ModuleName) -> bool {
    suites.iter().flat_map(|suite| &suite.cases).any(|case| case.fakes.contains_key(module))
}

/// Finds the component that `name` means: a module of the manifest, a component file, or a built folder beside the manifest.
fn target(
    name: &str,
    wanted: Option<&ModuleName>,
    config: &AppConfig,
    artifacts: &Artifacts,
    suites: &[Suite],
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Target> {
    if let Some(module) = config.modules.keys().find(|known| known.as_str() == name) {
        let Some(artifact) = artifacts.get(module) else {
            return Err(Problems::ok_or_problems(std::mem::take(problems), ())
                .expect_err("what has no component is a problem")
                .into());
        };
        return Ok(Target { module: module.clone(), artifact: artifact.clone() });
    }
    let built = || name.parse::<ModuleName>().ok().filter(|name| config.root.join(name.as_str()).is_dir());
    let file = match Path::new(name) {
        file if file.is_file() => file.to_owned(),
        _ => match built() {
            Some(name) => config.workspace.join("target/components").join(name.as_str()).with_added_extension("wasm"),
            None => {
                let (app, modules) = (&config.name, list_names(config.modules.keys()));
                bail!(
                    "`{name}` is neither a module of `{app}` ({modules}), nor a file, nor a folder beside the manifest"
                )
            }
        },
    };
    let artifact = Artifact::load(&file, MAX_COMPONENT_BYTES).map_err(|error| Problems::from(Problem::from(error)))?;
    let module = match wanted {
        Some(module) => config.modules.keys().find(|known| *known == module),
        None => module_for(&artifact, artifacts, suites)?,
    };
    let module = module.with_context(|| match wanted {
        Some(module) => {
            format!("`{}` has no module `{module}`, only {}", config.name, list_names(config.modules.keys()))
        }
        None => format!(
            "no module of `{}` exports the same contracts as {}; name a module with `--as`",
            config.name,
            file.display()
        ),
    })?;
    // The manifest's own component of this module is not tested, so its problems do not count.
    problems.retain(|problem| problem.module.as_ref() != Some(module));
    Ok(Target { module: module.clone(), artifact: Arc::new(artifact) })
}

/// Returns the module that a component can stand for: the only one that exports the same contracts. Returns `None` if no module does.
fn module_for<'a>(
    artifact: &Artifact,
    artifacts: &'a Artifacts,
    suites: &[Suite],
) -> anyhow::Result<Option<&'a ModuleName>> {
    let exports = |artifact: &Artifact, interface: &InterfaceName| {
        artifact.shape.exports.keys().any(|name| name.can_serve(interface))
    };
    let contracts: Vec<_> =
        suites.iter().map(|s| &s.interface).filter(|name| !name.is_world() && exports(artifact, name)).collect();
    let fits = |other: &Artifact| match contracts.as_slice() {
        [] => artifact.shape.exports.keys().all(|name| exports(other, name)),
        contracts => contracts.iter().all(|name| exports(other, name)),
    };
    let places: Vec<_> = artifacts.iter().filter(|(_, other)| fits(other)).map(|(name, _)| name).collect();
    match places.as_slice() {
        [] => Ok(None),
        [module] => Ok(Some(module)),
        several => {
            let names: Vec<_> = several.iter().map(ToString::to_string).collect();
            bail!("the component could stand for several modules: {}; name one with `--as`", names.join(", "))
        }
    }
}

async fn run_suites(
    target: &Target,
    config: &AppConfig,
    artifacts: &Artifacts,
    suites: &[Suite],
    fakes: &BTreeMap<ModuleName, Fake>,
    log: &BufferedLog,
) -> anyhow::Result<ModuleReport> {
    let Target { module, artifact } = target;
    let exports = &artifact.shape.exports;
    let suites: Vec<_> = suites.iter().filter(|suite| suite.concerns(module, exports.keys())).collect();
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
    let mut config = config.clone();
    let place = config.modules.get_mut(module).with_context(|| format!("there is no module `{module}`"))?;
    place.component.value = ComponentSource::File(artifact.path.clone());
    let mut artifacts = artifacts.clone();
    artifacts.insert(module.clone(), artifact.clone());
    let host = new_host(&config)?;
    let subject = ModuleUnderTest::new(config, artifacts, module, fakes.clone(), host)?;
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
        output::say(&format!("                  expected {}", shown(difference.expected.as_ref())));
        output::say(&format!("                  found    {}", shown(difference.found.as_ref())));
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let mut text = value.to_string();
    if text.len() > MAX_SHOWN {
        text.truncate(text.floor_char_boundary(MAX_SHOWN));
        text.push('…');
    }
    text
}
