//! An HTTP/2 client that sends any header fields, valid or not. It writes frames by hand and doesn't compress fields.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// The maximum payload of an HTTP/2 frame that every peer must accept, in bytes.
const MAX_FRAME: usize = 16_384;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// What a client gets for an HTTP/2 request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The host answered with this body.
    Answered(Vec<u8>),
    /// The HTTP/2 stream or the connection ended without an answer.
    Reset,
}

impl Outcome {
    /// Returns the body as JSON, or null if there is none.
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Answered(body) => serde_json::from_slice(body).unwrap_or_default(),
            Self::Reset => Value::Null,
        }
    }
}

/// Sends one HTTP/2 request on a new connection, and returns its outcome. `fields` are all header fields, those that begin with a colon
/// included.
pub(crate) fn ask(address: SocketAddr, fields: &[(&str, &str)], body: &[u8]) -> Outcome {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    send(&mut stream, SETTINGS, 0, 0, &[]);
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let pieces: Vec<&[u8]> = block.chunks(MAX_FRAME).collect();
    for (place, piece) in pieces.iter().enumerate() {
        let end = if place + 1 == pieces.len() { END_HEADERS } else { 0 };
        let whole = if place == 0 && body.is_empty() { END_STREAM } else { 0 };
        send(&mut stream, if place == 0 { HEADERS } else { CONTINUATION }, end | whole, 1, piece);
    }
    if !body.is_empty() {
        send(&mut stream, DATA, END_STREAM, 1, body);
    }
    read(&mut stream)
}

fn read(stream: &mut TcpStream) -> Outcome {
    let mut answer = Vec::new();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).is_err() {
            break;
        }
        match kind {
            DATA => answer.extend_from_slice(&payload),
            RST_STREAM | GOAWAY => break,
            SETTINGS if flags & ACK == 0 => send(stream, SETTINGS, ACK, 0, &[]),
            _ => {}
        }
        if (kind == DATA || kind == HEADERS) && flags & END_STREAM != 0 {
            return Outcome::Answered(answer);
        }
    }
    Outcome::Reset
}

fn send(stream: &mut TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(payload);
    // A host that gave the connection up may not read the frame.
    let _ = stream.write_all(&frame);
}

/// Appends a length in the encoding of HPACK (RFC 7541, section 5.1), without Huffman coding.
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}
