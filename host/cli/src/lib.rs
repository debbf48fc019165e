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
mod explain;
mod fake;
mod inherited;
mod inspect;
mod installed;
mod malloc;
mod listeners;
mod log;
mod manager;
mod migrations;
mod module_log;
mod new;
mod openapi;
mod output;
mod record;
mod sdk;
mod serve;
mod signals;
mod test;
mod version;
mod wit;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use watertight_engine::compile::{CHILD_COMMAND, run_as_child};
use watertight_model::ids::{FunctionPath, ModuleName};
use watertight_store::capability::Capabilities;

/// Runs modular monoliths: WebAssembly modules behind WIT interfaces, in one process.
#[derive(Debug, Parser)]
#[command(
    name = "watertight",
    version,
    disable_version_flag = true,
    max_term_width = 100,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// Print the version.
    #[arg(short = 'V', long)]
    version: bool,
    /// With `--version`: print JSON, with the commit, Wasmtime's version and the WIT packages that the host serves.
    #[arg(long, requires = "version")]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an application, or add a module to one.
    New(new::NewArguments),
    /// Load an application and serve its routes until SIGTERM or Ctrl-C.
    Run(RunArguments),
    /// Build and serve an application, and repeat both whenever its sources change, until SIGTERM or Ctrl-C.
    Dev(DevArguments),
    /// Check an application and report every problem, without running it.
    Check(CheckArguments),
    /// List what answers which requests: routes, mounts, and middlewares in front of them.
    Routes(openapi::RoutesArguments),
    /// Print the OpenAPI 3.1 document of an application, without running it.
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApiArguments),
    /// Draw a graph of the modules and the calls between them.
    Graph(GraphArguments),
    /// Call a function of a module with JSON arguments: in the running host, or in this process if no host runs.
    ///
    /// If no host runs on the state folder, this process links the module with the modules that it calls, in the application that `run` would
    /// start. It opens their databases, applies the migrations that these lack, and makes the call. It publishes no generation, runs no other
    /// module, and serves no request.
    Call(CallArguments),
    /// Replace a module with another build of it while requests are served.
    Swap(change::SwapArguments),
    /// Replace the whole application with the manifest, routes and components on the disk.
    Apply(change::ApplyArguments),
    /// Return to the application of an earlier generation.
    Rollback(change::RollbackArguments),
    /// List the published generations, those that still drain, and the refused changes.
    Generations(change::GenerationsArguments),
    /// List the migrations of every module with a database: applied, pending, missing in the build, or in conflict with the applied ones.
    Migrations(migrations::MigrationsArguments),
    /// Copy all databases and the history of one moment into a folder, with or without a running host.
    Backup(backup::BackupArguments),
    /// Restore a backup into a state folder on which no host runs.
    Restore(backup::RestoreArguments),
    /// Print the log level of the running host, or set it until that host ends.
    Log(log::LogArguments),
    /// Print a component's imports, exports and embedded facts.
    Inspect(InspectArguments),
    /// Build modules from their sources to components.
    Build(BuildArguments),
    /// Put the library for authors in a language into the application, or renew it.
    Sdk(sdk::SdkArguments),
    /// Run the contract suites of modules: make calls, compare the answers, and check what the databases hold afterwards.
    Test(TestArguments),
    /// Print a first script for a fake of a module, made from its contract, or check one. `test` and `dev` take it with `--fake`.
    Fake(fake::FakeCommand),
    /// Print what this binary is. With `--json`, also its commit, Wasmtime's version and the WIT packages that it serves.
    Version {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a script that completes this command's arguments in a shell.
    Completions {
        /// Shell that reads the script.
        shell: Shell,
    },
    /// Write a manual page for each command into a folder. For packages.
    #[command(hide = true)]
    Man {
        /// Folder, which is created if it is missing.
        folder: PathBuf,
    },
    /// List the WIT packages of this host, put them into an application, and compare them with what is there.
    Wit(wit::WitArguments),
    /// Explain the code of a problem: what it means, how it comes about, and how it is mended.
    Explain(explain::ExplainArguments),
    /// Compile a component from standard input. For the host's own use.
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
    /// Address for client requests, instead of the manifest's. Port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS", env = "WATERTIGHT_LISTEN")]
    listen: Option<SocketAddr>,
    /// Address for the operator's requests (the admin listener).
    #[arg(long, value_name = "ADDRESS", env = "WATERTIGHT_ADMIN")]
    admin: Option<SocketAddr>,
    /// Address for probes: it serves only `/livez`, `/readyz` and `/metrics`. By default there is no such listener.
    #[arg(long, value_name = "ADDRESS", env = "WATERTIGHT_PROBE")]
    probe: Option<SocketAddr>,
    /// Token that requests to the admin listener must carry. By default, one is generated into the state folder.
    #[arg(long, env = "WATERTIGHT_ADMIN_TOKEN", hide = true, hide_env_values = true)]
    admin_token: Option<String>,
}

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    application: Application,
    #[command(flatten)]
    listeners: Listeners,
    /// State folder: databases, history, components and compiled code.
    #[arg(long, value_name = "FOLDER", env = "WATERTIGHT_STATE")]
    state: Option<PathBuf>,
    /// Run the application published last, whatever is on the disk. Without this and `--apply`, that application is resumed unless the
    /// manifest, routes or components on the disk have changed since it was published.
    #[arg(long, conflicts_with = "apply")]
    published: bool,
    /// Run the application on the disk, whatever was published last.
    #[arg(long)]
    apply: bool,
    /// Start this module with an empty database although its database is missing. Can be repeated. Without it, such a start is refused.
    #[arg(long, value_name = "MODULE")]
    accept_empty: Vec<ModuleName>,
    /// Collector that traces are sent to, by OTLP over HTTP, such as `http://127.0.0.1:4318`. Without it, no traces are recorded.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp: Option<String>,
    #[command(flatten)]
    no_fakes: fake::NoFakes,
}

