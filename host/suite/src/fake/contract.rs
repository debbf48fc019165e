//! The contract that a fake serves: the exports of a module, as far as WIT alone tells them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime::component::Val;

use super::FakeError;
use super::default::default_value;
use watertight_build::stub::Stub;
use watertight_build::{folders_in, holds_wit, write_if_changed};
use watertight_component::artifact::Artifact;
use watertight_component::shape::{Function, Type};
use watertight_graph::graph::referred;
use watertight_json::Codec;
use watertight_model::config::{AppConfig, ComponentSource};
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_model::problem::suggest;

/// The maximum size of an argument of a call, as JSON, in bytes.
const MAX_ARGUMENT: usize = 16 << 20;

/// The exports that a fake of one module serves, and a component that has them.
#[derive(Debug)]
pub struct Contract {
    pub(super) module: ModuleName,
    /// The component with the exports. Its functions trap; a stand-in answers instead.
    pub(super) artifact: Arc<Artifact>,
    /// The folders with the WIT of the exports.
    pub(super) folders: Vec<PathBuf>,
    pub(super) functions: Vec<ContractFunction>,
}

/// A function that a fake answers.
#[derive(Debug)]
pub(super) struct ContractFunction {
    pub(super) interface: InterfaceName,
    pub(super) name: String,
    /// The name with that of its interface, which no other function of the contract has: `greet.say-hello` or `greet@2.say-hello`.
    pub(super) full_name: String,
    /// The shortest name that no other function of the contract has: that of the function alone, or else the full name.
    pub(super) unique_name: String,
    pub(super) shape: Function,
    parameters: Vec<Codec>,
    pub(super) result: Option<Codec>,
}

impl Contract {
    /// Finds the contract of a module and makes a component for it in `target/fakes` of the workspace. `package` names the WIT package, such
    /// as `alpha:greeting@1.0.0`. Without it, the contract is what the world in the module's folder exports, or else the package in the
    /// folder of `wit` that has the module's name.
    ///
    /// # Errors
    ///
    /// [`FakeError::Unknown`] if neither a module nor a contract has the name. [`FakeError::Contract`] if the module has no contract, or one
    /// with types that a fake can't make.
    pub fn find(config: &AppConfig, module: &ModuleName, package: Option<&str>) -> Result<Self, FakeError> {
        let refused = |reason: String| FakeError::Contract { module: module.clone(), reason };
        let sources = config.modules.get(module).and_then(|module| match &module.component.value {
            ComponentSource::Folder { folder, .. } => Some(folder.join("wit")),
            ComponentSource::File(_) => None,
        });
        // The source of a module that is faked already has been replaced in the configuration.
        let sources = sources.unwrap_or_else(|| config.root.join(module.as_str()).join("wit"));
        let contracts = folders_in(&config.workspace.join("wit"));
        let contracts = || {
            let holding = contracts.iter().filter(|folder| holds_wit(folder));
            holding.filter_map(|folder| folder.file_name()?.to_str())
        };
        let is_known = config.modules.contains_key(module) || contracts().any(|name| name == module.as_str());
        if package.is_none() && !is_known && !holds_wit(&sources) {
            let names: BTreeSet<&str> = config.modules.keys().map(ModuleName::as_str).chain(contracts()).collect();
            return Err(FakeError::Unknown { module: module.clone(), suggestion: suggest(module.as_str(), names) });
        }
        let stub = Stub::find(module, package, &sources, &config.workspace).map_err(refused)?;
        let path = config.workspace.join("target/fakes").join(format!("{module}.wasm"));
        write_if_changed(&path, &stub.component).map_err(|error| refused(format!("`{}`: {error}", path.display())))?;
        let artifact = Artifact::new(&path, stub.component.into()).map_err(|error| refused(error.to_string()))?;
        let functions = functions(&artifact).map_err(refused)?;
        Ok(Self { module: module.clone(), artifact: Arc::new(artifact), folders: stub.folders, functions })
    }

    /// Returns the path of the component that has the contract's exports.
    pub fn component(&self) -> &Path {
        &self.artifact.path
    }

    /// Returns the component that has the contract's exports.
    pub fn artifact(&self) -> &Arc<Artifact> {
        &self.artifact
    }

