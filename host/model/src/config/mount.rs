//! Reads the tables `[[mount]]` of route files: which module answers all requests below a path by an HTTP handler of its own.
//!
//! This file doesn't check whether the module exports a handler. That takes the shape of the component.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use ::http::Method;

use super::host::{HostPattern, Located, read_host};
use super::modules::DeclaredModules;
use super::path::{BadPath, PathTemplate};
use super::source::{LocatedValue, Source};
use super::tree::{Table, Value};
use crate::ids::{ModuleName, json_name};
use crate::problem::{Code, Problem};

/// The methods whose names are known well enough to tell a misspelt one (RFC 9110, section 9.1; RFC 5789).
const STANDARD: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

/// The checked path of a mount: `/`, or literal segments such as `/greetings`. The mount takes this path and every path below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MountPath(Arc<str>);

impl MountPath {
    /// Returns the path `/`, below which all requests are.
    pub(super) fn root() -> Self {
        Self("/".into())
    }

    /// Returns the path as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MountPath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        match text.parse::<PathTemplate>() {
            Ok(template) => match template.parameters().next() {
                Some(parameter) => Err(BadPath::NotLiteral(braced(&json_name(parameter)))),
                None => Ok(Self(text.into())),
            },
            // The advice for routes would be to write a parameter.
            Err(BadPath::ForeignSyntax { segment, .. } | BadPath::Braces(segment)) => Err(BadPath::NotLiteral(segment)),
            Err(BadPath::Name(name) | BadPath::Twice(name)) => Err(BadPath::NotLiteral(braced(&name))),
            Err(other) => Err(other),
        }
    }
}

fn braced(name: &str) -> String {
    format!("{{{name}}}")
}

impl fmt::Display for MountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The table `[[mount]]`: one mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountConfig {
    /// The route file that has this mount.
    pub file: Arc<Path>,
    /// The line of the mount in its file, counted from 1.
    pub line: u32,
    /// The name of the host that a request must be for. `None` means every host that has nothing of its own for the request.
    pub host: Option<HostPattern>,
    /// The path that the mount takes, together with every path below it.
    pub path: LocatedValue<MountPath>,
    /// The module whose handler answers the requests.
    pub module: LocatedValue<ModuleName>,
    /// Whether the handler gets the path of a request without the path of the mount. Default: false.
    pub strip: bool,
    /// The methods of the requests that the mount takes. `None` means every method.
    pub methods: Option<Vec<Method>>,
}

/// Reads a mount. A part with a fault gets its default value. Returns `None` if the module is unknown. `host` is that of the file, and
/// `claims` holds the paths of earlier mounts.
pub(super) fn read_mount(
    table: &mut Table<'_>,
    source: &Source,
    declared: &DeclaredModules,
    host: Option<&HostPattern>,
    claims: &mut ClaimedPaths,
) -> Option<MountConfig> {
    let path = table.required("path").and_then(|value| read_path(&value, "mount"));
    let host = read_host(table, host);
    if let (Some(host), Some(path)) = (&host, &path) {
        claims.add(host.as_ref(), path, source);
    }
    let module = table.required("module").and_then(|value| declared.module(&value));
    let strip = table.optional("strip").and_then(|value| value.boolean()).unwrap_or(false);
    let methods = table.optional("methods").and_then(|value| read_methods(&value));
    let line = table.line();
    Some(MountConfig {
        file: source.path().clone(),
        line,
        host: host.flatten(),
        path: path.unwrap_or_else(|| LocatedValue { value: MountPath::root(), line }),
        module: module?,
        strip,
        methods,
    })
}

/// Reads the path of a mount or a middleware; `what` says of which.
pub(super) fn read_path(value: &Value<'_>, what: &str) -> Option<LocatedValue<MountPath>> {
    let text = value.string()?;
    match text.parse() {
        Ok(path) => Some(value.at(path)),
        Err(why) => {
            let message = format!("the path `{text}` of a {what} is not valid: {why}");
            value.report(Problem::new(Code::RouteConflict, message));
            None
        }
    }
}

fn read_methods(value: &Value<'_>) -> Option<Vec<Method>> {
    let list = value.list()?;
    if list.is_empty() {
        value.refuse("a mount without a method takes no request: name a method, or leave the key out for all of them");
    }
    let mut methods = Vec::new();
    for entry in list {
        let Some(method) = read_method(&entry) else { continue };
        if methods.contains(&method) {
            entry.report(Problem::new(Code::Duplicate, format!("`{method}` is in the list twice")));
        } else {
            methods.push(method);
        }
    }
    Some(methods)
}

fn read_method(value: &Value<'_>) -> Option<Method> {
    let text = value.string()?;
    let Ok(method) = Method::from_bytes(text.as_bytes()) else {
        value.refuse(format_args!("`{text}` is not an HTTP method: write a token such as `GET` or `PURGE`"));
        return None;
    };
    if method.as_str().eq_ignore_ascii_case("CONNECT") {
        value.refuse("a request with the method `CONNECT` has no path, so no mount can take it");
        return None;
    }
    // The case of a method matters (RFC 9110, section 9.1), so `get` would be a method that no client sends.
    let known = STANDARD.iter().find(|known| known.as_str().eq_ignore_ascii_case(text));
    if let Some(known) = known.filter(|known| **known != method) {
        value.refuse(format_args!("`{text}` is not the method `{known}`, since the case of a method matters"));
        return None;
    }
    Some(method)
}

/// The paths of the mounts of all files.
#[derive(Default)]
pub(super) struct ClaimedPaths(HashMap<(Option<HostPattern>, MountPath), ClaimedPath>);

struct ClaimedPath {
    file: Arc<Path>,
    line: u32,
}

impl ClaimedPaths {
    /// Adds the path of a mount. Reports a conflict if an earlier mount has the same path.
    fn add(&mut self, host: Option<&HostPattern>, path: &LocatedValue<MountPath>, source: &Source) {
        match self.0.entry((host.cloned(), path.value.clone())) {
            Entry::Vacant(free) => {
                free.insert(ClaimedPath { file: source.path().clone(), line: path.line });
            }
            Entry::Occupied(taken) => {
                let ClaimedPath { file, line } = taken.get();
                let message = format!("two mounts have the path `{}`", Located(host, &**path));
                let help = format!("the other mount is at {}:{line}", file.display());
                source.report(path.line, Problem::new(Code::RouteConflict, message).help(help));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_mount_is_literal() {
        for text in ["/", "/a", "/a/b-c.d", "/things:batch"] {
            assert_eq!(text.parse::<MountPath>().map(|path| path.to_string()), Ok(text.to_owned()));
        }
        let refused = [
            ("", "starts with"),
            ("a", "starts with"),
            ("/a/", "empty segment"),
            ("/a//b", "empty segment"),
            ("/a/..", "resolve"),
            ("/a%20b", "`%`"),
            ("/a/*", "`*` is not literal text"),
            ("/a/{*rest}", "`{*rest}` is not literal text"),
            ("/a/:id", "`:id` is not literal text"),
            ("/a/{user_id}", "`{user_id}` is not literal text"),
            ("/a/{Id}", "`{Id}` is not literal text"),
            ("/a/{b}/{b}", "`{b}` is not literal text"),
            ("/x-{a}", "`x-{a}` is not literal text"),
        ];
        for (text, why) in refused {
            let error = text.parse::<MountPath>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
