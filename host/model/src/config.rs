//! Reads the configuration of an application, its manifest and its route files, into checked types.
//!
//! Text enters only here; no code beyond this module parses it again. One pass finds every fault of every file. This module never reads a
//! component: it knows what an application says about itself, not whether that is true.
//!
//! The parts build on each other in this order: `source` (bytes to text and lines), `tree` (a walk that reports faults), `units` and
//! `words` (single values), `settings`, `json`, `compile_limits`, `values`, `outbound`, `capability`, `calls`, `modules`, `path`, `host`, `binding`, `answer`, `mount`, `middleware`, `proxies`, `examples`, `cors`,
//! `route`, `manifest` (the meaning).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::ids::{AppName, CompartmentName, ModuleName};
use crate::problem::{Code, Problem, Problems};

mod answer;
mod binding;
mod calls;
pub mod capability;
mod compile_limits;
mod cors;
mod examples;
mod fakes;
mod files;
mod host;
mod json;
mod manifest;
mod modules;
mod middleware;
mod mount;
mod outbound;
mod partial;
mod path;
mod proxies;
mod route;
mod settings;
mod source;
mod telemetry;
mod tree;
mod units;
mod values;
mod words;

#[cfg(test)]
mod tests;

pub use answer::{
    ANY_ERROR, AnswerConfig, BadTemplate, CookieConfig, ErrorConfig, Errors, EtagConfig, HeaderTemplates, Hole,
    HolePlace, SameSite, SuccessStatus, Template, TemplateKind, TemplatePart, is_cookie_character, is_json_type,
    is_media_type, is_tag_character, is_url_character, needs_location,
};
pub use binding::{Binding, Bindings, BodyBinding, BodyFormat, BodyTarget, RequestPart};
pub use calls::AllowedCalls;
pub use compile_limits::CompileLimits;
pub use cors::{AddedHeaders, CorsConfig, CorsOrigin, CorsOrigins, CorsRules, DoorConfig};
pub use examples::{ExampleCall, Examples, MAX_EXAMPLE};
pub use files::{AppFiles, TextFile};
pub use host::{BadHost, HostPattern};
pub use json::{JsonStyle, NameCase, WideIntegers};
pub use middleware::MiddlewareConfig;
pub use modules::{CompartmentConfig, ComponentSource, ModuleConfig};
pub use mount::{MountConfig, MountPath};
pub use outbound::{AllowedOrigin, BadOrigin, HostName, Origin, OutboundConfig, Scheme};
pub use partial::{PartialConfig, PartialRoute, UncertainParts};
pub use path::{BadPath, PathTemplate, Segment, is_path_character};
pub use proxies::TrustedProxies;
pub use route::{Method, RouteConfig, UnknownInput};
pub use settings::{
    Defaults, HttpLimits, InstanceMode, Instances, Limits, LogConfig, LogFormat, LogLevel, SqlLimits, StreamLimits,
};
pub use source::LocatedValue;
pub use telemetry::{BadCollector, Collector, Ratio, TracingConfig};
pub use tree::{Table, Value};
pub use values::{ModuleValues, Secret, SecretSource, ValueSource, Values};
pub use words::UnknownWord;

use capability::Declarations;
use manifest::{App, Manifest};
use modules::{DeclaredModules, Folders};
use route::{FoundRoutes, RouteDefaults, read_routes};
use source::Source;

/// The file name of an application's manifest.
const MANIFEST: &str = "app.toml";
/// The folder of a project that may hold the manifest: `modules/app.toml`.
const MODULES: &str = "modules";
/// The default state folder, relative to the manifest's folder.
const STATE: &str = ".watertight";
/// A stand-in for the name of an application whose manifest gives none. Such an application never runs.
const NAMELESS: &str = "app";
/// The folder for built components, relative to the workspace: `watertight build` writes them, and the host reads them.
const COMPONENTS: &str = "target/components";
/// The default address of the data listener: reachable from this machine only.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// The default address of the admin listener: reachable from this machine only.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// Greatest number of route files. A glob that finds more was probably meant to find other files.
const MAX_ROUTE_FILES: usize = 1000;

