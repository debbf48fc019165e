//! The compiling process: it limits its own resources, compiles standard input, and writes the code.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use wasmtime::Engine;

use super::functions::FunctionCache;
use watertight_component::profile::Profile;

/// The name of the hidden command of the host's binary that compiles a component. It is not part of the host's interface.
pub const CHILD_COMMAND: &str = "compile-component";
/// The largest component that is compiled, in bytes. All modules of a compartment count together, because they are composed into one
/// component.
const MAX_COMPONENT: u64 = 512 << 20;
/// Parts of messages by which the host recognizes that the child process has used up its memory. The first is from Rust's allocator, which
/// ends the process; the second is from the kernel, for a failed mapping.
pub(super) const OUT_OF_MEMORY: [&str; 2] = ["memory allocation of ", "Cannot allocate memory"];
/// The niceness of a child process that gets a small share of the processors: the highest but one.
const NICENESS: i32 = 18;

/// How the compiling child process competes with the host for processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// The child process gets idle processor time only, and yields at once to a thread of the host that wakes up. A merely nice process
    /// would finish its time slice first, and each statement of a transaction would wait for it.
    Idle,
    /// The child process gets a small share of a busy machine.
    Low,
    /// The child process competes like the host, because somebody waits for the code.
    Normal,
}

impl Priority {
    const ALL: [Self; 3] = [Self::Idle, Self::Low, Self::Normal];

    fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Low => "low",
            Self::Normal => "equal",
        }
    }

    fn apply(self) -> Result<(), String> {
        match self {
            Self::Idle => {
                let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
                // Threads that start later inherit the policy.
                set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy)
                    .map_err(|error| error.to_string())
            }
            Self::Low => rustix::process::nice(NICENESS).map(drop).map_err(|error| error.to_string()),
            Self::Normal => Ok(()),
        }
    }
}

/// Returns the arguments with which the host's binary compiles standard input within `memory` bytes and writes the code to `output`.
pub(super) fn arguments(profile: Profile, priority: Priority, memory: u64, output: &Path) -> [OsString; 5] {
    let memory = memory.to_string();
    [CHILD_COMMAND.into(), profile.as_str().into(), priority.as_str().into(), memory.into(), output.into()]
}

/// Compiles the component on standard input for the profile named `profile`, and writes the code to `output`, which must not exist. Uses
/// and extends a cache of compiled functions in the folder of `output`. `priority` names a `Priority`; `memory` is the greatest memory in
/// bytes.
///
/// # Errors
///
/// Returns a message for standard error if the component can't be read, compiled or written.
pub fn run_as_child(profile: &str, priority: &str, memory: u64, output: &Path) -> Result<(), String> {
    let priority = Priority::ALL.into_iter().find(|one| one.as_str() == priority);
    let priority = priority.ok_or("the priority is unknown")?;
    limit_self(priority, memory).map_err(|error| format!("the compiling process can't limit itself: {error}"))?;
    let profile = Profile::parse(profile).ok_or_else(|| format!("`{profile}` is not a profile"))?;
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(MAX_COMPONENT + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("the component can't be read: {error}"))?;
    if bytes.len() as u64 > MAX_COMPONENT {
        return Err(format!("the component is larger than {} MiB", MAX_COMPONENT >> 20));
    }
    let functions = output.parent().and_then(FunctionCache::open);
    let mut config = crate::config_to_compile(profile);
    if let Some(functions) = functions.clone() {
        config.enable_incremental_compilation(functions).map_err(|error| format!("{error:#}"))?;
    }
    let engine = Engine::new(&config).map_err(|error| format!("{error:#}"))?;
    let code = engine.precompile_component(&bytes).map_err(|error| format!("{error:#}"))?;
    drop(engine);
    drop(config);
    write(output, &code, functions).map_err(|error| format!("the compiled code can't be written: {error}"))
}

/// Writes the compiled code to `output`, then saves the function cache. If the disk is full, the function cache is removed to make room for
/// the code.
fn write(output: &Path, code: &[u8], functions: Option<Arc<FunctionCache>>) -> std::io::Result<()> {
    let mut file = File::create_new(output)?;
    match (file.write_all(code), functions) {
        (Err(error), Some(functions)) if error.kind() == ErrorKind::StorageFull => {
            functions.delete();
            // The file occupies the disk until it is closed.
            drop(functions);
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(code)
        }
        (Ok(()), Some(functions)) => {
            functions.save();
            Ok(())
        }
        (written, _) => written,
    }
}

/// Sets the priority of this process, bounds its memory to `memory` bytes, disables core dumps, and makes the process end with the host.
/// The bound counts writable memory, not the pools that the engine only reserves. The host alone bounds the time.
fn limit_self(priority: Priority, memory: u64) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| error.to_string())?;
    priority.apply()?;
    for (resource, wanted) in [(Resource::Data, memory), (Resource::Core, 0)] {
        let maximum = getrlimit(resource).maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let limit = Rlimit { current: Some(maximum), maximum: Some(maximum) };
        setrlimit(resource, limit).map_err(|error| error.to_string())?;
    }
    Ok(())
}
