//! `migrations`: lists the migrations that modules carry and those that their databases have applied.

use std::fmt::Write as _;

use clap::Args;
use reqwest::Method;

use super::client::HostArguments;
use super::installed::overrides;
use super::{Application, change, output};
use watertight_control::application::ModuleMigrations;
use watertight_control::control::find_application_on_start;
use watertight_edge::admin::Migrations;
use watertight_model::config::Overrides;
use watertight_model::migration::{MigrationPosition, MigrationState};

#[derive(Debug, Args)]
pub(super) struct MigrationsArguments {
    #[command(flatten)]
    application: Application,
    #[command(flatten)]
    host: HostArguments,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command `migrations`: asks the running host, or if no host runs, reads the application that the next start would run. Changes
/// nothing.
pub(super) fn migrations(arguments: &MigrationsArguments) -> anyhow::Result<()> {
    let host = &arguments.host;
    let found = match host.find_for(&arguments.application.app)? {
        Some(client) => change::block_on(client.send(client.request(Method::GET, "/migrations")))?,
        None => on_disk(arguments)?,
    };
    if arguments.json {
        return output::print_json(&found);
    }
    output::print(&text(&found));
    Ok(())
}

fn on_disk(arguments: &MigrationsArguments) -> anyhow::Result<Migrations> {
    let config = arguments.host.load(&arguments.application.app)?;
    let state = config.state.clone();
    let overrides = Overrides { state: Some(state.clone()), ..overrides() };
    let (config, artifacts) = find_application_on_start(config, &overrides, &state)?;
    let with_data = config.modules.iter().filter(|(_, module)| config.keeps_data(module));
    let read = |name| artifacts.get(name).map(|artifact| ModuleMigrations::read(&state, name, artifact));
    Ok(Migrations { modules: with_data.filter_map(|(name, _)| read(name)).collect() })
}

fn text(found: &Migrations) -> String {
    let mut out = String::new();
    for ModuleMigrations { module, build, exists, error, migrations } in &found.modules {
        let database = if *exists { "" } else { ", no database yet" };
        let _ = writeln!(out, "{module}, build {build}{database}");
        if let Some(error) = error {
            let _ = writeln!(out, "  {error}");
        } else if migrations.is_empty() {
            let _ = writeln!(out, "  none");
        }
        migrations.iter().for_each(|place| write_place(&mut out, place));
    }
    if found.modules.is_empty() {
        out.push_str("no module has a database\n");
    }
    out
}

fn write_place(out: &mut String, MigrationPosition { number, state, carried, applied }: &MigrationPosition) {
    let name = carried.as_ref().map(|c| &c.name).or(applied.as_ref().map(|a| &a.name)).map_or("", String::as_str);
    let at = applied.as_ref().map_or("", |applied| applied.at.as_str());
    let checksum = match (carried, applied) {
        (Some(carried), _) => carried.checksum.to_string(),
        (None, applied) => applied.as_ref().map_or_else(String::new, |applied| applied.checksum.clone()),
    };
    let contraction = if carried.as_ref().is_some_and(|c| c.contraction) { "  contraction" } else { "" };
    let _ = writeln!(out, "{number:>4}  {:<9}  {name}  {at:<24}  {checksum}{contraction}", state.as_str());
    let was = applied.as_ref().map(|applied| format!("`{}`, {}", applied.name, applied.checksum)).unwrap_or_default();
    let _ = match state {
        MigrationState::Applied | MigrationState::Pending => Ok(()),
        MigrationState::Unknown => {
            writeln!(out, "      this build doesn't have this migration: a newer build applied it")
        }
        MigrationState::Changed => writeln!(out, "      this migration was applied with another text: {was}"),
        MigrationState::Reordered => writeln!(out, "      another migration was applied at this place: {was}"),
        MigrationState::Inserted => {
            writeln!(out, "      this migration is new, and stands before one that was applied: {was}")
        }
    };
}
