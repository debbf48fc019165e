//! The functions of a contract that are still to be written, in languages whose signatures need types. The generators of the bindings
//! write them.

use anyhow::Context as _;
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator as _};

use super::c::Header;
use super::python;
use watertight_build::{Language, World};

/// What an unwritten function of a Rust module does.
const UNWRITTEN: &str = "panic!(\"this function is not written yet\")";

/// Returns the code of the functions that a world exports. Empty for languages whose templates write them. `path` is the path of the
/// Go module.
pub(super) fn of(language: Language, world: &World, path: &str) -> anyhow::Result<String> {
    match language {
        Language::Rust => rust(world),
        Language::Go => go(world, path),
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

fn go(world: &World, path: &str) -> anyhow::Result<String> {
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
    let stubs = files.iter().find(|(name, text)| {
        name.contains("export_")
            && std::str::from_utf8(text).is_ok_and(|text| text.contains("panic(\"not implemented\")"))
    });
    let (_, text) = stubs.context("the generator writes the functions of an exported interface")?;
    Ok(tidy_go(std::str::from_utf8(text)?))
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
