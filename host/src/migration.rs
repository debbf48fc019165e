//! A module's migration: a numbered piece of SQL that travels inside the module's component.

use serde::{Deserialize, Serialize};

use crate::ids::Digest;

/// One migration. Its place in the order is its place in the list that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// The file's name: `0001_orders.sql`. Names sort in the order of application.
    pub name: String,
    /// The statements.
    pub sql: String,
    /// The digest of `sql`: an applied migration never changes.
    pub checksum: Digest,
}

impl Migration {
    /// A migration with the checksum of its text.
    pub fn new(name: impl Into<String>, sql: impl Into<String>) -> Self {
        let sql = sql.into();
        Self { name: name.into(), checksum: Digest::of(sql.as_bytes()), sql }
    }

    /// Whether the text is what the checksum says.
    pub fn is_intact(&self) -> bool {
        Digest::of(self.sql.as_bytes()) == self.checksum
    }
}
