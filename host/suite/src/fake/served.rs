//! The fakes of `watertight dev`: they answer while the application is served, and follow changes of their scripts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use futures::future::BoxFuture;
use wasmtime::component::Val;

use super::{Fake, FakeError, FakeSource, Play};
use watertight_model::config::AppConfig;
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_store::capability::{StandIn, StandIns};

/// The fakes of an application that is served.
pub struct ServedFakes(BTreeMap<ModuleName, Arc<Served>>);

/// A fake that reads its script again when the file has changed.
struct Served {
    module: ModuleName,
    source: FakeSource,
    config: AppConfig,
    current: Mutex<Current>,
}

struct Current {
    fake: Fake,
    play: Arc<Play>,
    changed: Option<SystemTime>,
    /// What is wrong with the script as it is now. `None` if it is the one that answers.
    fault: Option<String>,
    /// The change of the script's file that was reported last.
    told: Option<SystemTime>,
}

/// A script of a served fake that has changed.
#[derive(Debug)]
pub struct ChangedFake {
    /// The faked module.
    pub module: ModuleName,
    /// The script's file.
    pub file: PathBuf,
    /// What is wrong with the script, so that the last good one goes on. `None` if the script answers from now on.
    pub fault: Option<String>,
}

impl ServedFakes {
    /// Reads the fakes of an application.
    ///
    /// # Errors
    ///
    /// [`FakeError`] for the first that can't be used.
    pub fn read(config: &AppConfig, sources: &BTreeMap<ModuleName, FakeSource>) -> Result<Self, FakeError> {
        let read = |(module, source): (&ModuleName, &FakeSource)| {
            let fake = Fake::read(config, module, source)?;
            let changed = changed(&fake);
            let current = Current { play: fake.start(), changed, fake, fault: None, told: changed };
            let (module, source, config) = (module.clone(), source.clone(), config.clone());
            Ok((module.clone(), Arc::new(Served { module, source, config, current: Mutex::new(current) })))
        };
        Ok(Self(sources.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// Returns the component of each faked module.
    pub fn components(&self) -> BTreeMap<ModuleName, PathBuf> {
        let component = |served: &Served| served.current().fake.contract().component().to_owned();
        self.0.iter().map(|(module, served)| (module.clone(), component(served))).collect()
    }

    /// Reads the scripts again whose files have changed. Returns those that changed since the last call.
    pub fn renew(&self) -> Vec<ChangedFake> {
        self.0.values().filter_map(|served| served.renew()).collect()
    }
}

impl StandIns for ServedFakes {
    fn stand_in(&self, module: &ModuleName) -> Option<Arc<dyn StandIn>> {
        Some(self.0.get(module)?.clone())
    }
}

/// Returns when the file of a fake's script was changed.
fn changed(fake: &Fake) -> Option<SystemTime> {
    fake.file()?.metadata().ok()?.modified().ok()
}

impl Served {
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the fake that answers now. If the script has changed and has faults, they are logged and the last good script goes on.
    fn play(&self) -> Arc<Play> {
        let mut current = self.current();
        if self.read(&mut current)
            && let Some(fault) = &current.fault
        {
            tracing::warn!(target: "fake", module = %self.module, "the last good script goes on: {fault}");
        }
        current.play.clone()
    }

    fn renew(&self) -> Option<ChangedFake> {
        let mut current = self.current();
        self.read(&mut current);
        let is_new = current.told != current.changed;
        current.told = current.changed;
        let file = current.fake.file()?.to_owned();
        is_new.then(|| ChangedFake { module: self.module.clone(), file, fault: current.fault.clone() })
    }

    /// Reads the script if its file has changed. Returns whether it has.
    fn read(&self, current: &mut Current) -> bool {
        let now = changed(&current.fake);
        if now == current.changed {
            return false;
        }
        current.changed = now;
        let read = Fake::read(&self.config, &self.module, &self.source);
        current.fault = read.as_ref().err().map(ToString::to_string);
        if let Ok(fake) = read {
            current.play = fake.start();
            current.fake = fake;
        }
        true
    }
}

impl StandIn for Served {
    fn answer<'a>(
        &'a self,
        interface: &'a InterfaceName,
        function: &'a str,
        parameters: &'a [Val],
    ) -> BoxFuture<'a, Result<Option<Val>, String>> {
        Box::pin(async move { self.play().answer(interface, function, parameters).await })
    }
}
