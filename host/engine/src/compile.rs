//! Compiles components and caches the compiled code.
//!
//! A component's bytes are untrusted, and compiled code is native code. So a child process of the same binary compiles, with bounded memory
//! and time, and with low priority while requests are served. The code goes to a folder that only this user can reach. A file's name
//! contains everything that the code depends on, and a file is written under a temporary name first and then renamed. The only `unsafe`
//! code of the library is here: it maps such a file.

mod child;
mod folder;
mod functions;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wasmtime::component::Component;

use super::{Engines, compatibility};
use child::Priority;
use folder::{CODE, cached_files, link_from, mark_used, named_digest, prune, remove_damaged};
use watertight_component::profile::Profile;
use watertight_disk::failpoint::{CrashPoint, crash_point};
use watertight_disk::files::{TEMPORARY_EXTENSION, remove_leftovers};
use watertight_model::config::CompileLimits;
use watertight_model::ids::Digest;

/// The part of a compilation's time limit in which the child process gets only idle processor time: one tenth. A compilation that takes
/// longer starts again with a share of the busy processors.
const IDLE_DIVISOR: u32 = 10;
/// The time after which a compilation that still runs is logged. A module of an interpreter takes that long, and others don't.
const TELL_AFTER: Duration = Duration::from_secs(2);
/// The most bytes of the child process's error output that an error message repeats.
const MAX_COMPLAINT: usize = 4096;
/// The most compiled components that the cache keeps: the builds of a few days of development.
const MAX_CACHED_FILES: usize = 64;
/// The age from which on a temporary file in a shared folder is a leftover. No compilation is permitted to take that long.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The reason why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The folder for compiled code can't be used.
    #[error("the folder for compiled code, {}, can't be used: {reason}", .folder.display())]
    Folder {
        /// The path of the folder.
        folder: PathBuf,
        /// Why the folder can't be used.
        reason: String,
    },
    /// The child process could not be run.
    #[error("the process that compiles components could not be run")]
    Process(#[source] std::io::Error),
    /// The compiler refused the component.
    #[error("{0}")]
    Refused(String),
    /// Compiling took longer than the manifest's key `compile.time` permits.
    #[error("compiling took longer than {}, which `compile.time` allows, and was stopped", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// Compiling needed more memory than the manifest's key `compile.memory` permits.
    #[error("compiling took more than {} MiB of memory, which `compile.memory` allows, and was stopped", .0 >> 20)]
    Memory(u64),
    /// The component was compiled, but its code can't be loaded.
    #[error("the compiled code can't be loaded")]
    Load(#[source] wasmtime::Error),
    /// The compilation was ended because its result is no longer needed: the host stops or a rollback overtook the change.
    #[error("compiling was stopped, because its result is no longer needed")]
    Stopped,
    /// The engine that the code is compiled for can't be created.
    #[error(transparent)]
    Engine(#[from] super::EngineError),
}

pub use child::{CHILD_COMMAND, run_as_child};

/// Compiles components, and caches their code in a folder.
#[derive(Clone)]
pub struct Compiler {
    engines: Engines,
    folder: PathBuf,
    /// The folders of other compilers, from which code is taken as well.
    others: Arc<[PathBuf]>,
    program: PathBuf,
    limits: CompileLimits,
    idle_time: Duration,
    priority: Priority,
    /// What is compiled, as a text for people.
    what: Arc<str>,
    /// The token that, once cancelled, ends the running compilation.
    cancel: CancellationToken,
}

/// A compiled component, ready to be linked.
pub struct Compiled {
    /// The component with its compiled code.
    pub component: Component,
    /// Whether the code was in the cache.
    pub cached: bool,
    /// The path of the file with the compiled code in the cache.
    pub file: Arc<Path>,
}

impl Compiler {
    /// Creates a compiler that caches code in `folder`. It compiles in a child process that runs `program`, a binary with the host's hidden
    /// command [`CHILD_COMMAND`].
    ///
    /// A missing folder is created. The folder must belong to this user and be closed to all others. One compilation takes no more than
    /// `limits`.
    ///
    /// # Errors
    ///
    /// Returns [`CompileError::Folder`] if the folder can't be used.
    pub fn new(engines: Engines, folder: &Path, program: PathBuf, limits: CompileLimits) -> Result<Self, CompileError> {
        Self::in_folder(engines, folder, program, limits, Duration::ZERO)
    }

    /// Creates a compiler like [`Self::new`] whose folder other processes may use at the same time.
    ///
    /// # Errors
    ///
    /// Returns [`CompileError::Folder`] if the folder can't be used.
    pub fn shared(
        engines: Engines,
        folder: &Path,
        program: PathBuf,
        limits: CompileLimits,
    ) -> Result<Self, CompileError> {
        Self::in_folder(engines, folder, program, limits, LEFTOVER_AGE)
    }

    fn in_folder(
        engines: Engines,
        folder: &Path,
        program: PathBuf,
        limits: CompileLimits,
        leftover_age: Duration,
    ) -> Result<Self, CompileError> {
        let refused = |reason: String| CompileError::Folder { folder: folder.to_owned(), reason };
        folder::create(folder).map_err(refused)?;
        remove_leftovers(folder, leftover_age).map_err(|error| refused(error.to_string()))?;
        let idle_time = limits.time / IDLE_DIVISOR;
        Ok(Self {
            engines,
            folder: folder.to_owned(),
            others: Arc::default(),
            program,
            limits,
            idle_time,
            priority: Priority::Idle,
            what: "a component".into(),
            cancel: CancellationToken::new(),
        })
    }

    /// Returns a compiler that also takes code from `folders`, which other compilers of this user write. It links such a file into its own
    /// folder. A folder that is missing, on another file system, or open to other users is passed over.
    #[must_use]
    pub fn with_code_of(self, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { others: folders.into_iter().collect(), ..self }
    }

    /// Returns a compiler whose child process has the host's own priority, for components that somebody waits for.
    #[must_use]
    pub fn with_host_priority(self) -> Self {
        Self { priority: Priority::Normal, ..self }
    }

    /// Returns a compiler whose child process gets only idle processor time at first, for changes of a host that serves.
    #[must_use]
    pub fn with_idle_priority(self) -> Self {
        Self { priority: Priority::Idle, ..self }
    }

    /// Returns a compiler whose running compilation ends when `end` is cancelled. Its result is discarded.
    #[must_use]
    pub fn with_cancellation(&self, end: CancellationToken) -> Self {
        Self { cancel: end, ..self.clone() }
    }

    /// Returns a compiler that tells people what it compiles, such as ``module `greeter` ``.
    #[must_use]
    pub fn naming(&self, what: &str) -> Self {
        Self { what: what.into(), ..self.clone() }
    }

    /// Returns the engines for which components are compiled.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// Marks cached files as used, so that unused files are removed from the cache first.
    pub fn mark_used<'a>(&self, files: impl IntoIterator<Item = &'a Arc<Path>>) {
        files.into_iter().for_each(|file| mark_used(file));
    }

    /// Whether the running compilation must end.
    fn is_cancelled(&self) -> bool {
        self.engines.is_stopping() || self.cancel.is_cancelled()
    }

    /// Returns the beginning of the name of the file with the compiled code of `bytes`. It contains everything that the code depends on.
    /// The digest of the code follows it.
    fn key(&self, bytes: &[u8], profile: Profile) -> Result<String, CompileError> {
        let engine = self.engines.get(profile)?;
        Ok(format!("{}-{}-{}", Digest::of(bytes).hex(), profile.as_str(), compatibility(&engine)))
    }

    /// Lists the cached files whose names begin with `key`. If there are none, links those that the other folders have.
    fn cached_files(&self, key: &str) -> Vec<PathBuf> {
        let own = cached_files(&self.folder, key);
        if own.is_empty() {
            self.others.iter().for_each(|other| link_from(other, &self.folder, key));
            return cached_files(&self.folder, key);
        }
        own
    }

    /// Loads the code of a component from the cache, or compiles it first. Blocks: a large component takes minutes.
    ///
    /// # Errors
    ///
    /// Returns [`CompileError`] if the component can't be compiled within the limits, the code can't be loaded, or the
    /// host stops.
    pub fn compile(&self, bytes: &[u8], profile: Profile) -> Result<Compiled, CompileError> {
        let key = self.key(bytes, profile)?;
        let engine = self.engines.get(profile)?;
        for file in self.cached_files(&key) {
            match load_verified(&engine, &file, &key) {
                Ok(component) => {
                    mark_used(&file);
                    return Ok(Compiled { component, cached: true, file: file.into() });
                }
                // The disk may have lost a part of the file. Existing mappings of it stay valid.
                Err(reason) => {
                    tracing::warn!(file = %file.display(), reason, "damaged code is compiled again");
                    remove_damaged(&file);
                }
            }
        }
        if self.is_cancelled() {
            return Err(CompileError::Stopped);
        }
        let begun = self.engines.progress.begin(self.what.clone(), bytes.len());
        tracing::info!(
            profile = profile.as_str(),
            bytes = bytes.len(),
            "compiling {}; its code is kept for the next start",
            self.what
        );
        let file = self.run_child(bytes, profile, &key)?;
        drop(begun);
        prune(&self.folder, MAX_CACHED_FILES);
        let component = load(&engine, &file).map_err(CompileError::Load)?;
        Ok(Compiled { component, cached: false, file: file.into() })
    }

    /// Compiles a component in a child process, and returns the path of the file with the code.
    fn run_child(&self, bytes: &[u8], profile: Profile, key: &str) -> Result<PathBuf, CompileError> {
        // The temporary name is unique. If two processes compile the same bytes at once, each writes its own file, and
        // the later one replaces the earlier one. A file that was mapped meanwhile stays as it was.
        let aside = self.folder.join(format!("{key}.{}.{TEMPORARY_EXTENSION}", ulid::Ulid::generate()));
        let result = match self.compile_to_temporary(bytes, profile, &aside, self.priority) {
            Err(CompileError::Timeout(_)) if self.priority == Priority::Idle => {
                tracing::warn!(
                    "compiling got too little idle processor time: it starts again with a share of the busy processors"
                );
                let _ = std::fs::remove_file(&aside);
                self.compile_to_temporary(bytes, profile, &aside, Priority::Low)
            }
            result => result,
        };
        let result = result.and_then(|()| {
            crash_point(CrashPoint::CodeAside);
            std::fs::File::open(&aside).and_then(|code| code.sync_all()).map_err(CompileError::Process)?;
            let code = std::fs::read(&aside).map_err(CompileError::Process)?;
            let file = self.folder.join(format!("{key}.{}.{CODE}", Digest::of(&code).hex()));
            std::fs::rename(&aside, &file).map_err(CompileError::Process)?;
            crash_point(CrashPoint::CodeRenamed);
            Ok(file)
        });
        if result.is_err() {
            // A leftover temporary file is useless. A failed removal does no harm.
            let _ = std::fs::remove_file(&aside);
        }
        result
    }

    fn compile_to_temporary(
        &self,
        bytes: &[u8],
        profile: Profile,
        aside: &Path,
        priority: Priority,
    ) -> Result<(), CompileError> {
        let time = match priority {
            Priority::Idle => self.idle_time,
            Priority::Low => self.limits.time.saturating_sub(self.idle_time),
            Priority::Normal => self.limits.time,
        };
        let mut child = std::process::Command::new(&self.program)
            .args(child::arguments(profile, priority, self.limits.memory, aside))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // In its own process group, the child does not get a Ctrl-C that is meant for the host. The child ends with
            // the host.
            .process_group(0)
            .spawn()
            .map_err(CompileError::Process)?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let mut stderr = child.stderr.take().expect("stderr is piped");
        std::thread::scope(|scope| {
            // A child that ends early closes its end of the pipe. Its exit status tells why.
            scope.spawn(move || stdin.write_all(bytes));
            let complaint = scope.spawn(move || {
                let mut text = Vec::new();
                let _ = stderr.by_ref().take(MAX_COMPLAINT as u64).read_to_end(&mut text);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
                String::from_utf8_lossy(&text).trim().to_owned()
            });
            let (start, mut is_told) = (std::time::Instant::now(), false);
            let is_unwanted = || {
                if !is_told && start.elapsed() >= TELL_AFTER {
                    is_told = true;
                    let (bytes, limit) = (bytes.len(), humantime::format_duration(self.limits.time));
                    tracing::info!(target: "compile", bytes, %limit, "still compiling {}", self.what);
                }
                self.is_cancelled()
            };
            let status = wait(&mut child, time, is_unwanted)?;
            let complaint = complaint.join().unwrap_or_default();
            match status {
                None => Err(CompileError::Timeout(self.limits.time)),
                Some(status) if status.success() => Ok(()),
                // These are the messages of Rust's allocator and of the kernel. The child's memory has no other bound
                // than `limits.memory`.
                Some(_) if child::OUT_OF_MEMORY.iter().any(|words| complaint.contains(words)) => {
                    Err(CompileError::Memory(self.limits.memory))
                }
                Some(status) if complaint.is_empty() => {
                    Err(CompileError::Refused(format!("the compiling process ended with {status}")))
                }
                Some(_) => Err(CompileError::Refused(complaint)),
            }
        })
    }
}

/// Waits at most `time` for the end of a child process. After that it kills the child and returns `None`. It also kills the child when
/// `is_unwanted` returns true.
fn wait(
    child: &mut std::process::Child,
    time: Duration,
    mut is_unwanted: impl FnMut() -> bool,
) -> Result<Option<std::process::ExitStatus>, CompileError> {
    let start = std::time::Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let status = child.try_wait();
        if let Ok(Some(status)) = status {
            return Ok(Some(status));
        }
        let is_stopping = is_unwanted();
        if status.is_err() || is_stopping || start.elapsed() > time {
            // The child must end in any case, or the threads that feed and read it would never end.
            let ended = child.kill().and_then(|()| child.wait());
            let ended = status.and(ended).map_err(CompileError::Process)?;
            tracing::debug!(%ended, "the compiling process was ended");
            return if is_stopping { Err(CompileError::Stopped) } else { Ok(None) };
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Loads compiled code from a cached file, if the code's digest is the one in the file's name. Damaged native code could do anything.
fn load_verified(engine: &wasmtime::Engine, file: &Path, key: &str) -> Result<Component, String> {
    let code = std::fs::read(file).map_err(|error| error.to_string())?;
    if named_digest(file, key) != Some(Digest::of(&code).hex().as_str()) {
        return Err("its name and its content have different digests".to_owned());
    }
    drop(code);
    load(engine, file).map_err(|error| format!("{error:#}"))
}

/// Maps a file with compiled code into memory.
#[allow(unsafe_code)]
fn load(engine: &wasmtime::Engine, file: &Path) -> wasmtime::Result<Component> {
    // SAFETY: a child of this binary wrote the file into a folder that no other user can reach (checked in
    // `folder::create` and `folder::link_from`). No file there is changed once it has its final name.
    unsafe { Component::deserialize_file(engine, file) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_child_that_gets_no_processor_is_followed_by_one_that_does() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, "#!/bin/sh\n[ \"$3\" = idle ] && exec sleep 60\necho \"as $3\" >&2; exit 1\n")
            .unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut compiler = Compiler::new(Engines::new(), folder.path(), program, CompileLimits::default()).unwrap();
        compiler.idle_time = Duration::from_millis(50);
        let refused = compiler.compile(b"a component", Profile::Reuse).err().unwrap();
        assert_eq!(refused.to_string(), "as low");
    }

    #[test]
    fn whoever_waits_can_see_what_is_compiled() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let engines = Engines::new();
        let compiler = Compiler::new(engines.clone(), folder.path(), program, CompileLimits::default()).unwrap();
        std::thread::scope(|scope| {
            let compiling =
                scope.spawn(|| compiler.naming("module `large`").compile(b"a component", Profile::Reuse).err());
            let seen = loop {
                if let [one] = &engines.compiling()[..] {
                    break one.clone();
                }
                std::thread::sleep(Duration::from_millis(5));
            };
            assert_eq!((&*seen.what, seen.bytes), ("module `large`", 11));
            engines.stop_compiling();
            assert!(matches!(compiling.join().unwrap(), Some(CompileError::Stopped)));
        });
        assert!(engines.compiling().is_empty());
    }

    #[test]
    fn a_stop_ends_the_child_and_refuses_further_ones() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let (program, begun) = (folder.path().join("program"), folder.path().join("begun"));
        std::fs::write(&program, format!("#!/bin/sh\ntouch {}\nexec sleep 600\n", begun.display())).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let engines = Engines::new();
        let compiler = Compiler::new(engines.clone(), folder.path(), program, CompileLimits::default()).unwrap();
        std::thread::scope(|scope| {
            let compiling = scope.spawn(|| compiler.compile(b"a component", Profile::Reuse).err());
            while !begun.exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            engines.stop_compiling();
            assert!(matches!(compiling.join().unwrap(), Some(CompileError::Stopped)));
        });
        std::fs::remove_file(&begun).unwrap();
        assert!(matches!(compiler.compile(b"another", Profile::Reuse).err(), Some(CompileError::Stopped)));
        assert!(!begun.exists(), "no child was started");
    }
}
