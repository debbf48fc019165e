//! Reads the text of the manifest: everything that needs no other file.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::capability::Declarations;
use super::compile_limits::CompileLimits;
use super::cors::DoorConfig;
use super::json::JsonStyle;
use super::modules::{CompartmentConfig, DeclaredModules, Folders, ModuleConfig, read_compartments, read_modules};
use super::partial::UncertainParts;
use super::route::UnknownInput;
use super::settings::{Defaults, HttpLimits, LogConfig};
use super::source::LocatedValue;
use super::telemetry::TracingConfig;
use super::tree::{Table, Value};
use crate::ids::{AppName, CompartmentName, ModuleName};

/// The content of a manifest. A part with a fault has its default value here, and the fault is reported.
pub(super) struct Manifest {
    pub(super) app: App,
    pub(super) modules: BTreeMap<ModuleName, ModuleConfig>,
    /// The names of all modules, those with faults included.
    pub(super) declared: DeclaredModules,
    pub(super) compartments: BTreeMap<CompartmentName, CompartmentConfig>,
    pub(super) defaults: Defaults,
    pub(super) http: HttpLimits,
    /// The other keys of the table `[http]`.
    pub(super) door: DoorConfig,
    pub(super) log: LogConfig,
    pub(super) compile: CompileLimits,
    pub(super) telemetry: TracingConfig,
    /// How routes write JSON unless they say otherwise: the table `[json]`.
    pub(super) json: JsonStyle,
    /// The parts of the manifest that can't be known because of faults.
    pub(super) uncertain: UncertainParts,
}

/// The table `[app]`.
#[derive(Default)]
pub(super) struct App {
    /// The name of the application. `None` means that it is missing or has a fault; this is reported.
    pub(super) name: Option<AppName>,
    pub(super) listen: Option<LocatedValue<SocketAddr>>,
    pub(super) admin: Option<LocatedValue<SocketAddr>>,
    pub(super) probe: Option<LocatedValue<SocketAddr>>,
    pub(super) state: Option<String>,
    /// The globs that find route files: the key `routes`.
    pub(super) routes: Vec<LocatedValue<String>>,
    /// The globs that find files with examples of calls: the key `examples`.
    pub(super) examples: Vec<LocatedValue<String>>,
    /// What happens to request input that no route binds: the key `unknown_input`.
    pub(super) unknown_input: UnknownInput,
    /// The line of the table `[app]` in the manifest, counted from 1.
    pub(super) line: u32,
}

impl Manifest {
    /// Reads the manifest from its outermost table.
    pub(super) fn read(table: &mut Table<'_>, folders: &Folders, capabilities: &Declarations) -> Self {
        let app = table.required("app").and_then(|value| value.table(App::read));
        let modules =
            table.required("modules").and_then(|value| value.table(|t| read_modules(t, folders, capabilities)));
        let (modules, declared, mut uncertain) = modules.unwrap_or_default();
        let before = table.reported();
        let defaults =
            table.optional("defaults").and_then(|value| value.table(|t| Defaults::read(t, Defaults::default())));
        let defaults = defaults.unwrap_or_default();
        let compartments = table.optional("compartments");
        let compartments = compartments.and_then(|value| value.table(|t| read_compartments(t, &declared, defaults)));
        uncertain.placement = table.reported() > before;
        let http = table
            .optional("http")
            .and_then(|value| value.table(|t| (HttpLimits::read(t), DoorConfig::read(t))))
            .unwrap_or_default();
        let log = table.optional("log").and_then(|value| value.table(LogConfig::read));
        let compile = table.optional("compile").and_then(|value| value.table(CompileLimits::read));
        let telemetry = table.optional("telemetry").and_then(|value| value.table(TracingConfig::read));
        let json = JsonStyle::read(table, JsonStyle::default());
        Self {
            app: app.unwrap_or_default(),
            modules,
            declared,
            compartments: compartments.unwrap_or_default(),
            defaults,
            http: http.0,
            door: http.1,
            log: log.unwrap_or_default(),
            compile: compile.unwrap_or_default(),
            telemetry: telemetry.unwrap_or_default(),
            json,
            uncertain,
        }
    }
}

impl App {
    fn read(table: &mut Table<'_>) -> Self {
        let name = table.required("name").and_then(|value| value.parse::<AppName>());
        let state = table.optional("state").and_then(|value| {
            let text = value.string()?;
            if text.is_empty() {
                value.refuse("the text is empty; write the path of a folder");
            }
            Some(text.to_owned())
        });
        let mut globs = |key: &'static str| -> Vec<LocatedValue<String>> {
            let globs = table.optional(key).and_then(|value| value.list()).unwrap_or_default();
            globs.iter().filter_map(|value| Some(value.at(value.string()?.to_owned()))).collect()
        };
        let (routes, examples) = (globs("routes"), globs("examples"));
        Self {
            name: name.map(|name| name.value),
            listen: table.optional("listen").and_then(|value| read_address(&value)),
            admin: table.optional("admin").and_then(|value| read_address(&value)),
            probe: table.optional("probe").and_then(|value| read_address(&value)),
            state,
            routes,
            examples,
            unknown_input: table.word("unknown_input", UnknownInput::default()),
            line: table.line(),
        }
    }
}

fn read_address(value: &Value<'_>) -> Option<LocatedValue<SocketAddr>> {
    let text = value.string()?;
    let address = text.parse().map(|address| value.at(address)).ok();
    if address.is_none() {
        value.refuse(format_args!(
            "`{text}` is not an IP address with a port, such as `127.0.0.1:8080` or `[::1]:8080`"
        ));
    }
    address
}
