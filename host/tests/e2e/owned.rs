//! Tests of the streams of a module that owns its routes: all orders as NDJSON, and their changes as server-sent events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs};

use futures::future::join_all;
use reqwest::Response;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use watertight_telemetry::table;
use watertight_testkit::admin::Operator;
use watertight_testkit::builds::with_build_id;
use watertight_testkit::client::{client, send};
use watertight_testkit::host::{Host, component, folder};
use watertight_testkit::process::Holdings;
use watertight_testkit::setup::Setup;

use crate::scrape::Scrape;
use crate::shop::{card, draft};

owned_routes! {
    async fn followers_miss_no_order_through_three_swaps;
    async fn an_export_of_many_orders_takes_little_memory;
}

/// The number of orders of the export.
const ORDERS: usize = 100_000;
/// The number of clients that follow events, unless the environment variable below sets another number.
const FOLLOWERS: usize = 100;
const FOLLOWERS_VARIABLE: &str = "FOLLOWERS";
/// The number of followers on an instance, where followers can share one.
const CONCURRENT: usize = 200;
/// The number of orders that are placed before each swap.
const BETWEEN: usize = 10;
/// The number of times that an order is tried while the database is busy.
const ATTEMPTS: usize = 50;
/// The customer of the order that ends a test.
const LAST: &str = "last";
/// The memory that the host may need on top for an export, in bytes. All orders as NDJSON take more than five times as much.
const ROOM: u64 = 4 << 20;

/// Inserts finished orders, each with one line.
const MANY: &str = "
    with recursive numbers(number) as (select 1 union all select number + 1 from numbers where number < 100000)
    insert into orders (id, customer, status, method, token, currency, total, payment_id, notice, created_at)
    select printf('01ARZ3NDEK%016d', number), 'ada', 'paid', 'card', 'tok_visa', 'EUR', 900,
        printf('01ARZ3NDEM%016d', number), 'sent', '2016-07-30T22:36:16.385Z' from numbers;
    insert into order_lines (order_id, position, sku, quantity, unit_price) select id, 0, 'tea', 2, 450 from orders;";

/// A client that follows the events, and connects again whenever its stream ends.
struct Follower {
    url: String,
    client: reqwest::Client,
    /// The id of the last event that arrived.
    last: Option<String>,
    /// The latest state of each order that arrived.
    orders: BTreeMap<String, Value>,
    /// The generations that answered.
    generations: BTreeSet<String>,
    ready: UnboundedSender<()>,
}

impl Follower {
    /// Follows until the order of the customer [`LAST`] is paid and told.
    async fn follow(mut self) -> Self {
        loop {
            let mut request = self.client.get(&self.url);
            if let Some(last) = &self.last {
                request = request.header("Last-Event-ID", last);
            }
            let mut response = request.send().await.unwrap();
            assert_eq!(response.status(), 200);
            self.generations.insert(response.headers()["watertight-generation"].to_str().unwrap().to_owned());
            if self.read(&mut response).await {
                return self;
            }
        }
    }

    /// Reads a stream to its end. Returns whether the last order was there.
    async fn read(&mut self, response: &mut Response) -> bool {
        let mut text = String::new();
        while let Some(piece) = response.chunk().await.expect("a stream of events ends cleanly") {
            text.push_str(std::str::from_utf8(&piece).unwrap());
            while let Some((event, rest)) = text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                text = rest;
                if self.take(&event) {
                    return true;
                }
            }
        }
        assert_eq!(text, "", "a stream ends between two events");
        false
    }

    fn take(&mut self, event: &str) -> bool {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        if let Some(id) = field("id: ") {
            self.last = Some(id.to_owned());
        }
        if field("retry: ").is_some() {
            let _ = self.ready.send(());
        }
        let Some(order) = field("data: ") else { return false };
        let order: Value = serde_json::from_str(order).unwrap();
        let is_last = order["customer"] == LAST && order["notice"] == "sent";
        self.orders.insert(order["id"].as_str().unwrap().to_owned(), order);
        is_last
    }
}

