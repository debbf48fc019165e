//! Resolving one module's imports: each is served by one module that it may call, by the host under a grant, or is a problem.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::provided::{self, Provision};
use super::{Node, Provider};
use crate::artifact::Artifact;
use crate::config::{AppConfig, Capability, ModuleConfig};
use crate::ids::{InterfaceName, ModuleName};
use crate::problem::{Code, Problem};
use crate::shape::{Interface, differences};

/// Everything that resolving one module's imports looks at, and what it finds wrong.
struct Resolver<'a> {
    name: &'a ModuleName,
    module: &'a ModuleConfig,
    config: &'a AppConfig,
    artifacts: &'a BTreeMap<ModuleName, Arc<Artifact>>,
    problems: &'a mut Vec<Problem>,
    node: Node,
}

/// Resolves all imports of `name`, adding what is wrong to `problems`.
pub(super) fn resolve(
    name: &ModuleName,
    module: &ModuleConfig,
    artifact: &Arc<Artifact>,
    config: &AppConfig,
    artifacts: &BTreeMap<ModuleName, Arc<Artifact>>,
    problems: &mut Vec<Problem>,
) -> Node {
    let node = Node {
        artifact: artifact.clone(),
        calls: BTreeMap::new(),
        capabilities: BTreeMap::new(),
        ambient: BTreeSet::new(),
        granted: module.uses.keys().copied().collect(),
    };
    let mut resolver = Resolver { name, module, config, artifacts, problems, node };
    resolver.check_bare(artifact);
    for (import, wanted) in &artifact.shape.imports {
        resolver.check_async(import, wanted);
        // An interface of types alone needs nobody behind it.
        if !wanted.is_types_only() {
            resolver.import(import, wanted);
        }
    }
    for (export, offered) in &artifact.shape.exports {
        resolver.check_async(export, offered);
    }
    resolver.node
}

impl Resolver<'_> {
    fn check_bare(&mut self, artifact: &Artifact) {
        for name in &artifact.shape.bare_imports {
            self.problems.push(
                Problem::new(
                    Code::MissingExport,
                    format!("module `{}` imports `{name}`, which is no interface", self.name),
                )
                .module(self.name)
                .help("only interfaces of packages can be linked: import `namespace:package/interface`"),
            );
        }
    }

    fn check_async(&mut self, interface: &InterfaceName, shape: &Interface) {
        for (function, _) in shape.functions.iter().filter(|(_, function)| function.is_async) {
            self.problems.push(
                Problem::new(
                    Code::UnsupportedType,
                    format!("`{function}` is an `async func`, which this host doesn't link"),
                )
                .module(self.name)
                .interface(interface)
                .function(function)
                .help("make it a plain `func`: callers wait without holding anything up"),
            );
        }
    }

    fn import(&mut self, import: &InterfaceName, wanted: &Interface) {
        match provided::provision(import) {
            Some(Provision::Own(capability, name, offered)) => {
                if self.granted(capability, import) {
                    self.compare(import, wanted, name, offered, "the host");
                    self.node.capabilities.insert(import.clone(), capability);
                }
            }
            Some(Provision::Shared(capability)) => {
                if self.granted(capability, import) {
                    self.node.ambient.insert(import.clone());
                }
            }
            Some(Provision::Empty) => {
                self.node.ambient.insert(import.clone());
            }
            None => self.call(import, wanted),
        }
    }

    fn granted(&mut self, capability: Capability, import: &InterfaceName) -> bool {
        let granted = self.module.uses.contains_key(&capability);
        if !granted {
            self.problems.push(
                Problem::new(
                    Code::Ungranted,
                    format!("module `{}` imports `{import}`, which the manifest doesn't grant", self.name),
                )
                .module(self.name)
                .interface(import)
                .file(&self.config.manifest)
                .line(self.module.line)
                .help(format!("add \"{capability}\" to `uses` of [modules.{}]", self.name)),
            );
        }
        granted
    }

    /// An import that only another module can serve.
    fn call(&mut self, import: &InterfaceName, wanted: &Interface) {
        let providers: Vec<(&ModuleName, &InterfaceName, &Interface)> = self
            .artifacts
            .iter()
            .filter(|(module, _)| *module != self.name)
            .flat_map(|(module, artifact)| {
                let exports = artifact.shape.exports.iter().filter(|(export, _)| export.serves(import));
                exports.map(move |(export, offered)| (module, export, offered))
            })
            .collect();
        let callable: Vec<_> =
            providers.iter().filter(|(module, ..)| self.module.calls.contains_key(*module)).copied().collect();
        match callable.as_slice() {
            [(module, export, offered)] => {
                self.compare(import, wanted, export, offered, &format!("module `{module}`"));
                let provider = Provider { module: (*module).clone(), export: (*export).clone() };
                self.node.calls.insert(import.clone(), provider);
            }
            [] if providers.is_empty() => self.nobody(import),
            [] => self.undeclared(import, &providers.iter().map(|(module, ..)| *module).collect::<Vec<_>>()),
            several => self.ambiguous(import, &several.iter().map(|(module, ..)| *module).collect::<Vec<_>>()),
        }
    }

    fn nobody(&mut self, import: &InterfaceName) {
        let mut others = provided::offered_versions(import);
        for (module, artifact) in self.artifacts {
            let same = |export: &&InterfaceName| export.unversioned() == import.unversioned();
            others.extend(
                artifact.shape.exports.keys().filter(same).map(|export| format!("{export} (module `{module}`)")),
            );
        }
        let help = if others.is_empty() {
            "add the module that exports it to the manifest, and to `calls`".to_owned()
        } else {
            format!("no compatible version is there, only: {}", others.join(", "))
        };
        self.problems.push(
            Problem::new(
                Code::MissingExport,
                format!("nothing exports `{import}`, which module `{}` imports", self.name),
            )
            .module(self.name)
            .interface(import)
            .file(&self.config.manifest)
            .line(self.module.line)
            .help(help),
        );
    }

    fn undeclared(&mut self, import: &InterfaceName, providers: &[&ModuleName]) {
        let names = providers.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
        self.problems.push(
            Problem::new(
                Code::UndeclaredCall,
                format!("module `{}` imports `{import}`, and its `calls` names no module that exports it", self.name),
            )
            .module(self.name)
            .interface(import)
            .file(&self.config.manifest)
            .line(self.module.line)
            .help(format!("add {names} to `calls` of [modules.{}]", self.name)),
        );
    }

    fn ambiguous(&mut self, import: &InterfaceName, providers: &[&ModuleName]) {
        let names = providers.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
        self.problems.push(
            Problem::new(
                Code::Ambiguous,
                format!("module `{}` imports `{import}`, which {names} both export", self.name),
            )
            .module(self.name)
            .interface(import)
            .file(&self.config.manifest)
            .line(self.module.line)
            .help(format!("name just one of them in `calls` of [modules.{}]", self.name)),
        );
    }

    fn compare(
        &mut self,
        import: &InterfaceName,
        wanted: &Interface,
        export: &InterfaceName,
        offered: &Interface,
        provider: &str,
    ) {
        for difference in differences(wanted, offered) {
            let mut problem = Problem::new(
                Code::TypeMismatch,
                format!("module `{}` imports `{import}` with other types than {provider} has in `{export}`", self.name),
            )
            .module(self.name)
            .interface(import)
            .expected(difference.expected, difference.found)
            .help("build both modules against the same version of the contract");
            problem.function = difference.function;
            problem.type_path = difference.type_path;
            self.problems.push(problem);
        }
    }
}
