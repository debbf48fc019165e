//! `check` and `graph`: an application on paper.

use serde_json::json;

use super::output::{self, Printed};
use super::{CheckArguments, GraphArguments, GraphFormat};
use crate::application;
use crate::config::{self, Overrides};
use crate::graph::render::{Format, GraphView};

pub(super) fn check(arguments: &CheckArguments) -> anyhow::Result<()> {
    let overrides = Overrides { state: arguments.state.clone(), ..Overrides::default() };
    let checked = config::load(&arguments.application.app, &overrides).and_then(|config| {
        let state = config.state.clone();
        application::check_for_start(config, &state)
    });
    if arguments.json {
        let problems = checked.as_ref().err().map_or(&[][..], |problems| problems.as_slice());
        output::print_json(&json!({ "problems": problems }))?;
        return checked.map(drop).map_err(|_| Printed.into());
    }
    let checked = checked?;
    let calls: usize = checked.graph.modules.values().map(|node| node.calls.len()).sum();
    output::done(&format!(
        "`{}` is complete: {} modules, {calls} calls between them, {} routes",
        checked.graph.app,
        checked.graph.modules.len(),
        checked.routes.routes().len(),
    ));
    Ok(())
}

pub(super) fn graph(arguments: &GraphArguments) -> anyhow::Result<()> {
    let checked = config::load(&arguments.application.app, &Overrides::default()).and_then(application::check)?;
    let format = match arguments.format {
        _ if arguments.json => Format::Json,
        GraphFormat::Text => Format::Text,
        GraphFormat::Mermaid => Format::Mermaid,
        GraphFormat::Dot => Format::Dot,
        GraphFormat::Json => Format::Json,
    };
    output::print(&GraphView::new(&checked.graph).render(format));
    Ok(())
}
