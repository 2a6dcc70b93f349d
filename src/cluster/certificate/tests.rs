//! The Secret over the years, with replicas that read it late and an APIService that is patched late; and everything
//! that somebody may find or put there.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use proptest::prelude::*;

use super::content::Certificate;
use super::decide::{LAST_RESORT, SETTLED};
use super::issue::{AUTHORITY_VALID, LEAF_VALID};
use super::*;

type Content = BTreeMap<String, ByteString>;

/// 2026-08-22.
const NOW: Timestamp = Timestamp::from_ms(1_787_393_730_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn names() -> Vec<String> {
    place("taffrail").names()
}

fn place(service: &str) -> Place {
    Place {
        namespace: "monitoring".to_owned(),
        service: service.to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        secret: "taffrail-tls".to_owned(),
    }
}

/// What a replica makes of `content`.
fn after(
    content: &Content,
    now: Timestamp,
    trusted_for: Option<Duration>,
) -> (Shared, Vec<Decision>) {
    let mut shared = Shared::read(content);
    let done = settle(&mut shared, now, &names(), trusted_for).expect("it can be made");
    (shared, done)
}

fn begun() -> Shared {
    after(&Content::new(), NOW, None).0
}

fn leaf(shared: &Shared) -> &Certificate {
    &shared.leaf.as_ref().expect("a certificate").certificate
}

fn put(content: &mut Content, key: &str, value: impl AsRef<[u8]>) {
    content.insert(key.to_owned(), ByteString(value.as_ref().to_vec()));
}

/// What an API server that trusts `bundle` says of a certificate.
fn accepts(bundle: &str, served: &Certificate, now: Timestamp) -> bool {
    let bundle: Vec<_> = CertificateDer::pem_slice_iter(bundle.as_bytes())
        .map(|der| Certificate::read(der.expect("PEM")).expect("a certificate"))
        .collect();
    served.is_trusted(&bundle, now) && served.names.contains(&names()[2])
}

#[test]
fn an_empty_secret_becomes_an_authority_and_a_certificate_for_every_name_of_the_service() {
    let (shared, done) = after(&Content::new(), NOW, None);
    let expected = [
        Decision::ReplaceAuthority(Why::Missing),
        Decision::IssueLeaf(Why::Missing, names()),
    ];
    assert_eq!(done, expected);
    let expected = [
        "taffrail",
        "taffrail.monitoring",
        "taffrail.monitoring.svc",
        "taffrail.monitoring.svc.cluster.local",
    ];
    assert_eq!(leaf(&shared).names, expected);
    assert!(accepts(&shared.bundle(), leaf(&shared), NOW));
    let cert = ServingCert::from_pem(
        leaf(&shared).pem().as_bytes(),
        shared.leaf.as_ref().unwrap().key_pem.as_bytes(),
    );
    assert_eq!(cert.expect("a pair").not_after(), leaf(&shared).not_after);
}

#[test]
fn a_certificate_is_for_servers_only_and_an_authority_for_signing_only() {
    use x509_parser::prelude::{FromDer, X509Certificate};

    let shared = begun();
    let (_, server) = X509Certificate::from_der(&leaf(&shared).der).unwrap();
    let usage = server.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth && !server.is_ca());
    let curve = server.public_key().algorithm.parameters.as_ref().unwrap();
    let p256 = "1.2.840.10045.3.1.7";
    assert_eq!(curve.as_oid().unwrap().to_id_string(), p256);
    let (_, authority) = X509Certificate::from_der(&shared.authorities[0].der).unwrap();
    let limits = authority.basic_constraints().unwrap().unwrap().value;
    assert!(limits.ca && limits.path_len_constraint == Some(0));
    let usage = authority.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && !usage.digital_signature());
}

#[test]
fn what_was_written_is_read_back_and_left_alone() {
    let content = begun().write();
    let (again, done) = after(&content, NOW + DAY, Some(DAY));
    assert_eq!(done, []);
    assert_eq!(again.faults, Vec::<String>::new());
    assert_eq!(again.write(), content);
}

