//! Binds one route: it gives each parameter a part of the request, and each error case a status.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::StatusCode;

use super::{BoundBody, ErrorMapping, Parameter, ParameterSource, ResultMapping, Route};
use crate::graph::{AppGraph, FoundFunction, FunctionNotFound, is_handler};
use watertight_component::shape::{Field, Function, Type};
use watertight_json::{Codec, ObjectCodec, Unsupported};
use watertight_model::config::{BodyBinding, PartialRoute, RouteConfig};
use watertight_model::ids::{FunctionPath, InterfaceName, json_name};
use watertight_model::problem::{Code, Problem, list_names};

/// Statuses whose answers never have a body (RFC 9110, section 6.4.1).
const NO_BODY: [StatusCode; 3] = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];

/// Binds `route` to its function. Returns `None` and adds to `problems` if something does not fit.
pub(super) fn bind(route: &RouteConfig, graph: &AppGraph, problems: &mut Vec<Problem>) -> Option<Route> {
    let before = problems.len();
    let path = &route.call.value;
    let found = find(route, graph, problems)?;
    let mut binder = Binder { route, found, problems };
    let parameters = binder.parameters();
    let answer = binder.answer();
    let body = binder.body(&parameters);
    if binder.problems.len() > before {
        return None;
    }
    Some(Route {
        method: route.method,
        path: route.path.value.as_str().into(),
        module: path.module.clone(),
        interface: found.interface.clone(),
        function: path.function.clone(),
        absent_body: absent_body(route, found.function, &parameters),
        parameters,
        body: body?,
        unknown_input: route.unknown_input,
        answer: answer?,
    })
}

/// Returns the JSON document that stands for an absent body: an empty object if all fields are options, `null` if the body itself is an
/// option. `None` if the body is required.
fn absent_body(route: &RouteConfig, function: &Function, parameters: &[Parameter]) -> Option<&'static [u8]> {
    const OBJECT: &[u8] = b"{}";
    let is_option = |field: &Field| matches!(field.ty, Type::Option(_));
    match &route.body.as_ref()?.value {
        BodyBinding::Spread => {
            let in_body = |parameter: &&Parameter| matches!(parameter.source, ParameterSource::Body(_));
            parameters
                .iter()
                .filter(in_body)
                .all(|parameter| parameter.codec.absent_value().is_some())
                .then_some(OBJECT)
        }
        BodyBinding::Parameter(name) => match &function.parameters.iter().find(|field| *field.name == **name)?.ty {
            Type::Option(_) => Some(b"null"),
            Type::Record(record) => record.body.iter().all(is_option).then_some(OBJECT),
            _ => None,
        },
    }
}

/// Checks a route that has faults of its own, as far as those faults allow it.
pub(super) fn check(partial: &PartialRoute, graph: &AppGraph, problems: &mut Vec<Problem>) {
    let Some(found) = find(&partial.route, graph, problems) else { return };
    let mut binder = Binder { route: &partial.route, found, problems };
    if partial.bindings {
        let parameters = binder.parameters();
        binder.body(&parameters);
    }
    if partial.errors {
        binder.answer();
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
        let major = export.version().and_then(|version| version.split('.').next());
        let short = major.map(|major| format!("{}@{major}", export.short()));
        let is_enough = |short: &String| exports.iter().filter(|other| other.matches_reference(short)).count() == 1;
        let interface = short.filter(is_enough).unwrap_or_else(|| export.as_str().to_owned());
        FunctionPath { interface, ..path.clone() }.to_string()
    };
    let written: Vec<String> = exports.iter().map(written).collect();
    format!("name one of them: {}", list_names(&written))
}

/// Reports that the path template of `route` matches a path that another template matches too. Only the router finds such a conflict.
pub(super) fn conflict(route: &Route, error: &matchit::InsertError) -> Problem {
    Problem::new(Code::RouteConflict, format!("the path `{}` can't be routed: {error}", route.path))
        .module(&route.module)
}

struct Binder<'a> {
    route: &'a RouteConfig,
    found: FoundFunction<'a>,
    problems: &'a mut Vec<Problem>,
}

