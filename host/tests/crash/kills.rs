//! Tests of hosts that are ended by `kill -9`, right after an answer and at random moments under load: no acknowledged order is lost, and
//! nobody is charged twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use watertight_testkit::host::{Host, Launch, binary, folder, shop};

use crate::client::{Answer, Shop, draft};
use crate::ledger::Ledger;

/// The environment variable that sets the seed of the random moments at which the host is killed.
const SEED: &str = "CRASH_SEED";
/// The number of kills under load.
const KILLS: u32 = 200;
/// The number of customers that order at the same time.
const CUSTOMERS: u64 = 6;
/// The maximum number of orders of one customer for whose card the payment provider never answers. Each start of the host tries again to
/// charge them.
const MOST_SILENT: usize = 3;
/// The maximum time for which a customer repeats one request.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The pause between two attempts of a customer.
const PAUSE: Duration = Duration::from_millis(2);

/// A pseudo-random number generator (SplitMix64). Equal seeds give equal numbers.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % end
    }
}

#[test]
fn killed_right_after_the_answer() {
    let folder = folder();
    let state = folder.path().join("state");
    let mut placed = Vec::new();
    for _ in 0..10 {
        let host = Launch::shop().state(&state).start();
        let answer = Shop(host.listen()).place(&draft("ada", "tok_visa"), None).unwrap();
        host.kill();
        assert_eq!(answer.status, 201, "{answer:?}");
        placed.push(answer);
    }
    let host = Launch::shop().state(&state).start();
    let shop = Shop(host.listen());
    for order in &placed {
        assert_eq!(shop.get(&format!("/orders/{}", order.id())).unwrap().body, order.body);
        let payment = order.body["payment_id"].as_str().unwrap();
        assert_eq!(shop.get(&format!("/payments/{payment}")).unwrap().body["status"], "captured");
    }
    let notices = shop.get("/notifications?recipient=ada").unwrap();
    assert_eq!(notices.body["items"].as_array().unwrap().len(), placed.len());
    let ledger = Ledger::read(&state);
    ledger.check_settled("after the last kill");
    assert_eq!(ledger.orders.len(), placed.len());
}

/// The state that the customers share with the thread that kills the host.
struct World {
    /// The address of the host's data listener while the host runs, and else `None`.
    address: Mutex<Option<SocketAddr>>,
    closing: AtomicBool,
    seed: u64,
}

/// An order of a customer that the host has acknowledged.
#[derive(Debug)]
struct Told {
    key: Option<String>,
    draft: Value,
    answer: Answer,
    cancelled: bool,
}

impl World {
    fn shop(&self) -> Option<Shop> {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).map(Shop)
    }

    fn open(&self, address: Option<SocketAddr>) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// Repeats a request until its answer is not 503.
    fn insist(&self, ask: impl Fn(Shop) -> std::io::Result<Answer>) -> Answer {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < TIMEOUT, "there is no answer after {TIMEOUT:?}");
            match self.shop().map(&ask) {
                Some(Ok(answer)) if answer.status != 503 => return answer,
                _ => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Places and cancels random orders until the test tells the customers to stop. Returns the acknowledged orders.
    fn order(&self, customer: u64) -> Vec<Told> {
        let mut dice = Dice::new(self.seed ^ (customer << 32));
        let mut told: Vec<Told> = Vec::new();
        let (mut silent, name) = (0, format!("customer-{customer}"));
        for number in 0.. {
            if self.closing.load(SeqCst) {
                break;
            }
            match dice.below(20) {
                0..=10 => {
                    // The key is the customer's own, or one that all customers use at about the same time.
                    let shared = dice.below(4) == 0;
                    let key = if shared { format!("shared-{}", number / 8) } else { format!("{name}-{number}") };
                    let draft = draft(if shared { "all" } else { &name }, "tok_visa");
                    let answer = self.insist(|shop| shop.place(&draft, Some(&key)));
                    assert_eq!(answer.status, 201, "{answer:?}");
                    told.push(Told { key: Some(key), draft, answer, cancelled: false });
                }
                11 | 12 => {
                    let draft = draft(&name, "tok_visa");
                    let answer = self.shop().map(|shop| shop.place(&draft, None));
                    if let Some(Ok(answer)) = answer
                        && answer.status != 503
                    {
                        assert_eq!(answer.status, 201, "{answer:?}");
                        told.push(Told { key: None, draft, answer, cancelled: false });
                    }
                }
                13..=15 if !told.is_empty() => {
                    let before = &told[dice.below(told.len() as u64) as usize];
                    if let Some(key) = &before.key {
                        let again = self.insist(|shop| shop.place(&before.draft, Some(key)));
                        assert_eq!((again.status, again.id()), (201, before.answer.id()), "{before:?}");
                    }
                }
                16 if !told.is_empty() => {
                    let place = dice.below(told.len() as u64) as usize;
                    let before = &mut told[place];
                    if before.draft["customer"] == *name {
                        let cancelled = self.insist(|shop| shop.cancel(before.answer.id()));
                        assert_eq!(
                            (cancelled.status, &cancelled.body["status"]),
                            (200, &"cancelled".into()),
                            "{before:?}"
                        );
                        before.cancelled = true;
                    }
                }
                17 => {
                    let draft = draft(&name, "tok_declined");
                    let answer = self.insist(|shop| shop.place(&draft, Some(&format!("{name}-{number}"))));
                    assert_eq!(answer.status, 402, "{answer:?}");
                }
                18 if silent < MOST_SILENT => {
                    silent += 1;
                    let key = format!("{name}-{number}");
                    let answer = self.shop().map(|shop| shop.place(&draft(&name, "tok_timeout"), Some(&key)));
                    assert!(!matches!(answer, Some(Ok(ref answer)) if answer.status != 503), "{answer:?}");
                }
                _ => std::thread::sleep(Duration::from_millis(dice.below(20))),
            }
        }
        told
    }

    /// Kills the host at random moments and starts it again, [`KILLS`] times. Returns the last host, which runs.
    fn kill(&self, state: &Path) -> Host {
        let mut dice = Dice::new(self.seed);
        for _ in 0..KILLS {
            if dice.below(5) == 0 {
                kill_while_starting(state, Duration::from_millis(dice.below(120)));
                continue;
            }
            let host = Launch::shop().state(state).start();
            self.open(Some(host.listen()));
            std::thread::sleep(Duration::from_millis(dice.below(150)));
            if dice.below(8) == 0 {
                // The pause is longer than a transaction may wait for its next statement.
                host.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(120));
                host.signal(Signal::CONT);
                std::thread::sleep(Duration::from_millis(dice.below(40)));
            }
            self.open(None);
            if dice.below(10) == 0 {
                stop(host);
            } else {
                host.kill();
            }
        }
        let host = Launch::shop().state(state).start();
        self.open(Some(host.listen()));
        host
    }
}

