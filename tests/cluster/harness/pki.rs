//! The cluster's authorities, and certificates for anybody, good or bad: a test may ask for a name, a time or an authority
//! that must not be believed. Keys and certificates are PEM; nothing here touches a file.

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

/// The name that the API server's proxy presents itself with.
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";

/// Whose certificates the API server believes, and the key of service accounts' tokens.
#[derive(Debug)]
pub(crate) struct Pki {
    /// Signs the API server's certificate and those of its clients.
    pub(crate) cluster: Authority,
    /// Signs the certificate that the API server presents to the servers behind it.
    pub(crate) front_proxy: Authority,
    /// Signs the tokens of service accounts.
    pub(crate) service_accounts: KeyPair,
}

impl Pki {
    /// New authorities with new keys.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            cluster: Authority::new("kubernetes")?,
            front_proxy: Authority::new("front-proxy-ca")?,
            service_accounts: KeyPair::generate().context("generating a key")?,
        })
    }
}

/// Somebody who signs certificates.
#[derive(Debug)]
pub(crate) struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// An authority with a new key. One of the same name as another's is a forgery of it.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let params = authority(name);
        let key = KeyPair::generate().context("generating a key")?;
        let certificate = params.self_signed(&key).context("signing an authority")?;
        Ok(Self {
            certificate: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// An authority that this one vouches for.
    pub(crate) fn below(&self, name: &str) -> anyhow::Result<Self> {
        let params = authority(name);
        let key = KeyPair::generate().context("generating a key")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .context("signing an authority")?;
        Ok(Self {
            certificate: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.certificate
    }

    /// A certificate of this authority, with a new key.
    pub(crate) fn sign(&self, params: &CertificateParams) -> anyhow::Result<Identity> {
        let key = KeyPair::generate().context("generating a key")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .context("signing a certificate")?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The certificate alone, without its authority.
    pub(crate) certificate: String,
    /// PKCS #8.
    pub(crate) key: String,
}

/// What a client of the API server presents: its user is the common name, its group the organization (one at most, since
/// rcgen writes each kind of name once). A test spoils what it wants before signing.
pub(crate) fn client(user: &str, group: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(user, group);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// What a server presents; `names` are host names and addresses.
pub(crate) fn server(names: &[&str]) -> anyhow::Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).context("naming a server")?;
    params.distinguished_name = named("server", None);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

fn named(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}
