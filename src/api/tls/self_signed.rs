//! A certificate made at start, and the authority that signed it.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::model::time::Timestamp;

/// How long it is valid: longer than any process runs, since it lives and dies with one.
const VALID_YEARS: i32 = 10;

/// Names that reach a server on the same machine.
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(super) struct Made {
    pub(super) ca_pem: String,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

pub(super) fn make(names: &[String], now: Timestamp) -> Result<Made, rcgen::Error> {
    let mut ca = params(Vec::new(), "taffrail self-signed authority", now)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;

    let loopback = LOOPBACK_NAMES.map(str::to_owned).into_iter();
    let names = loopback.chain(names.iter().cloned()).collect();
    let mut leaf = params(names, "taffrail", now)?;
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&key, &ca)?;
    Ok(Made {
        ca_pem: ca.pem(),
        chain: vec![leaf.der().clone()],
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    })
}

/// Valid from the start of last year, so that clocks that differ do not matter.
fn params(
    names: Vec<String>,
    common_name: &str,
    now: Timestamp,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let year = i32::from(year_of(now));
    params.not_before = date_time_ymd(year - 1, 1, 1);
    params.not_after = date_time_ymd(year + VALID_YEARS, 1, 1);
    Ok(params)
}

fn year_of(now: Timestamp) -> i16 {
    let at = jiff::Timestamp::from_millisecond(now.ms()).unwrap_or_default();
    at.to_zoned(jiff::tz::TimeZone::UTC).year()
}
