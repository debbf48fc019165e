//! `call`: one function, by hand.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde_json::value::RawValue;

use super::{CallArguments, output};
use crate::admin::{CallRequest, CallResponse};
use crate::application::{self, Host};
use crate::config::{self, AppConfig, Overrides};
use crate::invoke::invoke;
use crate::state::{StateFolder, read_token};

pub(super) fn call(arguments: &CallArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let json = arguments.json;
    let result = runtime.block_on(async {
        let overrides = Overrides { state: arguments.state.clone(), ..Overrides::default() };
        let config = config::load(&arguments.application.app, &overrides)?;
        let running = StateFolder::running_host(&config.state).map(|host| host.admin);
        match arguments.admin.or(running) {
            Some(admin) => in_host(arguments, &config, admin).await,
            None => in_process(arguments, config).await,
        }
    })?;
    print(&result, json)
}

/// Writes the result. A module's typed error is a result as well, and makes the command fail.
fn print(result: &RawValue, json: bool) -> anyhow::Result<()> {
    let value: serde_json::Value = serde_json::from_str(result.get())?;
    if json {
        output::print(&format!("{}\n", result.get()));
    } else {
        output::print_json(&value)?;
    }
    let refused = value.as_object().is_some_and(|object| object.len() == 1 && object.contains_key("err"));
    if refused { Err(output::Printed.into()) } else { Ok(()) }
}

async fn in_host(arguments: &CallArguments, config: &AppConfig, admin: SocketAddr) -> anyhow::Result<Box<RawValue>> {
    let token = match arguments.admin_token.clone() {
        Some(token) => token,
        None => read_token(&config.state)
            .context("the admin token can't be read")?
            .with_context(|| format!("no admin token is in {}; set WATERTIGHT_ADMIN_TOKEN", config.state.display()))?,
    };
    let values = arguments
        .arguments
        .iter()
        .map(|text| RawValue::from_string(text.clone()).with_context(|| format!("an argument is not JSON: {text}")));
    let request =
        CallRequest { function: arguments.function.to_string(), arguments: values.collect::<Result<_, _>>()? };
    // Only this host is asked, whatever proxies the environment names.
    let client = reqwest::Client::builder().no_proxy().build()?;
    let response = client.post(format!("http://{admin}/call")).bearer_auth(token).json(&request).send().await;
    let response = response.with_context(|| format!("the host's admin listener at {admin} doesn't answer"))?;
    if response.status().is_success() {
        return Ok(response.json::<CallResponse>().await?.result);
    }
    let problem: serde_json::Value = response.json().await.context("the host's answer can't be understood")?;
    bail!("{}", problem["detail"].as_str().unwrap_or("the host refused the call"))
}

async fn in_process(arguments: &CallArguments, config: AppConfig) -> anyhow::Result<Box<RawValue>> {
    let checked = application::check(config)?;
    let state = StateFolder::open(&checked.config.state)?;
    let host = Host::new().context("the host can't find its own binary")?;
    let runtime = tokio::task::block_in_place(|| application::start(checked, &state, &host))?;
    let result = invoke(&runtime.current(), &arguments.function, &arguments.arguments, "call".into()).await?;
    Ok(result)
}
