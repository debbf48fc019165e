//! What the host tells the service manager that started it (`NOTIFY_SOCKET`, as of systemd): that it serves, what it does, that it is alive.
//!
//! A thread of its own sends the messages, so that a service manager that doesn't read them holds up nothing. Without a service manager,
//! nothing is sent.

use std::convert::Infallible;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;

use watertight_edge::http::server::Pulse;
use watertight_engine::Engines;

/// The time between two requests of a starting host for more time.
const EXTENSION_PAUSE: Duration = Duration::from_secs(5);
/// The time that a starting host asks for, from each request on. It bounds how long a host that hangs during its start goes unnoticed.
const EXTENSION: Duration = Duration::from_secs(30);
/// The time that a stopping host asks for beyond the drain time, to end its listeners and close databases.
const STOP_EXTENSION: Duration = Duration::from_secs(15);
/// The maximum number of messages that wait to be sent. Further messages are lost.
const QUEUE: usize = 16;

/// The service manager that started this process, if any.
pub(super) struct ServiceManager(Option<SyncSender<String>>);

impl ServiceManager {
    /// Finds the service manager by this process's environment, and starts the thread that sends to it.
    pub(super) fn find() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self(None);
        }
        let (messages, waiting) = sync_channel::<String>(QUEUE);
        let send = move || {
            for message in waiting {
                if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&message)]) {
                    tracing::warn!(%error, "the service manager can't be told what the host does");
                }
            }
        };
        let thread = std::thread::Builder::new().name("notify".to_owned()).spawn(send);
        Self(thread.is_ok().then_some(messages))
    }

    /// Tells that the host serves. `status` is a text for people.
    pub(super) fn ready(&self, status: &str) {
        self.notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Tells that the host stops, and that this takes at most a little longer than `drain`.
    pub(super) fn stopping(&self, drain: Duration) {
        let time = extension(drain.saturating_add(STOP_EXTENSION));
        self.notify(&[NotifyState::Stopping, NotifyState::Status("stopping: requests in flight end"), time]);
    }

    /// Tells that the host reads its configuration again. [`Self::reloaded`] ends that.
    pub(super) fn reloading(&self) {
        // The time lets the service manager tell this reload from an earlier one.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.notify(&[NotifyState::Reloading, now]);
        }
    }

    /// Tells that the host has read its configuration again.
    pub(super) fn reloaded(&self) {
        self.notify(&[NotifyState::Ready]);
    }

    /// Asks for more time as long as the start goes on, and tells what is being compiled.
    pub(super) async fn extend_start(&self, engines: &Engines) -> Infallible {
        loop {
            let compiling = engines.compiling();
            let status =
                compiling.first().map_or_else(|| "starting".to_owned(), |one| format!("starting: compiling {one}"));
            self.notify(&[NotifyState::Status(&status), extension(EXTENSION)]);
            tokio::time::sleep(EXTENSION_PAUSE).await;
        }
    }

    /// Tells the watchdog that the host is alive, twice within the watchdog's time: each time the data listener's task has answered.
    pub(super) async fn feed_watchdog(&self, data: Pulse) -> Infallible {
        let Some(time) = sd_notify::watchdog_enabled().filter(|time| !time.is_zero()) else {
            return std::future::pending().await;
        };
        let pause = time / 2;
        loop {
            let begun = tokio::time::Instant::now();
            if tokio::time::timeout(pause, data.is_alive()).await == Ok(true) {
                self.notify(&[NotifyState::Watchdog]);
            } else {
                tracing::error!(
                    ?pause,
                    "the data listener doesn't answer, so the watchdog isn't told that the host is alive"
                );
            }
            tokio::time::sleep_until(begun + pause).await;
        }
    }

    fn notify(&self, states: &[NotifyState<'_>]) {
        if let Some(messages) = &self.0 {
            let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
            // A full queue means that the service manager reads nothing.
            let _ = messages.try_send(lines.join("\n"));
        }
    }
}

fn extension(time: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
}
