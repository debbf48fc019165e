//! Reads suites from their files, `wit/FOLDER/suite/*.json` of the workspace.
//!
//! Reading checks everything that can be checked without a module, so that a misspelt word doesn't make a test that always passes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::expect::check;
use crate::fake::{ExpectedCall, FakeSource, Fault, read_calls};
use watertight_model::ids::{InterfaceName, ModuleName};

/// The maximum size of a suite's file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The maximum number of calls that a step may make at the same time.
const MAX_AT_ONCE: usize = 64;

/// The test cases of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// The path of the suite's file.
    pub file: PathBuf,
    /// The interface whose functions the suite calls. [`InterfaceName::world`] if the suite tests one module.
    pub interface: InterfaceName,
    /// The module that the suite tests; `None` if it tests an interface. Such a suite calls functions that belong to no contract: functions
    /// that the module's world exports directly (`add`), and those of interfaces that the world names (`text.echo`).
    pub module: Option<ModuleName>,
    /// The cases, in the order of the file. Never empty.
    pub cases: Vec<Case>,
}

impl Suite {
    /// Whether the suite applies to the module `module`, which exports `interfaces`.
    pub fn concerns<'a>(&self, module: &ModuleName, mut interfaces: impl Iterator<Item = &'a InterfaceName>) -> bool {
        match &self.module {
            Some(wanted) => wanted == module,
            None => interfaces.any(|export| export.can_serve(&self.interface)),
        }
    }

    /// Returns the name of what the suite tests, for messages: the interface or the module.
    pub fn subject(&self) -> String {
        self.module.as_ref().map_or_else(|| self.interface.to_string(), ToString::to_string)
    }
}

/// A test case: steps that run on their own state.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What the case verifies, as a sentence.
    pub name: String,
    /// The steps, in order. The case ends at the first step that fails.
    pub steps: Vec<Step>,
    /// The modules that the case fakes, by their names in the manifest.
    pub fakes: BTreeMap<ModuleName, FakeSource>,
    /// The modules that the case needs as they are. It is left out where one of them is faked.
    pub real: BTreeSet<ModuleName>,
}

/// One step of a test case.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "RawStep")]
pub enum Step {
    /// Calls a function of a module.
    Call {
        /// The interface by whose export another module is found, which is called instead. `None` calls the module under test.
        of: Option<InterfaceName>,
        /// The function's name in the contract.
        function: String,
        /// A JSON value for each parameter. Trailing optional parameters may be missing.
        arguments: Vec<Value>,
        /// The expected answer of each call.
        answer: Value,
        /// The number of calls with these arguments that run at the same time.
        at_once: usize,
    },
    /// Queries a module's database.
    Query {
        /// The interface by whose export another module is found, whose database is queried. `None` queries the database of the module
        /// under test.
        of: Option<InterfaceName>,
        /// The SQL statement to run.
        sql: String,
        /// The expected rows, each as a list of values.
        rows: Value,
    },
    /// Writes to a module's database without calling the module: it creates rows such as an older build, or one that crashed, may have
    /// left.
    Execute {
        /// The interface by whose export another module is found, whose database is written. `None` writes to the database of the module
        /// under test.
        of: Option<InterfaceName>,
        /// The SQL statement to run.
        sql: String,
    },
    /// Compares the calls that a fake got since the last such step of the case.
    Called {
        /// The faked module.
        module: ModuleName,
        /// The expected calls, in order.
        calls: Vec<ExpectedCall>,
    },
    /// Stops the modules and starts them again on the same databases. Unfinished work is resumed, as after any start.
    Restart,
}

impl Step {
    /// Returns the interface by which the step names another module.
    pub(super) fn of(&self) -> Option<&InterfaceName> {
        match self {
            Self::Call { of, .. } | Self::Query { of, .. } | Self::Execute { of, .. } => of.as_ref(),
            Self::Called { .. } | Self::Restart => None,
        }
    }

