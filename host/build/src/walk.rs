//! Walks a folder of sources: what its author wrote, without what tools make there.

use std::path::Path;
use std::sync::LazyLock;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use ignore::{DirEntry, WalkBuilder};

use super::source::Language;

/// How deeply files may be nested in a folder of sources.
const MAX_DEPTH: usize = 64;

/// What no author writes, in the syntax of `.gitignore`: hidden and temporary files, and what tools make. Vim creates a file named `4913` to
/// test whether it may write to the folder.
#[rustfmt::skip]
const NOT_SOURCES: [&str; 13] = [
    ".*", r"\#*", "*~", "*.swp", "*.swx", "*.swo", "*.tmp", "*.part", "*.orig", "*.rej",
    "node_modules", "__pycache__", "4913",
];

/// Returns the files and folders in a folder of sources, the folder itself included. Leaves out what no author writes, and what `.gitignore`
/// or `.ignore` names. The number of entries has no bound.
///
/// As for git, `.gitignore` counts in a repository only, from the repository's folder down. Settings outside the repository count for nothing.
pub fn walk_sources(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    let mut walk = WalkBuilder::new(folder);
    walk.standard_filters(false).parents(true).ignore(true).git_ignore(true).git_exclude(true);
    walk.filter_entry(|entry| !is_not_a_source(entry.path()) && !is_binding(entry.path()));
    // A link that leads back to a parent is an error of the walk.
    walk.follow_links(true).max_depth(Some(MAX_DEPTH)).build().filter_map(Result::ok)
}

/// Whether no author writes such a file or folder: hidden and temporary files, and what tools make.
pub fn is_not_a_source(path: &Path) -> bool {
    static MATCHER: LazyLock<Gitignore> = LazyLock::new(|| {
        let mut builder = GitignoreBuilder::new("");
        for pattern in NOT_SOURCES {
            builder.add_line(None, pattern).expect("the pattern is valid");
        }
        builder.build().expect("every pattern is valid")
    });
    let Some(name) = path.file_name() else { return false };
    // Only Cargo's output folder has `CACHEDIR.TAG`. Any other folder named `target` may hold sources.
    MATCHER.matched(name, false).is_ignore() || name == "target" && path.join("CACHEDIR.TAG").exists()
}

/// Whether this is code that a generator of bindings writes beside the sources.
fn is_binding(path: &Path) -> bool {
    path.ends_with("wit_bindings.go") || Language::is_made(path)
}
