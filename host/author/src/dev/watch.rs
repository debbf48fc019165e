//! Waits for file-system events after which files may have changed. Events can be lost or spurious, so the caller must look for the changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use watertight_build::is_not_a_source;

/// How long no notification must arrive for a save to count as complete.
const SETTLE_TIME: Duration = Duration::from_millis(20);
/// How long to wait for a save to complete, at most.
const MAX_SETTLE_TIME: Duration = Duration::from_millis(500);
/// How often files are polled without a notification. Some file systems send none.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Watches folders, without their subfolders.
pub struct Watcher {
    /// The watcher of the operating system. `None` if it can't be created, for example because the system's limit is reached.
    system: Option<RecommendedWatcher>,
    /// The watched folders, each with its inode number, which tells a replaced folder from the earlier one of the same name.
    watched: BTreeMap<PathBuf, u64>,
    notified: Arc<Notify>,
}

impl Watcher {
    /// Makes a watcher of no folders. If the operating system can't watch files, [`Self::changed`] polls every two seconds.
    pub fn new() -> Self {
        let notified = Arc::new(Notify::new());
        let tell = notified.clone();
        // One pending notification is enough, because it only makes the caller look.
        let listen = move |event: notify::Result<Event>| {
            if event.is_err() || event.is_ok_and(|event| may_be_change(&event)) {
                tell.notify_one();
            }
        };
        let system = notify::recommended_watcher(listen);
        if let Err(error) = &system {
            tracing::warn!(%error, "files can't be watched, and are polled every two seconds instead");
        }
        Self { system: system.ok(), watched: BTreeMap::new(), notified }
    }

    /// Watches these folders and no others. Watches a folder again if it was replaced by another one of the same name.
    pub fn set_folders(&mut self, folders: &BTreeMap<PathBuf, u64>) {
        let Some(system) = &mut self.system else { return };
        let gone = |(path, number): (&PathBuf, &u64)| folders.get(path) != Some(number);
        let gone: Vec<PathBuf> =
            self.watched.iter().filter(|known| gone(*known)).map(|(path, _)| path.clone()).collect();
        for path in gone {
            // Fails for a removed folder, which the operating system has already forgotten.
            let _ = system.unwatch(&path);
            self.watched.remove(&path);
        }
        for (path, number) in folders {
            if self.watched.contains_key(path) {
                continue;
            }
            // A folder can't be watched if it was removed again or the system's limit is reached. Polling covers it.
            if system.watch(path, RecursiveMode::NonRecursive).is_ok() {
                self.watched.insert(path.clone(), *number);
                // Changes between the caller's look at this folder and now sent no notification.
                self.notified.notify_one();
            }
        }
    }

    /// Waits until files may have changed and no further changes follow for a moment. Returns after two seconds in any case.
    pub async fn changed(&self) {
        if tokio::time::timeout(POLL_INTERVAL, self.notified.notified()).await.is_err() {
            return;
        }
        let begun = Instant::now();
        while begun.elapsed() < MAX_SETTLE_TIME
            && tokio::time::timeout(SETTLE_TIME, self.notified.notified()).await.is_ok()
        {}
    }
}

impl Default for Watcher {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether an event can mean a change. Reading files causes events, too, and this process reads them itself.
fn may_be_change(event: &Event) -> bool {
    let is_access = matches!(event.kind, EventKind::Access(_));
    !is_access && (event.paths.is_empty() || event.paths.iter().any(|path| !is_not_a_source(path)))
}
