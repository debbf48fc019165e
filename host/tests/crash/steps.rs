//! Tests of hosts that are killed at every named step of every change of the application, while orders are placed: the next start serves a
//! whole generation, the old one or the new one, the history says which, and no acknowledged order is lost.
//!
//! The steps are the crash points of `host/disk/src/failpoint.rs`. The match over them is exhaustive, so a new step must be added to a
//! scenario here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use watertight_component::artifact::{Docs, ModuleSection};
use watertight_disk::failpoint::CrashPoint;
use watertight_model::ids::Digest;
use watertight_model::migration::Migration;
use watertight_testkit::admin::{Operator, multipart, parts_of};
use watertight_testkit::builds::with_build_id;
use watertight_testkit::components::component_of;
use watertight_testkit::host::{Host, Launch, component, copy_of_shop, folder};
use watertight_testkit::paths::temporary;
use watertight_testkit::wire::{get, once};

use crate::client::{Shop, draft};
use crate::kills::Closing;
use crate::ledger::Ledger;

/// The environment variable with the number of kills at each step of each change. The default is 2, which takes 45 s; `make crash` sets 10.
const TIMES: &str = "CRASH_TIMES";
/// The number of customers that order at the same time.
const CUSTOMERS: usize = 2;
/// The pause between two attempts of a customer to place an order.
const PAUSE: Duration = Duration::from_millis(2);
/// The maximum time for which a customer tries.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The number of database commits before a kill in the scenario of orders. It exceeds the commits of a start, which completes the orders
/// that the last kill left.
const COMMITS: usize = 30;
/// The number of the signal of `kill -9`.
const KILL: i32 = 9;

/// Something that a host does while it is killed. Each scenario passes some of the named steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Swap,
    Apply,
    Rollback,
    /// A swap that is refused and recorded in the history.
    Refusal,
    /// A start of the host after the application on the disk has changed.
    Start,
    /// No change: customers place orders.
    Orders,
}

/// Returns the scenarios that pass a step, and whether the next start serves the new generation after a kill at the step.
fn scenarios(point: CrashPoint) -> (&'static [Scenario], bool) {
    use Scenario::{Apply, Orders, Refusal, Rollback, Start, Swap};
    match point {
        CrashPoint::ChangePlanned
        | CrashPoint::ChangeLinked
        | CrashPoint::ChangeKept
        | CrashPoint::ChangeOpened
        | CrashPoint::ChangeWarm
        | CrashPoint::ChangeMigrated => (&[Swap, Apply, Rollback], false),
        CrashPoint::CodeAside | CrashPoint::CodeRenamed | CrashPoint::ComponentAside | CrashPoint::ComponentRenamed => {
            (&[Swap, Apply, Start], false)
        }
        CrashPoint::MigrationRun | CrashPoint::MigrationCommitted => (&[Swap, Apply, Start], false),
        CrashPoint::ConfigurationAside | CrashPoint::ConfigurationRenamed => (&[Apply, Start], false),
        CrashPoint::HistoryAside => (&[Swap, Apply, Rollback, Refusal, Start], false),
        CrashPoint::HistoryRenamed => (&[Swap, Apply, Rollback, Refusal, Start], true),
        CrashPoint::HistoryWritten => (&[Swap, Apply, Rollback, Start], true),
        CrashPoint::ChangePublished | CrashPoint::ChangeCurrent => (&[Swap, Apply, Rollback], true),
        CrashPoint::SqlBeforeCommit | CrashPoint::SqlCommitted | CrashPoint::SqlSynced => (&[Orders], false),
        // `backup.rs` and `restore.rs` test these steps.
        CrashPoint::BackupCopied
        | CrashPoint::BackupWritten
        | CrashPoint::RestoreCopied
        | CrashPoint::RestoreMarked
        | CrashPoint::RestoreMoved
        | CrashPoint::RestorePlaced => (&[], false),
    }
}

/// What distinguishes the generations of the application in these tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    /// The number that the module `extra` answers with, which identifies its build.
    tag: u32,
    /// The mark of the running build of payments.
    payments: char,
}

/// The state that customers share with the test: the shop's address and the acknowledged orders.
#[derive(Default)]
struct World {
    /// The address of the host while customers may send requests.
    address: Mutex<Option<Shop>>,
    told: Mutex<BTreeMap<String, String>>,
    closing: AtomicBool,
}

