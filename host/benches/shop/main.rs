//! Benchmark of the shop: reads and places orders through the host, and through a native monolith with the same business rules, the
//! same database writer and the same SQLite settings behind axum. Each server has one core, and the load driver another.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports")]

mod native;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use watertight_testkit::bench;
use watertight_testkit::bench::compare::in_turns;
use watertight_testkit::bench::cores::Cores;
use watertight_testkit::bench::load::{Requests, Run, Sample, drive, once};
use watertight_testkit::bench::report::Report;
use watertight_testkit::bench::server::{self, Server};

/// The numbers of connections of the load that are measured. The goals apply to the last number, which keeps the server's core busy.
const CONNECTIONS: [usize; 3] = [1, 8, 64];
/// The number of different orders that the load reads.
const ORDERS: usize = 256;
/// The JSON of the order that the load places: the example of the project's documentation.
const DRAFT: &str = r#"{"customer":"ada","lines":[{"sku":"tea","quantity":2,"unit_price":{"currency":"EUR","minor":450}}],"payment":{"card":"tok_visa"}}"#;

fn main() -> anyhow::Result<()> {
    if server::is_native() {
        return server::serve_native(native::router(&server::native_state()?)?);
    }
    let cores = Cores::find()?;
    let app = bench::application::shop()?;
    let folder = tempfile::tempdir_in(bench::folder()?)?;
    let mut servers = vec![
        Server::host(Some(&cores), &app, &folder.path().join("host"))?,
        Server::native(&cores, &folder.path().join("native"))?,
    ];
    if let Some(before) = bench::Before::find() {
        servers.push(Server::host_of(&before.binary, Some(&cores), &before.shop, &folder.path().join("before"))?);
    }
    let place = Requests::post("/orders", DRAFT, 201);
    let (looks, reads): (Vec<Value>, Vec<Requests>) = servers
        .iter()
        .map(|server| seed(server.address, &place))
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .unzip();
    ensure!(looks.windows(2).all(|two| two[0] == two[1]), "the servers answer differently: {looks:?}");

    let mut report = Report::new("shop", "the shop on the host / as a native axum monolith, one core each");
    let places = vec![place; servers.len()];
    // Reading waits for nothing; placing an order waits for the disk.
    for (name, requests, goal, spin) in
        [("GET /orders/{id}", &reads, 0.70, true), ("POST /orders", &places, 0.80, false)]
    {
        for connections in CONNECTIONS {
            let main = connections == CONNECTIONS[CONNECTIONS.len() - 1];
            let (rounds, time) = if main { (bench::rounds(), 2000) } else { (3, 1000) };
            let run = Run { connections, warm: Duration::from_millis(300), time: Duration::from_millis(time), spin };
            let measured: Vec<Vec<Sample>> = in_turns(rounds, servers.len(), |side| {
                drive(&cores, servers[side].process(), servers[side].address, &requests[side], run)
            })?;
            let name = format!("{name}, {connections} connections");
            report.loads(name.clone(), goal, None, &measured[0], &measured[1]);
            if let Some(before) = measured.get(2) {
                report.cost(&name, &measured[0], before);
            }
        }
    }
    for server in servers {
        server.stop()?;
    }
    report.finish()
}

/// Places orders. Returns an example of an order as the server returns it, without the parts that differ between orders, and
/// requests that read the orders.
fn seed(address: SocketAddr, place: &Requests) -> anyhow::Result<(Value, Requests)> {
    let mut paths = Vec::with_capacity(ORDERS);
    for _ in 0..ORDERS {
        let order: Value = serde_json::from_slice(&once(address, place)?)?;
        let id = order["id"].as_str().context("an order has an id")?;
        paths.push(format!("/orders/{id}"));
    }
    let reads = Requests::get(paths);
    let mut order: Value = serde_json::from_slice(&once(address, &reads)?)?;
    for own in ["id", "payment_id", "created_at"] {
        order[own] = order[own].as_str().map(str::len).into();
    }
    Ok((order, reads))
}
