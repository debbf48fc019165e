//! Examples of calls: what tests of a contract called, and what they got. `watertight test --record` writes them into files, and the OpenAPI
//! document shows them.
//!
//! This file knows no types: whether an example still fits its function is found out where it is shown.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::source::Source;
use crate::ids::InterfaceName;
use crate::problem::{Code, Problem};

/// Greatest size of an example's arguments and answer together, as JSON in bytes. A longer one shows nothing that a shorter one doesn't.
pub const MAX_EXAMPLE: usize = 8 << 10;
/// Greatest number of examples of one function.
const MAX_EXAMPLES: usize = 32;

/// Examples of calls, by interface and function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Examples(BTreeMap<InterfaceName, BTreeMap<String, Vec<ExampleCall>>>);

/// A call of a function, as JSON in the form of suites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleCall {
    /// A value for each parameter. Optional ones at the end may be missing.
    pub arguments: Vec<Value>,
    /// The result.
    pub answer: Value,
}

impl ExampleCall {
    /// Returns the error case that the call got. `None` if it succeeded.
    pub fn error(&self) -> Option<&str> {
        let Value::Object(answer) = &self.answer else { return None };
        let error = answer.get("err").filter(|_| answer.len() == 1)?;
        match error {
            Value::String(case) => Some(case),
            Value::Object(case) => Some(case.keys().next().map_or("", String::as_str)),
            _ => Some(""),
        }
    }

    fn is_large(&self) -> bool {
        let values = self.arguments.iter().chain([&self.answer]);
        values.map(|value| value.to_string().len()).sum::<usize>() > MAX_EXAMPLE
    }

    /// Whether another call has the same values, apart from texts and numbers.
    fn is_like(&self, other: &Self) -> bool {
        let arguments = self.arguments.len() == other.arguments.len();
        arguments
            && self.arguments.iter().zip(&other.arguments).all(|(one, other)| are_alike(one, other))
            && are_alike(&self.answer, &other.answer)
    }
}

fn are_alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| are_alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|((name, one), (known, other))| name == known && are_alike(one, other))
        }
        (Value::String(_), Value::String(_)) | (Value::Number(_), Value::Number(_)) => true,
        (one, other) => one == other,
    }
}

impl Examples {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all interfaces, and the functions of each with their examples.
    pub fn iter(&self) -> impl Iterator<Item = (&InterfaceName, &BTreeMap<String, Vec<ExampleCall>>)> {
        self.0.iter()
    }

    /// Returns the examples of a function of the interface `export`, or of a version that it can serve.
    pub fn of(&self, export: &InterfaceName, function: &str) -> &[ExampleCall] {
        let known = self.0.iter().rev().find(|(interface, _)| export.can_serve(interface));
        known.and_then(|(_, functions)| functions.get(function)).map_or(&[], Vec::as_slice)
    }

    /// Adds a call, if it is the function's first success or the first one with its error case, and neither large nor one of too many.
    pub fn add(&mut self, interface: &InterfaceName, function: &str, call: ExampleCall) {
        let calls = self.0.entry(interface.clone()).or_default().entry(function.to_owned()).or_default();
        let is_known = calls.iter().any(|known| known.error() == call.error());
        if !is_known && calls.len() < MAX_EXAMPLES && !call.is_large() {
            calls.push(call);
            calls.sort_by(|one, other| one.error().cmp(&other.error()));
        }
    }

    /// Takes over the interfaces of `recorded`. Where a recorded call differs from the known one in texts and numbers only, the known one
    /// stays, so that times and ids don't change a file each time.
    pub fn update(&mut self, recorded: Self) {
        for (interface, mut functions) in recorded.0 {
            functions.retain(|_, calls| !calls.is_empty());
            for (function, calls) in &mut functions {
                let known = self.0.get(&interface).and_then(|known| known.get(function)).map_or(&[][..], Vec::as_slice);
                for call in calls {
                    if let Some(known) = known.iter().find(|known| known.error() == call.error() && known.is_like(call))
                    {
                        known.clone_into(call);
                    }
                }
            }
            self.0.insert(interface, functions);
        }
    }

