//! The errors of building modules, each with advice on how to correct it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use watertight_component::artifact::SectionError;
use watertight_model::ids::{BadName, ModuleName};

/// The reason why a module can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or folder can't be read.
    #[error("`{path}` can't be read")]
    Unreadable {
        /// The path of the file or folder.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The folder of a module to build doesn't exist.
    #[error("there is no folder `{folder}` to build a module from")]
    NoFolder {
        /// The path of the module's folder.
        folder: PathBuf,
    },
    /// A file can't be written.
    #[error("`{path}` can't be written")]
    Unwritable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The folder's name is not a valid module name.
    #[error("the folder `{folder}` can't be a module, because a module has the name of its folder")]
    Name {
        /// The path of the module's folder.
        folder: PathBuf,
        /// What is wrong with the name.
        #[source]
        source: BadName,
    },
    /// Two folders of modules have the same name, so both modules would have this name.
    #[error("`{first}` and `{second}` would both be the module `{name}`")]
    SameName {
        /// The name that both folders have.
        name: ModuleName,
        /// The path of the first folder.
        first: PathBuf,
        /// The path of the second folder.
        second: PathBuf,
    },
    /// The module's folder has no manifest of a known language, such as `Cargo.toml`.
    #[error(
        "the language of the module in `{folder}` is not known: it has no `Cargo.toml`, \
             `go.mod`, `package.json`, `pyproject.toml` or `compile_flags.txt`"
    )]
    UnknownLanguage {
        /// The path of the module's folder.
        folder: PathBuf,
    },
    /// The manifest of the language's toolchain is invalid.
    #[error("the module's manifest `{path}` can't be used: {message}")]
    Manifest {
        /// The path of the toolchain's manifest, such as `Cargo.toml`.
        path: PathBuf,
        /// What is wrong with the manifest.
        message: String,
    },
    /// A migration file of the module is not acceptable.
    #[error("the migration `{path}` is not acceptable: {reason}")]
    Migration {
        /// The path of the migration file.
        path: PathBuf,
        /// What is wrong with the migration.
        reason: &'static str,
    },
    /// The module's folder has the manifests of several languages, such as `Cargo.toml` and `go.mod`.
    #[error("the language of the module in `{folder}` is not clear: it has both `{first}` and `{second}`")]
    SeveralLanguages {
        /// The path of the module's folder.
        folder: PathBuf,
        /// The file name of the first manifest.
        first: &'static str,
        /// The file name of the second manifest.
        second: &'static str,
    },
    /// The WIT world of the module is missing or invalid.
    #[error("the WIT world of module `{module}` can't be used: {message}")]
    World {
        /// The name of the module that can't be built.
        module: ModuleName,
        /// What is wrong with the world, with file and line.
        message: String,
    },
    /// A program of a toolchain can't be started.
    #[error("`{program}` can't be started")]
    NoToolchain {
        /// The name or path of the program.
        program: PathBuf,
        /// The advice on how to install the program.
        help: &'static str,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The npm packages of a JavaScript module are not installed, and no `package-lock.json` says which versions to install.
    #[error(
        "the packages of module `{module}` are not installed: there is neither `node_modules` nor `package-lock.json` in `{folder}`"
    )]
    NotInstalled {
        /// The name of the module that can't be built.
        module: ModuleName,
        /// The path of the module's folder.
        folder: PathBuf,
    },
    /// The installed toolchain of a language is too old.
    #[error("{tool} is too old: this is {found}, and {wanted} is needed")]
    OldToolchain {
        /// The name of the toolchain, such as `Go`.
        tool: &'static str,
        /// The installed version of the toolchain.
        found: String,
        /// The oldest version of the toolchain that is supported.
        wanted: String,
    },
    /// Rust's standard library for the WebAssembly target is not installed.
    #[error("Rust's standard library for `{target}` is not installed")]
    MissingTarget {
        /// The missing target, such as `wasm32-unknown-unknown`.
        target: &'static str,
    },
    /// The toolchain of a language failed to compile modules.
    #[error("{} not compile; `{command}` says:\n{output}", subject(modules))]
    Toolchain {
        /// The modules that did not compile.
        modules: Vec<ModuleName>,
        /// The command that failed.
        command: String,
        /// The end of the command's output.
        output: String,
    },
    /// The world has functions or types that the language's toolchain doesn't support.
    #[error("{language} doesn't support parts of the world of module `{module}`:{}", lines(parts))]
    Unsupported {
        /// The name of the module that can't be built.
        module: ModuleName,
        /// The language of the module.
        language: &'static str,
        /// Descriptions of the unsupported functions and types.
        parts: Vec<String>,
    },
    /// The toolchain succeeded without making a `.wasm` file.
    #[error("compiling module `{module}` produced no `.wasm` file")]
    NoWasm {
        /// The name of the module that can't be built.
        module: ModuleName,
    },
    /// The compiled code can't be made a component.
    #[error("module `{module}` compiles, but its code can't be made a component")]
    Encode {
        /// The name of the module that can't be built.
        module: ModuleName,
        /// The error of the component encoder.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file to put a module's section into is not a component that another tool made.
    #[error("`{path}` can't become a module: {reason}")]
    NotPrebuilt {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with the file.
        reason: String,
    },
    /// The component exports no interface.
    #[error("module `{module}` exports no interface: nothing could call it")]
    NoExports {
        /// The name of the module that can't be built.
        module: ModuleName,
    },
    /// The custom section with the module's name, migrations and documentation can't be embedded in the component.
    #[error("the name, migrations and documentation of module `{module}` can't be embedded in its component")]
    Section {
        /// The name of the module that can't be built.
        module: ModuleName,
        /// What is wrong with the custom section.
        #[source]
        source: SectionError,
    },
    /// The component is larger than hosts accept.
    #[error("the component of module `{module}` has {size} bytes, which is more than a host loads")]
    TooLarge {
        /// The name of the module that can't be built.
        module: ModuleName,
        /// The size of the component in bytes.
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

    /// Refuses a module whose world has `parts`, descriptions of what `language` can't carry. Accepts it if there are none.
    pub(super) fn unless_supported(
        module: &ModuleName,
        language: &'static str,
        parts: Vec<String>,
    ) -> Result<(), Self> {
        match parts.is_empty() {
            true => Ok(()),
            false => Err(Self::Unsupported { module: module.clone(), language, parts }),
        }
    }

    /// Returns advice on how to correct the error. `None` if the message says enough.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoFolder { .. } => "create the folder, or correct the module's `component` in the manifest".to_owned(),
            Self::Name { .. } => "rename the folder".to_owned(),
            Self::SameName { .. } => "rename one of the folders, or build them one by one with `--out`".to_owned(),
            Self::UnknownLanguage { .. } => {
                "give the folder of a module in Rust, Go, JavaScript, TypeScript, Python or C, or build the component with its language's \
                 own tools and name the `.wasm` file in the manifest"
                    .to_owned()
            }
            Self::SeveralLanguages { .. } => "keep one of the two files, and move the other module to a folder of its own".to_owned(),
            Self::World { .. } => {
                "the module's `wit` folder must have one world, and the packages that the world uses must be in the workspace's `wit` or in `wit/deps`".to_owned()
            }
            Self::NoToolchain { help, .. } => (*help).to_owned(),
            Self::NotInstalled { folder, .. } => {
                format!("run `npm install --ignore-scripts` in `{}`, and keep the `package-lock.json` that it writes", folder.display())
            }
            Self::OldToolchain { tool, wanted, .. } => format!("install {tool} {wanted} or newer"),
            Self::MissingTarget { target } => format!("run `rustup target add {target}`"),
            Self::NoWasm { .. } => "set `crate-type = [\"cdylib\"]` under `[lib]` in the module's Cargo.toml".to_owned(),
            Self::Encode { .. } | Self::NoExports { .. } => {
                "implement the world of the module's `wit` folder; in Rust, with `wit_bindgen::generate!` and `export!`".to_owned()
            }
            Self::Unsupported { .. } => {
                "change the contract, or write the module in another language: Rust supports everything in WIT that the host does"
                    .to_owned()
            }
            Self::Section { .. } | Self::Migration { .. } => "correct the module's `migrations` folder".to_owned(),
            Self::TooLarge { .. } => "build the module without `--debug`, or split it into several modules".to_owned(),
            Self::NotPrebuilt { .. }
            | Self::Unreadable { .. }
            | Self::Unwritable { .. } | Self::Manifest { .. } | Self::Toolchain { .. } => {
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

/// The errors of all modules that could not be built. Never empty.
#[derive(Debug)]
pub struct BuildErrors(Vec<BuildError>);

impl BuildErrors {
    pub(super) fn or<T>(errors: Vec<BuildError>, value: T) -> Result<T, Self> {
        if errors.is_empty() { Ok(value) } else { Err(Self(errors)) }
    }

    /// Returns the errors, in the order of the modules.
    pub fn as_slice(&self) -> &[BuildError] {
        &self.0
    }

    /// Formats the errors without the output of the tools, for a person who has seen it already.
    pub fn without_output(&self) -> impl fmt::Display {
        WithoutOutput(self)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, shows_output: bool) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "\n" })?;
            match error {
                BuildError::Toolchain { modules, command, output } if !shows_output && !output.is_empty() => {
                    write!(f, "{} not compile: the output of `{command}` above says why", subject(modules))?;
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
    /// Formats each error with its causes and advice.
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
