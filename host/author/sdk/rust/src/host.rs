//! Implements the interfaces with the host's capabilities, in components.

#[cfg(feature = "http")]
mod http;
mod sql;

use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bindings::wasi::clocks::wall_clock;
use crate::bindings::wasi::config::store;
use crate::bindings::wasi::logging::logging;
use crate::bindings::wasi::random::random;
use crate::bindings::watertight::lifecycle::failure;
use crate::{Clock, Config, ConfigError, Ids, Level, Log, Random};

/// The host's capabilities. A module is granted them by `uses` in the manifest; a component imports those whose functions it calls.
#[derive(Debug, Clone, Copy)]
pub struct Host;

impl Host {
    /// Returns the host's capabilities. The first call also installs a panic hook that reports a panic's message, file and line to the
    /// host, because `panic = "abort"` alone reports none. The host logs the report whether or not the module is granted the log.
    ///
    /// Call it first in each exported function.
    pub fn connect() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            std::panic::set_hook(Box::new(|panic| {
                let place = panic.location().map(|place| failure::Place {
                    file: place.file().to_owned(),
                    line: place.line(),
                    column: place.column(),
                });
                let message = panic.payload_as_str().unwrap_or("it panicked without a text");
                failure::report(message, place.as_ref());
            }));
        });
        Self
    }
}

impl Log for Host {
    fn log(&self, level: Level, context: &str, message: &str) {
        let level = match level {
            Level::Trace => logging::Level::Trace,
            Level::Debug => logging::Level::Debug,
            Level::Info => logging::Level::Info,
            Level::Warn => logging::Level::Warn,
            Level::Error => logging::Level::Error,
            Level::Critical => logging::Level::Critical,
        };
        logging::log(level, context, message);
    }
}

impl Clock for Host {
    fn now(&self) -> SystemTime {
        let now = wall_clock::now();
        UNIX_EPOCH + Duration::new(now.seconds, now.nanoseconds)
    }
}

impl Random for Host {
    fn random_u64(&self) -> u64 {
        random::get_random_u64()
    }

    fn random_bytes(&self, length: usize) -> Vec<u8> {
        random::get_random_bytes(length as u64)
    }
}

impl Ids for Host {
    fn new_id(&self) -> String {
        let random = u128::from(self.random_u64()) << 64 | u128::from(self.random_u64());
        crate::ids::ulid(self.now(), random)
    }
}

impl Config for Host {
    fn setting(&self, key: &str) -> Result<Option<String>, ConfigError> {
        store::get(key).map_err(|error| match error {
            store::Error::Upstream(reason) | store::Error::Io(reason) => ConfigError::Unreadable(reason),
        })
    }
}
