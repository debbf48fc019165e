//! A pool of equal pieces of address space.

use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

use super::touched::TouchedPages;

/// A pool of slots. The address space is reserved when a slot is first needed; memory is used only where a slot was written.
pub(super) struct Slots {
    size: usize,
    guard: usize,
    state: Mutex<State>,
    limit: usize,
    touched: TouchedPages,
}

struct State {
    /// The first byte of the reserved address space. It is null before the first slot is acquired.
    space: *mut u8,
    /// The free slots, the last used one at the end. Each is all zeros.
    free: Vec<FreeSlot>,
    /// The number of slots that were ever acquired. The slots from this index on are free as well.
    used: usize,
}

struct FreeSlot {
    start: *mut u8,
    open: usize,
}

// SAFETY: the pointers are places in address space that the pool owns. Only the owner of a slot uses what they point to.
#[allow(unsafe_code)]
unsafe impl Send for State {}

/// A slot in use. All of its bytes are zero at first. When it is dropped, it goes back to its pool.
pub(super) struct Slot {
    pool: Arc<Slots>,
    start: *mut u8,
    /// The number of bytes from the start that are readable and writable.
    open: usize,
    /// Whether bytes may be left that are not zero. Such a slot never goes back.
    is_spoilt: bool,
}

// SAFETY: a slot owns the memory that it points to.
#[allow(unsafe_code)]
unsafe impl Send for Slot {}
// SAFETY: a shared slot gives out its address and size only.
#[allow(unsafe_code)]
unsafe impl Sync for Slot {}

impl Slots {
    /// Creates a pool of `limit` slots of `size` bytes. Before each slot, `guard` bytes are never accessible. Both sizes must be multiples
    /// of the page size.
    pub(super) fn new(size: usize, limit: usize, guard: usize) -> Arc<Self> {
        let state = State { space: ptr::null_mut(), free: Vec::new(), used: 0 };
        Arc::new(Self { size, guard, state: Mutex::new(state), limit, touched: TouchedPages::new() })
    }

    /// Returns the size of a slot in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Takes a free slot, the one that was used last if there is a choice. `None` if all are in use or the kernel has no address space.
    pub(super) fn acquire(self: &Arc<Self>) -> Option<Slot> {
        let mut state = self.state();
        let FreeSlot { start, open } = match state.free.pop() {
            Some(free) => free,
            None if state.used < self.limit => {
                if state.space.is_null() {
                    state.space = self.reserve().ok()?;
                }
                let start = state.space.wrapping_add(state.used * (self.guard + self.size) + self.guard);
                state.used += 1;
                FreeSlot { start, open: 0 }
            }
            None => return None,
        };
        drop(state);
        Some(Slot { pool: self.clone(), start, open, is_spoilt: false })
    }

    /// Reserves the address space of all slots, with no access to it.
    fn reserve(&self) -> rustix::io::Result<*mut u8> {
        let bytes = self.bytes();
        // SAFETY: a new mapping at an address that the kernel chooses.
        #[allow(unsafe_code)]
        let space = unsafe {
            mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)
        }?;
        // A huge page would make 2 MiB of zeros of a few written bytes. A kernel without huge pages refuses the advice.
        // SAFETY: the mapping was just made.
        #[allow(unsafe_code)]
        let _ = unsafe { madvise(space, bytes, Advice::LinuxNoHugepage) };
        Ok(space.cast())
    }

    fn bytes(&self) -> usize {
        self.limit * (self.guard + self.size)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A poisoned mutex is used all the same: each change of the state is one push, pop or addition.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let space = self.state().space;
        if !space.is_null() {
            // SAFETY: the pool made this mapping, and every slot held the pool, so none is in use.
            #[allow(unsafe_code)]
            let _ = unsafe { munmap(space.cast(), self.bytes()) };
        }
    }
}

impl Slot {
    /// Returns the address of the first byte.
    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    /// Returns the size in bytes.
    pub(super) fn size(&self) -> usize {
        self.pool.size
    }

    /// Makes the first `bytes` of the slot readable and writable.
    ///
    /// # Errors
    ///
    /// The slot is smaller, or the kernel has no memory to promise.
    pub(super) fn open(&mut self, bytes: usize) -> io::Result<()> {
        if bytes > self.pool.size {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if bytes > self.open {
            let (start, length) = (self.start.wrapping_add(self.open), bytes - self.open);
            // SAFETY: the range is within the slot, and nothing has used it so far.
            #[allow(unsafe_code)]
            unsafe { mprotect(start.cast(), length, MprotectFlags::READ | MprotectFlags::WRITE) }?;
            self.open = bytes;
        }
        Ok(())
    }

    /// Sets the bytes of `used` to zero, as nothing outside of it was written. The memory of `kept`, a part of `used`, stays resident.
    /// All positions are bytes from the slot's start.
    pub(super) fn clear(&mut self, used: Range<usize>, kept: Range<usize>) {
        let page = rustix::param::page_size();
        let kept = kept.start.next_multiple_of(page)..kept.end / page * page;
        let parts = [used.start..kept.start, kept.end..used.end.next_multiple_of(page)];
        let cleared = parts.into_iter().filter(|part| !part.is_empty()).try_for_each(|part| self.give_back(part));
        let cleared = cleared.and_then(|()| {
            // SAFETY: the range is within the open part of the slot, which this value owns.
            #[allow(unsafe_code)]
            let is_clear = unsafe { self.pool.touched.clear(self.start.wrapping_add(kept.start), kept.len()) };
            if is_clear { Ok(()) } else { self.give_back(kept) }
        });
        if let Err(error) = cleared {
            self.is_spoilt = true;
            tracing::error!(%error, "the memory of a fresh instance can't be cleared, so it is never used again");
        }
    }

    /// Gives the memory of a range of pages back to the kernel. Afterwards its bytes are zero.
    fn give_back(&self, pages: Range<usize>) -> io::Result<()> {
        let pages = pages.start.min(self.open)..pages.end.min(self.open);
        if pages.is_empty() {
            return Ok(());
        }
        // SAFETY: the range is within the open part of the slot, which this value owns. Its content is not needed any more.
        #[allow(unsafe_code)]
        unsafe { madvise(self.start.wrapping_add(pages.start).cast(), pages.len(), Advice::LinuxDontNeed) }?;
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.is_spoilt {
            self.pool.state().free.push(FreeSlot { start: self.start, open: self.open });
        }
    }
}
