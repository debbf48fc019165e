//! Reads the script of a fake: the answers to calls, and the calls that must be made. `wit/README.md` describes the format.
//!
//! Everything is checked against the contract before a call is made, except for what only the call's arguments tell.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use super::contract::{Contract, ContractFunction};
use crate::expect::{KeptValues, add_kept_names, add_used_names, check, resolve_answer};

/// The maximum number of answers, and of expected calls, in one script.
const MAX_ENTRIES: usize = 1_000;
/// The longest delay of an answer.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// The maximum number of times that an entry can name.
const MAX_TIMES: u64 = 100_000;
/// The maximum number of faults that are told of one script.
const MAX_FAULTS: usize = 64;

/// The script of a fake, checked against its contract.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Script {
    /// The answers, in the order in which they are tried.
    pub(super) answers: Vec<ScriptedAnswer>,
    /// Whether a call that no answer is for gets the default value of its result's type. Otherwise it is unexpected.
    pub(super) defaults: bool,
    /// The calls that must have been made at the end of a case, in this order. `None` if the script doesn't say.
    pub(super) calls: Option<Vec<ExpectedCall>>,
}

/// One entry of `answers`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ScriptedAnswer {
    /// The index of the function in the contract.
    pub(super) function: usize,
    /// The expected arguments. Those that are missing at the end may be anything.
    pub(super) arguments: Vec<Value>,
    pub(super) outcome: Outcome,
    pub(super) delay: Duration,
    /// The maximum number of calls that the entry answers. `None` if it answers all.
    pub(super) times: Option<u64>,
}

/// What a call of a fake gets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// A result as JSON, with placeholders.
    Answer(Value),
    /// The default value of the result's type.
    Default,
    /// No result: the module fails with these words.
    Trap(String),
}

/// A call that a case must make.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedCall {
    /// The function's name, with or without that of its interface.
    pub(super) call: String,
    /// The expected arguments. Those that are missing at the end may be anything.
    pub(super) arguments: Vec<Value>,
    /// How many such calls follow each other.
    pub(super) times: u64,
}

/// A place in a script that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The JSON pointer to the place.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.pointer.is_empty() { "/" } else { &self.pointer }, self.message)
    }
}

impl Script {
    /// The script that answers every call by a default value.
    pub(super) fn of_defaults() -> Self {
        Self { answers: Vec::new(), defaults: true, calls: None }
    }

    /// Returns the package that a script names as its contract.
    pub(super) fn contract(script: &Value) -> Option<&str> {
        script.get("contract")?.as_str()
    }

    /// Reads a script.
    pub(super) fn read(script: &Value, contract: &Contract) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader { contract, faults: Vec::new() };
        let read = reader.script(script);
        reader.faults.truncate(MAX_FAULTS);
        if reader.faults.is_empty() { Ok(read) } else { Err(reader.faults) }
    }
}

/// Reads a list of expected calls: the value of `calls` in a script, or in a step of a suite. `pointer` is the list's place.
///
/// # Errors
///
/// All faults of the list. Names of functions are not checked.
pub fn read_calls(value: &Value, pointer: &str) -> Result<Vec<ExpectedCall>, Vec<Fault>> {
    let mut faults = Vec::new();
    let calls = calls(value, pointer, &mut faults);
    if faults.is_empty() { Ok(calls) } else { Err(faults) }
}

struct Reader<'a> {
    contract: &'a Contract,
    faults: Vec<Fault>,
}

fn fault(faults: &mut Vec<Fault>, pointer: &str, message: impl Into<String>) {
    faults.push(Fault { pointer: pointer.to_owned(), message: message.into() });
}

/// Returns the fields of an object, and reports fields that are not in `keys`.
fn object<'v>(
    value: &'v Value,
    pointer: &str,
    keys: &[&str],
    faults: &mut Vec<Fault>,
) -> Option<&'v Map<String, Value>> {
    let Some(object) = value.as_object() else {
        fault(faults, pointer, format!("expected an object with some of {}", keys.join(", ")));
        return None;
    };
    for key in object.keys().filter(|key| !keys.contains(&key.as_str())) {
        let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        fault(faults, &pointer, format!("unknown key; the keys here are {}", keys.join(", ")));
    }
    Some(object)
}

