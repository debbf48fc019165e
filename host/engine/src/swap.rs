//! Detects whether the memory of instances may be swapped out to a disk.
//!
//! Wasmtime resets the memory of a fresh instance by asking the kernel which pages were written (`PAGEMAP_SCAN`).
//! Wasmtime 48 asks only for *present* pages and misses a page that was swapped out, so the next instance would find data
//! of the one before. So the scan is used only if nothing can be swapped out.

use std::path::Path;

/// The kernel's file that lists swap devices and files.
const SWAPS: &str = "/proc/swaps";
/// The folder in which the kernel shows control groups.
const GROUPS: &str = "/sys/fs/cgroup";
/// The kernel's file that names the control group of this process.
const OWN_GROUP: &str = "/proc/self/cgroup";

/// Whether memory of this process may be swapped out. True if that can't be determined.
pub(super) fn is_possible() -> bool {
    let swaps = std::fs::read_to_string(SWAPS);
    let group = std::fs::read_to_string(OWN_GROUP).unwrap_or_default();
    swaps.map_or(true, |swaps| has_swap(&swaps)) && !is_forbidden(Path::new(GROUPS), &group)
}

/// Whether `swaps`, the text of [`SWAPS`], has entries after its header line.
fn has_swap(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|line| !line.trim().is_empty())
}

/// Whether the control group of this process, or one above it, forbids swapping (`memory.swap.max`, version 2 only). `groups` is the folder
/// of control groups, and `own` the text that names the group of this process.
fn is_forbidden(groups: &Path, own: &str) -> bool {
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) else { return false };
    let limit = |group: &Path| std::fs::read_to_string(groups.join(group).join("memory.swap.max"));
    Path::new(path).ancestors().any(|group| limit(group).is_ok_and(|limit| limit.trim() == "0"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_what_the_kernel_lists() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!has_swap("") && !has_swap(head));
        assert!(has_swap(&format!("{head}/swapfile                              file\t\t16380\t\t0\t\t-2\n")));
    }

    #[test]
    fn a_group_that_may_not_swap_has_none_and_nor_have_those_in_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("pods/one")).unwrap();
        let set = |group: &str, limit: &str| {
            std::fs::write(folder.path().join(group).join("memory.swap.max"), limit).unwrap();
        };
        let own = "4:memory:/elsewhere\n0::/pods/one\n";
        assert!(!is_forbidden(folder.path(), own));
        set("pods/one", "max\n");
        assert!(!is_forbidden(folder.path(), own));
        set("pods", "0\n");
        assert!(is_forbidden(folder.path(), own));
        assert!(!is_forbidden(folder.path(), "0::/\n") && !is_forbidden(folder.path(), "4:memory:/pods\n"));
    }
}
