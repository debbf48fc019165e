//! Finds the callee of a fused call that failed between two modules. A fused call is a call from one module to another of the same
//! compartment.
//!
//! Wasmtime generates the adapters between modules, and they have no names. So the callee is found from the caller's code: from the call
//! instruction at which the caller's function stopped.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wasmparser::{FunctionBody, Operator, Parser, Payload, TypeRef};

use watertight_graph::graph::{AppGraph, Compartment, EdgeKind};
use watertight_model::ids::{InterfaceName, ModuleName};

/// The fused calls of one module: those to other modules of its compartment.
pub struct FusedCalls {
    /// The module's component.
    component: Bytes,
    /// The module that serves each fused import.
    callees: BTreeMap<InterfaceName, ModuleName>,
}

/// The position at which a function of a module stopped.
#[derive(Debug, Clone, Copy)]
pub struct CodePosition {
    /// The function's index in its core module.
    pub function: u32,
    /// The offset of the instruction from the start of the function's body, in bytes.
    pub offset: usize,
}

impl FusedCalls {
    /// Lists the fused calls of each module of a compartment, in the order of its modules.
    pub fn of(graph: &AppGraph, compartment: &Compartment) -> Vec<Self> {
        let of = |module: &ModuleName| {
            let node = &graph.modules[module];
            let fused = node.calls.iter().filter(|(_, to)| graph.edge(module, &to.module) == EdgeKind::Fused);
            let callees = fused.map(|(import, to)| (import.clone(), to.module.clone())).collect();
            Self { component: node.artifact.bytes.clone(), callees }
        };
        compartment.modules.iter().map(of).collect()
    }

    /// Returns the modules that the functions at the positions `stops` may have been calling. `stops` lists the innermost function first.
    /// The result is one module if the call instruction is found.
    pub fn callees(&self, stops: impl Iterator<Item = CodePosition>) -> Vec<ModuleName> {
        let all: BTreeSet<&ModuleName> = self.callees.values().collect();
        if all.len() > 1
            && let Some(callee) = stops.into_iter().find_map(|stop| self.called_at(stop))
        {
            return vec![callee.clone()];
        }
        all.into_iter().cloned().collect()
    }

    fn called_at(&self, stop: CodePosition) -> Option<&ModuleName> {
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
                        && let Some(callee) = self.serves(import, name)
                    {
                        return Some(callee);
                    }
                    body += 1;
                }
                _ => {}
            }
        }
        None
    }

    /// Returns the module that serves the function `name` of the core import `import`: an interface name, or `cm32p2|a:b/c@1`, the form of
    /// newer toolchains. For a function outside of interfaces, `import` is `$root` or `cm32p2`.
    fn serves(&self, import: &str, name: &str) -> Option<&ModuleName> {
        let name = match import {
            "$root" | "cm32p2" => name.strip_prefix("[async-lower]").unwrap_or(name),
            _ => import.split_once('|').map_or(import, |(_, name)| name),
        };
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
