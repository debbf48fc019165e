//! Finds out which whole application a change asks for, whether it names one module, an application or an earlier generation.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Change, Control, RunningApplication, start};
use crate::application::{self, Artifacts};
use crate::state::PublishedGeneration;
use watertight_component::artifact::Artifact;
use watertight_model::config::{self, AppConfig};
use watertight_model::ids::{GenerationNumber, ModuleName};
use watertight_model::problem::{Code, Problem, Problems, list_names};

/// The application that a change asks for.
pub(super) struct Target {
    pub(super) config: AppConfig,
    pub(super) artifacts: Artifacts,
}

impl Control {
    /// Returns the application that `change` asks for. `previous` is the generation that a rollback without a number returns to. Blocks.
    pub(super) fn target(
        &self,
        running: &RunningApplication,
        previous: GenerationNumber,
        change: Change,
    ) -> Result<Target, Problems> {
        let known = running.artifacts();
        match change {
            Change::Swap { module, component } => {
                let mut artifacts = known.clone();
                if !artifacts.contains_key(&module) {
                    let problem = Problem::new(Code::UnknownName, format!("there is no module `{module}`"));
                    return Err(problem
                        .help(format!("the application's modules are {}", list_names(artifacts.keys())))
                        .into());
                }
                artifacts.insert(module.clone(), read(&module, component, &known)?);
                Ok(Target { config: running.config.clone(), artifacts })
            }
            Change::Apply { files, components } => {
                let mut partial = config::parse_partial(&files, &self.overrides)?;
                let mut artifacts = Artifacts::new();
                for (module, component) in components {
                    if !partial.config.modules.contains_key(&module) {
                        let problem = Problem::new(Code::UnknownName, format!("there is no module `{module}`"));
                        let help = "send one component for each module of the manifest, and no others";
                        partial.problems.push(problem.help(help));
                        continue;
                    }
                    match read(&module, component, &known) {
                        Ok(artifact) => drop(artifacts.insert(module, artifact)),
                        Err(found) => partial.problems.extend(found.into_vec()),
                    }
                }
                if partial.problems.is_empty() {
                    Ok(Target { config: partial.config, artifacts })
                } else {
                    Err(application::all_problems(partial, &artifacts))
                }
            }
            Change::Rollback(to) => {
                let published = self.find_earlier(to.unwrap_or(previous))?;
                let known = known.values().chain(running.previous_components.values());
                let (config, artifacts) =
                    start::kept_application(&published, self.history().files(), &self.overrides, known)?;
                Ok(Target { config, artifacts })
            }
        }
    }

    /// Returns the history's record of an earlier generation.
    ///
    /// # Errors
    ///
    /// A problem if the history doesn't keep that generation.
    pub(super) fn find_earlier(&self, number: GenerationNumber) -> Result<PublishedGeneration, Problems> {
        let history = self.history();
        history.find(number).cloned().ok_or_else(|| {
            let message = match number.0 {
                0 => "nothing was published before the current generation".to_owned(),
                _ => format!("the history doesn't keep generation {number}"),
            };
            let known: Vec<String> = history.published().iter().map(|one| one.number.to_string()).collect();
            Problem::new(Code::UnknownName, message).help(format!("the history keeps {}", known.join(", "))).into()
        })
    }
}

/// Reads an uploaded component, or reuses the running one with the same bytes.
fn read(module: &ModuleName, component: Bytes, known: &Artifacts) -> Result<Arc<Artifact>, Problems> {
    if let Some(known) = known.values().find(|known| known.bytes == component) {
        return Ok(known.clone());
    }
    // An uploaded component has no path. Its problems name the module instead.
    let artifact = Artifact::new(Path::new(""), component);
    artifact.map(Arc::new).map_err(|error| Problem::from(error).module(module).into())
}