#[test]
fn a_rotation_waits_until_the_new_authority_is_trusted_and_keeps_the_old_one_as_long_as_its_certificates()
 {
    let content = begun().write();
    let mut now = begun().authorities[0].rotate_at();
    // The serving certificate is the last that the old authority issued.
    let mut shared = Shared::read(&content);
    issue::issue_leaf(&mut shared, now - DAY, names()).unwrap();
    let old = leaf(&shared).clone();

    let (shared, done) = after(&shared.write(), now, Some(DAY));
    assert_eq!(done, [Decision::ReplaceAuthority(Why::Due)]);
    assert_eq!(leaf(&shared), &old, "nobody trusts the new authority yet");
    assert_eq!(shared.authorities.len(), 2);

    for trusted_for in [
        None,
        Some(Duration::ZERO),
        Some(SETTLED - Duration::from_secs(1)),
    ] {
        assert_eq!(after(&shared.write(), now, trusted_for).1, []);
    }
    let (shared, done) = after(&shared.write(), now, Some(SETTLED));
    assert_eq!(done, [Decision::IssueLeaf(Why::AuthorityReplaced, names())]);
    assert!(accepts(&shared.authorities[0].pem(), leaf(&shared), now));

    now = old.not_after;
    let (shared, done) = after(&shared.write(), now, Some(DAY));
    assert_eq!(
        done,
        [Decision::IssueLeaf(Why::Due, names())],
        "60 days are over"
    );
    let (shared, done) = after(&shared.write(), now + DAY, Some(DAY));
    assert_eq!(done, [Decision::DropAuthorities]);
    assert_eq!(shared.authorities.len(), 1);
}

#[test]
fn a_certificate_ends_with_its_authority_at_the_latest() {
    let mut shared = begun();
    let end = shared.authorities[0].not_after;
    issue::issue_leaf(&mut shared, end - DAY, names()).unwrap();
    assert_eq!(leaf(&shared).not_after, end);
}

#[test]
fn a_certificate_about_to_expire_is_replaced_though_nobody_trusts_the_new_authority() {
    let mut shared = begun();
    issue::replace_authority(&mut shared, NOW).unwrap();
    let last = leaf(&shared).not_after - LAST_RESORT;
    assert_eq!(after(&shared.write(), last, None).1, []);
    let done = after(&shared.write(), last + Duration::from_secs(1), None).1;
    assert_eq!(done, [Decision::IssueLeaf(Why::LastResort, names())]);
}

#[test]
fn whatever_stands_in_the_secret_ends_as_something_that_can_be_served() {
    let sound = begun().write();
    let other = begun().write();
    let key = |content: &Content, key: &str| content[key].0.clone();
    type Change = Box<dyn Fn(&mut Content)>;
    let cases: Vec<(&str, Change, usize)> = vec![
        (
            "garbage for an authority",
            Box::new(|c| put(c, "ca.crt", "garbage")),
            1,
        ),
        (
            "half an authority",
            Box::new(|c| put(c, "ca.crt", &c["ca.crt"].0.clone()[..200])),
            1,
        ),
        (
            "bytes that are no text",
            Box::new(|c| put(c, "ca.key", [0xff, 0xfe])),
            1,
        ),
        (
            "no key of the authority",
            Box::new(|c| drop(c.remove("ca.key"))),
            0,
        ),
        (
            "another authority's key",
            Box::new({
                let k = key(&other, "ca.key");
                move |c| put(c, "ca.key", &k)
            }),
            1,
        ),
        (
            "another certificate's key",
            Box::new({
                let k = key(&other, "tls.key");
                move |c| put(c, "tls.key", &k)
            }),
            1,
        ),
        (
            "no key of the certificate",
            Box::new(|c| drop(c.remove("tls.key"))),
            0,
        ),
        (
            "empty values, as the type kubernetes.io/tls wants",
            Box::new(|c| {
                for key in content::KEYS {
                    put(c, key, "");
                }
            }),
            0,
        ),
        (
            "a certificate where an authority belongs",
            Box::new(|c| put(c, "ca.crt", c["tls.crt"].0.clone())),
            1,
        ),
        (
            "a foreign pair",
            Box::new({
                let (cert, k) = (key(&other, "tls.crt"), key(&other, "tls.key"));
                move |c| {
                    put(c, "tls.crt", &cert);
                    put(c, "tls.key", &k);
                }
            }),
            0,
        ),
    ];
    for (what, change, faults) in cases {
        let mut content = sound.clone();
        change(&mut content);
        let read = Shared::read(&content);
        assert_eq!(read.faults.len(), faults, "{what}: {:?}", read.faults);
        let (shared, done) = after(&content, NOW, Some(DAY));
        assert!(!done.is_empty(), "{what}");
        assert!(accepts(&shared.bundle(), leaf(&shared), NOW), "{what}");
        assert_eq!(after(&shared.write(), NOW, None).1, [], "{what}");
    }
}

#[test]
fn a_lost_key_makes_a_new_authority_and_no_gap() {
    let mut content = begun().write();
    content.remove("ca.key");
    let (shared, done) = after(&content, NOW, Some(DAY));
    assert_eq!(done, [Decision::ReplaceAuthority(Why::Missing)]);
    assert_eq!(
        leaf(&shared),
        leaf(&Shared::read(&content)),
        "still trusted by its own authority"
    );
}

