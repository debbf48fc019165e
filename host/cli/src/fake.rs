//! `fake`, and the option `--fake` of other commands: scripts that answer calls in the place of a module.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use anyhow::bail;
use clap::Args;

use super::installed::overrides;
use super::{NamedApplication, output};
use watertight_model::config::{self, AppConfig, Overrides};
use watertight_model::ids::ModuleName;
use watertight_model::problem::Problems;
use watertight_suite::fake::{Contract, Fake, FakeSource, ServedFakes, starter};

/// The argument of `--fake`: `MODULE=FILE` or `MODULE=default`.
#[derive(Debug, Clone)]
pub(super) struct FakeArgument {
    module: ModuleName,
    source: String,
}

impl FromStr for FakeArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (module, source) = text
            .split_once('=')
            .filter(|(_, source)| !source.is_empty())
            .ok_or("write MODULE=FILE, or MODULE=default for the default values of all types")?;
        Ok(Self { module: module.parse().map_err(|error| format!("{error}"))?, source: source.to_owned() })
    }
}

/// The modules that a command fakes.
#[derive(Debug, Args)]
pub(super) struct FakeArguments {
    /// Answer the calls of this module by a script: a file, a name in the folder `fake` beside the contract's WIT, or `default` for the
    /// default values of all types. The module needs no component. Can be repeated.
    #[arg(long = "fake", value_name = "MODULE=FILE|default")]
    fakes: Vec<FakeArgument>,
}

impl FakeArguments {
    /// Returns the place of each fake's script.
    pub(super) fn sources(&self) -> anyhow::Result<BTreeMap<ModuleName, FakeSource>> {
        let mut sources = BTreeMap::new();
        for FakeArgument { module, source } in &self.fakes {
            if sources.insert(module.clone(), FakeSource::named(source, Path::new(""))).is_some() {
                bail!("`--fake` names `{module}` twice");
            }
        }
        Ok(sources)
    }

    /// Reads the fakes of an application. Names that are no modules are reported first.
    pub(super) fn read(&self, config: &AppConfig) -> anyhow::Result<BTreeMap<ModuleName, Fake>> {
        self.check_names(config)?;
        let read = |(module, source)| {
            let fake = Fake::read(config, &module, &source)?;
            Ok((module, fake))
        };
        self.sources()?.into_iter().map(read).collect()
    }

    fn check_names(&self, config: &AppConfig) -> Result<(), Problems> {
        Problems::ok_or_problems(config.unknown_fakes(self.fakes.iter().map(|fake| &fake.module)), ())
    }

    /// Returns `given` with the fakes added, for a command that only checks the application at `app`.
    pub(super) fn add_to(&self, given: Overrides, app: &Path) -> anyhow::Result<Overrides> {
        if self.fakes.is_empty() {
            return Ok(given);
        }
        let fakes = self.read(&config::load_manifest(app, &given)?)?;
        let component = |(module, fake): (ModuleName, Fake)| (module, fake.contract().component().to_owned());
        Ok(Overrides { fakes: fakes.into_iter().map(component).collect(), ..given })
    }

    /// Reads the fakes of an application that is served. Returns `None` if there are none.
    pub(super) fn serve(&self, config: &AppConfig) -> anyhow::Result<Option<ServedFakes>> {
        if self.fakes.is_empty() {
            return Ok(None);
        }
        self.check_names(config)?;
        Ok(Some(ServedFakes::read(config, &self.sources()?)?))
    }

    /// Prints which modules are faked.
    pub(super) fn announce(&self) {
        for FakeArgument { module, source } in &self.fakes {
            output::say(&format!("{module} is faked ({source})"));
        }
    }
}

/// The option `--fake` of a command for production, which has none. It is there to say so.
#[derive(Debug, Args)]
pub(super) struct NoFakes {
    #[arg(long = "fake", value_name = "MODULE=FILE|default", hide = true)]
    fakes: Vec<String>,
}

impl NoFakes {
    /// Refuses the option.
    pub(super) fn refuse(&self, command: &str) -> anyhow::Result<()> {
        if let Some(fake) = self.fakes.first() {
            bail!(
                "`{command}` serves no fakes: they answer in `watertight dev --fake {fake}` and `watertight test` only"
            );
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct FakeCommand {
    /// Module of the application whose contract the script is for. It needs no component.
    module: ModuleName,
    #[command(flatten)]
    application: NamedApplication,
    /// Check this script instead: a file, or a name in the folder `fake` beside the contract's WIT.
    #[arg(long, value_name = "FILE")]
    check: Option<String>,
}

/// Prints a first script for a module's contract, or checks a script.
pub(super) fn fake(arguments: &FakeCommand) -> anyhow::Result<()> {
    let FakeCommand { module, application, check } = arguments;
    let config = config::load_manifest(&application.app, &overrides())?;
    match check {
        None => output::print(&starter(&Contract::find(&config, module, None)?)?),
        Some(name) => {
            let fake = Fake::read(&config, module, &FakeSource::named(name, Path::new("")))?;
            let file = fake.file().unwrap_or(Path::new(name)).display();
            output::done(&format!("`{file}` fits the contract of `{module}`"));
        }
    }
    Ok(())
}
