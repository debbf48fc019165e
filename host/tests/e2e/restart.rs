//! Restarts of a host whose sockets a service manager keeps open: no connection is refused, and no request that had begun is cut.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use watertight_testkit::client::{Raw, request};
use watertight_testkit::host::{self, Manager};

use crate::shop::{card, draft};

/// How often the host restarts under load.
const RESTARTS: usize = 4;
/// The maximum time for an answer. A request may wait for a whole start of the host.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The end of the head of a response.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// How a client uses its connections.
#[derive(Debug, Clone, Copy)]
enum Habit {
    /// A connection for each request.
    Short,
    /// One request after another on a connection.
    Busy,
    /// The first byte of a request, then a pause, then the rest.
    Halting,
    /// A pause between the connection and its request.
    Late,
}

/// What a client saw.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicUsize,
    placed: AtomicUsize,
    busy: AtomicUsize,
    /// Requests that got an answer other than the expected one.
    failed: AtomicUsize,
    /// Connections that were refused.
    refused: AtomicUsize,
    /// Requests whose first byte was sent and that got no complete answer.
    cut: AtomicUsize,
}

/// A client without a mercy for the host: it never sends a request again.
struct Customer<'a> {
    address: SocketAddr,
    habit: Habit,
    name: String,
    tally: &'a Tally,
}