impl World {
    fn open(&self, shop: Option<Shop>) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = shop;
    }

    /// Places orders one by one, and repeats each until it is acknowledged.
    fn order(&self, customer: usize) {
        let draft = draft(&format!("customer-{customer}"), "tok_visa");
        for number in 0.. {
            let key = format!("{customer}-{number}");
            let start = Instant::now();
            loop {
                if self.closing.load(SeqCst) {
                    return;
                }
                let shop = *self.address.lock().unwrap_or_else(PoisonError::into_inner);
                match shop.map(|shop| shop.place(&draft, Some(&key))) {
                    Some(Ok(answer)) if answer.status != 503 => {
                        assert_eq!(answer.status, 201, "{answer:?}");
                        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                        told.insert(key, answer.id().to_owned());
                        break;
                    }
                    _ => thread::sleep(PAUSE),
                }
                assert!(start.elapsed() < TIMEOUT, "{key} is not answered");
            }
        }
    }

    /// Asserts that every acknowledged order exists once and is paid.
    fn check(&self, ledger: &Ledger, when: &str) {
        let kept: BTreeMap<&str, (&str, &str)> = ledger
            .orders
            .iter()
            .filter_map(|order| Some((order.key.as_deref()?, (order.id.as_str(), order.status.as_str()))))
            .collect();
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, id) in &*told {
            assert_eq!(kept.get(key.as_str()), Some(&(id.as_str(), "paid")), "{when}: order {key}");
        }
    }
}

/// The shop with one more module, `extra`, whose answer says which build it is. No other module depends on it.
struct Application {
    folder: TempDir,
    /// The tag of the next build of `extra`. No earlier run of the tests used it, so no cache has compiled code for the build.
    next: u32,
}

impl Application {
    fn new() -> Self {
        let folder = copy_of_shop(
            "[modules.extra]\ncomponent = \"extra.wasm\"\nuses = [\"sql\"]\n[compartments.extra]\nmodules = [\"extra\"]",
        );
        let route = "[[route]]\nmethod = \"GET\"\npath = \"/extra\"\ncall = \"extra/tag.tag\"\n";
        fs::write(folder.path().join("routes/extra.toml"), route).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self { folder, next: now.subsec_nanos() | 1 << 30 }
    }

    /// Replaces the component of `extra` on the disk by a new build, and changes a setting that has little effect. Returns the build's tag.
    fn change(&mut self, migrations: usize) -> u32 {
        self.next += 1;
        fs::write(self.folder.path().join("extra.wasm"), extra(self.next, migrations)).unwrap();
        let file = self.folder.path().join("app.toml");
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("# last\n").next().unwrap();
        let log = self.next % 1_000_000 + 100_000;
        fs::write(file, format!("{text}# last\n[defaults.limits]\nlog = \"{log}B\"\n")).unwrap();
        self.next
    }

    /// Copies the application to another folder, from which no host was started.
    fn copy(&self) -> Self {
        let folder = folder();
        fs::create_dir(folder.path().join("routes")).unwrap();
        for part in ["", "routes"] {
            for file in fs::read_dir(self.folder.path().join(part)).unwrap().map(|file| file.unwrap()) {
                if file.path().is_file() {
                    fs::copy(file.path(), folder.path().join(part).join(file.file_name())).unwrap();
                }
            }
        }
        Self { folder, next: self.next }
    }
}

/// Returns a build of `extra` with this tag and this number of migrations.
fn extra(tag: u32, migrations: usize) -> Vec<u8> {
    let wit = "package t:extra@1.0.0; interface tag { tag: func() -> u32; } world w { export tag; }";
    let core = format!("(module (func (export \"t:extra/tag@1.0.0#tag\") (result i32) (i32.const {tag})))");
    let mut component = component_of(wit, "w", &core);
    let migration = |number| {
        Migration::new(format!("{number:05}_more.sql"), format!("CREATE TABLE more_{number} (id INTEGER PRIMARY KEY)"))
    };
    let migrations = (0..migrations).map(migration).collect();
    let section = ModuleSection::new(&component, "extra".parse().unwrap(), "wat", migrations, Docs::default());
    section.unwrap().append_to(&mut component).unwrap();
    component
}

/// Returns the module of payments as a build whose build id contains this mark.
fn payments(build: char) -> Vec<u8> {
    with_build_id(&fs::read(component("payments")).unwrap(), &format!("steps{build}"))
}

/// A series of kills of hosts on one state folder, and what the next start is expected to serve.
struct Run<'a> {
    world: &'a World,
    app: Application,
    state: PathBuf,
    /// The numbers of the published generations, and what each must serve. The last one is current.
    published: Vec<(u64, Content)>,
    /// The number of changes that were refused so far.
    refused: usize,
    /// The number of migrations that the next build of `extra` has.
    migrations: usize,
}

