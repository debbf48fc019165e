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
        self.locals.iter().find_map(|local| (&**local as &dyn Any).downcast_ref())
    }

    /// Returns a capability's state in this store, and the store's resource table. `create` creates the state at the first use.
    pub fn local_and_resources<T: StoreState>(
        &mut self,
        create: impl FnOnce(&Self) -> T,
    ) -> (&mut T, &mut ResourceTable) {
        let place = self.locals.iter().position(|local| (&**local as &dyn Any).is::<T>());
        let place = place.unwrap_or_else(|| {
            let created = Box::new(create(self));
            self.locals.push(created);
            self.locals.len() - 1
        });
        let local = (&mut *self.locals[place] as &mut dyn Any).downcast_mut().expect("the state was found by its type");
        (local, &mut self.table)
    }
}
