//! Answers the calls of a faked module by its script, and remembers what was called.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use wasmtime::component::Val;

use super::contract::{Contract, ContractFunction};
use super::script::{ExpectedCall, Fault, Outcome, Script, ScriptedAnswer};
use crate::expect::{Difference, KeptValues, differences, resolve_answer};
use watertight_model::ids::InterfaceName;
use watertight_store::capability::StandIn;

/// The maximum number of calls that one fake remembers.
const MAX_REMEMBERED: usize = 10_000;
/// The maximum number of failures that one fake keeps until they are taken.
const MAX_FAILURES: usize = 16;
/// The maximum length of a call in a message, in bytes.
const MAX_SHOWN: usize = 300;

impl ContractFunction {
    /// Converts a result from JSON. `None` is no result.
    pub(super) fn decode(&self, answer: &Value) -> Result<Option<Val>, Vec<Fault>> {
        let Some(codec) = &self.result else {
            let surplus = || vec![Fault { pointer: String::new(), message: format!("expected null, found {answer}") }];
            return if answer.is_null() { Ok(None) } else { Err(surplus()) };
        };
        let fault =
            |violation: watertight_json::Violation| Fault { pointer: violation.pointer, message: violation.detail };
        let decoded = codec.decode(answer.to_string().as_bytes());
        decoded.map(Some).map_err(|violations| violations.into_iter().map(fault).collect())
    }
}

/// A fake that answers calls. Each test case has its own.
pub struct Play {
    contract: Arc<Contract>,
    script: Script,
    /// The file of the script, for messages. `None` without a script.
    file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many calls each entry of the script has answered.
    answered: Vec<u64>,
    /// The calls, oldest first, as JSON: `{"call": …, "arguments": […]}`.
    calls: Vec<Value>,
    /// The number of calls that were checked already.
    checked: usize,
    /// What went wrong since it was last asked.
    failures: Vec<String>,
}

impl Play {
    pub(super) fn new(contract: Arc<Contract>, script: Script, file: Option<PathBuf>) -> Self {
        let state = State { answered: vec![0; script.answers.len()], ..State::default() };
        Self { contract, script, file, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what went wrong since the last time: calls that nothing was prepared for, and answers that don't fit their type.
    pub fn take_failures(&self) -> Vec<String> {
        std::mem::take(&mut self.state().failures)
    }

    /// Compares the calls since the last comparison with those expected.
    ///
    /// # Errors
    ///
    /// A text if an expectation can't be compared.
    pub fn compare_calls(&self, expected: &[ExpectedCall], kept: &mut KeptValues) -> Result<Vec<Difference>, String> {
        let mut state = self.state();
        let compared = self.compare(expected, &state.calls[state.checked..], kept);
        state.checked = state.calls.len();
        compared
    }

    /// Compares all calls with those that the script expects, at the end of a case.
    ///
    /// # Errors
    ///
    /// A text if an expectation can't be compared.
    pub fn compare_scripted_calls(&self) -> Result<Vec<Difference>, String> {
        let Some(expected) = &self.script.calls else { return Ok(Vec::new()) };
        self.compare(expected, &self.state().calls, &mut KeptValues::new())
    }

    /// Chooses the answer to a call, as JSON, and writes the call down.
    fn choose(&self, function: usize, arguments: &[Value]) -> Result<(Duration, Chosen), String> {
        let called = &self.contract.functions[function];
        let mut state = self.state();
        if state.calls.len() < MAX_REMEMBERED {
            state.calls.push(json!({ "call": called.unique_name, "arguments": arguments }));
        }
        for (at, entry) in self.script.answers.iter().enumerate() {
            let is_used_up = entry.times.is_some_and(|times| state.answered[at] >= times);
            let mut kept = KeptValues::new();
            if entry.function != function || is_used_up || !fits(entry, arguments, &mut kept)? {
                continue;
            }
            state.answered[at] += 1;
            let chosen = match &entry.outcome {
                Outcome::Answer(answer) => Chosen::Answer(resolve_answer(answer, &kept)?),
                Outcome::Default => Chosen::Answer(default_answer(called)?),
                Outcome::Trap(words) => Chosen::Trap(words.clone()),
            };
            return Ok((entry.delay, chosen));
        }
        if self.script.defaults {
            return Ok((Duration::ZERO, Chosen::Answer(default_answer(called)?)));
        }
        Err(self.describe_unexpected(called, arguments, &state))
    }

    /// Describes a call that the script has no answer for.
    fn describe_unexpected(&self, called: &ContractFunction, arguments: &[Value], state: &State) -> String {
        let entry = |(entry, answered): (&ScriptedAnswer, &u64)| {
            let function = &self.contract.functions[entry.function];
            let is_open = entry.arguments.len() < function.shape.parameters.len();
            let text = shown(&function.unique_name, &entry.arguments, is_open);
            entry.times.map_or_else(|| text.clone(), |times| format!("{text} ({answered} of {times} times)"))
        };
        let entries: Vec<_> = self.script.answers.iter().zip(&state.answered).map(entry).collect();
        let expected = if entries.is_empty() { "no call".to_owned() } else { entries.join(", ") };
        let (module, call) = (&self.contract.module, shown(&called.unique_name, arguments, false));
        format!("unexpected call of `{module}`: {call}; its fake{} expects {expected}", self.of_file())
    }

    fn of_file(&self) -> String {
        self.file.iter().map(|file| format!(" in `{}`", file.display())).collect()
    }

    /// Compares calls with those expected, each under the name that no other function of the contract has.
    fn compare(
        &self,
        expected: &[ExpectedCall],
        found: &[Value],
        kept: &mut KeptValues,
    ) -> Result<Vec<Difference>, String> {
        let named = |call: &ExpectedCall| {
            let function = self.contract.function(&call.call)?;
            Ok(ExpectedCall { call: self.contract.functions[function].unique_name.clone(), ..call.clone() })
        };
        compare(&expected.iter().map(named).collect::<Result<Vec<_>, String>>()?, found, kept)
    }

    async fn play(&self, interface: &InterfaceName, function: &str, parameters: &[Val]) -> Result<Option<Val>, Failed> {
        let is_called = |known: &ContractFunction| known.interface == *interface && known.name == function;
        let functions = &self.contract.functions;
        let place = functions.iter().position(is_called);
        let place = place.ok_or_else(|| Failed::Unprepared(format!("a fake has no function `{function}`")))?;
        let called = &functions[place];
        let arguments = called.arguments(parameters).map_err(Failed::Unprepared)?;
        let (delay, chosen) = self.choose(place, &arguments).map_err(Failed::Unprepared)?;
        tokio::time::sleep(delay).await;
        let answer = match chosen {
            Chosen::Answer(answer) => answer,
            Chosen::Trap(words) => return Err(Failed::Scripted(words)),
        };
        called.decode(&answer).map_err(|faults| {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            let (file, name, returns, faults) = (self.of_file(), &called.name, called.returns(), faults.join("; "));
            Failed::Unprepared(format!("the answer of the fake{file} to `{name}` doesn't fit {returns}: {faults}"))
        })
    }
}

impl StandIn for Play {
    fn answer<'a>(
        &'a self,
        interface: &'a InterfaceName,
        function: &'a str,
        parameters: &'a [Val],
    ) -> BoxFuture<'a, Result<Option<Val>, String>> {
        Box::pin(async move {
            self.play(interface, function, parameters).await.map_err(|failed| match failed {
                Failed::Scripted(words) => {
                    tracing::warn!(target: "fake", module = %self.contract.module, "it fails as its script says: {words}");
                    words
                }
                Failed::Unprepared(words) => {
                    tracing::warn!(target: "fake", module = %self.contract.module, "{words}");
                    let mut state = self.state();
                    if state.failures.len() < MAX_FAILURES {
                        state.failures.push(words.clone());
                    }
                    words
                }
            })
        })
    }
}

