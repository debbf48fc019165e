//! Central routes: which function answers which requests, and how HTTP's parts become its parameters.
//!
//! Whether the function is there, and whether its parameters and errors are all provided for, is known only with its shape: that
//! is not checked here.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use ::http::{HeaderName, StatusCode};

use super::modules::Declared;
use super::partial::PartialRoute;
use super::path::PathTemplate;
use super::source::{At, Source};
use super::tree::{Table, Value, document};
use super::words::words;
use crate::ids::{FunctionPath, is_wit_name};
use crate::problem::{Code, Problem};

words! {
    /// The methods that a route can have.
    Method {
        /// Read.
        Get = "GET",
        /// Read without the body.
        Head = "HEAD",
        /// Do.
        Post = "POST",
        /// Replace.
        Put = "PUT",
        /// Change.
        Patch = "PATCH",
        /// Remove.
        Delete = "DELETE",
        /// Ask what can be done.
        Options = "OPTIONS",
    }
}

impl Method {
    /// Whether a request's body means something (RFC 9110, 9.3).
    pub fn takes_body(self) -> bool {
        !matches!(self, Self::Get | Self::Head)
    }
}

words! {
    /// What becomes of input that nothing binds: query fields, fields of JSON objects, and whole bodies.
    UnknownInput {
        /// The request is answered 400.
        Refuse = "refuse",
        /// It is passed by.
        Ignore = "ignore",
    }
}

impl Default for UnknownInput {
    /// A slip of the client's is told, not swallowed.
    fn default() -> Self {
        Self::Refuse
    }
}

/// What the JSON body of a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyBinding {
    /// `body = "draft"`: the whole body is this parameter.
    Parameter(String),
    /// `body = "*"`: an object whose fields are the parameters that nothing else binds.
    Spread,
}

/// One `[[route]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteConfig {
    /// The file that it stands in.
    pub file: Arc<Path>,
    /// The line that it starts on.
    pub line: u32,
    /// The method.
    pub method: Method,
    /// The path.
    pub path: At<PathTemplate>,
    /// The function that answers.
    pub call: At<FunctionPath>,
    /// What the body is, where one is taken.
    pub body: Option<At<BodyBinding>>,
    /// Parameters, in WIT's spelling, that are headers.
    pub headers: BTreeMap<String, At<HeaderName>>,
    /// The status of an answer that is no error. 200 by default.
    pub status: StatusCode,
    /// The status of each error case, by its name in WIT's spelling.
    pub errors: BTreeMap<String, At<StatusCode>>,
    /// What becomes of input that nothing binds: `app.unknown_input`.
    pub unknown_input: UnknownInput,
}

/// What HTTP itself or the host says in these headers is gone, or means something else, where a module would read it.
const OWNED_BY_HTTP: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads a file of routes. Its problems are the source's own. A route that has any goes to `partial`, where its function is known.
pub(super) fn read_routes(
    source: &Source,
    declared: &Declared,
    claims: &mut Claims,
    unknown_input: UnknownInput,
    partial: &mut Vec<PartialRoute>,
) -> Vec<RouteConfig> {
    let tree = match source.parse() {
        Ok(tree) => tree,
        Err(problems) => {
            source.adopt(problems);
            return Vec::new();
        }
    };
    let mut whole = Vec::new();
    document(source, &tree, |file| {
        for value in file.optional("route").and_then(|value| value.list()).unwrap_or_default() {
            let before = source.reported();
            let mut inside = before;
            let route = value.table(|t| {
                let mut route = read_route(t, source, declared, claims);
                if let Some(route) = &mut route {
                    route.route.unknown_input = unknown_input;
                }
                inside = source.reported();
                route
            });
            let Some(mut route) = route.flatten() else { continue };
            if source.reported() == before {
                whole.push(route.route);
            } else {
                // An unknown key may be a misspelt one.
                let has_unknown_keys = source.reported() > inside;
                route.bindings &= !has_unknown_keys;
                route.errors &= !has_unknown_keys;
                partial.push(route);
            }
        }
    });
    whole
}

/// Reads a route. What has a fault is as if nothing had been said; without a function there is no route.
fn read_route(
    table: &mut Table<'_>,
    source: &Source,
    declared: &Declared,
    claims: &mut Claims,
) -> Option<PartialRoute> {
    let before = source.reported();
    let method = table.required("method").and_then(|value| value.parse::<Method>());
    let path = table.required("path").and_then(|value| read_path(&value));
    let body = table.optional("body").and_then(|value| read_body(&value, method.as_deref().copied()));
    let (headers, _) = named(table.optional("headers"), "a parameter", read_header);
    if let Some(path) = &path {
        report_bound_twice(table, path, body.as_ref(), &headers);
    }
    let bindings = source.reported() == before;
    if let (Some(method), Some(path)) = (&method, &path) {
        claims.add(method.value, path, source);
    }
    let call = table.required("call").and_then(|value| read_call(&value, declared));
    let status = table.optional("status").and_then(|value| read_success(&value));
    let (errors, errors_known) = named(table.optional("errors"), "an error case", |value| {
        let status = read_status(value, 400);
        // That the case has one is known.
        Some(status.unwrap_or_else(|| value.at(StatusCode::INTERNAL_SERVER_ERROR)))
    });
    let root = || At { value: "/".parse().expect("a path"), line: table.line() };
    let route = RouteConfig {
        file: source.path().clone(),
        line: table.line(),
        method: method.map_or(Method::Post, |method| method.value),
        path: path.unwrap_or_else(root),
        call: call?,
        body,
        headers,
        status: status.map_or(StatusCode::OK, |status| status.value),
        errors,
        unknown_input: UnknownInput::default(),
    };
    Some(PartialRoute { route, bindings, errors: errors_known })
}

