//! Runs a fuzz test ("target"): one case after another until the time is over, each generated from its own seed.
//!
//! The seed is written to `target/tmp/fuzz/TARGET.seed` before its case runs, and is removed when the target passes. So a case that fails,
//! or that ends the whole process, is the first of the next run, until it passes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use rustix::time::{ClockId, clock_gettime};

const SECONDS: &str = "WATERTIGHT_FUZZ_SECONDS";
const SEED: &str = "WATERTIGHT_FUZZ_SEED";
/// The time for which a fuzz test runs by default, in seconds.
const DEFAULT_SECONDS: u64 = 15;
/// The time after which each required outcome must have occurred, even on a slow machine, in seconds. A shorter run is not checked for
/// them.
const ENOUGH_SECONDS: u64 = 10;
/// The maximum processor time of one case in a debug build.
const CASE: Duration = Duration::from_secs(10);
/// The maximum peak memory of the test process, in bytes. It covers all fuzz tests, two of which run at once.
const MEMORY: u64 = 4 << 30;

/// The outcome of a case that passed, as a word that is counted, or the reason why it failed.
pub(crate) type Outcome = Result<&'static str, TestCaseError>;

/// Runs the fuzz test `target`: calls `check` on values of `strategy`. Each of `outcomes` must occur, or the values test too little.
///
/// # Panics
///
/// Panics with the smallest failing value and the command that repeats it.
pub(crate) fn fuzz<S: Strategy>(
    target: &str,
    outcomes: &[&'static str],
    strategy: S,
    check: impl Fn(S::Value) -> Outcome,
) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    fs::create_dir_all(&folder).unwrap();
    let target = Target { name: target, kept: folder.join(target).with_extension("seed") };
    let number = |variable| std::env::var(variable).ok().map(|text: String| text.parse::<u64>().expect(variable));
    let counted = RefCell::new(BTreeMap::new());
    let counting = |value| {
        let before = processor_time();
        let outcome = check(value)?;
        let taken = processor_time().saturating_sub(before);
        prop_assert!(taken < CASE, "the case took {taken:?} of processor time");
        *counted.borrow_mut().entry(outcome).or_insert(0_u64) += 1;
        Ok(())
    };
    if let Some(seed) = number(SEED) {
        target.run(seed, &strategy, counting);
        return;
    }
    if let Some(seed) = fs::read_to_string(&target.kept).ok().and_then(|text| text.trim().parse().ok()) {
        target.run(seed, &strategy, counting);
    }
    let seconds = number(SECONDS).unwrap_or(DEFAULT_SECONDS);
    let (start, first) = (Instant::now(), rand_seed());
    let mut cases = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        target.run(first.wrapping_add(cases), &strategy, counting);
        cases += 1;
    }
    let counted = counted.into_inner();
    println!("{}: {cases} cases in {seconds} s: {counted:?}", target.name);
    let missing: Vec<_> = outcomes.iter().filter(|outcome| !counted.contains_key(*outcome)).collect();
    assert!(
        seconds < ENOUGH_SECONDS || missing.is_empty(),
        "{}: no case with {missing:?}, only {counted:?}",
        target.name
    );
    fs::remove_file(target.kept).unwrap();
    let peak = peak_memory();
    assert!(peak < MEMORY, "the peak memory of the process was {peak} bytes");
}

struct Target<'a> {
    name: &'a str,
    /// The path of the file that has the seed of the running case.
    kept: PathBuf,
}

impl Target<'_> {
    fn run<S: Strategy>(&self, seed: u64, strategy: &S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
        fs::write(&self.kept, seed.to_string()).unwrap();
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config {
            cases: 1,
            failure_persistence: None,
            max_shrink_iters: 4096,
            max_shrink_time: 60_000,
            ..Config::default()
        };
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        match TestRunner::new_with_rng(config, random).run(strategy, check) {
            Ok(()) => {}
            Err(TestError::Fail(why, smallest)) => panic!(
                "{name}: {why}\nthe smallest value that fails: {smallest:#?}\nagain: make fuzz TARGET={name} SEED={seed}",
                name = self.name
            ),
            Err(TestError::Abort(why)) => panic!("{}: no case can be generated: {why}", self.name),
        }
    }
}

/// Returns a new seed for each run, so that later runs find what earlier ones missed. A failure prints its seed.
fn rand_seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

/// Returns the processor time of this thread, since other targets and other programs run at the same time.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
