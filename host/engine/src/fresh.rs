//! Memories and stacks of instances that serve one call each.
//!
//! Wasmtime's own pool resets a memory by asking the kernel which pages were *written*. Recent kernels also count pages that were never
//! touched, once their page table exists. Each call then clears megabytes. The pool here asks which pages are *there*, in memory or in
//! swap space, and clears only those. Small memories and stacks stay resident, so that a call rarely waits for the kernel.

mod slots;
mod touched;

use std::ops::Range;
use std::sync::Arc;

use wasmtime::{Config, LinearMemory, MemoryCreator, MemoryType, StackCreator, StackMemory};

use slots::{Slot, Slots};
use watertight_component::profile::Profile;

/// The bytes of a memory that stay resident between calls, so that the kernel need not provide them again each time.
const KEEP_MEMORY: usize = 2 << 20;
/// The bytes of a stack that stay resident between calls. Few calls touch more.
const KEEP_STACK: usize = 16 << 10;

/// The text of the error that no memory is free. Wasmtime takes only texts from a [`MemoryCreator`].
const NO_MEMORY: &str = "all memories of fresh instances are in use";

/// The error that all stacks of an engine are in use.
#[derive(Debug, thiserror::Error)]
#[error("all stacks of fresh instances are in use")]
struct NoStack;

/// Whether a call failed because all memories or stacks of the engine for fresh instances are in use.
pub(super) fn is_out_of_room(error: &wasmtime::Error) -> bool {
    error.is::<NoStack>() || error.root_cause().to_string() == NO_MEMORY
}

/// Lets the engine take memories and stacks from pools with room for `calls` calls.
pub(super) fn configure(config: &mut Config, profile: Profile, calls: u32) {
    let memory = usize::try_from(profile.limits().memory).expect("the host runs on 64 bits");
    config
        .allocation_strategy(wasmtime::InstanceAllocationStrategy::OnDemand)
        .with_host_memory(Arc::new(Memories(Slots::new(memory, calls as usize, 0))))
        .with_host_stack(Arc::new(Stacks(Slots::new(
            profile.stack() * super::STACK_FACTOR,
            calls as usize,
            rustix::param::page_size(),
        ))));
}

/// The pool of linear memories.
struct Memories(Arc<Slots>);

/// A linear memory in a slot of the pool. It never moves.
struct Memory {
    slot: Slot,
    size: usize,
}

// SAFETY: a memory is a slot that no other memory shares until it is dropped. A slot is all zeros when it is acquired (`Slot`'s drop).
#[allow(unsafe_code)]
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        _: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        // The engine's settings ask for neither a guard nor a larger reservation, and code is compiled with bounds checks.
        if guard > 0 || reserved.is_some_and(|bytes| bytes > self.0.size()) {
            return Err("a fresh instance's memory has no guard and a fixed reservation".to_owned());
        }
        let slot = self.0.acquire().ok_or(NO_MEMORY)?;
        let mut memory = Memory { slot, size: 0 };
        memory.grow_to(minimum).map_err(|error| format!("{error:#}"))?;
        Ok(Box::new(memory))
    }
}

// SAFETY: the pointer stays the same, and the bytes up to `size` are readable and writable (`Slot::open`).
#[allow(unsafe_code)]
unsafe impl LinearMemory for Memory {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        self.slot.size()
    }

    fn grow_to(&mut self, size: usize) -> wasmtime::Result<()> {
        self.slot.open(size)?;
        self.size = size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.slot.start()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.slot.clear(0..self.size, 0..KEEP_MEMORY.min(self.size));
    }
}

/// The pool of stacks.
struct Stacks(Arc<Slots>);

/// A stack in a slot of the pool. Its guard is the page before the slot.
struct Stack {
    slot: Slot,
}

// SAFETY: as for `Memories`. The page before each slot is never accessible.
#[allow(unsafe_code)]
unsafe impl StackCreator for Stacks {
    fn new_stack(&self, size: usize, _: bool) -> wasmtime::Result<Box<dyn StackMemory>> {
        wasmtime::ensure!(size <= self.0.size(), "a stack of {size} bytes is larger than the pool's");
        let mut slot = self.0.acquire().ok_or(NoStack)?;
        let size = slot.size();
        slot.open(size)?;
        Ok(Box::new(Stack { slot }))
    }
}