impl Run<'_> {
    fn current(&self) -> (u64, Content) {
        *self.published.last().unwrap()
    }

    /// Checks what a started host serves, before customers send requests. Returns the host's operator.
    fn check(&mut self, host: &Host, when: &str) -> Operator {
        let ledger = Ledger::read(&self.state);
        ledger.check_settled(when);
        self.world.check(&ledger, when);
        let operator = Operator::of(host);
        let told = operator.generations();
        let (number, content) = self.current();
        let last = told["generations"].as_array().unwrap().last().unwrap();
        assert_eq!((&told["current"], &last["number"]), (&number.into(), &number.into()), "{when}: {told}");
        assert_eq!(told["refused"].as_array().unwrap().len(), self.refused.min(16), "{when}: {told}");
        // The running generation is the one in the history, and it is whole.
        let extra = once(host.listen(), &get("/extra")).unwrap();
        assert_eq!((extra.status, extra.generation(), &extra.body), (200, number, &content.tag.into()), "{when}");
        let digest = |module: &str| last["modules"][module]["digest"].as_str().unwrap().to_owned();
        assert_eq!(digest("payments"), Digest::of(&self.payments(content)).to_string(), "{when}");
        let placed = Shop(host.listen()).place(&draft("probe", "tok_visa"), Some(&format!("probe {when}"))).unwrap();
        assert_eq!((placed.status, &placed.body["status"]), (201, &"paid".into()), "{when}: {placed:?}");
        for folder in ["artifacts", "configurations", "code", "."] {
            let files = fs::read_dir(self.state.join(folder)).unwrap().map(|file| file.unwrap().path());
            let aside: Vec<_> = files.filter(|file| file.extension().is_some_and(|e| e == "tmp")).collect();
            assert!(aside.is_empty(), "{when}: {aside:?}");
        }
        operator
    }

    /// Starts a host without a fail point, and checks what it serves.
    fn serves(&mut self, when: &str) -> Host {
        let host = Launch::app(self.app.folder.path()).state(&self.state).start();
        self.check(&host, &format!("{when}, started"));
        host
    }

    fn payments(&self, content: Content) -> Vec<u8> {
        if content.payments == ' ' { fs::read(component("payments")).unwrap() } else { payments(content.payments) }
    }

    /// Runs a scenario with a host that is killed at the step `point`, and records what the next start must serve: the new generation if
    /// `is_new`. `time` is the number of the repetition; each repetition of `Orders` lets more commits pass before the kill.
    fn kill_at(&mut self, scenario: Scenario, point: CrashPoint, is_new: bool, time: usize) {
        let when = format!("{scenario:?} at {}, time {time}", point.name());
        let (number, content) = self.current();
        let armed = match scenario {
            Scenario::Orders => format!("{}={}*off->return", point.name(), COMMITS + 7 * time),
            _ => format!("{}=return", point.name()),
        };
        let launch = Launch::app(self.app.folder.path()).state(&self.state).variable("FAILPOINTS", &armed);
        self.migrations += usize::from(matches!(point, CrashPoint::MigrationRun | CrashPoint::MigrationCommitted));
        if scenario == Scenario::Start {
            let tag = self.app.change(self.migrations);
            let (status, log) = launch.expect_end();
            assert_eq!(status.signal(), Some(KILL), "{when}: {log}");
            // Every further start applies the content of the disk. The next one does so if this one didn't.
            self.published.push((number + 1, Content { tag, payments: ' ' }));
            self.serves(&when).kill();
            return;
        }
        let mut host = launch.start();
        let operator = self.check(&host, &when);
        self.world.open(Some(Shop(host.listen())));
        if scenario != Scenario::Orders {
            thread::sleep(Duration::from_millis(20 + (time as u64 * 37) % 60));
        }
        let mut new = content;
        let asked = match scenario {
            // The swaps alternate between payments, whose compartment is composed again, and `extra`, which has its own.
            Scenario::Swap if time % 2 == 1 && !needs_a_new_build(point) => {
                new.payments = if content.payments == 'a' { 'b' } else { 'a' };
                operator.request("POST", "/modules/payments/swap", "application/wasm", &self.payments(new))
            }
            Scenario::Swap => {
                self.app.next += 1;
                new.tag = self.app.next;
                let component = extra(new.tag, self.migrations);
                operator.request("POST", "/modules/extra/swap", "application/wasm", &component)
            }
            Scenario::Apply => {
                let mut next = self.app.copy();
                new = Content { tag: next.change(self.migrations), payments: ' ' };
                self.app.next = next.next;
                let parts = multipart(&parts_of(next.folder.path()));
                let kind = "multipart/form-data; boundary=----swap-tests-f3a94c71d2";
                operator.request("POST", "/apply", kind, &parts)
            }
            Scenario::Rollback => {
                new = self.published[self.published.len() - 2].1;
                operator.request("POST", "/rollback", "application/json", b"{}")
            }
            Scenario::Refusal => operator.request("POST", "/modules/extra/swap", "application/wasm", b"nothing"),
            Scenario::Orders | Scenario::Start => Vec::new(),
        };
        if !asked.is_empty() {
            let answer = once(host.admin(), &asked);
            assert!(answer.is_err(), "{when}: {answer:?}\n{}", host.log());
        }
        let status = host.wait();
        self.world.open(None);
        assert_eq!(status.signal(), Some(KILL), "{when}: {}", host.log());
        match (scenario, is_new) {
            (Scenario::Refusal, told) => self.refused += usize::from(told),
            (_, true) => self.published.push((number + 1, new)),
            (_, false) => {}
        }
    }
}

