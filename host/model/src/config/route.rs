//! Reads route files: which function answers which requests, and how the parts of a request become the function's parameters. The file
//! `mount.rs` reads the mounts in them, and `middleware.rs` the middlewares.
//!
//! This file doesn't check whether the function exists, nor whether the route provides for all its parameters and errors. That takes the
//! shape of the component.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use ::http::header;

use super::answer::{AnswerConfig, Errors, SuccessStatus, check_redirects, read_errors, read_success};
use super::binding::{Binding, Bindings, BodyBinding, read_bindings, read_body};
use super::cors::{CorsConfig, read_cors};
use super::host::{HostPattern, Located, read_host};
use super::json::JsonStyle;
use super::middleware::{MiddlewareConfig, read_middleware};
use super::modules::DeclaredModules;
use super::mount::{ClaimedPaths, MountConfig, read_mount};
use super::partial::PartialRoute;
use super::path::PathTemplate;
use super::source::{LocatedValue, Source};
use super::tree::{Table, Value, document};
use super::words::words;
use crate::ids::FunctionPath;
use crate::problem::{Code, Problem};

words! {
    /// The HTTP methods that a route can have.
    Method {
        /// Reads a resource.
        Get = "GET",
        /// Reads a resource without the body of the answer.
        Head = "HEAD",
        /// Performs an operation.
        Post = "POST",
        /// Replaces a resource.
        Put = "PUT",
        /// Changes a part of a resource.
        Patch = "PATCH",
        /// Deletes a resource.
        Delete = "DELETE",
        /// Asks which methods a resource has.
        Options = "OPTIONS",
    }
}

impl Method {
    /// Whether a request with this method may have a meaningful body (RFC 9110, section 9.3).
    pub fn takes_body(self) -> bool {
        !matches!(self, Self::Get | Self::Head)
    }
}

words! {
    /// What happens to request input that no route binds: query fields, fields of JSON objects, and whole bodies.
    UnknownInput {
        /// The request is answered with status 400.
        Refuse = "refuse",
        /// The input is ignored.
        Ignore = "ignore",
    }
}

impl Default for UnknownInput {
    /// The default is `Refuse`, so that the author of a client learns of a mistake.
    fn default() -> Self {
        Self::Refuse
    }
}

/// The table `[[route]]`: one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteConfig {
    /// The route file that has this route.
    pub file: Arc<Path>,
    /// The line of the route in its file, counted from 1.
    pub line: u32,
    /// The HTTP method that a request must have.
    pub method: Method,
    /// The name of the host that a request must be for. `None` means every host that has no route of its own for the request.
    pub host: Option<HostPattern>,
    /// The template that the path of a request must match.
    pub path: LocatedValue<PathTemplate>,
    /// The function that answers requests of this route.
    pub call: LocatedValue<FunctionPath>,
    /// The meaning of a request's body. `None` means that the route takes no body.
    pub body: Option<LocatedValue<BodyBinding>>,
    /// The parameters that the tables `headers`, `query`, `cookies`, `constants` and `request` bind.
    pub bindings: Bindings,
    /// The status of a success. Default: 200.
    pub status: SuccessStatus,
    /// The answer to each error case.
    pub errors: Errors,
    /// What a success says beside its body: the table `answer`.
    pub answer: AnswerConfig,
    /// What happens to input that the route doesn't bind: the manifest's key `app.unknown_input`.
    pub unknown_input: UnknownInput,
    /// How JSON is written and names are spelled: the key `json` of the route, its file or the manifest.
    pub json: JsonStyle,
}

/// What a route has unless it or its file says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RouteDefaults<'a> {
    /// The manifest's key `app.unknown_input`.
    pub(super) unknown_input: UnknownInput,
    /// The manifest's table `[json]`.
    pub(super) json: JsonStyle,
    /// The key `host` of the file.
    pub(super) host: Option<&'a HostPattern>,
}

