//! The transactions that guests of a store have open: at most one for each module, and none between calls. Where calls share a store, a
//! transaction belongs to the call that began it.

use futures::future::BoxFuture;

use crate::capability::StoreState;
use crate::{InstanceState, ModuleIndex};
use watertight_sql::Transaction;

/// The open transactions of a call.
#[derive(Default)]
struct OpenTransactions {
    open: Vec<OpenTransaction>,
}

/// A transaction that a guest has opened, with its handle and the guest's module.
struct OpenTransaction {
    handle: u32,
    module: ModuleIndex,
    transaction: Transaction,
}

impl OpenTransactions {
    fn place(&self, module: ModuleIndex, handle: u32) -> Option<usize> {
        self.open.iter().position(|open| open.handle == handle && open.module == module)
    }
}

impl StoreState for OpenTransactions {
    /// Rolls back the transactions that are still open. The rollback also makes durable what they read, so the call's answer must wait for
    /// it.
    fn end_call(&mut self) -> Option<BoxFuture<'static, wasmtime::Result<()>>> {
        if self.open.is_empty() {
            return None;
        }
        let open = std::mem::take(&mut self.open);
        Some(Box::pin(async {
            for open in open {
                open.transaction.rollback().await?;
            }
            Ok(())
        }))
    }
}

/// The handle of a store's next transaction. Handles are never reused within a store, so a handle that a guest kept from an earlier call,
/// or got from another call of the same store, is invalid.
#[derive(Default)]
struct NextHandle(u32);

impl StoreState for NextHandle {}

impl InstanceState {
    /// Returns whether a module has an open transaction in this store, in whichever call. Another call must not wait for it: the wait would
    /// hold the store, so that the transaction could not end.
    pub(in super::super) fn has_transaction(&self, module: ModuleIndex) -> bool {
        self.all_locals::<OpenTransactions>().flat_map(|all| &all.open).any(|open| open.module == module)
    }

    /// Stores an open transaction and returns its handle.
    pub(super) fn add_transaction(&mut self, module: ModuleIndex, transaction: Transaction) -> u32 {
        let (next, _) = self.lasting_local_of(None, |_| NextHandle::default());
        let handle = next.0;
        next.0 = handle.wrapping_add(1);
        self.local::<OpenTransactions>().open.push(OpenTransaction { handle, module, transaction });
        handle
    }

    /// Returns the module's open transaction. `None` if `handle` is not the handle of that transaction.
    pub(super) fn transaction(&mut self, module: ModuleIndex, handle: u32) -> Option<&mut Transaction> {
        let all = self.local::<OpenTransactions>();
        let place = all.place(module, handle)?;
        Some(&mut all.open[place].transaction)
    }

    /// Returns the module's open transaction, whatever its handle. `None` if it has none.
    pub(in super::super) fn transaction_of(&mut self, module: ModuleIndex) -> Option<&mut Transaction> {
        let mut all = self.local::<OpenTransactions>().open.iter_mut();
        all.find(|open| open.module == module).map(|open| &mut open.transaction)
    }

    /// Removes and returns the module's open transaction. `None` if `handle` is not the handle of that transaction.
    pub(super) fn take_transaction(&mut self, module: ModuleIndex, handle: u32) -> Option<Transaction> {
        let all = self.local::<OpenTransactions>();
        let place = all.place(module, handle)?;
        Some(all.open.swap_remove(place).transaction)
    }
}
