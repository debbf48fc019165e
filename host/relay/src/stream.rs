//! A relayed stream: one chunk of items at a time goes from a store to another.
//!
//! In the store of the writer, the host reads the stream (`Sink`); in the store of the reader, it writes one (`Inlet`). Between both is
//! a queue for one chunk. A write thus waits until the chunk before it has been taken.

use std::any::{Any, TypeId};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use wasmtime::component::{
    Destination, Source, StreamAny, StreamConsumer, StreamProducer, StreamReader, StreamResult, Val, VecBuffer,
};
use wasmtime::{AsContextMut as _, StoreContextMut};

use crate::ends::{EndGuard, Ends, Role};
use crate::item::{Chunk, Item};
use crate::outside::{LooseEnd, Outside};

/// The error that a stream ends before its writer has ended it, because the call in another compartment that wrote it has failed. It traps the
/// reader: a stream has no other way to tell, and what is cut off must not look complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream was read that another compartment's call should have written, and that call has failed")]
pub struct StreamCut;

/// The chunks that wait between two stores for each stream. The reader's store can hold one more.
pub const QUEUED_CHUNKS: usize = 1;

/// Takes a stream out of the writer's store. Returns the end for the reader's store.
///
/// # Errors
///
/// Returns an error if the stream has another type of items, or the store holds too many ends.
pub(crate) fn leave<T: Item, D: 'static>(
    stream: StreamAny,
    role: Role,
    mut store: StoreContextMut<'_, D>,
    ends: &Ends,
) -> wasmtime::Result<LooseEnd<D>> {
    let reader = stream.try_into_stream_reader::<T>()?;
    let guard = ends.enter(role == Role::Result)?;
    // A stream that came from another store, and that no one has read to its end, goes on to the next without a stop here.
    let reader = match reader.try_into::<Relayed<T>>(store.as_context_mut()) {
        Ok(mut relayed) => {
            relayed.passed.push(guard);
            return Ok(Box::new(relayed));
        }
        Err(reader) => reader,
    };
    let (sender, chunks) = mpsc::channel(QUEUED_CHUNKS);
    let is_cut = Arc::<AtomicBool>::default();
    reader.pipe(store, Sink { sender: PollSender::new(sender), guard: Some(guard), is_cut: is_cut.clone() })?;
    Ok(Box::new(Relayed { chunks, chunk: Chunk::default(), is_cut, passed: Vec::new() }))
}

/// The host's end of a stream in the writer's store.
struct Sink<T> {
    sender: PollSender<Chunk<T>>,
    /// Dropped as soon as the reader is gone.
    guard: Option<EndGuard>,
    is_cut: Arc<AtomicBool>,
}

impl<T> Drop for Sink<T> {
    /// Tells the reader, before the queue closes, whether its writer has ended the stream or was lost with its store.
    fn drop(&mut self) {
        if self.guard.as_ref().is_some_and(EndGuard::is_cut) {
            self.is_cut.store(true, SeqCst);
        }
    }
}

impl<T: Item, D: 'static> StreamConsumer<D> for Sink<T> {
    type Item = T;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'_, D>,
        source: Source<'_, T>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let is_gone = self.sender.get_ref().is_none_or(mpsc::Sender::is_closed);
        let reserved = match self.sender.poll_reserve(context) {
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            reserved => ready!(reserved),
        };
        let (false, Ok(()), Some(guard)) = (is_gone, reserved, &self.guard) else {
            self.guard = None;
            return Poll::Ready(Ok(StreamResult::Dropped));
        };
        // A write of no items asks only whether there is room.
        if source.remaining(store.as_context_mut()) > 0 {
            let chunk = Chunk::take(source, store, guard)?;
            // This fails if the reader has just gone. Its items are lost, and the next write learns that.
            let _ = self.sender.send_item(chunk);
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// A stream between two stores.
struct Relayed<T> {
    chunks: mpsc::Receiver<Chunk<T>>,
    /// The rest of the last chunk.
    chunk: Chunk<T>,
    /// Whether the stream ends without its writer, once the queue is closed.
    is_cut: Arc<AtomicBool>,
    /// The stores that the stream has passed through. Their calls last as long as the stream.
    passed: Vec<EndGuard>,
}

impl<T: Item, D: 'static> Outside<D> for Relayed<T> {
    fn enter(self: Box<Self>, mut store: StoreContextMut<'_, D>, ends: &Ends) -> wasmtime::Result<Val> {
        let inlet = Inlet { relayed: *self, _guard: ends.enter(false)? };
        let reader = StreamReader::new(store.as_context_mut(), inlet)?;
        Ok(Val::Stream(StreamAny::try_from_stream_reader(store, reader)?))
    }
}

/// The host's end of a stream in the reader's store.
struct Inlet<T> {
    relayed: Relayed<T>,
    _guard: EndGuard,
}

impl<T: Item, D: 'static> StreamProducer<D> for Inlet<T> {
    type Item = T;
    type Buffer = VecBuffer<T>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, T, VecBuffer<T>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let Relayed { chunks, chunk, is_cut, .. } = &mut self.relayed;
        if chunk.items.len() == 0 {
            match chunks.poll_recv(context) {
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                received => match ready!(received) {
                    Some(next) => *chunk = next,
                    None if is_cut.load(SeqCst) => return Poll::Ready(Err(StreamCut.into())),
                    None => return Poll::Ready(Ok(StreamResult::Dropped)),
                },
            }
        }
        // Wasmtime keeps what the guest has no room for, where `try_into` would lose it. So it gets only what fits.
        let room = destination.remaining(store).unwrap_or(usize::MAX);
        let items: Vec<T> = if room < chunk.items.len() {
            chunk.items.by_ref().take(room).collect()
        } else {
            std::mem::take(chunk).items.collect()
        };
        destination.set_buffer(items.into());
        Poll::Ready(Ok(StreamResult::Completed))
    }

    fn try_into(me: Pin<Box<Self>>, ty: TypeId) -> Result<Box<dyn Any>, Pin<Box<Self>>> {
        if ty == TypeId::of::<Relayed<T>>() { Ok(Box::new(Pin::into_inner(me).relayed)) } else { Err(me) }
    }
}
