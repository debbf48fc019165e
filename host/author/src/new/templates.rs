//! The templates of new applications and modules, embedded in the binary.
//!
//! A template ends with `.j2`. In its path, `NAME` stands for the module's name and `EXPORT` for the package of an exported interface. A
//! template that renders to nothing makes no file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use include_dir::{Dir, DirEntry, include_dir};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// Renders the templates of a folder. Returns each file's path, relative to the place where the folder's files belong, and its text.
pub(super) fn render(folder: &str, facts: &serde_json::Value) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let templates = TEMPLATES.get_dir(folder).with_context(|| format!("there is no folder `{folder}`"))?;
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?;
    let mut environment = Environment::new();
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let facts = Value::from(Serde(facts));
    let mut files = Vec::new();
    let mut folders = vec![templates];
    while let Some(folder) = folders.pop() {
        for entry in folder.entries() {
            let file = match entry {
                DirEntry::Dir(folder) => {
                    folders.push(folder);
                    continue;
                }
                DirEntry::File(file) => file,
            };
            let path = file.path().to_string_lossy();
            let text = file.contents_utf8().with_context(|| format!("`{path}` is not a text"))?;
            let rendered = environment.render_named_str(&path, text, facts.clone())?;
            let rendered = rendered.trim();
            if !rendered.is_empty() {
                files.push((placed(file.path().strip_prefix(templates.path())?, &facts)?, format!("{rendered}\n")));
            }
        }
    }
    Ok(files)
}

/// Returns the path of the file that a template makes.
fn placed(path: &Path, facts: &Value) -> anyhow::Result<PathBuf> {
    let path = path.to_string_lossy();
    let mut path = path.strip_suffix(".j2").context("a template ends with `.j2`")?.to_owned();
    for (word, fact) in [("NAME", facts.get_attr("name")?), ("EXPORT", facts.get_attr("export_folder")?)] {
        if let Some(text) = fact.as_str() {
            path = path.replace(word, text);
        }
    }
    Ok(path.into())
}
