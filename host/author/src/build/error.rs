//! Why a module can't be built: what, where, and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use watertight_component::artifact::SectionError;
use watertight_model::ids::{BadName, ModuleName};

/// Why a module can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or folder can't be read.
    #[error("`{path}` can't be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is no such folder.
    #[error("there is no folder `{folder}` to build a module from")]
    NoFolder {
        /// Which.
        folder: PathBuf,
    },
    /// A file can't be written.
    #[error("`{path}` can't be written")]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The folder's name is no module's.
    #[error("the folder `{folder}` can't be a module: its name would be the module's")]
    Name {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: BadName,
    },
    /// Two folders have one name.
    #[error("`{first}` and `{second}` would both be the module `{name}`")]
    SameName {
        /// The name.
        name: ModuleName,
        /// The first folder.
        first: PathBuf,
        /// The second.
        second: PathBuf,
    },
    /// Nothing in the folder tells its language.
    #[error(
        "the language of the module in `{folder}` is not known: it has no `Cargo.toml`, \
             `go.mod` or `package.json`"
    )]
    UnknownLanguage {
        /// The folder.
        folder: PathBuf,
    },
    /// The language's own manifest can't be understood.
    #[error("`{path}` can't be understood: {message}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// A migration can't be taken.
    #[error("the migration `{path}` can't be taken: {reason}")]
    Migration {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// Several things in the folder tell its language.
    #[error("the language of the module in `{folder}` is not clear: it has both `{first}` and `{second}`")]
    SeveralLanguages {
        /// The folder.
        folder: PathBuf,
        /// The manifest of one language.
        first: &'static str,
        /// That of another.
        second: &'static str,
    },
    /// A module's world can't be understood.
    #[error("the world of module `{module}` can't be understood: {message}")]
    World {
        /// The module.
        module: ModuleName,
        /// Why, with the place.
        message: String,
    },
    /// A toolchain's program can't be started.
    #[error("`{program}` can't be started")]
    NoToolchain {
        /// The program.
        program: PathBuf,
        /// How to get it.
        help: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The packages of a JavaScript module are not installed, and nothing pins them.
    #[error(
        "the packages of module `{module}` are not installed: there is neither `node_modules` nor `package-lock.json` in `{folder}`"
    )]
    NotInstalled {
        /// The module.
        module: ModuleName,
        /// Its folder.
        folder: PathBuf,
    },
    /// A toolchain is too old.
    #[error("{tool} is too old: this is {found}, and {wanted} is needed")]
    OldToolchain {
        /// The toolchain.
        tool: &'static str,
        /// Its version.
        found: String,
        /// The oldest that will do.
        wanted: String,
    },
    /// The toolchain can't compile for WebAssembly yet.
    #[error("Rust's standard library for `{target}` is not installed")]
    MissingTarget {
        /// The target.
        target: &'static str,
    },
    /// A toolchain failed.
    #[error("{} not compile; `{command}` says:\n{output}", subject(modules))]
    Toolchain {
        /// The modules that did not compile.
        modules: Vec<ModuleName>,
        /// What was run.
        command: String,
        /// The end of what it said.
        output: String,
    },
    /// The language's toolchain can't carry a part of the contract.
    #[error("{language} can't carry what the world of module `{module}` has:{}", lines(parts))]
    Uncarried {
        /// The module.
        module: ModuleName,
        /// The language.
        language: &'static str,
        /// The functions and types, each in words.
        parts: Vec<String>,
    },
    /// The toolchain made no WebAssembly of the module.
    #[error("compiling module `{module}` gave no `.wasm` file")]
    NoWasm {
        /// The module.
        module: ModuleName,
    },
    /// What was compiled can't be made a component.
    #[error("module `{module}` compiles, but can't be made a component")]
    Encode {
        /// The module.
        module: ModuleName,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The component exports no interface.
    #[error("module `{module}` exports no interface: nothing could call it")]
    NoExports {
        /// The module.
        module: ModuleName,
    },
    /// What is to be embedded is not acceptable.
    #[error("module `{module}` can't carry what it should")]
    Section {
        /// The module.
        module: ModuleName,
        /// Why.
        #[source]
        source: SectionError,
    },
    /// No host would load it.
    #[error("module `{module}` comes to {size} bytes, which no host loads")]
    TooLarge {
        /// The module.
        module: ModuleName,
        /// Its size in bytes.
        size: u64,
    },
}