    /// Returns the text of a file of examples.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names and values are JSON") + "\n"
    }

    /// Adds the examples of a file. Reports its faults.
    pub(super) fn read(&mut self, source: &Source, text: &str) {
        let examples: Self = match serde_json::from_str(text) {
            Ok(examples) => examples,
            Err(error) => {
                let code = if error.is_data() { Code::BadValue } else { Code::Syntax };
                let line = u32::try_from(error.line()).unwrap_or(1);
                let problem = Problem::new(code, format!("the file has no examples of calls: {error}"));
                source.report(line, problem.help("`watertight test --record` writes such files"));
                return;
            }
        };
        for (interface, functions) in examples.0 {
            let refuse =
                |code: Code, message: String, help: &str| source.report(1, Problem::new(code, message).help(help));
            if let Some((function, _)) = functions.iter().find(|(_, calls)| calls.len() > MAX_EXAMPLES) {
                let message = format!("`{interface}.{function}` has more than {MAX_EXAMPLES} examples");
                refuse(Code::BadValue, message, "keep one for each error case");
                continue;
            }
            match self.0.entry(interface) {
                Entry::Vacant(place) => _ = place.insert(functions),
                Entry::Occupied(known) => {
                    let message = format!("another file has examples of `{}` too", known.key());
                    refuse(Code::Duplicate, message, "keep those of one interface in one file");
                }
            }
        }
    }
}

impl std::str::FromStr for Examples {
    type Err = serde_json::Error;

    /// Parses the text of a file of examples.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(argument: Value, answer: Value) -> ExampleCall {
        ExampleCall { arguments: vec![argument], answer }
    }

    fn interface(name: &str) -> InterfaceName {
        name.parse().expect("a name")
    }

    #[test]
    fn the_first_success_and_the_first_of_each_case_stay() {
        let (mut examples, name) = (Examples::default(), interface("a:b/c@1.1.0"));
        for (argument, answer) in [
            (1, json!({ "err": "busy" })),
            (2, json!({ "ok": 2 })),
            (3, json!({ "ok": 3 })),
            (4, json!({ "err": { "unknown": "x" } })),
            (5, json!({ "err": { "busy": null } })),
        ] {
            examples.add(&name, "go", call(json!(argument), answer));
        }
        examples.add(&name, "go", call(json!("x".repeat(MAX_EXAMPLE)), json!({ "err": "large" })));
        let kept: Vec<_> = examples.of(&name, "go").iter().map(|call| call.arguments[0].clone()).collect();
        assert_eq!(kept, [2, 1, 4]);
        assert_eq!(examples.of(&interface("a:b/c@1.2.0"), "go").len(), 3);
        assert_eq!(examples.of(&interface("a:b/c@1.0.0"), "go").len(), 0);
        assert_eq!(examples.to_json().parse::<Examples>().expect("what was written"), examples);
    }

    #[test]
    fn times_and_ids_change_no_file() {
        let name = interface("a:b/c@1.0.0");
        let examples = |argument: Value, answer: Value| {
            let mut examples = Examples::default();
            examples.add(&name, "go", call(argument, answer));
            examples
        };
        let first = examples(json!({ "id": "1", "n": [1] }), json!({ "ok": null }));
        let mut known = first.clone();
        known.update(examples(json!({ "id": "2", "n": [2] }), json!({ "ok": null })));
        assert_eq!(known, first);
        for (argument, answer) in [
            (json!({ "id": "2", "n": [2, 3] }), json!({ "ok": null })),
            (json!({ "id": "2" }), json!({ "ok": null })),
            (json!({ "id": "2", "n": [1] }), json!({ "ok": "x" })),
        ] {
            let mut known = first.clone();
            known.update(examples(argument.clone(), answer.clone()));
            assert_eq!(known, examples(argument, answer));
        }
    }
}
