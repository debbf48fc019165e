//! The certificates that the system trusts, or those of `SSL_CERT_FILE`: what servers are checked by.
//!
//! They are the process's, whatever application runs. They are read once, when the first module that may send requests to `https` is
//! there, and again when somebody asks; always by a thread that may wait for the disk.

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use watertight_model::clock;

static TRUST: LazyLock<Trust> = LazyLock::new(Trust::default);

/// What checks servers.
#[derive(Default)]
pub(super) struct Trust {
    /// There once it was needed.
    config: ArcSwapOption<ClientConfig>,
    /// Held by whoever reads.
    reading: Mutex<()>,
}

/// No certificate is found that the system trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no certificates are found that the system trusts")]
pub struct NoCertificates;

/// Reads the certificates that the system trusts again, for the connections that are made from now on. Returns how many there are.
///
/// # Errors
///
/// [`NoCertificates`]; those from before go on being trusted.
pub async fn reload_certificates() -> Result<usize, NoCertificates> {
    TRUST.reload().await
}

impl Trust {
    /// The process's.
    pub(super) fn of_process() -> &'static Self {
        &TRUST
    }

    /// What makes connections of TLS. Reads the certificates where that hasn't been done.
    pub(super) async fn connector(&self) -> TlsConnector {
        if let Some(config) = self.config.load_full() {
            return config.into();
        }
        let _reading = self.reading.lock().await;
        if let Some(config) = self.config.load_full() {
            return config.into();
        }
        let (config, trusted) = read().await;
        if trusted == 0 {
            tracing::warn!("no certificates are found that the system trusts: requests to https fail");
        }
        self.config.store(Some(config.clone()));
        config.into()
    }

    async fn reload(&self) -> Result<usize, NoCertificates> {
        let _reading = self.reading.lock().await;
        let (config, trusted) = read().await;
        if trusted == 0 {
            return Err(NoCertificates);
        }
        self.config.store(Some(config));
        Ok(trusted)
    }
}

/// Reads the certificates, and counts them.
async fn read() -> (Arc<ClientConfig>, usize) {
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let mut roots = RootCertStore::empty();
    let trusted = found.map_or(0, |found| roots.add_parsable_certificates(found.certs).0);
    let config = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(Now))
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions that its own crate calls safe")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(config), trusted)
}

/// The time that certificates are held against. That of rustls panics where the machine's clock is set before 1970.
#[derive(Debug)]
struct Now;

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(clock::since_1970()))
    }
}
