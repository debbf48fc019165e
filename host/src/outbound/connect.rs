//! A connection to where a request goes: the address that is checked is the one that is connected to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use wasmtime_wasi_http::Error;

use super::Failure;
use super::address::is_private;
use crate::clock;
use crate::config::{HostName, Origin, Scheme};

/// Answers of DNS for one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What checks servers: the certificates that the system trusts, or those of `SSL_CERT_FILE`.
pub(super) fn tls() -> TlsConnector {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (trusted, _) = roots.add_parsable_certificates(found.certs);
    if trusted == 0 {
        tracing::warn!("no certificates are found that the system trusts: requests to https fail");
    }
    let config = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(Now))
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions that its own crate calls safe")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// The time that certificates are held against. That of rustls panics where the machine's clock is set before 1970.
#[derive(Debug)]
struct Now;

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(clock::since_1970()))
    }
}

/// Connects to `to`. What only leads inside is refused, unless `private` or `to` names the address itself.
pub(super) async fn connect(
    to: &Origin,
    private: bool,
    tls: Option<&TlsConnector>,
) -> Result<Box<dyn Stream>, Failure> {
    let stream = connect_any(&addresses(to, private).await?).await?;
    // Small requests and answers: waiting to fill a packet only delays them. Where it can't be said, they are late.
    let _ = stream.set_nodelay(true);
    match (to.scheme, tls) {
        (Scheme::Http, _) => Ok(Box::new(stream)),
        (Scheme::Https, Some(tls)) => {
            let name = match &to.host {
                HostName::Address(address) => ServerName::from(*address),
                HostName::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Error::HttpRequestUriInvalid)?,
            };
            Ok(Box::new(tls.connect(name, stream).await.map_err(|error| tls_error(&error))?))
        }
        (Scheme::Https, None) => Err(Error::ConfigurationError.into()),
    }
}

async fn addresses(to: &Origin, private: bool) -> Result<Vec<SocketAddr>, Failure> {
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
        (true, Some(address)) => Err(Failure::Private { to: to.clone(), address: *address }),
        (true, None) => Err(Error::DestinationNotFound.into()),
        (false, _) => Ok(may),
    }
}

async fn connect_any(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
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
