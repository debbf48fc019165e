//! The root certificates that outbound TLS connections trust: the system's, or those of `SSL_CERT_FILE`.
//!
//! All applications of the process share them. They are read when the first module with a grant for `https` is set up, and again on
//! [`reload_certificates`]. A blocking thread reads them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use watertight_model::clock;

static TRUST: LazyLock<RootCertificates> = LazyLock::new(RootCertificates::default);

/// The trusted certificates of the process.
#[derive(Default)]
pub(super) struct RootCertificates {
    /// The TLS configuration. It is empty until the certificates are read for the first time.
    config: ArcSwapOption<ClientConfig>,
    /// Locked while the certificates are read.
    read_lock: Mutex<()>,
    reloads: AtomicU64,
}

/// The error that the system has no trusted certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no trusted certificates were found on the system")]
pub struct NoCertificates;

/// Reads the system's trusted certificates again, for all later requests: none of them uses a connection that was made before. Returns the
/// number of certificates.
///
/// # Errors
///
/// Returns [`NoCertificates`] if none is found. The certificates read before then stay trusted.
pub async fn reload_certificates() -> Result<usize, NoCertificates> {
    TRUST.reload().await
}

impl RootCertificates {
    /// Returns the instance that the whole process shares.
    pub(super) fn global() -> &'static Self {
        &TRUST
    }

    /// Returns a TLS connector. Reads the certificates if that has not happened yet.
    pub(super) async fn connector(&self) -> TlsConnector {
        if let Some(config) = self.config.load_full() {
            return config.into();
        }
        let _reading = self.read_lock.lock().await;
        if let Some(config) = self.config.load_full() {
            return config.into();
        }
        let (config, trusted) = read().await;
        if trusted == 0 {
            tracing::warn!("no trusted certificates were found on the system: requests to https fail");
        }
        self.config.store(Some(config.clone()));
        config.into()
    }

    /// Returns how often the certificates were replaced. Connections that were made before the last time must serve no new request.
    pub(super) fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Acquire)
    }

    async fn reload(&self) -> Result<usize, NoCertificates> {
        let _reading = self.read_lock.lock().await;
        let (config, trusted) = read().await;
        if trusted == 0 {
            return Err(NoCertificates);
        }
        self.config.store(Some(config));
        self.reloads.fetch_add(1, Ordering::Release);
        Ok(trusted)
    }
}

/// Reads the certificates. Returns a TLS configuration and the number of certificates.
async fn read() -> (Arc<ClientConfig>, usize) {
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let mut roots = RootCertStore::empty();
    let trusted = found.map_or(0, |found| roots.add_parsable_certificates(found.certs).0);
    let config = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(SafeClock))
        .with_safe_default_protocol_versions()
        .expect("the provider has the versions that its own crate calls safe")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(config), trusted)
}

/// The clock that certificates are checked against. The default clock of rustls panics if the machine's clock is before 1970.
#[derive(Debug)]
struct SafeClock;

impl TimeProvider for SafeClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(clock::since_1970()))
    }
}
