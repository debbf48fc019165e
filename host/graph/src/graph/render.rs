//! The graph for people and programs: text, Mermaid, Graphviz, JSON.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::{AppGraph, EdgeKind, Node};
use watertight_component::profile::Profile;
use watertight_model::ids::{AppName, CompartmentName, Digest, InterfaceName, ModuleName};

/// What people should know who look for fused calls in metrics or traces.
const FUSED: &str = "fused calls run no host code: metrics and traces don't show them, unless the modules are in different compartments";

/// How a graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Indented lines.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// A Graphviz digraph.
    Dot,
    /// JSON: the same as the admin listener's.
    Json,
}

/// A graph, ready to be written.
#[derive(Debug, Serialize)]
pub struct GraphView<'a> {
    /// The application.
    pub app: &'a AppName,
    /// Its compartments.
    pub compartments: Vec<CompartmentView<'a>>,
    /// Its modules, by name.
    pub modules: Vec<ModuleView<'a>>,
    /// Who calls whom.
    pub calls: Vec<CallView<'a>>,
}

/// A compartment.
#[derive(Debug, Serialize)]
pub struct CompartmentView<'a> {
    /// Its name.
    pub name: &'a CompartmentName,
    /// `reuse` or `fresh`.
    pub instances: &'static str,
    /// Its modules, providers first.
    pub modules: &'a [ModuleName],
    /// Why it is there and holds these.
    pub reason: String,
    /// What kind of engine runs it.
    pub profile: Profile,
    /// Why that one.
    pub profile_reason: String,
}

/// A module.
#[derive(Debug, Serialize)]
pub struct ModuleView<'a> {
    /// Its name.
    pub name: &'a ModuleName,
    /// The language that it was written in, where its component says.
    pub language: Option<&'a str>,
    /// Its build.
    pub build: String,
    /// Its component.
    pub digest: Digest,
    /// Where it stands.
    pub compartment: &'a CompartmentName,
    /// The interfaces that it offers, and the functions that its world exports itself.
    pub exports: Vec<ExportView<'a>>,
    /// The capabilities that it is granted.
    pub uses: Vec<String>,
}

/// What a module offers, by its name.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct ExportView<'a> {
    /// An interface's own name, a label, or the name of a function.
    pub name: &'a str,
    /// What it is, where the name doesn't say so.
    #[serde(skip)]
    pub what: Option<String>,
}

impl fmt::Display for ExportView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.what.iter().try_for_each(|what| write!(f, " ({what})"))
    }
}

/// What a node's component offers.
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

/// An edge.
#[derive(Debug, Serialize)]
pub struct CallView<'a> {
    /// Who calls.
    pub from: &'a ModuleName,
    /// Who is called.
    pub to: &'a ModuleName,
    /// Through which interface, as the caller imports it: its own name, or the label that the caller's world gives it.
    pub interface: &'a InterfaceName,
    /// The interface, where the import has a label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub implements: Option<&'a InterfaceName>,
    /// How: `fused` is a function call, `bridged` goes through the host.
    pub kind: EdgeKind,
    /// Whether metrics and traces show such calls: what goes through the host.
    pub counted: bool,
}

impl<'a> GraphView<'a> {
    /// Prepares a graph for writing.
    pub fn new(graph: &'a AppGraph) -> Self {
        let compartments = graph.compartments.iter().map(|compartment| CompartmentView {
            name: &compartment.name,
            instances: compartment.instances.mode.as_str(),
            modules: &compartment.modules,
            reason: compartment.reason.to_string(),
            profile: compartment.profile,
            profile_reason: compartment.profile_reason.to_string(),
        });
        let modules = graph.modules.iter().filter_map(|(name, node)| {
            let home = &graph.compartments[graph.home(name)?];
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
                CallView { from, to, interface, implements, kind, counted: kind == EdgeKind::Bridged }
            })
        });
        Self {
            app: &graph.app,
            compartments: compartments.collect(),
            modules: modules.collect(),
            calls: calls.collect(),
        }
    }

    /// Writes it.
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
            let _ = writeln!(out, "  compartment {} ({} instances)", compartment.name, compartment.instances);
            let _ = writeln!(out, "    placed: {}", compartment.reason);
            let _ = writeln!(out, "    engine: {} ({})", compartment.profile.as_str(), compartment.profile_reason);
            for module in self.modules.iter().filter(|module| module.compartment == compartment.name) {
                let _ = writeln!(out, "    {} (build {})", module.name, module.build);
                for export in &module.exports {
                    let _ = writeln!(out, "      exports {export}");
                }
                for call in self.calls.iter().filter(|call| call.from == module.name) {
                    let implements = call.implements.map(|name| format!(" ({name})")).unwrap_or_default();
                    let (interface, to, kind) = (call.interface, call.to, call.kind.as_str());
                    let _ = writeln!(out, "      calls   {interface}{implements} of {to} ({kind})");
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
            // `_c` keeps a compartment apart from a module of the same name.
            let _ = writeln!(out, "  subgraph {0}_c [\"{0} ({1})\"]", compartment.name, compartment.profile.as_str());
            for module in compartment.modules {
                let _ = writeln!(out, "    {module}[\"{module}\"]");
            }
            out.push_str("  end\n");
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
