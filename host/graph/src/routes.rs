//! The routes of the configuration, bound to the functions that answer them: every parameter has a source, and every
//! error case a status. The mounts of the configuration, bound to the handlers that answer them, and the middlewares
//! in front of both.
//!
//! The route table is a pure value that is built and checked with the graph. It knows types and names. Sockets and
//! response headers belong to the module `http`.

mod answer;
mod bind;
mod door;
mod hosts;
mod middleware;
mod mount;
mod reach;
mod request;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use ::http::HeaderValue;
use bytes::Bytes;

use crate::graph::AppGraph;
use crate::graph::render::GraphView;
use watertight_model::config::{AppConfig, HostPattern, JsonStyle, Method, RouteConfig, UncertainParts, UnknownInput};
use watertight_model::ids::{FunctionPath, InterfaceName, ModuleName};
use watertight_model::problem::Problem;

pub use answer::{
    AnswerBody, AnswerExtras, BodyForm, BoundEtag, BoundPart, BoundTemplate, CaseDocs, Conditions, ErrorMapping,
    ErrorMappings, ParameterValue, ResultMapping, StatusMapping, ValuePath, ValueStep,
};
pub use door::Door;
pub use middleware::Middleware;
pub use mount::{HandlerVersion, Mount};
pub use reach::unreached_notes;
pub use request::{BoundBody, BoundForm, FieldValue, FilePart, FileShape, FormField, Parameter, ParameterSource};

use hosts::{HostTables, PathTable};

/// All routes, mounts and middlewares of a generation.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    mounts: Vec<Mount>,
    hosts: HostTables,
    middlewares: Vec<Middleware>,
    door: Door,
    /// The text of the document that describes the routes, once it was made.
    document: OnceLock<Bytes>,
}

/// The path at which the data listener serves the document that describes the routes, if `[http] openapi` says so.
pub const DOCUMENT_PATH: &str = "/openapi.json";

/// The routes that share one host and path, by method.
#[derive(Debug, Default)]
struct Path {
    /// The methods of the routes with this path, each with the index of its route. `None` stands for the document that describes the routes.
    methods: Vec<(Method, Option<usize>)>,
}

/// A route, bound to the function that answers it.
#[derive(Debug)]
pub struct Route {
    /// The HTTP method that the route answers.
    pub method: Method,
    /// The name of the host that the route answers. `None` means every host.
    pub host: Option<HostPattern>,
    /// The path's template as the configuration has it.
    pub path: Arc<str>,
    /// The host and the path, which name the route in logs and metrics: `/items`, or `api.example.com/items`.
    pub label: Arc<str>,
    /// The module whose function answers.
    pub module: ModuleName,
    /// The name under which the module exports the function's interface.
    pub interface: InterfaceName,
    /// The function's name.
    pub function: String,
    /// The function's parameters, in order.
    pub parameters: Vec<Parameter>,
    /// How the request's body is bound.
    pub body: BoundBody,
    /// The JSON document that stands for an absent body. `None` if the body is required.
    pub absent_body: Option<&'static [u8]>,
    /// How JSON is written and names are spelled.
    pub json: JsonStyle,
    /// What happens to input of a request that no parameter takes.
    pub unknown_input: UnknownInput,
    /// How the function's result is answered.
    pub answer: ResultMapping,
}

