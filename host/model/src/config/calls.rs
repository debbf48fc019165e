//! Reads `calls`: the modules that a module may call, and which of them serves which import.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{DeclaredModules, set};
use super::tree::{Table, Value};
use crate::ids::{FunctionPath, InterfaceName, ModuleName, is_wit_name};

/// The modules that one module may call: its key `calls` in the manifest. Default: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedCalls {
    /// All modules that the key `calls` names, each with the first line of the manifest that names it.
    modules: BTreeMap<ModuleName, u32>,
    /// What serves each import, where `calls` is a table; `None` where it is a list. A key is an import's label, an interface, or a function
    /// that the module's world imports directly.
    by_import: Option<BTreeMap<String, Server>>,
}

/// What a table `calls` names for an import.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    module: ModuleName,
    /// The function that the world of `module` exports directly, in an entry such as `add = "sums.plus"`.
    function: Option<String>,
    /// The line of the entry in the manifest.
    line: u32,
}

impl Server {
    /// Reads `MODULE` or `MODULE.FUNCTION`, the value of the entry `key`.
    fn read(key: &str, value: &Value<'_>, declared: &DeclaredModules) -> Option<Self> {
        if !value.string()?.contains('.') {
            let module = declared.module(value)?;
            return Some(Self { module: module.value, function: None, line: module.line });
        }
        let path = value.parse::<FunctionPath>()?;
        let FunctionPath { module, interface, function } = path.value;
        if !interface.is_empty() || !is_wit_name(key) {
            value.refuse("only a function that a world imports itself is served by a function, such as `MODULE.FUNCTION`, that a world exports itself");
            return None;
        }
        declared.check(value, &module).then_some(Self { module, function: Some(function), line: path.line })
    }
}

impl AllowedCalls {
    /// Reads `calls`: a list of modules, or a table from labels and interfaces to modules.
    pub(super) fn read(value: Option<Value<'_>>, declared: &DeclaredModules) -> Self {
        let Some(value) = value else { return Self::default() };
        if !value.is_table() {
            return Self { modules: set(Some(value), |value| declared.module(value)), by_import: None };
        }
        let read = |(key, value): (&str, Value<'_>)| {
            if !names_an_import(key) {
                value.refuse(format_args!(
                    "`{key}` is neither the label or name of an import nor an interface such as `alpha:greeting/greet`"
                ));
            }
            Some((key.to_owned(), Server::read(key, &value, declared)?))
        };
        let entries = value.table(Table::entries).unwrap_or_default();
        let by_import: BTreeMap<String, Server> = entries.into_iter().filter_map(read).collect();
        let mut modules = BTreeMap::new();
        for Server { module, line, .. } in by_import.values() {
            let first: &mut u32 = modules.entry(module.clone()).or_insert(*line);
            *first = (*first).min(*line);
        }
        Self { modules, by_import: Some(by_import) }
    }

    /// Returns all modules that `calls` names, sorted by name, each with the first line that names it.
    pub fn iter(&self) -> impl Iterator<Item = (&ModuleName, u32)> {
        self.modules.iter().map(|(module, line)| (module, *line))
    }

    /// Returns all modules that `calls` names, sorted by name.
    pub fn modules(&self) -> impl Iterator<Item = &ModuleName> {
        self.modules.keys()
    }

    /// Whether `calls` is a table, which names the module that serves each import.
    pub fn is_table(&self) -> bool {
        self.by_import.is_some()
    }

    /// Returns the modules that may serve an import. `import` is its name, which may be a label; `identity` is the interface that it stands
    /// for. Where `calls` is a list, these are all modules in it. Where it is a table, they are the modules under the most exact keys for
    /// the import: its label, then the interface's full name, then a short name or one without a version.
    pub fn for_import(&self, import: &InterfaceName, identity: &InterfaceName) -> BTreeSet<&ModuleName> {
        let Some(by_import) = &self.by_import else { return self.modules().collect() };
        if let Some(server) = by_import.get(import.as_str()).or_else(|| by_import.get(identity.as_str())) {
            return BTreeSet::from([&server.module]);
        }
        by_import.iter().filter(|(key, _)| identity.matches_reference(key)).map(|(_, server)| &server.module).collect()
    }

    /// Returns the function that `calls` names for the import `import`, in an entry such as `add = "sums.plus"`. `None` if it names only a
    /// module, or nothing.
    pub fn function_for(&self, import: &InterfaceName) -> Option<&str> {
        self.by_import.as_ref()?.get(import.as_str())?.function.as_deref()
    }

    /// Returns the keys of the table `calls` that match none of `imports`, each with its line. An import is given by its name, which may be
    /// a label, and by the interface that it stands for.
    pub fn unused<'a>(&'a self, imports: &[(&InterfaceName, &InterfaceName)]) -> Vec<(&'a str, u32)> {
        let is_used = |key: &str| {
            imports.iter().any(|(import, identity)| import.as_str() == key || identity.matches_reference(key))
        };
        let keys = self.by_import.iter().flatten().filter(|(key, _)| !is_used(key));
        keys.map(|(key, server)| (key.as_str(), server.line)).collect()
    }

    /// Removes from `calls` the modules for which `keep` returns false.
    pub fn retain(&mut self, keep: impl Fn(&ModuleName) -> bool) {
        self.modules.retain(|module, _| keep(module));
        self.by_import.iter_mut().for_each(|by_import| by_import.retain(|_, server| keep(&server.module)));
    }
}

/// Builds `calls` in its form of a list from modules, each with the line that names it.
impl FromIterator<(ModuleName, u32)> for AllowedCalls {
    fn from_iter<I: IntoIterator<Item = (ModuleName, u32)>>(modules: I) -> Self {
        Self { modules: modules.into_iter().collect(), by_import: None }
    }
}

/// Whether `key` is a label or the name of an interface. The name may lack its package, its version or parts of the version.
fn names_an_import(key: &str) -> bool {
    let (name, version) = key.split_once('@').map_or((key, None), |(name, version)| (name, Some(version)));
    let name_fits = is_wit_name(name) || name.parse::<InterfaceName>().is_ok();
    name_fits && version.is_none_or(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}
