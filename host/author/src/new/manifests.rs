//! Adds a new module to the manifests that must name it: the application's, and Cargo's workspace. Comments and order are kept.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use toml_edit::{Array, DocumentMut, Item, Table, value};

use watertight_model::ids::ModuleName;

use super::{NewError, Place};
use crate::staged::StagedFiles;

/// The version of `wit-bindgen` for a workspace that doesn't name one.
const WIT_BINDGEN: &str = r#" = { version = "0.61", default-features = false, features = ["macros", "realloc"] }"#;

/// The version of `rusqlite` for a workspace that doesn't name one.
const RUSQLITE: &str = r#" = { version = "0.41", features = ["bundled"] }"#;

/// The start of the Cargo workspace of an application's first Rust module.
const WORKSPACE: &str = "# The Rust modules of the application.\n\n[workspace]\nresolver = \"3\"\nmembers = []\n";

/// The glob of route files that new modules' routes are found by.
const ROUTES: &str = "routes/*.toml";

fn read(files: &StagedFiles, path: &Path) -> Result<Option<DocumentMut>, NewError> {
    let text = files.read(path).map_err(|source| NewError::Unreadable { path: path.to_owned(), source })?;
    let parse = |text: String| {
        text.parse::<DocumentMut>()
            .map_err(|error| NewError::Manifest { path: path.to_owned(), message: error.to_string() })
    };
    text.map(parse).transpose()
}

/// Whether the manifest reads the route file of a new module.
pub(super) fn takes_routes(files: &StagedFiles, manifest: &Path) -> Result<bool, NewError> {
    let document = read(files, manifest)?.unwrap_or_default();
    let globs = document.get("app").and_then(|app| app.get("routes")).and_then(Item::as_array);
    Ok(globs.is_some_and(|globs| globs.iter().any(|glob| glob.as_str() == Some(ROUTES))))
}

/// Adds the table of a new module to the application's manifest.
pub(super) fn add_to_app(
    files: &mut StagedFiles,
    manifest: &Path,
    name: &ModuleName,
    calls: &[ModuleName],
    uses: &[String],
) -> Result<(), NewError> {
    let mut document = read(files, manifest)?.unwrap_or_default();
    let mut implicit = Table::new();
    implicit.set_implicit(true);
    let modules = document.entry("modules").or_insert(Item::Table(implicit));
    let Some(modules) = modules.as_table_mut() else {
        return Err(NewError::Manifest { path: manifest.to_owned(), message: "`modules` is not a table".to_owned() });
    };
    let mut table = Table::new();
    table.insert("component", value(name.as_str()));
    if !calls.is_empty() {
        table.insert("calls", value(calls.iter().map(ModuleName::as_str).collect::<Array>()));
    }
    if !uses.is_empty() {
        table.insert("uses", value(uses.iter().map(String::as_str).collect::<Array>()));
    }
    table.decor_mut().set_prefix("\n");
    modules.insert(name.as_str(), Item::Table(table));
    files.edit(manifest.to_owned(), document.to_string());
    Ok(())
}

/// Adds a Rust module to the Cargo workspace of the application, which is made if there is none. Returns what the templates need to know of
/// the workspace: lines of the package, versions of dependencies, and whether there are lints.
pub(super) fn add_to_cargo(files: &mut StagedFiles, place: &Place, folder: &Path) -> Result<Value, NewError> {
    let (path, mut document) = cargo_workspace(files, place)?;
    let wrong = |message: &str| NewError::Manifest { path: path.clone(), message: message.to_owned() };
    let home = path.parent().unwrap_or(&place.workspace);
    let member = folder.strip_prefix(home).map_err(|_| wrong("the module stands outside of its folder"))?;
    let member = member.to_string_lossy().replace('\\', "/");
    let workspace = document.get_mut("workspace").ok_or_else(|| {
        wrong("it has no `[workspace]`: the Rust modules of an application are members of one Cargo workspace")
    })?;
    let table = workspace.as_table_like_mut().ok_or_else(|| wrong("`workspace` is not a table"))?;
    let members = table.entry("members").or_insert(value(Array::new()));
    let members = members.as_array_mut().ok_or_else(|| wrong("`workspace.members` is not a list"))?;
    let is_listed = members.iter().any(|one| one.as_str() == Some(&member));
    if !is_listed {
        let prefix = members.iter().last().and_then(|last| last.decor().prefix()?.as_str().map(str::to_owned));
        // A list with a line for each member gets a line. A comment above the last one is that one's own.
        match prefix.as_deref().and_then(|prefix| prefix.rfind('\n').map(|at| &prefix[at..])) {
            Some(line) => members.push_formatted(toml_edit::Value::from(member).decorated(line, "")),
            None => members.push(member),
        }
    }
    let facts = facts(&document["workspace"]);
    files.edit(path, document.to_string());
    Ok(facts)
}

/// Finds the manifest of the Cargo workspace, from the application's folder up to its workspace. Stages one if there is none.
fn cargo_workspace(files: &mut StagedFiles, place: &Place) -> Result<(PathBuf, DocumentMut), NewError> {
    for folder in place.root.ancestors() {
        let path = folder.join("Cargo.toml");
        if let Some(document) = read(files, &path)? {
            return Ok((path, document));
        }
        if folder == place.workspace {
            break;
        }
    }
    let path = place.workspace.join("Cargo.toml");
    files.create(path.clone(), WORKSPACE.to_owned());
    let document = read(files, &path)?.unwrap_or_default();
    Ok((path, document))
}

fn facts(workspace: &Item) -> Value {
    let has = |table: &str, key: &str| workspace.get(table).and_then(|table| table.get(key)).is_some();
    let own = [
        ("version", Some("version = \"0.1.0\"")),
        ("edition", Some("edition = \"2024\"")),
        ("rust-version", None),
        ("license", None),
        ("publish", Some("publish = false")),
    ];
    let lines = own.iter().filter_map(|(key, own)| match own {
        _ if has("package", key) => Some(format!("{key}.workspace = true")),
        own => own.map(str::to_owned),
    });
    let dependency = |name: &str, own: &'static str| {
        if has("dependencies", name) { ".workspace = true" } else { own }
    };
    json!({
        "package": lines.collect::<Vec<_>>(),
        "lints": workspace.get("lints").is_some(),
        "wit_bindgen": dependency("wit-bindgen", WIT_BINDGEN),
        "rusqlite": dependency("rusqlite", RUSQLITE),
    })
}
