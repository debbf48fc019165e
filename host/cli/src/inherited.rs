//! Sockets that a service manager has bound and hands over (`LISTEN_FDS`). While one host ends and the next one starts, connections wait in
//! these sockets' queues, so a restart refuses none.

use std::net::TcpListener;

use anyhow::{Context as _, bail};
use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

/// The names of sockets (`FileDescriptorName=` of a socket unit), in the order that counts if the sockets have other names.
const NAMES: [&str; 3] = ["http", "admin", "probe"];

/// The sockets that were handed over. Each is closed when this process starts another program.
#[derive(Debug, Default)]
pub(super) struct InheritedSockets {
    /// The socket of the data listener, named `http`.
    pub(super) data: Option<TcpListener>,
    /// The socket of the admin listener, named `admin`.
    pub(super) admin: Option<TcpListener>,
    /// The socket of the listener for probes, named `probe`.
    pub(super) probe: Option<TcpListener>,
}

impl InheritedSockets {
    /// Takes the sockets that were handed to this process, and removes the variables that announce them from its environment. Must be called
    /// while the process has only one thread.
    ///
    /// # Errors
    ///
    /// Fails if there are too many sockets, if two have the same name, or if one is no TCP socket that listens.
    pub(super) fn take() -> anyhow::Result<Self> {
        let mut handed = ListenFd::from_env();
        if handed.len() > NAMES.len() {
            bail!("{} sockets were handed over (LISTEN_FDS), and there are {} listeners", handed.len(), NAMES.len());
        }
        let mut sockets = [const { None }; NAMES.len()];
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        for (index, place) in places(handed.len(), &names)?.into_iter().enumerate() {
            let name = NAMES[place];
            let socket = handed.take_tcp_listener(index).ok().flatten();
            let socket = socket.filter(|socket| socket_acceptconn(socket).unwrap_or(false));
            sockets[place] = Some(socket.with_context(|| {
                format!("the socket for `{name}` that was handed over is no TCP socket that listens; with systemd, use `ListenStream=` and `Accept=no`")
            })?);
        }
        let [data, admin, probe] = sockets;
        Ok(Self { data, admin, probe })
    }
}

/// Returns the index in [`NAMES`] of each of `count` sockets. `names` has their names, separated by colons. If none of them is known, as with
/// the names that systemd gives by itself, the order counts.
fn places(count: usize, names: &str) -> anyhow::Result<Vec<usize>> {
    let known = |name: &str| NAMES.iter().position(|known| *known == name);
    let names: Vec<&str> = names.split(':').take(count).collect();
    if !names.iter().any(|name| known(name).is_some()) {
        return Ok((0..count).collect());
    }
    let mut places = Vec::new();
    for index in 0..count {
        let name = names.get(index).copied().unwrap_or_default();
        let place = known(name).with_context(|| {
            format!(
                "a socket named `{name}` was handed over; the names are {} (`FileDescriptorName=`)",
                NAMES.join(", ")
            )
        })?;
        if places.contains(&place) {
            bail!(
                "two sockets named `{name}` were handed over, and that listener has one; with systemd, give it one `ListenStream=`"
            );
        }
        places.push(place);
    }
    Ok(places)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_come_before_the_order() {
        assert!(places(0, "").unwrap().is_empty());
        assert_eq!(places(2, "").unwrap(), [0, 1]);
        assert_eq!(places(2, "host.socket:host.socket").unwrap(), [0, 1]);
        assert_eq!(places(2, "admin:http").unwrap(), [1, 0]);
        assert_eq!(places(1, "probe").unwrap(), [2]);
        // A name too many is not this process's.
        assert_eq!(places(1, "http:admin").unwrap(), [0]);
    }

    #[test]
    fn unknown_and_repeated_names_are_refused() {
        for (count, names, word) in
            [(2, "http:host.socket", "host.socket"), (2, "http", "``"), (2, "http:http", "two sockets")]
        {
            let refused = places(count, names).unwrap_err().to_string();
            assert!(refused.contains(word), "{refused}");
        }
    }
}
