//! `inspect`: what a component says of itself.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use super::{InspectArguments, output};
use crate::artifact::{Artifact, MAX_COMPONENT_BYTES};
use crate::config::{self, Overrides};
use crate::ids::{Digest, ModuleName};
use crate::problem::{Problem, Problems};
use crate::shape::Interface;

/// What is told of a component.
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
}

#[derive(Serialize)]
struct MigrationReport {
    name: String,
    checksum: Digest,
}

#[derive(Serialize)]
struct InterfaceReport {
    name: String,
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
    let config = config::load(&arguments.application.app, &Overrides::default()).with_context(|| {
        format!("`{}` is no file, and no application was found to look for a module", arguments.target)
    })?;
    let module = config.modules.iter().find(|(name, _)| name.as_str() == arguments.target);
    let (_, module) = module.with_context(|| {
        let names: Vec<&str> = config.modules.keys().map(ModuleName::as_str).collect();
        format!("`{}` is neither a file nor a module of `{}`: {}", arguments.target, config.name, names.join(", "))
    })?;
    Ok(module.component.value.file().to_owned())
}

fn report(artifact: &Artifact) -> Report {
    let interfaces = |all: &std::collections::BTreeMap<_, Interface>| all.iter().map(interface).collect();
    let embedded = artifact.embedded.as_ref();
    let migration = |m: &crate::migration::Migration| MigrationReport { name: m.name.clone(), checksum: m.checksum };
    Report {
        file: artifact.path.clone(),
        size: artifact.bytes.len(),
        digest: artifact.digest,
        build: artifact.build(),
        name: embedded.map(|embedded| embedded.name.clone()),
        language: artifact.language().map(str::to_owned),
        migrations: artifact.migrations().iter().map(migration).collect(),
        imports: interfaces(&artifact.shape.imports),
        exports: interfaces(&artifact.shape.exports),
    }
}

fn interface((name, interface): (&crate::ids::InterfaceName, &Interface)) -> InterfaceReport {
    let functions = interface.functions.iter().map(|(name, function)| FunctionReport {
        name: name.clone(),
        signature: function.to_string(),
        docs: function.docs.as_deref().map(str::to_owned),
    });
    InterfaceReport {
        name: name.to_string(),
        docs: interface.docs.as_deref().map(str::to_owned),
        functions: functions.collect(),
    }
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    let title = report.name.as_ref().map_or_else(|| report.file.display().to_string(), ToString::to_string);
    let language = report.language.as_deref().unwrap_or("not said");
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
    for (label, interfaces) in [("imports", &report.imports), ("exports", &report.exports)] {
        let _ = writeln!(out, "  {label}");
        for interface in interfaces {
            let _ = writeln!(out, "    {}", interface.name);
            for function in &interface.functions {
                let _ = writeln!(out, "      {}: {}", function.name, function.signature);
                let first = function.docs.as_deref().and_then(|docs| docs.lines().next());
                if let Some(line) = first {
                    let _ = writeln!(out, "        {line}");
                }
            }
        }
    }
    out
}
