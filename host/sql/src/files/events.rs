//! Tells at the cost of one system call whether anything may have happened to the files of a database since they were last looked at.
//!
//! The kernel queues an event within the system call that removes, moves or replaces a file, or a folder on the way to it. So an empty queue
//! means that the paths still lead where they led. Mounts over a folder make no event: the host looks for them at intervals.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::{Errno, ioctl_fionread, read};

/// Bytes that are read from the queue at once: some 60 events with short names.
const READ_AT_ONCE: usize = 4096;

/// The queue of events of one database.
#[derive(Debug)]
pub(super) struct FileEvents {
    queue: OwnedFd,
    /// Whether events were taken from the queue and the files were not found in order since.
    is_suspect: AtomicBool,
}

impl FileEvents {
    /// Watches the database file at `path`, its folder, and each folder on the way to it.
    ///
    /// # Errors
    ///
    /// The kernel has no queue or watch left for this user, a folder can't be read, or a link stands on the way: the kernel does not tell
    /// when a link leads elsewhere.
    pub(super) fn watch(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        if path.canonicalize()? != path {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a link stands on the way to the database"));
        }
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // The file is written to when the log is copied into it, which is seldom, and when somebody else overwrites it.
        inotify::add_watch(&queue, &path, WatchFlags::MODIFY)?;
        let itself = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF | WatchFlags::ONLYDIR;
        let entries = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        for (place, folder) in path.ancestors().skip(1).enumerate() {
            inotify::add_watch(&queue, folder, if place == 0 { itself | entries } else { itself })?;
        }
        Ok(Self { queue, is_suspect: AtomicBool::new(false) })
    }

    /// Calls `look` if there is an event that came after `look` last succeeded.
    ///
    /// # Errors
    ///
    /// What `look` returns.
    pub(super) fn if_any<E>(&self, look: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let is_empty = ioctl_fionread(&self.queue).is_ok_and(|bytes| bytes == 0);
        if is_empty && !self.is_suspect.load(SeqCst) {
            return Ok(());
        }
        // Before events are taken: who finds the queue empty from here on still looks.
        self.is_suspect.store(true, SeqCst);
        self.take_all();
        look()?;
        self.is_suspect.store(false, SeqCst);
        Ok(())
    }

    fn take_all(&self) {
        let mut buffer = [MaybeUninit::<u8>::uninit(); READ_AT_ONCE];
        loop {
            match read(&self.queue, &mut buffer[..]) {
                Ok((taken, _)) if !taken.is_empty() => {}
                Err(Errno::INTR) => {}
                _ => return,
            }
        }
    }
}
