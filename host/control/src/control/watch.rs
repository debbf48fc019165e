//! Watches that the state folder and the open databases stay where they were opened.
//!
//! A database that is written to notices by itself, at its next commit. This notices for those that are not.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::Control;

/// How often they are looked at: some system calls for each database, and what is lost is known well within a second.
const INTERVAL: Duration = Duration::from_millis(250);

impl Control {
    /// Watches until it is dropped. Once something is lost, [`StateFolder::lost`](crate::state::StateFolder::lost) says so.
    pub async fn watch(self: Arc<Self>) -> Infallible {
        // A thread of its own: the runtime's threads for such work are used in turn, and none would ever be idle for long enough to end.
        let (glance, glances) = sync_channel::<()>(1);
        let looking = thread::Builder::new().name("watch".to_owned()).spawn(move || {
            while glances.recv().is_ok() {
                self.look();
            }
        });
        if let Err(error) = looking {
            tracing::error!(target: "state", %error, "the state folder can't be watched");
        }
        loop {
            tokio::time::sleep(INTERVAL).await;
            // While a disk doesn't answer, one glance waits.
            let _ = glance.try_send(());
        }
    }

    fn look(&self) {
        let folder = self.state.check();
        let databases = self.databases.check_files();
        if let Err(reason) = folder.and(databases) {
            self.state.lose(&reason);
        }
    }
}
