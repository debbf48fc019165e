//! `call`: calls one function with JSON arguments.

use anyhow::Context;
use reqwest::Method;
use serde_json::value::RawValue;

use super::client::Client;
use super::installed::{new_host, overrides};
use super::serve::start_log;
use super::test::tell_compilations;
use super::{CallArguments, module_log, output, signals};
use watertight_build::outdated;
use watertight_control::control::UnpublishedPlan;
use watertight_control::invoke::{Caller, check, invoke};
use watertight_control::state::StateFolder;
use watertight_edge::admin::{CallRequest, CallResponse};
use watertight_graph::graph::Node;
use watertight_model::config::{AppConfig, Overrides};
use watertight_model::ids::ModuleName;
use watertight_model::problem::Problem;
use watertight_store::ConcurrentCalls;

pub(super) fn call(arguments: &CallArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let json = arguments.json;
    let result = runtime.block_on(async {
        let config = arguments.host.load(&arguments.application.app)?;
        match arguments.host.find(&config.state)? {
            Some(client) => in_host(arguments, &client).await,
            None => in_process(arguments, config).await,
        }
    })?;
    print(&result, json)
}

/// Prints the result. A module's typed error is printed as a result too, and makes the command fail.
fn print(result: &RawValue, json: bool) -> anyhow::Result<()> {
    let value: serde_json::Value = serde_json::from_str(result.get())?;
    if json {
        output::print(&format!("{}\n", result.get()));
    } else {
        output::print_json(&value)?;
    }
    let refused = value.as_object().is_some_and(|object| object.len() == 1 && object.contains_key("err"));
    if refused { Err(output::AlreadyReported.into()) } else { Ok(()) }
}

async fn in_host(arguments: &CallArguments, client: &Client) -> anyhow::Result<Box<RawValue>> {
    let values = arguments.arguments.iter().map(|text| {
        RawValue::from_string(text.clone())
            .with_context(|| format!("an argument is not JSON: {text} (a text is written with its quotes: '\"…\"')"))
    });
    let request =
        CallRequest { function: arguments.function.to_string(), arguments: values.collect::<Result<_, _>>()? };
    let words = "the call goes on in the host; this command waits for its result. A second signal ends the waiting, but not the call";
    let call = client.send(client.request(Method::POST, "/call").json(&request));
    let answer: CallResponse = signals::run_to_end(call, words).await??;
    Ok(answer.result)
}

/// Says which modules this process runs for the call, and on which state.
fn tell(plan: &UnpublishedPlan, module: &ModuleName) {
    let (state, why) = (plan.state().path().display(), plan.why());
    output::say(&format!(
        "no host runs on `{state}`, so this command runs `{module}` and what it calls, and publishes nothing: {why}"
    ));
    let build = |(name, node): (&ModuleName, &Node)| format!("{name} build {}", node.artifact.build());
    let builds: Vec<String> = plan.graph().modules.iter().map(build).collect();
    output::say(&format!("  {}", builds.join(", ")));
}

async fn in_process(arguments: &CallArguments, config: AppConfig) -> anyhow::Result<Box<RawValue>> {
    let (_log, _flush) = start_log(config.log.format, &module_log::level(config.log))?;
    let state = StateFolder::open(&config.state)?;
    let overrides = Overrides { state: arguments.host.state.clone(), ..overrides() };
    let host = new_host(&config)?;
    let notes = outdated(&config);
    let plan = UnpublishedPlan::find(config, &overrides, state)?;
    // Nothing is compiled or migrated for a call that can't be made.
    check(plan.graph(), &arguments.function, &arguments.arguments)?;
    let module = &arguments.function.module;
    let plan = plan.reduce(module)?;
    let is_needed = |note: &&Problem| note.module.as_ref().is_some_and(|name| plan.graph().modules.contains_key(name));
    notes.iter().filter(is_needed).for_each(output::note);
    tell(&plan, module);
    let told = tokio::spawn(tell_compilations(host.engines.clone()));
    let started = tokio::task::spawn_blocking(move || plan.start(&host)).await;
    told.abort();
    let part = started??;
    let call = async {
        // No host runs on this state folder, and this process serves no requests.
        let caller = Caller { request: "call".into(), concurrent_calls: ConcurrentCalls::Nothing };
        let result = invoke(&part.generation, &arguments.function, &arguments.arguments, caller).await;
        part.close().await;
        result
    };
    let words = "the call is finished first, which takes at most its `limits.request`. A second signal aborts it";
    Ok(signals::run_to_end(call, words).await??)
}
