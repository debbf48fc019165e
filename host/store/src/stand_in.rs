//! Stand-ins: answers of the host in the place of a module's code. Fakes are made of them.

use std::sync::Arc;

use futures::future::BoxFuture;
use wasmtime::component::Val;

use watertight_model::ids::{InterfaceName, ModuleName};

/// Answers the calls of one module in the place of its code.
///
/// Such a module has a component, but only for its exports and their types: the component's functions are never called.
pub trait StandIn: Send + Sync {
    /// Answers a call of `function`, which the module exports in `interface`. The returned future may be dropped before its end: at the
    /// deadline of the call.
    ///
    /// # Errors
    ///
    /// The words with which the module fails, as if its code had trapped.
    fn answer<'a>(
        &'a self,
        interface: &'a InterfaceName,
        function: &'a str,
        parameters: &'a [Val],
    ) -> BoxFuture<'a, Result<Option<Val>, String>>;
}

/// The stand-ins of a host.
pub trait StandIns: Send + Sync {
    /// Returns what answers the calls of a module in the next generation. `None` if the host has no stand-in for it.
    fn stand_in(&self, module: &ModuleName) -> Option<Arc<dyn StandIn>>;
}