impl Customer<'_> {
    fn shop(&self, is_over: &AtomicBool) {
        let mut connection = None;
        for number in 0.. {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            connection = self.ask(connection, number);
        }
    }

    /// Sends a request, on `kept` if it is still open. Returns the connection if the host keeps it open.
    fn ask(&self, kept: Option<TcpStream>, number: usize) -> Option<TcpStream> {
        let mut stream = match kept.filter(is_open) {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let is_order = number.is_multiple_of(4);
        let bytes = if is_order {
            let key = format!("Idempotency-Key: {}-{number}", self.name);
            let body = draft(&self.name, card("tok_visa")).to_string();
            request("POST", "/orders", &["Content-Type: application/json", &key], body.as_bytes())
        } else {
            request("GET", &format!("/orders?customer={}&limit=1", self.name), &[], b"")
        };
        match exchange(&mut stream, &bytes, self.habit) {
            Ok((head, body)) => {
                self.tally.answered.fetch_add(1, Ordering::Relaxed);
                if head.starts_with(if is_order { "HTTP/1.1 201 " } else { "HTTP/1.1 200 " }) {
                    self.tally.placed.fetch_add(usize::from(is_order), Ordering::Relaxed);
                } else if body.contains("the database is busy") {
                    // The answer of the shop on a machine with too much to do.
                    self.tally.busy.fetch_add(1, Ordering::Relaxed);
                } else {
                    eprintln!("{:?}: {head}\n{body}", self.habit);
                    self.tally.failed.fetch_add(1, Ordering::Relaxed);
                }
                let stays = !head.contains("connection: close") && !matches!(self.habit, Habit::Short);
                stays.then_some(stream)
            }
            Err(error) => {
                eprintln!("{:?}: {error}", self.habit);
                self.tally.cut.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Opens a connection. Returns `None` if the host has closed it before its first request, which a client may not hold against the host.
    fn connect(&self) -> Option<TcpStream> {
        let Ok(stream) = TcpStream::connect(self.address) else {
            self.tally.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        if matches!(self.habit, Habit::Late) {
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(stream).filter(is_open)
    }
}

/// Returns whether the host has not closed an idle connection.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    seen.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Sends a request, and returns the head and the body of its answer.
fn exchange(stream: &mut TcpStream, bytes: &[u8], habit: Habit) -> std::io::Result<(String, String)> {
    let first = if matches!(habit, Habit::Halting) { 1 } else { bytes.len() };
    stream.write_all(&bytes[..first])?;
    if first < bytes.len() {
        std::thread::sleep(Duration::from_millis(20));
        stream.write_all(&bytes[first..])?;
    }
    let mut answer = Vec::new();
    loop {
        if let Some(end) = answer.windows(HEAD_END.len()).position(|part| part == HEAD_END) {
            let head = String::from_utf8_lossy(&answer[..end]).into_owned();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            let body = &answer[end + HEAD_END.len()..];
            if body.len() >= length.parse::<usize>().unwrap() {
                return Ok((head, String::from_utf8_lossy(body).into_owned()));
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&chunk[..read]),
        }
    }
}

/// Nobody reads what the hosts tell the service manager. That holds up none of them.
#[test]
fn restarts_under_load_refuse_no_connection_and_cut_no_request() {
    let manager = Manager::new();
    let launch = || manager.launch(&host::shop(), "http:admin");
    let mut host = launch().start();
    let (tally, is_over) = (Tally::default(), AtomicBool::new(false));
    let habits = [Habit::Short, Habit::Busy, Habit::Halting, Habit::Late];
    std::thread::scope(|scope| {
        for (number, habit) in habits.iter().cycle().take(3 * habits.len()).enumerate() {
            let name = format!("customer-{number}");
            let customer = Customer { address: manager.listen(), habit: *habit, name, tally: &tally };
            let is_over = &is_over;
            scope.spawn(move || customer.shop(is_over));
        }
        for _ in 0..RESTARTS {
            // Long enough for hundreds of requests.
            std::thread::sleep(Duration::from_secs(1));
            let before = tally.answered.load(Ordering::Relaxed);
            host.signal(Signal::TERM);
            assert_eq!(host.wait().code(), Some(0), "{}", host.log());
            assert!(!host.log().contains("cut off"), "{}", host.log());
            host = launch().start();
            assert!(tally.answered.load(Ordering::Relaxed) > before);
        }
        std::thread::sleep(Duration::from_secs(1));
        is_over.store(true, Ordering::Relaxed);
    });
    eprintln!("{RESTARTS} restarts: {tally:?}");
    let Tally { answered, placed, failed, refused, cut, .. } = tally;
    assert_eq!((refused.into_inner(), cut.into_inner(), failed.into_inner()), (0, 0, 0));
    assert!(answered.into_inner() > 100 && placed.into_inner() > 10);
}

/// Connections that wait while the host has stopped are served by the next host.
#[test]
fn connections_in_the_queue_wait_for_the_next_host() {
    let manager = Manager::new();
    let launch = || manager.launch(&host::shop(), "http:admin");
    let mut host = launch().start();
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0), "{}", host.log());
    let ask = |_| {
        let mut connection = Raw::connect(manager.listen());
        connection.send(request("GET", "/orders?customer=x", &[], b""));
        connection
    };
    let waiting: Vec<Raw> = (0..100).map(ask).collect();
    let _host = launch().start();
    for mut connection in waiting {
        connection.answer(true).expect(200);
    }
}

/// A request is in flight from its first byte on, on a new connection and on one that was kept open.
#[test]
fn a_request_whose_first_byte_came_before_the_stop_is_answered() {
    let manager = Manager::new();
    let mut host = manager.launch(&host::shop(), "http:admin").start();
    let whole = request("GET", "/orders?customer=x", &[], b"");
    let body = draft("ada", card("tok_visa")).to_string();
    let order = request("POST", "/orders", &["Content-Type: application/json"], body.as_bytes());
    let begin = |was_used: bool, bytes: &[u8]| {
        let mut connection = Raw::connect(host.listen());
        if was_used {
            connection.send(&whole).answer(true).expect(200);
        }
        connection.send(&bytes[..1]);
        connection
    };
    let begun = [
        (begin(false, &whole), &whole, 200),
        (begin(true, &whole), &whole, 200),
        // The first byte of `POST` could be that of HTTP/2's preface.
        (begin(false, &order), &order, 201),
        (begin(true, &order), &order, 201),
    ];
    let mut idle = begin(true, &whole);
    idle.send(&whole[1..]).answer(true).expect(200);
    std::thread::sleep(Duration::from_millis(100));
    host.signal(Signal::TERM);
    // Idle connections are closed meanwhile.
    assert!(idle.is_closed(Duration::from_secs(5)));
    for (mut connection, bytes, status) in begun {
        let answer = connection.send(&bytes[1..]).answer(true).expect(status);
        assert_eq!(answer.header("connection"), "close");
        assert_eq!(connection.rest(), b"");
    }
    assert_eq!(host.wait().code(), Some(0), "{}", host.log());
}

/// The sockets close when the host starts another program, such as the compiler. Their names count, and not their order.
#[test]
fn sockets_are_found_by_their_names_and_kept_from_child_processes() {
    let manager = Manager::new();
    let host = manager.launch(&host::shop(), "admin:http").start();
    assert_eq!(host.admin(), manager.listen());
    for number in 3..5 {
        let facts = std::fs::read_to_string(format!("/proc/{}/fdinfo/{number}", host.process())).unwrap();
        let flags = facts.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        assert_ne!(u32::from_str_radix(flags, 8).unwrap() & 0o2_000_000, 0, "O_CLOEXEC is not among {flags}");
    }
}

#[test]
fn sockets_with_unknown_names_are_refused() {
    let manager = Manager::new();
    let (status, log) = manager.launch(&host::shop(), "http:other").expect_end();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("`other`") && log.contains("http, admin, probe"), "{log}");
}

#[test]
fn the_service_manager_is_told_what_the_host_does() {
    let manager = Manager::new();
    let launch = manager.launch(&host::shop(), "").variable("WATCHDOG_USEC", "1000000");
    let mut host = launch.start();
    assert_eq!(host.listen(), manager.listen());
    let start = manager.hear("READY=1");
    let extended = |lines: &[String]| lines.iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC="));
    assert!(start[0].starts_with("STATUS=starting") && extended(&start), "{start:?}");
    // The message has more lines than the one that was waited for.
    manager.hear("WATCHDOG=1");
    manager.hear("WATCHDOG=1");

    host.signal(Signal::HUP);
    let reload = manager.hear("RELOADING=1");
    assert!(reload.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reload:?}");
    manager.hear("READY=1");

    manager.forget();
    host.signal(Signal::TERM);
    let stop = manager.hear("STOPPING=1");
    assert!(extended(&stop), "{stop:?}");
    assert_eq!(host.wait().code(), Some(0));
}
