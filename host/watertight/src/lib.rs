//! Watertight: a runtime for modular monoliths.
//!
//! An application is a set of modules, each a separately compiled WebAssembly component. The host loads them, links them through
//! their WIT interfaces and nothing else, gives each its own data and its own identity, and routes HTTP to them.
//!
//! This crate is what programs embed. It has three parts:
//!
//! - [`main`] is the whole command line, `watertight`, with capabilities of your own.
//! - [`capability`] is what a capability is made of.
//! - [`Embedding`] starts an [`Application`] inside of another program, without listeners.
//!
//! # A host with a capability of its own
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use watertight::capability::Capabilities;
//!
//! fn main() -> ExitCode {
//!     // `Capabilities::with([…])` adds capabilities to the built-in ones.
//!     watertight::main(Capabilities::default())
//! }
//! ```
//!
//! The folder `host/examples/rates` of the repository is a complete example.
//!
//! The layers of the host are crates of their own: see `host/ARCHITECTURE.md`.

mod embedded;

/// What a capability is made of: its trait, its declaration, and what its functions get from the host.
///
/// ```
/// use std::sync::Arc;
///
/// use watertight::capability::{Capabilities, Capability, CapabilityLinker, Declaration, InstanceState, ModuleIndex};
/// use watertight::wasmtime::{self, component::HasSelf};
///
/// mod bindings {
///     watertight::wasmtime::component::bindgen!({
///         inline: "package acme:dice@1.0.0; interface dice { sides: func() -> u32; } world host { import dice; }",
///         wasmtime_crate: watertight::wasmtime,
///         named_imports: { "acme:dice/dice@1.0.0": watertight::capability::ModuleIndex },
///     });
/// }
/// use bindings::named_imports::acme::dice::dice;
///
/// struct Dice;
///
/// impl Capability for Dice {
///     fn declaration(&self) -> Declaration {
///         Declaration::new("dice".parse().expect("a name"))
///             .interface("acme:dice/dice@1.0.0".parse().expect("a name"))
///             .wit("package acme:dice@1.0.0; interface dice { sides: func() -> u32; }")
///     }
///
///     fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
///         let (linker, component, module) = linker.named();
///         dice::add_to_linker::<_, HasSelf<_>>(linker, component, module, |state| state)
///     }
/// }
///
/// impl dice::Host for InstanceState {
///     fn sides(&mut self, _caller: ModuleIndex) -> u32 {
///         6
///     }
/// }
///
/// let capabilities = Capabilities::with([Arc::new(Dice) as Arc<dyn Capability>])?;
/// assert!(capabilities.declarations().all().iter().any(|declaration| declaration.name.as_str() == "dice"));
/// # Ok::<(), watertight::capability::DeclarationError>(())
/// ```
pub mod capability {
    pub use watertight_model::config::capability::{
        Declaration, DeclarationError, Declarations, ReadSettings, SettingsValue,
    };
    pub use watertight_model::config::{AppConfig, Limits, ModuleConfig, ModuleValues, Table, Value};
    pub use watertight_model::ids::{CapabilityName, InterfaceName, ModuleName};
    pub use watertight_model::problem::{Code, Problem, Problems};
    pub use watertight_sql::Database;
    pub use watertight_store::capability::{Capabilities, Capability, CapabilityLinker, ModuleContext};
    pub use watertight_store::{CallContext, InstanceState, ModuleIndex, SharedData, StoreState};
    pub use watertight_telemetry::Telemetry;
    pub use watertight_telemetry::table::LimitKind;
}

pub use embedded::{Application, Embedding, run_as_compiler};
/// The version of Wasmtime that the host runs. Bindings of a capability must be generated for this one: give `bindgen!` the option
/// `wasmtime_crate: watertight::wasmtime`.
pub use wasmtime;
pub use watertight_cli::main;
pub use watertight_control::control::Control;
pub use watertight_control::invoke::InvokeError;
pub use watertight_edge::http::DataListener;
pub use watertight_model::problem::{Code, Problem, Problems};
