//! `version`: what this binary is, and which WIT packages it serves. Also the generated files that a package of the binary brings along:
//! shell completions and manual pages.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use serde::Serialize;

use super::installed::overrides;
use super::{Cli, output};
use watertight_graph::graph::RESUME;
use watertight_model::config::capability::Declaration;
use watertight_model::ids::InterfaceName;

/// The name of the command, in completions and manual pages.
const NAME: &str = "watertight";

/// What `version --json` prints.
#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    /// The commit that the binary was built from, or `unknown`.
    commit: &'static str,
    /// The version of Wasmtime.
    wasmtime: &'static str,
    /// The capabilities that modules may be granted, and one named `lifecycle` that needs no grant.
    capabilities: Vec<Offer>,
}

/// A capability, with the WIT packages that the host serves for it.
#[derive(Debug, Serialize)]
struct Offer {
    name: String,
    /// Each package with its version, such as `watertight:sql@1.0.0`. The host serves all releases of a version with two numbers, such as
    /// `wasi:clocks@0.2`.
    packages: Vec<String>,
}

impl Version {
    fn of_this_binary() -> Self {
        let lifecycle: InterfaceName = RESUME.parse().expect("the host's own interface is well named");
        let mut capabilities = vec![Offer { name: "lifecycle".to_owned(), packages: vec![package(&lifecycle)] }];
        capabilities.extend(overrides().capabilities.all().iter().map(offer));
        capabilities.sort_by(|one, other| one.name.cmp(&other.name));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("WATERTIGHT_COMMIT"),
            wasmtime: env!("WATERTIGHT_WASMTIME"),
            capabilities,
        }
    }
}

fn offer(declaration: &Declaration) -> Offer {
    let own = declaration.interfaces.iter().map(package);
    let series = declaration.wasi.iter().map(|row| format!("{}@{}", row.package, row.series.trim_end_matches('.')));
    let mut packages: Vec<String> = own.chain(series).collect();
    packages.sort();
    packages.dedup();
    Offer { name: declaration.name.to_string(), packages }
}

/// Returns the package of an interface with its version, such as `watertight:sql@1.0.0`.
fn package(interface: &InterfaceName) -> String {
    let version = interface.as_str().split_once('@').map_or("", |(_, version)| version);
    format!("{}@{version}", interface.package())
}

/// Prints the version of this binary.
pub(super) fn version(json: bool) -> anyhow::Result<()> {
    let version = Version::of_this_binary();
    if json {
        return output::print_json(&version);
    }
    output::print(&format!("{NAME} {}\n", version.version));
    Ok(())
}

/// Prints a script that completes this command's arguments in a shell.
pub(super) fn completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    output::print(&String::from_utf8_lossy(&script));
}

/// Writes a manual page for each command into a folder, which is created if it is missing.
pub(super) fn write_manual(folder: &Path) -> anyhow::Result<()> {
    let failed = || format!("the manual pages can't be written to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).with_context(failed)
}