/// The configuration of an application: its files, with the overrides of the command line applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppConfig {
    /// The name of the application.
    pub name: AppName,
    /// The path of the manifest.
    pub manifest: PathBuf,
    /// The folder of the manifest.
    pub root: PathBuf,
    /// The workspace: the nearest folder, at `root` or above it, that holds a folder `wit`; or else `root`. An absolute path.
    pub workspace: PathBuf,
    /// The address of the data listener, for requests. Default: 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// The address of the admin listener, for operators. Default: 127.0.0.1:8081.
    pub admin: SocketAddr,
    /// The address of the listener that serves only probes such as `/livez`. `None` means that there is no such listener.
    pub probe: Option<SocketAddr>,
    /// The state folder: databases, history, compiled code. Default: `.watertight` beside the manifest.
    pub state: PathBuf,
    /// The modules. There is at least one.
    pub modules: BTreeMap<ModuleName, ModuleConfig>,
    /// The compartments that the manifest defines. No module is in two of them.
    pub compartments: BTreeMap<CompartmentName, CompartmentConfig>,
    /// The settings of compartments that the manifest does not define.
    pub defaults: Defaults,
    /// The limits of the data listener.
    pub http: HttpLimits,
    /// The settings of the host's own log.
    pub log: LogConfig,
    /// The limits for compiling components: time and memory.
    pub compile: CompileLimits,
    /// The recording of spans: the share that is recorded, and the collector that receives them.
    pub telemetry: TracingConfig,
    /// The routes, in the order of files and lines. No two match the same requests.
    pub routes: Vec<RouteConfig>,
    /// The mounts, in the order of files and lines. No two have the same path.
    pub mounts: Vec<MountConfig>,
    /// The middlewares, in the order of files and lines, which is the order in which requests pass them.
    pub middlewares: Vec<MiddlewareConfig>,
    /// The tables `[[cors]]`, in the order of files and lines. No two have the same path.
    pub cors: Vec<CorsConfig>,
    /// The keys of `[http]` that belong to a generation.
    pub door: DoorConfig,
    /// The capabilities that this host can grant to modules.
    pub capabilities: Declarations,
    /// The text of the files that the configuration was read from.
    pub files: AppFiles,
}

impl AppConfig {
    /// Whether a capability of the module keeps data, so that the module has a database.
    pub fn keeps_data(&self, module: &ModuleConfig) -> bool {
        module.uses.keys().any(|capability| self.capabilities.keeps_data(capability))
    }
}

/// What the host's process adds to the manifest: its capabilities, and values of the command line or the environment that override the
/// manifest. If a flag and its environment variable are both given, the flag's value is here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The data listener's address from `--listen` or `WATERTIGHT_LISTEN`. `None` means that the manifest's address holds.
    pub listen: Option<SocketAddr>,
    /// The admin listener's address from `--admin` or `WATERTIGHT_ADMIN`. `None` means that the manifest's address holds.
    pub admin: Option<SocketAddr>,
    /// The address of the listener for probes from `--probe` or `WATERTIGHT_PROBE`. `None` means that the manifest's address holds.
    pub probe: Option<SocketAddr>,
    /// The state folder from `--state` or `WATERTIGHT_STATE`, relative to the folder that the host was started in. `None` means that the
    /// manifest's folder holds.
    pub state: Option<PathBuf>,
    /// The collector of spans from `--otlp` or `OTEL_EXPORTER_OTLP_ENDPOINT`. `None` means that the manifest's collector holds.
    pub otlp: Option<Collector>,
    /// The folder with built components, for modules that the manifest gives as a folder of sources. `None` means `target/components` in
    /// the workspace.
    pub components: Option<PathBuf>,
    /// The capabilities that modules may be granted. Default: the built-in ones.
    pub capabilities: Declarations,
    /// The modules that are faked, each with the component that has the exports of its contract. Only tools of authors set this.
    pub fakes: BTreeMap<ModuleName, PathBuf>,
}

