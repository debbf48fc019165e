//! The command line: its commands, arguments and options.
//!
//! Arguments are parsed into checked values here; the other crates know nothing of flags.

mod backup;
mod build;
mod call;
mod change;
mod check;
mod client;
mod dev;
mod inspect;
mod listeners;
mod log;
mod migrations;
mod module_log;
mod output;
mod serve;
mod signals;
mod test;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use watertight_engine::compile::{CHILD_COMMAND, run_as_child};
use watertight_model::ids::{FunctionPath, ModuleName};

/// Runs modular monoliths: WebAssembly modules behind WIT interfaces, in one process.
#[derive(Debug, Parser)]
#[command(name = "watertight", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load an application and serve it until SIGTERM or Ctrl-C.
    Run(RunArguments),
    /// Build and serve an application, and do both again for whatever changes in its sources, until SIGTERM or Ctrl-C.
    Dev(DevArguments),
    /// Say everything that is wrong with an application, without running it.
    Check(CheckArguments),
    /// Draw who calls whom.
    Graph(GraphArguments),
    /// Call a function of a module with JSON: in the running host, or in this process where none runs.
    Call(CallArguments),
    /// Put another build of a module in place while requests flow.
    Swap(change::SwapArguments),
    /// Put a whole application in place: its manifest, routes and components as they stand on the disk.
    Apply(change::ApplyArguments),
    /// Go back to what an earlier generation ran.
    Rollback(change::RollbackArguments),
    /// List what was published, what still drains, and what was refused.
    Generations(change::GenerationsArguments),
    /// List the migrations of every module with a database: applied, pending, unknown to its build, or not what was applied.
    Migrations(migrations::MigrationsArguments),
    /// Copy all databases and the history into a folder, as they are at one moment: while the host serves, or without one.
    Backup(backup::BackupArguments),
    /// Put a backup into a state folder on which no host runs.
    Restore(backup::RestoreArguments),
    /// Say what the running host logs, or set it until it ends.
    Log(log::LogArguments),
    /// Tell what a component imports, exports and carries.
    Inspect(InspectArguments),
    /// Compile modules and make their components.
    Build(BuildArguments),
    /// Run the contract suites that concern a module: calls, answers, and what its database holds then.
    Test(TestArguments),
    /// Compile a component from standard input: for the host's own use.
    #[command(name = CHILD_COMMAND, hide = true)]
    Compile { profile: String, priority: String, memory: u64, output: PathBuf },
}

/// The application that a command works on, as the first argument.
#[derive(Debug, Args)]
struct Application {
    /// The manifest, or a folder that holds `app.toml` or `modules/app.toml`.
    #[arg(value_name = "APP", default_value = ".")]
    app: PathBuf,
}

/// The application that a command works on, as an option: for commands whose first argument is something else.
#[derive(Debug, Args)]
struct NamedApplication {
    /// The manifest, or a folder that holds `app.toml` or `modules/app.toml`.
    #[arg(long, value_name = "APP", default_value = ".")]
    app: PathBuf,
}

/// The addresses on which a host listens.
#[derive(Debug, Args)]
struct Listeners {
    /// Where requests come in, instead of what the manifest says. Port 0 takes any that is free.
    #[arg(long, value_name = "ADDRESS", env = "WATERTIGHT_LISTEN")]
    listen: Option<SocketAddr>,
    /// Where the operator comes in.
    #[arg(long, value_name = "ADDRESS", env = "WATERTIGHT_ADMIN")]
    admin: Option<SocketAddr>,
    /// Where probes come in, if anywhere: `/livez`, `/readyz` and `/metrics` alone.
    #[arg(long, value_name = "ADDRESS", env = "WATERTIGHT_PROBE")]
    probe: Option<SocketAddr>,
    /// What the admin listener wants to hear; without it, a token is generated into the state folder.
    #[arg(long, env = "WATERTIGHT_ADMIN_TOKEN", hide = true, hide_env_values = true)]
    admin_token: Option<String>,
}

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    application: Application,
    #[command(flatten)]
    listeners: Listeners,
    /// The folder of everything that lasts.
    #[arg(long, value_name = "FOLDER", env = "WATERTIGHT_STATE")]
    state: Option<PathBuf>,
    /// Run what was published last, whatever stands on the disk. Without this and `--apply`, that is resumed unless the disk has other
    /// manifests, routes or components than when it was published.
    #[arg(long, conflicts_with = "apply")]
    published: bool,
    /// Run what stands on the disk, whatever was published last.
    #[arg(long)]
    apply: bool,
    /// Begin with an empty database for this module although its own is missing; may be given again. Without it such a start is refused.
    #[arg(long, value_name = "MODULE")]
    accept_empty: Vec<ModuleName>,
    /// Where spans are sent, by OTLP over HTTP, such as `http://127.0.0.1:4318`; without it, none are made.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp: Option<String>,
}

