//! The client's side of TLS: whom to trust and who we are. Certificates are always verified unless the one field that
//! says otherwise is set. Files and Secrets are looked at again for every new connection, so a rotated authority or
//! client certificate needs no restart. Serving certificates are another matter, and live in [`crate::api`].

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use secrecy::ExposeSecret;

use crate::model::health::{Failure, FailureReason};
use crate::source::secret::{SecretKey, SecretStore};

/// How a target's TLS is set up. The default trusts the machine's authorities and expects the host's own name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct TlsSpec {
    /// PEM certificates of the authorities to trust, instead of the machine's.
    pub ca: Option<Authorities>,
    /// The name the certificate must carry, when it is not the host that is connected to.
    pub server_name: Option<String>,
    /// Accepts any certificate: traffic is encrypted, but to whom is unknown.
    pub insecure_skip_verify: bool,
    /// What we show of ourselves to a target that asks.
    pub identity: Option<IdentityFiles>,
}

impl TlsSpec {
    /// The Kubernetes Secret it needs, if any.
    pub fn secret(&self) -> Option<&SecretKey> {
        match &self.ca {
            Some(Authorities::Secret(key)) => Some(key),
            Some(Authorities::File(_)) | None => None,
        }
    }
}

/// Where PEM certificates of authorities are.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Authorities {
    /// In a file.
    File(PathBuf),
    /// In a Kubernetes Secret.
    Secret(SecretKey),
}

/// A client certificate.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct IdentityFiles {
    /// PEM certificates, our own first.
    pub cert_file: PathBuf,
    /// Its PEM private key.
    pub key_file: PathBuf,
}

/// Ready client configurations for HTTP, one for all targets with the same [`TlsSpec`] but for its server name, which a
/// configuration does not hold: a set of authorities takes some hundred kilobytes, too much for each of thousands of
/// targets. A configuration lives as long as someone uses it.
#[derive(Debug, Default)]
pub struct ClientConfigs {
    secrets: SecretStore,
    known: Mutex<HashMap<TlsSpec, Known>>,
}

#[derive(Debug)]
struct Known {
    /// What the files and the Secret looked like when they were read.
    stamps: Vec<Stamp>,
    config: Weak<ClientConfig>,
}

/// Enough to notice that something was replaced; `None` when it cannot be looked at.
#[derive(PartialEq, Debug)]
enum Stamp {
    /// When a file was written, and its length.
    File(Option<(SystemTime, u64)>),
    /// The version of a Secret.
    Secret(Option<u64>),
}

/// Accepts whoever answers, but still checks that they hold the key of the certificate they show.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ClientConfigs {
    /// Authorities in Kubernetes Secrets are taken from `secrets`.
    pub fn new(secrets: SecretStore) -> Self {
        Self {
            secrets,
            known: Mutex::default(),
        }
    }

    /// The configuration for `spec`, read anew when its files or its Secret have changed. Keep it for as long as
    /// connections are made with it.
    ///
    /// # Errors
    /// `tls`, naming the file or the Secret, when one cannot be read or holds no certificate; `unauthorized` for a
    /// Secret that has no value.
    pub fn get(&self, spec: &TlsSpec) -> Result<Arc<ClientConfig>, Failure> {
        let spec = TlsSpec {
            server_name: None,
            ..spec.clone()
        };
        let stamps = stamps(&spec, &self.secrets);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&spec)
            && found.stamps == stamps
            && let Some(config) = found.config.upgrade()
        {
            return Ok(config);
        }
        // Built under the lock, so that a thousand targets that start together read the files once.
        let mut config = build(&spec, &self.secrets)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        known.retain(|_, other| 0 < other.config.strong_count());
        let config_ref = Arc::downgrade(&config);
        known.insert(
            spec,
            Known {
                stamps,
                config: config_ref,
            },
        );
        Ok(config)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A client configuration read from the spec's files and its Secret as they are now.
///
/// # Errors
/// As [`ClientConfigs::get`].
pub(super) fn build(spec: &TlsSpec, secrets: &SecretStore) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failure(error.to_string()))?;
    let builder = if spec.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(spec.ca.as_ref(), secrets)?)
    };
    match &spec.identity {
        None => Ok(builder.with_no_client_auth()),
        Some(files) => {
            let key = PrivateKeyDer::from_pem_file(&files.key_file)
                .map_err(|error| file_failure(&files.key_file, &error))?;
            builder
                .with_client_auth_cert(certificates(&files.cert_file)?, key)
                .map_err(|error| file_failure(&files.cert_file, &error))
        }
    }
}

