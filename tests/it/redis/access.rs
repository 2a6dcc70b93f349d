//! Passwords, users, TLS, and the one connection that targets share.

use std::sync::Arc;

use taffrail::model::health::FailureReason;
use taffrail::source::redis::{Measure, Pool, RedisSpec, ServerRead};
use taffrail::source::secret::SecretRef;
use taffrail::source::secret::SecretStore;
use taffrail::source::tls::{Authorities, IdentityFiles, TlsSpec};

use super::{Reader, backlog_spec, items, lag, read_once, server_spec};
use crate::fixtures::redis_server::{RedisServer, run};

#[tokio::test]
async fn a_password_is_wanted_and_its_absence_and_falseness_are_told_apart() {
    let server = RedisServer::start_with_password("s3cret&^@$");
    let with = |password: Option<&str>| {
        let mut spec = backlog_spec(server.port, &[("jobs", Measure::Auto)]);
        spec.connection.password = password.map(|password| SecretRef::Literal(password.to_owned()));
        spec
    };
    let missing = read_once(with(None)).await.unwrap_err();
    assert_eq!(missing.reason, FailureReason::Unauthorized);
    assert!(missing.message.contains("wants a password"), "{missing}");
    let wrong = read_once(with(Some("guess"))).await.unwrap_err();
    assert_eq!(wrong.reason, FailureReason::Unauthorized);
    assert!(wrong.message.contains("refused"), "{wrong}");
    assert!(!format!("{wrong:?} {:?}", with(Some("guess"))).contains("guess"));
    let right = read_once(with(Some("s3cret&^@$"))).await.unwrap();
    assert_eq!(items(&right.backlogs), [Ok(0.0)]);
}

#[tokio::test]
async fn a_rotated_password_is_read_again() {
    let server = RedisServer::start_with_password("old");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "new\n").unwrap();
    let mut spec = backlog_spec(server.port, &[("jobs", Measure::Auto)]);
    spec.connection.password = Some(SecretRef::File(file.path().to_owned()));
    let mut reader = Reader::start(spec);
    assert_eq!(
        reader.next().await.unwrap_err().reason,
        FailureReason::Unauthorized
    );
    std::fs::write(file.path(), "old\n").unwrap();
    reader.until(Result::is_ok).await.unwrap();
}

#[tokio::test]
async fn a_user_with_the_documented_rights_can_read_all_and_a_lesser_one_is_told_what_is_missing() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    run(&mut client, "RPUSH jobs a b");
    run(
        &mut client,
        "ACL SETUSER taffrail on >pw resetkeys ~jobs ~app:* +ping +client|setname +info +latency|histogram \
         +getrange +hlen +hgetall +type +llen +scard +zcard +xlen +xpending +xinfo|groups",
    );
    run(&mut client, "ACL SETUSER lesser on >pw ~jobs +ping +type");
    let as_user = |mut spec: RedisSpec, user: &str| {
        spec.connection.username = Some(SecretRef::Literal(user.to_owned()));
        spec.connection.password = Some(SecretRef::Literal("pw".to_owned()));
        spec
    };
    let reads = [
        ("jobs", Measure::Auto),
        ("jobs", lag("workers")),
        ("private", Measure::Auto),
    ];
    let mut spec = as_user(backlog_spec(server.port, &reads), "taffrail");
    spec.server = Some(ServerRead::default());
    let reading = read_once(spec).await.unwrap();
    assert_eq!(
        items(&reading.backlogs),
        [
            Ok(2.0),
            Err(FailureReason::NotFound),
            Err(FailureReason::Unauthorized)
        ]
    );
    assert!(reading.series.iter().all(|series| 0 < series.n_buckets));

    let lesser = read_once(as_user(backlog_spec(server.port, &reads[..1]), "lesser"))
        .await
        .unwrap();
    let failure = lesser.backlogs[0].items.clone().unwrap_err();
    assert_eq!(failure.reason, FailureReason::Unauthorized);
    assert!(failure.message.contains("LLEN jobs"), "{failure}");
    let failure = read_once(as_user(server_spec(server.port, None), "lesser"))
        .await
        .unwrap_err();
    assert!(failure.message.contains("INFO"), "{failure}");
}

#[tokio::test]
async fn tls_is_spoken_with_an_own_authority_and_a_stranger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let authority = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        rcgen::CertifiedIssuer::self_signed(params, key).unwrap()
    };
    let (own, other) = (authority("own"), authority("other"));
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &own)
        .unwrap();
    let ca_file = file("ca.pem", &own.pem());
    let other_file = file("other.pem", &other.pem());
    let cert_file = file("cert.pem", &leaf.pem());
    let key_file = file("key.pem", &key.serialize_pem());
    let arg = |path: &std::path::PathBuf| path.to_str().unwrap().to_owned();
    let server = RedisServer::launch(&[
        "--port",
        "0",
        "--tls-port",
        "PORT",
        "--tls-cert-file",
        &arg(&cert_file),
        "--tls-key-file",
        &arg(&key_file),
        "--tls-ca-cert-file",
        &arg(&ca_file),
    ]);
    server.wait_for_port();

    let with = |tls: TlsSpec| {
        let mut spec = backlog_spec(server.port, &[("jobs", Measure::Auto)]);
        spec.connection.tls = Some(tls);
        spec
    };
    let identity = Some(IdentityFiles {
        cert_file,
        key_file,
    });
    let trusting = TlsSpec {
        ca: Some(Authorities::File(ca_file)),
        identity,
        ..TlsSpec::default()
    };
    let reading = read_once(with(trusting.clone())).await.unwrap();
    assert_eq!(items(&reading.backlogs), [Ok(0.0)]);

    let wary = TlsSpec {
        ca: Some(Authorities::File(other_file.clone())),
        ..trusting.clone()
    };
    assert_eq!(
        read_once(with(wary)).await.unwrap_err().reason,
        FailureReason::Tls
    );
    let careless = TlsSpec {
        ca: Some(Authorities::File(other_file)),
        insecure_skip_verify: true,
        ..trusting.clone()
    };
    assert!(read_once(with(careless)).await.is_ok());
    // Redis asks for a client certificate unless told otherwise.
    let nameless = TlsSpec {
        identity: None,
        ..trusting.clone()
    };
    assert_eq!(
        read_once(with(nameless)).await.unwrap_err().reason,
        FailureReason::Tls
    );
    let no_file = TlsSpec {
        ca: Some(Authorities::File("no/such/ca.pem".into())),
        ..trusting
    };
    let failure = read_once(with(no_file)).await.unwrap_err();
    assert!(failure.message.contains("no/such/ca.pem"), "{failure}");
}

#[tokio::test]
async fn targets_of_one_server_share_one_connection() {
    let server = RedisServer::start(&[]);
    let pool = Arc::new(Pool::new(SecretStore::default()));
    let mut readers: Vec<Reader> = (0..5)
        .map(|i| {
            let mut spec = backlog_spec(server.port, &[("jobs", Measure::Auto)]);
            spec.target.name = format!("redis-{i}").into();
            Reader::start_in(spec, Arc::clone(&pool))
        })
        .collect();
    for reader in &mut readers {
        reader.next().await.unwrap();
    }
    let clients = run(&mut server.client(), "CLIENT LIST");
    let redis::Value::BulkString(clients) = clients else {
        panic!("{clients:?}");
    };
    let clients = String::from_utf8(clients).unwrap();
    assert_eq!(clients.matches("name=taffrail").count(), 1, "{clients}");
}
