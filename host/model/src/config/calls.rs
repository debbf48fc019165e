//! Reads `calls`: the modules that a module may call, and which of them serves which import.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{DeclaredModules, set};
use super::source::LocatedValue;
use super::tree::{Table, Value};
use crate::ids::{InterfaceName, ModuleName, is_wit_name};

/// The modules that one module may call: its key `calls` in the manifest. Default: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedCalls {
    /// All modules that the key `calls` names, each with the first line of the manifest that names it.
    modules: BTreeMap<ModuleName, u32>,
    /// The module that serves each import, where `calls` is a table; `None` where it is a list. A key is an import's label or an interface.
    by_import: Option<BTreeMap<String, LocatedValue<ModuleName>>>,
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
                    "`{key}` is neither the label of an import nor an interface such as `alpha:greeting/greet`"
                ));
            }
            Some((key.to_owned(), declared.module(&value)?))
        };
        let entries = value.table(Table::entries).unwrap_or_default();
        let by_import: BTreeMap<String, LocatedValue<ModuleName>> = entries.into_iter().filter_map(read).collect();
        let mut modules = BTreeMap::new();
        for LocatedValue { value: module, line } in by_import.values() {
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
        if let Some(module) = by_import.get(import.as_str()).or_else(|| by_import.get(identity.as_str())) {
            return BTreeSet::from([&module.value]);
        }
        by_import.iter().filter(|(key, _)| identity.matches_reference(key)).map(|(_, module)| &module.value).collect()
    }

    /// Returns the keys of the table `calls` that match none of `imports`, each with its line. An import is given by its name, which may be
    /// a label, and by the interface that it stands for.
    pub fn unused<'a>(&'a self, imports: &[(&InterfaceName, &InterfaceName)]) -> Vec<(&'a str, u32)> {
        let is_used = |key: &str| {
            imports.iter().any(|(import, identity)| import.as_str() == key || identity.matches_reference(key))
        };
        let keys = self.by_import.iter().flatten().filter(|(key, _)| !is_used(key));
        keys.map(|(key, module)| (key.as_str(), module.line)).collect()
    }

    /// Removes from `calls` the modules for which `keep` returns false.
    pub fn retain(&mut self, keep: impl Fn(&ModuleName) -> bool) {
        self.modules.retain(|module, _| keep(module));
        self.by_import.iter_mut().for_each(|by_import| by_import.retain(|_, module| keep(&module.value)));
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
