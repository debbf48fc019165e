//! The capabilities of this process. A program has one set of them, for all commands.

use std::sync::{Arc, OnceLock};

use anyhow::Context as _;

use watertight_control::application::Host;
use watertight_control::state::StateFolder;
use watertight_model::config::{AppConfig, Overrides};
use watertight_store::capability::{Capabilities, StandIns};
use watertight_suite::suite;

static INSTALLED: OnceLock<Capabilities> = OnceLock::new();

static STAND_INS: OnceLock<Arc<dyn StandIns>> = OnceLock::new();

/// Sets what answers the calls of faked modules in this process. Only the first call counts.
pub(super) fn install_stand_ins(stand_ins: Arc<dyn StandIns>) {
    let _ = STAND_INS.set(stand_ins);
}

/// Sets the capabilities of this process. Only the first call counts.
pub(super) fn install(capabilities: Capabilities) {
    // A second set would mean a second `run` in one process, which keeps the first set.
    let _ = INSTALLED.set(capabilities);
}

fn installed() -> &'static Capabilities {
    INSTALLED.get_or_init(Capabilities::default)
}

/// Returns configuration overrides that declare this process's capabilities and override nothing else.
pub(super) fn overrides() -> Overrides {
    Overrides { capabilities: installed().declarations().clone(), ..Overrides::default() }
}

/// Returns what an application needs of its host, with this process's capabilities. The commands that compile the same application take code
/// from each other.
///
/// # Errors
///
/// Fails if the process can't find its own binary.
pub(super) fn new_host(config: &AppConfig) -> anyhow::Result<Host> {
    let host = Host::new().context("the host can't find its own binary")?;
    let capabilities = match STAND_INS.get() {
        Some(stand_ins) => installed().clone().with_stand_ins(stand_ins.clone()),
        None => installed().clone(),
    };
    let mut code = vec![suite::code_folder(&config.workspace)];
    code.extend(StateFolder::code_beside(&config.state));
    Ok(Host { capabilities, code, ..host })
}
