//! The functions of a contract that are still to be written, in languages whose signatures need types. The generators of the bindings
//! write them.

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
    let (mut resolve, id) = parsed(world)?;
    let mut files = Files::default();
    let options = wit_bindgen_go::Opts {
        format: wit_bindgen_go::Format::False,
        generate_stubs: true,
        pkg_name: Some(format!("{path}/bindings")),
        export_pkg_name: Some(format!("{path}/component")),
        ..Default::default()
    };
    options.build().generate(&mut resolve, id, &mut files)?;
    let mut packages = Vec::new();
    for (name, text) in files.iter() {
        let (Some((package, _)), Ok(text)) = (name.split_once('/'), std::str::from_utf8(text)) else { continue };
        if package.starts_with("export_") && text.contains("panic(\"not implemented\")") {
            packages.push((Path::new("component").join(package).join("component.go"), tidy_go(text)));
        }
    }
    Ok(packages)
}

/// Writes generated Go code as a person would: indented with tabs, with sorted imports, a comment of the package's own and the constraint
/// that leaves it out of native builds.
fn tidy_go(text: &str) -> String {
    let package = text.lines().find_map(|line| line.strip_prefix("package ")).unwrap_or_default();
    let mut code = format!(
        "//go:build wasip1\n\n// Package {package} implements the contract. Each function that still panics is to be written.\npackage {package}\n\n"
    );
    let body = text.split_once("import (").map_or("", |(_, body)| body);
    let (imports, functions) = body.split_once(')').unwrap_or(("", body));
    let mut imports: Vec<&str> = imports.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    imports.sort_by_key(|line| line.split('"').nth(1));
    let imports = imports.iter().map(|line| format!("\t{line}\n")).collect::<String>();
    code.push_str(&format!("import (\n{imports})\n\n"));
    let functions = functions.trim().replace("        ", "\t").replace("not implemented", "not written yet");
    code.push_str(&functions);
    while code.contains("\n\n\n") {
        code = code.replace("\n\n\n", "\n\n");
    }
    code
}