    /// Returns what the step expects, which may keep values under names.
    pub(super) fn expected(&self) -> Option<&Value> {
        match self {
            Self::Call { answer, .. } => Some(answer),
            Self::Query { rows, .. } => Some(rows),
            Self::Called { .. } | Self::Execute { .. } | Self::Restart => None,
        }
    }

    /// Iterates over all JSON of the step, which may use values that were kept.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        let arguments = match self {
            Self::Call { arguments, .. } => arguments.as_slice(),
            _ => &[],
        };
        arguments.iter().chain(self.expected())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSuite {
    interface: Option<InterfaceName>,
    module: Option<ModuleName>,
    #[serde(default)]
    fake: BTreeMap<ModuleName, Value>,
    cases: Vec<RawCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    #[serde(default)]
    fake: BTreeMap<ModuleName, Value>,
    steps: Vec<Step>,
}

impl RawCase {
    /// Adds the fakes of the whole suite to the case's own. `at` is the index of the case.
    fn finish(self, all: &BTreeMap<ModuleName, Value>, at: usize, file: &Path) -> Result<Case, String> {
        let base = file.parent().unwrap_or(Path::new("."));
        let (mut fakes, mut real) = (BTreeMap::new(), BTreeSet::new());
        let own = self.fake.iter().map(|(module, value)| (module, value, format!("/cases/{at}/fake/{module}")));
        let others = all.iter().filter(|(module, _)| !self.fake.contains_key(*module));
        for (module, value, pointer) in others.map(|(m, value)| (m, value, format!("/fake/{m}"))).chain(own) {
            let source = match value {
                Value::Bool(false) => {
                    real.insert(module.clone());
                    continue;
                }
                Value::String(name) => FakeSource::named(name, base),
                Value::Object(_) => FakeSource::Inline { script: value.clone(), file: file.to_owned(), pointer },
                _ => {
                    return Err(format!(
                        "has at `{pointer}` neither a script, the name of its file, \"default\", nor `false` for the real module"
                    ));
                }
            };
            fakes.insert(module.clone(), source);
        }
        Ok(Case { name: self.name, steps: self.steps, fakes, real })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    call: Option<String>,
    #[serde(default)]
    arguments: Option<Vec<Value>>,
    #[serde(default)]
    answer: Option<Value>,
    at_once: Option<usize>,
    query: Option<String>,
    rows: Option<Value>,
    execute: Option<String>,
    restart: Option<bool>,
    called: Option<ModuleName>,
    calls: Option<Value>,
    of: Option<InterfaceName>,
}

impl TryFrom<RawStep> for Step {
    type Error = String;

