//! The capability `wasi:logging`: writes a module's log lines into the host's log, with the module's name and the request's id.

use tracing::Level;

use super::bindings::named_imports::wasi::logging::logging::Host;
use super::bindings::wasi::logging::logging::Level as GuestLevel;
use crate::store::{InstanceState, ModuleIndex};

impl Host for InstanceState {
    fn log(
        &mut self,
        module: ModuleIndex,
        level: GuestLevel,
        context: String,
        message: String,
    ) -> wasmtime::Result<()> {
        let level = match level {
            GuestLevel::Trace => Level::TRACE,
            GuestLevel::Debug => Level::DEBUG,
            GuestLevel::Info => Level::INFO,
            GuestLevel::Warn => Level::WARN,
            GuestLevel::Error | GuestLevel::Critical => Level::ERROR,
        };
        self.guest_log(module).write(level, &context, &message);
        Ok(())
    }
}
