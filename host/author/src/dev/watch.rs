//! Hears that files may have changed. What has changed indeed is found by looking: a message can be lost, or mean nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::snapshot::is_nobodys_source;

/// How long nothing happens before a save is taken to be complete.
const QUIET: Duration = Duration::from_millis(20);
/// How long that is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often files are looked at although nothing was heard: some file systems tell nothing.
const LOOK_ANYWAY: Duration = Duration::from_secs(2);

/// Watches folders, each without those in it.
pub struct Watcher {
    /// None where the system has no more room for one, for example.
    system: Option<RecommendedWatcher>,
    /// The folders, with the number that tells one from another of its name.
    watched: BTreeMap<PathBuf, u64>,
    heard: Arc<Notify>,
}

impl Watcher {
    /// Watches nothing yet. Where the system can't watch, files are looked at every two seconds.
    pub fn new() -> Self {
        let heard = Arc::new(Notify::new());
        let tell = heard.clone();
        // However much happens, there is one thing to say: look.
        let listen = move |event: notify::Result<Event>| {
            if event.is_err() || event.is_ok_and(|event| matters(&event)) {
                tell.notify_one();
            }
        };
        let system = notify::recommended_watcher(listen);
        if let Err(error) = &system {
            tracing::warn!(%error, "files can't be watched; they are looked at every two seconds");
        }
        Self { system: system.ok(), watched: BTreeMap::new(), heard }
    }

    /// Watches these folders and no others. A folder that took the place of one of its name is watched anew.
    pub fn follow(&mut self, folders: &BTreeMap<PathBuf, u64>) {
        let Some(system) = &mut self.system else { return };
        let gone = |(path, number): (&PathBuf, &u64)| folders.get(path) != Some(number);
        let gone: Vec<PathBuf> =
            self.watched.iter().filter(|known| gone(*known)).map(|(path, _)| path.clone()).collect();
        for path in gone {
            // The system forgets a folder that was removed by itself.
            let _ = system.unwatch(&path);
            self.watched.remove(&path);
        }
        for (path, number) in folders {
            if self.watched.contains_key(path) {
                continue;
            }
            // Where one can't be watched (it is gone again, or there are too many), looking anyway will do.
            if system.watch(path, RecursiveMode::NonRecursive).is_ok() {
                self.watched.insert(path.clone(), *number);
                // What happened between the look that found it and now was not heard.
                self.heard.notify_one();
            }
        }
    }

    /// Waits until files may have changed and whoever changes them has come to rest.
    pub async fn changed(&self) {
        if tokio::time::timeout(LOOK_ANYWAY, self.heard.notified()).await.is_err() {
            return;
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && tokio::time::timeout(QUIET, self.heard.notified()).await.is_ok() {}
    }
}

impl Default for Watcher {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether something may have been changed: files are opened and read by ourselves, too.
fn matters(event: &Event) -> bool {
    let is_access = matches!(event.kind, EventKind::Access(_));
    !is_access && (event.paths.is_empty() || event.paths.iter().any(|path| !is_nobodys_source(path)))
}
