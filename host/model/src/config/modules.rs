//! Reads the modules and compartments of a manifest.
//!
//! This file reads no component. Whether a component exists, and what it needs, is checked where it is loaded.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::calls::AllowedCalls;
use super::capability::{Declarations, Settings, SettingsValue};
use super::partial::UncertainParts;
use super::settings::{Defaults, Instances, Limits};
use super::source::LocatedValue;
use super::tree::{Table, Value};
use super::values::{SecretSource, ValueSource, read_config, read_secrets};
use crate::ids::{CapabilityName, CompartmentName, ModuleName};
use crate::problem::{Code, Problem, list_names};

/// The keys that every table `[modules.NAME]` may have. Each other key there names a capability, whose settings it holds.
const KEYS: [&str; 6] = ["component", "calls", "uses", "config", "secrets", "resume"];

/// Whether every module has a key of that name, so that no capability can have it.
pub(super) fn is_module_key(key: &str) -> bool {
    KEYS.contains(&key)
}

/// The place of a module's component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentSource {
    /// `component = "greet"`: a module folder beside the manifest, which `watertight build` compiles.
    Folder {
        /// The folder of the module's sources.
        folder: PathBuf,
        /// The component that a build writes: `target/components/FOLDER.wasm` in the workspace.
        component: PathBuf,
    },
    /// `component = "built/greet.wasm"`: a file, relative to the manifest.
    File(PathBuf),
}

impl ComponentSource {
    /// Returns the path of the component's file.
    pub fn file(&self) -> &Path {
        match self {
            Self::Folder { component, .. } => component,
            Self::File(file) => file,
        }
    }

    fn read(value: &Value<'_>, folders: &Folders) -> Option<LocatedValue<Self>> {
        let text = value.string()?;
        if text.ends_with(".wasm") {
            return Some(value.at(Self::File(folders.root.join(text))));
        }
        // Only a single name is allowed: folders of the same name in different places would share one component file.
        let mut parts = Path::new(text).components();
        if let (Some(Component::Normal(name)), None) = (parts.next(), parts.next()) {
            let component = folders.components.join(name).with_added_extension("wasm");
            return Some(value.at(Self::Folder { folder: folders.root.join(name), component }));
        }
        value.refuse(format_args!("`{text}` is neither the name of a folder beside the manifest nor a `.wasm` file"));
        None
    }
}

/// The folders that relative paths in a manifest start from.
pub(super) struct Folders {
    /// The folder of the manifest.
    pub(super) root: PathBuf,
    /// The workspace: the folder that holds `wit`.
    pub(super) workspace: PathBuf,
    /// The folder that holds built components, such as `target/components` in the workspace.
    pub(super) components: PathBuf,
}

/// The table `[modules.NAME]`: one module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleConfig {
    /// The place of the module's component.
    pub component: LocatedValue<ComponentSource>,
    /// The modules that this module may call, and which of them serves which import. Default: none.
    pub calls: AllowedCalls,
    /// The capabilities that the module is granted, each with its line. Default: none.
    pub uses: BTreeMap<CapabilityName, u32>,
    /// The sources of the module's configuration values, by key. Default: none.
    pub config: BTreeMap<String, LocatedValue<ValueSource>>,
    /// The sources of the module's secrets, by key. Default: none.
    pub secrets: BTreeMap<String, LocatedValue<SecretSource>>,
    /// The module's settings for each capability that has settings, such as `http`. A capability's table that is missing gives its default
    /// settings.
    pub settings: BTreeMap<CapabilityName, Settings>,
    /// The time between two calls of the module's function `resume` while the host serves, if the module exports it. Default: 1 minute.
    /// `None`, written `off`, means that the host calls `resume` only when it starts.
    pub resume: Option<Duration>,
    /// Whether a fake answers the module's calls: see [`Overrides::fakes`](super::Overrides::fakes).
    pub is_fake: bool,
    /// The line of the module's name in the manifest, counted from 1.
    pub line: u32,
}

impl ModuleConfig {
    const RESUME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
    const RESUME_BY_DEFAULT: Duration = Duration::from_secs(60);

