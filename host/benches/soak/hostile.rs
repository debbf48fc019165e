//! The attackers of the soak test: modules that trap, loop or exhaust memory, one after the other without a pause; and clients that
//! disconnect, stall or send malformed requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use watertight_testkit::attacks::Attack;
use watertight_testkit::bench::customers::read;
use watertight_testkit::bench::server::Server;
use watertight_testkit::open::{Request, ask};

/// The pause between two malformed requests.
const PAUSE: Duration = Duration::from_millis(20);
/// How long to wait for the response to a malformed request.
const TIMEOUT: Duration = Duration::from_millis(200);

/// The number of attacks and malformed requests so far.
#[derive(Debug, Default)]
pub struct Counted {
    pub attacks: AtomicU64,
    pub nonsense: AtomicU64,
}

/// Calls one hostile module, and checks that the response is the expected one.
pub fn attack(server: &Server, Attack { name, status, .. }: &Attack) -> anyhow::Result<()> {
    let request = Request { bytes: read(&format!("/{name}")).into(), status: *status };
    ask(server.address, &request).map(drop).with_context(|| format!("attack `{name}`"))
}

/// Runs one attack after the other until the soak test is over.
pub fn attack_until(over: &AtomicBool, server: &Server, attacks: &[Attack], counted: &Counted) -> anyhow::Result<()> {
    for next in attacks.iter().cycle() {
        if over.load(Relaxed) {
            break;
        }
        attack(server, next)?;
        counted.attacks.fetch_add(1, Relaxed);
    }
    Ok(())
}

const HEAD: &str = "POST /orders HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\n";
const DRAFT: &str = r#"{"customer":"bob","lines":[{"sku":"tea","quantity":2,"unit_price":{"currency":"EUR","minor":450}}],"payment":{"card":"tok_visa"}}"#;

/// Sends malformed requests until the soak test is over, each on a connection of its own. Some connections are closed at once, some
/// after the response, and some after a few others.
pub fn talk_nonsense_until(over: &AtomicBool, server: &Server, counted: &Counted) -> anyhow::Result<()> {
    let length = DRAFT.len();
    let whole = format!("{HEAD}content-length: {length}\r\n\r\n{DRAFT}");
    let nonsense: [Vec<u8>; 10] = [
        // A client that places an order and disconnects may or may not have placed it.
        whole.clone().into_bytes(),
        whole.as_bytes()[..whole.len() - 30].to_vec(),
        whole.as_bytes()[..20].to_vec(),
        format!("{HEAD}content-length: 99999999999\r\n\r\n{DRAFT}").into_bytes(),
        format!("{HEAD}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{DRAFT}").into_bytes(),
        format!("{HEAD}content-length: 4000\r\n\r\n{}", "[".repeat(4000)).into_bytes(),
        format!("GET /orders/{} HTTP/1.1\r\nhost: soak\r\n\r\n", "%ff".repeat(1000)).into_bytes(),
        format!("GET /orders?{} HTTP/1.1\r\nhost: soak\r\n\r\n", "a=b&".repeat(2000)).into_bytes(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\xff\xff\xff\xff\xff\xff\0\0\x01\x09".to_vec(),
        vec![0; 10_000],
    ];
    let mut kept: Vec<TcpStream> = Vec::new();
    for (number, bytes) in nonsense.iter().cycle().enumerate() {
        if over.load(Relaxed) {
            break;
        }
        let mut stream = TcpStream::connect(server.address)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        // The host may stop reading a request that it refuses.
        let _ = stream.write_all(bytes);
        match number / nonsense.len() % 3 {
            0 => drop(stream),
            1 => drop(stream.read(&mut [0; 4096])),
            _ => kept.push(stream),
        }
        if kept.len() > 64 {
            kept.clear();
        }
        counted.nonsense.fetch_add(1, Relaxed);
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
