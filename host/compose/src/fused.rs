//! Finds the imported function that a module was calling when a call failed at its boundary: a value that could not be copied has no place of its
//! own.
//!
//! Wasmtime generates the adapters between the modules of a compartment, and they have no names; neither have the host's functions on a stack.
//! So the function is found from the caller's code: from the call instruction at which the caller's function stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use wasmparser::{FunctionBody, Operator, Parser, Payload, TypeRef};

use watertight_graph::graph::{AppGraph, Compartment, EdgeKind};
use watertight_model::ids::{InterfaceName, ModuleName};

/// The number of positions whose calls are kept. Reading the code of a large module takes milliseconds.
const MAX_KEPT: usize = 256;

/// The imports of one module. A fused call is a call from one module to another of the same compartment.
pub struct FusedCalls {
    /// The module's component.
    component: Bytes,
    /// The module that serves each fused import.
    callees: BTreeMap<InterfaceName, ModuleName>,
    /// The calls at the positions that were asked for.
    kept: Mutex<BTreeMap<CodePosition, Option<ImportedCall>>>,
}

/// A call of an imported function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedCall {
    /// The interface and the name of the function, or only its name if it is in no interface.
    pub function: String,
    /// The module of the same compartment that serves the function. `None` if the host or another compartment does.
    pub callee: Option<ModuleName>,
    /// Whether the call hands over the result of the module's own function `function`, as an `async func` does.
    pub returns: bool,
}

/// The position at which a function of a module stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CodePosition {
    /// The function's index in its core module.
    pub function: u32,
    /// The offset of the instruction from the start of the function's body, in bytes.
    pub offset: usize,
}

impl FusedCalls {
    /// Lists the imports of each module of a compartment, in the order of its modules.
    pub fn of(graph: &AppGraph, compartment: &Compartment) -> Vec<Self> {
        let of = |module: &ModuleName| {
            let node = &graph.modules[module];
            let fused = node.calls.iter().filter(|(_, to)| graph.edge(module, &to.module) == EdgeKind::Fused);
            let callees = fused.map(|(import, to)| (import.clone(), to.module.clone())).collect();
            Self { component: node.artifact.bytes.clone(), callees, kept: Mutex::default() }
        };
        compartment.modules.iter().map(of).collect()
    }

    /// Returns the modules that serve the fused calls of the module.
    pub fn callees(&self) -> Vec<ModuleName> {
        self.callees.values().collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    /// Returns the call of an imported function at one of the positions `stops`, which list the innermost function first. `None` if no such call
    /// instruction is found.
    pub fn call(&self, stops: impl Iterator<Item = CodePosition>) -> Option<ImportedCall> {
        stops.into_iter().find_map(|stop| {
            let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = kept().get(&stop) {
                return known.clone();
            }
            let call = self.call_at(stop);
            let mut kept = kept();
            if kept.len() < MAX_KEPT {
                kept.insert(stop, call.clone());
            }
            call
        })
    }

    fn call_at(&self, stop: CodePosition) -> Option<ImportedCall> {
        let mut imports: Vec<(String, String)> = Vec::new();
        let mut body = 0;
        for payload in Parser::new(0).parse_all(&self.component) {
            match payload.ok()? {
                Payload::Version { .. } => (imports, body) = (Vec::new(), 0),
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import.ok()?;
                        if let TypeRef::Func(_) | TypeRef::FuncExact(_) = import.ty {
                            imports.push((import.module.to_owned(), import.name.to_owned()));
                        }
                    }
                }
                Payload::CodeSectionEntry(function) => {
                    if imports.len() + body == stop.function as usize
                        && let Some(index) = called(&function, stop.offset)
                        && let Some((import, name)) = imports.get(index)
                        && let Some(call) = self.imported(import, name)
                    {
                        return Some(call);
                    }
                    body += 1;
                }
                _ => {}
            }
        }
        None
    }

    /// Describes the function `name` of the core import `import`: an interface name, or `cm32p2|a:b/c@1`, the form of newer toolchains. For a
    /// function outside of interfaces, `import` is `$root` or `cm32p2`. `None` if the import is not one of the component model.
    fn imported(&self, import: &str, name: &str) -> Option<ImportedCall> {
        let own = import.strip_prefix("[export]");
        let (import, returns) = (own.unwrap_or(import), own.is_some() && name.starts_with("[task-return]"));
        let name = ["[async-lower]", "[task-return]"].iter().find_map(|mark| name.strip_prefix(mark)).unwrap_or(name);
        let (interface, function) = match import {
            "$root" | "cm32p2" => (name, name.to_owned()),
            _ => {
                let interface = import.split_once('|').map_or(import, |(_, interface)| interface);
                if !interface.contains(['/', ':']) {
                    return None;
                }
                (interface, format!("{interface}.{name}"))
            }
        };
        let callee = if own.is_some() { None } else { self.serves(interface) };
        Some(ImportedCall { function, callee: callee.cloned(), returns })
    }

    /// Returns the module that serves the interface `name`, which may have only the leading numbers of its version.
    fn serves(&self, name: &str) -> Option<&ModuleName> {
        let series = |interface: &InterfaceName| {
            let (unversioned, version) = (interface.unversioned(), interface.version().unwrap_or_default());
            name.strip_prefix(unversioned).is_some_and(|rest| match rest.strip_prefix('@') {
                Some(series) => {
                    version == series || version.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'))
                }
                None => rest.is_empty() && version.is_empty(),
            })
        };
        self.callees.iter().find(|(interface, _)| series(interface)).map(|(_, callee)| callee)
    }
}

/// Returns the index of the function that the instruction at `offset` of a body calls.
fn called(function: &FunctionBody<'_>, offset: usize) -> Option<usize> {
    let wanted = function.range().start + u64::try_from(offset).ok()?;
    let mut reader = function.get_operators_reader().ok()?;
    while !reader.eof() {
        let (operator, at) = reader.read_with_offset().ok()?;
        if at >= wanted {
            return match operator {
                Operator::Call { function_index } if at == wanted => Some(function_index as usize),
                _ => None,
            };
        }
    }
    None
}
