//! Writes the graph as text, Mermaid, Graphviz or JSON.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::{AppGraph, EdgeKind, Node};
use watertight_component::profile::Profile;
use watertight_model::ids::{AppName, CompartmentName, Digest, InterfaceName, ModuleName};

/// A note in the output for people who look for fused calls in metrics or traces.
const FUSED: &str = "fused calls run no host code: metrics and traces don't show them, unless the modules are in different compartments";

/// An output format of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text in indented lines, for terminals.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// A Graphviz digraph.
    Dot,
    /// The JSON that the admin listener also returns.
    Json,
}

/// A graph of an application in the form in which it is written out.
#[derive(Debug, Serialize)]
pub struct GraphView<'a> {
    /// The application's name.
    pub app: &'a AppName,
    /// The application's compartments.
    pub compartments: Vec<CompartmentView<'a>>,
    /// The application's modules, sorted by name.
    pub modules: Vec<ModuleView<'a>>,
    /// The calls between modules.
    pub calls: Vec<CallView<'a>>,
    /// The mounts, in the order of the route files.
    pub mounts: Vec<MountView<'a>>,
    /// The middlewares, in the order in which requests pass them.
    pub middlewares: Vec<MiddlewareView<'a>>,
}

/// A compartment as the output shows it.
#[derive(Debug, Serialize)]
pub struct CompartmentView<'a> {
    /// The compartment's name.
    pub name: &'a CompartmentName,
    /// The instance mode: `reuse` or `fresh`.
    pub instances: &'static str,
    /// The number of requests that use one instance at the same time. 1: each has an instance to itself.
    pub concurrent: u32,
    /// The compartment's modules, each after the modules that it calls.
    pub modules: &'a [ModuleName],
    /// Why the compartment exists and holds these modules.
    pub reason: String,
    /// The kind of engine that runs the compartment.
    pub profile: Profile,
    /// Why the planner chose this engine profile.
    pub profile_reason: String,
}

/// A module as the output shows it.
#[derive(Debug, Serialize)]
pub struct ModuleView<'a> {
    /// The module's name.
    pub name: &'a ModuleName,
    /// The language that the module was written in. `None` if its component doesn't record it.
    pub language: Option<&'a str>,
    /// The id of the module's build.
    pub build: String,
    /// The digest of the module's component.
    pub digest: Digest,
    /// The compartment that holds the module.
    pub compartment: &'a CompartmentName,
    /// The exported interfaces, and the functions that the module's world itself exports.
    pub exports: Vec<ExportView<'a>>,
    /// The capabilities that the manifest grants the module.
    pub uses: Vec<String>,
}

/// An export of a module. It serializes as its name.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct ExportView<'a> {
    /// The name of an interface or a function, or a label.
    pub name: &'a str,
    /// The function's signature, or the interface behind a label. `None` if `name` is an interface's own.
    #[serde(skip)]
    pub what: Option<String>,
}

impl fmt::Display for ExportView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.what.iter().try_for_each(|what| write!(f, " ({what})"))
    }
}

/// Lists the exports of a node's component.
fn exports(node: &Node) -> Vec<ExportView<'_>> {
    let mut exports = Vec::new();
    for (name, interface) in &node.artifact.shape.exports {
        if name.is_world() {
            let functions = interface.functions.iter();
            exports.extend(functions.map(|(name, function)| ExportView { name, what: Some(function.to_string()) }));
        } else {
            let what = interface.implements.as_ref().map(ToString::to_string);
            exports.push(ExportView { name: name.as_str(), what });
        }
    }
    exports
}

/// A call of one module to another through one interface.
#[derive(Debug, Serialize)]
pub struct CallView<'a> {
    /// The module that calls.
    pub from: &'a ModuleName,
    /// The module that is called.
    pub to: &'a ModuleName,
    /// The name of the caller's import: an interface's own name, a label that the caller's world gives it, or a function's name.
    pub interface: &'a InterfaceName,
    /// The function that serves the import, if the import is a function and not an interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<&'a str>,
    /// The interface behind the label in `interface`. `None` if that name is no label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub implements: Option<&'a InterfaceName>,
    /// `fused` is a Wasm function call. `bridged` is a call that the host carries.
    pub kind: EdgeKind,
    /// Whether metrics and traces show the call. They show bridged calls only.
    pub counted: bool,
}