#[test]
fn an_authority_that_may_not_sign_servers_is_replaced() {
    // An authority of somebody's, limited to another domain.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let begins = NOW - DAY;
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + begins.since(Timestamp::from_ms(0));
    params.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.org".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    let mut content = Content::new();
    put(
        &mut content,
        "ca.crt",
        params.self_signed(&key).unwrap().pem(),
    );
    put(&mut content, "ca.key", key.serialize_pem());
    let (shared, done) = after(&content, NOW, None);
    assert!(
        done.contains(&Decision::ReplaceAuthority(Why::Unsuitable)),
        "{done:?}"
    );
    assert!(accepts(&shared.authorities[0].pem(), leaf(&shared), NOW));
}

#[test]
fn a_service_that_is_renamed_gets_both_names_until_the_next_rotation() {
    let old = begun().write();
    let new_names = place("latency").names();
    let mut shared = Shared::read(&old);
    let done = settle(&mut shared, NOW, &new_names, Some(DAY)).unwrap();
    assert!(
        matches!(&done[..], [Decision::IssueLeaf(Why::OtherNames, _)]),
        "{done:?}"
    );
    for name in names().iter().chain(&new_names) {
        assert!(leaf(&shared).names.contains(name), "{name}");
    }
    // Replicas of the old name leave it alone.
    assert_eq!(after(&shared.write(), NOW, Some(DAY)).1, []);
    let due = leaf(&shared).rotate_at();
    settle(&mut shared, due, &new_names, Some(DAY)).unwrap();
    assert_eq!(leaf(&shared).names, new_names);
}

#[test]
fn an_adapter_that_was_off_for_years_begins_again() {
    let content = begun().write();
    let late = NOW + AUTHORITY_VALID * 3;
    let (shared, done) = after(&content, late, Some(DAY));
    assert_eq!(done[0], Decision::ReplaceAuthority(Why::OutsideValidity));
    assert!(accepts(&shared.bundle(), leaf(&shared), late));
    // And one whose API server's clock was years ahead for a while.
    let (shared, done) = after(&shared.write(), NOW, Some(DAY));
    assert_eq!(done[0], Decision::ReplaceAuthority(Why::OutsideValidity));
    assert!(accepts(&shared.bundle(), leaf(&shared), NOW));
    assert!(shared.authorities.len() <= content::AUTHORITIES_MAX);
}

#[test]
fn an_authority_is_trusted_once_every_apiservice_of_ours_has_it() {
    let (ours, other) = (begun(), begun());
    let authority = &ours.authorities[0].der;
    let seen = |standing: Standing, bundle: &Shared| {
        Some(Seen {
            standing,
            bundle: bundle.bundle().into_bytes(),
            resource_version: None,
        })
    };
    let mine = |bundle: &Shared| seen(Standing::Ours, bundle);
    let foreign = || {
        let namespace = "keda".to_owned();
        let service = "keda-metrics".to_owned();
        seen(Standing::Foreign { namespace, service }, &other)
    };
    for (seen, expected) in [
        (vec![mine(&ours)], true),
        (vec![mine(&other)], false),
        (vec![mine(&ours), mine(&ours)], true),
        (vec![mine(&ours), mine(&other)], false),
        (vec![mine(&ours), foreign()], true),
        (vec![foreign(), mine(&ours)], true),
        (vec![foreign()], false),
        (vec![mine(&ours), None], false),
        (vec![None], false),
    ] {
        assert_eq!(is_trusted(authority, &seen), expected, "{seen:?}");
    }
}

#[test]
fn no_key_is_ever_printed() {
    let shared = begun();
    let printed = format!(
        "{shared:?} {:?} {:?}",
        shared.leaf,
        Shared::read(&shared.write())
    );
    let content = shared.write();
    for key in ["ca.key", "tls.key"] {
        let pem = String::from_utf8(content[key].0.clone()).unwrap();
        let secret = pem.lines().nth(1).unwrap();
        assert!(
            !printed.contains(secret) && !printed.contains("PRIVATE"),
            "{key}"
        );
    }
}

#[test]
fn the_time_is_that_of_the_answer() {
    use super::store::time_of;

    let mut headers = http::HeaderMap::new();
    assert_eq!(time_of(&headers), None);
    let date = "Sat, 22 Aug 2026 10:15:30 GMT";
    headers.insert(http::header::DATE, date.parse().unwrap());
    assert_eq!(time_of(&headers), Some(NOW));
    headers.insert(http::header::DATE, "yesterday".parse().unwrap());
    assert_eq!(time_of(&headers), None);
}