// SAFETY: the range is readable and writable, and the page before it is not accessible.
#[allow(unsafe_code)]
unsafe impl StackMemory for Stack {
    fn top(&self) -> *mut u8 {
        self.slot.start().wrapping_add(self.slot.size())
    }

    fn range(&self) -> Range<usize> {
        let start = self.slot.start() as usize;
        start..start + self.slot.size()
    }

    fn guard_range(&self) -> Range<*mut u8> {
        let start = self.slot.start();
        start.wrapping_sub(rustix::param::page_size())..start
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let size = self.slot.size();
        self.slot.clear(0..size, size.saturating_sub(KEEP_STACK)..size);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;

    fn engine(calls: u32) -> Engine {
        Engine::new(&crate::config_for(Profile::Fresh, calls)).unwrap()
    }

    /// Returns a store whose guests run for at least one tick.
    fn new_store(engine: &Engine) -> Store<()> {
        let mut store = Store::new(engine, ());
        store.set_epoch_deadline(1);
        store
    }

    /// A guest that writes at each address it is told must not leave a byte to the next, wherever that is.
    #[test]
    fn a_memory_is_zero_again_wherever_it_was_written() {
        let engine = engine(1);
        let module = r#"(module (memory (export "memory") 20 2000)
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "put") (param i32) (i32.store8 (local.get 0) (i32.const 7)))
            (func (export "get") (param i32) (result i32) (i32.load8_u (local.get 0))))"#;
        let module = Module::new(&engine, wat::parse_str(module).unwrap()).unwrap();
        let places = [0, 1, 4_095, 4_096, 70_000, 1_310_719, 1_310_720, (2 << 20) - 1, 2 << 20, 5_000_000, 19_000_000];
        for round in 0..3 {
            let mut store = new_store(&engine);
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow").unwrap();
            let put = instance.get_typed_func::<i32, ()>(&mut store, "put").unwrap();
            let get = instance.get_typed_func::<i32, i32>(&mut store, "get").unwrap();
            assert_eq!(grow.call(&mut store, 300).unwrap(), 20);
            for place in places {
                assert_eq!(get.call(&mut store, place).unwrap(), 0, "round {round}, byte {place}");
                put.call(&mut store, place).unwrap();
            }
            assert!(get.call(&mut store, 320 << 16).is_err(), "beyond the memory's end");
            assert_eq!(grow.call(&mut store, 100_000).unwrap(), -1);
        }
    }

    #[test]
    fn a_pool_without_a_free_memory_says_so_and_recovers() {
        let engine = engine(1);
        let module = Module::new(&engine, wat::parse_str("(module (memory 1))").unwrap()).unwrap();
        let mut store = new_store(&engine);
        Instance::new(&mut store, &module, &[]).unwrap();
        let refused = Instance::new(new_store(&engine), &module, &[]).unwrap_err();
        assert!(is_out_of_room(&refused), "{refused:?}");
        drop(store);
        Instance::new(new_store(&engine), &module, &[]).unwrap();
    }

    #[test]
    fn a_stack_is_zero_again_at_any_depth() {
        let stacks = Stacks(Slots::new(1 << 20, 1, rustix::param::page_size()));
        for _ in 0..3 {
            let stack = stacks.new_stack(1 << 20, true).unwrap();
            assert!(stacks.new_stack(1 << 20, true).err().unwrap().is::<NoStack>());
            for below in [1, 4_096, 16 << 10, (16 << 10) + 1, 600_000, 1 << 20] {
                let place = stack.top().wrapping_sub(below);
                // SAFETY: the byte is in the stack, which nothing else uses.
                #[allow(unsafe_code)]
                let found = unsafe { std::ptr::replace(place, 9) };
                assert_eq!(found, 0, "{below} bytes below the top");
            }
        }
    }
}
