//! The difference between the running application and the one that replaces it.
//!
//! A plan is a pure value. Making a plan runs nothing, so an operator can read it before a change, and tests can compare
//! it.

mod clients;
mod door;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::graph::{AppGraph, Compartment, Node};
use watertight_component::artifact::BuildInfo;
use watertight_model::config::capability::Settings;
use watertight_model::config::{AppConfig, SecretSource, ValueSource, Values};
use watertight_model::ids::{CapabilityName, CompartmentName, ModuleName};

pub use clients::{ClientChange, ClientChanges, MAX_CLIENT_CHANGES};

/// One of the two applications that a plan compares. It was checked, but need not run.
#[derive(Debug, Clone, Copy)]
pub struct PlanSide<'a> {
    /// The application's configuration.
    pub config: &'a AppConfig,
    /// The application's graph.
    pub graph: &'a AppGraph,
    /// The configuration values and secrets of the application's modules.
    pub values: &'a Values,
}

/// The differences between two applications. Unchanged items are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Changed modules, sorted by name.
    pub modules: Vec<ModuleChange>,
    /// Changed compartments, sorted by name.
    pub compartments: Vec<CompartmentChange>,
    /// Changed routes, sorted by path, method and host.
    pub routes: Vec<RouteChange>,
    /// Changed mounts, sorted by path and host.
    #[serde(default)]
    pub mounts: Vec<MountChange>,
    /// Changed middlewares, sorted by path, host and module.
    #[serde(default)]
    pub middlewares: Vec<MiddlewareChange>,
    /// Changed parts of what the door says to browsers: `cors HOST/PATH`, and keys of `[http]` that belong to the generation.
    #[serde(default)]
    pub door: Vec<DoorChange>,
    /// What the change means to clients. Empty if nobody has compared the documents of the applications: [`Plan::new`] does not.
    #[serde(default, skip_serializing_if = "ClientChanges::is_empty")]
    pub clients: ClientChanges,
    /// Changed keys of the manifest that take effect at the next start of the host.
    pub restart: Vec<String>,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The new application adds the item.
    Added,
    /// The new application lacks the item.
    Removed,
    /// Both applications have the item, and it differs.
    Changed,
}

/// A module that a change of the application adds, removes or changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleChange {
    /// The name of the module that changes.
    pub name: ModuleName,
    /// Whether the module is added, removed or changed.
    pub change: Change,
    /// The running build. `None` if the module is added.
    pub from: Option<BuildInfo>,
    /// The new build. It equals `from` if only grants or configuration change. `None` if the module is removed.
    pub to: Option<BuildInfo>,
    /// The names of the migrations that the new build has and the running one lacks. The host's plans leave out those that were applied.
    pub migrations: Vec<String>,
    /// Grants of the module that the manifest adds or removes: capabilities, and modules that it may call.
    #[serde(default)]
    pub grants: Vec<GrantChange>,
    /// Keys of the module's table in the manifest whose values or secrets differ, such as `config.currency`. The values
    /// themselves are left out.
    #[serde(default)]
    pub settings: Vec<String>,
}

/// A grant that is added or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantChange {
    /// Whether the manifest adds or removes the grant.
    pub change: Change,
    /// The key in the module's table of the manifest: `uses` or `calls`.
    pub key: String,
    /// The name of the granted capability, or of the module that may be called.
    pub name: String,
}

/// A compartment that is linked again or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompartmentChange {
    /// The compartment's name.
    pub name: CompartmentName,
    /// Whether the compartment is added, removed or linked again.
    pub change: Change,
    /// The modules of the new compartment. Empty if the compartment is removed.
    pub modules: Vec<ModuleName>,
    /// Changed limits and instance settings of the compartment.
    #[serde(default)]
    pub settings: Vec<SettingChange>,
}

/// A setting of the manifest that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingChange {
    /// The setting's key in the compartment's table, such as `limits.cpu`.
    pub key: String,
    /// The value in the running application.
    pub from: String,
    /// The value in the new application.
    pub to: String,
}

/// A route that a change of the application adds, removes or changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChange {
    /// The route's HTTP method.
    pub method: String,
    /// The name of the host that the route answers. `None` means every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The template of the route's path.
    pub path: String,
    /// Whether the route is added, removed or changed.
    pub change: Change,
    /// The function that answers the route. For a removed route, the function that answered it.
    pub call: String,
}

/// A mount that a change of the application adds, removes or changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountChange {
    /// The name of the host that the mount answers. `None` means every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path that the mount takes, together with every path below it.
    pub path: String,
    /// Whether the mount is added, removed or changed.
    pub change: Change,
    /// The module whose handler answers. For a removed mount, the module whose handler answered.
    pub module: ModuleName,
}

