//! `wit`: the WIT packages that the host offers, in and for an application.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::NamedApplication;
use super::installed::overrides;
use super::output::{self, AlreadyReported};
use watertight_author::wit::{self, Packages};
use watertight_model::config;

#[derive(Debug, Args)]
pub(super) struct WitArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the packages that this host offers: name, version, and the word that `uses` needs.
    List(ListArguments),
    /// Put packages into `wit/deps`, with all that they use.
    Add(AddArguments),
    /// Write the packages in `wit/deps` anew that are not what this host serves, and those that `wkg.toml` names and that are missing.
    Update(NamedApplication),
    /// Compare the packages in `wit/deps` with what this host serves.
    Check(NamedApplication),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct AddArguments {
    /// Packages to add: `sql`, `wasi:http` or `wasi:http@0.3.0`.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    application: NamedApplication,
}

/// A package of the host, as `wit list` prints it.
#[derive(Serialize)]
struct Row {
    package: String,
    version: String,
    /// The capability that `uses` must grant. `None` if a module needs no grant.
    grant: Option<String>,
}

pub(super) fn wit(arguments: &WitArguments) -> anyhow::Result<()> {
    let packages = Packages::of(&overrides().capabilities);
    match &arguments.what {
        What::List(arguments) => list(&packages, arguments.json),
        What::Add(arguments) => add(&packages, arguments),
        What::Update(application) => update(&packages, application),
        What::Check(application) => check(&packages, application),
    }
}

fn list(packages: &Packages, json: bool) -> anyhow::Result<()> {
    let row = |package: &wit::Package| Row {
        package: package.unversioned(),
        version: package.name.version.as_ref().map(ToString::to_string).unwrap_or_default(),
        grant: package.grant.clone(),
    };
    let rows: Vec<Row> = packages.iter().map(row).collect();
    if json {
        return output::print_json(&rows);
    }
    output::print(&format!("{:<22} {:<14} uses\n", "package", "version"));
    for Row { package, version, grant } in rows {
        output::print(&format!("{package:<22} {version:<14} {}\n", grant.as_deref().unwrap_or("(no grant needed)")));
    }
    Ok(())
}

fn add(packages: &Packages, arguments: &AddArguments) -> anyhow::Result<()> {
    let config = config::load_manifest(&arguments.application.app, &overrides())?;
    let added = wit::add(&config.workspace, packages, &arguments.names)?;
    if added.is_empty() {
        output::same("all of it is in wit/deps already");
    }
    for name in added {
        output::done(&format!("added {name} to wit/deps"));
    }
    Ok(())
}

fn update(packages: &Packages, application: &NamedApplication) -> anyhow::Result<()> {
    let config = config::load_manifest(&application.app, &overrides())?;
    let changed = wit::update(&config.workspace, packages)?;
    for name in &changed {
        output::done(&format!("wrote {name} to wit/deps"));
    }
    let left = wit::check(&config.workspace, packages);
    if left.is_empty() && changed.is_empty() {
        output::same("wit/deps is what this host serves");
    }
    report(&left, "remove what this host does not serve, or run a host that does")
}

fn check(packages: &Packages, application: &NamedApplication) -> anyhow::Result<()> {
    let config = config::load_manifest(&application.app, &overrides())?;
    let broken = wit::broken(&config.workspace);
    for wit::Broken { folder, message } in &broken {
        output::failed(&format!("`{}` is no valid package: {message}", folder.display()));
    }
    let findings = wit::check(&config.workspace, packages);
    report(&findings, "`watertight wit update` writes what this host serves")?;
    if !broken.is_empty() {
        output::say("help: remove the folder; `watertight wit update` writes packages that `wkg.toml` names");
        return Err(AlreadyReported.into());
    }
    output::done("wit/deps is what this host serves");
    Ok(())
}

/// Reports findings with advice.
///
/// # Errors
///
/// There are findings.
fn report(findings: &[wit::Finding], advice: &str) -> anyhow::Result<()> {
    for finding in findings {
        output::failed(&finding.to_string());
    }
    if findings.is_empty() {
        return Ok(());
    }
    output::say(&format!("help: {advice}"));
    Err(AlreadyReported.into())
}
