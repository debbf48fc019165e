//! A client that sends HTTP/1.1 bytes on a connection of its own. Unlike ordinary clients, it repeats no request and hides no broken
//! connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// The maximum time to wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A complete HTTP response.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    /// The response's headers. Their names are in lower case.
    pub headers: Vec<(String, String)>,
    pub text: String,
    /// The response's body as JSON. It is null if the body is not JSON.
    pub body: Value,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of generation {}: {}", self.status, self.header("watertight-generation"), self.text)
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// Returns the number of the generation that answered.
    pub fn generation(&self) -> u64 {
        self.header("watertight-generation").parse().unwrap_or_else(|_| panic!("no generation: {self:?}"))
    }

    /// Asserts that the answer has the HTTP status `status`, and returns the answer.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Returns the codes of the problems for which the answer refuses a change, in order.
    pub fn codes(&self) -> Vec<&str> {
        let problems = self.body["problems"].as_array().unwrap_or_else(|| panic!("no problems: {self:?}"));
        problems.iter().map(|problem| problem["code"].as_str().unwrap()).collect()
    }
}

/// Returns the bytes of a request: its head with `content-length`, and its body.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = head(method, path, headers, body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Returns the text of a request's head, which announces a body of `length` bytes. The host is `test`, unless `headers` names another.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let host = if headers.iter().any(|(name, _)| *name == "host") { "" } else { "host: test\r\n" };
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\n{host}content-length: {length}\r\n{headers}\r\n")
}

pub fn get(path: &str) -> Vec<u8> {
    request("GET", path, &[], b"")
}

/// A connection that stays open between requests.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// The bytes that were received after the end of the last answer.
    rest: Vec<u8>,
    /// Whether the next answer has no body, whatever length it names.
    is_head: bool,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, rest: Vec::new(), is_head: false })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.is_head = bytes.starts_with(b"HEAD ");
        self.stream.write_all(bytes)
    }

    /// Ends the client's side of the connection. The answer can still be read.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Reads the next complete answer.
    pub fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((answer, length)) = read(&self.rest, self.is_head) {
                self.rest.drain(..length);
                return Ok(answer);
            }
            let mut some = [0; 16 << 10];
            match self.stream.read(&mut some)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.rest.extend_from_slice(&some[..count]),
            }
        }
    }

    pub fn exchange(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        self.send(bytes)?;
        self.answer()
    }
}

/// Sends the bytes of one request on a new connection, reads the answer, and closes the connection.
pub fn once(address: SocketAddr, bytes: &[u8]) -> io::Result<Answer> {
    Connection::open(address)?.exchange(bytes)
}

/// Parses a complete answer at the beginning of `bytes`. Returns the answer and its length, or `None` if it is not complete.
fn read(bytes: &[u8], is_head: bool) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let field = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let headers: Vec<(String, String)> = lines.filter_map(field).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, length)| length);
    let length = end + 4 + if is_head { 0 } else { length.parse::<usize>().unwrap() };
    if status == 100 {
        let (answer, rest) = read(&bytes[end + 4..], is_head)?;
        return Some((answer, end + 4 + rest));
    }
    let body = bytes.get(end + 4..length)?;
    let text = String::from_utf8_lossy(body).into_owned();
    let answer = Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text };
    Some((answer, length))
}
