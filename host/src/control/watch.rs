//! Watches that the state folder and the open databases stay where they were opened.
//!
//! A database that is written to notices by itself, at its next commit. This notices for those that are not.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::Control;

/// How often they are looked at: some system calls for each database, and what is lost is known well within a second.
const INTERVAL: Duration = Duration::from_millis(250);

impl Control {
    /// Watches until it is dropped. Once something is lost, [`StateFolder::lost`](crate::state::StateFolder::lost) says so.
    pub async fn watch(self: Arc<Self>) -> Infallible {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let control = self.clone();
            // A disk that doesn't answer holds up nobody else. The thread doesn't panic.
            let _ = tokio::task::spawn_blocking(move || control.look()).await;
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
