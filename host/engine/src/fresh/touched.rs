//! Finds the pages of a range that may hold anything but zeros.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// The kernel's file with an entry of 8 bytes for each page of this process.
const PAGEMAP: &str = "/proc/self/pagemap";
/// The size of an entry in bytes.
const ENTRY: usize = 8;
/// The bits of an entry that are set if the page is in memory, or in swap space. Without both, a page was never touched.
const TOUCHED: u64 = 1 << 63 | 1 << 62;
/// The number of entries that are read at once.
const BATCH: usize = 512;

/// The kernel's list of this process's pages.
pub(super) struct TouchedPages {
    /// The list. `None` if this process may not read it.
    pages: Option<File>,
    page_size: usize,
}

impl TouchedPages {
    pub(super) fn new() -> Self {
        Self { pages: File::open(PAGEMAP).ok(), page_size: rustix::param::page_size() }
    }

    /// Sets each page of a range to zero that was ever touched. Returns whether that was possible: otherwise some pages are unchanged.
    ///
    /// # Safety
    ///
    /// The range must consist of whole pages that are readable and writable, and nothing else may use it.
    #[allow(unsafe_code)]
    pub(super) unsafe fn clear(&self, start: *mut u8, length: usize) -> bool {
        let Some(pages) = &self.pages else { return false };
        let mut entries = [0; BATCH * ENTRY];
        let mut done = 0;
        while done < length {
            let count = ((length - done) / self.page_size).min(BATCH);
            let entries = &mut entries[..count * ENTRY];
            let first = (start as usize + done) / self.page_size;
            if pages.read_exact_at(entries, (first * ENTRY) as u64).is_err() {
                return false;
            }
            for (place, entry) in entries.as_chunks::<ENTRY>().0.iter().enumerate() {
                if u64::from_ne_bytes(*entry) & TOUCHED != 0 {
                    // SAFETY: the page is in the range, which the caller vouches for.
                    unsafe { start.add(done + place * self.page_size).write_bytes(0, self.page_size) };
                }
            }
            done += count * self.page_size;
        }
        true
    }
}
