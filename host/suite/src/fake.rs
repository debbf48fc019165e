//! Fakes: scripts that answer calls in the place of a module, made from the WIT of its contract. `wit/README.md` describes the format.
//!
//! A faked module has a component without code, so that graph, routes and bridges see an ordinary module. The host asks a [`StandIn`] in the
//! place of its functions. Only tools of authors have fakes; a host in production refuses such a component.

mod contract;
mod default;
mod play;
mod script;
mod served;
mod starter;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use script::Script;
use watertight_model::config::AppConfig;
use watertight_model::ids::ModuleName;

pub use contract::Contract;
pub use default::default_value;
pub use play::Play;
pub use script::{ExpectedCall, Fault, read_calls};
pub use served::{ChangedFake, ServedFakes};
pub use starter::starter;
#[cfg(doc)]
use watertight_store::capability::StandIn;

/// The maximum size of a script's file, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The word that stands for the script that answers all calls by default values.
const DEFAULT: &str = "default";

/// The place where the script of a fake is found.
#[derive(Debug, Clone, PartialEq)]
pub enum FakeSource {
    /// No script: each call gets the default value of its result's type.
    Default,
    /// A file: a path that starts from the folder `base`, or the name of a file in the folder `fake` beside the contract's WIT.
    File {
        /// The text that names the file.
        name: String,
        /// The folder that a relative path starts from.
        base: PathBuf,
    },
    /// A part of another file, such as a suite.
    Inline {
        /// The script.
        script: Value,
        /// The path of the file.
        file: PathBuf,
        /// The JSON pointer to the script in the file.
        pointer: String,
    },
}

/// The reason why a module can't be faked.
#[derive(Debug, thiserror::Error)]
pub enum FakeError {
    /// The module's contract can't be found, or a fake can't serve it.
    #[error("module `{module}` can't be faked: {reason}")]
    Contract {
        /// The module.
        module: ModuleName,
        /// The reason, as the rest of a sentence.
        reason: String,
    },
    /// Neither a module nor a contract has the name.
    #[error("no module and no contract has the name `{module}`; {suggestion}")]
    Unknown {
        /// The name.
        module: ModuleName,
        /// The most similar name, or else all names, as the rest of a sentence.
        suggestion: String,
    },
    /// The file of a script can't be read.
    #[error("the fake `{name}` of module `{module}` can't be read; looked for {looked_for}")]
    Unreadable {
        /// The module.
        module: ModuleName,
        /// The text that names the file.
        name: String,
        /// The paths that were tried, as a text for people.
        looked_for: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The file of a script is not JSON, or is too large.
    #[error("the fake of module `{module}` in `{}` can't be used: {reason}", .file.display())]
    Format {
        /// The module.
        module: ModuleName,
        /// The path of the file.
        file: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The script doesn't fit the contract.
    #[error("the fake of module `{module}` in `{}` has faults:{}", .file.display(), lines(.faults))]
    Script {
        /// The module.
        module: ModuleName,
        /// The path of the file.
        file: PathBuf,
        /// What is wrong, with places in the file.
        faults: Vec<Fault>,
    },
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().fold(String::new(), |mut text, fault| {
        let _ = write!(text, "\n  {fault}");
        text
    })
}

impl FakeSource {
    /// Reads what a person wrote: `default`, a path, or the name of a file beside the contract. Paths start from the folder `base`.
    pub fn named(text: &str, base: &Path) -> Self {
        if text == DEFAULT { Self::Default } else { Self::File { name: text.to_owned(), base: base.to_owned() } }
    }
}

/// A module's fake: its contract, and the script that was read for it.
#[derive(Debug, Clone)]
pub struct Fake {
    contract: Arc<Contract>,
    script: Script,
    file: Option<PathBuf>,
}

impl Fake {
    /// Reads the fake of `module`: finds the contract and checks the script.
    ///
    /// # Errors
    ///
    /// [`FakeError`], with all faults of the script.
    pub fn read(config: &AppConfig, module: &ModuleName, source: &FakeSource) -> Result<Self, FakeError> {
        let find = |package| Contract::find(config, module, package).map(Arc::new);
        let (contract, script, file, pointer) = match source {
            FakeSource::Default => {
                return Ok(Self { contract: find(None)?, script: Script::of_defaults(), file: None });
            }
            FakeSource::Inline { script, file, pointer } => {
                (find(Script::contract(script))?, script.clone(), file.clone(), pointer.as_str())
            }
            FakeSource::File { name, base } => {
                let path = base.join(name);
                if path.is_file() {
                    let script = read_json(module, &path)?;
                    (find(Script::contract(&script))?, script, path, "")
                } else {
                    let contract = find(None)?;
                    let file = beside(&contract, name, path)?;
                    (contract, read_json(module, &file)?, file, "")
                }
            }
        };
        let script = Script::read(&script, &contract).map_err(|faults| {
            let outer = |fault: Fault| Fault { pointer: pointer.to_owned() + &fault.pointer, ..fault };
            let faults = faults.into_iter().map(outer).collect();
            FakeError::Script { module: module.clone(), file: file.clone(), faults }
        })?;
        Ok(Self { contract, script, file: Some(file) })
    }

    /// Returns the contract that the fake serves.
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    /// Returns the path of the file with the script. `None` without a script.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Starts to answer, with nothing called yet.
    pub fn start(&self) -> Arc<Play> {
        Arc::new(Play::new(self.contract.clone(), self.script.clone(), self.file.clone()))
    }
}

/// Finds the file of a script in the folders `fake` beside the contract's WIT. `path` is where it was looked for first.
fn beside(contract: &Contract, name: &str, path: PathBuf) -> Result<PathBuf, FakeError> {
    let in_folder = |folder: &PathBuf| {
        let file = folder.join("fake").join(name);
        [file.with_added_extension("json"), file]
    };
    let tried: Vec<PathBuf> = std::iter::once(path).chain(contract.folders.iter().flat_map(in_folder)).collect();
    tried.iter().find(|file| file.is_file()).cloned().ok_or_else(|| FakeError::Unreadable {
        module: contract.module.clone(),
        name: name.to_owned(),
        looked_for: tried.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", "),
        source: io::ErrorKind::NotFound.into(),
    })
}

fn read_json(module: &ModuleName, file: &Path) -> Result<Value, FakeError> {
    let unreadable = |source| FakeError::Unreadable {
        module: module.clone(),
        name: file.display().to_string(),
        looked_for: "it".to_owned(),
        source,
    };
    let refused = |reason: String| FakeError::Format { module: module.clone(), file: file.to_owned(), reason };
    if fs::metadata(file).map_err(unreadable)?.len() > MAX_FILE {
        return Err(refused("it is larger than 1 MiB".to_owned()));
    }
    serde_json::from_slice(&fs::read(file).map_err(unreadable)?).map_err(|error| refused(error.to_string()))
}
