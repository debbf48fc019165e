//! Mounts: modules that answer all requests below a path by an HTTP handler of their own.
//!
//! This file knows which handlers there are and which of them the host serves. It calls none.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ::http::Method;

use crate::graph::render::MountView;
use crate::graph::{AppGraph, is_handler};
use watertight_component::shape::{Field, Function, Interface, Resource, Type, differences};
use watertight_model::config::{HostPattern, MountConfig};
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem, list_names};

/// The version of WASI whose HTTP handler a module exports. A later version is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HandlerVersion {
    /// `wasi:http/incoming-handler@0.2.x`.
    P2,
    /// `wasi:http/handler@0.3.x`.
    P3,
}

impl HandlerVersion {
    /// All versions that this host serves.
    const ALL: [Self; 2] = [Self::P2, Self::P3];

    /// Returns the version of the HTTP handler `interface`. `None` if it is no handler, or one of another version.
    pub fn of(interface: &InterfaceName) -> Option<Self> {
        let has_name =
            |version: &Self| interface.unversioned() == version.name() && interface.is_release_of(version.series());
        Self::ALL.into_iter().find(has_name)
    }

    /// Lists the handlers that this host serves, for a message.
    pub(super) fn list_served() -> String {
        list_names(Self::ALL)
    }

    /// Returns the name of the handler's interface, without a version.
    fn name(self) -> &'static str {
        match self {
            Self::P2 => "wasi:http/incoming-handler",
            Self::P3 => "wasi:http/handler",
        }
    }

    /// Returns the prefix of the versions that this version has.
    fn series(self) -> &'static str {
        match self {
            Self::P2 => "0.2.",
            Self::P3 => "0.3.",
        }
    }

    /// Returns WASI's contract of the handler `interface`. `offered` is what a module exports under that name.
    fn contract(self, interface: &InterfaceName, offered: &Interface) -> Interface {
        let types: Option<InterfaceName> =
            interface.version().and_then(|version| format!("wasi:http/types@{version}").parse().ok());
        let own = |name: &str| Type::Own(Resource { interface: types.clone(), name: name.into() });
        let parameter = |name: &str, resource: &str| Field { name: name.into(), ty: own(resource) };
        let handle = match self {
            Self::P2 => Function {
                parameters: vec![
                    parameter("request", "incoming-request"),
                    parameter("response-out", "response-outparam"),
                ],
                result: None,
                is_async: false,
                docs: None,
            },
            Self::P3 => Function {
                parameters: vec![parameter("request", "request")],
                // The error is a type of the imported `wasi:http/types`, which the linker compares.
                result: Some(Type::Result { ok: Some(Arc::new(own("response"))), err: error_of(offered) }),
                is_async: true,
                docs: None,
            },
        };
        Interface { functions: BTreeMap::from([(HANDLE.to_owned(), handle)]), ..Interface::default() }
    }
}

/// The function of a handler.
const HANDLE: &str = "handle";

/// Returns the error type that the function of a handler has. `None` if it has none.
fn error_of(handler: &Interface) -> Option<Arc<Type>> {
    match handler.functions.get(HANDLE)?.result.as_ref()? {
        Type::Result { err, .. } => err.clone(),
        _ => None,
    }
}

impl fmt::Display for HandlerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}x", self.name(), self.series())
    }
}

/// A mount, bound to the handler that answers its requests.
#[derive(Debug)]
pub struct Mount {
    /// The name of the host that the mount answers. `None` means every host.
    pub host: Option<HostPattern>,
    /// The path that the mount takes, together with every path below it. `/` takes all requests.
    pub path: Arc<str>,
    /// The host and the path, which name the mount in logs and metrics: `/files`, or `api.example.com/files`.
    pub label: Arc<str>,
    /// The module whose handler answers.
    pub module: ModuleName,
    /// The name under which the module exports the handler.
    pub interface: InterfaceName,
    /// The version of WASI that the handler is made for.
    pub version: HandlerVersion,
    /// Whether the handler gets the path of a request without the path of the mount.
    pub strip: bool,
    /// The methods of the requests that the mount takes. `None` means every method.
    pub methods: Option<Vec<Method>>,
}

impl Mount {
    /// Whether the mount takes requests with this method. A mount that takes GET takes HEAD too, as routes do.
    pub fn takes(&self, method: &Method) -> bool {
        self.methods.as_ref().is_none_or(|methods| {
            methods.contains(method) || (*method == Method::HEAD && methods.contains(&Method::GET))
        })
    }

