//! `check` and `graph`: check and draw an application without compiling or running it.

use serde_json::json;

use super::installed::overrides;
use super::output::{self, AlreadyReported};
use super::{CheckArguments, GraphArguments, GraphFormat};
use watertight_build::outdated;
use watertight_control::application::{self, CheckScope};
use watertight_graph::graph::render::{Format, GraphView};
use watertight_model::config::{self, Overrides};

pub(super) fn check(arguments: &CheckArguments) -> anyhow::Result<()> {
    let overrides = Overrides { state: arguments.state.clone(), ..overrides() };
    let overrides = arguments.fakes.add_to(overrides, &arguments.application.app)?;
    let look = CheckScope { migrations: true, values: arguments.env };
    let checked = application::check_files(&arguments.application.app, &overrides, look);
    // They are told with problems too: an old component is often why there are some.
    let mut notes = config::load_partial(&arguments.application.app, &overrides)
        .map(|partial| outdated(&partial.config))
        .unwrap_or_default();
    notes.extend(checked.iter().flat_map(|checked| checked.notes.iter().cloned()));
    if arguments.json {
        let problems = checked.as_ref().err().map_or(&[][..], |problems| problems.as_slice());
        output::print_json(&json!({ "problems": problems, "notes": notes }))?;
        return checked.map(drop).map_err(|_| AlreadyReported.into());
    }
    notes.iter().for_each(output::note);
    let checked = checked?;
    let calls: usize = checked.graph.modules.values().map(|node| node.calls.len()).sum();
    let mounts = match checked.routes.mounts().len() {
        0 => String::new(),
        count => format!(", {count} mounts"),
    };
    let middlewares = match checked.routes.middlewares().len() {
        0 => String::new(),
        count => format!(", {count} middlewares"),
    };
    output::done(&format!(
        "`{}` is complete: {} modules, {calls} calls between them, {} routes{mounts}{middlewares}",
        checked.graph.app,
        checked.graph.modules.len(),
        checked.routes.routes().len(),
    ));
    Ok(())
}

pub(super) fn graph(arguments: &GraphArguments) -> anyhow::Result<()> {
    let overrides = arguments.fakes.add_to(overrides(), &arguments.application.app)?;
    let checked = application::check_files(&arguments.application.app, &overrides, CheckScope::default())?;
    let format = match arguments.format {
        _ if arguments.json => Format::Json,
        GraphFormat::Text => Format::Text,
        GraphFormat::Mermaid => Format::Mermaid,
        GraphFormat::Dot => Format::Dot,
        GraphFormat::Json => Format::Json,
    };
    output::print(&checked.routes.add_to(GraphView::new(&checked.graph)).render(format));
    Ok(())
}
