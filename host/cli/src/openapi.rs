//! `openapi` and `routes`: what an application offers to clients, as an OpenAPI document and as a table. Neither needs a running host.

use std::collections::BTreeSet;

use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::fake::FakeArguments;
use super::installed::overrides;
use super::{Application, output};
use watertight_control::application::{self, CheckScope, Checked};
use watertight_graph::routes::{BoundBody, BoundForm, ParameterSource, Route};
use watertight_model::config::{HostPattern, RouteConfig};
use watertight_openapi::format::OpenApi;

#[derive(Debug, Args)]
pub(super) struct OpenApiArguments {
    #[command(flatten)]
    application: Application,
    #[command(flatten)]
    fakes: FakeArguments,
}

#[derive(Debug, Args)]
pub(super) struct RoutesArguments {
    #[command(flatten)]
    application: Application,
    #[command(flatten)]
    fakes: FakeArguments,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn checked(application: &Application, fakes: &FakeArguments) -> anyhow::Result<Checked> {
    let overrides = fakes.add_to(overrides(), &application.app)?;
    Ok(application::check_files(&application.app, &overrides, CheckScope::default())?)
}

/// Prints the OpenAPI document of an application.
pub(super) fn openapi(arguments: &OpenApiArguments) -> anyhow::Result<()> {
    let checked = checked(&arguments.application, &arguments.fakes)?;
    output::print(&String::from_utf8_lossy(&OpenApi::new(&checked.graph, &checked.routes).to_json()));
    Ok(())
}

/// What answers requests with a method and a path.
#[derive(Debug, Serialize)]
struct Row {
    /// The method. For a mount, the methods that it takes, or `*`.
    method: String,
    /// The path's template. For a mount, the path with `/…`, because it takes everything below it.
    path: String,
    /// The function, or the module of a mount.
    answered_by: String,
    /// The parameters and what they are read from.
    takes: Vec<String>,
    /// The statuses that the function itself may answer with, that of a success first. Empty for a mount.
    statuses: Vec<u16>,
    /// The modules that get the request before, in their order.
    middlewares: Vec<String>,
}

/// Prints what answers what.
pub(super) fn routes(arguments: &RoutesArguments) -> anyhow::Result<()> {
    let checked = checked(&arguments.application, &arguments.fakes)?;
    let rows = rows(&checked);
    if arguments.json {
        return output::print_json(&rows);
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let has_middlewares = rows.iter().any(|row| !row.middlewares.is_empty());
    let headings = ["method", "path", "answered by", "takes", "answers"].into_iter();
    table.set_header(headings.chain(has_middlewares.then_some("after")));
    for Row { method, path, answered_by, takes, statuses, middlewares } in rows {
        let statuses: Vec<String> = statuses.iter().map(ToString::to_string).collect();
        let cells = [method, path, answered_by, takes.join(", "), statuses.join(" ")].into_iter();
        table.add_row(cells.chain(has_middlewares.then(|| middlewares.join(", "))));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned() + "\n").collect();
    output::print(&lines.concat());
    Ok(())
}

fn rows(checked: &Checked) -> Vec<Row> {
    let table = &checked.routes;
    // A pattern of names stands for one of them.
    let middlewares = |host: Option<&HostPattern>, path: &str| -> Vec<String> {
        let host = host.map(HostPattern::as_str);
        let covering = table.middlewares().iter().filter(|one| one.covers(host, path));
        covering.map(|one| one.module.to_string()).collect()
    };
    let route = |(route, config): (&Route, &RouteConfig)| Row {
        method: route.method.to_string(),
        path: route.label.to_string(),
        answered_by: config.call.value.to_string(),
        takes: takes(route),
        statuses: statuses(route),
        middlewares: middlewares(route.host.as_ref(), &route.path),
    };
    let mut rows: Vec<Row> = table.routes().iter().zip(&checked.config.routes).map(route).collect();
    rows.extend(table.mounts().iter().map(|mount| Row {
        method: mount.methods.as_ref().map_or_else(
            || "*".to_owned(),
            |methods| methods.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        ),
        path: format!("{}/…", mount.label.trim_end_matches('/')),
        answered_by: mount.module.to_string(),
        takes: Vec::new(),
        statuses: Vec::new(),
        middlewares: middlewares(mount.host.as_ref(), &mount.path),
    }));
    rows.sort_by(|one, other| (&one.path, &one.method).cmp(&(&other.path, &other.method)));
    rows
}

/// Returns the statuses that a route's function may answer with, those of successes first.
fn statuses(route: &Route) -> Vec<u16> {
    let successes: BTreeSet<u16> = route.answer.status.all().into_iter().map(|status| status.as_u16()).collect();
    let others: BTreeSet<u16> =
        route.answer.statuses().into_iter().filter(|status| !successes.contains(status)).collect();
    successes.into_iter().chain(others).collect()
}

/// Lists what a route reads from a request.
fn takes(route: &Route) -> Vec<String> {
    let mut found = Vec::new();
    for parameter in &route.parameters {
        found.push(match &parameter.source {
            ParameterSource::Path(..) => format!("path {}", parameter.name),
            ParameterSource::Query(field) => format!("query {}", field.name),
            ParameterSource::WholeQuery(_) => format!("the query as {}", parameter.name),
            ParameterSource::Header(name, _) => format!("header {name}"),
            ParameterSource::Cookie(name, _) => format!("cookie {name}"),
            ParameterSource::Constant(_) | ParameterSource::Request(..) | ParameterSource::Body(_) => continue,
        });
    }
    found.extend(
        match &route.body {
            BoundBody::Unbound => None,
            BoundBody::Parameter(_) | BoundBody::Spread(_) => Some("JSON"),
            BoundBody::Raw(_) => Some("raw bytes"),
            BoundBody::Text => Some("text"),
            BoundBody::Form(BoundForm { is_multipart: true, .. }) => Some("form in parts"),
            BoundBody::Form(_) => Some("form"),
        }
        .map(str::to_owned),
    );
    found
}
