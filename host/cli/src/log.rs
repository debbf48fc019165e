//! `log`: prints or sets the log level of a running host.

use clap::Args;
use reqwest::Method;

use super::client::HostArguments;
use super::{NamedApplication, change, output};
use watertight_edge::admin::LogLevel;

#[derive(Debug, Args)]
pub(super) struct LogArguments {
    /// Log level from now on, until the host ends: a level, or directives as in `WATERTIGHT_LOG`, such as `info,request=debug`. `default` is
    /// what the host started with. Without it, the current level is printed.
    #[arg(value_name = "LEVEL")]
    level: Option<String>,
    #[command(flatten)]
    application: NamedApplication,
    #[command(flatten)]
    host: HostArguments,
}

pub(super) fn log(arguments: &LogArguments) -> anyhow::Result<()> {
    let LogArguments { level, application, host } = arguments;
    let client = host.connect_to(&application.app)?;
    let request = match level {
        Some(level) => client.request(Method::PUT, "/log").json(&LogLevel { level: level.clone() }),
        None => client.request(Method::GET, "/log"),
    };
    let now: LogLevel = change::block_on(client.send(request))?;
    output::print(&format!("{}\n", now.level));
    if level.is_some() {
        output::done(
            "the log level is set until the host ends; the next start takes the manifest's `log.level` or WATERTIGHT_LOG again",
        );
    }
    Ok(())
}