fn read_path(value: &Value<'_>) -> Option<At<PathTemplate>> {
    let text = value.string()?;
    match text.parse() {
        Ok(path) => Some(value.at(path)),
        Err(why) => {
            value.report(Problem::new(Code::RouteConflict, format!("the path `{text}` can't be one: {why}")));
            None
        }
    }
}

fn read_call(value: &Value<'_>, declared: &Declared) -> Option<At<FunctionPath>> {
    let call = value.parse::<FunctionPath>()?;
    declared.check(value, &call.module).then_some(call)
}

fn read_body(value: &Value<'_>, method: Option<Method>) -> Option<At<BodyBinding>> {
    let text = value.string()?;
    if let Some(method) = method.filter(|method| !method.takes_body()) {
        value.report(Problem::new(Code::BadBinding, format!("a {method} request has no body to bind")));
        return None;
    }
    if text == "*" {
        return Some(value.at(BodyBinding::Spread));
    }
    if is_wit_name(text) {
        return Some(value.at(BodyBinding::Parameter(text.to_owned())));
    }
    value.refuse(format_args!("`{text}` is neither a parameter's name as WIT writes it nor `*`"));
    None
}

fn read_header(value: &Value<'_>) -> Option<At<HeaderName>> {
    let text = value.string()?;
    let Ok(name) = text.parse::<HeaderName>() else {
        value.refuse(format_args!("`{text}` is not the name of a header"));
        return None;
    };
    if OWNED_BY_HTTP.contains(&name.as_str()) {
        value.refuse(format_args!("the header `{text}` belongs to HTTP itself and can be no parameter"));
        return None;
    }
    Some(value.at(name))
}

/// Statuses that mean nothing without a `Location` (RFC 9110, section 15.4), which no answer can carry.
const NEED_LOCATION: [u16; 6] = [301, 302, 303, 305, 307, 308];

/// The status of an answer that is no error.
fn read_success(value: &Value<'_>) -> Option<At<StatusCode>> {
    let status = read_status(value, 200)?;
    let number = status.value.as_u16();
    if NEED_LOCATION.contains(&number) {
        let message = format!("an answer of status {number} needs a `Location`, which answers of routes can't carry");
        let help = "answer with another status, such as 200, and say where to go in the body";
        value.report(Problem::new(Code::BadValue, message).help(help));
        return None;
    }
    Some(status)
}

/// A status from `least` on. Those below 200 are no answers but announcements, and an error's answer is never a success.
fn read_status(value: &Value<'_>, least: u32) -> Option<At<StatusCode>> {
    let number = u16::try_from(value.count(least..=599)?).expect("at most 599");
    Some(value.at(StatusCode::from_u16(number).expect("between 200 and 599")))
}

/// Reads a table whose keys are names in WIT's spelling, and says whether all of them are.
fn named<'a, T>(
    value: Option<Value<'a>>,
    what: &str,
    read: impl Fn(&Value<'a>) -> Option<At<T>>,
) -> (BTreeMap<String, At<T>>, bool) {
    let mut all_are_names = value.as_ref().is_none_or(Value::is_table);
    let entry = |(key, value): (&str, Value<'a>)| {
        if !is_wit_name(key) {
            value.refuse(format_args!("`{key}` is not the name of {what}: write it as WIT does"));
            all_are_names = false;
            return None;
        }
        Some((key.to_owned(), read(&value)?))
    };
    let entries = value.and_then(|value| value.table(Table::entries)).unwrap_or_default();
    let named = entries.into_iter().filter_map(entry).collect();
    (named, all_are_names)
}

/// Reports parameters that more than one of path, headers and body bind.
fn report_bound_twice(
    table: &Table<'_>,
    path: &PathTemplate,
    body: Option<&At<BodyBinding>>,
    headers: &BTreeMap<String, At<HeaderName>>,
) {
    let twice = |line: u32, name: &str, places: &str| {
        let message = format!("the parameter `{name}` is bound twice: by {places}");
        table.report(line, Problem::new(Code::BadBinding, message));
    };
    for name in path.parameters() {
        if let Some((_, header)) = headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)) {
            twice(header.line, name, "the path and a header");
        }
    }
    if let Some(At { value: BodyBinding::Parameter(name), line }) = body {
        if path.place(name).is_some() {
            twice(*line, name, "the path and the body");
        }
        if headers.contains_key(name) {
            twice(*line, name, "a header and the body");
        }
    }
}

/// The requests that routes have taken, over all files. Templates conflict exactly where they are the same for the router.
#[derive(Default)]
pub(super) struct Claims(HashMap<(Method, String), Claim>);

struct Claim {
    path: PathTemplate,
    file: Arc<Path>,
    line: u32,
}

impl Claims {
    /// Takes the requests of a route, or reports who has them.
    fn add(&mut self, method: Method, path: &At<PathTemplate>, source: &Source) {
        let file = source.path().clone();
        match self.0.entry((method, path.to_matchit())) {
            Entry::Vacant(free) => {
                free.insert(Claim { path: path.value.clone(), file, line: path.line });
            }
            Entry::Occupied(taken) => {
                let first = taken.get();
                let message = format!("`{method} {}` matches the same requests as `{method} {}`", **path, first.path);
                let help = format!("the other route is at {}:{}", first.file.display(), first.line);
                source.report(path.line, Problem::new(Code::RouteConflict, message).help(help));
            }
        }
    }
}