/// Returns whether a change passes this step only if it brings a new build or a new migration.
fn needs_a_new_build(point: CrashPoint) -> bool {
    matches!(
        point,
        CrashPoint::CodeAside
            | CrashPoint::CodeRenamed
            | CrashPoint::ComponentAside
            | CrashPoint::ComponentRenamed
            | CrashPoint::MigrationRun
            | CrashPoint::MigrationCommitted
    )
}

/// A guard that removes the compiled code of these builds from the cache that tests share, since no other run can use it.
struct Tidy(Vec<PathBuf>);

fn kept_code() -> Vec<PathBuf> {
    let folder = temporary().join("code");
    fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path()).collect()
}

impl Drop for Tidy {
    fn drop(&mut self) {
        for file in kept_code().into_iter().filter(|file| !self.0.contains(file)) {
            // If another test needs the code, it is compiled again.
            let _ = fs::remove_file(file);
        }
    }
}

#[test]
fn killed_at_every_step_of_every_change() {
    let times = std::env::var(TIMES).map_or(2, |times| times.parse().expect("a number"));
    let (start, mut kills, mut orders) = (Instant::now(), 0, 0);
    let mut tidy = Tidy(Vec::new());
    // Each step has its own state folder, since a ledger of thousands of orders would be slow.
    for point in CrashPoint::ALL.iter().filter(|point| !scenarios(**point).0.is_empty()) {
        let told = killed_at(*point, times, &mut tidy);
        kills += times * scenarios(*point).0.len();
        orders += told;
    }
    eprintln!("{kills} kills in {:?}, {orders} orders acknowledged", start.elapsed());
    assert!(orders > kills, "only {orders} orders were placed: the host hardly ran");
}

/// Runs each scenario that passes the step `point`, `times` times, and kills the host at the step. Returns the number of acknowledged
/// orders.
fn killed_at(point: CrashPoint, times: usize, tidy: &mut Tidy) -> usize {
    let folder = folder();
    let mut app = Application::new();
    let tag = app.change(1);
    let state = folder.path().join("state");
    let first = Launch::app(app.folder.path()).state(&state).start();
    if tidy.0.is_empty() {
        tidy.0 = kept_code();
    }
    // A rollback needs an earlier generation.
    app.next += 1;
    assert_eq!(Operator::of(&first).swapped("extra", &extra(app.next, 1)), 2);
    first.kill();
    let content = |tag| Content { tag, payments: ' ' };
    let published = vec![(1, content(tag)), (2, content(app.next))];
    let world = World::default();
    let mut run = Run { world: &world, app, state, published, refused: 0, migrations: 1 };
    thread::scope(|scope| {
        let world = &world;
        let customers: Vec<_> = (0..CUSTOMERS).map(|customer| scope.spawn(move || world.order(customer))).collect();
        // The guard ends the customers' threads even if this thread panics.
        let closing = Closing(&world.closing);
        let (scenarios, is_new) = scenarios(point);
        for time in 0..times {
            for scenario in scenarios {
                run.kill_at(*scenario, point, is_new, time);
            }
        }
        drop(closing);
        customers.into_iter().for_each(|customer| customer.join().unwrap());
    });
    run.serves("after the last kill").kill();
    world.told.lock().unwrap_or_else(PoisonError::into_inner).len()
}
