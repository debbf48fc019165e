//! Crash points: named places where a test can make the process die, to prove that what was acknowledged survives.
//!
//! They exist only with the cargo feature `failpoints`; without it every function here compiles to nothing. A release must never
//! have them: whoever sets the environment of such a process decides when it dies.
//!
//! A test starts the binary with, say, `FAILPOINTS='sql::committed=3*off->return'`: the process dies, as by `kill -9`, when it passes
//! that point for the fourth time. The grammar is that of the `fail` crate; `return` is the action that kills.

/// Makes an enum of points of which none can be forgotten: it lists itself.
macro_rules! points {
    ($($(#[$doc:meta])+ $point:ident = $name:literal,)+) => {
        /// A place where the process can die.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])+ $point,)+
        }

        impl Point {
            /// All of them, in the order in which a change passes them.
            pub const ALL: &[Self] = &[$(Self::$point),+];

            /// Its name in `FAILPOINTS`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// A change is checked and planned; nothing is done yet.
    ChangePlanned = "change::planned",
    /// Code was compiled and written aside.
    CodeAside = "code::aside",
    /// Code stands under its name.
    CodeRenamed = "code::renamed",
    /// All compartments are linked.
    ChangeLinked = "change::linked",
    /// A component was written aside and synced.
    ComponentAside = "component::aside",
    /// A component stands under its digest; its folder isn't synced.
    ComponentRenamed = "component::renamed",
    /// A configuration was written aside and synced.
    ConfigurationAside = "configuration::aside",
    /// A configuration stands under its digest; its folder isn't synced.
    ConfigurationRenamed = "configuration::renamed",
    /// All that the generation is made of is kept.
    ChangeKept = "change::kept",
    /// Its databases are open.
    ChangeOpened = "change::opened",
    /// Each of its compartments has made an instance.
    ChangeWarm = "change::warm",
    /// Migrations were run, and not committed.
    MigrationRun = "migration::run",
    /// Migrations were committed.
    MigrationCommitted = "migration::committed",
    /// All databases are migrated.
    ChangeMigrated = "change::migrated",
    /// The new history was written aside and synced.
    HistoryAside = "history::aside",
    /// The new history is in place; its folder isn't synced.
    HistoryRenamed = "history::renamed",
    /// The history tells of the new generation, and what nothing tells of any more isn't removed.
    HistoryWritten = "history::written",
    /// The history tells of it; requests don't run on it yet.
    ChangePublished = "change::published",
    /// Requests run on it; nobody was told.
    ChangeCurrent = "change::current",
    /// A backup is copied and not synced.
    BackupCopied = "backup::copied",
    /// It is whole, under the name of one that isn't.
    BackupWritten = "backup::written",
    /// What is restored is copied beside what is there.
    RestoreCopied = "restore::copied",
    /// From here on no host starts until it is in place.
    RestoreMarked = "restore::marked",
    /// What was there is moved out of the way.
    RestoreMoved = "restore::moved",
    /// What is restored is in place.
    RestorePlaced = "restore::placed",
    /// A transaction is about to be committed.
    SqlBeforeCommit = "sql::before-commit",
    /// It is committed, and not synced.
    SqlCommitted = "sql::committed",
    /// It is synced; nobody was told.
    SqlSynced = "sql::synced",
}

/// Reads `FAILPOINTS`. To be called once, at the start of `main`; later calls do nothing.
pub fn init() {
    #[cfg(feature = "failpoints")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        // Dropping the scenario would clear every point again: they are to live as long as the process.
        ONCE.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    }
}

/// Ends the process as a power cut would, where the point is configured with `return`; else does nothing.
#[inline]
pub fn crash_point(point: Point) {
    #[cfg(feature = "failpoints")]
    fail::fail_point!(point.name(), |_| die());
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
}

/// Panics or sleeps where the point of that name is configured with `panic` or `sleep`; else does nothing.
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
    // Only where the kernel didn't.
    std::process::abort();
}
