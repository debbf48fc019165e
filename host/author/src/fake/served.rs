//! The fakes of `watertight dev`: they answer while the application is served, and follow changes of their scripts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
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
            let current = Current { play: fake.start(), changed: changed(&fake), fake };
            let (module, source, config) = (module.clone(), source.clone(), config.clone());
            Ok((module.clone(), Arc::new(Served { module, source, config, current: Mutex::new(current) })))
        };
        Ok(Self(sources.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// Returns the component of each faked module.
    pub fn components(&self) -> BTreeMap<ModuleName, PathBuf> {
        let component = |served: &Served| {
            served.current.lock().unwrap_or_else(PoisonError::into_inner).fake.contract().component().to_owned()
        };
        self.0.iter().map(|(module, served)| (module.clone(), component(served))).collect()
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
    /// Returns the fake that answers now. If the script has changed and has faults, they are logged and the last good script goes on.
    fn play(&self) -> Arc<Play> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = changed(&current.fake);
        if now != current.changed {
            current.changed = now;
            match Fake::read(&self.config, &self.module, &self.source) {
                Ok(fake) => {
                    current.play = fake.start();
                    current.fake = fake;
                }
                Err(error) => {
                    tracing::warn!(target: "fake", module = %self.module, "the last good script goes on: {error}");
                }
            }
        }
        current.play.clone()
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
