//! Runs one module with the modules that it calls where no host runs, for a call from the command line. Nothing is published.

use std::sync::Arc;

use super::start::{Choice, StartSource, choose, kept_application, on_disk};
use crate::application::{self, Artifacts, Checked, Databases, Host, LinkedCode, SharedParts, needed, retain_modules};
use crate::state::{History, StateFolder};
use watertight_graph::graph::AppGraph;
use watertight_model::config::{AppConfig, Overrides};
use watertight_model::ids::ModuleName;
use watertight_model::problem::{Code, Problem, Problems, with_causes};
use watertight_runtime::runtime::{AdmissionTable, Generation};

/// The application that a start would run, or a part of it, after its checks. Variables and secrets are not read yet.
pub struct UnpublishedPlan {
    checked: Checked,
    artifacts: Artifacts,
    state: StateFolder,
    history: History,
    why: String,
}

/// A part of an application that runs and is not published.
pub struct UnpublishedPart {
    /// The part's generation, with the number that the next published generation gets.
    pub generation: Arc<Generation>,
    databases: Databases,
}

impl UnpublishedPlan {
    /// Finds the application that a start on `state` would run: the one that was published last, or that on the disk. `config` is the
    /// configuration on the disk.
    ///
    /// # Errors
    ///
    /// All problems of the application, without those of variables and secrets.
    pub fn find(config: AppConfig, overrides: &Overrides, state: StateFolder) -> Result<Self, Problems> {
        let history = state.history().map_err(|error| Problem::new(Code::State, with_causes(&error)))?;
        // A stored configuration may have been read under another state path. The state is in this folder.
        let overrides = Overrides { state: Some(config.state.clone()), ..overrides.clone() };
        let (artifacts, disk) = on_disk(&config);
        let (config, artifacts, why) = match choose(&history, Some(&disk?), StartSource::Newest)? {
            Choice::Resume(last, why) => {
                let (config, artifacts) = kept_application(last, history.files(), &overrides, artifacts.values())?;
                (config, artifacts, why)
            }
            Choice::Disk(why) => (config, artifacts, why),
        };
        let checked = application::check_paper_with(config, &artifacts)?;
        Ok(Self { checked, artifacts, state, history, why })
    }

    /// Returns the modules and how they are linked.
    pub fn graph(&self) -> &AppGraph {
        &self.checked.graph
    }

    /// Returns a sentence that says which application it is, and why.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Returns the state folder.
    pub fn state(&self) -> &StateFolder {
        &self.state
    }

    /// Leaves out all modules but `module` and those that it calls, and reads the variables and secrets of these.
    ///
    /// # Errors
    ///
    /// The problems of the part, such as variables that are missing.
    pub fn reduce(mut self, module: &ModuleName) -> Result<Self, Problems> {
        let needed = needed(&self.checked.graph, module);
        retain_modules(&mut self.checked.config, &needed);
        self.artifacts.retain(|name, _| needed.contains(name));
        let checked = application::check_with(self.checked.config, &self.artifacts)?;
        Ok(Self { checked, ..self })
    }

    /// Compiles and links the modules, opens their databases, and applies the migrations that these lack. Databases that did not exist stay,
    /// because the calls that follow are durable. Blocks while it compiles. Must run inside a tokio runtime, on a thread that may block.
    ///
    /// # Errors
    ///
    /// All problems found. Migrations run last.
    pub fn start(self, host: &Host) -> Result<UnpublishedPart, Problems> {
        let Self { checked, state, history, .. } = self;
        let compiler = host.compiler(&state, checked.config.compile)?;
        let linked = application::link_all(&checked.graph, &compiler, &host.capabilities, &LinkedCode::new())?;
        let databases = Databases::new(host.database.clone());
        databases.recreate_edited(&checked.graph, &state)?;
        databases.open(&checked.graph, &state, history.databases())?;
        databases.mark_published(checked.graph.modules_with_database().map(|(name, _)| name), &state);
        let admissions = AdmissionTable::default();
        let (capabilities, telemetry) = (&host.capabilities, &host.telemetry);
        let parts = SharedParts { databases: &databases, admissions: &admissions, capabilities, telemetry };
        let generation = application::assemble(history.next(), checked, linked, parts)?;
        Ok(UnpublishedPart { generation, databases })
    }
}

impl UnpublishedPart {
    /// Closes the databases. All calls must have ended before.
    pub async fn close(self) {
        self.databases.close().await;
    }
}