impl Binder<'_> {
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
        match Codec::new(place, ty) {
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

    /// Gives each parameter of the function a part of the request, and reports bindings that name no parameter.
    fn parameters(&mut self) -> Vec<Parameter> {
        let function: &Function = self.found.function;
        let route = self.route;
        let has = |name: &str| function.parameters.iter().any(|parameter| &*parameter.name == name);
        let has_in_any_case = |name: &&str| function.parameters.iter().any(|p| p.name.eq_ignore_ascii_case(name));
        let known = list_names(function.parameters.iter().map(|parameter| &parameter.name));
        let mut unknown: Vec<(String, u32)> = Vec::new();
        let in_path = route.path.value.parameters().filter(|name| !has_in_any_case(name));
        unknown.extend(in_path.map(|name| (name.to_owned(), route.path.line)));
        unknown.extend(route.headers.iter().filter(|(name, _)| !has(name)).map(|(n, at)| (n.clone(), at.line)));
        if let Some(body) = &route.body
            && let BodyBinding::Parameter(name) = &body.value
            && !has(name)
        {
            unknown.push((name.clone(), body.line));
        }
        let bound = |name: &str| route.path.value.parameter_index(name).is_some() || route.headers.contains_key(name);
        let body = route.body.as_ref().map(|body| &body.value);
        let is_body = |name: &str| matches!(body, Some(BodyBinding::Parameter(bound)) if bound == name);
        let is_free = |parameter: &&Field| !bound(&parameter.name) && !is_body(&parameter.name);
        let free: Vec<&Field> = function.parameters.iter().filter(is_free).collect();
        for (name, line) in &unknown {
            let instead = match (&unknown[..], &free[..]) {
                ([_], [only]) => format!("`{}`", only.name),
                _ => "an existing parameter".to_owned(),
            };
            let message = format!("the function has no parameter `{name}`; it has {known}");
            self.report(Code::BadBinding, message, *line).help = Some(format!("bind {instead} instead of `{name}`"));
        }
        if let Some(body) = &route.body
            && body.value == BodyBinding::Spread
            && function.parameters.iter().all(|parameter| bound(&parameter.name))
        {
            let message = "`body = \"*\"` has no parameter to fill: the path and headers already bind all of them";
            self.report(Code::BadBinding, message.to_owned(), body.line).help = Some("leave `body` out".to_owned());
        }
        let mut spread = 0;
        function.parameters.iter().filter_map(|parameter| self.parameter(parameter, &mut spread)).collect()
    }

    fn parameter(&mut self, parameter: &Field, spread: &mut usize) -> Option<Parameter> {
        let codec = self.codec(&parameter.name, &parameter.ty)?;
        let source = self.source(&parameter.name, spread);
        if !matches!(source, ParameterSource::Body(_)) && !codec.accepts_text() {
            if matches!(source, ParameterSource::Query(_)) && self.has_unknown_body() {
                // Most likely the body is meant for this parameter. That `body` names none was reported.
                return None;
            }
            let (message, help) = match &source {
                ParameterSource::Query(_) => (
                    format!(
                        "nothing binds parameter `{}`: its type is not a plain value, so a query field can't hold it",
                        parameter.name
                    ),
                    if self.route.method.takes_body() {
                        format!("write `body = \"{}\"`, or `body = \"*\"`", parameter.name)
                    } else {
                        let (method, name) = (&self.route.method, &parameter.name);
                        format!("a {method} request has no body to take `{name}` from: use another method")
                    },
                ),
                _ => (
                    format!("parameter `{}` is bound to text, but its type is not a plain value", parameter.name),
                    "only numbers, booleans, characters, strings, enums and options of those are read from a path, \
                     a query or a header"
                        .to_owned(),
                ),
            };
            self.report(Code::BadBinding, message, self.route.line).help = Some(help);
            return None;
        }
        Some(Parameter { name: parameter.name.clone(), source, codec })
    }

    /// Whether `body` names a parameter that the function doesn't have.
    fn has_unknown_body(&self) -> bool {
        let parameters = &self.found.function.parameters;
        match self.route.body.as_ref().map(|body| &body.value) {
            Some(BodyBinding::Parameter(name)) => parameters.iter().all(|parameter| *parameter.name != **name),
            _ => false,
        }
    }

    fn source(&self, name: &str, spread: &mut usize) -> ParameterSource {
        if let Some(place) = self.route.path.value.parameter_index(name) {
            return ParameterSource::Path(place);
        }
        if let Some(header) = self.route.headers.get(name) {
            return ParameterSource::Header(header.value.clone());
        }
        match self.route.body.as_ref().map(|body| &body.value) {
            Some(BodyBinding::Parameter(bound)) if bound == name => ParameterSource::Body(0),
            Some(BodyBinding::Spread) => {
                *spread += 1;
                ParameterSource::Body(*spread - 1)
            }
            _ => ParameterSource::Query(json_name(name)),
        }
    }

    fn body(&mut self, parameters: &[Parameter]) -> Option<BoundBody> {
        match self.route.body.as_ref().map(|body| &body.value) {
            None => Some(BoundBody::Unbound),
            Some(BodyBinding::Parameter(_)) => Some(BoundBody::Parameter),
            Some(BodyBinding::Spread) => {
                let is_field = |name: &Arc<str>| {
                    parameters.iter().any(|p| p.name == *name && matches!(p.source, ParameterSource::Body(_)))
                };
                let fields: Vec<(&str, &Type)> = self
                    .found
                    .function
                    .parameters
                    .iter()
                    .filter(|field| is_field(&field.name))
                    .map(|field| (&*field.name, &field.ty))
                    .collect();
                match ObjectCodec::new(&fields) {
                    Ok(codec) => Some(BoundBody::Spread(codec)),
                    Err(parts) => {
                        // Each field's faults were reported when the field was prepared alone. Only faults between
                        // fields, such as equal names, are new here.
                        for Unsupported { reason, path } in parts.into_iter().filter(|part| part.path.is_empty()) {
                            let message = format!("the body can't be spread over the parameters: {reason}");
                            self.report(Code::UnsupportedType, message, self.route.call.line).type_path = Some(path);
                        }
                        None
                    }
                }
            }
        }
    }

    fn answer(&mut self) -> Option<ResultMapping> {
        let result = self.found.function.result.as_ref();
        let status = self.route.status;
        let (value, errors) = match result {
            Some(Type::Result { ok, err }) => {
                let errors = self.errors(err.as_deref());
                (ok.as_deref().map(|ok| self.codec("result.ok", ok)), Some(errors))
            }
            other => {
                for (case, at) in &self.route.errors {
                    let message = format!("the function has no error case `{case}`: it returns no `result`");
                    self.report(Code::ErrorTable, message, at.line).help = Some("leave `errors` out".to_owned());
                }
                (other.map(|ty| self.codec("result", ty)), None)
            }
        };
        if value.is_some() && NO_BODY.contains(&status) {
            let message =
                format!("an answer of status {} has no body, and the function returns a value", status.as_u16());
            self.report(Code::UnsupportedType, message, self.route.line).help =
                Some("let the route answer with another `status`, such as 200".to_owned());
        }
        let value = match value {
            Some(codec) => Some(codec?),
            None => None,
        };
        Some(ResultMapping { status, value, errors })
    }

    fn errors(&mut self, err: Option<&Type>) -> BTreeMap<String, ErrorMapping> {
        let cases: Vec<(Arc<str>, Option<Type>)> = match err {
            Some(Type::Variant(variant)) => variant.body.iter().map(|c| (c.name.clone(), c.ty.clone())).collect(),
            Some(Type::Enum(cases)) => cases.body.iter().map(|name| (name.clone(), None)).collect(),
            other => {
                let found = other.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                let message = "the function's error type has no cases that could have a status".to_owned();
                let problem = self.report(Code::ErrorTable, message, self.route.call.line);
                problem.expected = Some("a variant or an enum".to_owned());
                problem.found = Some(found);
                problem.help = Some("give the error a case for each kind of failure".to_owned());
                return BTreeMap::new();
            }
        };
        for (case, at) in &self.route.errors {
            if !cases.iter().any(|(name, _)| &**name == case) {
                let names = list_names(cases.iter().map(|(name, _)| name));
                let message = format!("the function has no error case `{case}`; it has {names}");
                self.report(Code::ErrorTable, message, at.line).help = Some(format!("take `{case}` out of `errors`"));
            }
        }
        cases.into_iter().filter_map(|(name, ty)| self.error_case(&name, ty.as_ref())).collect()
    }

    fn error_case(&mut self, name: &Arc<str>, ty: Option<&Type>) -> Option<(String, ErrorMapping)> {
        let Some(status) = self.route.errors.get(&**name).map(|at| at.value) else {
            let message = format!("error case `{name}` has no status");
            self.report(Code::ErrorTable, message, self.route.line).help =
                Some(format!("add `{name} = …` to `errors`"));
            return None;
        };
        let payload = match ty {
            Some(ty) => Some(self.codec(&format!("result.err.{name}"), ty)?),
            None => None,
        };
        Some((name.to_string(), ErrorMapping { status, payload }))
    }
}