/// The result of matching a request's method and path.
pub enum RouteMatch<'table, 'path> {
    /// The matched route: its index, the route, and the raw values of its path parameters, in order.
    Route(usize, &'table Route, Vec<&'path str>),
    /// The matched mount: its index, and the mount.
    Mount(usize, &'table Mount),
    /// The document that describes the routes.
    Document,
    /// Routes and mounts have the path with other methods only. The value is that of the header `Allow`.
    OtherMethods(HeaderValue),
    /// No route and no mount has the path.
    Nothing,
    /// Nothing answers requests for the host: all routes and mounts are for others.
    Misdirected,
}

impl RouteTable {
    /// Binds the routes of `config` to the graph's functions, and the mounts and middlewares to its handlers. Returns the table, and a problem for everything
    /// that does not fit.
    pub fn bind(config: &AppConfig, graph: &AppGraph) -> (RouteTable, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut routes = Vec::new();
        let mut paths: BTreeMap<(Option<HostPattern>, String), Path> = BTreeMap::new();
        for route in &config.routes {
            if let Some(bound) = bind::bind(route, graph, &mut problems) {
                // Templates that match the same paths have the same text in `matchit`'s syntax.
                let path = paths.entry((bound.host.clone(), route.path.value.to_matchit())).or_default();
                path.methods.push((bound.method, Some(routes.len())));
                routes.push(bound);
            }
        }
        if config.door.openapi {
            let is_taken = |route: &&RouteConfig| {
                route.host.is_none() && route.path.value.as_str() == DOCUMENT_PATH && route.method == Method::Get
            };
            problems.extend(config.routes.iter().find(is_taken).map(bind::document_conflict));
            paths.entry((None, DOCUMENT_PATH.to_owned())).or_default().methods.push((Method::Get, None));
        }
        let mounts: Vec<_> =
            config.mounts.iter().filter_map(|mount| mount::bind(mount, graph, &mut problems)).collect();
        let bound = |config| Some((config, middleware::bind(config, graph, &mut problems)?));
        let middlewares: Vec<_> = config.middlewares.iter().filter_map(bound).collect();
        middleware::check_circles(&middlewares, &routes, &mounts, graph, &mut problems);
        let middlewares = middlewares.into_iter().map(|(_, middleware)| middleware).collect();
        let mut hosts = HostTables::default();
        for ((host, template), path) in paths {
            let place = path.methods.iter().find_map(|(_, place)| *place);
            let table = hosts.entry(host.as_ref());
            table.is_used |= place.is_some();
            if let Err(error) = table.paths.insert(template, path) {
                problems.extend(place.map(|place| bind::conflict(&routes[place], &error)));
            }
        }
        for (index, mount) in mounts.iter().enumerate() {
            let table = hosts.entry(mount.host.as_ref());
            table.is_used = true;
            table.mounts.add(mount.path.clone(), index);
        }
        let door = Door::new(config);
        (RouteTable { routes, mounts, hosts, middlewares, door, ..RouteTable::default() }, problems)
    }

    /// Checks routes, mounts and middlewares that have faults of their own, as far as those faults allow it. Returns the problems that it finds beyond
    /// those faults.
    pub fn check_partial(uncertain: &UncertainParts, graph: &AppGraph) -> Vec<Problem> {
        let mut problems = Vec::new();
        uncertain.routes.iter().for_each(|partial| bind::check(partial, graph, &mut problems));
        for mount in &uncertain.mounts {
            mount::bind(mount, graph, &mut problems);
        }
        for one in &uncertain.middlewares {
            middleware::bind(one, graph, &mut problems);
        }
        problems
    }

    /// Returns all routes. The indexes of [`RouteMatch::Route`] refer to this slice.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Returns all mounts. The indexes of [`RouteMatch::Mount`] refer to this slice.
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// Adds the mounts and the middlewares to the view of their application's graph.
    pub fn add_to<'a>(&'a self, mut view: GraphView<'a>) -> GraphView<'a> {
        view.mounts.extend(self.mounts().iter().map(Mount::view));
        view.middlewares.extend(self.middlewares.iter().map(Middleware::view));
        view
    }

    /// Returns what the door says to browsers.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Returns the text of the document that describes the routes. `make` makes it when somebody asks for it for the first time.
    pub fn document(&self, make: impl FnOnce() -> Bytes) -> &Bytes {
        self.document.get_or_init(make)
    }

    /// Returns all middlewares, in the order in which requests pass them.
    pub fn middlewares(&self) -> &[Middleware] {
        &self.middlewares
    }

