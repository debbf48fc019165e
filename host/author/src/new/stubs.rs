//! The functions of a contract that are still to be written, in languages whose signatures need types. The generators of the bindings
//! write them.

use anyhow::Context as _;
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator as _};

use crate::build::{Language, World};

/// What an unwritten function of a Rust module does.
const UNWRITTEN: &str = "panic!(\"this function is not written yet\")";

/// Returns the code of the functions that a world exports. Empty for languages without types in their signatures. `path` is the path of the
/// Go module.
pub(super) fn of(language: Language, world: &World, path: &str) -> anyhow::Result<String> {
    match language {
        Language::Rust => rust(world),
        Language::Go => go(world, path),
        _ => Ok(String::new()),
    }
}

/// Parses the world with the parser that the generators use.
fn parsed(world: &World) -> anyhow::Result<(Resolve, WorldId)> {
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
    let mut code =
        "#[allow(unused_imports, reason = \"the signatures name types of the contract\")]\nuse crate::bindings::*;\n"
            .to_owned();
    let mut is_inside = false;
    for line in text.lines() {
        is_inside |= line.starts_with("impl ") && line.ends_with(" for Stub {");
        if is_inside {
            if line.starts_with("impl ") {
                code.push('\n');
            }
            let line = line.replace("Stub", "Component").replace("_rt::", "").replace("unreachable!()", UNWRITTEN);
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
    Ok(std::str::from_utf8(text)?.to_owned())
}
