//! What certificates and headers prove under one ConfigMap, without a socket.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

use super::*;
use crate::clock;

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn client(
        &self,
        name: &str,
        change: impl Fn(&mut CertificateParams),
    ) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        vec![cert.der().clone()]
    }
}

/// The ConfigMap as kubeadm's clusters have it.
fn entries(front_proxy: &str, clients: &str) -> BTreeMap<String, String> {
    [
        ("client-ca-file", clients),
        ("requestheader-client-ca-file", front_proxy),
        ("requestheader-allowed-names", r#"["front-proxy-client"]"#),
        ("requestheader-username-headers", r#"["X-Remote-User"]"#),
        ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
        ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
        (
            "requestheader-extra-headers-prefix",
            r#"["X-Remote-Extra-"]"#,
        ),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        headers.append(name, value);
    }
    headers
}

fn wall() -> UnixTime {
    let ms = u64::try_from(clock::now().ms()).expect("after 1970");
    UnixTime::since_unix_epoch(std::time::Duration::from_millis(ms))
}

/// Who asks with this certificate and these headers.
fn who(
    entries: &BTreeMap<String, String>,
    chain: &[CertificateDer<'_>],
    fields: &[(&str, &str)],
) -> Result<Option<User>, Refusal> {
    let trust = Trust::read(entries).expect("a legal ConfigMap");
    trust.judge(chain, wall()).user(&trust, &headers(fields))
}

fn name(user: Result<Option<User>, Refusal>) -> Option<String> {
    user.expect("it is believed").map(|user| user.name)
}

const ADMIN: &[(&str, &str)] = &[("X-Remote-User", "system:admin")];

#[test]
fn assertion_44_all_that_the_front_proxy_says_is_heard() {
    let (front, clients) = (Ca::new("front"), Ca::new("clients"));
    let entries = entries(&front.pem(), &clients.pem());
    let proxy = front.client("front-proxy-client", |_| {});
    let user = who(
        &entries,
        &proxy,
        &[
            ("X-Remote-User", "jo\u{fc}rg"),
            ("X-Remote-Group", "dev"),
            ("x-remote-group", "ops"),
            ("X-Remote-Uid", "u-1"),
            (
                "X-Remote-Extra-Authentication.kubernetes.io%2fCredential-Id",
                "JTI=1",
            ),
            ("X-Remote-Extra-Scopes", "a"),
            ("X-Remote-Extra-scopes", "b"),
        ],
    );
    let user = user.expect("it is believed").expect("a user");
    assert_eq!(
        (user.name.as_str(), user.uid.as_str()),
        ("jo\u{fc}rg", "u-1")
    );
    assert_eq!(user.groups, ["dev", "ops"]);
    let extra: Vec<_> = user.extra.into_iter().collect();
    let said = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        extra,
        [
            (
                "authentication.kubernetes.io/credential-id".to_owned(),
                said(&["JTI=1"])
            ),
            ("scopes".to_owned(), said(&["a", "b"])),
        ]
    );
}

#[test]
fn assertion_44_a_uid_that_is_not_configured_is_not_heard() {
    let front = Ca::new("front");
    let mut entries = entries(&front.pem(), "");
    entries.remove("requestheader-uid-headers");
    let proxy = front.client("front-proxy-client", |_| {});
    let user = who(
        &entries,
        &proxy,
        &[("X-Remote-User", "jo"), ("X-Remote-Uid", "u-1")],
    );
    assert_eq!(user.expect("it is believed").expect("a user").uid, "");
}

#[test]
fn assertions_45_and_46_only_allowed_names_are_front_proxies_and_no_names_allow_all() {
    let (front, clients) = (Ca::new("front"), Ca::new("clients"));
    let mut entries = entries(&front.pem(), &clients.pem());
    let other = front.client("other", |_| {});
    assert_eq!(who(&entries, &other, ADMIN), Err(Refusal::NotAFrontProxy));
    for any in ["[]", ""] {
        entries.insert("requestheader-allowed-names".to_owned(), any.to_owned());
        assert_eq!(
            name(who(&entries, &other, ADMIN)).as_deref(),
            Some("system:admin")
        );
    }
}

#[test]
fn assertion_48_a_client_certificate_is_its_subject_whatever_the_headers_say() {
    let (front, clients) = (Ca::new("front"), Ca::new("clients"));
    let entries = entries(&front.pem(), &clients.pem());
    let jo = clients.client("jo", |params| {
        let subject = &mut params.distinguished_name;
        subject.push(DnType::OrganizationName, "dev");
    });
    let user = who(&entries, &jo, ADMIN)
        .expect("it is believed")
        .expect("a user");
    assert_eq!(
        (user.name.as_str(), user.groups),
        ("jo", vec!["dev".to_owned()])
    );
    let namesake = clients.client("front-proxy-client", |_| {});
    let user = name(who(&entries, &namesake, ADMIN));
    assert_eq!(
        user.as_deref(),
        Some("front-proxy-client"),
        "not a front proxy"
    );
}

#[test]
fn assertion_49_a_certificate_of_an_unknown_authority_is_refused_even_of_the_same_name() {
    let (front, clients) = (Ca::new("front"), Ca::new("clients"));
    let entries = entries(&front.pem(), &clients.pem());
    for stranger in [Ca::new("stranger"), Ca::new("front")] {
        let chain = stranger.client("front-proxy-client", |_| {});
        assert_eq!(who(&entries, &chain, ADMIN), Err(Refusal::UnknownAuthority));
    }
    let nobody_trusted = BTreeMap::new();
    let chain = front.client("front-proxy-client", |_| {});
    assert_eq!(
        who(&nobody_trusted, &chain, ADMIN),
        Err(Refusal::UnknownAuthority)
    );
}

#[test]
fn assertion_50_a_certificate_out_of_its_time_or_purpose_is_refused() {
    let (front, clients) = (Ca::new("front"), Ca::new("clients"));
    let entries = entries(&front.pem(), &clients.pem());
    for ca in [&front, &clients] {
        let expired = ca.client("front-proxy-client", |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        });
        assert_eq!(who(&entries, &expired, ADMIN), Err(Refusal::NotValidNow));
        let future = ca.client("front-proxy-client", |params| {
            params.not_before = rcgen::date_time_ymd(4000, 1, 1);
        });
        assert_eq!(who(&entries, &future, ADMIN), Err(Refusal::NotValidNow));
        let server = ca.client("front-proxy-client", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        assert_eq!(who(&entries, &server, ADMIN), Err(Refusal::WrongPurpose));
    }
    let every_purpose = front.client("front-proxy-client", |params| {
        params.extended_key_usages = Vec::new();
    });
    assert!(who(&entries, &every_purpose, ADMIN).is_ok());
}

#[test]
fn assertion_51_header_names_are_configured_and_the_first_user_that_is_not_empty_wins() {
    let front = Ca::new("front");
    let mut entries = entries(&front.pem(), "");
    let names = r#"["X-First", "X-Second"]"#;
    entries.insert(
        "requestheader-username-headers".to_owned(),
        names.to_owned(),
    );
    let proxy = front.client("front-proxy-client", |_| {});
    let user = |fields: &[(&str, &str)]| name(who(&entries, &proxy, fields));
    assert_eq!(
        user(&[("X-Second", "b"), ("X-First", "a")]).as_deref(),
        Some("a")
    );
    assert_eq!(
        user(&[("X-First", ""), ("x-second", "b")]).as_deref(),
        Some("b")
    );
    assert_eq!(user(ADMIN), None, "the usual name is not configured");
    let trust = Trust::read(&entries).expect("a legal ConfigMap");
    for (header, is_identity) in [
        ("x-second", true),
        ("x-remote-group", true),
        ("x-remote-extra-any", true),
        ("x-remote-user", false),
        ("accept", false),
    ] {
        let header = HeaderName::from_static(header);
        assert_eq!(trust.is_identity(&header), is_identity, "{header}");
    }
}

#[test]
fn assertion_52_while_an_authority_is_rotated_both_are_trusted() {
    let (old, new) = (Ca::new("front"), Ca::new("front"));
    let both = entries(&format!("{}{}", old.pem(), new.pem()), "");
    for ca in [&old, &new] {
        let proxy = ca.client("front-proxy-client", |_| {});
        assert_eq!(
            name(who(&both, &proxy, ADMIN)).as_deref(),
            Some("system:admin")
        );
    }
}

#[test]
fn a_header_that_is_no_text_is_refused_rather_than_read_in_part() {
    let front = Ca::new("front");
    let trust = Trust::read(&entries(&front.pem(), "")).expect("a legal ConfigMap");
    let proxy = front.client("front-proxy-client", |_| {});
    for field in [
        "x-remote-user",
        "x-remote-uid",
        "x-remote-group",
        "x-remote-extra-a",
    ] {
        let mut headers = headers(&[("X-Remote-User", "jo")]);
        let bytes = HeaderValue::from_bytes(b"j\xff").expect("HTTP allows it");
        headers.insert(HeaderName::from_static(field), bytes);
        let user = trust.judge(&proxy, wall()).user(&trust, &headers);
        assert_eq!(user, Err(Refusal::BadHeader), "{field}");
    }
}

#[test]
fn an_entry_that_is_wrong_is_named() {
    let front = Ca::new("front");
    for (key, value) in [
        ("requestheader-client-ca-file", "no PEM"),
        (
            "client-ca-file",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
        ("requestheader-allowed-names", "front-proxy-client"),
        ("requestheader-group-headers", r#"{"X": 1}"#),
        ("requestheader-username-headers", r#"["X Remote"]"#),
    ] {
        let mut entries = entries(&front.pem(), "");
        entries.insert(key.to_owned(), value.to_owned());
        let error = Trust::read(&entries).expect_err(key).to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn one_unreadable_authority_does_not_lock_out_the_others() {
    let front = Ca::new("front");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let entries = entries(&format!("{broken}{}", front.pem()), "");
    let proxy = front.client("front-proxy-client", |_| {});
    assert!(who(&entries, &proxy, ADMIN).is_ok());
}
