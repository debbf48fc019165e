//! Watches that the state folder and the open databases stay where they were opened.
//!
//! A database notices a moved file by itself at its next commit. This watcher covers databases that aren't written to.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::Control;

/// How often the files are checked. A check takes a few system calls for each database, and a loss is noticed well within a second.
const INTERVAL: Duration = Duration::from_millis(250);

impl Control {
    /// Watches the files until the returned future is dropped. If one was removed or replaced, records that in the state folder; see
    /// `StateFolder::loss`.
    pub async fn watch(self: Arc<Self>) -> Infallible {
        // Uses its own thread. Tokio would give each check to another of its blocking threads, so that none of them stays idle long enough
        // to end.
        let (glance, glances) = sync_channel::<()>(1);
        let looking = thread::Builder::new().name("watch".to_owned()).spawn(move || {
            while glances.recv().is_ok() {
                self.check_files();
            }
        });
        if let Err(error) = looking {
            tracing::error!(target: "state", %error, "the state folder isn't watched: a removed file is noticed only at a write");
        }
        loop {
            tokio::time::sleep(INTERVAL).await;
            // Drops the request if one is already waiting, as it may while the disk doesn't answer.
            let _ = glance.try_send(());
        }
    }

    fn check_files(&self) {
        let folder = self.state.check();
        let databases = self.databases.check_files();
        if let Err(reason) = folder.and(databases) {
            self.state.record_loss(&reason);
        }
    }
}
