//! What a change means to the clients of an application: the operations that it breaks, and what it adds.
//!
//! The crate `openapi` finds the changes. Here is their form, because they are a part of a plan.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The maximum number of changes that are listed.
pub const MAX_CLIENT_CHANGES: usize = 200;

/// What a change of the application means to its clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientChanges {
    /// The changes, those that break operations first.
    pub changes: Vec<ClientChange>,
    /// The number of changes that are not listed, because there are more than [`MAX_CLIENT_CHANGES`].
    #[serde(default)]
    pub left_out: usize,
}

/// A change that clients can notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientChange {
    /// The operation: its method and path. For a mount, `mount` and its path.
    pub operation: String,
    /// Whether requests that worked before may fail, or answers may be others than clients know.
    pub breaks: bool,
    /// What changes.
    pub what: String,
}

impl ClientChanges {
    /// Sorts changes, and bounds their number.
    pub fn new(mut changes: Vec<ClientChange>) -> Self {
        changes.sort_by_key(|change| !change.breaks);
        let left_out = changes.len().saturating_sub(MAX_CLIENT_CHANGES);
        changes.truncate(MAX_CLIENT_CHANGES);
        Self { changes, left_out }
    }

    /// Whether clients can notice nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns the number of listed changes that break an operation.
    pub fn breaking(&self) -> usize {
        self.changes.iter().filter(|change| change.breaks).count()
    }
}

impl fmt::Display for ClientChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, breaks, what } = self;
        write!(f, "{} {operation}: {what}", if *breaks { "breaks" } else { "allows" })
    }
}

/// Writes one line for each change.
impl fmt::Display for ClientChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))?;
        match self.left_out {
            0 => Ok(()),
            more => writeln!(f, "… and {more} further changes for clients"),
        }
    }
}
