//! An application inside of another program.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tokio::task::JoinHandle;

use watertight_control::application::Host;
use watertight_control::control::{Control, StartPlan, StartSource};
use watertight_control::invoke::{Caller, InvokeError, invoke};
use watertight_control::state::StateFolder;
use watertight_engine::compile::{CHILD_COMMAND, run_as_child};
use watertight_model::config::{self, Overrides};
use watertight_model::ids::FunctionPath;
use watertight_model::problem::{Code, Problem, Problems, with_causes};
use watertight_store::capability::Capabilities;

/// How an application is started inside of another program.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use watertight::Embedding;
///
/// fn main() -> ExitCode {
///     // The program's own binary also compiles modules, in processes of their own.
///     if let Some(code) = watertight::run_as_compiler() {
///         return code;
///     }
///     let runtime = tokio::runtime::Runtime::new().expect("the system has threads");
///     match runtime.block_on(greet()) {
///         Ok(()) => ExitCode::SUCCESS,
///         Err(error) => {
///             eprintln!("{error}");
///             ExitCode::FAILURE
///         }
///     }
/// }
///
/// async fn greet() -> Result<(), Box<dyn std::error::Error>> {
///     let application = Embedding::new("modules", "state").start().await?;
///     let greeting = application.call("greeter/greet.hello", &["\"Ada\""]).await?;
///     println!("{greeting}");
///     application.close().await;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Embedding {
    manifest: PathBuf,
    state: PathBuf,
    capabilities: Capabilities,
    compiler: Option<PathBuf>,
}

impl Embedding {
    /// Creates the settings for the application at `manifest`, which is the manifest or its folder. `state` is the folder for databases,
    /// history and compiled code; it is created if it is missing, and no other process may use it.
    pub fn new(manifest: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        let capabilities = Capabilities::default();
        Self { manifest: manifest.into(), state: state.into(), capabilities, compiler: None }
    }

    /// Sets the capabilities that modules may be granted, instead of the built-in ones alone.
    #[must_use]
    pub fn capabilities(self, capabilities: Capabilities) -> Self {
        Self { capabilities, ..self }
    }

    /// Sets the binary that compiles modules, in a process of its own: `watertight` of the same version, or a program that calls
    /// [`run_as_compiler`]. By default, it is the current executable, which must then call that function itself.
    #[must_use]
    pub fn compiler(self, program: impl Into<PathBuf>) -> Self {
        Self { compiler: Some(program.into()), ..self }
    }

    /// Checks the application, compiles it, applies its migrations and starts its modules. Unfinished work is resumed first. Must run inside
    /// a tokio runtime with several threads.
    ///
    /// # Errors
    ///
    /// Returns all problems of the application, each with its code, its place and what helps.
    pub async fn start(self) -> Result<Application, Problems> {
        if compiler_arguments(std::env::args_os()).is_some() {
            // Without this, such a program would start itself again and again.
            let problem =
                Problem::new(Code::Compile, "this process was started to compile a module, and starts an application");
            let help = "let the program's `main` begin with `watertight::run_as_compiler`, or name another binary with `Embedding::compiler`";
            return Err(problem.help(help).into());
        }
        let Self { manifest, state, capabilities, compiler } = self;
        let failed = |error: &dyn std::fmt::Display| Problem::new(Code::State, error.to_string());
        let started = tokio::task::spawn_blocking(move || {
            let declarations = capabilities.declarations().clone();
            let overrides =
                Overrides { state: Some(state.clone()), capabilities: declarations, ..Overrides::default() };
            let config = config::load(&manifest, &overrides)?;
            let state = StateFolder::open(&state).map_err(|error| failed(&with_causes(&error)))?;
            let plan = StartPlan::find(config, manifest, &overrides, state, StartSource::Newest)?;
            let compiler = compiler.map_or_else(std::env::current_exe, Ok).map_err(|error| failed(&error))?;
            let drain = plan.config().http.drain;
            Ok::<_, Problems>((plan.start(&Host { capabilities, ..Host::with_program(compiler) })?, drain))
        });
        let (control, drain) = started.await.unwrap_or_else(|error| Err(failed(&error).into()))?;
        control.runtime().current().resume().await;
        let control = Arc::new(control);
        let background = tokio::spawn(maintain(control.clone()));
        Ok(Application { control, drain, background })
    }
}

