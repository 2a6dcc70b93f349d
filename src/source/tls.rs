//! The client's side of TLS: whom to trust and who we are. Certificates are always verified unless the one field that
//! says otherwise is set. Files are looked at again for every new connection, so a rotated authority or client
//! certificate needs no restart. Serving certificates are another matter, and live in [`crate::api`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::model::health::{Failure, FailureReason};

/// How a target's TLS is set up. The default trusts the machine's authorities and expects the host's own name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct TlsSpec {
    /// PEM certificates of the authorities to trust, instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// The name the certificate must carry, when it is not the host that is connected to.
    pub server_name: Option<String>,
    /// Accepts any certificate: traffic is encrypted, but to whom is unknown.
    pub insecure_skip_verify: bool,
    /// What we show of ourselves to a target that asks.
    pub identity: Option<IdentityFiles>,
}

/// A client certificate.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct IdentityFiles {
    /// PEM certificates, our own first.
    pub cert_file: PathBuf,
    /// Its PEM private key.
    pub key_file: PathBuf,
}

/// Ready client configurations for HTTP, one for all targets with the same [`TlsSpec`]: a set of authorities takes some
/// hundred kilobytes, too much for each of thousands of targets. A configuration lives as long as someone uses it.
#[derive(Debug, Default)]
pub struct ClientConfigs {
    known: Mutex<HashMap<TlsSpec, Known>>,
}

#[derive(Debug)]
struct Known {
    /// What the files looked like when they were read.
    stamps: Vec<Stamp>,
    config: Weak<ClientConfig>,
}

/// Enough of a file to notice that it was replaced; `None` when it cannot be looked at.
type Stamp = Option<(SystemTime, u64)>;

/// Accepts whoever answers, but still checks that they hold the key of the certificate they show.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ClientConfigs {
    /// The configuration for `spec`, read anew when its files have changed. Keep it for as long as connections are
    /// made with it.
    ///
    /// # Errors
    /// `tls`, naming the file, when one cannot be read or holds no certificate.
    pub fn get(&self, spec: &TlsSpec) -> Result<Arc<ClientConfig>, Failure> {
        let stamps: Vec<Stamp> = files_of(spec).map(stamp).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(spec)
            && found.stamps == stamps
            && let Some(config) = found.config.upgrade()
        {
            return Ok(config);
        }
        // Built under the lock, so that a thousand targets that start together read the files once.
        let mut config = build(spec)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        known.retain(|_, other| 0 < other.config.strong_count());
        let config_ref = Arc::downgrade(&config);
        known.insert(
            spec.clone(),
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

/// A client configuration read from the spec's files as they are now.
///
/// # Errors
/// `tls`, naming the file, when one cannot be read or holds no certificate.
pub(super) fn build(spec: &TlsSpec) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failure(error.to_string()))?;
    let builder = if spec.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(spec.ca_file.as_deref())?)
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

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca_file else {
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
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| file_failure(file, &error))?;
    }
    Ok(roots)
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

fn files_of(spec: &TlsSpec) -> impl Iterator<Item = &Path> {
    let identity = spec.identity.iter();
    spec.ca_file
        .as_deref()
        .into_iter()
        .chain(identity.flat_map(|files| [files.cert_file.as_path(), files.key_file.as_path()]))
}

fn stamp(file: &Path) -> Stamp {
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
            ca_file: Some(file.path().to_owned()),
            ..TlsSpec::default()
        };
        let configs = ClientConfigs::default();
        let first = configs.get(&spec).unwrap();
        assert!(Arc::ptr_eq(&first, &configs.get(&spec).unwrap()));
        std::fs::write(file.path(), authority() + &authority()).unwrap();
        assert!(!Arc::ptr_eq(&first, &configs.get(&spec).unwrap()));
    }

    #[test]
    fn a_configuration_nobody_uses_is_let_go() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), authority()).unwrap();
        let configs = ClientConfigs::default();
        for server_name in ["a", "b", "c"] {
            let spec = TlsSpec {
                ca_file: Some(file.path().to_owned()),
                server_name: Some(server_name.to_owned()),
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
                ca_file: Some(path.to_owned()),
                ..TlsSpec::default()
            };
            let failure = ClientConfigs::default().get(&spec).unwrap_err();
            assert_eq!(failure.reason, FailureReason::Tls);
            assert!(failure.message.contains(path.to_str().unwrap()));
        }
    }
}
