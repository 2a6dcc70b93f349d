//! The client certificate of a connection: taken from anybody in the handshake, judged per request.
//!
//! A certificate that nobody trusts is a 401 that says so and is counted, not an alert that the client's log may
//! swallow; and an authority that is rotated counts at once, also on connections that are open. In the handshake it is
//! proven only that the client holds the certificate's key.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::clock;

use super::super::tls::provider;
use super::decisions::REMEMBERED;
use super::trust::{Trust, Verdict};

/// Whose connection a request came over.
pub(in super::super) struct Peer {
    /// As the client sent it, its own certificate first; empty when it sent none.
    chain: Vec<CertificateDer<'static>>,
    judged: Mutex<Option<Judged>>,
}

/// A verdict, and under what it was found. It is remembered as long as any decision, since certificates run out.
struct Judged {
    trust: Arc<Trust>,
    at: Instant,
    verdict: Arc<Verdict>,
}

/// Asks every client for a certificate and lets it come without, or with any.
#[derive(Debug)]
pub(in super::super) struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

// === impl Peer ===

impl Peer {
    pub(in super::super) fn new(chain: Option<&[CertificateDer<'static>]>) -> Self {
        Self {
            chain: chain.unwrap_or_default().to_vec(),
            judged: Mutex::new(None),
        }
    }

    pub(super) fn has_certificate(&self) -> bool {
        !self.chain.is_empty()
    }

    /// What the certificate is worth. Verifying costs two signatures, so it is done once per connection, authorities
    /// and ten seconds.
    pub(super) fn judged_by(&self, trust: &Arc<Trust>, now: Instant) -> Arc<Verdict> {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(judged) = &*judged
            && Arc::ptr_eq(&judged.trust, trust)
            && now.saturating_duration_since(judged.at) < REMEMBERED
        {
            return Arc::clone(&judged.verdict);
        }
        let epoch_ms = u64::try_from(clock::now().ms()).unwrap_or_default();
        let wall = UnixTime::since_unix_epoch(Duration::from_millis(epoch_ms));
        let verdict = Arc::new(trust.judge(&self.chain, wall));
        *judged = Some(Judged {
            trust: Arc::clone(trust),
            at: now,
            verdict: Arc::clone(&verdict),
        });
        verdict
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("has_certificate", &self.has_certificate())
            .finish_non_exhaustive()
    }
}

// === impl AnyCertificate ===

impl AnyCertificate {
    pub(in super::super) fn new() -> Self {
        Self {
            algorithms: provider().signature_verification_algorithms,
        }
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: a client may take hints for a rule and withhold a certificate that a rotated authority has signed.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
