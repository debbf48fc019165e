//! Middlewares: modules that get requests before whatever answers them, and pass them on by an import.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::mount::{self, HandlerVersion};
use super::{Mount, Route};
use crate::graph::render::MiddlewareView;
use crate::graph::{AppGraph, is_passing_import};
use watertight_model::config::{HostPattern, MiddlewareConfig};
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_model::problem::{Code, Problem};

/// A middleware, bound to the handler of its module.
#[derive(Debug)]
pub struct Middleware {
    /// The name of the host whose requests the middleware gets. `None` means every host.
    pub host: Option<HostPattern>,
    /// The path below which the middleware gets all requests. `/` stands for all requests.
    pub path: Arc<str>,
    /// The module.
    pub module: ModuleName,
    /// The name under which the module exports its handler, which is one of WASI 0.3.
    pub interface: InterfaceName,
}

impl Middleware {
    /// Whether the middleware gets requests for this host with this path. The path must be percent-encoded only where necessary. The host
    /// must be in lower case and have no port.
    pub fn covers(&self, host: Option<&str>, path: &str) -> bool {
        is_below(&self.path, path) && self.host.as_ref().is_none_or(|own| host.is_some_and(|host| own.matches(host)))
    }

    /// Whether a request can be for a host of the middleware and for `other`.
    fn shares_host(&self, other: Option<&HostPattern>) -> bool {
        self.host.as_ref().zip(other).is_none_or(|(own, other)| own.overlaps(other))
    }

    /// Returns the middleware in the form in which a graph shows it.
    pub fn view(&self) -> MiddlewareView<'_> {
        MiddlewareView { host: self.host.as_ref().map(HostPattern::as_str), path: &self.path, module: &self.module }
    }
}

