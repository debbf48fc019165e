//! Crash points: named places where a test can kill the process, to prove that acknowledged data survives.
//!
//! Crash points exist only with the cargo feature `failpoints`. Without it every function here compiles to nothing. A release must never
//! have the feature: whoever sets the environment of such a process decides when it dies.
//!
//! A test starts the binary with, for example, `FAILPOINTS='sql::committed=3*off->return'`. The process then dies, as by `kill -9`, when
//! it passes that point for the fourth time. The grammar is that of the `fail` crate; `return` is the action that kills.

/// Defines the enum of crash points together with the list of all of them, so that no point can be missing from the list.
macro_rules! points {
    ($($(#[$doc:meta])+ $point:ident = $name:literal,)+) => {
        /// A place in the code where a test can kill the process.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum CrashPoint {
            $($(#[$doc])+ $point,)+
        }

        impl CrashPoint {
            /// All crash points. Those of a change of the application stand in the order in which a change passes them.
            pub const ALL: &[Self] = &[$(Self::$point),+];

            /// Returns the name of the crash point in the environment variable `FAILPOINTS`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// A change of the application is checked and planned; nothing is done yet.
    ChangePlanned = "change::planned",
    /// Compiled code is in a temporary file and not synced.
    CodeAside = "code::aside",
    /// The file with compiled code has its final name.
    CodeRenamed = "code::renamed",
    /// All compartments of the new generation are linked.
    ChangeLinked = "change::linked",
    /// A component is in a temporary file and synced.
    ComponentAside = "component::aside",
    /// The file of a component has its final name, the component's digest; its folder is not synced.
    ComponentRenamed = "component::renamed",
    /// A configuration is in a temporary file and synced.
    ConfigurationAside = "configuration::aside",
    /// The file of a configuration has its final name, the configuration's digest; its folder is not synced.
    ConfigurationRenamed = "configuration::renamed",
    /// The state folder keeps the components and the configuration of the new generation.
    ChangeKept = "change::kept",
    /// The databases of the new generation are open.
    ChangeOpened = "change::opened",
    /// Each compartment of the new generation has made an instance.
    ChangeWarm = "change::warm",
    /// The migrations of one database have run and are not committed.
    MigrationRun = "migration::run",
    /// The migrations of one database are committed.
    MigrationCommitted = "migration::committed",
    /// All databases of the new generation are migrated.
    ChangeMigrated = "change::migrated",
    /// The new history is in a temporary file and synced.
    HistoryAside = "history::aside",
    /// The file of the new history has its final name; its folder is not synced.
    HistoryRenamed = "history::renamed",
    /// The history has the new generation; files that the history no longer refers to are not removed yet.
    HistoryWritten = "history::written",
    /// The history has the new generation; requests don't run on it yet.
    ChangePublished = "change::published",
    /// Requests run on the new generation; the operator has no answer yet.
    ChangeCurrent = "change::current",
    /// The files of a backup are copied and not synced.
    BackupCopied = "backup::copied",
    /// A backup is complete and still has the name of an incomplete one.
    BackupWritten = "backup::written",
    /// A restore has copied the backup into the state folder, beside what is there.
    RestoreCopied = "restore::copied",
    /// A restore has written its mark file: from here on no host starts on this state folder until the restore ends.
    RestoreMarked = "restore::marked",
    /// A restore has moved the previous content of the state folder out of the way.
    RestoreMoved = "restore::moved",
    /// A restore has moved the copied files to their places.
    RestorePlaced = "restore::placed",
    /// A transaction is about to be committed.
    SqlBeforeCommit = "sql::before-commit",
    /// A transaction is committed and not synced.
    SqlCommitted = "sql::committed",
    /// A transaction is synced; its caller has no answer yet.
    SqlSynced = "sql::synced",
}

/// Reads the environment variable `FAILPOINTS`, which configures the crash points. Call it once, at the start of `main`; further calls do
/// nothing.
pub fn init() {
    #[cfg(feature = "failpoints")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        // Dropping the scenario would clear every point again. The points must live as long as the process.
        ONCE.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    }
}

/// Kills the process as `kill -9` does, if the environment variable `FAILPOINTS` configures the point with `return`. Does nothing
/// otherwise.
#[inline]
pub fn crash_point(point: CrashPoint) {
    #[cfg(feature = "failpoints")]
    fail::fail_point!(point.name(), |_| die());
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
}

/// Panics or sleeps if the environment variable `FAILPOINTS` configures the point `name` with `panic` or `sleep`. Does nothing otherwise.
#[inline]
pub fn panic_point(name: &'static str) {
    #[cfg(feature = "failpoints")]
    fail::fail_point!(name);
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}

#[cfg(feature = "failpoints")]
fn die() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // Reached only if the kernel did not kill the process.
    std::process::abort();
}