/// The answer to a call, before it is converted to a value.
enum Chosen {
    Answer(Value),
    Trap(String),
}

/// Why a fake gives no answer.
enum Failed {
    /// The script says so.
    Scripted(String),
    /// The script doesn't foresee the call, or its answer doesn't fit.
    Unprepared(String),
}

fn default_answer(called: &ContractFunction) -> Result<Value, String> {
    called.default_result().ok_or_else(|| format!("{} has no default value", called.returns()))
}

/// Whether the arguments of a call fit an entry. Adds the values that the entry gives names to `kept`.
fn fits(entry: &ScriptedAnswer, arguments: &[Value], kept: &mut KeptValues) -> Result<bool, String> {
    for (expected, found) in entry.arguments.iter().zip(arguments) {
        if !differences(expected, found, kept)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compares calls with those expected. Arguments that an expectation leaves out at the end may be anything.
fn compare(expected: &[ExpectedCall], found: &[Value], kept: &mut KeptValues) -> Result<Vec<Difference>, String> {
    let expected =
        expected.iter().flat_map(|call| std::iter::repeat_n(call, call.times.try_into().unwrap_or(usize::MAX)));
    let mut expected = expected.take(MAX_REMEMBERED + 1);
    let mut all = Vec::new();
    for at in 0.. {
        let (expected, found) = (expected.next(), found.get(at));
        let place = |difference: Difference| Difference { at: format!("/{at}{}", difference.at), ..difference };
        match (expected, found) {
            (None, None) => break,
            (Some(expected), Some(found)) => {
                let (expected, found) = comparable(expected, found);
                all.extend(differences(&expected, &found, kept)?.into_iter().map(place));
            }
            (expected, found) => {
                let expected = expected.map(|call| json!({ "call": call.call, "arguments": call.arguments }));
                all.push(Difference { at: format!("/{at}"), expected, found: found.cloned() });
            }
        }
    }
    Ok(all)
}

/// Returns an expected call and a call in a form in which they can be compared.
fn comparable(expected: &ExpectedCall, found: &Value) -> (Value, Value) {
    let mut found = found.clone();
    if let Some(arguments) = found.get_mut("arguments").and_then(Value::as_array_mut) {
        arguments.truncate(expected.arguments.len());
    }
    (json!({ "call": expected.call, "arguments": expected.arguments }), found)
}

/// Formats a call for a message. `is_open` says whether further arguments may follow.
fn shown(name: &str, arguments: &[Value], is_open: bool) -> String {
    let more = is_open.then(|| "…".to_owned());
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).chain(more).collect();
    let mut text = format!("{name}({})", arguments.join(", "));
    if text.len() > MAX_SHOWN {
        text.truncate(text.floor_char_boundary(MAX_SHOWN));
        text.push('…');
    }
    text
}
