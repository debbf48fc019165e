//! The length of the write-ahead log.

use super::CHECKPOINT_PAGES;
use crate::error::SqlError;

/// The size of one page in the write-ahead log with its header, in bytes.
const LOG_PAGE_BYTES: u64 = 4_096 + 24;

/// The write-ahead log's length, and the length at which it is copied into the database file next, both in pages.
pub(super) struct Log {
    pub(super) pages: u32,
    pub(super) next_checkpoint: u32,
    /// The reason why the log can't be emptied although it has reached its greatest length. `None` otherwise.
    pub(super) blocked_by: Option<SqlError>,
}

impl Log {
    /// The length of the log's current content in bytes. The file may be longer if SQLite has begun to write it from
    /// the beginning again.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.pages) * LOG_PAGE_BYTES
    }

    /// Records the log's length in pages, after a commit that wrote.
    pub(super) fn record(&mut self, pages: u32) {
        // The length shrinks only when the log restarts: all of it was copied and nobody reads it.
        if pages < self.pages {
            self.next_checkpoint = CHECKPOINT_PAGES;
        }
        self.pages = pages;
    }
}
