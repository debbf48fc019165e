//! The command line's side of the admin listener.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::de::DeserializeOwned;

use super::output;
use watertight_control::application;
use watertight_control::state::{StateFolder, read_token};
use watertight_edge::http::details::Details;
use watertight_model::config::{self, AppConfig, Overrides};
use watertight_model::problem::Problems;

/// Which host is asked, and by what right.
#[derive(Debug, Args)]
pub(super) struct HostArguments {
    /// Ask the host whose admin listener is here, wherever its state is.
    #[arg(long, value_name = "ADDRESS", env = "WATERTIGHT_ADMIN")]
    pub(super) admin: Option<SocketAddr>,
    /// The folder of everything that lasts.
    #[arg(long, value_name = "FOLDER", env = "WATERTIGHT_STATE")]
    pub(super) state: Option<PathBuf>,
    /// What the admin listener wants to hear.
    #[arg(long, env = "WATERTIGHT_ADMIN_TOKEN", hide = true, hide_env_values = true)]
    pub(super) admin_token: Option<String>,
}

/// A running host.
pub(super) struct Client {
    admin: SocketAddr,
    token: String,
    http: reqwest::Client,
}

impl HostArguments {
    /// The application's configuration, with the state folder that is meant.
    pub(super) fn load(&self, app: &Path) -> anyhow::Result<AppConfig> {
        let overrides = Overrides { state: self.state.clone(), ..Overrides::default() };
        Ok(application::load(app, &overrides)?)
    }

    /// The state folder that is meant. Faults elsewhere in manifest and routes hinder nobody who asks a running host.
    fn state_of(&self, app: &Path) -> anyhow::Result<PathBuf> {
        let overrides = Overrides { state: self.state.clone(), ..Overrides::default() };
        Ok(config::load_partial(app, &overrides)?.config.state)
    }

    /// The host that is asked: the one at `--admin`, or the one that runs on the state folder; none where none runs.
    pub(super) fn find(&self, state: &Path) -> anyhow::Result<Option<Client>> {
        let of_dev = StateFolder::development_beside(state);
        let mut running = StateFolder::running_host(state).map(|host| (host, state));
        // Who names a folder means that one.
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
        // Only this host is asked, whatever proxies the environment names.
        Ok(Some(Client { admin, token, http: reqwest::Client::builder().no_proxy().build()? }))
    }

    /// The same, where there must be one.
    pub(super) fn connect(&self, state: &Path) -> anyhow::Result<Client> {
        let none = || {
            format!("no host runs on {}; start one with `watertight run`, or name one with --admin", state.display())
        };
        self.find(state)?.with_context(none)
    }

    /// The host that runs an application, if one does; the manifest is read only where it takes that to know.
    pub(super) fn find_for(&self, app: &Path) -> anyhow::Result<Option<Client>> {
        match (&self.state, self.admin, &self.admin_token) {
            (Some(state), ..) => self.find(state),
            (None, Some(_), Some(_)) => self.find(Path::new(".")),
            _ => self.find(&self.state_of(app)?),
        }
    }

    /// The host that runs an application, whether or not its manifest can be read.
    pub(super) fn connect_to(&self, app: &Path) -> anyhow::Result<Client> {
        match (&self.state, self.admin, &self.admin_token) {
            (Some(state), ..) => self.connect(state),
            (None, Some(_), Some(_)) => self.connect(Path::new(".")),
            _ => self.connect(&self.state_of(app)?),
        }
    }
}

impl Client {
    /// A request with the token.
    pub(super) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.admin)).bearer_auth(&self.token)
    }

    /// Sends a request, and reads its answer.
    ///
    /// # Errors
    ///
    /// [`Problems`] where the host refused with such; else what went wrong, in words.
    pub(super) async fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> anyhow::Result<T> {
        let response = request.send().await;
        let response =
            response.with_context(|| format!("the host's admin listener at {} doesn't answer", self.admin))?;
        let status = response.status();
        if status.is_success() {
            return response.json().await.context("the host's answer can't be understood");
        }
        if status == reqwest::StatusCode::UNAUTHORIZED {
            anyhow::bail!(
                "the host at {} doesn't know this token: it has the one of its state folder's `admin.token` (`--state` names \
                 that folder), or of WATERTIGHT_ADMIN_TOKEN where it was started with that",
                self.admin
            );
        }
        let Details { detail, problems, .. } = response
            .json()
            .await
            .with_context(|| format!("the host refused with status {status}, in words that can't be understood"))?;
        Problems::or(problems, ())?;
        anyhow::bail!("{detail}")
    }
}