#[derive(Debug, Args)]
struct DevArguments {
    #[command(flatten)]
    application: Application,
    #[command(flatten)]
    listeners: Listeners,
    /// State folder. By default it stands beside that of `run`, with `-dev` at the end of its name. A database in it is removed when an
    /// applied migration is edited, so it cannot be a folder that `run` has used.
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    #[command(flatten)]
    fakes: fake::FakeArguments,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    application: Application,
    #[command(flatten)]
    fakes: fake::FakeArguments,
    /// State folder, to compare migrations with its databases. It need not exist.
    #[arg(long, value_name = "FOLDER", env = "WATERTIGHT_STATE")]
    state: Option<PathBuf>,
    /// Compare with what clients know, and fail if a change breaks an operation for them: a published generation by its number, `current` for
    /// the last one, or a file that `watertight openapi` has written.
    #[arg(long, value_name = "GENERATION|FILE")]
    against: Option<String>,
    /// Also read the environment variables and files that configure modules, as a start does.
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
    #[command(flatten)]
    fakes: fake::FakeArguments,
    /// Output format.
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    format: GraphFormat,
    /// Short for `--format json`.
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
    /// Function to call: `MODULE/INTERFACE.FUNCTION`, or `MODULE.FUNCTION` if the module's world exports the function itself.
    function: FunctionPath,
    /// One JSON text for each parameter of the function.
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
    /// Modules to build, by name or by the name of their folder beside the manifest. By default, all modules of the application that are
    /// folders. A component file that another tool made gets what `--name`, `--language` and `--migrations` say.
    #[arg(value_name = "MODULE|FILE")]
    modules: Vec<String>,
    /// Module that the component file becomes.
    #[arg(long, value_name = "MODULE", requires = "language")]
    name: Option<ModuleName>,
    /// Language that the component file is made of, for people: `ocaml`.
    #[arg(long, value_name = "LANGUAGE", requires = "name")]
    language: Option<String>,
    /// Folder with the migrations that the component file is to carry.
    #[arg(long, value_name = "FOLDER", requires = "name")]
    migrations: Option<PathBuf>,
    #[command(flatten)]
    application: NamedApplication,
    /// Folder for the components, instead of `target/components` of the workspace.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Keep function names and source lines in the components.
    #[arg(long)]
    debug: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct TestArguments {
    /// Module of the application, component file, or built module folder beside the manifest. By default, every module of the application
    /// is tested.
    #[arg(value_name = "MODULE|FILE")]
    target: Option<String>,
    #[command(flatten)]
    application: NamedApplication,
    /// Test the components of the last build, instead of building them first.
    #[arg(long)]
    no_build: bool,
    /// Module that the component file stands for, if its exports do not tell.
    #[arg(long = "as", value_name = "MODULE", requires = "target")]
    module: Option<ModuleName>,
    #[command(flatten)]
    fakes: fake::FakeArguments,
    /// Write the first success of each function, and the first call of each error case, to `examples.json` beside the contract: examples for
    /// the OpenAPI document.
    #[arg(long)]
    record: bool,
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

/// Runs the command that the process's arguments name, in a host with these capabilities. A program that brings capabilities of its own
/// calls it as the only statement of its `main`.
///
/// Returns the process's exit code: 0 for success, 1 for a refusal or failure. Invalid arguments end the process with 2.
pub fn main(capabilities: Capabilities) -> ExitCode {
    malloc::bound_kept_memory();
    watertight_disk::failpoint::init();
    installed::install(capabilities);
    run(Cli::read())
}

fn run(cli: Cli) -> ExitCode {
    let Some(command) = cli.command else { return end(version::version(cli.json)) };
    let done = match command {
        Command::New(arguments) => new::new(&arguments),
        Command::Run(arguments) => serve::run(arguments),
        Command::Dev(arguments) => dev::dev(arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Routes(arguments) => openapi::routes(&arguments),
        Command::OpenApi(arguments) => openapi::openapi(&arguments),
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
        Command::Sdk(arguments) => sdk::sdk(&arguments),
        Command::Test(arguments) => test::test(&arguments),
        Command::Fake(arguments) => fake::fake(&arguments),
        Command::Version { json } => version::version(json),
        Command::Completions { shell } => {
            version::completions(shell);
            Ok(())
        }
        Command::Man { folder } => version::write_manual(&folder),
        Command::Wit(arguments) => wit::wit(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Compile { profile, priority, memory, output } => {
            run_as_child(&profile, &priority, memory, &output).map_err(anyhow::Error::msg)
        }
    };
    end(done)
}

fn end(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::report(&error);
            ExitCode::FAILURE
        }
    }
}
