//! The data that capabilities keep for modules and the states that they keep in stores. A store finds both by their type, so it knows no
//! capability.

use std::any::Any;

use futures::future::BoxFuture;
use wasmtime::component::ResourceTable;

use super::{CallContext, InstanceState, ModuleIndex, TaskId};

/// Data that all instances of a module share in one generation.
pub type SharedData = Box<dyn Any + Send + Sync>;

/// The state that a capability keeps in a store, from one call to the next. See [`InstanceState::local`].
///
/// Where requests share an instance (`instances.concurrent`), each has a state of its own: it is created at the first use by the request,
/// and ends with it.
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
    fn end_call(&mut self) -> Option<BoxFuture<'static, wasmtime::Result<()>>> {
        None
    }

    /// Ends one of the calls that share the store. Called only for a state that belongs to no call.
    #[doc(hidden)]
    fn end_task(&mut self, _task: TaskId) {}
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
        self.current().locals.iter().find_map(|local| (&*local.state as &dyn Any).downcast_ref())
    }

    /// Iterates over the states of a capability of all calls of this store.
    pub(crate) fn all_locals<T: StoreState>(&self) -> impl Iterator<Item = &T> {
        let calls = self.tasks.iter().flat_map(|tasks| tasks.calls.values()).chain([&self.own]);
        calls.flat_map(|call| &call.locals).filter_map(|local| (&*local.state as &dyn Any).downcast_ref())
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
        let place = find::<T>(&self.current().locals, module).unwrap_or_else(|| {
            let state = Box::new(create(self));
            let locals = &mut self.current_mut().locals;
            locals.push(Local { module, state });
            locals.len() - 1
        });
        // The fields are borrowed one by one, because the resource table is borrowed beside them.
        let Self { own, tasks, table, .. } = self;
        let shared = tasks.as_mut().and_then(|tasks| {
            let current = tasks.current()?;
            tasks.calls.get_mut(&current)
        });
        (downcast(&mut shared.unwrap_or(own).locals[place]), table)
    }

    /// Does what [`Self::local_of`] does for a state that belongs to no call, also where calls share the store.
    pub(crate) fn lasting_local_of<T: StoreState>(
        &mut self,
        module: Option<ModuleIndex>,
        create: impl FnOnce(&Self) -> T,
    ) -> (&mut T, &mut ResourceTable) {
        let place = find::<T>(&self.own.locals, module).unwrap_or_else(|| {
            let state = Box::new(create(self));
            self.own.locals.push(Local { module, state });
            self.own.locals.len() - 1
        });
        (downcast(&mut self.own.locals[place]), &mut self.table)
    }
}

fn find<T: StoreState>(locals: &[Local], module: Option<ModuleIndex>) -> Option<usize> {
    locals.iter().position(|local| local.module == module && (&*local.state as &dyn Any).is::<T>())
}

fn downcast<T: StoreState>(local: &mut Local) -> &mut T {
    (&mut *local.state as &mut dyn Any).downcast_mut().expect("the state was found by its type")
}