/// Reads the application at `path`: a manifest, or a folder with `app.toml` or `modules/app.toml`.
///
/// # Errors
///
/// Every problem of the manifest and its route files: the manifest's first, and each file's in the order of lines. For a file with a
/// syntax error, that error is its only problem. A syntax error in the manifest hides the route files.
pub fn load(path: &Path, overrides: &Overrides) -> Result<AppConfig, Problems> {
    load_partial(path, overrides)?.into_config()
}

/// Reads the application at `path` as far as possible, and returns its faults together with what could be read.
///
/// # Errors
///
/// The problem that there is no manifest, or that it is not TOML.
pub fn load_partial(path: &Path, overrides: &Overrides) -> Result<PartialConfig, Problems> {
    let manifest = Source::read(&find_manifest(path)?)?;
    read(manifest, overrides, |app, root, manifest| {
        let sources = |key: &str, globs: &[LocatedValue<String>]| {
            find_files(key, globs, root, manifest).iter().map(|file| Source::read(file)).collect()
        };
        FoundFiles { routes: sources("app.routes", &app.routes), examples: sources("app.examples", &app.examples) }
    })
}

/// Reads the manifest of the application at `path` without its routes. Use it where only the modules matter.
///
/// # Errors
///
/// Every problem of the manifest.
pub fn load_manifest(path: &Path, overrides: &Overrides) -> Result<AppConfig, Problems> {
    let manifest = Source::read(&find_manifest(path)?)?;
    read(manifest, overrides, |_, _, _| FoundFiles::default())?.into_config()
}

/// Reads an application from text in memory. No file is read.
///
/// # Errors
///
/// Every problem of the manifest and its route files, as for [`load`].
pub fn parse(files: &AppFiles, overrides: &Overrides) -> Result<AppConfig, Problems> {
    parse_partial(files, overrides)?.into_config()
}

/// Reads an application from text in memory as far as possible, and returns its faults together with what could be read.
///
/// # Errors
///
/// The problem that the manifest is not TOML, or that there are too many route files.
pub fn parse_partial(files: &AppFiles, overrides: &Overrides) -> Result<PartialConfig, Problems> {
    let source = |file: &TextFile| Source::new(&file.path, file.text.clone().into_bytes());
    for (files_of, what) in [(&files.routes, "route files"), (&files.examples, "files of examples")] {
        if files_of.len() > MAX_ROUTE_FILES {
            let message = format!("there are more than {MAX_ROUTE_FILES} {what}");
            return Err(Problem::new(Code::BadValue, message).file(&files.manifest.path).into());
        }
    }
    read(source(&files.manifest)?, overrides, |_, _, _| FoundFiles {
        routes: files.routes.iter().map(source).collect(),
        examples: files.examples.iter().map(source).collect(),
    })
}

/// The files that a manifest names, as far as they can be read.
#[derive(Default)]
struct FoundFiles {
    routes: Vec<Result<Source, Problems>>,
    examples: Vec<Result<Source, Problems>>,
}

