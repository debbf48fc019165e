//! Compares two documents of an application, and says what the change from one to the other means to clients.
//!
//! The rules are those of variance: the operations that clients know must accept every request that they accepted, and may answer with
//! nothing that clients don't know. Objects in answers may get further fields, because clients have to pass over those. Answers of the host
//! itself are left out, because every operation may give them.

mod answers;
mod schema;

use std::collections::{BTreeMap, BTreeSet};

use crate::format::{MountEntry, OpenApi, Operation, Parameter, Place, RequestBody};
use schema::{Side, Walk};
use watertight_graph::plan::{ClientChange, ClientChanges};

/// Compares two documents and lists what changes for clients from `old` to `new`.
pub fn compare(old: &OpenApi, new: &OpenApi) -> ClientChanges {
    let mut found = Found::default();
    let (before, after) = (operations(old), operations(new));
    for (key, (name, operation)) in &before {
        found.operation.clone_from(name);
        match after.get(key) {
            Some((_, now)) => Pair { old: (old, operation), new: (new, now), found: &mut found }.compare(),
            None => {
                let is_same = |entry: &(&Key, &(String, &Operation))| {
                    !before.contains_key(entry.0) && entry.1.1.operation_id == operation.operation_id
                };
                let moved = after.iter().find(is_same).map(|(_, (name, _))| name);
                found.breaks(moved.map_or_else(|| "it is gone".to_owned(), |name| format!("it is now {name}")));
            }
        }
    }
    for (_, (name, _)) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        found.operation.clone_from(name);
        found.allows("it is new");
    }
    mounts(&old.mounts, &new.mounts, &mut found);
    ClientChanges::new(found.changes)
}

/// What identifies an operation for clients: the path without the names of its parameters, and the method.
type Key = (String, &'static str);

/// Returns the operations of a document, each with its method and path as text.
fn operations(document: &OpenApi) -> BTreeMap<Key, (String, &Operation)> {
    let of_path = |(path, item): (&String, _)| {
        let (plain, host) = path.split_once('#').unwrap_or((path, ""));
        let nameless: Vec<&str> =
            plain.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect();
        let (nameless, path) = (format!("{host}{}", nameless.join("/")), format!("{host}{plain}"));
        let item: &crate::format::PathItem = item;
        let named = move |(method, operation)| ((nameless.clone(), method), (format!("{method} {path}"), operation));
        item.operations().map(named).collect::<Vec<_>>()
    };
    document.paths.iter().flat_map(of_path).collect()
}

/// The changes that were found, and the operation that is being compared.
#[derive(Default)]
struct Found {
    operation: String,
    changes: Vec<ClientChange>,
}

impl Found {
    fn add(&mut self, breaks: bool, what: String) {
        let change = ClientChange { operation: self.operation.clone(), breaks, what };
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }

    fn breaks(&mut self, what: impl Into<String>) {
        self.add(true, what.into());
    }

    fn allows(&mut self, what: impl Into<String>) {
        self.add(false, what.into());
    }
}

/// An operation in both documents.
struct Pair<'a> {
    old: (&'a OpenApi, &'a Operation),
    new: (&'a OpenApi, &'a Operation),
    found: &'a mut Found,
}

