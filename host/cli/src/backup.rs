//! `backup` and `restore`: copy an application's databases and history into a folder, and back.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use reqwest::Method;

use super::client::HostArguments;
use super::installed::overrides;
use super::{Application, NamedApplication, change, output};
use watertight_control::backup::{self, Manifest, RestoreReport};
use watertight_control::control::back_up_stopped;
use watertight_control::state::StateFolder;
use watertight_edge::admin::BackupRequest;

#[derive(Debug, Args)]
pub(super) struct BackupArguments {
    #[command(flatten)]
    application: Application,
    /// Folder to create for the backup; it must not exist yet. If a host runs, the host writes the backup, so the path is one on the host's
    /// machine.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    #[command(flatten)]
    host: HostArguments,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    /// Folder of the backup.
    #[arg(value_name = "FOLDER")]
    from: PathBuf,
    #[command(flatten)]
    application: NamedApplication,
    /// State folder to fill, which has databases, history, components and compiled code.
    #[arg(long, value_name = "FOLDER", env = "WATERTIGHT_STATE")]
    state: Option<PathBuf>,
    /// If the state folder is not empty, move its content into a folder within it.
    #[arg(long)]
    replace: bool,
}

/// Runs `backup`: the running host writes the backup; if no host runs, this process does.
pub(super) fn backup(arguments: &BackupArguments) -> anyhow::Result<()> {
    let BackupArguments { application, to, host, json } = arguments;
    let to = absolute(to)?;
    let manifest: Manifest = match host.find_for(&application.app)? {
        Some(client) => {
            let request = client.request(Method::POST, "/backup").json(&BackupRequest { to: to.clone() });
            change::block_on(client.send(request))?
        }
        None => {
            let state = match &host.state {
                Some(state) => state.clone(),
                None => host.load(&application.app)?.state,
            };
            // Opening the state folder would create it.
            anyhow::ensure!(state.is_dir(), "there is no state folder {}: nothing to back up", state.display());
            back_up_stopped(&to, &StateFolder::open(&state)?)?
        }
    };
    if *json {
        return output::print_json(&manifest);
    }
    for name in &manifest.left_out {
        output::say(&format!(
            "{name} is missing or damaged, so the backup does not have it: a rollback to its generation is impossible"
        ));
    }
    let Manifest { app, generation, files, .. } = &manifest;
    let bytes: u64 = files.values().map(|entry| entry.size).sum();
    let size = bytesize::ByteSize::b(bytes).display().iec();
    output::done(&format!(
        "{} holds a backup of `{app}`, generation {generation}: {} files, {size}",
        to.display(),
        files.len()
    ));
    Ok(())
}

/// Runs `restore`: puts a backup into a state folder on which no host runs.
pub(super) fn restore(arguments: &RestoreArguments) -> anyhow::Result<()> {
    let RestoreArguments { from, application, state, replace } = arguments;
    let overrides = watertight_model::config::Overrides { state: state.clone(), ..overrides() };
    // The manifest names the state folder. With `--state`, the manifest need not exist.
    let (state, app) = match (watertight_model::config::load(&application.app, &overrides), state) {
        (Ok(config), _) => (config.state, Some(config.name.to_string())),
        (Err(_), Some(state)) => (state.clone(), None),
        (Err(problems), None) => return Err(problems.into()),
    };
    let RestoreReport { manifest, moved_to: moved } = backup::restore(from, &state, app.as_deref(), *replace)?;
    if let Some(moved) = moved {
        output::say(&format!("the previous content of the state folder was moved to {}", moved.display()));
    }
    let Manifest { app, generation, at, .. } = manifest;
    output::done(&format!(
        "{} now holds `{app}` as of {at}, generation {generation}. `watertight run` resumes it if the manifest and components have not \
         changed since then; `watertight run --published` resumes it in any case",
        state.display()
    ));
    Ok(())
}

/// Makes a path absolute, because the running host has another working directory.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is not a valid path", path.display()))
}