/// A mount as the output shows it: a path whose requests a module answers by its own HTTP handler.
#[derive(Debug, Serialize)]
pub struct MountView<'a> {
    /// The name of the host that the mount answers. `None` means every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<&'a str>,
    /// The path that the mount takes, together with every path below it.
    pub path: &'a str,
    /// The module whose handler answers.
    pub module: &'a ModuleName,
    /// The name under which the module exports the handler.
    pub handler: &'a InterfaceName,
    /// Whether the handler gets the path of a request without the path of the mount.
    pub strip: bool,
    /// The methods of the requests that the mount takes. `None` means every method.
    pub methods: Option<Vec<&'a str>>,
}

/// A middleware as the output shows it: a path whose requests a module gets before whatever answers them.
#[derive(Debug, Serialize)]
pub struct MiddlewareView<'a> {
    /// The name of the host whose requests the module gets. `None` means every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<&'a str>,
    /// The path below which the middleware gets all requests.
    pub path: &'a str,
    /// The module.
    pub module: &'a ModuleName,
}

impl MountView<'_> {
    /// Returns the host and the path.
    fn label(&self) -> String {
        format!("{}{}", self.host.unwrap_or_default(), self.path)
    }
}

impl MiddlewareView<'_> {
    /// Returns the host and the path.
    fn label(&self) -> String {
        format!("{}{}", self.host.unwrap_or_default(), self.path)
    }
}

impl fmt::Display for MountView<'_> {
    /// Writes the mount without its module: `/files (wasi:http/incoming-handler@0.2.6; GET, POST; stripped)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.label(), self.handler)?;
        if let Some(methods) = &self.methods {
            write!(f, "; {}", methods.join(", "))?;
        }
        f.write_str(if self.strip { "; stripped)" } else { ")" })
    }
}

impl<'a> GraphView<'a> {
    /// Converts a graph to the form in which it is written out. The mounts and middlewares are not in the graph: `RouteTable::add_to` adds them.
    pub fn new(graph: &'a AppGraph) -> Self {
        let compartments = graph.compartments.iter().map(|compartment| CompartmentView {
            name: &compartment.name,
            instances: compartment.instances.mode.as_str(),
            concurrent: match (compartment.profile, compartment.instances.shared_by()) {
                (Profile::Async, Some(most)) => most.get(),
                _ => 1,
            },
            modules: &compartment.modules,
            reason: compartment.reason.to_string(),
            profile: compartment.profile,
            profile_reason: compartment.profile_reason.to_string(),
        });
        let modules = graph.modules.iter().filter_map(|(name, node)| {
            let home = &graph.compartments[graph.compartment_of(name)?];
            Some(ModuleView {
                name,
                language: node.artifact.language(),
                build: node.artifact.build(),
                digest: node.artifact.digest,
                compartment: &home.name,
                exports: exports(node),
                uses: node.granted.iter().map(ToString::to_string).collect(),
            })
        });
        let calls = graph.modules.iter().flat_map(|(from, node)| {
            let edges = node.calls.iter();
            edges.map(move |(interface, provider)| {
                let to = &provider.module;
                let kind = graph.edge(from, to);
                let implements =
                    node.artifact.shape.imports.get(interface).and_then(|import| import.implements.as_ref());
                let function = provider.function.as_deref();
                CallView { from, to, interface, function, implements, kind, counted: kind == EdgeKind::Bridged }
            })
        });
        Self {
            app: &graph.app,
            compartments: compartments.collect(),
            modules: modules.collect(),
            calls: calls.collect(),
            mounts: Vec::new(),
            middlewares: Vec::new(),
        }
    }