/// An application that runs inside of another program, without listeners.
///
/// While it lives, it also calls the modules' `resume` on their schedule, and watches that the databases are not removed.
pub struct Application {
    control: Arc<Control>,
    /// How long [`Self::close`] waits for calls.
    drain: Duration,
    background: JoinHandle<Infallible>,
}

/// Does what a host does beside serving, for as long as it is polled.
async fn maintain(control: Arc<Control>) -> Infallible {
    tokio::select! {
        never = control.clone().watch() => never,
        never = control.runtime().clone().recover() => never,
    }
}

impl Application {
    /// Calls a function, such as `greeter/greet.hello`, with one JSON text for each parameter. Trailing optional parameters may be left
    /// out.
    ///
    /// Returns the result as JSON: `{"ok": …}` or `{"err": …}` if the function returns a `result`, and `null` if it returns nothing. A call
    /// that has begun runs to its end, even if the returned future is dropped.
    ///
    /// # Errors
    ///
    /// Returns [`InvokeError`] if the function does not exist, the arguments do not fit, or the call fails.
    pub async fn call(&self, function: &str, arguments: &[&str]) -> Result<Box<RawValue>, InvokeError> {
        let path: FunctionPath = function.parse().map_err(|error| InvokeError::NotFound(format!("{error}")))?;
        invoke(&self.control.runtime().current(), &path, arguments, Caller::concurrent("embedded")).await
    }

    /// Returns the control of the application: it swaps modules, rolls back, and serves requests through
    /// [`DataListener`](crate::DataListener).
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Waits until all calls have ended, at most for the manifest's `http.drain`, and closes the databases. No call may begin meanwhile.
    pub async fn close(self) {
        self.control.runtime().finish(Instant::now() + self.drain).await;
        self.control.close().await;
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.background.abort();
    }
}

/// Compiles a component, if this process was started for that. Returns the exit code with which the process must end then.
///
/// A program that uses [`Embedding`] with its own binary as the compiler calls this as the first statement of its `main`. [`main`](crate::main)
/// does so itself.
pub fn run_as_compiler() -> Option<ExitCode> {
    let [profile, priority, memory, output] = compiler_arguments(std::env::args_os())?;
    let compiled = match (profile.to_str(), priority.to_str(), memory.to_str().and_then(|memory| memory.parse().ok())) {
        (Some(profile), Some(priority), Some(memory)) => run_as_child(profile, priority, memory, output.as_ref()),
        _ => Err("the arguments of the compiling process are not valid".to_owned()),
    };
    Some(match compiled {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // The parent process reads the reason from standard error.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), reason.as_bytes());
            ExitCode::FAILURE
        }
    })
}

/// Returns what a process must compile and how, if a host started it with `arguments` to compile a component.
fn compiler_arguments(arguments: impl Iterator<Item = OsString>) -> Option<[OsString; 4]> {
    let [command, rest @ ..]: [OsString; 5] = arguments.skip(1).collect::<Vec<_>>().try_into().ok()?;
    (command == CHILD_COMMAND).then_some(rest)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn a_process_that_compiles_is_told_by_its_arguments() {
        let found = |arguments: &[&[u8]]| {
            compiler_arguments(arguments.iter().map(|argument| OsString::from_vec(argument.to_vec())))
        };
        // Paths need not be UTF-8, neither those of a state folder nor those that a program itself is given.
        let output = b"state\xff/code/1";
        let compiling = found(&[b"program", CHILD_COMMAND.as_bytes(), b"reuse", b"low", b"1000", output]);
        assert_eq!(compiling.map(|[.., output]| output.into_vec()), Some(output.to_vec()));
        for other in [&[b"program".as_slice()][..], &[b"program", b"\xff"], &[b"program", CHILD_COMMAND.as_bytes()]] {
            assert!(found(other).is_none());
        }
    }
}