/// Returns the items of a list that is not too long.
fn list<'v>(value: &'v Value, pointer: &str, faults: &mut Vec<Fault>) -> &'v [Value] {
    match value.as_array() {
        Some(items) if items.len() <= MAX_ENTRIES => items,
        Some(items) => {
            fault(faults, pointer, format!("the list has {} entries, and {MAX_ENTRIES} are allowed", items.len()));
            &[]
        }
        None => {
            fault(faults, pointer, "expected a list");
            &[]
        }
    }
}

/// Reads the key `arguments` of an entry: a list of values and placeholders.
fn arguments(entry: &Map<String, Value>, pointer: &str, faults: &mut Vec<Fault>) -> Vec<Value> {
    let Some(value) = entry.get("arguments") else { return Vec::new() };
    let pointer = format!("{pointer}/arguments");
    let arguments = list(value, &pointer, faults).to_vec();
    for (at, argument) in arguments.iter().enumerate() {
        if let Err(message) = check(argument, true) {
            fault(faults, &format!("{pointer}/{at}"), message);
        }
    }
    arguments
}

/// Reads the key `times` of an entry.
fn times(entry: &Map<String, Value>, pointer: &str, faults: &mut Vec<Fault>) -> Option<u64> {
    let value = entry.get("times")?;
    let times = value.as_u64().filter(|times| (1..=MAX_TIMES).contains(times));
    if times.is_none() {
        fault(faults, &format!("{pointer}/times"), format!("expected an integer from 1 to {MAX_TIMES}, found {value}"));
    }
    times
}

/// Reads the key `call` of an entry.
fn call<'v>(entry: &'v Map<String, Value>, pointer: &str, faults: &mut Vec<Fault>) -> Option<&'v str> {
    let name = entry.get("call").and_then(Value::as_str);
    if name.is_none() {
        fault(faults, &format!("{pointer}/call"), "expected the name of a function, as the contract writes it");
    }
    name
}

fn calls(value: &Value, pointer: &str, faults: &mut Vec<Fault>) -> Vec<ExpectedCall> {
    let mut calls = Vec::new();
    for (at, entry) in list(value, pointer, faults).iter().enumerate() {
        let pointer = format!("{pointer}/{at}");
        let Some(entry) = object(entry, &pointer, &["call", "arguments", "times"], faults) else { continue };
        let arguments = arguments(entry, &pointer, faults);
        let times = times(entry, &pointer, faults).unwrap_or(1);
        if let Some(call) = call(entry, &pointer, faults) {
            calls.push(ExpectedCall { call: call.to_owned(), arguments, times });
        }
    }
    calls
}