/// A middleware that a change of the application adds, removes or moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MiddlewareChange {
    /// The name of the host whose requests the middleware gets. `None` means every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path below which the middleware gets all requests.
    pub path: String,
    /// The module.
    pub module: ModuleName,
    /// Whether the middleware is added or removed. `Changed` means that it moves among the others.
    pub change: Change,
}

/// A part of what the door says to browsers that a change of the application adds, removes or changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorChange {
    /// The part: `cors` with its path, or a key such as `http.compression` or `app.examples`.
    pub what: String,
    /// Whether the part is added, removed or changed.
    pub change: Change,
}

impl Plan {
    /// Compares two applications and lists what changes from `old` to `new`.
    pub fn new(old: PlanSide<'_>, new: PlanSide<'_>) -> Self {
        Self {
            modules: modules(old, new),
            compartments: compartments(old, new),
            routes: door::routes(old.config, new.config),
            mounts: door::mounts(old.config, new.config),
            middlewares: door::middlewares(old.config, new.config),
            door: door::door(old.config, new.config),
            clients: ClientChanges::default(),
            restart: restart_keys(old.config, new.config),
        }
    }

    /// Whether the two applications are equal. What clients notice follows from the rest.
    pub fn is_empty(&self) -> bool {
        let Self { modules, compartments, routes, mounts, middlewares, door, clients: _, restart } = self;
        let has_routes = !(routes.is_empty() && mounts.is_empty() && middlewares.is_empty() && door.is_empty());
        modules.is_empty() && compartments.is_empty() && !has_routes && restart.is_empty()
    }
}

/// Pairs the entries of two maps by key. `None` stands for an entry that one of the maps lacks.
fn pairs<'a, K: Ord, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> Vec<(&'a K, Option<&'a V>, Option<&'a V>)> {
    let keys: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    keys.into_iter().map(|key| (key, old.get(key), new.get(key))).collect()
}

/// Returns how two optional entries differ, or `None` if `same` says that they are equal.
fn change<T>(old: Option<&T>, new: Option<&T>, same: impl FnOnce(&T, &T) -> bool) -> Option<Change> {
    match (old, new) {
        (None, Some(_)) => Some(Change::Added),
        (Some(_), None) => Some(Change::Removed),
        (Some(old), Some(new)) if !same(old, new) => Some(Change::Changed),
        _ => None,
    }
}

fn modules(old: PlanSide<'_>, new: PlanSide<'_>) -> Vec<ModuleChange> {
    let found = pairs(&old.graph.modules, &new.graph.modules).into_iter().filter_map(|(name, from, to)| {
        let same = |from: &Node, to: &Node| same_module(name, (old, from), (new, to));
        let change = change(from, to, same)?;
        let known = from.map_or(0, |node| node.artifact.migrations().len());
        let migrations = to.map_or(&[][..], |node| node.artifact.migrations());
        Some(ModuleChange {
            name: name.clone(),
            change,
            from: from.map(|node| BuildInfo::from(&*node.artifact)),
            to: to.map(|node| BuildInfo::from(&*node.artifact)),
            migrations: migrations.iter().skip(known).map(|migration| migration.name.clone()).collect(),
            grants: grants(name, old.config, new.config),
            settings: module_settings(name, old, new),
        })
    });
    found.collect()
}

/// Lists the grants of a module that only one of the two manifests has.
fn grants(name: &ModuleName, old: &AppConfig, new: &AppConfig) -> Vec<GrantChange> {
    let grants = |config: &AppConfig| -> BTreeSet<(&str, String)> {
        let Some(module) = config.modules.get(name) else { return BTreeSet::new() };
        let uses = module.uses.keys().map(|capability| ("uses", capability.as_str().to_owned()));
        uses.chain(module.calls.modules().map(|callee| ("calls", callee.to_string()))).collect()
    };
    let (from, to) = (grants(old), grants(new));
    from.symmetric_difference(&to)
        .map(|grant| GrantChange {
            change: if to.contains(grant) { Change::Added } else { Change::Removed },
            key: grant.0.to_owned(),
            name: grant.1.clone(),
        })
        .collect()
}

