//! A relayed future: its value goes once from a store to another.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{FutureAny, FutureConsumer, FutureReader, Source, Val};

use crate::ends::{EndGuard, Ends, Role};
use crate::item::{Chunk, Item};
use crate::outside::{LooseEnd, Outside};

/// The error that nobody will write the value of a future, because the call that should do so has ended. It traps the reader: a future has
/// no other way to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a future was read whose value another compartment's call should have written, and that call has ended")]
pub struct FutureLost;

/// Takes a future out of the writer's store. Returns the end for the reader's store.
///
/// # Errors
///
/// Returns an error if the future has another type of value, or the store holds too many ends.
pub(crate) fn leave<T: Item, D: 'static>(
    future: FutureAny,
    role: Role,
    store: StoreContextMut<'_, D>,
    ends: &Ends,
) -> wasmtime::Result<LooseEnd<D>> {
    let reader = future.try_into_future_reader::<T>()?;
    let guard = ends.enter(role == Role::Result)?;
    let (sender, value) = oneshot::channel();
    reader.pipe(store, Sink(Some((sender, guard))))?;
    Ok(Box::new(Relayed(value)))
}

/// The host's end of a future in the writer's store. It is empty once the value is there.
struct Sink<T>(Option<(oneshot::Sender<Chunk<T>>, EndGuard)>);

impl<T: Item, D: 'static> FutureConsumer<D> for Sink<T> {
    type Item = T;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, T>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<()>> {
        if let Some((sender, guard)) = self.0.take() {
            // This fails if the reader is gone. The writer can't learn that: Wasmtime has no answer for it.
            let _ = sender.send(Chunk::take(source, store, &guard)?);
        }
        Poll::Ready(Ok(()))
    }
}

/// A future between two stores.
struct Relayed<T>(oneshot::Receiver<Chunk<T>>);

impl<T: Item, D: 'static> Outside<D> for Relayed<T> {
    fn enter(self: Box<Self>, mut store: StoreContextMut<'_, D>, ends: &Ends) -> wasmtime::Result<Val> {
        let (value, guard) = (self.0, ends.enter(false)?);
        let reader = FutureReader::new(&mut store, async move {
            let _guard = guard;
            value.await.ok().and_then(|mut chunk| chunk.items.next()).ok_or(FutureLost)
        })?;
        Ok(Val::Future(FutureAny::try_from_future_reader(store, reader)?))
    }
}
