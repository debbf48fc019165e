//! Tests of modules that trap, loop, exhaust memory, flood the log, or return invalid values. Each attack makes only its own request fail,
//! and only the operator learns the reason.
//!
//! The test kit's `attacks.rs` and its folder `hostile/` have the attacks.

use std::fs;
use std::time::{Duration, Instant};

use watertight_telemetry::table;
use watertight_testkit::attacks::{Attack, Why};
use watertight_testkit::client;
use watertight_testkit::host::{self, Host, Launch};

use crate::scrape::Scrape;

/// Starts a host with these attacks, each in a compartment of its own.
fn start(attacks: &[Attack]) -> (tempfile::TempDir, Host) {
    let folder = host::folder();
    let (mut manifest, mut routes) = ("[app]\nname = \"a\"\nroutes = [\"routes.toml\"]\n".to_owned(), String::new());
    for attack in attacks {
        manifest += &attack.put(folder.path());
        for function in ["attack", "fine"] {
            routes += &attack.route(&format!("/{}/{function}", attack.name), function);
        }
    }
    fs::write(folder.path().join("app.toml"), manifest).unwrap();
    fs::write(folder.path().join("routes.toml"), routes).unwrap();
    let host = Launch::app(folder.path()).start();
    (folder, host)
}

async fn scrape(host: &Host) -> Scrape {
    Scrape::read(&client::send(client::client().get(host.admin_url("/metrics"))).await.expect(200).text)
}