/// The routes, mounts and middlewares of the route files that were read so far.
#[derive(Default)]
pub(super) struct FoundRoutes {
    pub(super) routes: Vec<RouteConfig>,
    pub(super) mounts: Vec<MountConfig>,
    pub(super) middlewares: Vec<MiddlewareConfig>,
    pub(super) cors: Vec<CorsConfig>,
    /// Routes with a fault whose function is known.
    pub(super) partial_routes: Vec<PartialRoute>,
    /// Mounts with a fault whose module is known.
    pub(super) partial_mounts: Vec<MountConfig>,
    /// Middlewares with a fault whose module is known.
    pub(super) partial_middlewares: Vec<MiddlewareConfig>,
    /// Whether a route file is no TOML, so that it is unknown what is in it.
    pub(super) has_unreadable: bool,
    claimed_requests: ClaimedRequests,
    claimed_paths: ClaimedPaths,
}

/// Reads a route file, and adds its routes, mounts and middlewares to `found`. Its problems are collected in `source`.
pub(super) fn read_routes(
    source: &Source,
    declared: &DeclaredModules,
    defaults: RouteDefaults<'_>,
    found: &mut FoundRoutes,
) {
    let tree = match source.parse() {
        Ok(tree) => tree,
        Err(problems) => {
            found.has_unreadable = true;
            return source.extend_problems(problems);
        }
    };
    document(source, &tree, |file| {
        let host = read_host(file, None).flatten();
        let host = host.as_ref();
        let defaults = RouteDefaults { json: JsonStyle::read(file, defaults.json), host, ..defaults };
        for value in file.optional("route").and_then(|value| value.list()).unwrap_or_default() {
            add_route(&value, source, declared, defaults, found);
        }
        for value in file.optional("mount").and_then(|value| value.list()).unwrap_or_default() {
            let before = source.reported();
            let mount = value.table(|t| read_mount(t, source, declared, host, &mut found.claimed_paths)).flatten();
            let list = if source.reported() == before { &mut found.mounts } else { &mut found.partial_mounts };
            list.extend(mount);
        }
        for value in file.optional("cors").and_then(|value| value.list()).unwrap_or_default() {
            let cors = value.table(|t| read_cors(t, source, host, &found.cors)).flatten();
            found.cors.extend(cors);
        }
        for value in file.optional("middleware").and_then(|value| value.list()).unwrap_or_default() {
            let before = source.reported();
            let middleware = value.table(|t| read_middleware(t, source, declared, host, &found.middlewares)).flatten();
            let is_sound = source.reported() == before;
            let list = if is_sound { &mut found.middlewares } else { &mut found.partial_middlewares };
            list.extend(middleware);
        }
    });
}

fn add_route(
    value: &Value<'_>,
    source: &Source,
    declared: &DeclaredModules,
    defaults: RouteDefaults<'_>,
    found: &mut FoundRoutes,
) {
    let before = source.reported();
    let mut inside = before;
    let route = value.table(|t| {
        let route = read_route(t, source, declared, defaults, &mut found.claimed_requests);
        inside = source.reported();
        route
    });
    let Some(mut route) = route.flatten() else { return };
    if source.reported() == before {
        found.routes.push(route.route);
    } else {
        // An unknown key may be a misspelt known one.
        let has_unknown_keys = source.reported() > inside;
        route.bindings &= !has_unknown_keys;
        route.errors &= !has_unknown_keys;
        route.answer &= !has_unknown_keys;
        found.partial_routes.push(route);
    }
}