/// A cluster whose replicas look at the Secret when the test says so.
struct Cluster {
    now: Timestamp,
    content: Content,
    /// The APIService's bundle, and the one that API servers go by, which follows within [`SETTLED`].
    written: (String, Timestamp),
    in_force: String,
    replicas: Vec<Replica>,
    /// Bundles with certificates that they vouch for. Signatures do not change with time, so each pair is verified once
    /// and its dates at every instant.
    accepted: BTreeSet<(String, Vec<u8>)>,
}

/// One replica: what it serves, and since when it has seen the newest authority trusted.
#[derive(Clone, Default)]
struct Replica {
    serves: Option<Certificate>,
    trusted: Option<(CertificateDer<'static>, Timestamp)>,
}

impl Cluster {
    fn new(replicas: usize) -> Self {
        let mut cluster = Self {
            now: NOW,
            content: Content::new(),
            written: (String::new(), NOW),
            in_force: String::new(),
            replicas: vec![Replica::default(); replicas],
            accepted: BTreeSet::new(),
        };
        for replica in 0..replicas {
            cluster.look(replica, true);
        }
        cluster.in_force.clone_from(&cluster.written.0);
        cluster
    }

    /// One round of a replica; `patches` where it gets as far as the APIService.
    fn look(&mut self, replica: usize, patches: bool) {
        let mut shared = Shared::read(&self.content);
        let trusted_for = self.trusted_for(replica, &shared);
        let done = settle(&mut shared, self.now, &names(), trusted_for).expect("it can be made");
        if !done.is_empty() {
            self.content = shared.write();
        }
        self.replicas[replica].serves = Some(leaf(&shared).clone());
        if patches && self.written.0 != shared.bundle() {
            self.written = (shared.bundle(), self.now);
        }
    }

    fn trusted_for(&mut self, replica: usize, shared: &Shared) -> Option<Duration> {
        let newest = shared.authorities.first()?;
        let known = &mut self.replicas[replica].trusted;
        if !self.written.0.contains(&newest.pem()) {
            *known = None;
            return None;
        }
        let since = match known {
            Some((der, since)) if *der == newest.der => *since,
            _ => self.now,
        };
        *known = Some((newest.der.clone(), since));
        Some(self.now.since(since))
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        if SETTLED <= self.now.since(self.written.1) {
            self.in_force.clone_from(&self.written.0);
        }
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        for (n, replica) in self.replicas.iter().enumerate() {
            let served = replica.serves.as_ref().expect("it serves something");
            prop_assert!(
                served.is_valid_at(self.now),
                "replica {n} is late at {}",
                self.now
            );
            let pair = (self.in_force.clone(), served.der.to_vec());
            if self.accepted.contains(&pair) {
                continue;
            }
            let is_accepted = accepts(&self.in_force, served, self.now);
            prop_assert!(is_accepted, "replica {n} is refused at {}", self.now);
            self.accepted.insert(pair);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    /// Replicas read the Secret in any order and up to twelve days late; most patches of the APIService fail, for up to a
    /// week. With both at their worst, the last third of a certificate's life is just long enough.
    #[test]
    fn every_replica_is_trusted_at_every_instant_of_many_years(
        steps in prop::collection::vec((0_usize..3, 1_u64..2 * 24 * 60, prop::bool::weighted(0.4)), 600),
    ) {
        let mut cluster = Cluster::new(3);
        let mut looked = [NOW; 3];
        let mut patched = NOW;
        for (replica, minutes, patches) in steps {
            cluster.pass(Duration::from_secs(minutes * 60));
            cluster.check()?;
            // Whoever is latest goes first when it would be later than the bound.
            let latest = (0..3).min_by_key(|n| looked[*n]).expect("three");
            let replica = match DAY * 6 <= cluster.now.since(looked[latest]) {
                true => latest,
                false => replica,
            };
            let patches = patches || DAY * 5 <= cluster.now.since(patched);
            cluster.look(replica, patches);
            looked[replica] = cluster.now;
            if patches {
                patched = cluster.now;
            }
            cluster.check()?;
        }
        let years = cluster.now.since(NOW).as_secs() / AUTHORITY_VALID.as_secs();
        prop_assert!(1 <= years, "{years} years are too few to see rotations");
        let bundle = Shared::read(&cluster.content);
        prop_assert!(bundle.authorities.len() <= 2);
        prop_assert!(cluster.now < leaf(&bundle).not_after);
        prop_assert!(cluster.now.since(leaf(&bundle).not_before) <= LEAF_VALID);
    }
}