impl BuildError {
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), source }
    }

    pub(super) fn unwritable(path: &Path, source: io::Error) -> Self {
        Self::Unwritable { path: path.to_owned(), source }
    }

    /// What to do about it, where there is more to say than the error itself does.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoFolder { .. } => "make it, or mend the module's `component` in the manifest".to_owned(),
            Self::Name { .. } => "rename the folder".to_owned(),
            Self::SameName { .. } => "rename one of the folders, or build them one by one with `--out`".to_owned(),
            Self::UnknownLanguage { .. } => {
                "give the folder of a module in Rust, Go or JavaScript, or build the component with its language's own tools and name the \
                 `.wasm` file in the manifest"
                    .to_owned()
            }
            Self::SeveralLanguages { .. } => "leave one of them, and put the other into a folder of its own".to_owned(),
            Self::World { .. } => {
                "its `wit` folder has one world, whose packages stand in the workspace's `wit` or in `wit/deps`".to_owned()
            }
            Self::NoToolchain { help, .. } => (*help).to_owned(),
            Self::NotInstalled { folder, .. } => {
                format!("run `npm install --ignore-scripts` in `{}`, and keep the `package-lock.json` that it writes", folder.display())
            }
            Self::OldToolchain { tool, wanted, .. } => format!("install {tool} {wanted} or newer"),
            Self::MissingTarget { target } => format!("run `rustup target add {target}`"),
            Self::NoWasm { .. } => "say `crate-type = [\"cdylib\"]` under `[lib]` in its Cargo.toml".to_owned(),
            Self::Encode { .. } | Self::NoExports { .. } => {
                "implement the world of its `wit` folder; in Rust, with `wit_bindgen::generate!` and `export!`".to_owned()
            }
            Self::Uncarried { .. } => {
                "change the contract, or write the module in another language: Rust carries all of WIT that the host serves"
                    .to_owned()
            }
            Self::Section { .. } | Self::Migration { .. } => "mend its `migrations` folder".to_owned(),
            Self::TooLarge { .. } => "build it without `--debug`, or split it".to_owned(),
            Self::Unreadable { .. } | Self::Unwritable { .. } | Self::Manifest { .. } | Self::Toolchain { .. } => {
                return None;
            }
        })
    }
}

fn lines(parts: &[String]) -> String {
    parts.iter().map(|part| format!("\n  {part}")).collect()
}

fn subject(modules: &[ModuleName]) -> String {
    let names: Vec<_> = modules.iter().map(|module| format!("`{module}`")).collect();
    match names.as_slice() {
        [name] => format!("module {name} does"),
        _ => format!("modules {} do", names.join(", ")),
    }
}

/// Every module that could not be built; never none.
#[derive(Debug)]
pub struct BuildErrors(Vec<BuildError>);

impl BuildErrors {
    pub(super) fn or<T>(errors: Vec<BuildError>, value: T) -> Result<T, Self> {
        if errors.is_empty() { Ok(value) } else { Err(Self(errors)) }
    }

    /// The errors, in the order of the modules.
    pub fn as_slice(&self) -> &[BuildError] {
        &self.0
    }

    /// The errors for somebody who has seen what the tools printed: their output is not repeated.
    pub fn without_output(&self) -> impl fmt::Display {
        WithoutOutput(self)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, shows_output: bool) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "\n" })?;
            match error {
                BuildError::Toolchain { modules, command, output } if !shows_output && !output.is_empty() => {
                    write!(f, "{} not compile: `{command}` says above why", subject(modules))?;
                }
                error => write!(f, "{error}")?,
            }
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
            if let Some(help) = error.help() {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for BuildErrors {
    /// Each error with its causes and what to do, for a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, true)
    }
}

struct WithoutOutput<'a>(&'a BuildErrors);

impl fmt::Display for WithoutOutput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, false)
    }
}

impl std::error::Error for BuildErrors {}
