//! What replicas share in their Secret: certificates of authorities, the newest one's key, a serving certificate and
//! its key. Reading it never fails: what cannot be used is left out and named, since an empty Secret is how every
//! installation begins and the rest is mended the same way. Key bytes never print.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::model::time::Timestamp;

/// The Secret's keys, as cert-manager and `kubernetes.io/tls` call them. `ca.crt` holds every authority that a client
/// has to trust now, so it is two certificates during a rotation; `ca.key` is the key of the newest.
pub(super) const KEYS: [&str; 4] = [CA_CERT, CA_KEY, TLS_CERT, TLS_KEY];
const CA_CERT: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const TLS_CERT: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";

/// Authorities that are kept: a rotation needs two. More only pile up where somebody keeps removing the key, and an
/// APIService is no place for a thousand certificates.
pub(super) const AUTHORITIES_MAX: usize = 8;

/// What a Secret holds, as far as it can be used.
pub(super) struct Shared {
    /// Certificates of authorities, the one that `signer` belongs to first.
    pub(super) authorities: Vec<Certificate>,
    /// The key of the first authority.
    pub(super) signer: Option<KeyPair>,
    /// What is served.
    pub(super) leaf: Option<Leaf>,
    /// What could not be used, each in words for the log.
    pub(super) faults: Vec<String>,
}

/// A certificate and what it says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Certificate {
    pub(super) der: CertificateDer<'static>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// DNS names only: the aggregation layer asks for no other.
    pub(super) names: Vec<String>,
    is_authority: bool,
    public_key: Vec<u8>,
}

/// A serving certificate with its key.
#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) certificate: Certificate,
    pub(super) key_pem: String,
}

// === impl Shared ===

impl Shared {
    pub(super) fn read(content: &BTreeMap<String, ByteString>) -> Self {
        let mut shared = Self {
            authorities: Vec::new(),
            signer: None,
            leaf: None,
            faults: Vec::new(),
        };
        shared.read_authorities(bytes(content, CA_CERT));
        if let Some(key) = shared.key(CA_KEY, bytes(content, CA_KEY)) {
            shared.sign_with(key);
        }
        shared.read_leaf(bytes(content, TLS_CERT), bytes(content, TLS_KEY));
        shared
    }

    /// The Secret's content, without what could not be used.
    pub(super) fn write(&self) -> BTreeMap<String, ByteString> {
        let mut content = BTreeMap::new();
        let mut put = |key: &str, text: String| {
            content.insert(key.to_owned(), ByteString(text.into_bytes()));
        };
        put(CA_CERT, self.bundle());
        if let Some(signer) = &self.signer {
            put(CA_KEY, signer.serialize_pem());
        }
        if let Some(leaf) = &self.leaf {
            put(TLS_CERT, leaf.certificate.pem());
            put(TLS_KEY, leaf.key_pem.clone());
        }
        content
    }

    /// What a client has to trust, PEM, newest first.
    pub(super) fn bundle(&self) -> String {
        self.authorities.iter().map(Certificate::pem).collect()
    }

    fn read_authorities(&mut self, pem: &[u8]) {
        let mut left_out = 0;
        for der in CertificateDer::pem_slice_iter(pem).take(AUTHORITIES_MAX) {
            let read = der.ok().and_then(Certificate::read);
            match read.filter(|certificate| certificate.is_authority) {
                Some(authority) => self.authorities.push(authority),
                None => left_out += 1,
            }
        }
        if self.authorities.is_empty() && !pem.is_empty() {
            self.faults
                .push(format!("{CA_CERT} holds no authority's certificate"));
        } else if 0 < left_out {
            self.faults.push(format!(
                "{CA_CERT} also holds what is no authority's certificate"
            ));
        }
    }

    /// Puts the authority that `key` belongs to first.
    fn sign_with(&mut self, key: KeyPair) {
        let owns = |authority: &Certificate| authority.public_key == key.public_key_raw();
        match self.authorities.iter().position(owns) {
            Some(at) => {
                self.authorities[..=at].rotate_right(1);
                self.signer = Some(key);
            }
            // It was said already what is wrong then.
            None if self.authorities.is_empty() => {}
            None => self
                .faults
                .push(format!("{CA_KEY} belongs to no certificate in {CA_CERT}")),
        }
    }

    fn read_leaf(&mut self, chain: &[u8], key: &[u8]) {
        let key_pair = self.key(TLS_KEY, key);
        if chain.is_empty() {
            return;
        }
        let der = CertificateDer::from_pem_slice(chain).ok();
        let Some(certificate) = der.and_then(Certificate::read) else {
            self.faults.push(format!("{TLS_CERT} holds no certificate"));
            return;
        };
        let Some(key_pair) = key_pair else { return };
        if certificate.public_key != key_pair.public_key_raw() {
            self.faults
                .push(format!("{TLS_KEY} does not belong to {TLS_CERT}"));
            return;
        }
        self.leaf = Some(Leaf {
            certificate,
            key_pem: key_pair.serialize_pem(),
        });
    }

    fn key(&mut self, name: &str, pem: &[u8]) -> Option<KeyPair> {
        if pem.is_empty() {
            return None;
        }
        // The parser's own words are left out: they may quote what stands there.
        let key = std::str::from_utf8(pem).ok();
        let key = key.and_then(|pem| KeyPair::from_pem(pem).ok());
        if key.is_none() {
            self.faults
                .push(format!("{name} holds no private key that can be used"));
        }
        key
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("authorities", &self.authorities)
            .field("leaf", &self.leaf)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

// === impl Certificate ===

impl Certificate {
    pub(super) fn read(der: CertificateDer<'static>) -> Option<Self> {
        let (_, x509) = X509Certificate::from_der(&der).ok()?;
        let at = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_ms(time.timestamp().saturating_mul(1000))
        };
        let names = x509.subject_alternative_name().ok()?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let dns = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        };
        Some(Self {
            not_before: at(x509.validity().not_before),
            not_after: at(x509.validity().not_after),
            names: names.iter().filter_map(dns).collect(),
            is_authority: x509.is_ca(),
            public_key: x509.public_key().subject_public_key.data.to_vec(),
            der,
        })
    }

    pub(super) fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// Two thirds of its life: the last third is for whoever is late to hear of its successor.
    pub(super) fn rotate_at(&self) -> Timestamp {
        self.not_before + self.not_after.since(self.not_before) / 3 * 2
    }

    /// Whether a client that trusts `authorities` accepts this server, by the rules of TLS.
    pub(super) fn is_trusted(&self, authorities: &[Self], now: Timestamp) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().map(|a| a.der.clone()));
        let Ok(server) = ParsedCertificate::try_from(&self.der) else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(now.since(Timestamp::from_ms(0)));
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_server_cert_signed_by_trust_anchor(&server, &roots, &[], now, algorithms.all).is_ok()
    }

    pub(super) fn pem(&self) -> String {
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &self.der);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }
}

/// The key never prints.
impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

fn bytes<'a>(content: &'a BTreeMap<String, ByteString>, key: &str) -> &'a [u8] {
    content.get(key).map_or(&[], |value| &value.0)
}
