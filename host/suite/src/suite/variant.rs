//! The parts of an application that cases run on: the module under test with the modules that it calls, each real or faked.
//!
//! Cases that fake the same modules share a variant, which is linked once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::read::Suite;
use super::run::RunError;
use crate::fake::{Fake, Play};
use watertight_control::application::{self, Artifacts, Checked, Host, LinkedCode, link_all, needed, retain_modules};
use watertight_graph::graph::AppGraph;
use watertight_model::config::{AppConfig, Values};
use watertight_model::ids::ModuleName;
use watertight_runtime::link::Linked;
use watertight_store::capability::{StandIn, StandIns};

/// The module under test with all modules that it calls, linked.
pub(super) struct Variant {
    pub(super) config: AppConfig,
    pub(super) graph: AppGraph,
    pub(super) values: Values,
    pub(super) linked: Vec<Linked>,
}

impl Variant {
    /// Links `module` with all modules that it calls, and `fakes` in the place of some. Blocks while it compiles. Compiled code is
    /// kept in the workspace's [`code_folder`].
    pub(super) fn link(
        mut config: AppConfig,
        artifacts: &Artifacts,
        module: &ModuleName,
        fakes: &BTreeMap<ModuleName, Fake>,
        host: &Host,
    ) -> Result<Self, RunError> {
        let mut artifacts = artifacts.clone();
        for (name, fake) in fakes {
            if !config.fake(name, fake.contract().component()) {
                return Err(RunError::NoModule { module: name.clone() });
            }
            artifacts.insert(name.clone(), fake.contract().artifact().clone());
        }
        let Checked { mut config, graph, .. } = application::check_paper_with(config, &artifacts)?;
        retain_modules(&mut config, &needed(&graph, module));
        artifacts.retain(|name, _| config.modules.contains_key(name));
        let Checked { config, graph, values, .. } = application::check_with(config, &artifacts)?;
        let compiler = host.shared_compiler(&code_folder(&config.workspace), config.compile)?;
        let linked = link_all(&graph, &compiler, &host.capabilities, &LinkedCode::new())?;
        Ok(Self { config, graph, values, linked })
    }
}

/// Returns the folder of a workspace with the code that suites were compiled to. Concurrent runs share it.
pub fn code_folder(workspace: &Path) -> PathBuf {
    workspace.join("target/test/compiled")
}

/// Reduces an application to what the cases of `suites` need for `module`: it and the modules that it may call, unless a case fakes them.
/// Modules that are faked already stay. Returns the modules that at least one case needs as they are.
///
/// Callers of the module and all routes are removed, so nothing is known of what they need.
pub fn reduce<'a>(
    config: &mut AppConfig,
    module: &ModuleName,
    suites: impl IntoIterator<Item = &'a Suite>,
) -> BTreeSet<ModuleName> {
    let mut real = BTreeSet::from([module.clone()]);
    let mut kept: BTreeSet<ModuleName> =
        config.modules.iter().filter(|(_, module)| module.is_fake).map(|(name, _)| name.clone()).collect();
    for case in suites.into_iter().flat_map(|suite| &suite.cases) {
        let (mut seen, mut open) = (BTreeSet::new(), vec![module]);
        while let Some(name) = open.pop() {
            if case.fakes.contains_key(name) || !seen.insert(name) {
                continue;
            }
            open.extend(config.modules.get(name).into_iter().flat_map(|module| module.calls.modules()));
        }
        real.extend(seen.into_iter().cloned());
        kept.extend(case.fakes.keys().cloned());
    }
    kept.extend(real.iter().cloned());
    retain_modules(config, &kept);
    real.retain(|name| config.modules.get(name).is_some_and(|module| !module.is_fake));
    real
}

/// The fakes of the case that runs. Cases run one after another.
#[derive(Default)]
pub(super) struct Cast(Mutex<BTreeMap<ModuleName, Arc<Play>>>);

impl Cast {
    /// Sets the fakes that answer from now on.
    pub(super) fn set(&self, plays: &BTreeMap<ModuleName, Arc<Play>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone_from(plays);
    }
}

impl StandIns for Cast {
    fn stand_in(&self, module: &ModuleName) -> Option<Arc<dyn StandIn>> {
        let play = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(module)?.clone();
        Some(play)
    }
}