/// Reads a manifest, and the files that `find` returns for its table `[app]` and its folder.
fn read(
    source: Source,
    overrides: &Overrides,
    find: impl FnOnce(&App, &Path, &Source) -> FoundFiles,
) -> Result<PartialConfig, Problems> {
    let file = source.path().to_path_buf();
    let tree = source.parse()?;
    let root = file.parent().filter(|root| !root.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let workspace = find_workspace(&root);
    let components = overrides.components.clone().unwrap_or_else(|| workspace.join(COMPONENTS));
    let folders = Folders { root, workspace, components };
    let manifest = tree::document(&source, &tree, |table| Manifest::read(table, &folders, &overrides.capabilities));

    let Manifest {
        app,
        modules,
        declared,
        compartments,
        defaults,
        http,
        log,
        compile,
        mut telemetry,
        json,
        mut door,
        uncertain: mut doubts,
    } = manifest;
    telemetry.otlp = overrides.otlp.clone().or(telemetry.otlp);
    let (mut modules, mut compartments) = (modules, compartments);
    fakes::replace(&overrides.fakes, &mut modules, &mut compartments, &source);
    let FoundFiles { routes: route_sources, examples } = find(&app, &folders.root, &source);
    let RouteFiles { found, files: route_files, problems: route_problems } =
        load_routes(route_sources, &declared, RouteDefaults { unknown_input: app.unknown_input, json, host: None });
    doubts.routes = found.partial_routes;
    doubts.mounts = found.partial_mounts;
    doubts.middlewares = found.partial_middlewares;
    doubts.middlewares_are_unknown = found.has_unreadable;
    let (listen, admin, probe) = addresses(&app, overrides, &source);
    let state = overrides.state.clone().unwrap_or_else(|| folders.root.join(app.state.as_deref().unwrap_or(STATE)));

    drop(tree);
    let manifest = source.to_file();
    let mut problems = source.into_problems();
    problems.extend(route_problems);
    let examples = read_examples(examples, &mut door.examples, &mut problems);
    let files = AppFiles { manifest, routes: route_files, examples };
    let Folders { root, workspace, .. } = folders;
    let config = AppConfig {
        // A missing name is already reported.
        name: app.name.unwrap_or_else(|| NAMELESS.parse().expect("it is kebab-case")),
        manifest: file,
        root,
        workspace,
        listen,
        admin,
        probe,
        state,
        modules,
        compartments,
        defaults,
        http,
        log,
        compile,
        telemetry,
        routes: found.routes,
        mounts: found.mounts,
        middlewares: found.middlewares,
        cors: found.cors,
        door,
        capabilities: overrides.capabilities.clone(),
        files,
    };
    Ok(PartialConfig { config, problems, uncertain: doubts })
}

/// Returns the addresses of the data listener, of the admin listener and, if there is one, of the listener for probes. Reports addresses
/// that are equal.
fn addresses(app: &App, overrides: &Overrides, source: &Source) -> (SocketAddr, SocketAddr, Option<SocketAddr>) {
    let listen = overrides.listen.or(app.listen.as_deref().copied()).unwrap_or(LISTEN);
    let admin = overrides.admin.or(app.admin.as_deref().copied()).unwrap_or(ADMIN);
    let probe = overrides.probe.or(app.probe.as_deref().copied());
    let line = |own: Option<LocatedValue<SocketAddr>>| {
        own.or(app.admin).or(app.listen).map_or(app.line, |address| address.line)
    };
    let all = [("listen", Some(listen), app.listen), ("admin", Some(admin), app.admin), ("probe", probe, app.probe)];
    for (place, (name, address, own)) in all.iter().enumerate() {
        // For port 0 the system picks a free port for each listener.
        let Some(address) = address.filter(|address| address.port() != 0) else { continue };
        let Some((other, ..)) = all[..place].iter().find(|(_, other, _)| *other == Some(address)) else { continue };
        let problem = Problem::new(Code::Duplicate, format!("`{other}` and `{name}` are both {address}"));
        let help = "flags and environment variables override the manifest, and the manifest overrides the defaults";
        source.report(line(*own), problem.help(help));
    }
    (listen, admin, probe)
}

/// Returns the manifest of the application in `folder`: `app.toml` or `modules/app.toml`. `None` if there is neither.
pub fn manifest_in(folder: &Path) -> Option<PathBuf> {
    let candidates = [folder.join(MANIFEST), folder.join(MODULES).join(MANIFEST)];
    candidates.into_iter().find(|file| file.is_file())
}

fn find_manifest(path: &Path) -> Result<PathBuf, Problems> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    // Messages name files relative to the current folder.
    let path = path.strip_prefix(".").unwrap_or(path);
    manifest_in(path).ok_or_else(|| {
        let message = format!("the folder holds neither `{MANIFEST}` nor `{MODULES}/{MANIFEST}`");
        Problem::new(Code::Unreadable, message).file(path).help("name the manifest or its folder").into()
    })
}

