//! `watertight new`: makes applications and modules from templates.
//!
//! Everything is rendered and checked before the first file is written, and no file that exists is overwritten. A new module is added to
//! the manifest of its application, and a Rust module to the Cargo workspace too; both keep their comments.

mod c;
mod error;
mod facts;
mod format;
mod languages;
mod manifests;
mod python;
mod stubs;
mod templates;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use watertight_model::config::capability::Declarations;
use watertight_model::config::{AppConfig, ComponentSource, Overrides, load_manifest, manifest_in};
use watertight_model::ids::{AppName, BadName, ModuleName};

pub use error::NewError;
pub use languages::{LANGUAGES, Starter};

use crate::staged::{StageError, StagedFiles, is_taken};
use crate::wit::{Package, Packages, stage};

/// The name of the module that a new application has.
const FIRST_MODULE: &str = "items";

/// The folders of an application that are not modules.
const FOLDERS: [&str; 6] = ["routes", "target", "wit", "sdk", "modules", "wkg"];

/// An application that gets a module.
#[derive(Debug, Clone)]
pub struct Place {
    /// The name of the application: the namespace of its contracts.
    app: AppName,
    /// The folder of the manifest, where modules stand.
    root: PathBuf,
    /// The manifest.
    manifest: PathBuf,
    /// The folder that holds `wit`. An absolute path, at `root` or above it.
    workspace: PathBuf,
    /// The modules, each with its source folder if it has one.
    modules: BTreeMap<ModuleName, Option<PathBuf>>,
    capabilities: Declarations,
}

impl Place {
    /// Returns the place that an application is.
    pub fn of(config: &AppConfig) -> Self {
        let modules = config.modules.iter().map(|(name, module)| match &module.component.value {
            ComponentSource::Folder { folder, .. } => (name.clone(), Some(folder.clone())),
            ComponentSource::File(_) => (name.clone(), None),
        });
        Self {
            app: config.name.clone(),
            root: std::path::absolute(&config.root).unwrap_or_else(|_| config.root.clone()),
            manifest: config.manifest.clone(),
            workspace: config.workspace.clone(),
            modules: modules.collect(),
            capabilities: config.capabilities.clone(),
        }
    }
}

/// What a new module is.
#[derive(Debug, Clone)]
pub struct ModuleOptions {
    /// The name of the module, which is the name of its folder.
    pub name: String,
    /// The language of the module.
    pub language: &'static Starter,
    /// The WIT package to implement, with or without its version. `None` means a new contract with the module's name.
    pub exports: Option<String>,
    /// The modules of the application to call.
    pub calls: Vec<String>,
    /// The capabilities of the host to use.
    pub uses: Vec<String>,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// The files that were created or changed, in order.
    pub files: Vec<PathBuf>,
    /// Things worth knowing: what has still to be written by hand.
    pub notes: Vec<String>,
}

impl Made {
    /// Returns what to run in the module's folder for its native tests.
    pub fn native_tests(&self, language: &Starter) -> String {
        let is_locked = self.files.iter().any(|file| file.ends_with("package-lock.json"));
        // `npm ci` needs a lock file, which only a module with packages has at first.
        if is_locked { language.test.to_owned() } else { language.test.replace("npm ci", "npm install") }
    }
}

/// Makes an application in a new folder of `parent`, with a module that has data, a route and a suite. `parent` must not belong to another
/// application.
///
/// # Errors
///
/// [`NewError`]; then nothing was written.
pub fn app(
    parent: &Path,
    name: &str,
    language: &'static Starter,
    capabilities: &Declarations,
) -> Result<Made, NewError> {
    let app: AppName = name.parse()?;
    check_namespace(app.as_str())?;
    check_words(app.as_str(), language)?;
    let parent =
        std::path::absolute(parent).map_err(|source| NewError::Unreadable { path: parent.to_owned(), source })?;
    // A path with `..` or a link leads elsewhere than its text says.
    if let Some(manifest) = application_of(&parent.canonicalize().unwrap_or_else(|_| parent.clone())) {
        return Err(NewError::Nested { manifest });
    }
    let root = parent.join(app.as_str());
    if is_taken(&root) {
        return Err(StageError::Exists(vec![root]).into());
    }
    let manifest = root.join("app.toml");
    let place = Place {
        app,
        workspace: root.clone(),
        root,
        manifest,
        modules: BTreeMap::new(),
        capabilities: capabilities.clone(),
    };
    let facts = serde_json::json!({ "app": place.app, "name": FIRST_MODULE, "export_folder": "" });
    let mut files = StagedFiles::default();
    create_all(&mut files, &place.root, "app", &facts)?;
    let options = ModuleOptions {
        name: FIRST_MODULE.to_owned(),
        language,
        exports: None,
        calls: Vec::new(),
        uses: vec!["sql".to_owned()],
    };
    let notes = stage_module(&mut files, &place, &options)?;
    finish(files, notes)
}

/// Makes a module in an application.
///
/// # Errors
///
/// [`NewError`]; then nothing was written.
pub fn module(place: &Place, options: &ModuleOptions) -> Result<Made, NewError> {
    let mut files = StagedFiles::default();
    let notes = stage_module(&mut files, place, options)?;
    finish(files, notes)
}

