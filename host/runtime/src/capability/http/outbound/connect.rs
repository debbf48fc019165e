//! Connects to the destination of a request. It resolves a name once and connects to an address that it has checked.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;
use wasmtime_wasi_http::Error;

use super::OutboundError;
use super::address::is_private;
use super::trust::RootCertificates;
use watertight_model::config::{HostName, Origin, Scheme};

/// The largest number of resolved addresses that are tried for one name.
const MAX_ADDRESSES: usize = 8;

/// A byte stream in both directions: TCP, or TLS over TCP.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to `to`. Unless `private` is set, it skips the private addresses of a name. An address in the URL itself is always accepted
/// here, because the grant names it.
pub(super) async fn connect(
    to: &Origin,
    private: bool,
    trust: &RootCertificates,
) -> Result<Box<dyn Stream>, OutboundError> {
    let stream = connect_any(&addresses(to, private).await?).await?;
    // Without delay, because requests and responses are small and waiting to fill a packet only delays them. A failure costs only speed.
    let _ = stream.set_nodelay(true);
    match to.scheme {
        Scheme::Http => Ok(Box::new(stream)),
        Scheme::Https => {
            let name = match &to.host {
                HostName::Address(address) => ServerName::from(*address),
                HostName::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Error::HttpRequestUriInvalid)?,
            };
            let tls = trust.connector().await;
            Ok(Box::new(tls.connect(name, stream).await.map_err(|error| tls_error(&error))?))
        }
    }
}

async fn addresses(to: &Origin, private: bool) -> Result<Vec<SocketAddr>, OutboundError> {
    let name = match &to.host {
        HostName::Address(address) => return Ok(vec![SocketAddr::new(*address, to.port)]),
        HostName::Name(name) => name.as_str(),
    };
    let found = lookup_host((name, to.port)).await.map_err(|_| Error::DnsError { rcode: None, info_code: None })?;
    let (mut may, mut may_not): (Vec<SocketAddr>, Vec<IpAddr>) = (Vec::new(), Vec::new());
    for address in found {
        if private || !is_private(address.ip()) { may.push(address) } else { may_not.push(address.ip()) }
    }
    may.truncate(MAX_ADDRESSES);
    match (may.is_empty(), may_not.first()) {
        (true, Some(address)) => Err(OutboundError::PrivateAddress { to: to.clone(), address: *address }),
        (true, None) => Err(Error::DestinationNotFound.into()),
        (false, _) => Ok(may),
    }
}

async fn connect_any(addresses: &[SocketAddr]) -> Result<TcpStream, OutboundError> {
    let mut last = Error::DestinationNotFound;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                last = match error.kind() {
                    io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
                    io::ErrorKind::TimedOut => Error::ConnectionTimeout,
                    _ => Error::DestinationUnavailable,
                }
            }
        }
    }
    Err(last.into())
}

fn tls_error(error: &io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(_) => Error::TlsProtocolError,
        None => Error::ConnectionTerminated,
    }
}