#[derive(Debug, Args)]
struct DevArguments {
    #[command(flatten)]
    application: Application,
    #[command(flatten)]
    listeners: Listeners,
    /// The folder of everything that lasts, instead of one beside that of `run`, with `-dev` at its name's end. Databases in it are
    /// removed where their applied migrations are edited; so it can't be one that `run` has used.
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    application: Application,
    /// The folder of everything that lasts: which migrations its databases have. It need not be there.
    #[arg(long, value_name = "FOLDER", env = "WATERTIGHT_STATE")]
    state: Option<PathBuf>,
    /// Look for the variables and files too that modules are configured with, as a start does.
    #[arg(long)]
    env: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct GraphArguments {
    #[command(flatten)]
    application: Application,
    /// How to draw it.
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    format: GraphFormat,
    /// The same as `--format json`.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GraphFormat {
    Text,
    Mermaid,
    Dot,
    Json,
}

#[derive(Debug, Args)]
struct CallArguments {
    /// The function: `MODULE/INTERFACE.FUNCTION`, or `MODULE.FUNCTION` where the module's world exports it itself.
    function: FunctionPath,
    /// One JSON text for each parameter.
    #[arg(value_name = "JSON")]
    arguments: Vec<String>,
    #[command(flatten)]
    application: NamedApplication,
    #[command(flatten)]
    host: client::HostArguments,
    /// Print the result on one line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct InspectArguments {
    /// A module of the application, or a component file.
    #[arg(value_name = "MODULE|FILE")]
    target: String,
    #[command(flatten)]
    application: NamedApplication,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct BuildArguments {
    /// The modules, by their names or by their folders beside the manifest; all of the application that are folders, where none is
    /// named.
    #[arg(value_name = "MODULE")]
    modules: Vec<String>,
    #[command(flatten)]
    application: NamedApplication,
    /// Where components go, instead of `target/components` of the workspace.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Keep the names and lines of the source in the code.
    #[arg(long)]
    debug: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct TestArguments {
    /// A module of the application, a component file, or a folder beside the manifest that was built; every module of the
    /// application where nothing is named.
    #[arg(value_name = "MODULE|FILE")]
    target: Option<String>,
    #[command(flatten)]
    application: NamedApplication,
    /// Test the components as they were last built, instead of building them first.
    #[arg(long)]
    no_build: bool,
    /// The module that a file stands for, where its exports don't tell.
    #[arg(long = "as", value_name = "MODULE", requires = "target")]
    module: Option<ModuleName>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Parses the process's arguments. If they are invalid, prints why and ends the process with exit code 2.
    pub fn read() -> Self {
        Self::parse_from(std::env::args_os().map(argument))
    }
}

/// Protects a negative JSON number from being parsed as an option: it puts a space before the number, which does not change its value.
fn argument(text: OsString) -> OsString {
    let number = text.to_str().filter(|text| text.starts_with('-'));
    match number.filter(|text| serde_json::from_str::<serde_json::Number>(text).is_ok()) {
        Some(number) => format!(" {number}").into(),
        None => text,
    }
}

/// Runs a command. Returns the process's exit code: 0 for success, 1 for a refusal or failure.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Run(arguments) => serve::run(arguments),
        Command::Dev(arguments) => dev::dev(arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Graph(arguments) => check::graph(&arguments),
        Command::Call(arguments) => call::call(&arguments),
        Command::Swap(arguments) => change::swap(&arguments),
        Command::Apply(arguments) => change::apply(&arguments),
        Command::Rollback(arguments) => change::rollback(&arguments),
        Command::Generations(arguments) => change::generations(&arguments),
        Command::Migrations(arguments) => migrations::migrations(&arguments),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Log(arguments) => log::log(&arguments),
        Command::Inspect(arguments) => inspect::inspect(&arguments),
        Command::Build(arguments) => build::build(&arguments),
        Command::Test(arguments) => test::test(&arguments),
        Command::Compile { profile, priority, memory, output } => {
            run_as_child(&profile, &priority, memory, &output).map_err(anyhow::Error::msg)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::report(&error);
            ExitCode::FAILURE
        }
    }
}
