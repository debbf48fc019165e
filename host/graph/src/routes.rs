//! Central routes, bound to the functions that answer them: every parameter has a source, every error case a status.
//!
//! A pure value, made with the graph and checked with it. It knows types and names; sockets and headers of answers are `http`'s.

mod bind;
mod reach;

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::{HeaderName, HeaderValue, StatusCode};

use crate::graph::AppGraph;
use watertight_json::{Codec, ObjectCodec};
use watertight_model::config::{AppConfig, Doubts, Method, UnknownInput};
use watertight_model::ids::{FunctionPath, InterfaceName, ModuleName};
use watertight_model::problem::Problem;

pub use reach::unreached;

/// All routes of a generation.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    paths: matchit::Router<Path>,
}

/// What a path answers, by method.
#[derive(Debug, Default)]
struct Path {
    /// Method and the route's place.
    methods: Vec<(Method, usize)>,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path's template as the configuration has it: the route's name in logs and metrics.
    pub path: Arc<str>,
    /// Who answers.
    pub module: ModuleName,
    /// The interface, as the module exports it.
    pub interface: InterfaceName,
    /// The function.
    pub function: String,
    /// The function's parameters, in order.
    pub parameters: Vec<Parameter>,
    /// What the body is.
    pub body: Body,
    /// The document that an absent body stands for, where every field of it may be absent.
    pub absent_body: Option<&'static [u8]>,
    /// What becomes of input that nothing binds.
    pub unknown_input: UnknownInput,
    /// What becomes of a result.
    pub answer: Answer,
}

/// A parameter of a routed function.
#[derive(Debug)]
pub struct Parameter {
    /// Its name in WIT's spelling.
    pub name: Arc<str>,
    /// Where its value comes from.
    pub source: Source,
    /// How it is read.
    pub codec: Codec,
}

/// Where a parameter's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The path's parameter at this place.
    Path(usize),
    /// The query field of this name.
    Query(String),
    /// The header.
    Header(HeaderName),
    /// The body, whole or the field of it at this place: see [`Body`].
    Body(usize),
}

/// What a request's body is.
#[derive(Debug)]
pub enum Body {
    /// Nothing binds one.
    Unbound,
    /// It is one parameter.
    Parameter,
    /// It is an object of several.
    Spread(ObjectCodec),
}

/// What becomes of a function's result.
#[derive(Debug)]
pub struct Answer {
    /// The status where it is no error.
    pub status: StatusCode,
    /// How its value is written; none where there is no value.
    pub value: Option<Codec>,
    /// The error cases, by name in WIT's spelling; none where the function returns no `result`.
    pub errors: Option<BTreeMap<String, ErrorAnswer>>,
}

/// The answer to an error case.
#[derive(Debug)]
pub struct ErrorAnswer {
    /// Its status.
    pub status: StatusCode,
    /// How what it carries is written.
    pub payload: Option<Codec>,
}

/// What matches a request.
pub enum Matched<'table, 'path> {
    /// This route, and the values of its path's parameters as they stand in the path, in order.
    Route(usize, &'table Route, Vec<&'path str>),
    /// The path is there, under other methods: the value of `Allow`.
    OtherMethods(HeaderValue),
    /// Nothing.
    Nothing,
}

impl RouteTable {
    /// Binds the configured routes to the graph's functions. Everything that doesn't fit is added to the list.
    pub fn bind(config: &AppConfig, graph: &AppGraph) -> (RouteTable, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut routes = Vec::new();
        let mut paths: BTreeMap<String, Path> = BTreeMap::new();
        for route in &config.routes {
            if let Some(bound) = bind::bind(route, graph, &mut problems) {
                // Templates that match the same paths are the same text there.
                let path = paths.entry(route.path.value.to_matchit()).or_default();
                path.methods.push((bound.method, routes.len()));
                routes.push(bound);
            }
        }
        let mut table = RouteTable { routes, paths: matchit::Router::new() };
        for (template, path) in paths {
            let place = path.methods[0].1;
            if let Err(error) = table.paths.insert(template, path) {
                problems.push(bind::conflict(&table.routes[place], &error));
            }
        }
        (table, problems)
    }

    /// Says what is wrong with routes that have faults of their own, as far as those leave it known.
    pub fn check_partial(doubts: &Doubts, graph: &AppGraph) -> Vec<Problem> {
        let mut problems = Vec::new();
        doubts.routes.iter().for_each(|partial| bind::check(partial, graph, &mut problems));
        problems
    }

    /// All routes.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route of a method and a path, in which nothing is percent-encoded that need not be. A GET route answers HEAD too, where no route of its own does.
    pub fn find<'table, 'path>(&'table self, method: &::http::Method, path: &'path str) -> Matched<'table, 'path> {
        let Ok(found) = self.paths.at(path) else { return Matched::Nothing };
        let named = |name: &str| found.value.methods.iter().find(|(method, _)| method.as_str() == name);
        let head = || if method == ::http::Method::HEAD { named("GET") } else { None };
        match named(method.as_str()).or_else(head) {
            Some((_, place)) => {
                let values = found.params.iter().map(|(_, value)| value).collect();
                Matched::Route(*place, &self.routes[*place], values)
            }
            None => Matched::OtherMethods(found.value.allow()),
        }
    }
}

impl Answer {
    /// The statuses that it names.
    pub fn statuses(&self) -> Vec<u16> {
        let errors = self.errors.iter().flat_map(BTreeMap::values).map(|error| error.status);
        errors.chain([self.status]).map(|status| status.as_u16()).collect()
    }
}

impl Path {
    fn allow(&self) -> HeaderValue {
        let mut names: Vec<&str> = self.methods.iter().map(|(method, _)| method.as_str()).collect();
        if names.contains(&"GET") && !names.contains(&"HEAD") {
            names.push("HEAD");
        }
        HeaderValue::from_str(&names.join(", ")).expect("names of methods are header text")
    }
}

impl Route {
    /// The function as people write it.
    pub fn target(&self) -> FunctionPath {
        FunctionPath {
            module: self.module.clone(),
            interface: self.interface.as_str().to_owned(),
            function: self.function.clone(),
        }
    }
}
