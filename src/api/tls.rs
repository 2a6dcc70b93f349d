//! The serving certificate: from files that may be replaced at any time, handed over by whoever keeps it (the Secret
//! that replicas share), or made at start.
//!
//! A new certificate is used by the handshakes after it; connections that exist are not touched. A pair that cannot be
//! used (half written, a key of another certificate) changes nothing: the last good one stays.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt;
use tracing::field::display;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::model::time::Timestamp;

use super::auth::AnyCertificate;
use super::reply::whole_seconds;

mod self_signed;

/// HTTP/2 in the handshake's list of protocols.
pub(super) const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The largest file that is taken for a certificate or a key. Chains are a few kilobytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What the server shows to clients.
#[derive(Debug)]
pub struct ServingCert {
    current: ArcSwap<Current>,
    origin: Origin,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{path} holds no usable {what}: {why}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why it does not.
        why: String,
    },
    /// Both files are sound, and do not belong together.
    #[error("the key in {key} does not belong to the certificate in {cert}: {why}")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the cryptography says.
        why: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(String),
}

#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    not_after: Timestamp,
}

#[derive(Debug)]
enum Origin {
    Files(Files),
    /// Handed over as PEM, by somebody who also replaces it.
    Given,
    /// Made at start; the authority that signed it, for clients to trust.
    Made {
        ca_pem: String,
    },
}

/// Where a pair comes from, and the bytes last seen there.
#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    seen: tokio::sync::Mutex<Pair>,
}

#[derive(PartialEq, Eq, Default)]
struct Pair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

// === impl ServingCert ===

impl ServingCert {
    /// The certificate chain in `cert` and the key in `key`, both PEM.
    ///
    /// # Errors
    /// Files that cannot be read, hold something else, or do not belong together.
    pub async fn from_files(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files {
            cert: cert.to_owned(),
            key: key.to_owned(),
            seen: tokio::sync::Mutex::default(),
        };
        let pair = files.read().await?;
        let current = pair.load(&files.cert, &files.key)?;
        *files.seen.lock().await = pair;
        Ok(Self {
            current: ArcSwap::from_pointee(current),
            origin: Origin::Files(files),
        })
    }

    /// The certificate chain and the key in `chain_pem` and `key_pem`, which errors call `tls.crt` and `tls.key`, as the
    /// keys of a Secret are called. [`ServingCert::replace`] is how it changes.
    ///
    /// # Errors
    /// PEM that holds something else, or a pair that does not belong together.
    pub fn from_pem(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, TlsError> {
        Ok(Self {
            current: ArcSwap::from_pointee(Pair::given(chain_pem, key_pem)?),
            origin: Origin::Given,
        })
    }

    /// Shows another certificate in the handshakes from now on; connections that exist are not touched. Returns whether
    /// it is another than before.
    ///
    /// # Errors
    /// As [`ServingCert::from_pem`]; the pair in use stays.
    pub fn replace(&self, chain_pem: &[u8], key_pem: &[u8]) -> Result<bool, TlsError> {
        let next = Pair::given(chain_pem, key_pem)?;
        // Two certificates that are equal have equal keys, since each names its own.
        if self.current.load().key.cert == next.key.cert {
            return Ok(false);
        }
        self.current.store(Arc::new(next));
        Ok(true)
    }

    /// A certificate made now, for `localhost`, the loopback addresses and `names`, such as `taffrail.shop.svc`. It is
    /// signed by an authority that is forgotten at once, so that a client can trust it and nothing else.
    ///
    /// # Errors
    /// A name that no certificate can hold.
    pub fn self_signed(names: &[String], now: Timestamp) -> Result<Self, TlsError> {
        let no = |error: &dyn std::fmt::Display| TlsError::SelfSigned(error.to_string());
        let made = self_signed::make(names, now).map_err(|error| no(&error))?;
        let key = certified(made.chain, made.key).map_err(|error| no(&error))?;
        Ok(Self {
            current: ArcSwap::from_pointee(Current {
                not_after: not_after(&key).ok_or_else(|| no(&"it is not X.509"))?,
                key: Arc::new(key),
            }),
            origin: Origin::Made {
                ca_pem: made.ca_pem,
            },
        })
    }

    /// The authority that a client must trust, in PEM; `None` for a certificate that was not made here, whose authority
    /// its owner knows.
    pub fn ca_pem(&self) -> Option<&str> {
        match &self.origin {
            Origin::Files(_) | Origin::Given => None,
            Origin::Made { ca_pem } => Some(ca_pem),
        }
    }

    /// When the certificate in use expires.
    pub fn not_after(&self) -> Timestamp {
        self.current.load().not_after
    }

    /// Reads the files again. Returns whether there was a new pair, which is then in use.
    ///
    /// # Errors
    /// As [`ServingCert::from_files`]; the pair in use stays. The same broken files are reported each time.
    pub async fn reload(&self) -> Result<bool, TlsError> {
        let Origin::Files(files) = &self.origin else {
            return Ok(false);
        };
        let pair = files.read().await?;
        let mut seen = files.seen.lock().await;
        if *seen == pair {
            return Ok(false);
        }
        self.current
            .store(Arc::new(pair.load(&files.cert, &files.key)?));
        *seen = pair;
        Ok(true)
    }

    /// Keeps reading the files again, for ever; logs when they change, break, or are whole again. `tell` hears of each
    /// new pair (true) and of each read that failed (false).
    pub async fn follow(&self, interval: Duration, tell: impl Fn(bool)) {
        let mut broken = false;
        loop {
            tokio::time::sleep(interval).await;
            match self.reload().await {
                Ok(changed) => {
                    if changed {
                        tell(true);
                    }
                    if changed || broken {
                        let not_after = whole_seconds(self.not_after()).map(display);
                        tracing::info!(not_after, "Serving certificate loaded");
                    }
                    broken = false;
                }
                Err(error) => {
                    tell(false);
                    if !broken {
                        tracing::warn!(%error, "Keeping the last good serving certificate");
                    }
                    broken = true;
                }
            }
        }
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, this certificate. Clients are asked for a certificate and may come without;
    /// [`super::auth`] judges it per request. No session is resumed: it would keep an identity that was taken away.
    pub fn server_config(self: &Arc<Self>) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("ring has cipher suites of both versions")
            .with_client_cert_verifier(Arc::new(AnyCertificate::new()))
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }
}

impl ResolvesServerCert for ServingCert {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().key))
    }
}