fn find_workspace(root: &Path) -> PathBuf {
    // Only an empty path or a current folder that was removed has no absolute form. A manifest was read, so neither occurs here.
    let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let workspace = root.ancestors().find(|folder| folder.join("wit").is_dir());
    workspace.map_or_else(|| root.clone(), Path::to_owned)
}

/// Returns the files that the globs of `key` find, each once, in the order of the globs and alphabetically within a glob.
fn find_files(key: &str, globs: &[LocatedValue<String>], root: &Path, source: &Source) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    for glob in globs {
        let found = match expand(key, root, glob) {
            Ok(found) => found,
            Err(problems) => {
                problems.into_vec().into_iter().for_each(|problem| source.report(glob.line, problem));
                continue;
            }
        };
        if found.is_empty() {
            let message = format!("`{key}`: `{}` finds no file", **glob);
            let help = format!("globs are relative to the manifest's folder, {}", root.display());
            source.report(glob.line, Problem::new(Code::Unreadable, message).help(help));
        }
        files.extend(found.into_iter().filter(|file| seen.insert(file.clone())));
    }
    files
}

fn expand(key: &str, root: &Path, glob: &str) -> Result<Vec<PathBuf>, Problems> {
    // A `*` stays within a folder and doesn't match a leading dot, because editors leave files such as `.#a.toml` behind.
    let options =
        MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let root = root.to_str().ok_or_else(|| Problem::new(Code::Unreadable, "the folder's path is not UTF-8"))?;
    let pattern = format!("{}/{glob}", Pattern::escape(root));
    let bad = |why: &dyn std::fmt::Display| Problem::new(Code::BadValue, format!("`{key}`: `{glob}`: {why}"));
    let mut files = Vec::new();
    for entry in glob::glob_with(&pattern, options).map_err(|error| bad(&error.msg))? {
        let file = entry.map_err(|error| {
            Problem::new(
                Code::Unreadable,
                format!("can't read the folder {}: {}", error.path().display(), error.error()),
            )
        })?;
        // A broken link stays in the list: reading it reports the fault.
        if !file.is_dir() {
            files.push(file);
        }
        if files.len() > MAX_ROUTE_FILES {
            return Err(bad(&format_args!("it finds more than {MAX_ROUTE_FILES} files")).into());
        }
    }
    Ok(files)
}

/// The content of all route files of an application.
#[derive(Default)]
struct RouteFiles {
    found: FoundRoutes,
    files: Vec<TextFile>,
    problems: Vec<Problem>,
}

fn load_routes(
    sources: Vec<Result<Source, Problems>>,
    declared: &DeclaredModules,
    defaults: RouteDefaults<'_>,
) -> RouteFiles {
    let mut all = RouteFiles::default();
    for source in sources {
        match source {
            Ok(source) => {
                read_routes(&source, declared, defaults, &mut all.found);
                all.files.push(source.to_file());
                all.problems.extend(source.into_problems());
            }
            Err(refused) => all.problems.extend(refused.into_vec()),
        }
    }
    all
}

/// Reads files of examples into `examples`. Returns their texts, and adds their faults to `problems`.
fn read_examples(
    sources: Vec<Result<Source, Problems>>,
    examples: &mut Examples,
    problems: &mut Vec<Problem>,
) -> Vec<TextFile> {
    let mut files = Vec::new();
    for source in sources {
        match source {
            Ok(source) => {
                let file = source.to_file();
                examples.read(&source, &file.text);
                files.push(file);
                problems.extend(source.into_problems());
            }
            Err(refused) => problems.extend(refused.into_vec()),
        }
    }
    files
}
