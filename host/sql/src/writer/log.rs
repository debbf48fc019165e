//! How long the write-ahead log is.

use super::CHECKPOINT_PAGES;
use crate::error::SqlError;

/// Bytes of one page in the log, its header included.
const LOG_PAGE_BYTES: u64 = 4_096 + 24;

/// The log's length, and the length at which it is looked after next.
pub(super) struct Log {
    pub(super) pages: u32,
    pub(super) next: u32,
    /// Why it can't be emptied although it is as long as it may be.
    pub(super) stuck: Option<SqlError>,
}

impl Log {
    /// How long it is; the file may be longer where it began anew.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.pages) * LOG_PAGE_BYTES
    }

    /// Notes the length after a commit that wrote.
    pub(super) fn has(&mut self, pages: u32) {
        // It grows only, but for when all of it is copied and nobody reads it: then it begins anew.
        if pages < self.pages {
            self.next = CHECKPOINT_PAGES;
        }
        self.pages = pages;
    }
}