fn kill_while_starting(state: &Path, after: Duration) {
    let mut command = binary();
    command.arg("run").arg(shop()).arg("--state").arg(state).args([
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ]);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Stops the host with SIGTERM while customers send requests.
fn stop(mut host: Host) {
    host.signal(Signal::TERM);
    let status = host.wait();
    assert!(status.success(), "the host was asked to stop, and ended with {status}:\n{}", host.log());
}

#[test]
fn random_kills_under_load() {
    let seed = std::env::var(SEED).map_or(2, |seed| seed.parse().expect("the seed is a number"));
    let folder = folder();
    let state = folder.path().join("state");
    let world = World { address: Mutex::default(), closing: AtomicBool::new(false), seed };
    let hint = Hint(seed);

    let (told, host) = std::thread::scope(|scope| {
        let world = &world;
        let customers: Vec<_> = (0..CUSTOMERS).map(|customer| scope.spawn(move || world.order(customer))).collect();
        // The guard ends the customers' threads even if this thread panics.
        let closing = Closing(&world.closing);
        let host = world.kill(&state);
        drop(closing);
        let told: Vec<Told> = customers.into_iter().flat_map(|customer| customer.join().unwrap()).collect();
        (told, host)
    });
    // The last answers must survive a last kill.
    host.kill();
    let host = Launch::shop().state(&state).start();
    let ledger = Ledger::read(&state);
    ledger.check_settled("after the last kill");
    check_told(&told, &ledger, Shop(host.listen()));
    eprintln!("{} orders, {} of them acknowledged", ledger.orders.len(), told.len());
    drop(hint);
}

/// Asserts that the databases and the shop's answers still have every order as it was acknowledged.
fn check_told(told: &[Told], ledger: &Ledger, shop: Shop) {
    assert!(told.len() > 200, "only {} orders were placed: the host hardly ran", told.len());
    let orders: BTreeMap<&str, _> = ledger.orders.iter().map(|order| (order.id.as_str(), order)).collect();
    let cancelled: Vec<&str> = told.iter().filter(|told| told.cancelled).map(|told| told.answer.id()).collect();
    let mut by_key: BTreeMap<&str, &str> = BTreeMap::new();
    for told in told {
        let id = told.answer.id();
        let kept = orders.get(id).unwrap_or_else(|| panic!("{told:?} is lost"));
        assert_eq!(kept.key, told.key, "{told:?}");
        if let Some(key) = &told.key {
            assert_eq!(*by_key.entry(key).or_insert(id), id, "{key} was acknowledged with two orders");
        }
        let expected = if cancelled.contains(&id) { "cancelled" } else { "paid" };
        assert_eq!(kept.status, expected, "{told:?}");
        let now = shop.get(&format!("/orders/{id}")).unwrap();
        assert_eq!(now.status, 200, "{told:?}");
        for field in ["id", "customer", "lines", "total", "payment_id", "created_at"] {
            assert_eq!(now.body[field], told.answer.body[field], "{field} of {told:?}");
        }
    }
}

/// A guard that tells the threads of the customers to end when it is dropped.
pub struct Closing<'a>(pub &'a AtomicBool);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// A guard that prints how to repeat the run if the test fails.
struct Hint(u64);

impl Drop for Hint {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat about the same moments: {SEED}={}", self.0);
        }
    }
}
