//! `wasi:logging`: a module's lines among the host's, with the module's name and the request's id.

use std::borrow::Cow;

use tracing::{Level, enabled, event};

use super::bindings::named_imports::wasi::logging::logging::Host;
use super::bindings::wasi::logging::logging::Level as GuestLevel;
use crate::store::{InstanceState, ModuleIndex};

/// The longest line that is written whole, in bytes; of a longer one, the beginning.
const MAX_LINE: usize = 16 << 10;
/// The longest context that is written whole, in bytes.
const MAX_CONTEXT: usize = 256;

impl Host for InstanceState {
    fn log(
        &mut self,
        module: ModuleIndex,
        level: GuestLevel,
        context: String,
        message: String,
    ) -> wasmtime::Result<()> {
        let (context, message) = (cut(&context, MAX_CONTEXT), cut(&message, MAX_LINE));
        macro_rules! line {
            ($level:expr) => {
                if enabled!(target: "module", $level) {
                    let taken = self.take_log(context.len() + message.len());
                    let (request, trace) = (&*self.call().request, self.call().trace.id());
                    let name = self.module(module).name.as_str();
                    match taken {
                        Ok(true) => {
                            let message = one_line(message);
                            event!(target: "module", $level, module = name, request, %trace, context, "{message}");
                        }
                        Ok(false) => {}
                        Err(limit) => tracing::warn!(
                            target: "module", module = name, request, %trace, limit,
                            "further lines of this call are dropped: it may log {limit} bytes"
                        ),
                    }
                }
            };
        }
        match level {
            GuestLevel::Trace => line!(Level::TRACE),
            GuestLevel::Debug => line!(Level::DEBUG),
            GuestLevel::Info => line!(Level::INFO),
            GuestLevel::Warn => line!(Level::WARN),
            GuestLevel::Error | GuestLevel::Critical => line!(Level::ERROR),
        }
        Ok(())
    }
}

/// `text` with its control characters escaped: a guest's words must not pass for another's line.
fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_debug()) } else { line.push(c) }
    }
    line.into()
}

/// The beginning of `text`, at most `limit` bytes of it.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
