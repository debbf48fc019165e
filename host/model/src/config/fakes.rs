//! Replaces modules by fakes, which answer calls in the place of a module's code.
//!
//! A fake calls nothing, is granted nothing and reads no values, so what the manifest says of the module about that doesn't count.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::modules::{CompartmentConfig, ComponentSource, ModuleConfig};
use super::source::Source;
use super::{AllowedCalls, AppConfig};
use crate::ids::{CompartmentName, ModuleName};
use crate::problem::{Code, Problem, suggest};

/// Replaces each module in `fakes` by its component, outside the compartments of the manifest. Reports names that are no modules.
pub(super) fn replace(
    fakes: &BTreeMap<ModuleName, PathBuf>,
    modules: &mut BTreeMap<ModuleName, ModuleConfig>,
    compartments: &mut BTreeMap<CompartmentName, CompartmentConfig>,
    source: &Source,
) {
    for (name, component) in fakes {
        if !fake(name, component, modules, compartments) {
            source.report(1, unknown(name, modules));
        }
    }
}

/// Returns the problem that a module to be faked is not in the manifest.
fn unknown(name: &ModuleName, modules: &BTreeMap<ModuleName, ModuleConfig>) -> Problem {
    let message = format!("`{name}` can't be faked: the manifest has no such module");
    let known = suggest(name.as_str(), modules.keys().map(ModuleName::as_str));
    let help = format!("{known}; a faked module needs its table [modules.{name}] as well, and no component");
    Problem::new(Code::UnknownName, message).help(help)
}

/// Replaces one module by its fake. Returns false if there is no such module.
fn fake(
    name: &ModuleName,
    component: &Path,
    modules: &mut BTreeMap<ModuleName, ModuleConfig>,
    compartments: &mut BTreeMap<CompartmentName, CompartmentConfig>,
) -> bool {
    let Some(module) = modules.get_mut(name) else { return false };
    module.component.value = ComponentSource::File(component.to_owned());
    module.calls = AllowedCalls::default();
    module.uses.clear();
    module.config.clear();
    module.secrets.clear();
    module.is_fake = true;
    for compartment in compartments.values_mut() {
        compartment.modules.remove(name);
    }
    compartments.retain(|_, compartment| !compartment.modules.is_empty());
    true
}

impl AppConfig {
    /// Returns a problem for each of the modules that are to be faked and that the manifest doesn't have.
    pub fn unknown_fakes<'a>(&self, fakes: impl IntoIterator<Item = &'a ModuleName>) -> Vec<Problem> {
        let missing = fakes.into_iter().filter(|name| !self.modules.contains_key(*name));
        missing.map(|name| unknown(name, &self.modules)).collect()
    }

    /// Replaces a module by a fake, which answers calls in the place of the module's code. `component` has the exports of its contract.
    /// Returns false if there is no such module.
    pub fn fake(&mut self, module: &ModuleName, component: &Path) -> bool {
        fake(module, component, &mut self.modules, &mut self.compartments)
    }
}