    fn try_from(raw: RawStep) -> Result<Self, String> {
        let RawStep { call, arguments, answer, at_once, query, rows, execute, restart, called, calls, of } = raw;
        if let Some(module) = called {
            let others = call.is_some() || query.is_some() || execute.is_some() || restart.is_some() || of.is_some();
            let calls = calls.filter(|_| !others && arguments.is_none() && answer.is_none() && rows.is_none());
            let calls = calls.ok_or(
                "`called` names a faked module, and needs the `calls` that it must have got, and nothing else",
            )?;
            let told = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return Ok(Self::Called { module, calls: read_calls(&calls, "/calls").map_err(told)? });
        }
        let is_no_call = arguments.is_none() && answer.is_none() && at_once.is_none();
        match (call, query, execute, restart) {
            _ if calls.is_some() => Err("`calls` stands in a step with `called`".to_owned()),
            (Some(function), None, None, None) if rows.is_none() => {
                let arguments = arguments.unwrap_or_default();
                arguments.iter().try_for_each(|argument| check(argument, false))?;
                let answer = answer.unwrap_or_default();
                check(&answer, true)?;
                let at_once = at_once.unwrap_or(1);
                if !(1..=MAX_AT_ONCE).contains(&at_once) {
                    return Err(format!("`at_once` must be between 1 and {MAX_AT_ONCE}"));
                }
                Ok(Self::Call { of, function, arguments, answer, at_once })
            }
            (None, Some(sql), None, None) if is_no_call => {
                let rows = rows.ok_or("`query` needs the `rows` that it must find")?;
                check(&rows, true)?;
                Ok(Self::Query { of, sql, rows })
            }
            (None, None, Some(sql), None) if is_no_call && rows.is_none() => Ok(Self::Execute { of, sql }),
            (None, None, None, Some(true)) if is_no_call && rows.is_none() && of.is_none() => Ok(Self::Restart),
            _ => Err("a step is `call` with `arguments` and `answer`, `query` with `rows`, or `execute`, each with `of` where another \
                      module is meant; `called` with `calls`; or `\"restart\": true`"
                .to_owned()),
        }
    }
}

/// The reason why a contract suite can't be run.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// A file or folder can't be read.
    #[error("the suite `{}` can't be read", .path.display())]
    Unreadable {
        /// The path of the file or folder.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The suite's file is larger than 1 MiB.
    #[error("the suite `{}` is larger than 1 MiB; split it", .path.display())]
    TooLarge {
        /// The path of the suite's file.
        path: PathBuf,
    },
    /// The file doesn't have the JSON format of suites.
    #[error("the suite `{}` doesn't have the format that `wit/README.md` describes", .path.display())]
    Format {
        /// The path of the suite's file.
        path: PathBuf,
        /// The JSON error, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// The suite has no cases, two cases with one name, a case without steps, or a wrong interface or module.
    #[error("the suite `{}` {reason}", .path.display())]
    Cases {
        /// The path of the suite's file.
        path: PathBuf,
        /// What is wrong with the suite.
        reason: String,
    },
}

/// Reads all suites of a workspace, in the order of their paths.
///
/// # Errors
///
/// [`SuiteError`] for the first file that can't be used.
pub fn find(workspace: &Path) -> Result<Vec<Suite>, SuiteError> {
    let mut suites = Vec::new();
    for contract in entries(&workspace.join("wit"))? {
        for file in entries(&contract.join("suite"))? {
            if file.extension().is_some_and(|extension| extension == "json") {
                suites.push(read(&file)?);
            }
        }
    }
    Ok(suites)
}

/// Returns the sorted entries of a folder. Empty if the folder doesn't exist.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, SuiteError> {
    let unreadable = |source| SuiteError::Unreadable { path: folder.to_owned(), source };
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = entries.map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Suite, SuiteError> {
    let unreadable = |source| SuiteError::Unreadable { path: path.to_owned(), source };
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE {
        return Err(SuiteError::TooLarge { path: path.to_owned() });
    }
    let text = fs::read(path).map_err(unreadable)?;
    let raw: RawSuite =
        serde_json::from_slice(&text).map_err(|source| SuiteError::Format { path: path.to_owned(), source })?;
    let refused = |reason: String| SuiteError::Cases { path: path.to_owned(), reason };
    if raw.interface.is_some() == raw.module.is_some() {
        return Err(refused("must name either an `interface` or a `module`, and not both".to_owned()));
    }
    let others = raw.cases.iter().flat_map(|case| case.steps.iter().filter_map(|step| step.of().cloned()));
    if let Some(label) = raw.interface.iter().cloned().chain(others).find(InterfaceName::is_label) {
        return Err(refused(format!(
            "names `{label}`, which is not the full name of an interface; write it with its package, such as \
             `alpha:greeting/greet@1.0.0`"
        )));
    }
    if raw.cases.is_empty() {
        return Err(refused("has no cases".to_owned()));
    }
    let mut names = BTreeSet::new();
    for case in &raw.cases {
        if case.steps.is_empty() {
            return Err(refused(format!("has a case without steps: `{}`", case.name)));
        }
        if !names.insert(&case.name) {
            return Err(refused(format!("has two cases named `{}`", case.name)));
        }
    }
    let interface = raw.interface.unwrap_or_else(InterfaceName::world);
    let RawSuite { module, fake, cases, .. } = raw;
    let cases = cases.into_iter().enumerate().map(|(at, case)| case.finish(&fake, at, path).map_err(refused));
    Ok(Suite { file: path.to_owned(), interface, module, cases: cases.collect::<Result<_, _>>()? })
}
