//! Capabilities: interfaces that the host implements and that the manifest grants to modules.
//!
//! A capability is one folder behind one trait, [`Capability`]. Programs that embed the host add capabilities of their own in the same way.
//!
//! The modules of a compartment share one Wasmtime store, so the store does not identify the caller. The name of the import does:
//! composition (`link`) gives each module's import a name of its own. The traits that `bindgen!` generates for `named_imports` pass the
//! matching [`ModuleIndex`] as the first argument of every function, so a guest cannot act as another module.

mod clocks;
mod config;
mod context;
mod http;
mod keyvalue;
mod lifecycle;
mod logging;
mod random;
mod sql;
mod wasi;

use std::fmt;
use std::sync::{Arc, LazyLock};

use wasmtime::component::{Component, Linker};

use crate::{InstanceState, ModuleIndex};
use watertight_model::config::capability::{Declaration, DeclarationError, Declarations};
use watertight_model::config::{AppConfig, Limits, ModuleConfig, ModuleValues};
use watertight_model::ids::{CapabilityName, ModuleName};
use watertight_model::problem::{Code, Problem, Problems};
use watertight_sql::Database;
use watertight_telemetry::Telemetry;

pub use crate::{SharedData, StandIn, StandIns, StoreState};

/// An interface that the host implements, with everything that belongs to it.
///
/// One value lives as long as the process. [`Self::prepare`] returns what belongs to a module in one generation. A [`StoreState`] keeps
/// what belongs to one Wasmtime store.
pub trait Capability: Send + Sync + 'static {
    /// Returns what the manifest and the graph need to know: name, interfaces, settings. It is called once.
    fn declaration(&self) -> Declaration;

    /// Checks an application, and prepares what its modules have in common, before the modules of a new generation are prepared. `watertight
    /// check` doesn't call it: what the manifest alone shows belongs into the reading of settings.
    ///
    /// # Errors
    ///
    /// Returns the reasons why the application can't run. It is then refused, and the current generation stays.
    fn prepare_application(&self, _application: &AppConfig) -> Result<(), Problems> {
        Ok(())
    }

    /// Returns the data that all instances of a module share in one generation, or `None` if there is none. It is called for each module
    /// that is granted the capability. The capability's functions get the data by [`InstanceState::shared`].
    ///
    /// # Errors
    ///
    /// Returns the reasons why the module can't run. The application is then refused, and the current generation stays.
    fn prepare(&self, _module: &ModuleContext<'_>) -> Result<Option<SharedData>, Problems> {
        Ok(None)
    }

    /// Defines the functions of the capability's interfaces in the linker of one compartment.
    ///
    /// # Errors
    ///
    /// Returns Wasmtime's error if it rejects a definition.
    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()>;
}

/// A module of a new generation, as [`Capability::prepare`] sees it.
pub struct ModuleContext<'a> {
    /// The module's name.
    pub name: &'a ModuleName,
    /// The module's table in the manifest. [`ModuleConfig::settings_of`] returns the settings of a capability.
    pub config: &'a ModuleConfig,
    /// The limits of the module's compartment.
    pub limits: &'a Limits,
    /// The module's configuration values and secrets.
    pub values: &'a ModuleValues,
    /// The module's database, if one of its capabilities keeps data.
    pub database: Option<Database>,
    /// The host's metrics.
    pub telemetry: &'a Telemetry,
}

/// The linker of one compartment, in which a capability defines its functions.
pub struct CapabilityLinker<'a> {
    linker: &'a mut Linker<InstanceState>,
    component: &'a Component,
    has_concurrency: bool,
    owner: &'a dyn Fn(&str) -> Option<ModuleIndex>,
}

impl CapabilityLinker<'_> {
    /// Returns Wasmtime's linker, for functions that need not know which module calls them.
    pub fn linker(&mut self) -> &mut Linker<InstanceState> {
        self.linker
    }

    /// Whether the engine has the component model's concurrency. Without it, a linker takes no `async func` of the host, and a component
    /// imports none.
    pub fn has_concurrency(&self) -> bool {
        self.has_concurrency
    }

    /// Returns the arguments of a generated function `named_imports::…::add_to_linker`: the linker, the component, and the function that
    /// maps the name of an import to the module that the import belongs to.
    pub fn named(
        &mut self,
    ) -> (&mut Linker<InstanceState>, &Component, impl Fn(&str) -> wasmtime::Result<ModuleIndex> + Copy) {
        let owner = self.owner;
        let module = move |import: &str| {
            owner(import).ok_or_else(|| wasmtime::Error::msg(format!("import `{import}` belongs to no module")))
        };
        (self.linker, self.component, module)
    }
}

/// The capabilities of a host. By default, they are the built-in ones.
#[derive(Clone)]
pub struct Capabilities {
    all: Arc<[(CapabilityName, Arc<dyn Capability>)]>,
    declarations: Declarations,
    stand_ins: Option<Arc<dyn StandIns>>,
}

