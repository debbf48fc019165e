//! `build`: builds modules from source to components, and shows progress.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::installed::overrides;
use super::{BuildArguments, output};
use watertight_build::{self as build, Built, Event, Options, Prebuilt, Profile, build as build_modules};
use watertight_model::config::{self, AppConfig, ComponentSource, ModuleConfig};
use watertight_model::ids::ModuleName;
use watertight_model::problem::list_names;

pub(super) fn build(arguments: &BuildArguments) -> anyhow::Result<()> {
    if let (Some(name), Some(language)) = (&arguments.name, &arguments.language) {
        return embed(arguments, name, language);
    }
    if let Some(file) = arguments.modules.iter().find(|name| is_component_file(name)) {
        anyhow::bail!(
            "`{file}` is a component file: say which module it becomes, with `--name NAME --language LANGUAGE`"
        );
    }
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

fn is_component_file(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "wasm")
}

/// Puts name, language and migrations into a copy of a component file.
fn embed(arguments: &BuildArguments, name: &ModuleName, language: &str) -> anyhow::Result<()> {
    let [file] = arguments.modules.as_slice() else {
        anyhow::bail!("`--name` needs exactly one component file");
    };
    let prebuilt = Prebuilt {
        file: file.into(),
        name: name.clone(),
        language: language.to_owned(),
        migrations: arguments.migrations.clone(),
    };
    let workspace = match config::load_manifest(&arguments.application.app, &overrides()) {
        Ok(config) => config.workspace,
        // With a folder of its own for the result, no application is needed.
        Err(_) if arguments.out.is_some() => arguments.application.app.clone(),
        Err(problems) => return Err(problems.into()),
    };
    let options = Options { out: arguments.out.clone(), ..Options::of(workspace) };
    let built = build::embed(&prebuilt, &options, &|event| {
        if let Event::Warning(text) = event {
            output::say(&format!("  warning: {text}"));
        }
    });
    let built = built.map_err(|error| {
        let help = error.help().map(|help| format!("\n  help: {help}")).unwrap_or_default();
        let causes: Vec<String> = anyhow::Error::from(error).chain().map(ToString::to_string).collect();
        anyhow::anyhow!("{}{help}", causes.join(": "))
    })?;
    output::done(&line(&built));
    if arguments.json {
        output::print_json(&[built])?;
    }
    Ok(())
}

/// Returns the line that names a finished component.
fn line(built: &Built) -> String {
    let change = if built.changed { "" } else { " (unchanged)" };
    let size = bytesize::ByteSize(built.size);
    format!("{} build {}, {size}: {}{change}", built.name, built.build, built.path.display())
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
        Event::Built(built) => bar.suspend(|| output::done(&line(built))),
    };
    let built = build_modules(folders, &options, &listener);
    bar.finish_and_clear();
    // The tools' output was already shown line by line.
    built.map_err(|errors| anyhow::Error::msg(errors.without_output().to_string()))
}

/// Returns the source folder of a module. `None` if the manifest names a component file.
pub(super) fn folder(module: &ModuleConfig) -> Option<PathBuf> {
    match &module.component.value {
        ComponentSource::Folder { folder, .. } => Some(folder.clone()),
        ComponentSource::File(_) => None,
    }
}

/// Returns the source folders of the named modules, or of all modules that have one if no name is given. A name is the module's name in the
/// manifest, the name of its folder beside the manifest, or the path of a folder.
pub(super) fn folders(config: &AppConfig, names: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    if names.is_empty() {
        return Ok(config.modules.values().filter_map(folder).collect());
    }
    let find = |name: &String| {
        let Some((_, module)) = config.modules.iter().find(|(known, _)| known.as_str() == name) else {
            // A path names a folder, also one whose name is that of a module which the manifest takes from elsewhere.
            if name.contains('/') {
                let beside = [Path::new("").join(name), config.root.join(name)];
                return beside.into_iter().find(|folder| folder.is_dir()).with_context(|| {
                    format!("there is no folder `{name}`, neither here nor beside the manifest of `{}`", config.name)
                });
            }
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
        folder(module)
            .with_context(|| format!("module `{name}` is a component file: there is no folder to build it from"))
    };
    names.iter().map(find).collect()
}