fn roots(ca: Option<&Authorities>, secrets: &SecretStore) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let Some(ca) = ca else {
        // Machines carry old authorities that no longer parse; the others still count.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() {
            Err(failure(
                "this machine has no certificate authorities; name a CA file",
            ))
        } else {
            Ok(roots)
        };
    };
    for certificate in ca.read(secrets)? {
        roots
            .add(certificate)
            .map_err(|error| failure(format!("{ca}: {error}")))?;
    }
    Ok(roots)
}

impl Authorities {
    fn read(&self, secrets: &SecretStore) -> Result<Vec<CertificateDer<'static>>, Failure> {
        let key = match self {
            Self::File(file) => return certificates(file),
            Self::Secret(key) => key,
        };
        let pem = secrets.get(key)?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.expose_secret().as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| failure(format!("{self}: {error}")))?;
        if certificates.is_empty() {
            return Err(failure(format!("{self}: holds no PEM certificate")));
        }
        Ok(certificates)
    }
}

impl fmt::Display for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "TLS file {}", file.display()),
            Self::Secret(key) => key.fmt(f),
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| file_failure(file, &error))?;
    if certificates.is_empty() {
        return Err(file_failure(file, &"holds no PEM certificate"));
    }
    Ok(certificates)
}

fn stamps(spec: &TlsSpec, secrets: &SecretStore) -> Vec<Stamp> {
    let authorities = spec.ca.iter().map(|ca| match ca {
        Authorities::File(file) => Stamp::File(stamp(file)),
        Authorities::Secret(key) => Stamp::Secret(secrets.version(key)),
    });
    let identity = spec
        .identity
        .iter()
        .flat_map(|files| [&files.cert_file, &files.key_file].map(|file| Stamp::File(stamp(file))));
    authorities.chain(identity).collect()
}

fn stamp(file: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn file_failure(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    failure(format!("TLS file {}: {error}", file.display()))
}

fn failure(message: impl Into<String>) -> Failure {
    Failure::new(FailureReason::Tls, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn targets_with_the_same_settings_share_one_configuration_until_a_file_changes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), authority()).unwrap();
        let spec = TlsSpec {
            ca: Some(Authorities::File(file.path().to_owned())),
            ..TlsSpec::default()
        };
        let configs = ClientConfigs::default();
        let first = configs.get(&spec).unwrap();
        let by_another_name = TlsSpec {
            server_name: Some("users.shop.svc".to_owned()),
            ..spec.clone()
        };
        for spec in [&spec, &by_another_name] {
            assert!(Arc::ptr_eq(&first, &configs.get(spec).unwrap()));
        }
        std::fs::write(file.path(), authority() + &authority()).unwrap();
        assert!(!Arc::ptr_eq(&first, &configs.get(&spec).unwrap()));
    }

    #[test]
    fn an_authority_in_a_secret_is_read_anew_once_it_is_rotated() {
        let key = SecretKey {
            namespace: "shop".to_owned(),
            name: "ca".to_owned(),
            key: "ca.crt".to_owned(),
        };
        let spec = TlsSpec {
            ca: Some(Authorities::Secret(key.clone())),
            ..TlsSpec::default()
        };
        let secrets = SecretStore::default();
        let configs = ClientConfigs::new(secrets.clone());
        let unread = configs.get(&spec).unwrap_err();
        assert_eq!(unread.reason, FailureReason::Unauthorized);
        assert!(unread.message.contains("shop/ca, key ca.crt"));
        secrets.set(key.clone(), Ok("no certificate".into()));
        let empty = configs.get(&spec).unwrap_err();
        assert_eq!(empty.reason, FailureReason::Tls);
        secrets.set(key.clone(), Ok(authority().into()));
        let first = configs.get(&spec).unwrap();
        assert!(Arc::ptr_eq(&first, &configs.get(&spec).unwrap()));
        secrets.set(key, Ok(authority().into()));
        assert!(!Arc::ptr_eq(&first, &configs.get(&spec).unwrap()));
    }

    #[test]
    fn a_configuration_nobody_uses_is_let_go() {
        let configs = ClientConfigs::default();
        for _ in 0..3 {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), authority()).unwrap();
            let spec = TlsSpec {
                ca: Some(Authorities::File(file.path().to_owned())),
                ..TlsSpec::default()
            };
            drop(configs.get(&spec).unwrap());
        }
        assert_eq!(configs.known.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_file_that_is_missing_or_holds_no_certificate_is_named() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        for path in [empty.path(), Path::new("no/such/ca.pem")] {
            let spec = TlsSpec {
                ca: Some(Authorities::File(path.to_owned())),
                ..TlsSpec::default()
            };
            let failure = ClientConfigs::default().get(&spec).unwrap_err();
            assert_eq!(failure.reason, FailureReason::Tls);
            assert!(failure.message.contains(path.to_str().unwrap()));
        }
    }
}
