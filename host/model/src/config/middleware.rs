//! Reads the tables `[[middleware]]` of route files: which modules stand in front of routes and mounts.
//!
//! This file doesn't check whether the module is a middleware. That takes the shape of the component.

use std::path::Path;
use std::sync::Arc;

use super::host::{HostPattern, Located, read_host};
use super::modules::DeclaredModules;
use super::mount::{MountPath, read_path};
use super::source::{LocatedValue, Source};
use super::tree::Table;
use crate::ids::ModuleName;
use crate::problem::{Code, Problem};

/// The table `[[middleware]]`: a module that gets all requests below a path before whatever answers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MiddlewareConfig {
    /// The route file that has this middleware.
    pub file: Arc<Path>,
    /// The line of the middleware in its file, counted from 1.
    pub line: u32,
    /// The name of the host whose requests the middleware gets. `None` means every host.
    pub host: Option<HostPattern>,
    /// The path below which the middleware gets all requests.
    pub path: LocatedValue<MountPath>,
    /// The module.
    pub module: LocatedValue<ModuleName>,
}

/// Reads a middleware. A part with a fault gets its default value. Returns `None` if the module is unknown. `host` is that of the
/// file, and `earlier` are the middlewares that were read before.
pub(super) fn read_middleware(
    table: &mut Table<'_>,
    source: &Source,
    declared: &DeclaredModules,
    host: Option<&HostPattern>,
    earlier: &[MiddlewareConfig],
) -> Option<MiddlewareConfig> {
    let line = table.line();
    let path = table.required("path").and_then(|value| read_path(&value, "middleware"));
    let host = read_host(table, host).flatten();
    let module = table.required("module").and_then(|value| declared.module(&value))?;
    let is_same = |other: &&MiddlewareConfig| {
        let has_path = path.as_ref().is_some_and(|path| path.value == other.path.value);
        has_path && other.module.value == module.value && other.host == host
    };
    if let Some(MiddlewareConfig { file, line: other, path, .. }) = earlier.iter().find(is_same) {
        let message =
            format!("module `{}` is a middleware of the path `{}` twice", *module, Located(host.as_ref(), &**path));
        let help = format!("the other table is at {}:{other}", file.display());
        source.report(line, Problem::new(Code::Duplicate, message).help(help));
    }
    let path = path.unwrap_or_else(|| LocatedValue { value: MountPath::root(), line });
    Some(MiddlewareConfig { file: source.path().clone(), line, host, path, module })
}