    /// Returns the module's settings of a capability. `None` if the capability has no settings, or settings of another type than `T`.
    pub fn settings_of<T: SettingsValue>(&self, capability: &str) -> Option<&T> {
        self.settings.get(capability)?.get()
    }

    fn read(
        table: &mut Table<'_>,
        name: Option<&ModuleName>,
        declared: &DeclaredModules,
        folders: &Folders,
        capabilities: &Declarations,
        doubt: &mut ModuleUncertainty,
    ) -> Option<ModuleConfig> {
        let component = table.required("component").and_then(|value| ComponentSource::read(&value, folders));
        let before = table.reported();
        let calls = AllowedCalls::read(table.optional("calls"), declared);
        let between = table.reported();
        let uses = set(table.optional("uses"), |value| capabilities.read_name(value));
        (doubt.calls, doubt.uses) = (between > before, table.reported() > between);
        let config = table.optional("config").and_then(|value| value.table(read_config)).unwrap_or_default();
        let secrets = table.optional("secrets");
        let secrets = secrets.and_then(|value| value.table(|t| read_secrets(t, &config, &folders.root)));
        let settings = capabilities.read_settings(table).into_iter().collect();
        let resume = table.duration_or_off("resume", Self::RESUME, Some(Self::RESUME_BY_DEFAULT));
        if let Some((name, line)) = calls.iter().find(|(callee, _)| Some(*callee) == name) {
            doubt.calls = true;
            let problem =
                Problem::new(Code::Cycle, format!("`calls` of module `{name}` names the module itself")).module(name);
            table.report(line, problem.help("leave the module out of its own `calls`: no module is linked to itself"));
        }
        Some(ModuleConfig {
            component: component?,
            calls,
            uses,
            config,
            secrets: secrets.unwrap_or_default(),
            settings,
            resume,
            is_fake: false,
            line: table.line(),
        })
    }
}

/// The keys of `[modules]` that are valid names.
#[derive(Default)]
pub(super) struct DeclaredModules(BTreeSet<ModuleName>);

impl DeclaredModules {
    /// Reads the name of a module. Reports a name that the manifest doesn't have, and returns `None` for it.
    pub(super) fn module(&self, value: &Value<'_>) -> Option<LocatedValue<ModuleName>> {
        let name = value.parse::<ModuleName>()?;
        self.check(value, &name).then_some(name)
    }

    /// Whether the manifest has the module `name`. Reports `value` if it doesn't.
    pub(super) fn check(&self, value: &Value<'_>, name: &ModuleName) -> bool {
        let there = self.0.contains(name);
        if !there {
            let problem = Problem::new(Code::UnknownName, format!("there is no module `{name}`"));
            value.report(problem.help(format!("the manifest's modules are {}", list_names(&self.0))));
        }
        there
    }
}

/// The parts of one module's table that faults leave in doubt.
#[derive(Default)]
struct ModuleUncertainty {
    /// Whether a fault leaves in doubt which modules the module may call.
    calls: bool,
    /// Whether a fault leaves in doubt which capabilities the module is granted.
    uses: bool,
    /// The number of problems reported up to the end of the known keys. Each later problem of the table is about an unknown key.
    reported: usize,
}

