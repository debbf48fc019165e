//! An HTTP/2 client for tests that sends arbitrary frames and reads the frames of the server.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The maximum time to wait for the next HTTP/2 frame from the server.
const TIMEOUT: Duration = Duration::from_secs(120);

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

/// The flag of an HTTP/2 frame that ends its stream (END_STREAM), or that acknowledges another frame (ACK).
pub const END: u8 = 1;
/// The flag of an HTTP/2 HEADERS frame that contains the whole head (END_HEADERS).
const END_HEADERS: u8 = 4;

/// An HTTP/2 frame from the server.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads four bytes of the frame's payload, from the index `at`, as a number. The error code of a GOAWAY frame is at 4, that of a
    /// RST_STREAM frame at 0.
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// Returns the HTTP status in a HEADERS frame of a response. The frame may have it as an index into HPACK's static table, or as a
    /// literal.
    pub fn status(&self) -> u16 {
        match self.payload[0] {
            0x88 => 200,
            0x89 => 204,
            0x8c => 400,
            0x8d => 404,
            0x8e => 500,
            // A literal with the name `:status`, whose digits are Huffman-coded: 0, 1 and 2 with five bits, the others with six.
            0x48 | 0x08 | 0x18 => huffman(&self.payload[2..2 + usize::from(self.payload[1] & 0x7f)]),
            other => panic!("a head that begins with {other:#x}"),
        }
    }
}

/// Decodes an HTTP status of three Huffman-coded digits (RFC 7541, appendix B).
fn huffman(bytes: &[u8]) -> u16 {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut number) = (&*bits, 0);
    for _ in 0..3 {
        let short = u16::from_str_radix(&rest[..5], 2).unwrap();
        let (digit, length) = match short {
            0..=2 => (short, 5),
            _ => (u16::from_str_radix(&rest[..6], 2).unwrap() - 0b01_1001 + 3, 6),
        };
        (number, rest) = (number * 10 + digit, &rest[length..]);
    }
    number
}

/// An HTTP/2 connection to the server.
pub struct Http2 {
    stream: TcpStream,
    next: u32,
}

impl Http2 {
    /// Connects and completes the HTTP/2 handshake. `window` is the initial flow-control window of each response, in bytes.
    pub fn connect(address: SocketAddr, window: u32) -> Self {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut http = Self { stream, next: 1 };
        http.frame(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat());
        http
    }

    /// Sends an HTTP/2 frame of the type `kind`. Returns false if the server has closed the connection.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.stream.write_all(&[head, payload.to_vec()].concat()).is_ok()
    }

    /// Sends the head of a request with the header fields `fields`, and returns the number of its stream. If `is_whole` is false, a body
    /// follows.
    pub fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)], is_whole: bool) -> u32 {
        let stream = self.next;
        self.next += 2;
        let mut block = Vec::new();
        for (name, value) in
            [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path)].iter().chain(fields)
        {
            // A literal field without indexing, with a literal name.
            block.push(0);
            for text in [name, value] {
                length(&mut block, text.len());
                block.extend_from_slice(text.as_bytes());
            }
        }
        let (first, rest) = block.split_at(block.len().min(16_384));
        let is_one = rest.is_empty();
        let flags = u8::from(is_whole) | if is_one { END_HEADERS } else { 0 };
        self.frame(HEADERS, flags, stream, first);
        let pieces: Vec<&[u8]> = rest.chunks(16_384).collect();
        for (place, piece) in pieces.iter().enumerate() {
            self.frame(9, if place + 1 == pieces.len() { END_HEADERS } else { 0 }, stream, piece);
        }
        stream
    }

    pub fn get(&mut self, path: &str) -> u32 {
        self.ask("GET", path, &[], true)
    }

    /// Sends a `GET` request, and waits for the head of its response. Returns the number of its stream.
    pub fn head_of(&mut self, path: &str) -> u32 {
        let stream = self.get(path);
        self.head(stream);
        stream
    }

    pub fn window(&mut self, stream: u32, bytes: u32) -> bool {
        self.frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
    }

    /// Returns the next frame, or `None` once the server has closed the connection.
    ///
    /// # Errors
    ///
    /// The time for which this method waited, if no frame arrived within `time`.
    pub fn next_within(&mut self, time: Duration) -> Result<Option<Frame>, Duration> {
        let mut head = [0; 9];
        self.stream.set_read_timeout(Some(time.max(Duration::from_millis(1)))).unwrap();
        match self.stream.peek(&mut head) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Err(time),
            Err(_) => return Ok(None),
        }
        self.stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        if self.stream.read_exact(&mut head).is_err() {
            return Ok(None);
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if self.stream.read_exact(&mut payload).is_err() {
            return Ok(None);
        }
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        // Every client must acknowledge these frames.
        match frame.kind {
            SETTINGS if frame.flags & END == 0 => {
                self.frame(SETTINGS, END, 0, &[]);
            }
            PING if frame.flags & END == 0 => {
                self.frame(PING, END, 0, &frame.payload);
            }
            _ => {}
        }
        Ok(Some(frame))
    }

    /// Returns all frames until the connection ends or `time` is over.
    pub fn frames(&mut self, time: Duration) -> Vec<Frame> {
        let start = Instant::now();
        let mut all = Vec::new();
        while let Some(left) = time.checked_sub(start.elapsed()) {
            match self.next_within(left) {
                Ok(Some(frame)) => all.push(frame),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        all
    }

    /// Returns the head of the response on a stream. Skips other frames before it.
    pub fn head(&mut self, stream: u32) -> Frame {
        let start = Instant::now();
        while start.elapsed() < TIMEOUT {
            match self.next_within(TIMEOUT) {
                Ok(Some(frame)) if frame.kind == HEADERS && frame.stream == stream => return frame,
                Ok(Some(frame)) => assert!(frame.kind != GOAWAY, "no answer but {frame:?}"),
                other => panic!("no answer on {stream}: {other:?}"),
            }
        }
        panic!("no answer on {stream}");
    }
}

/// Encodes a length for HPACK with a prefix of seven bits.
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}
