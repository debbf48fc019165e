//! What a plan says of the door: routes, mounts, middlewares, rules for browsers, and keys of `[http]`.

use std::collections::{BTreeMap, BTreeSet};

use super::{DoorChange, MiddlewareChange, MountChange, RouteChange, change, pairs};
use watertight_model::config::{
    AppConfig, CorsConfig, CorsRules, HostPattern, MiddlewareConfig, MountConfig, RouteConfig,
};
use watertight_model::ids::ModuleName;

/// Returns the name of a host as plans have it.
fn name(host: Option<&HostPattern>) -> Option<String> {
    host.map(ToString::to_string)
}

pub(super) fn routes(old: &AppConfig, new: &AppConfig) -> Vec<RouteChange> {
    let by_key = |config: &AppConfig| -> BTreeMap<(String, String, Option<HostPattern>), RouteConfig> {
        let key =
            |route: &RouteConfig| (route.path.value.to_string(), route.method.as_str().to_owned(), route.host.clone());
        config.routes.iter().map(|route| (key(route), route.clone())).collect()
    };
    let (from, to) = (by_key(old), by_key(new));
    let found = pairs(&from, &to).into_iter().filter_map(|((path, method, host), from, to)| {
        let change = change(from, to, same_route)?;
        let call = to.or(from)?.call.value.to_string();
        Some(RouteChange { method: method.clone(), host: name(host.as_ref()), path: path.clone(), change, call })
    });
    found.collect()
}

/// Whether two routes of the same path and method are equal, apart from their file and line.
fn same_route(old: &RouteConfig, new: &RouteConfig) -> bool {
    essence(old) == essence(new)
}

/// Returns what decides how a route answers: all of its fields, without its file and the lines of its values.
fn essence(route: &RouteConfig) -> impl PartialEq + use<'_> {
    // Taken apart by name, so that a new field can't be forgotten.
    let RouteConfig {
        file: _,
        line: _,
        method,
        host,
        path,
        call,
        body,
        bindings,
        status,
        errors,
        answer,
        unknown_input,
        json,
    } = route;
    let bindings: Vec<_> = bindings.iter().map(|(name, bound)| (name.clone(), bound.value.clone())).collect();
    let errors: Vec<_> = errors.iter().map(|(case, error)| (case.clone(), error.value.without_lines())).collect();
    let answer = (status.without_lines(), errors, answer.without_lines());
    let body = body.as_ref().map(|body| body.value.clone());
    let place = (*method, host.as_ref(), path.value.as_str());
    (place, &call.value, body, bindings, answer, *unknown_input, *json)
}

pub(super) fn mounts(old: &AppConfig, new: &AppConfig) -> Vec<MountChange> {
    let by_path = |config: &AppConfig| -> BTreeMap<(String, Option<HostPattern>), MountConfig> {
        let key = |mount: &MountConfig| (mount.path.value.to_string(), mount.host.clone());
        config.mounts.iter().map(|mount| (key(mount), mount.clone())).collect()
    };
    let (from, to) = (by_path(old), by_path(new));
    let found = pairs(&from, &to).into_iter().filter_map(|((path, host), from, to)| {
        let change = change(from, to, same_mount)?;
        let module = to.or(from)?.module.value.clone();
        Some(MountChange { host: name(host.as_ref()), path: path.clone(), change, module })
    });
    found.collect()
}

/// Whether two mounts of the same path are equal, apart from their file and line and the order of their methods.
fn same_mount(old: &MountConfig, new: &MountConfig) -> bool {
    let methods = |mount: &MountConfig| -> Option<BTreeSet<String>> {
        mount.methods.as_ref().map(|methods| methods.iter().map(ToString::to_string).collect())
    };
    old.module.value == new.module.value && old.strip == new.strip && methods(old) == methods(new)
}

/// What makes a middleware the same in two applications: path, host and module.
type MiddlewareKey = (String, Option<HostPattern>, ModuleName);

pub(super) fn middlewares(old: &AppConfig, new: &AppConfig) -> Vec<MiddlewareChange> {
    let keys = |config: &AppConfig| -> Vec<MiddlewareKey> {
        let key = |one: &MiddlewareConfig| (one.path.value.to_string(), one.host.clone(), one.module.value.clone());
        config.middlewares.iter().map(key).collect()
    };
    let (from, to) = (keys(old), keys(new));
    // The place of each middleware among those that both applications have.
    let places = |keys: &[MiddlewareKey], others: &[MiddlewareKey]| -> BTreeMap<_, usize> {
        let mut common = 0;
        let place = |key: &MiddlewareKey| {
            let place = common;
            common += usize::from(others.contains(key));
            (key.clone(), place)
        };
        keys.iter().map(place).collect()
    };
    let (from, to) = (places(&from, &to), places(&to, &from));
    let found = pairs(&from, &to).into_iter().filter_map(|((path, host, module), from, to)| {
        let change = change(from, to, |from, to| from == to)?;
        Some(MiddlewareChange { host: name(host.as_ref()), path: path.clone(), module: module.clone(), change })
    });
    found.collect()
}

pub(super) fn door(old: &AppConfig, new: &AppConfig) -> Vec<DoorChange> {
    let parts = |config: &AppConfig| -> BTreeMap<String, CorsRules> {
        let host = |one: &CorsConfig| name(one.host.as_ref()).unwrap_or_default();
        config.cors.iter().map(|one| (format!("cors {}{}", host(one), one.path.value), one.rules.clone())).collect()
    };
    let (from, to) = (parts(old), parts(new));
    let found = pairs(&from, &to).into_iter().filter_map(|(what, from, to)| {
        Some(DoorChange { change: change(from, to, |from, to| from == to)?, what: what.clone() })
    });
    let sides = [&old.door, &new.door];
    let keys = [
        key("http.compression", sides.map(|door| door.compression.then_some(()))),
        key("app.examples", sides.map(|door| Some(&door.examples).filter(|examples| !examples.is_empty()))),
        key("http.openapi", sides.map(|door| door.openapi.then_some(()))),
        key("http.problems", sides.map(|door| door.problems.as_ref())),
        key("http.security_headers", sides.map(|door| Some(&door.added_headers).filter(|headers| !headers.is_empty()))),
        key(
            "http.trusted_proxies",
            sides.map(|door| Some(&door.trusted_proxies).filter(|trusted| !trusted.is_empty())),
        ),
    ];
    found.chain(keys.into_iter().flatten()).collect()
}

/// Returns how a key differs between two applications. `None` as a value stands for the default.
fn key<T: PartialEq>(what: &str, [from, to]: [Option<T>; 2]) -> Option<DoorChange> {
    let change = change(from.as_ref(), to.as_ref(), |from, to| from == to)?;
    Some(DoorChange { what: what.to_owned(), change })
}