    /// Writes the graph as text in the given format.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Mermaid => self.mermaid(),
            Format::Dot => self.dot(),
            Format::Json => serde_json::to_string_pretty(self).expect("a view is plain JSON") + "\n",
        }
    }

    fn text(&self) -> String {
        let mut out = format!("{}\n", self.app);
        for compartment in &self.compartments {
            let CompartmentView { name, instances, concurrent, .. } = compartment;
            let shared = if *concurrent > 1 { format!(", {concurrent} requests on each") } else { String::new() };
            let _ = writeln!(out, "  compartment {name} ({instances} instances{shared})");
            let _ = writeln!(out, "    placed: {}", compartment.reason);
            let _ = writeln!(out, "    engine: {} ({})", compartment.profile.as_str(), compartment.profile_reason);
            for module in self.modules.iter().filter(|module| module.compartment == compartment.name) {
                let _ = writeln!(out, "    {} (build {})", module.name, module.build);
                for export in &module.exports {
                    let _ = writeln!(out, "      exports {export}");
                }
                for mount in self.mounts.iter().filter(|mount| mount.module == module.name) {
                    let _ = writeln!(out, "      serves  {mount}");
                }
                for (place, one) in self.middlewares.iter().enumerate().filter(|(_, one)| one.module == module.name) {
                    let (label, all) = (one.label(), self.middlewares.len());
                    let _ = writeln!(out, "      before  {label} (middleware {} of {all})", place + 1);
                }
                for call in self.calls.iter().filter(|call| call.from == module.name) {
                    let implements = call.implements.map(|name| format!(" ({name})")).unwrap_or_default();
                    let renamed = call.function.filter(|function| *function != call.interface.as_str());
                    let served = renamed.map(|function| format!(" ({function})")).unwrap_or(implements);
                    let (interface, to, kind) = (call.interface, call.to, call.kind.as_str());
                    let _ = writeln!(out, "      calls   {interface}{served} of {to} ({kind})");
                }
                if !module.uses.is_empty() {
                    let _ = writeln!(out, "      uses    {}", module.uses.join(", "));
                }
            }
        }
        if self.calls.iter().any(|call| !call.counted) {
            let _ = writeln!(out, "  {FUSED}");
        }
        out
    }

    fn mermaid(&self) -> String {
        let mut out = "flowchart LR\n".to_owned();
        for compartment in &self.compartments {
            // The suffix `_c` separates a compartment from a module of the same name.
            let _ = writeln!(out, "  subgraph {0}_c [\"{0} ({1})\"]", compartment.name, compartment.profile.as_str());
            for module in compartment.modules {
                let _ = writeln!(out, "    {module}[\"{module}\"]");
            }
            out.push_str("  end\n");
        }
        for (index, mount) in self.mounts.iter().enumerate() {
            // A module's name has no underscore.
            let _ = writeln!(out, "  mount_{index}([\"{}\"]) --> {}", mount.label(), mount.module);
        }
        for (place, one) in self.middlewares.iter().enumerate() {
            let _ = writeln!(out, "  middleware_{place}{{{{\"{}\"}}}} --> {}", one.label(), one.module);
        }
        for call in &self.calls {
            let arrow = match call.kind {
                EdgeKind::Fused => "-->",
                EdgeKind::Bridged => "-.->",
            };
            let _ = writeln!(out, "  {} {arrow}|\"{}\"| {}", call.from, call.interface, call.to);
        }
        out
    }

    fn dot(&self) -> String {
        let mut out = format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=component];\n", self.app);
        for compartment in &self.compartments {
            let _ = writeln!(
                out,
                "  subgraph \"cluster_{0}\" {{\n    label=\"{0} ({1})\";",
                compartment.name,
                compartment.profile.as_str()
            );
            for module in compartment.modules {
                let _ = writeln!(out, "    \"{module}\";");
            }
            out.push_str("  }\n");
        }
        for mount in &self.mounts {
            let (label, module) = (mount.label(), mount.module);
            let _ = writeln!(out, "  \"{label}\" [shape=plaintext];\n  \"{label}\" -> \"{module}\";");
        }
        for (place, one) in self.middlewares.iter().enumerate() {
            let (name, module) = (format!("{}. before {}", place + 1, one.label()), one.module);
            let _ = writeln!(out, "  \"{name}\" [shape=hexagon];\n  \"{name}\" -> \"{module}\";");
        }
        for call in &self.calls {
            let style = match call.kind {
                EdgeKind::Fused => "solid",
                EdgeKind::Bridged => "dashed",
            };
            let _ =
                writeln!(out, "  \"{}\" -> \"{}\" [label=\"{}\", style={style}];", call.from, call.to, call.interface);
        }
        out + "}\n"
    }
}
