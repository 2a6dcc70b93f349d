//! Makes authorities and serving certificates: ECDSA P-256, valid from an hour ago. Nothing here decides when.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use crate::model::time::Timestamp;

use super::content::{AUTHORITIES_MAX, Certificate, Leaf, Shared};

/// How long a serving certificate is valid. Ninety days are what public authorities and cert-manager give: short enough
/// that its rotation, at 60 days, is routine in every cluster.
pub(super) const LEAF_VALID: Duration = Duration::from_hours(90 * 24);

/// How long an authority is valid. Ten years, as many adapters choose, mean that the key outlives everybody who knows
/// about it and that nobody has ever seen the rotation work; a year rotates at eight months, and leaves every serving
/// certificate of the old authority more than its own life before it ends.
pub(super) const AUTHORITY_VALID: Duration = Duration::from_hours(365 * 24);

/// Certificates begin this much earlier, for API servers whose clocks are behind.
pub(super) const BACKDATED: Duration = Duration::from_hours(1);

/// Puts a new authority before the others, which stay trusted, and forgets the key of the one before it.
pub(super) fn replace_authority(shared: &mut Shared, now: Timestamp) -> Result<(), rcgen::Error> {
    let mut params = CertificateParams::default();
    // A name of its own for each: a client that knows two of one name has to try both.
    let common_name = format!("taffrail authority {}", now.ms() / 1000);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now - BACKDATED, now + AUTHORITY_VALID);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let made = read(&params.self_signed(&key)?)?;
    shared.authorities.insert(0, made);
    shared.authorities.truncate(AUTHORITIES_MAX);
    shared.signer = Some(key);
    Ok(())
}

/// Replaces the serving certificate by one of the first authority. It never outlives its authority.
pub(super) fn issue_leaf(
    shared: &mut Shared,
    now: Timestamp,
    names: Vec<String>,
) -> Result<(), rcgen::Error> {
    let (Some(authority), Some(signer)) = (shared.authorities.first(), &shared.signer) else {
        return Err(rcgen::Error::CouldNotParseKeyPair);
    };
    let issuer = Issuer::from_ca_cert_der(&authority.der, signer)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "taffrail");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let from = (now - BACKDATED).max(authority.not_before);
    set_validity(
        &mut params,
        from,
        (now + LEAF_VALID).min(authority.not_after),
    );
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = read(&params.signed_by(&key, &issuer)?)?;
    shared.leaf = Some(Leaf {
        certificate,
        key_pem: key.serialize_pem(),
    });
    Ok(())
}

fn read(made: &rcgen::Certificate) -> Result<Certificate, rcgen::Error> {
    Certificate::read(made.der().clone()).ok_or(rcgen::Error::CouldNotParseCertificate)
}

/// From `from` to `to`, in whole seconds as certificates count.
fn set_validity(params: &mut CertificateParams, from: Timestamp, to: Timestamp) {
    let epoch = date_time_ymd(1970, 1, 1);
    let seconds = |at: Timestamp| Duration::from_secs(at.since(Timestamp::from_ms(0)).as_secs());
    params.not_before = epoch + seconds(from);
    params.not_after = epoch + seconds(to);
}
