//! `sdk`: puts the libraries for module authors into an application, and renews them.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::installed::overrides;
use super::{NamedApplication, output};
use watertight_author::sdk::{self, Written};
use watertight_model::config;

#[derive(Debug, Args)]
pub(super) struct SdkArguments {
    #[command(subcommand)]
    command: SdkCommand,
}

#[derive(Debug, Subcommand)]
enum SdkCommand {
    /// Write the library of a language into `sdk/LANGUAGE`, where modules depend on it by path.
    Add {
        /// The language of the modules that use the library.
        #[arg(value_parser = PossibleValuesParser::new(sdk::languages()))]
        language: String,
        #[command(flatten)]
        application: NamedApplication,
    },
    /// Renew the libraries in `sdk` that another version of this program wrote.
    Update {
        /// Overwrite files that were changed by hand.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        application: NamedApplication,
    },
}

/// Runs the commands `sdk add` and `sdk update`.
pub(super) fn sdk(arguments: &SdkArguments) -> anyhow::Result<()> {
    let workspace =
        |application: &NamedApplication| anyhow::Ok(config::load_manifest(&application.app, &overrides())?.workspace);
    match &arguments.command {
        SdkCommand::Add { language, application } => {
            say(&sdk::add(&workspace(application)?, language)?);
            output::say(&format!("  its README.md says how a module uses it: {}/{language}/README.md", sdk::FOLDER));
        }
        SdkCommand::Update { force, application } => {
            sdk::update(&workspace(application)?, *force)?.iter().for_each(say);
        }
    }
    Ok(())
}

fn say(written: &Written) {
    let Written { language, folder, version, changed } = written;
    let line = format!("SDK for {language}, version {version}: {}", folder.display());
    match changed {
        0 => output::same(&format!("{line} (unchanged)")),
        1 => output::done(&format!("{line} (1 file)")),
        _ => output::done(&format!("{line} ({changed} files)")),
    }
}