/// Reads the table `[modules]`. A module with a fault is left out of the modules, but its name stays valid elsewhere in the manifest.
pub(super) fn read_modules(
    table: &mut Table<'_>,
    folders: &Folders,
    capabilities: &Declarations,
) -> (BTreeMap<ModuleName, ModuleConfig>, DeclaredModules, UncertainParts) {
    let entries: Vec<(Option<ModuleName>, Value<'_>)> =
        table.entries().into_iter().map(|(key, value)| (name(key, &value), value)).collect();
    let declared = DeclaredModules(entries.iter().filter_map(|(name, _)| name.clone()).collect());
    if entries.is_empty() {
        table.report(table.line(), Problem::new(Code::MissingKey, "an application needs at least one module"));
    }
    let (mut modules, mut doubts) = (BTreeMap::new(), UncertainParts::default());
    for (name, value) in entries {
        let mut doubt = ModuleUncertainty::default();
        let module = value.table(|t| {
            let module = ModuleConfig::read(t, name.as_ref(), &declared, folders, capabilities, &mut doubt);
            doubt.reported = t.reported();
            module
        });
        // An unknown key may be a misspelt known one.
        let has_unknown_keys = value.reported() > doubt.reported;
        let Some(name) = name else { continue };
        if doubt.calls || has_unknown_keys {
            doubts.calls.insert(name.clone());
        }
        if doubt.uses || has_unknown_keys {
            doubts.uses.insert(name.clone());
        }
        if let Some(module) = module.flatten() {
            modules.insert(name, module);
        }
    }
    (modules, declared, doubts)
}

/// The table `[compartments.NAME]`: one compartment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompartmentConfig {
    /// The modules that share the compartment. There is at least one.
    pub modules: BTreeSet<ModuleName>,
    /// How instances of the compartment are reused. Keys that the table leaves out have their values from `[defaults]`.
    pub instances: Instances,
    /// The limits of calls into the compartment. Keys that the table leaves out have their values from `[defaults]`.
    pub limits: Limits,
    /// The line of the compartment's name in the manifest, counted from 1.
    pub line: u32,
}

/// Reads the table `[compartments]`: the compartments that the manifest defines.
pub(super) fn read_compartments(
    table: &mut Table<'_>,
    declared: &DeclaredModules,
    defaults: Defaults,
) -> BTreeMap<CompartmentName, CompartmentConfig> {
    let mut compartments = BTreeMap::new();
    let mut placed = BTreeMap::new();
    for (key, value) in table.entries() {
        let name = name::<CompartmentName>(key, &value);
        let read = value.table(|t| {
            let modules = read_compartment_modules(t, declared, key, &mut placed);
            let Defaults { instances, limits } = Defaults::read(t, defaults);
            CompartmentConfig { modules, instances, limits, line: t.line() }
        });
        if let (Some(name), Some(compartment)) = (name, read) {
            compartments.insert(name, compartment);
        }
    }
    compartments
}

/// Reads the list `modules` of the compartment `key`. `placed` maps each module of an earlier compartment to that compartment and a line.
fn read_compartment_modules(
    table: &mut Table<'_>,
    declared: &DeclaredModules,
    key: &str,
    placed: &mut BTreeMap<ModuleName, (String, u32)>,
) -> BTreeSet<ModuleName> {
    let Some(value) = table.required("modules") else { return BTreeSet::new() };
    if value.list().is_some_and(|list| list.is_empty()) {
        value.refuse("a compartment holds at least one module");
    }
    let modules = set(Some(value), |value| declared.module(value));
    for (module, &line) in &modules {
        let before = placed.insert(module.clone(), (key.to_owned(), line));
        if let Some((other, other_line)) = before {
            let message = format!("module `{module}` stands in two compartments: `{other}` and `{key}`");
            let help = format!("leave the module out of one of them; `{other}` has it in line {other_line}");
            table.report(line, Problem::new(Code::Duplicate, message).module(module).help(help));
        }
    }
    modules.into_keys().collect()
}

/// Parses a key of the manifest as a name that the operator chose. Reports a key that is not a valid name, and returns `None` for it.
fn name<T: std::str::FromStr<Err: std::fmt::Display>>(key: &str, value: &Value<'_>) -> Option<T> {
    key.parse().map_err(|error| value.refuse(error)).ok()
}

/// Reads a list in which each entry may stand once. The result maps each entry to its line.
pub(super) fn set<'a, T: Ord + std::fmt::Display>(
    value: Option<Value<'a>>,
    read: impl Fn(&Value<'a>) -> Option<LocatedValue<T>>,
) -> BTreeMap<T, u32> {
    let mut found = BTreeMap::new();
    for entry in value.and_then(|value| value.list()).unwrap_or_default() {
        let Some(LocatedValue { value, line }) = read(&entry) else { continue };
        match found.entry(value) {
            Entry::Vacant(free) => {
                free.insert(line);
            }
            Entry::Occupied(taken) => {
                entry.report(Problem::new(Code::Duplicate, format!("`{}` is in the list twice", taken.key())));
            }
        }
    }
    found
}
