//! A stream or future on its way between two stores, whatever the type of its items.

use wasmtime::StoreContextMut;
use wasmtime::component::Val;

use crate::ends::Ends;

/// A stream or future between two stores, whose data has the type `D`.
pub(crate) trait Outside<D>: Send {
    /// Takes it into the reader's store, whose ends `ends` counts. Returns the value for the reader.
    ///
    /// # Errors
    ///
    /// Returns [`TooManyEnds`](crate::ends::TooManyEnds) if the store holds too many ends.
    fn enter(self: Box<Self>, store: StoreContextMut<'_, D>, ends: &Ends) -> wasmtime::Result<Val>;
}

/// A stream or future between two stores, of any type.
pub(crate) type LooseEnd<D> = Box<dyn Outside<D>>;
