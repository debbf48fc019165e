//! The differences of what two applications say to all clients of their door: rules for pages of other origins, and keys of `[http]` that
//! belong to a generation.

use std::collections::BTreeMap;

use super::{Change, DoorChange, change, pairs};
use watertight_model::config::{AppConfig, CorsRules, DoorConfig};

/// Lists the parts in which two applications differ.
pub(super) fn changes(old: &AppConfig, new: &AppConfig) -> Vec<DoorChange> {
    let parts = |config: &AppConfig| -> BTreeMap<String, CorsRules> {
        config.cors.iter().map(|one| (format!("cors {}", one.path.value), one.rules.clone())).collect()
    };
    let (from, to) = (parts(old), parts(new));
    let rules = pairs(&from, &to).into_iter().filter_map(|(what, from, to)| {
        Some(DoorChange { change: change(from, to, |from, to| from == to)?, what: what.clone() })
    });
    let (from, to) = (&old.door, &new.door);
    let headers = |door: &DoorConfig| Some(door.added_headers.clone()).filter(|headers| !headers.is_empty());
    let keys = [
        ("http.compression", key(from.compression.then_some(()), to.compression.then_some(()))),
        ("http.problems", key(from.problems.clone(), to.problems.clone())),
        ("http.security_headers", key(headers(from), headers(to))),
    ];
    let changed = |(what, change): (&str, Option<Change>)| Some(DoorChange { what: what.to_owned(), change: change? });
    rules.chain(keys.into_iter().filter_map(changed)).collect()
}

/// Returns how the values of a key differ. `None` stands for the default.
#[expect(clippy::needless_pass_by_value, reason = "the values are made for this call")]
fn key<T: PartialEq>(from: Option<T>, to: Option<T>) -> Option<Change> {
    change(from.as_ref(), to.as_ref(), |from, to| from == to)
}