impl Capabilities {
    /// Creates the set of the built-in capabilities and `added`.
    ///
    /// # Errors
    ///
    /// Returns [`DeclarationError`] if two capabilities have a name, a key or an interface in common.
    pub fn with(added: impl IntoIterator<Item = Arc<dyn Capability>>) -> Result<Self, DeclarationError> {
        let mut all = built_in();
        let mut declarations = Vec::new();
        for capability in added {
            let declaration = capability.declaration();
            all.push((declaration.name.clone(), capability));
            declarations.push(declaration);
        }
        Ok(Self { all: all.into(), declarations: Declarations::with(declarations)?, stand_ins: None })
    }

    /// Returns the same capabilities, with `stand_ins` to answer the calls of modules that are faked.
    #[must_use]
    pub fn with_stand_ins(self, stand_ins: Arc<dyn StandIns>) -> Self {
        Self { stand_ins: Some(stand_ins), ..self }
    }

    /// Returns the declarations of all capabilities, which the reading of manifests needs.
    pub fn declarations(&self) -> &Declarations {
        &self.declarations
    }

    /// Prepares all capabilities for an application: see [`Capability::prepare_application`].
    ///
    /// # Errors
    ///
    /// Returns all problems that capabilities have with the application.
    pub fn prepare_application(&self, application: &AppConfig) -> Result<(), Problems> {
        let refusals = self.all.iter().filter_map(|(_, capability)| capability.prepare_application(application).err());
        Problems::ok_or_problems(refusals.flat_map(Problems::into_vec).collect(), ())
    }

    /// Prepares all capabilities that a module is granted, and returns their data: see [`Capability::prepare`].
    ///
    /// # Errors
    ///
    /// Returns all problems that capabilities have with the module.
    pub fn prepare(&self, module: &ModuleContext<'_>) -> Result<Vec<SharedData>, Problems> {
        let granted = self.all.iter().filter(|(name, _)| module.config.uses.contains_key(name));
        let (mut shared, mut problems) = (Vec::new(), Vec::new());
        if module.config.is_fake {
            let stand_in = self.stand_ins.as_ref().and_then(|stand_ins| stand_ins.stand_in(module.name));
            shared.push(Box::new(stand_in.ok_or_else(|| no_stand_in(module.name))?) as SharedData);
        }
        for (_, capability) in granted {
            match capability.prepare(module) {
                Ok(data) => shared.extend(data),
                Err(found) => problems.extend(found.into_vec().into_iter().map(|problem| problem.module(module.name))),
            }
        }
        Problems::ok_or_problems(problems, shared)
    }

    /// Defines the functions of all capabilities, and of the interfaces that need no grant.
    ///
    /// `module` maps the name of an import of `component` to the module that the import belongs to. `has_concurrency` says whether the
    /// engine has the component model's concurrency.
    ///
    /// # Errors
    ///
    /// Fails if a capability's import belongs to no module, or if Wasmtime rejects a definition.
    pub fn add_to_linker(
        &self,
        linker: &mut Linker<InstanceState>,
        component: &Component,
        has_concurrency: bool,
        module: impl Fn(&str) -> Option<ModuleIndex>,
    ) -> wasmtime::Result<()> {
        let mut linker = CapabilityLinker { linker, component, has_concurrency, owner: &module };
        wasi::add_to_linker(&mut linker)?;
        lifecycle::add_to_linker(&mut linker)?;
        self.all.iter().try_for_each(|(_, capability)| capability.add_to_linker(&mut linker))
    }
}

static BUILT_IN: LazyLock<Capabilities> =
    LazyLock::new(|| Capabilities { all: built_in().into(), declarations: Declarations::default(), stand_ins: None });

impl Default for Capabilities {
    fn default() -> Self {
        BUILT_IN.clone()
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Capabilities").field(&self.declarations).finish()
    }
}

fn no_stand_in(module: &ModuleName) -> Problem {
    Problem::new(Code::UnknownName, format!("module `{module}` is faked, and this host has no fake of it"))
        .module(module)
}

/// Returns the built-in capabilities. The crate `model` has their declarations, so that applications can be checked without an engine.
fn built_in() -> Vec<(CapabilityName, Arc<dyn Capability>)> {
    let all: [Arc<dyn Capability>; 8] = [
        Arc::new(sql::Sql),
        Arc::new(logging::Logging),
        Arc::new(clocks::Clocks),
        Arc::new(random::Random),
        Arc::new(config::Config),
        Arc::new(keyvalue::Keyvalue),
        Arc::new(http::Http),
        Arc::new(context::Context),
    ];
    all.into_iter().map(|capability| (capability.declaration().name, capability)).collect()
}

/// Returns the declaration of a built-in capability.
fn declaration_of(name: &str) -> Declaration {
    let declarations = Declarations::default();
    let found = declarations.all().iter().find(|declaration| declaration.name.as_str() == name);
    found.expect("every built-in capability is declared").clone()
}
