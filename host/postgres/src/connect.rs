//! How the host reaches the server: the address, TLS, and what every session begins with.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::roles::quoted;
use super::settings::Settings;

/// The name under which sessions show in the server's lists.
const APPLICATION: &str = "watertight";

/// A server and a database, without a role.
#[derive(Clone)]
pub struct Endpoint {
    config: Config,
    pub(crate) tls: MakeRustlsConnect,
}

/// The reason why an endpoint can't be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The URL is not one of PostgreSQL.
    #[error("the URL of the database can't be read")]
    Url(#[source] tokio_postgres::Error),
    /// The URL names no database.
    #[error("the URL of the database has no name of a database")]
    NoDatabase,
    /// The file with certificates can't be read.
    #[error("the certificates of the database's server can't be read")]
    Certificates(#[source] io::Error),
    /// TLS can't be set up.
    #[error("TLS to the database's server can't be set up")]
    Tls(#[from] rustls::Error),
}

/// How connections are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection<'a> {
    /// Connections are not encrypted. For a server on the same machine.
    None,
    /// TLS is required. The server's certificate must be for its name, and be signed by one of those in the file (PEM).
    Certificates(&'a Path),
}

impl Endpoint {
    /// Reads the URL `postgres://HOST:PORT/DATABASE`. A user and a password in it are not used for modules.
    ///
    /// # Errors
    /// Returns the reason if the URL or the certificates can't be used.
    pub fn new(url: &str, protection: Protection<'_>) -> Result<Self, EndpointError> {
        let mut config: Config = url.parse().map_err(EndpointError::Url)?;
        if config.get_dbname().is_none() {
            return Err(EndpointError::NoDatabase);
        }
        let mut roots = RootCertStore::empty();
        config.ssl_mode(match protection {
            Protection::None => SslMode::Disable,
            Protection::Certificates(path) => {
                let wrong = |error| EndpointError::Certificates(io::Error::other(error));
                for certificate in CertificateDer::pem_file_iter(path).map_err(wrong)? {
                    roots.add(certificate.map_err(wrong)?)?;
                }
                SslMode::Require
            }
        });
        let provider = Arc::new(ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let client = client.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { config, tls: MakeRustlsConnect::new(client) })
    }

    /// The configuration of a session of `role` in the schema `schema`. The settings can't be changed by statements that the
    /// policy allows.
    pub(crate) fn session(&self, role: &str, password: Option<&str>, schema: &str, settings: &Settings) -> Config {
        let mut config = self.config.clone();
        config.user(role).application_name(APPLICATION).connect_timeout(settings.connect);
        if let Some(password) = password {
            config.password(password);
        }
        let statement = (settings.limits.time + settings.behind).as_millis();
        let idle = (settings.lease + settings.behind).as_millis();
        let options = [
            // The catalogue comes first without being named. Temporary objects would come before it, so they are named last.
            ("search_path", format!("{},pg_temp", quoted(schema))),
            ("default_transaction_isolation", "serializable".to_owned()),
            ("default_transaction_read_only", "off".to_owned()),
            ("standard_conforming_strings", "on".to_owned()),
            ("client_encoding", "UTF8".to_owned()),
            ("statement_timeout", statement.to_string()),
            ("idle_in_transaction_session_timeout", idle.to_string()),
            ("TimeZone", "UTC".to_owned()),
            ("DateStyle", "ISO".to_owned()),
            ("IntervalStyle", "iso_8601".to_owned()),
            ("xmloption", "content".to_owned()),
            ("client_min_messages", "error".to_owned()),
        ];
        // A space would end an option, and a backslash protects the next character.
        let option =
            |(key, value): &(&str, String)| format!("-c {key}={}", value.replace('\\', "\\\\").replace(' ', "\\ "));
        config.options(options.iter().map(option).collect::<Vec<_>>().join(" "));
        config
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration may have a password.
        f.debug_struct("Endpoint").field("database", &self.config.get_dbname()).finish_non_exhaustive()
    }
}
