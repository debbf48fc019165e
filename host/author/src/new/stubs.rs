//! The functions of a contract that are still to be written, in languages whose signatures need types. The generators of the bindings
//! write them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator as _};

use super::c::Header;
use super::python;
use watertight_build::{Language, World};

/// What an unwritten function of a Rust module does.
const UNWRITTEN: &str = "panic!(\"this function is not written yet\")";

/// Returns the code of the functions that a world exports. Empty for languages whose templates write them, and for Go, which has a
/// [package](go_packages) for each interface.
pub(super) fn of(language: Language, world: &World) -> anyhow::Result<String> {
    match language {
        Language::Rust => rust(world),
        Language::Python => Ok(python::unwritten(world)),
        Language::C => Ok(Header::of(world)?.definitions()),
        _ => Ok(String::new()),
    }
}

/// Parses the world with the parser that the generators use.
pub(super) fn parsed(world: &World) -> anyhow::Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("world.wit", &world.text)?;
    let id = resolve.select_world(&[package], Some(&world.name))?;
    Ok((resolve, id))
}

fn rust(world: &World) -> anyhow::Result<String> {
    let (mut resolve, id) = parsed(world)?;
    let mut files = Files::default();
    let options = wit_bindgen_rust::Opts { format: true, stubs: true, generate_all: true, ..Default::default() };
    options.build().generate(&mut resolve, id, &mut files)?;
    let (_, text) = files.iter().next().context("the generator writes one file")?;
    let text = std::str::from_utf8(text)?;
    let mut code = String::new();
    let mut is_inside = false;
    for line in text.lines() {
        is_inside |= line.starts_with("impl ") && line.ends_with(" for Stub {");
        if is_inside {
            if line.starts_with("impl ") {
                code.push_str("\n#[allow(unused_variables, reason = \"the functions are to be written\")]\n");
            }
            if line.trim_start().starts_with("#[allow(") {
                continue;
            }
            let line = line.replace("Stub", "Component").replace("_rt::", "").replace("unreachable!()", UNWRITTEN);
            let line = line.replace("::core::result::Result", "Result");
            code.push_str(&line);
            code.push('\n');
        }
        is_inside &= line != "}";
    }
    Ok(code)
}

/// Returns the Go packages of the interfaces that a world exports: the path of each one's file in the module's folder, and its text. `path`
/// is the path of the Go module.
pub(super) fn go_packages(world: &World, path: &str) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let generated = |generate_stubs: bool| {
        let (mut resolve, id) = parsed(world)?;
        let mut files = Files::default();
        let options = wit_bindgen_go::Opts {
            format: wit_bindgen_go::Format::False,
            generate_stubs,
            pkg_name: Some(format!("{path}/bindings")),
            export_pkg_name: Some(format!("{path}/component")),
            ..Default::default()
        };
        options.build().generate(&mut resolve, id, &mut files)?;
        let files = files.iter().map(|(name, text)| (name.to_owned(), String::from_utf8_lossy(text).into_owned()));
        anyhow::Ok(files.collect::<BTreeMap<String, String>>())
    };
    let (files, bindings) = (generated(true)?, generated(false)?);
    let mut packages = Vec::new();
    for (name, text) in &files {
        let Some((package, _)) = name.split_once('/') else { continue };
        if package.starts_with("export_") && text.contains("panic(\"not implemented\")") {
            // `build` writes these bindings into the package. They hand over resources.
            let bindings = bindings.get(name).map(String::as_str).unwrap_or_default();
            packages.push((Path::new("component").join(package).join("component.go"), tidy_go(text, bindings)));
        }
    }
    Ok(packages)
}

/// Writes generated Go code as a person would: without what `bindings` have, indented with tabs, with sorted imports, a comment of the
/// package's own and the constraint that leaves it out of native builds.
fn tidy_go(text: &str, bindings: &str) -> String {
    let package = text.lines().find_map(|line| line.strip_prefix("package ")).unwrap_or_default();
    let mut code = format!(
        "//go:build wasip1\n\n// Package {package} implements the contract. Each function that still panics is to be written.\npackage {package}\n\n"
    );
    let body = text.split_once("import (").map_or("", |(_, body)| body);
    let (imports, functions) = body.split_once(')').unwrap_or(("", body));
    let known: BTreeSet<&str> = bindings.split("\n\n").map(str::trim).collect();
    let declarations = functions.split("\n\n").map(str::trim).filter(|one| !one.is_empty() && !known.contains(one));
    let functions = declarations.collect::<Vec<_>>().join("\n\n");
    let is_used = |line: &&str| {
        let name = line.split('"').next().map(str::trim).filter(|alias| !alias.is_empty());
        let name = name.or_else(|| line.split('"').nth(1)?.rsplit('/').next());
        name.is_some_and(|name| functions.contains(&format!("{name}.")))
    };
    let mut imports: Vec<&str> =
        imports.lines().map(str::trim).filter(|line| !line.is_empty()).filter(is_used).collect();
    imports.sort_by_key(|line| line.split('"').nth(1));
    if !imports.is_empty() {
        let imports = imports.iter().map(|line| format!("\t{line}\n")).collect::<String>();
        code.push_str(&format!("import (\n{imports})\n\n"));
    }
    code.push_str(&functions.replace("        ", "\t").replace("not implemented", "not written yet"));
    code.push('\n');
    code
}
