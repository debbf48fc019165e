//! The part of a service manager: it binds the sockets, hands them to one host after another, and hears what the hosts say.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Launch, TIMEOUT, folder};

/// A shell script that moves the sockets from standard input and output to the file descriptors 3 and 4, and becomes the host.
const SCRIPT: &str = r#"exec 3<&0 4<&1 0</dev/null 1>/dev/null; LISTEN_PID=$$ exec "$@""#;
/// The maximum length of a message of a host, in bytes.
const MAX_MESSAGE: usize = 4 << 10;

/// What a service manager keeps while hosts come and go.
pub struct Manager {
    sockets: [TcpListener; 2],
    messages: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    /// Binds both sockets to free ports.
    pub fn new() -> Self {
        let folder = folder();
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let messages = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        messages.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self { sockets: [bind(), bind()], messages, folder }
    }

    /// Returns the address of the socket for the data listener.
    pub fn listen(&self) -> SocketAddr {
        self.sockets[0].local_addr().unwrap()
    }

    /// Returns the settings of a host that gets the sockets, by these names (`LISTEN_FDNAMES`), and tells this manager what it does. The state
    /// folder is the same for each such host.
    pub fn launch(&self, app: &Path, names: &str) -> Launch {
        let mut launch = Launch::app(app).state(&self.folder.path().join("state"));
        launch = launch.under(&["sh", "-c", SCRIPT, "sh"]);
        launch = launch.variable("LISTEN_FDS", "2").variable("LISTEN_FDNAMES", names);
        launch = launch.variable("NOTIFY_SOCKET", self.folder.path().join("notify").to_str().unwrap());
        launch.sockets = Some(self.sockets.each_ref().map(|socket| socket.try_clone().unwrap()));
        launch
    }

    /// Reads messages until one has this line. Returns all lines that were read, in order.
    ///
    /// # Panics
    ///
    /// If no such message comes.
    pub fn hear(&self, line: &str) -> Vec<String> {
        let (mut lines, start) = (Vec::new(), Instant::now());
        while !lines.iter().any(|heard| heard == line) {
            let mut message = [0; MAX_MESSAGE];
            let length =
                self.messages.recv(&mut message).unwrap_or_else(|error| panic!("no {line}: {error}: {lines:?}"));
            lines.extend(String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned));
            assert!(start.elapsed() < TIMEOUT, "no {line}: {lines:?}");
        }
        lines
    }

    /// Forgets the messages that have come.
    pub fn forget(&self) {
        self.messages.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        while self.messages.recv(&mut [0; MAX_MESSAGE]).is_ok() {}
        self.messages.set_read_timeout(Some(TIMEOUT)).unwrap();
    }
}

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

/// Gives the sockets to the shell script.
pub(super) fn hand_over(command: &mut Command, sockets: &[TcpListener; 2]) {
    let [data, admin] = sockets.each_ref().map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
    command.stdin(data).stdout(admin);
}
