//! Detects with one system call whether something may have happened to a database's files since their last check.
//!
//! The kernel queues an event within the system call that removes, moves or replaces a file, or a folder on its path. So
//! an empty queue means that the paths still lead to the same files. A mount over a folder causes no event, so the host
//! also checks the paths at intervals.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::{Errno, ioctl_fionread, read};

/// Greatest number of bytes of kernel events that are read at once: about 60 events with short names.
const READ_AT_ONCE: usize = 4096;

/// The queue of the kernel's events about one database's files.
#[derive(Debug)]
pub(super) struct FileEvents {
    queue: OwnedFd,
    /// Whether events were taken from the kernel and no check of the files has succeeded since.
    is_suspect: AtomicBool,
}

impl FileEvents {
    /// Watches the database file at `path`, its folder, and each folder on its path.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel has no queue or watch left for this user, a folder can't be read, or the path
    /// contains a symbolic link. The kernel does not report that a link was changed.
    pub(super) fn watch(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        if path.canonicalize()? != path {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path to the database contains a symbolic link",
            ));
        }
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // The database file is written when the log is copied into it, which is rare, and when another process overwrites
        // it.
        inotify::add_watch(&queue, &path, WatchFlags::MODIFY)?;
        let itself = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF | WatchFlags::ONLYDIR;
        let entries = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
        for (place, folder) in path.ancestors().skip(1).enumerate() {
            inotify::add_watch(&queue, folder, if place == 0 { itself | entries } else { itself })?;
        }
        Ok(Self { queue, is_suspect: AtomicBool::new(false) })
    }

    /// Calls `look`, the check of the files, if the kernel has reported an event since `look` last succeeded.
    ///
    /// # Errors
    ///
    /// Returns the error of `look`.
    pub(super) fn check_if_changed<E>(&self, look: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let is_empty = ioctl_fionread(&self.queue).is_ok_and(|bytes| bytes == 0);
        if is_empty && !self.is_suspect.load(SeqCst) {
            return Ok(());
        }
        // The flag is set before events are taken, so that a concurrent caller that finds the queue empty still runs the
        // check.
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
