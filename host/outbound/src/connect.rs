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

/// The reason why no connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectError {
    /// The name resolves only to private addresses, such as this one.
    #[error("{0} is not an address of the public internet")]
    PrivateAddress(IpAddr),
    #[error("the host is no name that certificates can have")]
    BadName,
    #[error("the name can't be resolved")]
    Dns,
    #[error("the name has no address")]
    NoAddress,
    #[error("the connection was refused")]
    Refused,
    #[error("connecting took too long")]
    TimedOut,
    #[error("the address can't be reached")]
    Unreachable,
    #[error("the server's certificate is not trusted")]
    Certificate,
    #[error("the server does not speak TLS correctly")]
    Tls,
    /// The connection was closed before TLS was set up, or nobody waits for it any more.
    #[error("the connection was closed")]
    Closed,
}

impl ConnectError {
    /// Converts the failure to the error of a request to `to`.
    pub(super) fn for_request(self, to: Origin) -> OutboundError {
        match self {
            Self::PrivateAddress(address) => return OutboundError::PrivateAddress { to, address },
            Self::BadName => Error::HttpRequestUriInvalid,
            Self::Dns => Error::DnsError { rcode: None, info_code: None },
            Self::NoAddress => Error::DestinationNotFound,
            Self::Refused => Error::ConnectionRefused,
            Self::TimedOut => Error::ConnectionTimeout,
            Self::Unreachable => Error::DestinationUnavailable,
            Self::Certificate => Error::TlsCertificateError,
            Self::Tls => Error::TlsProtocolError,
            Self::Closed => Error::ConnectionTerminated,
        }
        .into()
    }
}

/// Connects to `to`. Unless `private` is set, it skips the private addresses of a name. An address in the URL itself is always accepted
/// here, because the grant names it.
pub(super) async fn connect(
    to: &Origin,
    private: bool,
    trust: &RootCertificates,
) -> Result<Box<dyn Stream>, ConnectError> {
    let stream = connect_any(&addresses(to, private).await?).await?;
    // Without delay, because requests and responses are small and waiting to fill a packet only delays them. A failure costs only speed.
    let _ = stream.set_nodelay(true);
    match to.scheme {
        Scheme::Http => Ok(Box::new(stream)),
        Scheme::Https => {
            let name = match &to.host {
                HostName::Address(address) => ServerName::from(*address),
                HostName::Name(name) => ServerName::try_from(name.clone()).map_err(|_| ConnectError::BadName)?,
            };
            let tls = trust.connector().await;
            Ok(Box::new(tls.connect(name, stream).await.map_err(|error| tls_error(&error))?))
        }
    }
}

async fn addresses(to: &Origin, private: bool) -> Result<Vec<SocketAddr>, ConnectError> {
    let name = match &to.host {
        HostName::Address(address) => return Ok(vec![SocketAddr::new(*address, to.port)]),
        HostName::Name(name) => name.as_str(),
    };
    let found = lookup_host((name, to.port)).await.map_err(|_| ConnectError::Dns)?;
    let (mut may, mut may_not): (Vec<SocketAddr>, Vec<IpAddr>) = (Vec::new(), Vec::new());
    for address in found {
        if private || !is_private(address.ip()) { may.push(address) } else { may_not.push(address.ip()) }
    }
    may.truncate(MAX_ADDRESSES);
    match (may.is_empty(), may_not.first()) {
        (true, Some(address)) => Err(ConnectError::PrivateAddress(*address)),
        (true, None) => Err(ConnectError::NoAddress),
        (false, _) => Ok(may),
    }
}

async fn connect_any(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::NoAddress;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                last = match error.kind() {
                    io::ErrorKind::ConnectionRefused => ConnectError::Refused,
                    io::ErrorKind::TimedOut => ConnectError::TimedOut,
                    _ => ConnectError::Unreachable,
                }
            }
        }
    }
    Err(last)
}

fn tls_error(error: &io::Error) -> ConnectError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => ConnectError::Certificate,
        Some(_) => ConnectError::Tls,
        None => ConnectError::Closed,
    }
}