/// Lists the keys of a module's table whose values differ, if both sides have the module.
fn module_settings(name: &ModuleName, old: PlanSide<'_>, new: PlanSide<'_>) -> Vec<String> {
    let (Some(from), Some(to)) = (old.config.modules.get(name), new.config.modules.get(name)) else {
        return Vec::new();
    };
    let (found, wanted) = (old.values.of(name), new.values.of(name));
    let config = from.config.keys().chain(to.config.keys()).filter(|key| {
        let (from, to) = (from.config.get(*key).map(|at| &at.value), to.config.get(*key).map(|at| &at.value));
        from != to || found.map(|values| values.config.get(*key)) != wanted.map(|values| values.config.get(*key))
    });
    let secrets = from.secrets.keys().chain(to.secrets.keys()).filter(|key| {
        let (from, to) = (from.secrets.get(*key).map(|at| &at.value), to.secrets.get(*key).map(|at| &at.value));
        from != to || found.map(|values| values.secrets.get(*key)) != wanted.map(|values| values.secrets.get(*key))
    });
    let named = config.map(|key| format!("config.{key}")).chain(secrets.map(|key| format!("secrets.{key}")));
    let capabilities = to.settings.iter().filter(|(name, settings)| from.settings.get(*name) != Some(*settings));
    let capabilities = capabilities.map(|(name, _)| name.to_string());
    named.chain(capabilities).collect::<BTreeSet<String>>().into_iter().collect()
}

/// Whether the module runs the same code with the same calls, grants and values on both sides.
fn same_module(name: &ModuleName, old: (PlanSide<'_>, &Node), new: (PlanSide<'_>, &Node)) -> bool {
    old.1.artifact.digest == new.1.artifact.digest
        && old.1.calls == new.1.calls
        && old.1.granted == new.1.granted
        && old.1.resume == new.1.resume
        && old.0.values.of(name) == new.0.values.of(name)
        && capability_settings(old.0.config, name) == capability_settings(new.0.config, name)
        && sources(old.0.config, name) == sources(new.0.config, name)
}

/// Returns the settings that the manifest gives to a module's capabilities. `None` if the manifest doesn't have the module.
fn capability_settings<'a>(config: &'a AppConfig, name: &ModuleName) -> Option<&'a BTreeMap<CapabilityName, Settings>> {
    config.modules.get(name).map(|module| &module.settings)
}

/// The sources of a module's values and of its secrets, by key. Lines of the manifest are left out, so moving an entry is
/// no change.
type Sources<'a> = (BTreeMap<&'a str, &'a ValueSource>, BTreeMap<&'a str, &'a SecretSource>);

fn sources<'a>(config: &'a AppConfig, name: &ModuleName) -> Option<Sources<'a>> {
    let module = config.modules.get(name)?;
    let values = module.config.iter().map(|(key, source)| (key.as_str(), &source.value)).collect();
    Some((values, module.secrets.iter().map(|(key, source)| (key.as_str(), &source.value)).collect()))
}

fn compartments(old: PlanSide<'_>, new: PlanSide<'_>) -> Vec<CompartmentChange> {
    let by_name = |side: PlanSide<'_>| -> BTreeMap<CompartmentName, Compartment> {
        side.graph.compartments.iter().map(|compartment| (compartment.name.clone(), compartment.clone())).collect()
    };
    let (from, to) = (by_name(old), by_name(new));
    let same = |from: &Compartment, to: &Compartment| {
        let same_modules = from.modules.iter().all(|module| {
            let (from, to) = (old.graph.modules.get(module), new.graph.modules.get(module));
            from.zip(to).is_some_and(|(from, to)| same_module(module, (old, from), (new, to)))
        });
        from.modules == to.modules && from.instances == to.instances && from.limits == to.limits && same_modules
    };
    let found = pairs(&from, &to).into_iter().filter_map(|(name, from, to)| {
        let change = change(from, to, same)?;
        let modules = to.map(|compartment| compartment.modules.clone()).unwrap_or_default();
        // A new compartment is compared with the old compartment of its first module.
        let before = || old.graph.compartment_of(to?.modules.first()?).map(|home| &old.graph.compartments[home]);
        let settings = from.or_else(before).zip(to).map(|(from, to)| settings(from, to)).unwrap_or_default();
        Some(CompartmentChange { name: name.clone(), change, modules, settings })
    });
    found.collect()
}

/// Lists the limits and instance settings in which two compartments differ.
fn settings(from: &Compartment, to: &Compartment) -> Vec<SettingChange> {
    let entries = |side: &Compartment| [side.limits.entries(), side.instances.entries()].concat();
    let differing = entries(from).into_iter().zip(entries(to)).filter(|(from, to)| from != to);
    differing.map(|((key, from), (_, to))| SettingChange { key: key.to_owned(), from, to }).collect()
}

/// Lists the keys of the manifest that a process reads only at its start and in which `new` differs from `old`.
pub fn restart_keys(old: &AppConfig, new: &AppConfig) -> Vec<String> {
    let keys = [
        ("app.name", old.name != new.name),
        ("app.listen", old.listen != new.listen),
        ("app.admin", old.admin != new.admin),
        ("app.state", old.state != new.state),
        ("http", old.http != new.http),
        ("log", old.log != new.log),
        ("compile", old.compile != new.compile),
        ("telemetry", old.telemetry != new.telemetry),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}

#[cfg(test)]
mod tests;