impl Pair<'_> {
    fn compare(&mut self) {
        let case = |operation: &Operation| operation.case.clone().unwrap_or_else(|| "snake".to_owned());
        let (was, is) = (case(self.old.1), case(self.new.1));
        if was != is {
            self.found.breaks(format!("names in JSON are in the case `{is}` instead of `{was}`"));
        }
        self.parameters();
        self.body();
        self.answers();
    }

    /// Returns the comparison of schemas of requests or answers. If the case of names differs, that was told, and names are compared
    /// without it.
    fn walk(&mut self, side: Side) -> Walk<'_> {
        let folds_names = self.old.1.case != self.new.1.case;
        Walk::new(side, self.old.0, self.new.0, folds_names, self.found)
    }

    fn parameters(&mut self) {
        let (old, new) = (self.old.1, self.new.1);
        let folds_names = old.case != new.case;
        let (before, after) = (keys_of(old, folds_names), keys_of(new, folds_names));
        for (key, parameter) in &before {
            let (place, name) = (parameter.place.as_str(), &parameter.name);
            match after.get(key) {
                Some(now) => self.parameter(parameter, now),
                None => {
                    let elsewhere = new.parameters.iter().find(|other| other.name == *name);
                    self.found.breaks(match elsewhere {
                        Some(other) => format!("{place} `{name}`: it is read from the {} now", other.place.as_str()),
                        None => format!("{place} `{name}`: it is not read any more"),
                    });
                }
            }
        }
        for (_, parameter) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
            let (place, name) = (parameter.place.as_str(), &parameter.name);
            match parameter.required {
                true => self.found.breaks(format!("{place} `{name}`: it is new and required")),
                false => self.found.allows(format!("{place} `{name}`: it is new")),
            }
        }
    }

    fn parameter(&mut self, old: &Parameter, new: &Parameter) {
        let at = format!("{} `{}`", new.place.as_str(), new.name);
        match (old.required, new.required) {
            (false, true) => self.found.breaks(format!("{at}: it is required now")),
            (true, false) => self.found.allows(format!("{at}: it is optional now")),
            _ => {}
        }
        let is_list = |parameter: &Parameter| parameter.place == Place::Query && parameter.schema.items.is_some();
        if is_list(new) && !is_list(old) {
            self.found.allows(format!("{at}: it may be given several times"));
            let items = new.schema.items.as_deref().unwrap_or(&new.schema);
            return self.walk(Side::Request).of_text().at(&at, &old.schema, items);
        }
        self.walk(Side::Request).of_text().at(&at, &old.schema, &new.schema);
    }

    fn body(&mut self) {
        match (&self.old.1.request_body, &self.new.1.request_body) {
            (None, None) => {}
            (Some(_), None) => self.found.breaks("body: it is not read any more"),
            (None, Some(new)) if new.required => self.found.breaks("body: it is new and required"),
            (None, Some(_)) => self.found.allows("body: it is new"),
            (Some(old), Some(new)) => self.bodies(old, new),
        }
    }

    fn bodies(&mut self, old: &RequestBody, new: &RequestBody) {
        match (old.required, new.required) {
            (false, true) => self.found.breaks("body: it is required now"),
            (true, false) => self.found.allows("body: it is optional now"),
            _ => {}
        }
        if let (Some(was), Some(is)) = (old.max_bytes, new.max_bytes)
            && was != is
        {
            self.found.add(is < was, format!("body: it has at most {is} bytes, and had at most {was}"));
        }
        for (media_type, media) in &old.content {
            let Some((range, now)) = new.content.iter().find(|(range, _)| is_within(media_type, range)) else {
                self.found.breaks(format!("body: the media type `{media_type}` is not accepted any more"));
                continue;
            };
            let at = if range == media_type { "body".to_owned() } else { format!("body of {media_type}") };
            match (&media.schema, &now.schema) {
                (Some(old), Some(new)) => self.walk(Side::Request).at(&at, old, new),
                (None, Some(_)) => self.found.breaks(format!("{at}: it was any bytes")),
                (_, None) => {}
            }
        }
        let is_known = |media_type: &String| old.content.keys().any(|range| is_within(media_type, range));
        for media_type in new.content.keys().filter(|media_type| !is_known(media_type)) {
            self.found.allows(format!("body: the media type `{media_type}` is accepted"));
        }
    }
}

/// Returns the parameters of an operation by what identifies them for clients: the place and the name, or the index in the path.
fn keys_of(operation: &Operation, folds_names: bool) -> BTreeMap<(Place, String), &Parameter> {
    let mut segments = 0;
    let key = |parameter: &Parameter| match parameter.place {
        Place::Path => {
            segments += 1;
            segments.to_string()
        }
        Place::Query if folds_names => schema::fold(&parameter.name),
        _ => parameter.name.clone(),
    };
    let mut key = key;
    operation.parameters.iter().map(|parameter| ((parameter.place, key(parameter)), parameter)).collect()
}

/// Whether a media type, or a range of them, lies within another.
fn is_within(media_type: &str, range: &str) -> bool {
    match range.split_once('/') {
        Some(("*", "*")) => true,
        Some((kind, "*")) => media_type.split('/').next() == Some(kind),
        _ => media_type == range,
    }
}

fn mounts(old: &[MountEntry], new: &[MountEntry], found: &mut Found) {
    for before in old {
        found.operation = format!("mount {}", before.path);
        let Some(after) = new.iter().find(|after| after.path == before.path) else {
            found.breaks("it is gone");
            continue;
        };
        match (&before.methods, &after.methods) {
            (None, Some(taken)) => found.breaks(format!("it takes only {}", taken.join(", "))),
            (Some(_), None) => found.allows("it takes all methods"),
            (Some(before), Some(after)) => {
                let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), after.iter().collect());
                before
                    .difference(&after)
                    .for_each(|method| found.breaks(format!("it does not take {method} any more")));
                after.difference(&before).for_each(|method| found.allows(format!("it takes {method}")));
            }
            (None, None) => {}
        }
    }
    for after in new.iter().filter(|after| old.iter().all(|before| before.path != after.path)) {
        found.operation = format!("mount {}", after.path);
        found.allows("it is new");
    }
}