    /// Returns the mount in the form in which a graph shows it.
    pub fn view(&self) -> MountView<'_> {
        let methods = self.methods.as_ref();
        MountView {
            host: self.host.as_ref().map(HostPattern::as_str),
            path: &self.path,
            module: &self.module,
            handler: &self.interface,
            strip: self.strip,
            methods: methods.map(|methods| methods.iter().map(Method::as_str).collect()),
        }
    }
}

/// The mounts of one host, which are found by the paths of requests.
#[derive(Debug, Default)]
pub(super) struct MountTable {
    /// The index of each mount in the route table, by its path.
    by_path: HashMap<Arc<str>, usize>,
    /// The length of the longest path of a mount, in bytes. It bounds the look-ups for a request with a long path.
    longest: usize,
}

impl MountTable {
    /// Adds the mount at index `index` of the route table.
    pub(super) fn add(&mut self, path: Arc<str>, index: usize) {
        self.longest = self.longest.max(path.len());
        self.by_path.insert(path, index);
    }

    /// Iterates over the indexes of the mounts that have `path` or a part of it that ends at a segment's border, the longest first.
    pub(super) fn matching(&self, path: &str) -> impl Iterator<Item = usize> {
        // The path `/` is the only one that ends with a slash.
        let is_border = move |end: &usize| path.as_bytes().get(*end).is_none_or(|byte| *byte == b'/');
        let ends = (2..=self.longest.min(path.len())).rev().filter(is_border);
        let prefixes = ends.filter_map(move |end| path.get(..end));
        let root = path.starts_with('/').then_some("/");
        prefixes.chain(root).filter_map(move |prefix| self.by_path.get(prefix).copied())
    }
}

/// Binds a mount to the handler of its module. Returns `None` and adds to `problems` if there is no fitting one.
pub(super) fn bind(mount: &MountConfig, graph: &AppGraph, problems: &mut Vec<Problem>) -> Option<Mount> {
    let module = &mount.module.value;
    let (interface, version) = bind_handler(module, (&mount.file, mount.module.line), "mounted", graph, problems)?;
    Some(Mount {
        host: mount.host.clone(),
        path: mount.path.as_str().into(),
        label: super::label(mount.host.as_ref(), mount.path.as_str()),
        module: module.clone(),
        interface,
        version,
        strip: mount.strip,
        methods: mount.methods.clone(),
    })
}

/// Finds the handler of a module, and compares it with WASI's contract. Returns the name of the export. Returns `None` and adds to
/// `problems` if there is no fitting one: each has the place `(file, line)` and says that the module can't be `what`.
pub(super) fn bind_handler(
    module: &ModuleName,
    (file, line): (&Arc<Path>, u32),
    what: &str,
    graph: &AppGraph,
    problems: &mut Vec<Problem>,
) -> Option<(InterfaceName, HandlerVersion)> {
    // A missing component was reported already.
    let exports = &graph.modules.get(module)?.artifact.shape.exports;
    let report = |code: Code, message: String| Problem::new(code, message).module(module).file(file).line(line);
    let (name, interface) = match choose(exports) {
        Ok(found) => found,
        Err(reason) => {
            let (code, message, help) = reason.explain(module, what);
            problems.push(report(code, message).help(help));
            return None;
        }
    };
    let version = HandlerVersion::of(interface.identity(name))?;
    has_contract(module, (name, interface), version, report, problems).then(|| (name.clone(), version))
}

/// Compares a handler that a module exports or imports under a name with WASI's contract. Returns whether they are equal. Each difference
/// becomes a problem, which `report` makes of a code and a message.
pub(super) fn has_contract(
    module: &ModuleName,
    (name, interface): (&InterfaceName, &Interface),
    version: HandlerVersion,
    report: impl Fn(Code, String) -> Problem,
    problems: &mut Vec<Problem>,
) -> bool {
    let identity = interface.identity(name);
    let found = differences(&version.contract(identity, interface), interface);
    for difference in &found {
        let message = format!("`{identity}` of module `{module}` does not match WASI's contract of that name");
        let problem = report(Code::TypeMismatch, message).interface(identity).function(HANDLE);
        let mut problem = problem.expected(&*difference.expected, &*difference.found);
        problem.type_path.clone_from(&difference.type_path);
        problems.push(problem.help(format!("build the module against the WIT of `{identity}`")));
    }
    found.is_empty()
}

