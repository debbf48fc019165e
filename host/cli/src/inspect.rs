//! `inspect`: prints a component's imports, exports, and the facts that its build has embedded.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use super::installed::overrides;
use super::{InspectArguments, output};
use watertight_component::artifact::{Artifact, MAX_COMPONENT_BYTES};
use watertight_component::shape::{Function, Interface};
use watertight_model::config;
use watertight_model::ids::{Digest, InterfaceName, ModuleName};
use watertight_model::problem::{Problem, Problems};

/// The facts that `inspect` prints about a component.
#[derive(Serialize)]
struct Report {
    file: PathBuf,
    size: usize,
    digest: Digest,
    build: String,
    name: Option<ModuleName>,
    language: Option<String>,
    migrations: Vec<MigrationReport>,
    imports: Vec<InterfaceReport>,
    exports: Vec<InterfaceReport>,
    /// The functions that the component's world imports directly, outside of any interface. Other modules serve them.
    imported_functions: Vec<FunctionReport>,
    /// The functions that the component's world exports directly, outside of any interface.
    exported_functions: Vec<FunctionReport>,
    /// The imports that are neither interfaces nor functions. No module and no capability can serve them.
    other_imports: Vec<String>,
    /// The exports that are neither interfaces nor functions. No route and no module can use them.
    other_exports: Vec<String>,
}

#[derive(Serialize)]
struct MigrationReport {
    name: String,
    checksum: Digest,
}

#[derive(Serialize)]
struct InterfaceReport {
    /// The interface's name, or the label that the world gives the interface.
    name: String,
    /// The interface's name, if `name` is a label.
    implements: Option<String>,
    docs: Option<String>,
    functions: Vec<FunctionReport>,
}

#[derive(Serialize)]
struct FunctionReport {
    name: String,
    signature: String,
    docs: Option<String>,
}

pub(super) fn inspect(arguments: &InspectArguments) -> anyhow::Result<()> {
    let file = find(arguments)?;
    let artifact = Artifact::load(&file, MAX_COMPONENT_BYTES).map_err(|error| Problems::from(Problem::from(error)))?;
    let report = report(&artifact);
    if arguments.json {
        return output::print_json(&report);
    }
    output::print(&text(&report));
    Ok(())
}

fn find(arguments: &InspectArguments) -> anyhow::Result<PathBuf> {
    let path = Path::new(&arguments.target);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let config = config::load_manifest(&arguments.application.app, &overrides()).with_context(|| {
        format!("`{}` is not a file, and no application was found that could have such a module", arguments.target)
    })?;
    let module = config.modules.iter().find(|(name, _)| name.as_str() == arguments.target);
    let (_, module) = module.with_context(|| {
        let names: Vec<&str> = config.modules.keys().map(ModuleName::as_str).collect();
        format!("`{}` is neither a file nor a module of `{}`: {}", arguments.target, config.name, names.join(", "))
    })?;
    Ok(module.component.value.file().to_owned())
}

fn report(artifact: &Artifact) -> Report {
    let shape = &artifact.shape;
    let in_world = |(name, interface): &(&InterfaceName, &Interface)| name.is_world() || interface.is_function;
    let interfaces = |all: &Interfaces| all.iter().filter(|entry| !in_world(entry)).map(interface).collect();
    let of_world = |all: &Interfaces| all.iter().filter(in_world).flat_map(|(_, world)| functions(world)).collect();
    let embedded = artifact.section.as_ref();
    let migration =
        |m: &watertight_model::migration::Migration| MigrationReport { name: m.name.clone(), checksum: m.checksum };
    Report {
        file: artifact.path.clone(),
        size: artifact.bytes.len(),
        digest: artifact.digest,
        build: artifact.build(),
        name: embedded.map(|embedded| embedded.name.clone()),
        language: artifact.language().map(str::to_owned),
        migrations: artifact.migrations().iter().map(migration).collect(),
        imports: interfaces(&shape.imports),
        exports: interfaces(&shape.exports),
        imported_functions: of_world(&shape.imports),
        exported_functions: of_world(&shape.exports),
        other_imports: shape.bare_imports.clone(),
        other_exports: shape.bare_exports.clone(),
    }
}

type Interfaces = BTreeMap<InterfaceName, Interface>;

fn interface((name, interface): (&InterfaceName, &Interface)) -> InterfaceReport {
    InterfaceReport {
        name: name.to_string(),
        implements: interface.implements.as_ref().map(ToString::to_string),
        docs: interface.docs.as_deref().map(str::to_owned),
        functions: functions(interface),
    }
}

fn functions(interface: &Interface) -> Vec<FunctionReport> {
    let report = |(name, function): (&String, &Function)| FunctionReport {
        name: name.clone(),
        signature: function.to_string(),
        docs: function.docs.as_deref().map(str::to_owned),
    };
    interface.functions.iter().map(report).collect()
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    let title = report.name.as_ref().map_or_else(|| report.file.display().to_string(), ToString::to_string);
    let language = report.language.as_deref().unwrap_or("unknown");
    let size = bytesize::ByteSize(report.size as u64);
    let _ = writeln!(out, "{title}");
    let _ = writeln!(out, "  file      {}", report.file.display());
    let _ = writeln!(out, "  size      {size}");
    let _ = writeln!(out, "  digest    {}", report.digest);
    let _ = writeln!(out, "  build     {}", report.build);
    let _ = writeln!(out, "  language  {language}");
    for migration in &report.migrations {
        let _ = writeln!(out, "  migration {} ({})", migration.name, migration.checksum);
    }
    let _ = writeln!(out, "  imports");
    write_interfaces(&mut out, &report.imports);
    write_functions(&mut out, "    ", &report.imported_functions);
    for name in &report.other_imports {
        let _ = writeln!(out, "    {name} (neither an interface nor a function: nothing can serve it)");
    }
    let _ = writeln!(out, "  exports");
    write_interfaces(&mut out, &report.exports);
    write_functions(&mut out, "    ", &report.exported_functions);
    for name in &report.other_exports {
        let _ = writeln!(out, "    {name} (neither an interface nor a function: nothing can reach it)");
    }
    out
}

fn write_interfaces(out: &mut String, interfaces: &[InterfaceReport]) {
    for interface in interfaces {
        let implements = interface.implements.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let _ = writeln!(out, "    {}{implements}", interface.name);
        write_functions(out, "      ", &interface.functions);
    }
}

fn write_functions(out: &mut String, indent: &str, functions: &[FunctionReport]) {
    for function in functions {
        let _ = writeln!(out, "{indent}{}: {}", function.name, function.signature);
        let first = function.docs.as_deref().and_then(|docs| docs.lines().next());
        if let Some(line) = first {
            let _ = writeln!(out, "{indent}  {line}");
        }
    }
}
