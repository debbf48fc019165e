//! The client of the admin listener: finds a running host and sends requests to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::de::DeserializeOwned;

use super::installed::overrides;
use super::output;
use watertight_control::application;
use watertight_control::state::{StateFolder, read_token};
use watertight_edge::http::details::ProblemDetails;
use watertight_model::config::{self, AppConfig, Overrides};
use watertight_model::problem::Problems;

/// What to check if a response can't be parsed.
const CHECK_VERSIONS: &str = "check that this command and the host have the same version";

/// The options that select a running host and its admin token.
#[derive(Debug, Args)]
pub(super) struct HostArguments {
    /// Address of the admin listener of the host to ask, wherever that host's state folder is.
    #[arg(long, value_name = "ADDRESS", env = "WATERTIGHT_ADMIN")]
    pub(super) admin: Option<SocketAddr>,
    /// State folder: databases, history, components and compiled code.
    #[arg(long, value_name = "FOLDER", env = "WATERTIGHT_STATE")]
    pub(super) state: Option<PathBuf>,
    /// Token of the admin listener.
    #[arg(long, env = "WATERTIGHT_ADMIN_TOKEN", hide = true, hide_env_values = true)]
    pub(super) admin_token: Option<String>,
}

/// A client of a running host's admin listener.
pub(super) struct Client {
    admin: SocketAddr,
    token: String,
    http: reqwest::Client,
}

impl HostArguments {
    /// Loads the configuration of the application at `app`. The option `--state`, if given, replaces the state folder.
    pub(super) fn load(&self, app: &Path) -> anyhow::Result<AppConfig> {
        let overrides = Overrides { state: self.state.clone(), ..overrides() };
        Ok(application::load(app, &overrides)?)
    }

    /// Returns the state folder of an application. Faults elsewhere in the manifest or routes are ignored: a running host can be asked
    /// anyway.
    fn state_of(&self, app: &Path) -> anyhow::Result<PathBuf> {
        let overrides = Overrides { state: self.state.clone(), ..overrides() };
        Ok(config::load_partial(app, &overrides)?.config.state)
    }

    /// Returns a client for the host at `--admin`, or else for the host that runs on the state folder. Returns `None` if the option is
    /// missing and no host runs.
    pub(super) fn find(&self, state: &Path) -> anyhow::Result<Option<Client>> {
        let of_dev = StateFolder::development_beside(state);
        let mut running = StateFolder::running_host(state).map(|host| (host, state));
        // With `--state`, the folder is explicit, so the one of `watertight dev` is not tried.
        if self.state.is_none() {
            running = running.or_else(|| {
                let host = StateFolder::running_host(&of_dev)?;
                output::say(&format!("asking the host of `watertight dev` ({})", of_dev.display()));
                Some((host, of_dev.as_path()))
            });
        }
        let state = running.as_ref().map_or(state, |(_, state)| state);
        let Some(admin) = self.admin.or(running.as_ref().map(|(host, _)| host.admin)) else { return Ok(None) };
        let token = match self.admin_token.clone() {
            Some(token) => token,
            None => read_token(state)
                .context("the admin token can't be read")?
                .with_context(|| format!("no admin token is in {}; set WATERTIGHT_ADMIN_TOKEN", state.display()))?,
        };
        // Without a proxy: proxy settings of the environment must not redirect requests that carry the token.
        Ok(Some(Client { admin, token, http: reqwest::Client::builder().no_proxy().build()? }))
    }

    /// Returns a client for the host that [`Self::find`] finds. Fails if no host runs.
    pub(super) fn connect(&self, state: &Path) -> anyhow::Result<Client> {
        let none = || {
            format!(
                "no host runs on the state folder {}; start one with `watertight run`, or name another one's address with --admin",
                state.display()
            )
        };
        self.find(state)?.with_context(none)
    }

    /// Returns a client for the host that runs the application at `app`, or `None` if no host runs. Reads the manifest only if the options
    /// do not say where the host is.
    pub(super) fn find_for(&self, app: &Path) -> anyhow::Result<Option<Client>> {
        match (&self.state, self.admin, &self.admin_token) {
            (Some(state), ..) => self.find(state),
            (None, Some(_), Some(_)) => self.find(Path::new(".")),
            _ => self.find(&self.state_of(app)?),
        }
    }

    /// Returns a client for the host that runs the application at `app`. Fails if no host runs. Reads the manifest only if the options do
    /// not say where the host is.
    pub(super) fn connect_to(&self, app: &Path) -> anyhow::Result<Client> {
        match (&self.state, self.admin, &self.admin_token) {
            (Some(state), ..) => self.connect(state),
            (None, Some(_), Some(_)) => self.connect(Path::new(".")),
            _ => self.connect(&self.state_of(app)?),
        }
    }
}

impl Client {
    /// Creates a request with the admin token.
    pub(super) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.admin)).bearer_auth(&self.token)
    }

    /// Sends a request and parses the response as JSON.
    ///
    /// # Errors
    ///
    /// Returns [`Problems`] if the host refused the request with a list of problems. Returns a text for every other failure.
    pub(super) async fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> anyhow::Result<T> {
        let response = request.send().await;
        let response =
            response.with_context(|| format!("the host's admin listener at {} doesn't answer", self.admin))?;
        let status = response.status();
        if status.is_success() {
            let unparsed = || format!("the host's response can't be parsed; {CHECK_VERSIONS}");
            return response.json().await.with_context(unparsed);
        }
        if status == reqwest::StatusCode::UNAUTHORIZED {
            anyhow::bail!(
                "the host at {} rejects this token. Its token is in the file `admin.token` of its state folder (`--state` names \
                 that folder), or in WATERTIGHT_ADMIN_TOKEN if the host was started with that variable",
                self.admin
            );
        }
        let ProblemDetails { detail, problems, .. } = response.json().await.with_context(|| {
            format!("the host refused the request with status {status}, and its explanation can't be parsed; {CHECK_VERSIONS}")
        })?;
        Problems::ok_or_problems(problems, ())?;
        anyhow::bail!("{detail}")
    }
}
