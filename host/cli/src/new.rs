//! `new`: makes applications and modules.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::PossibleValuesParser};

use super::installed::overrides;
use super::{NamedApplication, output};
use watertight_author::new::{self, LANGUAGES, Made, ModuleOptions, Place, Starter};
use watertight_model::config;

#[derive(Debug, Args)]
pub(super) struct NewArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make an application in a new folder: a manifest, a module with data, a route and a suite, a CI file and a Containerfile.
    App(AppArguments),
    /// Add a module to an application: its code, its contract with a suite, and its table in the manifest.
    Module(ModuleArguments),
}

#[derive(Debug, Args)]
struct AppArguments {
    /// Name of the application and of its folder, in kebab-case. It becomes the namespace of its contracts.
    name: String,
    /// Folder in which the application's folder is made.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    r#in: PathBuf,
    /// Language of the first module.
    #[arg(long, value_name = "LANGUAGE", value_parser = languages(), default_value = "rust")]
    lang: String,
}

#[derive(Debug, Args)]
struct ModuleArguments {
    /// Name of the module and of its folder, in kebab-case.
    name: String,
    /// Language of the module.
    #[arg(long, value_name = "LANGUAGE", value_parser = languages())]
    lang: String,
    /// WIT package of the application to implement, such as `acme:cart`. By default, the module gets a contract of its own.
    #[arg(long, value_name = "PACKAGE")]
    exports: Option<String>,
    /// Modules of the application to call, separated by commas. The option takes several values too.
    #[arg(long, value_name = "MODULE", num_args = 1.., value_delimiter = ',')]
    calls: Vec<String>,
    /// Capabilities of the host to use, separated by commas: `sql,logging`. `watertight wit list` shows all.
    #[arg(long, value_name = "CAPABILITY", num_args = 1.., value_delimiter = ',')]
    uses: Vec<String>,
    #[command(flatten)]
    application: NamedApplication,
}

fn languages() -> PossibleValuesParser {
    PossibleValuesParser::new(LANGUAGES.iter().map(|language| language.name))
}

fn language(name: &str) -> anyhow::Result<&'static Starter> {
    Starter::find(name).ok_or_else(|| anyhow::anyhow!("there are no templates for `{name}`"))
}

pub(super) fn new(arguments: &NewArguments) -> anyhow::Result<()> {
    match &arguments.what {
        What::App(arguments) => app(arguments),
        What::Module(arguments) => module(arguments),
    }
}

fn app(arguments: &AppArguments) -> anyhow::Result<()> {
    let capabilities = overrides().capabilities;
    let language = language(&arguments.lang)?;
    let made = new::app(&arguments.r#in, &arguments.name, language, &capabilities)?;
    say(&made);
    let folder = arguments.r#in.join(&arguments.name);
    let folder = folder.strip_prefix(".").unwrap_or(&folder).display();
    output::done(&format!("the application `{}`: run `cd {folder} && watertight dev`", arguments.name));
    Ok(())
}

fn module(arguments: &ModuleArguments) -> anyhow::Result<()> {
    let config = config::load_manifest(&arguments.application.app, &overrides())?;
    let language = language(&arguments.lang)?;
    let options = ModuleOptions {
        name: arguments.name.clone(),
        language,
        exports: arguments.exports.clone(),
        calls: arguments.calls.clone(),
        uses: arguments.uses.clone(),
    };
    let made = new::module(&Place::of(&config), &options)?;
    say(&made);
    let (name, test) = (&arguments.name, made.native_tests(language));
    output::done(&format!(
        "the module `{name}`: run `watertight test {name}`, and `{test}` in its folder for its native tests"
    ));
    Ok(())
}

/// Names every file, and what is left to do by hand.
fn say(made: &Made) {
    let here = std::env::current_dir().unwrap_or_default();
    for file in &made.files {
        output::say(&format!("  {}", file.strip_prefix(&here).unwrap_or(file).display()));
    }
    for note in &made.notes {
        output::warn(note);
    }
}