#[tokio::test]
async fn each_attack_costs_its_own_request_and_says_why() {
    let attacks = Attack::all();
    let (_folder, host) = start(&attacks);
    for Attack { name, status, why, fine, .. } in &attacks {
        for (round, neighbour) in attacks.iter().enumerate().skip(1).take(3) {
            let answer = host.get(&format!("/{name}/attack")).await;
            assert_eq!(answer.status, *status, "{name}: {answer:?}\n{}", host.log());
            if *status == 500 {
                assert_eq!(answer.problem(), "module-failed", "{name}");
                assert!(
                    !answer.text.contains(name.as_str()),
                    "{name}: the answer tells of the host's inside: {}",
                    answer.text
                );
            }
            let metrics = scrape(&host).await;
            // If the module's next call fails too, it is counted in the same way.
            let count = (if *fine == 200 { round } else { 2 * round - 1 }) as f64;
            let (counted, error) = match why {
                Why::Trap => {
                    (metrics.value(&table::CALL_ERRORS, &[("compartment", name), ("kind", "trap")]), "trapped")
                }
                Why::Limit(limit) => {
                    (metrics.value(&table::LIMITS, &[("compartment", name), ("limit", limit)]), "a limit was met")
                }
                Why::Deadline => {
                    (metrics.value(&table::CALL_ERRORS, &[("compartment", name), ("kind", "deadline")]), "")
                }
                Why::Callee => {
                    (metrics.value(&table::CALL_ERRORS, &[("compartment", name), ("kind", "callee")]), "trapped")
                }
                Why::Result => {
                    (metrics.value(&table::LIMITS, &[("compartment", name), ("limit", "result")]), "can't be written")
                }
                Why::Denied => (count, ""),
            };
            assert_eq!(counted, count, "{name}: {:?}", metrics.text());
            if !error.is_empty() {
                assert!(host.has_logged(error), "{name}: {}", host.log());
            }
            // The next request of the same module and of its neighbour is served.
            for (name, status) in [(name, *fine), (&neighbour.name, neighbour.fine)] {
                let answer = host.get(&format!("/{name}/fine")).await.expect(status);
                assert_eq!(answer.text == "7", status == 200, "{answer:?}");
            }
        }
    }
    for Attack { name, why, .. } in &attacks {
        let is_named = match why {
            Why::Trap | Why::Limit(_) | Why::Result => {
                // The log may name the callee instead.
                let said = [format!("in `{name}"), format!("module={name} "), format!("module=\"{name}\" ")];
                said.iter().any(|said| host.log().contains(said))
            }
            Why::Deadline => host.has_logged(&format!("deadline in `{name}`: it had ")),
            Why::Callee | Why::Denied => true,
        };
        assert!(is_named, "{name}: {}", host.log());
    }
    assert!(host.has_logged("further lines of this call are dropped"));
    // The bound allows three floods of 64 KiB each, and the lines of the other attacks.
    assert!(host.log().len() < 400_000, "{}", host.log().len());
    // Only what was committed before a trap stays, once for each call.
    for Attack { name, .. } in attacks.iter().filter(|attack| attack.sql) {
        let kept: u32 = database(&host, name).query_row(KEPT, [], |row| row.get(0)).unwrap();
        assert_eq!(kept, if name == "sql-trap-after-write" { 3 } else { 0 }, "{name}");
    }
    let copies: Vec<_> =
        fs::read_dir(host.state().join("data")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(copies.iter().all(|file| !file.to_string_lossy().contains("copy")), "{copies:?}");
}

/// An SQL query that counts the rows that an attack wrote: those that do not come from the harmless function `fine`.
const KEPT: &str = "SELECT count(*) FROM note WHERE text <> 'fine'";

fn database(host: &Host, module: &str) -> rusqlite::Connection {
    let file = host.state().join("data").join(format!("{module}.db"));
    rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

#[tokio::test]
async fn a_loop_is_stopped_by_its_processor_time_though_it_may_wait_for_long() {
    let attacks: Vec<Attack> = Attack::all().into_iter().filter(|attack| attack.name == "loop").collect();
    let (_folder, host) = start(&attacks);
    let start = std::time::Instant::now();
    host.get("/loop/attack").await.expect(500);
    // The limit of elapsed time would be ten seconds.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn what_computes_in_one_piece_holds_up_nobody() {
    let attacks: Vec<Attack> = Attack::all().into_iter().filter(|attack| attack.name == "many-values").collect();
    let folder = host::folder();
    let (manifest, routes) = (attacks[0].put(folder.path()), attacks[0].route("/attack", "attack"));
    let manifest = format!("[app]\nname = \"a\"\nroutes = [\"routes.toml\"]\n{manifest}");
    fs::write(folder.path().join("app.toml"), manifest).unwrap();
    fs::write(folder.path().join("routes.toml"), routes + &attacks[0].route("/fine", "fine")).unwrap();
    let host = Launch::app(folder.path()).variable("TOKIO_WORKER_THREADS", "1").start();
    // The host measures that the call takes long. Later calls are offloaded from the worker thread.
    for _ in 0..2 {
        host.get("/attack").await.expect(500);
    }
    assert!(scrape(&host).await.value(&table::LONG_STEPS, &[("compartment", "many-values")]) > 0.0);
    let mut attack = std::pin::pin!(host.get("/attack"));
    let mut others = 0;
    loop {
        tokio::select! {
            biased;
            answer = &mut attack => break drop(answer.expect(500)),
            fine = host.get("/fine") => {
                fine.expect(200);
                others += 1;
            }
        }
    }
    // If the attack blocked the only worker, just one or two other requests would be answered, before and after it.
    assert!(others > 10, "{others}");
}

#[tokio::test]
async fn deep_stacks_are_given_back() {
    let attacks: Vec<Attack> =
        Attack::all().into_iter().filter(|attack| attack.name == "recursion-then-loop").collect();
    let (_folder, host) = start(&attacks);
    let all_at_once = async |path: &str, status: u16| {
        for answer in futures::future::join_all((0..DEEP_CALLS).map(|_| host.get(path))).await {
            answer.expect(status);
        }
        resident(&host)
    };
    all_at_once("/recursion-then-loop/fine", 200).await;
    let before = all_at_once("/recursion-then-loop/fine", 200).await;
    let mut after = all_at_once("/recursion-then-loop/attack", 500).await;
    // Beside the stacks, the allocator keeps some memory of backtraces and log lines, and gives most of it back a little later.
    let bound = before + DEEP_CALLS * DEEP_STACK / 2;
    let start = Instant::now();
    while after >= bound {
        assert!(start.elapsed() < GIVEN_BACK, "{before} bytes were resident, {after} are");
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = resident(&host);
    }
}

/// How long the host may take to give back memory that it freed.
const GIVEN_BACK: Duration = Duration::from_secs(60);
/// The number of concurrent calls that each fill their stack by recursion, and then loop.
const DEEP_CALLS: u64 = 48;
/// The minimum size of the stack that each of these calls uses, in bytes: 8,000 stack frames of at least 32 bytes.
const DEEP_STACK: u64 = 8_000 * 32;

/// Returns the resident memory of the host in bytes.
fn resident(host: &Host) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.process())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_module_that_no_longer_starts_holds_up_the_change_of_no_other() {
    let wanted = ["start-loops-later", "trap"];
    let attacks: Vec<Attack> = Attack::all().into_iter().filter(|attack| wanted.contains(&&*attack.name)).collect();
    let (_folder, host) = start(&attacks);
    host.get("/start-loops-later/attack").await.expect(500);
    let marked = |component: &[u8]| [component, &[0, 6, 4, b'm', b'a', b'r', b'k', 1]].concat();
    host.swap("trap", marked(&attacks[1].component), "").await.expect(200);
    assert_eq!(host.get("/trap/fine").await.expect(200).header("watertight-generation"), "2");
    assert!(host.has_logged("can't start another instance now"), "{}", host.log());
    // A new build of the module that doesn't start is still refused.
    host.swap("start-loops-later", marked(&attacks[0].component), "").await.expect(409);
}