/// The reason why no export of a module can be mounted.
enum NoHandler {
    /// The module exports no handler.
    Missing,
    /// The module exports handlers of versions that this host doesn't serve.
    NotServed(Vec<InterfaceName>),
    /// The module exports one handler under several labels.
    Ambiguous(Vec<InterfaceName>),
}

/// Chooses the handler among a module's exports: the newest version that this host serves. A name of its own wins over a label.
fn choose(exports: &BTreeMap<InterfaceName, Interface>) -> Result<(&InterfaceName, &Interface), NoHandler> {
    let handlers: Vec<_> = exports.iter().filter(|(name, interface)| is_handler(interface.identity(name))).collect();
    let served = HandlerVersion::of;
    let newest = handlers.iter().filter(|(name, interface)| served(interface.identity(name)).is_some()).max_by(
        |(a, of_a), (b, of_b)| {
            let (first, second) = (of_a.identity(a), of_b.identity(b));
            let versions = served(first).cmp(&served(second)).then_with(|| first.compare_versions(second));
            versions.then_with(|| b.is_label().cmp(&a.is_label()))
        },
    );
    let Some((name, interface)) = newest.copied() else {
        let found = handlers.iter().map(|(name, interface)| interface.identity(name).clone()).collect::<Vec<_>>();
        return Err(if found.is_empty() { NoHandler::Missing } else { NoHandler::NotServed(found) });
    };
    let same = handlers.iter().filter(|(_, other)| name.is_label() && other.implements == interface.implements);
    let labels: Vec<InterfaceName> = same.map(|(name, _)| (*name).clone()).collect();
    if labels.len() > 1 { Err(NoHandler::Ambiguous(labels)) } else { Ok((name, interface)) }
}

impl NoHandler {
    /// Returns the code, the message and the help of the problem with a module that can't be `what`.
    fn explain(&self, module: &ModuleName, what: &str) -> (Code, String, String) {
        let served = HandlerVersion::list_served();
        match self {
            Self::Missing => (
                Code::NoHandler,
                format!("module `{module}` can't be {what}: it exports no HTTP handler"),
                format!(
                    "let the module's world export one of {served}, or route requests to its functions by `[[route]]`"
                ),
            ),
            Self::NotServed(found) => (
                Code::NoHandler,
                format!(
                    "module `{module}` can't be {what}: it exports {}, and this host serves only {served}",
                    list_names(found)
                ),
                format!("build the module for {served}"),
            ),
            Self::Ambiguous(labels) => (
                Code::Ambiguous,
                format!("module `{module}` exports one HTTP handler under several labels: {}", list_names(labels)),
                "let the module's world export the handler once, under its own name".to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> InterfaceName {
        text.parse().expect("a name")
    }

    fn mount(path: &str, methods: Option<&[&str]>) -> Mount {
        let parse = |text: &&str| text.parse().expect("a method");
        Mount {
            host: None,
            path: path.into(),
            label: path.into(),
            module: "a".parse().expect("a name"),
            interface: name("wasi:http/incoming-handler@0.2.6"),
            version: HandlerVersion::P2,
            strip: false,
            methods: methods.map(|methods| methods.iter().map(parse).collect()),
        }
    }

    /// Returns the paths of the mounts in `paths` that match the path of a request.
    fn matching<'a>(paths: &[&'a str], path: &str) -> Vec<&'a str> {
        let mut table = MountTable::default();
        paths.iter().enumerate().for_each(|(index, path)| table.add((*path).into(), index));
        table.matching(path).map(|index| paths[index]).collect()
    }

    #[test]
    fn a_mount_takes_whole_segments_and_the_longest_comes_first() {
        let paths = ["/a/b", "/", "/a", "/a-b", "/a/b/c"];
        for (path, expected) in [
            ("/", &["/"][..]),
            ("/a", &["/a", "/"]),
            ("/a/", &["/a", "/"]),
            ("/ab", &["/"]),
            ("/a-b/x", &["/a-b", "/"]),
            ("/a/b", &["/a/b", "/a", "/"]),
            ("/a/bc", &["/a", "/"]),
            ("/a/b/c/d", &["/a/b/c", "/a/b", "/a", "/"]),
            ("/a//b", &["/a", "/"]),
            ("//a", &["/"]),
            ("/é/b", &["/"]),
            ("*", &[]),
            ("", &[]),
        ] {
            assert_eq!(matching(&paths, path), expected, "{path}");
        }
        assert_eq!(matching(&["/a"], "/b/a"), [""; 0]);
        assert_eq!(matching(&[], "/a"), [""; 0]);
    }

