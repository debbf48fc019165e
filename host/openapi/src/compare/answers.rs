//! Compares the answers of an operation: its success, and its error cases.

use std::collections::BTreeMap;

use super::Pair;
use super::schema::{Side, resolve};
use crate::document::is_of_host;
use crate::format::{OpenApi, Operation, PROBLEM, Response, Schema};

/// An error case of an operation.
struct ErrorCase<'a> {
    status: &'a str,
    payload: Option<&'a Schema>,
}

impl Pair<'_> {
    pub(super) fn answers(&mut self) {
        let (old, new) = (self.old.1, self.new.1);
        let (before, after) = (successes(old), successes(new));
        let gone: Vec<&str> = before.keys().filter(|status| !after.contains_key(*status)).copied().collect();
        let mut gone = gone.into_iter();
        for (status, answer) in &after {
            match before.get(status) {
                Some(known) => self.success(status, known, answer),
                // One status takes the place of another, or it is an answer that clients don't know.
                None => match gone.next() {
                    Some(was) => {
                        self.found.breaks(format!("its status is {status} instead of {was}"));
                        self.success(status, before[was], answer);
                    }
                    None => self.found.breaks(format!("answer {status}: it is new")),
                },
            }
        }
        self.error_cases();
    }

    fn success(&mut self, status: &str, old: &Response, new: &Response) {
        self.headers(status, old, new);
        if new.content.is_empty() && !old.content.is_empty() {
            self.found.breaks(format!("answer {status}: it has no body any more"));
        }
        if old.content.is_empty() && !new.content.is_empty() {
            return self.found.allows(format!("answer {status}: it has a body"));
        }
        for (media_type, media) in &new.content {
            let Some(known) = old.content.get(media_type) else {
                self.found.breaks(format!("answer {status}: it may be `{media_type}`"));
                continue;
            };
            if let (Some(old), Some(new)) = (&known.schema, &media.schema) {
                self.walk(Side::Answer).at(&format!("answer {status}"), old, new);
            }
        }
    }

    fn headers(&mut self, status: &str, old: &Response, new: &Response) {
        for (name, was) in &old.headers {
            match new.headers.get(name) {
                None => self.found.breaks(format!("answer {status}: it has no header `{name}` any more")),
                Some(is) if was.required && !is.required => {
                    self.found.breaks(format!("answer {status}: the header `{name}` may be absent"));
                }
                Some(_) => {}
            }
        }
        for name in new.headers.keys().filter(|name| !old.headers.contains_key(*name)) {
            self.found.allows(format!("answer {status}: it has the header `{name}`"));
        }
    }

    fn error_cases(&mut self) {
        let (before, after) = (cases(self.old.0, self.old.1), cases(self.new.0, self.new.1));
        for (case, new) in &after {
            let Some(old) = before.get(case) else {
                self.found.breaks(format!("error `{case}`: it is new, with status {}", new.status));
                continue;
            };
            if old.status != new.status {
                self.found.breaks(format!("error `{case}`: its status is {} instead of {}", new.status, old.status));
            }
            match (old.payload, new.payload) {
                (Some(old), Some(new)) => self.walk(Side::Answer).at(&format!("error `{case}`"), old, new),
                (Some(_), None) => self.found.breaks(format!("error `{case}`: it has no payload any more")),
                (None, Some(_)) => self.found.allows(format!("error `{case}`: it has a payload")),
                (None, None) => {}
            }
        }
        for case in before.keys().filter(|case| !after.contains_key(*case)) {
            self.found.allows(format!("error `{case}`: it does not occur any more"));
        }
        // Errors of other forms, which a document of another tool may have.
        let statuses = |operation: &'_ Operation| -> Vec<String> { operation.responses.keys().cloned().collect() };
        let known = statuses(self.old.1);
        let is_told = |status: &String| after.values().any(|case| case.status == status);
        let is_error = |status: &str| status.starts_with(['4', '5']) && !is_of_host(status);
        for status in statuses(self.new.1).iter().filter(|status| is_error(status) && !known.contains(status)) {
            if !is_told(status) {
                self.found.breaks(format!("answer {status}: it is new"));
            }
        }
    }
}

/// Returns the answers that are no errors, by their status.
fn successes(operation: &Operation) -> BTreeMap<&str, &Response> {
    let is_success = |(status, response): &(&String, &Response)| {
        response.reference.is_none()
            && !response.content.contains_key(PROBLEM)
            && !status.starts_with('d')
            && !is_of_host(status)
    };
    operation.responses.iter().filter(is_success).map(|(status, response)| (status.as_str(), response)).collect()
}

/// Returns the error cases of an operation, by their names.
fn cases<'a>(document: &'a OpenApi, operation: &'a Operation) -> BTreeMap<&'a str, ErrorCase<'a>> {
    let mut found = BTreeMap::new();
    for (status, response) in &operation.responses {
        let Some(schema) = response.content.get(PROBLEM).and_then(|media| media.schema.as_ref()) else { continue };
        let single = std::slice::from_ref(schema);
        for one in if schema.any_of.is_empty() { single } else { &schema.any_of } {
            let parts = resolve(document, one).all_of.iter();
            for part in parts.map(|part| resolve(document, part)) {
                let constant = |name| part.properties.get(name).and_then(|property| property.constant.as_deref());
                // An error without cases has a type only.
                let kind = || constant("type").and_then(|kind| kind.rsplit('/').next());
                if let Some(name) = constant("case").or_else(kind) {
                    found.insert(name, ErrorCase { status, payload: part.properties.get("payload") });
                }
            }
        }
    }
    found
}
