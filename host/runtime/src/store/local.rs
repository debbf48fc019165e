//! The data that capabilities keep for modules and the states that they keep in stores. A store finds both by their type, so it knows no
//! capability.

use std::any::Any;

use futures::future::BoxFuture;
use wasmtime::component::ResourceTable;

use super::{CallContext, InstanceState, ModuleIndex};

/// Data that all instances of a module share in one generation.
pub type SharedData = Box<dyn Any + Send + Sync>;

/// The state that a capability keeps in a store, from one call to the next. See [`InstanceState::local`].
///
/// The start of the store's instances counts as a call. If a call fails, the store is dropped, and its states with it: then no call ends.
pub trait StoreState: Any + Send {
    /// Begins a call. It is not called for the call in which the state was created.
    fn begin_call(&mut self, _call: &CallContext) {}

    /// Ends a call. The call's answer waits for the returned future, if there is one.
    ///
    /// # Errors
    ///
    /// The future returns an error if the call must have no result.
    fn end_call(&mut self) -> Option<BoxFuture<'_, wasmtime::Result<()>>> {
        None
    }
}

/// A state that a capability keeps in a store: for one module, or for all.
pub(super) struct Local {
    pub(super) module: Option<ModuleIndex>,
    pub(super) state: Box<dyn StoreState>,
}

impl InstanceState {
    /// Returns the data that a capability has prepared for a module. See `Capability::prepare`.
    ///
    /// # Errors
    ///
    /// Fails if nothing of the type `T` was prepared for the module. This can't happen in a function of a capability that prepares a `T`
    /// for every module, because only modules with the grant can call it.
    pub fn shared<T: Any>(&self, module: ModuleIndex) -> wasmtime::Result<&T> {
        let found = self.module(module).shared.iter().find_map(|shared| shared.downcast_ref());
        found.ok_or_else(|| wasmtime::Error::msg("the capability has prepared nothing for the module"))
    }

    /// Returns a capability's state in this store. Creates it at the first use.
    pub fn local<T: StoreState + Default>(&mut self) -> &mut T {
        self.local_and_resources(|_| T::default()).0
    }

    /// Returns a capability's state in this store. `None` if it was not created yet.
    pub fn find_local<T: StoreState>(&self) -> Option<&T> {
        self.locals.iter().find_map(|local| (&*local.state as &dyn Any).downcast_ref())
    }

    /// Returns a capability's state in this store, and the store's resource table. `create` creates the state at the first use.
    pub fn local_and_resources<T: StoreState>(
        &mut self,
        create: impl FnOnce(&Self) -> T,
    ) -> (&mut T, &mut ResourceTable) {
        self.local_of(None, create)
    }

    /// Returns the state that a capability keeps in this store for a module, and the store's resource table. `None` in place of the module
    /// means the state of [`Self::local_and_resources`]. `create` creates the state at the first use.
    pub(crate) fn local_of<T: StoreState>(
        &mut self,
        module: Option<ModuleIndex>,
        create: impl FnOnce(&Self) -> T,
    ) -> (&mut T, &mut ResourceTable) {
        let is_wanted = |local: &Local| local.module == module && (&*local.state as &dyn Any).is::<T>();
        let place = self.locals.iter().position(is_wanted).unwrap_or_else(|| {
            let state = Box::new(create(self));
            self.locals.push(Local { module, state });
            self.locals.len() - 1
        });
        let state = (&mut *self.locals[place].state as &mut dyn Any).downcast_mut();
        (state.expect("the state was found by its type"), &mut self.table)
    }
}