    /// Returns the index of the next middleware that gets a request for `host` with `path`, beginning with the one at index `from`. The path
    /// must be percent-encoded only where necessary. The host must be in lower case and have no port.
    pub fn middleware(&self, from: usize, host: Option<&str>, path: &str) -> Option<usize> {
        let found = self.middlewares.get(from..)?.iter().position(|middleware| middleware.covers(host, path))?;
        Some(from + found)
    }

    /// Finds the route or the mount of a host, a method and a path. The path must be percent-encoded only where necessary. The host must be
    /// in lower case and have no port; it counts only if a route or a mount is for a host.
    ///
    /// What is for the host comes before what is for all hosts. Among each, a route with this path and method comes first; then the mount
    /// with the longest path that takes this method. A GET route also answers HEAD, unless HEAD has a route of its own.
    pub fn find<'table, 'path>(
        &'table self,
        host: Option<&str>,
        method: &::http::Method,
        path: &'path str,
    ) -> RouteMatch<'table, 'path> {
        let (mut others, mut is_known) = (Vec::new(), false);
        if let Some(common) = self.hosts.only_common() {
            if let Some(found) = self.find_in(common, method, path, &mut others) {
                return found;
            }
            is_known = true;
        } else {
            for table in self.hosts.of(host) {
                if let Some(found) = self.find_in(table, method, path, &mut others) {
                    return found;
                }
                is_known |= table.is_used;
            }
        }
        match (others.is_empty(), is_known) {
            (false, _) => RouteMatch::OtherMethods(allow(&others)),
            (true, true) => RouteMatch::Nothing,
            (true, false) => RouteMatch::Misdirected,
        }
    }

    /// Finds the route or the mount in one table. If only other methods are found, adds them to `others` and returns `None`.
    fn find_in<'table, 'path>(
        &'table self,
        table: &'table PathTable,
        method: &::http::Method,
        path: &'path str,
        others: &mut Vec<&'table str>,
    ) -> Option<RouteMatch<'table, 'path>> {
        if let Ok(found) = table.paths.at(path) {
            let named = |name: &str| found.value.methods.iter().find(|(method, _)| method.as_str() == name);
            let head = || if method == ::http::Method::HEAD { named("GET") } else { None };
            if let Some((_, place)) = named(method.as_str()).or_else(head) {
                let Some(place) = place else { return Some(RouteMatch::Document) };
                let values = found.params.iter().map(|(_, value)| value).collect();
                return Some(RouteMatch::Route(*place, &self.routes[*place], values));
            }
            others.extend(found.value.methods.iter().map(|(method, _)| method.as_str()));
        }
        for index in table.mounts.matching(path) {
            let mount = &self.mounts[index];
            if mount.takes(method) {
                return Some(RouteMatch::Mount(index, mount));
            }
            others.extend(mount.methods.iter().flatten().map(::http::Method::as_str));
        }
        None
    }
}

/// Returns the label of what answers a path for a host, or for all hosts.
fn label(host: Option<&HostPattern>, path: &str) -> Arc<str> {
    match host {
        Some(host) => format!("{host}{path}").into(),
        None => path.into(),
    }
}

/// Returns the header `Allow` for methods, which may repeat. Whoever takes GET takes HEAD, and the host answers OPTIONS for every path.
fn allow(methods: &[&str]) -> HeaderValue {
    let mut names: Vec<&str> = Vec::new();
    let head = methods.contains(&"GET").then_some("HEAD");
    for name in methods.iter().copied().chain(head).chain(["OPTIONS"]) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    HeaderValue::from_str(&names.join(", ")).expect("names of methods are header text")
}

impl Route {
    /// Returns the path of the function that answers: module, interface and function.
    pub fn target(&self) -> FunctionPath {
        FunctionPath {
            module: self.module.clone(),
            interface: self.interface.as_str().to_owned(),
            function: self.function.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
