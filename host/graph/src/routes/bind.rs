//! Binds one route: it gives each parameter a part of the request, and each error case a status.

mod answer;
mod error;
mod request;
mod template;

use super::answer::ParameterValue;
use super::{DOCUMENT_PATH, Route};
use crate::graph::{AppGraph, FoundFunction, FunctionNotFound, is_handler};
use watertight_component::artifact::InterfaceDocs;
use watertight_component::shape::Type;
use watertight_json::{Codec, Unsupported};
use watertight_model::config::{PartialRoute, RouteConfig};
use watertight_model::ids::{FunctionPath, InterfaceName};
use watertight_model::problem::{Code, Problem, list_names};

/// Binds `route` to its function. Returns `None` and adds to `problems` if something does not fit.
pub(super) fn bind(route: &RouteConfig, graph: &AppGraph, problems: &mut Vec<Problem>) -> Option<Route> {
    let before = problems.len();
    let path = &route.call.value;
    let found = find(route, graph, problems)?;
    let mut binder = Binder::new(route, found, graph, problems);
    let parameters = binder.parameters();
    let answer = binder.answer();
    let body = binder.body();
    let absent_body = binder.absent_body();
    if binder.problems.len() > before {
        return None;
    }
    Some(Route {
        method: route.method,
        host: route.host.clone(),
        label: super::label(route.host.as_ref(), route.path.value.as_str()),
        path: route.path.value.as_str().into(),
        module: path.module.clone(),
        interface: found.interface.clone(),
        function: path.function.clone(),
        absent_body,
        parameters,
        body: body?,
        json: route.json,
        unknown_input: route.unknown_input,
        answer: answer?,
    })
}

/// Checks a route that has faults of its own, as far as those faults allow it.
pub(super) fn check(partial: &PartialRoute, graph: &AppGraph, problems: &mut Vec<Problem>) {
    let Some(found) = find(&partial.route, graph, problems) else { return };
    let mut binder = Binder::new(&partial.route, found, graph, problems);
    if partial.bindings {
        binder.parameters();
        binder.body();
    }
    if partial.errors {
        binder.errors();
    }
    if partial.answer {
        binder.success();
    }
}

/// Finds the function that a route names. Reports a problem and returns `None` if there is none, or if it is an HTTP handler.
fn find<'a>(route: &RouteConfig, graph: &'a AppGraph, problems: &mut Vec<Problem>) -> Option<FoundFunction<'a>> {
    let path = &route.call.value;
    let error = match graph.find(path) {
        Ok(found) => {
            let handler = handler(path, found, graph);
            problems.extend(handler.map(|interface| cant_call_handler(route, interface)));
            return handler.is_none().then_some(found);
        }
        // A missing component was reported already.
        Err(_) if !graph.modules.contains_key(&path.module) => return None,
        Err(error) => error,
    };
    let (code, help) = match &error {
        FunctionNotFound::Ambiguous { exports, .. } => (Code::Ambiguous, which_of(path, exports)),
        _ => (Code::UnknownFunction, format!("`watertight inspect {}` lists the module's functions", path.module)),
    };
    let problem = Problem::new(code, error.to_string()).module(&path.module).function(&path.function);
    problems.push(problem.file(&route.file).line(route.call.line).help(help));
    None
}

/// Returns the interface of the found function if it is an HTTP handler.
fn handler<'a>(path: &FunctionPath, found: FoundFunction<'a>, graph: &'a AppGraph) -> Option<&'a InterfaceName> {
    let interface = graph.modules.get(&path.module)?.artifact.shape.exports.get(found.interface)?;
    Some(interface.identity(found.interface)).filter(|interface| is_handler(interface))
}

fn cant_call_handler(route: &RouteConfig, interface: &InterfaceName) -> Problem {
    let FunctionPath { module, function, .. } = &route.call.value;
    let message = format!("`{interface}` of module `{module}` is an HTTP handler, and no route can call it");
    let help = format!("mount the module: write `[[mount]]` with a `path` and `module = \"{module}\"`");
    let problem = Problem::new(Code::UnsupportedType, message).module(module).interface(interface).function(function);
    problem.file(&route.file).line(route.call.line).help(help)
}

/// Returns the help for an ambiguous function path: how to write each function that it may mean. A version is enough if it distinguishes
/// them.
fn which_of(path: &FunctionPath, exports: &[String]) -> String {
    let exports: Vec<InterfaceName> =
        exports.iter().filter_map(|export| InterfaceName::try_from(export.clone()).ok()).collect();
    let written = |export: &InterfaceName| {
        FunctionPath { interface: export.shortest_reference(&exports.iter()), ..path.clone() }.to_string()
    };
    let written: Vec<String> = exports.iter().map(written).collect();
    format!("name one of them: {}", list_names(&written))
}

/// Reports that the path template of `route` matches a path that another template matches too. Only the router finds such a conflict.
pub(super) fn conflict(route: &Route, error: &matchit::InsertError) -> Problem {
    Problem::new(Code::RouteConflict, format!("the path `{}` can't be routed: {error}", route.label))
        .module(&route.module)
}

/// Reports that a route has the path of the document that describes the routes.
pub(super) fn document_conflict(route: &RouteConfig) -> Problem {
    let message =
        format!("the host answers GET {DOCUMENT_PATH}, because the manifest has `openapi = true` in `[http]`");
    let help = "give the route another path, or leave `openapi` out";
    Problem::new(Code::RouteConflict, message).file(&route.file).line(route.line).help(help)
}

struct Binder<'a> {
    route: &'a RouteConfig,
    found: FoundFunction<'a>,
    /// The documentation of the function's interface. `None` if the component carries none.
    docs: Option<&'a InterfaceDocs>,
    problems: &'a mut Vec<Problem>,
    /// The values of parameters that templates of the answer use.
    values: Vec<ParameterValue>,
}

impl<'a> Binder<'a> {
    fn new(
        route: &'a RouteConfig,
        found: FoundFunction<'a>,
        graph: &'a AppGraph,
        problems: &'a mut Vec<Problem>,
    ) -> Self {
        let section = graph.modules.get(&route.call.module).and_then(|node| node.artifact.section.as_ref());
        let docs = section.and_then(|section| section.docs.0.get(found.interface));
        Self { route, found, docs, problems, values: Vec::new() }
    }

    fn report(&mut self, code: Code, message: String, line: u32) -> &mut Problem {
        let problem = Problem::new(code, message)
            .module(&self.route.call.value.module)
            .interface(self.found.interface)
            .function(&self.route.call.value.function)
            .file(&self.route.file)
            .line(line);
        self.problems.push(problem);
        self.problems.last_mut().expect("one was just pushed")
    }

    fn codec(&mut self, place: &str, ty: &Type) -> Option<Codec> {
        let codec = Codec::with_style(place, ty, self.route.json);
        self.carried(codec)
    }

    /// Returns the codec of a type, or reports the parts of the type that no route can carry.
    fn carried(&mut self, codec: Result<Codec, Vec<Unsupported>>) -> Option<Codec> {
        match codec {
            Ok(codec) => Some(codec),
            Err(parts) => {
                for Unsupported { path, reason } in parts {
                    let message = format!("a route can't carry `{path}`: {reason}");
                    let problem = self.report(Code::UnsupportedType, message, self.route.call.line);
                    problem.type_path = Some(path);
                    problem.help =
                        Some("route to a function of plain values: this one is for other modules".to_owned());
                }
                None
            }
        }
    }
}

/// Whether a type is a list of bytes.
fn is_bytes(ty: &Type) -> bool {
    matches!(ty, Type::List(item) if **item == Type::U8)
}
