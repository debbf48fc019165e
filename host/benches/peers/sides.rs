//! The servers that are compared: this host and its peers, each with the settings that a row of the table names.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use watertight_testkit::bench::cores::Cores;
use watertight_testkit::bench::load::Requests;
use watertight_testkit::bench::server::Server;
use watertight_testkit::paths;

/// A program that serves components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Here,
    Wasmtime,
    Wash,
}

/// The version of `wasi:http` that a component speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    P2,
    P3,
}

/// How a server uses the instances of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instances {
    /// Each request gets a new one.
    Fresh,
    /// One serves further requests, one after the other.
    Reused,
    /// One serves further requests, several of them at once.
    Shared,
}

/// What is measured together: every program serves the same component in the same way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) version: Version,
    pub(crate) instances: Instances,
}

/// The requests of one instance: the default of this host. After some 100,000 requests of 0.3, an instance of `wasmtime serve` has more
/// handles than it may have.
const INSTANCE_REQUESTS: usize = 10_000;
/// The requests that one shared instance serves at once: the default of `wasmtime serve`.
const SHARED_BY: usize = 16;
/// The requests at once for which wash keeps instances: as many as the benchmark sends.
const WARM_REQUESTS: usize = 200;
/// The component with nothing in it. `wash dev` wants a component under development, and reuses instances only of those that it serves
/// beside that.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

impl Program {
    pub(crate) const ALL: [Self; 3] = [Self::Here, Self::Wasmtime, Self::Wash];

    /// Returns the name of the program's column.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Wasmtime => "`wasmtime serve`",
            Self::Wash => "`wash dev`",
        }
    }

    /// Returns the path of the program. `make bench-peers` names those of the peers in the environment.
    fn path(self) -> anyhow::Result<PathBuf> {
        let variable = match self {
            Self::Here => return Ok(paths::binary()),
            Self::Wasmtime => "WATERTIGHT_BENCH_WASMTIME",
            Self::Wash => "WATERTIGHT_BENCH_WASH",
        };
        std::env::var_os(variable).map(PathBuf::from).with_context(|| format!("{variable} names no program"))
    }

    /// Returns what the program says of its version.
    pub(crate) fn version(self) -> anyhow::Result<String> {
        let output = Command::new(self.path()?).arg("--version").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Starts a server of this program for `component`. `folder` is an empty folder for its files. The server is ready once it answers
    /// `probe`.
    pub(crate) fn serve(
        self,
        cores: &Cores,
        setting: Setting,
        component: &Path,
        folder: &Path,
        probe: &Requests,
    ) -> anyhow::Result<Server> {
        if self == Self::Here {
            let application = application(setting, component, folder)?;
            check(&application)?;
            return Server::host(Some(cores), &application, &folder.join("state"));
        }
        let address = free_address()?;
        let mut command = Command::new(self.path()?);
        match self {
            Self::Wash => wash(&mut command, setting, component, folder, address)?,
            _ => wasmtime(&mut command, setting, component, address),
        }
        // What a program caches or keeps for its user stays in the folder.
        command.env("HOME", folder).current_dir(folder);
        for (variable, name) in [("XDG_CONFIG_HOME", "config"), ("XDG_CACHE_HOME", "cache"), ("XDG_DATA_HOME", "data")]
        {
            command.env(variable, folder.join(name));
        }
        Server::program(cores, command, &folder.join("log"), address, probe)
    }
}

/// Returns a free port of this machine. A peer that took port 0 would not say which port it got.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Writes an application of one module that is mounted at `/`. Returns its manifest.
fn application(setting: Setting, component: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let instances = match setting.instances {
        Instances::Fresh => "mode = \"fresh\"\n".to_owned(),
        Instances::Reused => "mode = \"reuse\"\n".to_owned(),
        Instances::Shared => format!("mode = \"reuse\"\nconcurrent = {SHARED_BY}\n"),
    };
    let manifest = folder.join("app.toml");
    let text = format!(
        "[app]\nname = \"peers\"\nroutes = [\"routes.toml\"]\n\n\
         [modules.handler]\ncomponent = {component:?}\nuses = [\"clocks\"]\n\n\
         [defaults.instances]\n{instances}"
    );
    std::fs::write(&manifest, text)?;
    std::fs::write(folder.join("routes.toml"), "[[mount]]\npath = \"/\"\nmodule = \"handler\"\n")?;
    Ok(manifest)
}

/// Lets this host check the application, so that a refusal is told in one line.
fn check(application: &Path) -> anyhow::Result<()> {
    let output = Command::new(paths::binary()).arg("check").arg(application).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        bail!("{}", text.lines().next().unwrap_or("`check` refuses the application"));
    }
    Ok(())
}

/// Fresh instances are the default for 0.2. The other settings were the best of those that `wasmtime serve --help` has.
fn wasmtime(command: &mut Command, setting: Setting, component: &Path, address: SocketAddr) {
    command.args(["serve", "--addr", &address.to_string()]);
    let (requests, at_once) = match setting.instances {
        Instances::Fresh => (1, 1),
        Instances::Reused => (INSTANCE_REQUESTS, 1),
        Instances::Shared => (INSTANCE_REQUESTS, SHARED_BY),
    };
    if setting.version == Version::P3 || setting.instances != Instances::Fresh {
        command.args(["--max-instance-reuse-count", &requests.to_string()]);
        command.args(["--max-instance-concurrent-reuse-count", &at_once.to_string()]);
        command.args(["--idle-instance-timeout", "60s"]);
    }
    command.arg(component);
}

/// Of wash's commands, only `dev` serves a component from a file: `wash host` gets its components from a registry, over NATS. Both use the
/// same runtime.
fn wash(
    command: &mut Command,
    setting: Setting,
    component: &Path,
    folder: &Path,
    address: SocketAddr,
) -> anyhow::Result<()> {
    let fresh = setting.instances == Instances::Fresh;
    let developed = if fresh { component.to_owned() } else { folder.join("empty.wasm") };
    let mut config = format!(
        "build:\n  command: \"true\"\n  component_path: {developed:?}\ndev:\n  address: \"{address}\"\n  command: \"true\"\n"
    );
    if !fresh {
        std::fs::write(&developed, EMPTY_COMPONENT)?;
        let at_once = if setting.instances == Instances::Shared { SHARED_BY } else { 1 };
        config += &format!(
            "  components:\n  - name: handler\n    file: {component:?}\n    poolSize: {}\n    maxConcurrency: {at_once}\n    \
             maxInvocations: {INSTANCE_REQUESTS}\n",
            WARM_REQUESTS / at_once
        );
    }
    std::fs::create_dir(folder.join(".wash"))?;
    std::fs::write(folder.join(".wash/config.yaml"), config)?;
    // Neither its log nor its measurements are to cost time.
    command.args(["--non-interactive", "--log-level", "error", "--meters", "off", "dev"]);
    Ok(())
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::P2 => "0.2",
            Self::P3 => "0.3",
        })
    }
}

impl fmt::Display for Instances {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh => formatter.write_str("fresh"),
            Self::Reused => formatter.write_str("reused"),
            Self::Shared => write!(formatter, "shared by {SHARED_BY}"),
        }
    }
}
