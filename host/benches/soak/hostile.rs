//! Those who mean harm: modules that trap, loop and eat, one after the other without pause; clients that break off, stall or talk nonsense.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;

use super::attacks::Attack;
use super::support::customers::read;
use super::support::open::{Request, ask};
use super::support::server::Server;

/// Between two pieces of nonsense.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an answer to nonsense is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// How much there was.
#[derive(Debug, Default)]
pub struct Counted {
    pub attacks: AtomicU64,
    pub nonsense: AtomicU64,
}

/// Has one module do its worst; the answer must be the one that is due.
pub fn attack(server: &Server, Attack { name, status, .. }: &Attack) -> anyhow::Result<()> {
    let request = Request { bytes: read(&format!("/{name}")).into(), status: *status };
    ask(server.address, &request).map(drop).with_context(|| format!("attack `{name}`"))
}

/// One attack after the other.
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

/// Broken requests, each on a connection that is left at once, after the answer, or as it is until the end of a few others.
pub fn talk_nonsense_until(over: &AtomicBool, server: &Server, counted: &Counted) -> anyhow::Result<()> {
    let length = DRAFT.len();
    let whole = format!("{HEAD}content-length: {length}\r\n\r\n{DRAFT}");
    let nonsense: [Vec<u8>; 10] = [
        // Whoever places an order and goes away has one, perhaps.
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
        stream.set_read_timeout(Some(PATIENCE))?;
        // A host that has heard enough needn't read the rest.
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
