//! The compilations that run, so that whoever waits for one can see what it is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A compilation that runs.
#[derive(Debug, Clone)]
pub struct Compilation {
    /// What is compiled, as a text for people, such as ``module `greeter` ``.
    pub what: Arc<str>,
    /// The size of the component, in bytes.
    pub bytes: usize,
    /// When the compilation began.
    pub begun: Instant,
}

impl Compilation {
    /// Returns how long the compilation has run.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// Such as ``module `greeter`, 18.2 MiB, for 12 s``.
impl fmt::Display for Compilation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.bytes as f64 / f64::from(1 << 20);
        write!(out, "{}, {size:.1} MiB, for {} s", self.what, self.elapsed().as_secs())
    }
}

/// The compilations that run, in the order of their begin.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<Running>>);

#[derive(Default)]
struct Running {
    next: u64,
    compilations: BTreeMap<u64, Compilation>,
}

impl Progress {
    /// Records that a compilation has begun. Dropping the guard records that it has ended.
    pub(crate) fn begin(&self, what: Arc<str>, bytes: usize) -> Begun<'_> {
        let compilation = Compilation { what, bytes, begun: Instant::now() };
        let mut running = self.lock();
        let number = running.next;
        running.next += 1;
        running.compilations.insert(number, compilation);
        Begun { progress: self, number }
    }

    pub(crate) fn running(&self) -> Vec<Compilation> {
        self.lock().compilations.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        // No panic can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard of a compilation that runs.
pub(crate) struct Begun<'a> {
    progress: &'a Progress,
    number: u64,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.progress.lock().compilations.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compilation_is_told_until_it_ends() {
        let progress = Progress::default();
        let one = progress.begin("module `a`".into(), 19_100_000);
        let other = progress.begin("module `b`".into(), 1);
        let told: Vec<String> = progress.running().iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with("module `a`, 18.2 MiB, for "), "{}", told[0]);
        drop(one);
        assert_eq!(&*progress.running()[0].what, "module `b`");
        drop(other);
        assert!(progress.running().is_empty());
    }
}