fn finish(files: StagedFiles, notes: Vec<String>) -> Result<Made, NewError> {
    let mut paths: Vec<PathBuf> = files.paths().map(Path::to_owned).collect();
    paths.sort();
    paths.dedup();
    files.write()?;
    Ok(Made { files: paths, notes })
}

fn stage_module(files: &mut StagedFiles, place: &Place, options: &ModuleOptions) -> Result<Vec<String>, NewError> {
    let name = check_name(&options.name, options.language)?;
    let folder = place.root.join(name.as_str());
    if place.modules.contains_key(&name) {
        return Err(NewError::Module { name: name.to_string() });
    }
    if is_taken(&folder) {
        return Err(StageError::Exists(vec![folder]).into());
    }
    let packages = Packages::of(&place.capabilities);
    let facts::Facts { mut json, packages: generated, host, uses, calls, notes } =
        facts::gather(place, options, &name, &folder, &packages)?;
    if options.language.name == "rust" {
        json["cargo"] = manifests::add_to_cargo(files, place, &folder)?;
    }
    create_all(files, &folder, "module", &json)?;
    create_all(files, &folder, options.language.name, &json)?;
    generated.into_iter().for_each(|(path, text)| files.create(folder.join(path), text));
    if options.exports.is_none() {
        create_all(files, &place.workspace, "contract", &json)?;
        if manifests::takes_routes(files, &place.manifest)? {
            create_all(files, &place.root.join("routes"), "routes", &json)?;
        }
    }
    let wanted: Vec<&Package> = host.iter().filter_map(|name| packages.iter().find(|one| one.name == *name)).collect();
    if !wanted.is_empty() {
        stage(files, &place.workspace, &packages, &wanted)?;
    }
    manifests::add_to_app(files, &place.manifest, &name, &calls, &uses)?;
    Ok(notes)
}

fn create_all(files: &mut StagedFiles, at: &Path, templates: &str, facts: &serde_json::Value) -> Result<(), NewError> {
    for (path, text) in templates::render(templates, facts).map_err(NewError::Template)? {
        let path = at.join(path);
        let formatted =
            path.extension().filter(|extension| *extension == "rs").and_then(|_| format::rust(&path, &text));
        files.create(path, formatted.unwrap_or(text));
    }
    Ok(())
}

/// Returns the manifest of the application that has `folder`, an absolute path: as its own folder, or within a module's folder or one of
/// [`FOLDERS`]. A manifest further above that has nothing to do with the folder doesn't count.
fn application_of(folder: &Path) -> Option<PathBuf> {
    let has_folder = |manifest: &PathBuf| {
        let Ok(config) = load_manifest(manifest, &Overrides::default()) else { return false };
        let Place { root, modules, .. } = Place::of(&config);
        let own = FOLDERS.iter().map(|name| root.join(name));
        own.chain(modules.into_values().flatten()).any(|part| folder.starts_with(part))
    };
    manifest_in(folder).or_else(|| folder.ancestors().skip(1).filter_map(manifest_in).find(has_folder))
}

/// Checks the name of a new application, which becomes the namespace of its contracts.
fn check_namespace(name: &str) -> Result<(), NewError> {
    if ["wasi", "watertight"].contains(&name) {
        return Err(NewError::reserved(name, "its contracts would be those of the host"));
    }
    check_wit(name)
}

/// Checks the name of a new module.
fn check_name(text: &str, language: &Starter) -> Result<ModuleName, NewError> {
    let name: ModuleName = text.parse()?;
    check_wit(name.as_str())?;
    check_words(name.as_str(), language)?;
    if language.template_words.contains(&name.as_str()) {
        return Err(NewError::reserved(name.as_str(), format!("it is a word of the templates for {}", language.title)));
    }
    let has_digit = name.as_str().split('-').any(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    if has_digit && !language.takes_digits {
        let reason = format!("{} can't carry names in which a word begins with a digit", language.title);
        return Err(NewError::reserved(name.as_str(), reason));
    }
    Ok(name)
}

/// Refuses keywords of a language, in which the name becomes an identifier, and names of folders that an application has.
fn check_words(name: &str, language: &Starter) -> Result<(), NewError> {
    if FOLDERS.contains(&name) {
        return Err(NewError::reserved(name, "the folder of this name is for something else"));
    }
    if language.keywords.contains(&name) {
        return Err(NewError::reserved(name, format!("it is a word of {}", language.title)));
    }
    Ok(())
}

/// Refuses words that WIT keeps for itself, such as `list`.
fn check_wit(name: &str) -> Result<(), NewError> {
    let text = format!("package {name}:{name}@1.0.0; interface {name} {{}}");
    match wit_parser::UnresolvedPackageGroup::parse("name.wit", &text) {
        Ok(_) => Ok(()),
        Err(_) => Err(NewError::reserved(name, "it is a word of WIT")),
    }
}

/// Parses the name of a module to call.
fn callee(text: &str) -> Result<ModuleName, BadName> {
    text.parse()
}

#[cfg(test)]
mod tests;
