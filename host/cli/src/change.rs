//! `swap`, `apply`, `rollback` and `generations`: change what a running host serves, and list what it has served.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressFinish};
use reqwest::Method;
use reqwest::multipart::{Form, Part};

use super::client::{Client, HostArguments};
use super::fake::NoFakes;
use super::installed::overrides;
use super::{Application, NamedApplication, output};
use watertight_build::{outdated, outdated_file};
use watertight_component::artifact::{self, MAX_COMPONENT_BYTES};
use watertight_control::control::ChangeOutcome;
use watertight_control::state::{PublishedGeneration, Requester};
use watertight_edge::admin::{CompilationEntry, Compilations, FILES_PART, Generations, RollbackRequest};
use watertight_model::config;
use watertight_model::ids::{GenerationNumber, ModuleName};
use watertight_model::problem::{Code, Problem, Problems};

/// The time between two questions to the host what it compiles.
const PROGRESS_PAUSE: Duration = Duration::from_millis(500);
/// The time after which a compilation is shown. Most take less.
const PROGRESS_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct SwapArguments {
    /// Module to replace.
    module: ModuleName,
    /// Component file of the new build.
    file: PathBuf,
    #[command(flatten)]
    application: NamedApplication,
    #[command(flatten)]
    host: HostArguments,
    #[command(flatten)]
    change: ChangeArguments,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArguments {
    #[command(flatten)]
    application: Application,
    #[command(flatten)]
    host: HostArguments,
    #[command(flatten)]
    change: ChangeArguments,
    #[command(flatten)]
    no_fakes: NoFakes,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArguments {
    /// Number of the generation to return to. By default, the one before the current generation.
    generation: Option<u64>,
    #[command(flatten)]
    application: NamedApplication,
    #[command(flatten)]
    host: HostArguments,
    #[command(flatten)]
    change: ChangeArguments,
}

#[derive(Debug, Args)]
pub(super) struct GenerationsArguments {
    #[command(flatten)]
    application: NamedApplication,
    #[command(flatten)]
    host: HostArguments,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The options that all changes share.
#[derive(Debug, Args)]
struct ChangeArguments {
    /// Print what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl ChangeArguments {
    fn path(&self, path: &str) -> String {
        if self.dry_run { format!("{path}?dry_run=true") } else { path.to_owned() }
    }

    /// Sends the change to the host, and prints the outcome. `command` is the command that the host records as the requester.
    async fn send(&self, client: &Client, request: reqwest::RequestBuilder, command: &str) -> anyhow::Result<()> {
        let request = request.header(reqwest::header::USER_AGENT, format!("watertight {command}"));
        let done = tokio::select! {
            biased;
            done = client.send::<ChangeOutcome>(request) => done,
            never = show_compilations(client), if !self.json => match never {},
        };
        if self.json
            && let Some(problems) = done.as_ref().err().and_then(|error| error.downcast_ref::<Problems>())
        {
            output::print_json(&serde_json::json!({ "problems": problems }))?;
            return Err(output::AlreadyReported.into());
        }
        let outcome = done?;
        if self.json {
            return output::print_json(&outcome);
        }
        output::print(&outcome.plan.to_string());
        let ChangeOutcome { generation, published, millis, notes, .. } = outcome;
        notes.iter().for_each(|note| output::say(note));
        match (published, self.dry_run) {
            (true, _) => output::done(&format!("generation {generation} serves, {millis} ms")),
            (false, true) => output::done(&format!("nothing was changed; generation {generation} serves")),
            (false, false) => output::done(&format!("generation {generation} serves already")),
        }
        Ok(())
    }
}

/// Shows which compilations the host's changes wait for, as long as it is polled.
async fn show_compilations(client: &Client) -> Infallible {
    let bar = ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear);
    // On a terminal, the spinner's line is replaced. Elsewhere, each compilation gets one line.
    let is_shown = !bar.is_hidden();
    let mut told = String::new();
    loop {
        tokio::time::sleep(PROGRESS_PAUSE).await;
        // The change itself reports what is wrong with the host.
        let asked = client.send::<Compilations>(client.request(Method::GET, "/compiling")).await;
        let slow = |one: &CompilationEntry| u128::from(one.millis) >= PROGRESS_AFTER.as_millis();
        let compiling = asked.ok().and_then(|answer| answer.compiling.into_iter().find(slow));
        let Some(CompilationEntry { what, bytes, millis }) = compiling else { continue };
        let size = bytesize::ByteSize(bytes as u64);
        if is_shown {
            bar.enable_steady_tick(Duration::from_millis(100));
            bar.set_message(format!("the host compiles {what}, {size} ({} s)", millis / 1_000));
        } else if told != what {
            output::say(&format!("the host compiles {what}, {size}"));
            told = what;
        }
    }
}

pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

pub(super) fn swap(arguments: &SwapArguments) -> anyhow::Result<()> {
    let SwapArguments { module, file, application, host, change } = arguments;
    let component = read_component(file)?;
    if let Ok(config) = config::load_manifest(&application.app, &overrides()) {
        outdated_file(file, &config).iter().for_each(output::note);
    }
    let client = host.connect_to(&application.app)?;
    let request = client
        .request(Method::POST, &change.path(&format!("/modules/{module}/swap")))
        .header(reqwest::header::CONTENT_TYPE, "application/wasm")
        .body(component);
    let done = block_on(change.send(&client, request, &format!("swap {module}")));
    let problems = done.as_ref().err().and_then(|error| error.downcast_ref::<Problems>());
    let asks_for_more = |problem: &Problem| matches!(problem.code, Code::Ungranted | Code::UndeclaredCall);
    if problems.is_some_and(|problems| problems.as_slice().iter().any(asks_for_more)) {
        output::say(
            "a swap uses the manifest that was applied last: correct the manifest, run `watertight apply`, then swap again",
        );
    }
    done
}

fn read_component(file: &Path) -> Result<Vec<u8>, Problems> {
    artifact::read(file, MAX_COMPONENT_BYTES).map_err(|error| Problem::from(error).into())
}

pub(super) fn apply(arguments: &ApplyArguments) -> anyhow::Result<()> {
    let ApplyArguments { application, host, change, no_fakes } = arguments;
    no_fakes.refuse("apply")?;
    let config = host.load(&application.app)?;
    outdated(&config).iter().for_each(output::note);
    let client = host.connect(&config.state)?;
    // The host checks the files. This command sends them as they are on the disk now.
    let mut form = Form::new().part(FILES_PART, Part::bytes(serde_json::to_vec(&config.files)?));
    for (name, module) in &config.modules {
        let file = module.component.value.file();
        form = form.part(name.to_string(), Part::bytes(read_component(file)?));
    }
    let request = client.request(Method::POST, &change.path("/apply")).multipart(form);
    block_on(change.send(&client, request, "apply"))
}

pub(super) fn rollback(arguments: &RollbackArguments) -> anyhow::Result<()> {
    let RollbackArguments { generation, application, host, change } = arguments;
    let client = host.connect_to(&application.app)?;
    let body = RollbackRequest { to: generation.map(GenerationNumber) };
    let request = client.request(Method::POST, &change.path("/rollback")).json(&body);
    let command = generation.map_or_else(|| "rollback".to_owned(), |generation| format!("rollback {generation}"));
    block_on(change.send(&client, request, &command))
}

pub(super) fn generations(arguments: &GenerationsArguments) -> anyhow::Result<()> {
    let client = arguments.host.connect_to(&arguments.application.app)?;
    let generations = block_on(client.send::<Generations>(client.request(Method::GET, "/generations")))?;
    if arguments.json {
        return output::print_json(&generations);
    }
    output::print(&format_generations(&generations));
    Ok(())
}

fn format_generations(generations: &Generations) -> String {
    let mut entries = Vec::new();
    let mut before: Option<&PublishedGeneration> = None;
    for published in &generations.generations {
        let number = published.number;
        let state = match () {
            () if number == generations.current => "current",
            () if generations.draining.contains(&number) => "draining",
            () => "",
        };
        let builds: Vec<String> =
            published.modules.iter().map(|(name, module)| format!("{name} {}", module.build)).collect();
        let mut out = String::new();
        let asked = requester(published.by.as_ref());
        let _ = writeln!(out, "{number:>5}  {state:<8}  {}  {}{asked}", published.at, published.cause);
        let _ = writeln!(out, "                 {}", builds.join(", "));
        // The changes are listed only if the builds above do not show them.
        if before.is_some_and(|before| before.modules == published.modules) {
            for change in &published.changes {
                let _ = writeln!(out, "                 {change}");
            }
        }
        before = Some(published);
        entries.push((&published.at, out));
    }
    for refused in &generations.refused {
        let mut out = String::new();
        let asked = requester(refused.by.as_ref());
        let _ = writeln!(out, "    -  refused   {}  {}{asked}", refused.at, refused.cause);
        for problem in &refused.problems {
            let text = |key: &str| problem[key].as_str().unwrap_or_default();
            let place = problem["line"].as_u64().map_or_else(String::new, |line| format!("{}:{line}: ", text("file")));
            let _ = writeln!(out, "                 [{}] {place}{}", text("code"), text("message"));
        }
        entries.push((&refused.at, out));
    }
    // In the order of time: timestamps of one form sort like texts.
    entries.sort_by_key(|(at, _)| *at);
    entries.into_iter().map(|(_, text)| text).collect()
}

/// Describes who asked for a change, as the end of an output line. Returns an empty text if that is unknown.
fn requester(by: Option<&Requester>) -> String {
    by.map_or_else(String::new, |by| format!(", asked by {by}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_is_told_and_what_differs_where_builds_are_the_same() {
        let build = |build: &str| {
            let digest = format!("sha256:{}", build.repeat(64));
            serde_json::json!({ "one": { "digest": digest, "build": build, "language": null } })
        };
        let published = |number: u64, modules: serde_json::Value| {
            serde_json::json!({
                "number": number, "at": "2026-01-01T00:00:00Z", "cause": "apply", "modules": modules,
                "configuration": format!("sha256:{}", "0".repeat(64)), "changes": [format!("+ route {number}")],
                "by": { "address": "127.0.0.1", "command": "watertight apply" },
            })
        };
        let generations = serde_json::json!({ "current": 3, "draining": [], "refused": [], "generations": [
            published(1, build("a")), published(2, build("b")), published(3, build("b"))] });
        let text = format_generations(&serde_json::from_value(generations).unwrap());
        assert_eq!(text.matches("apply, asked by watertight apply, from 127.0.0.1").count(), 3, "{text}");
        assert!(!text.contains("route 1") && !text.contains("route 2") && text.contains("+ route 3"), "{text}");
    }

    #[test]
    fn generations_are_told_as_they_came() {
        let published = |number: u64, at: &str| {
            serde_json::json!({
                "number": number, "at": at, "cause": "run", "modules": {},
                "configuration": format!("sha256:{}", "0".repeat(64)),
            })
        };
        let refused = serde_json::json!({ "at": "2026-01-02T00:00:00Z", "cause": "apply", "problems": [
            { "code": "type-mismatch", "message": "no", "file": "app.toml", "line": 7 }] });
        let generations: Generations = serde_json::from_value(serde_json::json!({
            "current": 2, "draining": [1],
            "generations": [published(1, "2026-01-01T00:00:00Z"), published(2, "2026-01-03T00:00:00Z")],
            "refused": [refused],
        }))
        .unwrap();
        let text = format_generations(&generations);
        let begins: Vec<&str> =
            text.lines().filter(|line| !line.starts_with("      ")).map(|line| line[..15].trim()).collect();
        assert_eq!(begins, ["1  draining", "-  refused", "2  current"]);
        assert!(text.contains("[type-mismatch] app.toml:7: no"), "{text}");
    }
}