/// Reads a route. A part with a fault gets its default value. Returns `None` if the function is unknown.
fn read_route(
    table: &mut Table<'_>,
    source: &Source,
    declared: &DeclaredModules,
    defaults: RouteDefaults<'_>,
    claims: &mut ClaimedRequests,
) -> Option<PartialRoute> {
    let before = source.reported();
    let method = table.required("method").and_then(|value| value.parse::<Method>());
    let path = table.required("path").and_then(|value| read_path(&value));
    let host = read_host(table, defaults.host);
    let body = table.optional("body").and_then(|value| read_body(&value, method.as_deref().copied()));
    let bindings = read_bindings(table, path.as_ref().map(|path| &path.value), body.as_ref());
    let bindings_known = source.reported() == before;
    if let (Some(host), Some(method), Some(path)) = (&host, &method, &path) {
        claims.add(host.as_ref(), method.value, path, source);
    }
    let call = table.required("call").and_then(|value| read_call(&value, declared));
    let (errors, errors_known) = read_errors(table.optional("errors").as_ref());
    let before = source.reported();
    let (status, answer) = read_answer(table, method.as_deref().copied(), &bindings);
    let answer_known = source.reported() == before;
    let root = || LocatedValue { value: "/".parse().expect("a path"), line: table.line() };
    let route = RouteConfig {
        file: source.path().clone(),
        line: table.line(),
        method: method.map_or(Method::Post, |method| method.value),
        host: host.flatten(),
        path: path.unwrap_or_else(root),
        call: call?,
        body,
        bindings,
        status,
        errors,
        answer,
        unknown_input: defaults.unknown_input,
        json: JsonStyle::read(table, defaults.json),
    };
    Some(PartialRoute { route, bindings: bindings_known, errors: errors_known, answer: answer_known })
}

/// Reads the keys `status` and `answer`, and checks that they fit together.
fn read_answer(table: &mut Table<'_>, method: Option<Method>, bindings: &Bindings) -> (SuccessStatus, AnswerConfig) {
    let status = table.optional("status");
    let line = status.as_ref().map_or(table.line(), |value| value.at(()).line);
    let status = status.and_then(|value| read_success(&value)).unwrap_or_default();
    let Some(value) = table.optional("answer") else {
        check_redirects(&status, &AnswerConfig::default(), table, line);
        return (status, AnswerConfig::default());
    };
    let before = table.reported();
    let answer = value.table(AnswerConfig::read).unwrap_or_default();
    if table.reported() == before {
        check_redirects(&status, &answer, table, line);
    }
    let takes_match =
        bindings.values().any(|at| matches!(&at.value, Binding::Header(name) if *name == header::IF_MATCH));
    if answer.requires_match && method.is_some_and(|method| !method.takes_body()) {
        value.report(Problem::new(Code::BadValue, "`require_match` is for methods that change something"));
    } else if answer.requires_match && !takes_match {
        let help = "add `headers = { … = \"If-Match\" }` to the route";
        value.report(
            Problem::new(Code::BadBinding, "`require_match` needs a parameter that takes the header `If-Match`")
                .help(help),
        );
    }
    (status, answer)
}

fn read_path(value: &Value<'_>) -> Option<LocatedValue<PathTemplate>> {
    let text = value.string()?;
    match text.parse() {
        Ok(path) => Some(value.at(path)),
        Err(why) => {
            value.report(Problem::new(Code::RouteConflict, format!("the path `{text}` is not valid: {why}")));
            None
        }
    }
}

fn read_call(value: &Value<'_>, declared: &DeclaredModules) -> Option<LocatedValue<FunctionPath>> {
    let call = value.parse::<FunctionPath>()?;
    declared.check(value, &call.module).then_some(call)
}

/// The requests that the routes of all files match. Two templates conflict if and only if their texts for the router are equal.
#[derive(Default)]
struct ClaimedRequests(HashMap<(Option<HostPattern>, Method, String), ClaimedRequest>);

struct ClaimedRequest {
    path: PathTemplate,
    file: Arc<Path>,
    line: u32,
}

impl ClaimedRequests {
    /// Adds the requests of a route. Reports a conflict if an earlier route matches the same requests.
    fn add(&mut self, host: Option<&HostPattern>, method: Method, path: &LocatedValue<PathTemplate>, source: &Source) {
        let file = source.path().clone();
        match self.0.entry((host.cloned(), method, path.to_matchit())) {
            Entry::Vacant(free) => {
                free.insert(ClaimedRequest { path: path.value.clone(), file, line: path.line });
            }
            Entry::Occupied(taken) => {
                let first = taken.get();
                let (path_here, first_path) = (Located(host, &**path), Located(host, &first.path));
                let message = format!("`{method} {path_here}` matches the same requests as `{method} {first_path}`");
                let help = format!("the other route is at {}:{}", first.file.display(), first.line);
                source.report(path.line, Problem::new(Code::RouteConflict, message).help(help));
            }
        }
    }
}