/// Places an order, as a client does that is told to try again when the database is busy: many followers connect at once.
async fn place(host: &Host, customer: &str) -> Value {
    static PLACED: AtomicUsize = AtomicUsize::new(0);
    let key = format!("order-{}", PLACED.fetch_add(1, Ordering::Relaxed));
    for _ in 0..ATTEMPTS {
        let order = client().post(host.url("/orders")).header("idempotency-key", &key);
        let answer = send(order.json(&draft(customer, card("tok_visa")))).await;
        if answer.status != 503 {
            return answer.expect(201).body;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the database was busy {ATTEMPTS} times")
}

/// Returns settings with room for so many followers, and for requests beside them. A follower may connect again before its connection is
/// free, so each has two. The time to drain is short, so that swaps end streams.
fn room(followers: usize) -> String {
    let (room, connections) = (followers + 256, 2 * followers + 512);
    format!(
        "[http]\ndrain = \"1s\"\nin_flight = {room}\nconnections = {connections}\n\
         [defaults.limits]\ncalls = {room}\n[defaults.instances]\nconcurrent = {CONCURRENT}\n"
    )
}

/// Returns the number of instances that a host has, of all modules, and the size of its memory in bytes.
async fn held(host: &Host) -> (f64, u64) {
    let metrics = Scrape::read(&send(client().get(host.admin_url("/metrics"))).await.expect(200).text);
    let instances = metrics.sum(&table::INSTANCES_MADE, &[]) - metrics.sum(&table::INSTANCES_DROPPED, &[]);
    (instances, Holdings::of(host.process()).unwrap().resident)
}

/// Waits until this number of streams have begun. If a follower fails, fails with what the host has counted as failed or cut off.
async fn until_all_follow(
    host: &Host,
    number: usize,
    ready: &mut UnboundedReceiver<()>,
    followers: &mut JoinSet<Follower>,
) {
    for _ in 0..number {
        let ended = tokio::select! {
            ready = ready.recv() => {
                ready.unwrap();
                continue;
            }
            ended = followers.join_next() => ended.unwrap().err(),
        };
        let metrics = send(client().get(host.admin_url("/metrics"))).await.expect(200).text;
        let told = |line: &&str| !line.ends_with(" 0") && (line.contains("cut_off") || line.contains("call_errors"));
        let counted: Vec<_> = metrics.lines().filter(|line| !line.starts_with('#')).filter(told).collect();
        panic!("a follower ended early: {ended:?}\n{}", counted.join("\n"));
    }
}

async fn followers_miss_no_order_through_three_swaps(setup: Setup) {
    let number = env::var(FOLLOWERS_VARIABLE).map_or(FOLLOWERS, |text| text.parse().unwrap());
    let app = setup.shop_with(&room(number));
    let host = app.launch().start();
    place(&host, "before").await;
    let (_, before) = held(&host).await;
    let (ready, mut is_ready) = unbounded_channel();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut followers: JoinSet<_> = (0..number)
        .map(|_| Follower {
            url: host.url("/orders/events"),
            client: client.clone(),
            last: None,
            orders: BTreeMap::new(),
            generations: BTreeSet::new(),
            ready: ready.clone(),
        })
        .map(Follower::follow)
        .collect();
    let begin = Instant::now();
    until_all_follow(&host, number, &mut is_ready, &mut followers).await;
    let connected = begin.elapsed();
    let (instances, after) = held(&host).await;
    let each = after.saturating_sub(before) / (number as u64 * 1024);
    assert!(setup != Setup::OWNED_P3 || instances < (number / 4) as f64, "{instances} for {number} followers");
    eprintln!("{setup:?}: {number} followers in {connected:?}, {instances} instances, {each} KiB for each follower");

    let built = fs::read(component(setup.orders())).unwrap();
    let mut placed = BTreeMap::new();
    let mut keep = |order: Value| {
        placed.insert(order["id"].as_str().unwrap().to_owned(), order);
    };
    for swap in 1..=3 {
        // These orders are placed at the same time, by requests that share instances with the followers where they can.
        let orders = join_all((0..BETWEEN).map(|_| place(&host, "ada"))).await;
        orders.into_iter().for_each(&mut keep);
        let (operator, build) = (Operator::of(&host), with_build_id(&built, &swap.to_string()));
        let swapped = tokio::task::spawn_blocking(move || operator.swapped("orders", &build)).await.unwrap();
        assert_eq!(swapped, swap + 1);
        let begin = Instant::now();
        // Some orders are placed while the followers of the generation before are told to go.
        for _ in 0..BETWEEN {
            keep(place(&host, "eve").await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        until_all_follow(&host, number, &mut is_ready, &mut followers).await;
        let (instances, after) = held(&host).await;
        let (all, more) = (begin.elapsed(), after.saturating_sub(before) >> 20);
        eprintln!("swap {swap}: all follow again after {all:?}, {instances} instances, {more} MiB more than before");
    }
    keep(place(&host, LAST).await);
    for follower in followers.join_all().await {
        assert_eq!(follower.orders, placed);
        assert_eq!(follower.generations.into_iter().collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    }
}

async fn an_export_of_many_orders_takes_little_memory(setup: Setup) {
    let state = folder();
    let state = state.path().join("state");
    let app = setup.shop_with("");
    app.launch().state(&state).start().kill();
    rusqlite::Connection::open(state.join("data/orders.db")).unwrap().execute_batch(MANY).unwrap();

    let host = app.launch().state(&state).start();
    // The first export warms up what every request needs.
    export(&host).await;
    let process = format!("/proc/{}", host.process());
    // Resets the largest size to the current one.
    fs::write(format!("{process}/clear_refs"), "5").unwrap();
    let before = peak(&process);
    let whole = export(&host).await;
    let more = peak(&process) - before;
    eprintln!("{setup:?}: the export has {whole} bytes, and the host needed {more} more for it");
    assert!(more < ROOM && whole > 5 * ROOM, "the export has {whole} bytes, and the host needed {more} more for it");
}

/// Reads the export, which must be whole, and returns its length in bytes.
async fn export(host: &Host) -> u64 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut response = client.get(host.url("/orders/export")).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let (mut length, mut lines, mut last) = (0, 0, 0);
    while let Some(piece) = response.chunk().await.unwrap() {
        lines += piece.iter().filter(|byte| **byte == b'\n').count();
        length += piece.len() as u64;
        last = *piece.last().unwrap();
    }
    assert_eq!((lines, last), (ORDERS, b'\n'));
    length
}

/// Returns the largest size of a process in memory, in bytes.
fn peak(process: &str) -> u64 {
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
