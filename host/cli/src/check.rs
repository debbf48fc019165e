//! `check` and `graph`: check and draw an application without compiling or running it.

use anyhow::Context as _;
use serde_json::json;

use super::installed::overrides;
use super::output::{self, AlreadyReported};
use super::{CheckArguments, GraphArguments, GraphFormat};
use watertight_build::outdated;
use watertight_control::application::{self, CheckScope, Checked};
use watertight_control::control::find_published_application;
use watertight_graph::graph::render::{Format, GraphView};
use watertight_model::config::{self, Overrides};
use watertight_model::ids::GenerationNumber;
use watertight_openapi::compare::compare;
use watertight_openapi::format::OpenApi;

/// The word for the generation that was published last.
const CURRENT: &str = "current";

pub(super) fn check(arguments: &CheckArguments) -> anyhow::Result<()> {
    let overrides = Overrides { state: arguments.state.clone(), ..overrides() };
    let overrides = arguments.fakes.add_to(overrides, &arguments.application.app)?;
    let look = CheckScope { migrations: true, values: arguments.env };
    let checked = application::check_files(&arguments.application.app, &overrides, look);
    let clients = match (&checked, &arguments.against) {
        (Ok(checked), Some(known)) => Some(compare(&known_document(known, checked)?, &document(checked))),
        _ => None,
    };
    let is_broken = clients.as_ref().is_some_and(|clients| clients.breaking() > 0);
    // They are told with problems too: an old component is often why there are some.
    let mut notes = config::load_partial(&arguments.application.app, &overrides)
        .map(|partial| outdated(&partial.config))
        .unwrap_or_default();
    notes.extend(checked.iter().flat_map(|checked| checked.notes.iter().cloned()));
    if arguments.json {
        let problems = checked.as_ref().err().map_or(&[][..], |problems| problems.as_slice());
        let mut found = json!({ "problems": problems, "notes": notes });
        if let Some(clients) = &clients {
            found["clients"] = json!(clients);
        }
        output::print_json(&found)?;
        return if checked.is_err() || is_broken { Err(AlreadyReported.into()) } else { Ok(()) };
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
    if let Some(clients) = &clients {
        output::print(&clients.to_string());
        let known = arguments.against.as_deref().unwrap_or_default();
        match clients.breaking() {
            0 if clients.is_empty() => output::same(&format!("clients notice no difference from `{known}`")),
            0 => {}
            1 => anyhow::bail!("1 change breaks clients of `{known}`"),
            count => anyhow::bail!("{count} changes break clients of `{known}`"),
        }
    }
    output::done(&format!(
        "`{}` is complete: {} modules, {calls} calls between them, {} routes{mounts}{middlewares}",
        checked.graph.app,
        checked.graph.modules.len(),
        checked.routes.routes().len(),
    ));
    Ok(())
}

fn document(checked: &Checked) -> OpenApi {
    OpenApi::new(&checked.graph, &checked.routes)
}

/// Returns the document that clients know: that of a published generation, or that of a file.
fn known_document(known: &str, checked: &Checked) -> anyhow::Result<OpenApi> {
    let number = known.parse::<u64>().map(GenerationNumber).ok();
    if number.is_some() || known == CURRENT {
        let state = &checked.config.state;
        let overrides = Overrides { state: Some(state.clone()), ..overrides() };
        let (config, artifacts) = find_published_application(number, &overrides, state)?;
        return Ok(document(&application::check_paper_with(config, &artifacts)?));
    }
    let text = std::fs::read(known).with_context(|| format!("{known} can't be read"))?;
    OpenApi::parse(&text).with_context(|| known.to_owned())
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
