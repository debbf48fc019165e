//! The types of items that are relayed, and how a chunk of items leaves a guest's memory.

use wasmtime::component::{Lift, Lower, ReadBuffer, Source, WriteBuffer};
use wasmtime::{AsContextMut as _, StoreContextMut};

use crate::ends::{EndGuard, HeldBytes};

/// The bytes after which a chunk of items is complete. A chunk of texts or byte lists exceeds this by less than its last item, which
/// `limits.transfer` bounds.
pub const MAX_CHUNK: usize = 64 << 10;

/// An item of a relayed stream, or the value of a relayed future.
///
/// `watertight_component::shape::Type::is_relayed` says which WIT types have such a type.
pub(crate) trait Item: Lift + Lower + Send + Sync + Unpin + 'static {
    /// Whether the item owns memory outside of itself. Long items are counted while nobody has read them; others are bounded by the size of a
    /// chunk.
    const IS_LONG: bool = false;

    /// Returns the bytes that the item takes in the host.
    fn size(&self) -> usize {
        size_of_val(self).max(1)
    }
}

macro_rules! short_items {
    ($($ty:ty)*) => { $(impl Item for $ty {})* };
}

short_items!(() bool u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 char);

impl Item for String {
    const IS_LONG: bool = true;

    fn size(&self) -> usize {
        size_of_val(self) + self.len()
    }
}

impl Item for Vec<u8> {
    const IS_LONG: bool = true;

    fn size(&self) -> usize {
        size_of_val(self) + self.len()
    }
}

/// Items between two stores.
pub(crate) struct Chunk<T> {
    pub(crate) items: std::vec::IntoIter<T>,
    /// Counts long items until all of them have been read.
    pub(crate) _held: Option<HeldBytes>,
}

impl<T: Item> Chunk<T> {
    /// Takes items from a guest's write: all of them, or as many as make up a chunk. `guard` is that of the stream in the guest's store.
    ///
    /// # Errors
    ///
    /// Returns Wasmtime's error if an item is not valid or takes more than the store's `limits.transfer`, and [`TooMuchHeld`] if it does so
    /// together with others.
    ///
    /// [`TooMuchHeld`]: crate::ends::TooMuchHeld
    pub(crate) fn take<D: 'static>(
        mut source: Source<'_, T>,
        mut store: StoreContextMut<'_, D>,
        guard: &EndGuard,
    ) -> wasmtime::Result<Self> {
        let mut buffer = Buffer { items: Vec::new(), room: 0 };
        if !T::IS_LONG {
            buffer.room = source.remaining(store.as_context_mut()).min(MAX_CHUNK / size_of::<T>().max(1));
            buffer.items.reserve_exact(buffer.room);
            source.read(store, &mut buffer)?;
            return Ok(Self { items: buffer.items.into_iter(), _held: None });
        }
        let mut taken = 0;
        while taken < MAX_CHUNK && source.remaining(store.as_context_mut()) > 0 {
            buffer.room = 1;
            source.read(store.as_context_mut(), &mut buffer)?;
            taken += buffer.items.last().map_or(0, Item::size);
        }
        let held = Some(guard.hold(taken, store.hostcall_fuel())?);
        Ok(Self { items: buffer.items.into_iter(), _held: held })
    }
}

impl<T> Default for Chunk<T> {
    fn default() -> Self {
        Self { items: Vec::new().into_iter(), _held: None }
    }
}

/// A buffer with room for a number of items. A plain `Vec` has room for all that it was allocated for, which can be more.
struct Buffer<T> {
    items: Vec<T>,
    room: usize,
}

impl<T: Item> ReadBuffer<T> for Buffer<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        let before = self.items.len();
        Extend::extend(&mut self.items, items);
        self.room = self.room.saturating_sub(self.items.len() - before);
    }

    fn remaining_capacity(&self) -> usize {
        self.room
    }

    fn move_from(&mut self, input: &mut dyn WriteBuffer<T>, count: usize) {
        self.items.reserve(count);
        self.items.move_from(input, count);
        self.room = self.room.saturating_sub(count);
    }
}
