//! Where a guest was when it ended, in words.

use wasmtime::WasmBacktrace;

use crate::ids::ModuleName;

/// Frames of a guest's stack that a log line names.
const MAX_FRAMES: usize = 16;

/// The guest's functions at a trap, innermost first.
pub(super) struct Backtrace<'a>(&'a [wasmtime::FrameInfo]);

impl<'a> Backtrace<'a> {
    pub(super) fn of(error: &'a wasmtime::Error) -> Self {
        Self(error.downcast_ref::<WasmBacktrace>().map_or(&[], |trace| trace.frames()))
    }

    /// The module that the innermost one belongs to: linking gave its core modules that name.
    pub(super) fn module(&self) -> Option<ModuleName> {
        self.0.iter().find_map(|frame| frame.module().name()?.parse().ok())
    }
}

impl std::fmt::Display for Backtrace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, frame) in self.0.iter().take(MAX_FRAMES).enumerate() {
            let between = if place == 0 { "" } else { " < " };
            write!(f, "{between}{}!", frame.module().name().unwrap_or("?"))?;
            match frame.func_name() {
                Some(name) => write!(f, "{:#}", rustc_demangle::demangle(name))?,
                None => write!(f, "#{}", frame.func_index())?,
            }
        }
        Ok(())
    }
}