    /// Whether the contract has an export that can serve an import of `interface`.
    pub fn exports(&self, interface: &InterfaceName) -> bool {
        self.artifact.shape.exports.keys().any(|export| export.can_serve(interface))
    }

    /// Finds a function by its name, as scripts write it: `say-hello`, or `greet.say-hello` with the interface's name in one of the forms that
    /// routes accept.
    pub(super) fn function(&self, name: &str) -> Result<usize, String> {
        let (reference, own_name) =
            name.rsplit_once('.').map_or((None, name), |(interface, name)| (Some(interface), name));
        let called: Vec<usize> = (0..self.functions.len()).filter(|at| self.functions[*at].name == own_name).collect();
        let of =
            |interface: &InterfaceName| called.iter().copied().find(|at| self.functions[*at].interface == *interface);
        let exports = self.artifact.shape.exports.iter().filter(|(interface, _)| of(interface).is_some());
        let found = match reference {
            Some(reference) => match referred(exports, reference) {
                Ok((interface, _)) => of(interface).into_iter().collect(),
                Err(several) => several.into_iter().filter_map(of).collect(),
            },
            None => of(&InterfaceName::world()).map_or(called.clone(), |at| vec![at]),
        };
        let names = |some: &mut dyn Iterator<Item = usize>| {
            some.map(|at| format!("`{}`", self.functions[at].full_name)).collect::<Vec<_>>().join(", ")
        };
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(format!("the contract has no function `{name}`, only {}", names(&mut (0..self.functions.len())))),
            several => {
                Err(format!("`{name}` means several functions; write one of {}", names(&mut several.iter().copied())))
            }
        }
    }
}

impl ContractFunction {
    /// Converts the arguments of a call to JSON.
    pub(super) fn arguments(&self, values: &[Val]) -> Result<Vec<serde_json::Value>, String> {
        let json = |(codec, value): (&Codec, &Val)| {
            let mut text = Vec::new();
            codec.encode(value, &mut text, MAX_ARGUMENT).map_err(|error| error.to_string())?;
            serde_json::from_slice(&text).map_err(|error| error.to_string())
        };
        self.parameters.iter().zip(values).map(json).collect()
    }

    /// Returns the type of the result in WIT, for messages.
    pub(super) fn returns(&self) -> String {
        self.shape.result.as_ref().map_or_else(|| "nothing".to_owned(), |ty| format!("`{ty}`"))
    }

    /// Returns the default result as JSON: null if the function returns nothing. `None` if its type has no default.
    pub(super) fn default_result(&self) -> Option<serde_json::Value> {
        self.shape.result.as_ref().map_or(Some(serde_json::Value::Null), default_value)
    }
}

/// Lists the functions of a component's exports.
fn functions(artifact: &Artifact) -> Result<Vec<ContractFunction>, String> {
    let mut functions = Vec::new();
    let exports = &artifact.shape.exports;
    for (interface, exported) in exports {
        if let Some(resource) = exported.resources.first() {
            return Err(format!("`{interface}` has the resource `{resource}`, and a fake can't make handles"));
        }
        for (name, function) in &exported.functions {
            let codec = |place: &str, ty: &Type| {
                Codec::new(place, ty).map_err(|parts| {
                    let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
                    format!("`{name}` of `{interface}` has a type that a fake can't make: {}", parts.join("; "))
                })
            };
            let parameters = function.parameters.iter().map(|parameter| codec(&parameter.name, &parameter.ty));
            let full_name = match interface.shortest_reference(&exports.keys()) {
                reference if reference.is_empty() => name.clone(),
                reference => format!("{reference}.{name}"),
            };
            let is_alone = exports.values().filter(|export| export.functions.contains_key(name)).count() == 1;
            functions.push(ContractFunction {
                interface: interface.clone(),
                unique_name: if is_alone { name.clone() } else { full_name.clone() },
                full_name,
                name: name.clone(),
                parameters: parameters.collect::<Result<_, _>>()?,
                result: function.result.as_ref().map(|ty| codec("result", ty)).transpose()?,
                shape: function.clone(),
            });
        }
    }
    if functions.is_empty() {
        return Err("its contract has no functions".to_owned());
    }
    Ok(functions)
}