    #[test]
    fn a_mount_takes_the_methods_of_its_list() {
        let takes = |mount: &Mount, method: &str| mount.takes(&method.parse().expect("a method"));
        let all = mount("/", None);
        let some = mount("/", Some(&["GET", "PURGE"]));
        for (method, expected) in [("GET", true), ("HEAD", true), ("PURGE", true), ("POST", false), ("get", false)] {
            assert!(takes(&all, method));
            assert_eq!(takes(&some, method), expected, "{method}");
        }
        assert!(!takes(&mount("/", Some(&["POST"])), "HEAD"));
    }

    #[test]
    fn handlers_are_known_by_name_and_version() {
        for (interface, version) in [
            ("wasi:http/incoming-handler@0.2.0", Some(HandlerVersion::P2)),
            ("wasi:http/incoming-handler@0.2.12", Some(HandlerVersion::P2)),
            ("wasi:http/handler@0.3.0", Some(HandlerVersion::P3)),
            ("wasi:http/incoming-handler@0.3.0", None),
            ("wasi:http/incoming-handler@0.2.0-rc-2023-12-05", None),
            ("wasi:http/handler@0.3.0-rc-2025-09-16", None),
            ("wasi:http/handler@0.2.0", None),
        ] {
            assert_eq!(HandlerVersion::of(&name(interface)), version, "{interface}");
            assert!(is_handler(&name(interface)), "{interface}");
        }
        assert!(!is_handler(&name("wasi:http/outgoing-handler@0.2.6")));
        assert_eq!(HandlerVersion::P3.to_string(), "wasi:http/handler@0.3.x");
    }

    /// Exports of a module: each has its name, which may be a label, and the interface behind it.
    fn exports(given: &[(&str, &str)]) -> BTreeMap<InterfaceName, Interface> {
        let export = |(export, interface): &(&str, &str)| {
            let implements = (export != interface).then(|| name(interface));
            let export = InterfaceName::try_from((*export).to_owned()).expect("a name");
            (export, Interface { implements, ..Interface::default() })
        };
        given.iter().map(export).collect()
    }

    #[test]
    fn the_newest_handler_under_its_own_name_is_chosen() {
        let (old, new) = ("wasi:http/incoming-handler@0.2.9", "wasi:http/incoming-handler@0.2.10");
        let (next, draft) = ("wasi:http/handler@0.3.0", "wasi:http/handler@0.3.0-rc-2026-01-06");
        for (given, expected) in [
            (&[(old, old), (new, new), (next, next)][..], next),
            (&[(old, old), (new, new), (draft, draft)], new),
            (&[("web", new), (new, new)], new),
            (&[("web", new), (old, old)], "web"),
            (&[("web", old), ("other", new)], "other"),
        ] {
            let exports = exports(given);
            assert_eq!(choose(&exports).ok().map(|(name, _)| name.as_str()), Some(expected), "{given:?}");
        }
        assert!(matches!(choose(&exports(&[])), Err(NoHandler::Missing)));
        assert!(matches!(choose(&exports(&[(draft, draft)])), Err(NoHandler::NotServed(found)) if found.len() == 1));
        let twice = exports(&[("web", new), ("other", new)]);
        assert!(matches!(choose(&twice), Err(NoHandler::Ambiguous(labels)) if labels.len() == 2));
    }

    #[test]
    fn the_contracts_are_those_of_wasi() {
        for (version, interface) in
            [(HandlerVersion::P2, "wasi:http/incoming-handler@0.2.6"), (HandlerVersion::P3, "wasi:http/handler@0.3.0")]
        {
            let interface = name(interface);
            let mut offered = version.contract(&interface, &Interface::default());
            assert_eq!(differences(&offered, &Interface::default()).len(), 1, "{interface}");
            if let Some(Some(Type::Result { err, .. })) = offered.functions.get_mut(HANDLE).map(|f| &mut f.result) {
                *err = Some(Arc::new(Type::String));
            }
            assert_eq!(version.contract(&interface, &offered), offered, "{interface}");
            if let Some(handle) = offered.functions.get_mut(HANDLE) {
                handle.parameters.clear();
            }
            assert!(!differences(&version.contract(&interface, &offered), &offered).is_empty(), "{interface}");
        }
    }
}
