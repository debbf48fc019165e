//! `build`: builds modules from source to components, and shows progress.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::installed::overrides;
use super::{BuildArguments, output};
use watertight_author::build::{Built, Event, Options, Profile, build as build_modules};
use watertight_model::config::{self, AppConfig, ComponentSource};
use watertight_model::ids::ModuleName;
use watertight_model::problem::list_names;

pub(super) fn build(arguments: &BuildArguments) -> anyhow::Result<()> {
    // Routes are not read: they may be written only after the build.
    let config = config::load_manifest(&arguments.application.app, &overrides())?;
    let folders = folders(&config, &arguments.modules)?;
    let profile = if arguments.debug { Profile::Debug } else { Profile::Release };
    let options = Options { out: arguments.out.clone(), profile, ..Options::of(config.workspace) };
    let built = build_with_progress(&folders, options)?;
    if arguments.json {
        output::print_json(&built)?;
    }
    Ok(())
}

/// Builds the modules in these folders. Shows the tools' output and each finished component.
pub(super) fn build_with_progress(folders: &[PathBuf], options: Options) -> anyhow::Result<Vec<Built>> {
    let options = Options { colours: std::io::stderr().is_terminal(), ..options };
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})").context("the spinner's template")?);
    bar.enable_steady_tick(Duration::from_millis(100));
    let listener = |event: Event<'_>| match event {
        Event::Compiling { command, .. } => {
            bar.set_message(command.to_owned());
            bar.suspend(|| output::say(&format!("  running {command}")));
        }
        Event::Output(line) => bar.suspend(|| output::say(line)),
        Event::Warning(text) => bar.suspend(|| output::say(&format!("  warning: {text}"))),
        Event::Built(built) => {
            let change = if built.changed { "" } else { " (unchanged)" };
            let size = bytesize::ByteSize(built.size);
            let line = format!("{} build {}, {size}: {}{change}", built.name, built.build, built.path.display());
            bar.suspend(|| output::done(&line));
        }
    };
    let built = build_modules(folders, &options, &listener);
    bar.finish_and_clear();
    // The tools' output was already shown line by line.
    built.map_err(|errors| anyhow::Error::msg(errors.without_output().to_string()))
}

/// Returns the source folders of the named modules, or of all modules that have one if no name is given. A name is the module's name in the
/// manifest, or the name of its folder beside the manifest.
pub(super) fn folders(config: &AppConfig, names: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let folder = |source: &ComponentSource| match source {
        ComponentSource::Folder { folder, .. } => Some(folder.clone()),
        ComponentSource::File(_) => None,
    };
    if names.is_empty() {
        return Ok(config.modules.values().filter_map(|module| folder(&module.component.value)).collect());
    }
    let find = |name: &String| {
        let Some((_, module)) = config.modules.iter().find(|(known, _)| known.as_str() == name) else {
            // A folder beside the manifest may hold another build of a module that the manifest takes from elsewhere.
            let beside = name.parse::<ModuleName>().ok().map(|name| config.root.join(name.as_str()));
            return beside.filter(|folder| folder.is_dir()).with_context(|| {
                let modules = list_names(config.modules.keys());
                format!(
                    "`{}` has no module `{name}`, only {modules}, and no such folder is beside its manifest",
                    config.name
                )
            });
        };
        folder(&module.component.value)
            .with_context(|| format!("module `{name}` is a component file: there is no folder to build it from"))
    };
    names.iter().map(find).collect()
}