impl Reader<'_> {
    fn script(&mut self, script: &Value) -> Script {
        let mut read = Script { answers: Vec::new(), defaults: false, calls: None };
        let keys = ["contract", "answers", "otherwise", "calls"];
        let Some(script) = object(script, "", &keys, &mut self.faults) else { return read };
        if script.get("contract").is_some_and(|contract| !contract.is_string()) {
            fault(&mut self.faults, "/contract", "expected the name of a WIT package: `alpha:greeting@1.0.0`");
        }
        match script.get("otherwise").map(Value::as_str) {
            None => {}
            Some(Some("default")) => {
                read.defaults = true;
                self.check_defaults();
            }
            Some(_) => fault(&mut self.faults, "/otherwise", "expected \"default\""),
        }
        if let Some(answers) = script.get("answers") {
            for (at, entry) in list(answers, "/answers", &mut self.faults).iter().enumerate() {
                read.answers.extend(self.answer(entry, &format!("/answers/{at}")));
            }
        }
        if let Some(value) = script.get("calls") {
            let expected = calls(value, "/calls", &mut self.faults);
            for (at, call) in expected.iter().enumerate() {
                if let Err(message) = self.contract.function(&call.call) {
                    fault(&mut self.faults, &format!("/calls/{at}/call"), message);
                }
            }
            read.calls = Some(expected);
        }
        read
    }

    /// Reports the functions whose results have no default value.
    fn check_defaults(&mut self) {
        for function in self.contract.functions.iter().filter(|function| function.default_result().is_none()) {
            let message = format!("{} of `{}` has no default value", function.returns(), function.full_name);
            fault(&mut self.faults, "/otherwise", message);
        }
    }

    fn answer(&mut self, entry: &Value, pointer: &str) -> Option<ScriptedAnswer> {
        let keys = ["call", "arguments", "answer", "default", "trap", "delay", "times"];
        let entry = object(entry, pointer, &keys, &mut self.faults)?;
        let arguments = arguments(entry, pointer, &mut self.faults);
        let times = times(entry, pointer, &mut self.faults);
        let delay = entry.get("delay").map_or(Some(Duration::ZERO), |value| self.delay(value, pointer));
        let function = match self.contract.function(call(entry, pointer, &mut self.faults)?) {
            Ok(function) => function,
            Err(message) => {
                fault(&mut self.faults, &format!("{pointer}/call"), message);
                return None;
            }
        };
        let called = &self.contract.functions[function];
        let parameters = called.shape.parameters.len();
        if arguments.len() > parameters {
            let message = format!("`{}` has {parameters} parameters, found {} arguments", called.name, arguments.len());
            fault(&mut self.faults, &format!("{pointer}/arguments"), message);
        }
        let outcome = self.outcome(entry, called, &arguments, pointer)?;
        Some(ScriptedAnswer { function, arguments, outcome, delay: delay?, times })
    }

    fn delay(&mut self, value: &Value, pointer: &str) -> Option<Duration> {
        let delay = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
        let delay = delay.filter(|delay| *delay <= MAX_DELAY);
        if delay.is_none() {
            let message =
                format!("expected a time of at most {}s such as \"200ms\", found {value}", MAX_DELAY.as_secs());
            fault(&mut self.faults, &format!("{pointer}/delay"), message);
        }
        delay
    }

    fn outcome(
        &mut self,
        entry: &Map<String, Value>,
        called: &ContractFunction,
        arguments: &[Value],
        pointer: &str,
    ) -> Option<Outcome> {
        match (entry.get("answer"), entry.get("default"), entry.get("trap")) {
            (Some(answer), None, None) => {
                self.check_answer(answer, called, arguments, &format!("{pointer}/answer"));
                Some(Outcome::Answer(answer.clone()))
            }
            (None, None, None) if called.result.is_none() => Some(Outcome::Answer(Value::Null)),
            (None, Some(Value::Bool(true)), None) => {
                if called.default_result().is_none() {
                    let message = format!("{} has no default value", called.returns());
                    fault(&mut self.faults, &format!("{pointer}/default"), message);
                }
                Some(Outcome::Default)
            }
            (None, None, Some(Value::String(words))) => Some(Outcome::Trap(words.clone())),
            _ => {
                let message = format!(
                    "expected one of `answer`, which is {}, `\"default\": true`, and `trap` with the words of a failure",
                    called.returns()
                );
                fault(&mut self.faults, pointer, message);
                None
            }
        }
    }

    /// Reports an answer that is not of the type of the function's result.
    fn check_answer(&mut self, answer: &Value, called: &ContractFunction, arguments: &[Value], pointer: &str) {
        let (mut kept, mut used) = (BTreeSet::new(), BTreeSet::new());
        arguments.iter().for_each(|argument| add_kept_names(argument, &mut kept));
        add_used_names(answer, &mut used);
        if let Some(name) = used.iter().find(|name| !kept.contains(*name)) {
            let message = format!("`$value` names `{name}`, which no placeholder in `arguments` keeps");
            return fault(&mut self.faults, pointer, message);
        }
        if let (false, Ok(())) = (used.is_empty(), check(answer, true)) {
            // Only a call gives these values. Its answer is checked then.
            return;
        }
        match resolve_answer(answer, &KeptValues::new()) {
            Err(message) => fault(&mut self.faults, pointer, message),
            Ok(answer) => {
                for violation in called.decode(&answer).err().into_iter().flatten() {
                    let message = format!("{}; `{}` returns {}", violation.message, called.name, called.returns());
                    fault(&mut self.faults, &(pointer.to_owned() + &violation.pointer), message);
                }
            }
        }
    }
}