// === impl Files ===

impl Files {
    async fn read(&self) -> Result<Pair, TlsError> {
        Ok(Pair {
            cert: read_bounded(&self.cert).await?,
            key: read_bounded(&self.key).await?,
        })
    }
}

// === impl Pair ===

impl Pair {
    fn given(chain_pem: &[u8], key_pem: &[u8]) -> Result<Current, TlsError> {
        let pair = Self {
            cert: chain_pem.to_vec(),
            key: key_pem.to_vec(),
        };
        pair.load(Path::new("tls.crt"), Path::new("tls.key"))
    }

    /// The pair as rustls wants it. `cert` and `key` say in errors where it comes from.
    fn load(&self, cert: &Path, key: &Path) -> Result<Current, TlsError> {
        let no = |path: &Path, what: &'static str, why: String| TlsError::Content {
            path: path.to_owned(),
            what,
            why,
        };
        let no_cert = |why: String| no(cert, "certificate", why);
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| no_cert(error.to_string()))?;
        if chain.is_empty() {
            return Err(no_cert("it has no PEM section CERTIFICATE".to_owned()));
        }
        // The parser's own words are left out: they may quote what stands in the file.
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            no(
                key,
                "private key",
                "it has no whole PEM section PRIVATE KEY".to_owned(),
            )
        })?;
        let certified = certified(chain, private).map_err(|error| TlsError::Mismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
            why: error.to_string(),
        })?;
        let not_after = not_after(&certified)
            .ok_or_else(|| no_cert("the first certificate is not X.509".to_owned()))?;
        Ok(Current {
            key: Arc::new(certified),
            not_after,
        })
    }
}

/// Key bytes never print.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

async fn read_bounded(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Read {
        path: path.to_owned(),
        error,
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).await;
    read.map_err(failed)?;
    Ok(bytes)
}

/// The provider is named everywhere: with two of them in a build, rustls would refuse to choose.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The pair, once it is known to belong together.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(chain, key, &provider())
}

fn not_after(key: &CertifiedKey) -> Option<Timestamp> {
    let (_, cert) = X509Certificate::from_der(key.cert.first()?).ok()?;
    let seconds = cert.validity().not_after.timestamp();
    Some(Timestamp::from_ms(seconds.saturating_mul(1000)))
}

#[cfg(test)]
mod tests;
