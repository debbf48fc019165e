//! Crash points: named places where a test can make the process die, to prove that what was acknowledged survives.
//!
//! They exist only with the cargo feature `failpoints`; without it every function here compiles to nothing. A release must never
//! have them: whoever sets the environment of such a process decides when it dies.
//!
//! A test starts the binary with, say, `FAILPOINTS='sql::committed=3*off->return'`: the process aborts when it passes that point
//! for the fourth time. The grammar is that of the `fail` crate; `return` is the action that aborts.

/// Reads `FAILPOINTS`. To be called once, at the start of `main`; later calls do nothing.
pub fn init() {
    #[cfg(feature = "failpoints")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        // Dropping the scenario would clear every point again: they are to live as long as the process.
        ONCE.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    }
}

/// Aborts the process, as a power cut would, where the point `name` is configured with `return`; else does nothing.
#[inline]
pub fn crash_point(name: &'static str) {
    #[cfg(feature = "failpoints")]
    fail::fail_point!(name, |_| std::process::abort());
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}
