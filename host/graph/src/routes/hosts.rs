//! Finds what may answer a request by the host that it is for: what belongs to the host, and what belongs to no host.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::Path;
use super::mount::MountTable;
use watertight_model::config::HostPattern;

/// What answers requests by their path: for one name of a host, or for all hosts.
#[derive(Debug, Default)]
pub(super) struct PathTable {
    /// The routes.
    pub(super) paths: matchit::Router<Path>,
    /// The mounts.
    pub(super) mounts: MountTable,
    /// Whether there is a route or a mount. The document that describes the routes is none.
    pub(super) is_used: bool,
}

/// The tables of all hosts.
#[derive(Debug, Default)]
pub(super) struct HostTables {
    /// What belongs to no host.
    common: PathTable,
    /// What belongs to hosts. `None` if nothing does, so that a request costs no look-up of its host.
    named: Option<Box<NamedHosts>>,
}

#[derive(Debug, Default)]
struct NamedHosts {
    exact: HashMap<Arc<str>, PathTable>,
    /// The tables of names such as `*.example.com`. The longest stands first.
    suffixes: Vec<(HostPattern, PathTable)>,
}

impl HostTables {
    /// Returns the table of a name, or the one that belongs to no host, to add something to it.
    pub(super) fn entry(&mut self, host: Option<&HostPattern>) -> &mut PathTable {
        match host {
            Some(host) => self.named.get_or_insert_default().entry(host),
            None => &mut self.common,
        }
    }

    /// Returns the table that belongs to no host, if that is all there is.
    pub(super) fn only_common(&self) -> Option<&PathTable> {
        self.named.is_none().then_some(&self.common)
    }

    /// Iterates over the tables that may answer a request for `host`, which is in lower case and has no port: that of the exact name, those
    /// of names with `*.`, the longest first, and that of all hosts.
    pub(super) fn of<'a>(&'a self, host: Option<&str>) -> impl Iterator<Item = &'a PathTable> {
        let own = self.named.as_deref().zip(host).into_iter().flat_map(|(named, host)| named.of(host));
        own.chain([&self.common])
    }
}

impl NamedHosts {
    fn entry(&mut self, host: &HostPattern) -> &mut PathTable {
        if host.suffix().is_none() {
            return self.exact.entry(host.as_str().into()).or_default();
        }
        let key = |host: &HostPattern| Reverse(host.as_str().len());
        let place = self.suffixes.iter().position(|(other, _)| other == host).unwrap_or_else(|| {
            let place = self.suffixes.partition_point(|(other, _)| key(other) <= key(host));
            self.suffixes.insert(place, (host.clone(), PathTable::default()));
            place
        });
        &mut self.suffixes[place].1
    }

    fn of<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a PathTable> {
        let suffixes = self.suffixes.iter().filter(move |(suffix, _)| suffix.matches(host));
        self.exact.get(host).into_iter().chain(suffixes.map(|(_, table)| table))
    }
}