/// Whether `path` is `prefix` or lies below it, by whole segments.
pub(super) fn is_below(prefix: &str, path: &str) -> bool {
    let rest = if prefix == "/" { Some(path) } else { path.strip_prefix(prefix) };
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Binds a middleware to the handler of its module. Returns `None` and adds to `problems` if the module is none.
pub(super) fn bind(middleware: &MiddlewareConfig, graph: &AppGraph, problems: &mut Vec<Problem>) -> Option<Middleware> {
    let MiddlewareConfig { file, path, module, .. } = middleware;
    let place = (file, module.line);
    let (module, node) = (&module.value, graph.modules.get(&module.value)?);
    let (interface, version) = mount::bind_handler(module, place, "a middleware", graph, problems)?;
    let mut refuse = |reason: String, help: String| {
        let message = format!("module `{module}` can't be a middleware: {reason}");
        let problem = Problem::new(Code::NoHandler, message).module(module).file(file).line(place.1);
        problems.push(problem.interface(&interface).help(help));
    };
    if version != HandlerVersion::P3 {
        refuse(
            format!("it exports `{interface}`, and a middleware exports `{}`", HandlerVersion::P3),
            "build the module for the world `wasi:http/middleware` of WASI 0.3".to_owned(),
        );
        return None;
    }
    let imports = &node.artifact.shape.imports;
    let Some((import, passing)) = imports.iter().find(|(name, import)| is_passing_import(import.identity(name))) else {
        refuse(
            "it doesn't import `wasi:http/handler`, so it can't pass a request on".to_owned(),
            "mount the module, or build it for the world `wasi:http/middleware`".to_owned(),
        );
        return None;
    };
    if let Some(provider) = node.calls.get(import) {
        let next = &provider.module;
        refuse(
            format!("it passes every request on to module `{next}`, which its `calls` names for `{import}`"),
            format!("mount `{module}` instead of `{next}`, or take `{next}` out of `calls` of [modules.{module}]"),
        );
        return None;
    }
    let report = |code, message: String| Problem::new(code, message).module(module).file(file).line(place.1);
    mount::has_contract(module, (import, passing), HandlerVersion::P3, report, problems).then_some(())?;
    let host = middleware.host.clone();
    Some(Middleware { host, path: path.value.as_str().into(), module: module.clone(), interface })
}

/// Reports each middleware that a request may need twice: it waits for an answer that waits for it.
pub(super) fn check_circles(
    middlewares: &[(&MiddlewareConfig, Middleware)],
    routes: &[Route],
    mounts: &[Mount],
    graph: &AppGraph,
    problems: &mut Vec<Problem>,
) {
    for (place, (config, middleware)) in middlewares.iter().enumerate() {
        let later = middlewares[place + 1..]
            .iter()
            .map(|(_, later)| later)
            .filter(|later| middleware.shares_host(later.host.as_ref()) && overlap(&middleware.path, &later.path));
        let mounts = mounts
            .iter()
            .filter(|mount| middleware.shares_host(mount.host.as_ref()) && overlap(&middleware.path, &mount.path));
        let routes = routes
            .iter()
            .filter(|route| middleware.shares_host(route.host.as_ref()) && may_cover(&middleware.path, &route.path));
        let behind = later.map(|later| (&later.module, format!("the middleware of `{}`", later.path)));
        let behind = behind.chain(mounts.map(|mount| (&mount.module, format!("the mount `{}`", mount.path))));
        let mut behind = behind.chain(
            routes.map(|route| (&route.module, format!("the route `{} {}`", route.method.as_str(), route.path))),
        );
        let module = &middleware.module;
        if let Some((next, what)) = behind.find(|(next, _)| reaches(graph, next, module)) {
            let path = &middleware.path;
            let through = if next == module { String::new() } else { format!(", which calls `{module}`") };
            let message = format!(
                "module `{module}` is a middleware in front of itself: {what}, below its path `{path}`, leads to module `{next}`{through}"
            );
            let help =
                "let another module serve what lies behind the middleware, or give the middleware a narrower path";
            let problem = Problem::new(Code::Cycle, message).module(module).file(&config.file).line(config.module.line);
            problems.push(problem.help(help));
        }
    }
}

/// Whether a request can lie below both paths.
fn overlap(one: &str, other: &str) -> bool {
    is_below(one, other) || is_below(other, one)
}

/// Whether a path of the template `route` can lie below `prefix`.
fn may_cover(prefix: &str, route: &str) -> bool {
    let mut segments = route.split('/');
    let mut wanted = prefix.split('/').filter(|segment| !segment.is_empty());
    segments.next();
    wanted.all(|wanted| segments.next().is_some_and(|segment| segment == wanted || segment.starts_with('{')))
}

/// Whether module `from` is `to` or calls it, directly or through other modules.
fn reaches(graph: &AppGraph, from: &ModuleName, to: &ModuleName) -> bool {
    let (mut open, mut seen) = (vec![from], BTreeSet::new());
    while let Some(module) = open.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module) {
            let calls = graph.modules.get(module).into_iter().flat_map(|node| node.calls.values());
            open.extend(calls.map(|provider| &provider.module));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_middleware_covers_whole_segments() {
        for (prefix, path, covered) in [
            ("/", "/", true),
            ("/", "/a/b", true),
            ("/", "*", false),
            ("/a", "/a", true),
            ("/a", "/a/", true),
            ("/a", "/a/b", true),
            ("/a", "/ab", false),
            ("/a", "/", false),
            ("/a/b", "/a", false),
        ] {
            assert_eq!(is_below(prefix, path), covered, "{prefix} {path}");
        }
    }

    #[test]
    fn a_template_is_covered_if_one_of_its_paths_is() {
        for (prefix, route, covered) in [
            ("/", "/", true),
            ("/", "/a/{id}", true),
            ("/a", "/a/{id}", true),
            ("/a", "/{id}", true),
            ("/a/b", "/{x}/b/c", true),
            ("/a/b", "/{x}/c", false),
            ("/a/b", "/a", false),
            ("/a", "/b/a", false),
        ] {
            assert_eq!(may_cover(prefix, route), covered, "{prefix} {route}");
        }
    }
}
