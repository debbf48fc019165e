//! Catches panics of the host in a request's task. A panic fails its own request and no other.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;

use futures::{FutureExt as _, TryFutureExt as _};

/// The message of a caught panic.
#[derive(Debug)]
pub struct PanicMessage(String);

impl fmt::Display for PanicMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PanicMessage {
    fn new(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self(text.unwrap_or("the panic has no message").to_owned())
    }
}

/// Runs the work of one request and catches a panic. State that the work may leave half changed must belong to this request alone, because
/// nobody repairs the state after a panic.
///
/// # Errors
///
/// The message of the panic, if the work panicked.
// An async function would hold the work twice: as its argument, and while it waits for it.
pub fn catch_panic<T>(work: impl Future<Output = T>) -> impl Future<Output = Result<T, PanicMessage>> {
    AssertUnwindSafe(work).catch_unwind().map_err(|panic| PanicMessage::new(&*panic))
}
