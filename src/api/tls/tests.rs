//! Certificates from files and self-signed ones, as a client sees them.

use super::*;

const NOW: Timestamp = Timestamp::from_ms(1_787_393_730_000);

/// A pair in PEM, as an operator would mount it.
fn pair() -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("legal names");
    let cert = leaf.self_signed(&key).expect("a certificate");
    (cert.pem(), key.serialize_pem())
}

struct Mounted {
    dir: tempfile::TempDir,
}

impl Mounted {
    fn new(pair: &(String, String)) -> Self {
        let mounted = Self {
            dir: tempfile::tempdir().expect("a directory"),
        };
        mounted.write("tls.crt", &pair.0);
        mounted.write("tls.key", &pair.1);
        mounted
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("a file");
    }

    async fn load(&self) -> Result<ServingCert, TlsError> {
        ServingCert::from_files(&self.path("tls.crt"), &self.path("tls.key")).await
    }
}

fn leaf(cert: &ServingCert) -> Vec<u8> {
    cert.current.load().key.cert[0].to_vec()
}

#[tokio::test]
async fn a_replaced_pair_is_used_and_an_unchanged_one_is_left_alone() {
    let mounted = Mounted::new(&pair());
    let cert = mounted.load().await.expect("a sound pair");
    let before = leaf(&cert);
    assert!(!cert.reload().await.expect("nothing changed"));
    assert_eq!(leaf(&cert), before);
    let (chain, key) = pair();
    mounted.write("tls.crt", &chain);
    mounted.write("tls.key", &key);
    assert!(cert.reload().await.expect("a sound pair"));
    assert_ne!(leaf(&cert), before);
    assert_eq!(cert.ca_pem(), None);
}

#[tokio::test]
async fn the_log_says_the_date_on_which_a_new_certificate_expires() {
    let mounted = Mounted::new(&pair());
    let cert = mounted.load().await.expect("a sound pair");
    let (chain, key) = pair();
    mounted.write("tls.crt", &chain);
    mounted.write("tls.key", &key);
    let log = std::fs::File::create(mounted.path("log")).expect("a file");
    let subscriber = tracing_subscriber::fmt().with_writer(Arc::new(log));
    let guard = tracing::subscriber::set_default(subscriber.with_ansi(false).finish());
    let logged = || std::fs::read_to_string(mounted.path("log")).expect("a file");
    let line = async {
        while !logged().ends_with('\n') {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = cert.follow(Duration::from_millis(1), |_| {}) => {}
        () = line => {}
        () = tokio::time::sleep(Duration::from_secs(10)) => {}
    }
    drop(guard);
    // What the library that makes it writes when nobody says a date.
    let said = logged();
    assert!(said.contains("not_after=4096-01-01T00:00:00Z"), "{said}");
}

#[tokio::test]
async fn a_pair_that_is_half_replaced_keeps_the_last_good_one() {
    let mounted = Mounted::new(&pair());
    let cert = mounted.load().await.expect("a sound pair");
    let before = leaf(&cert);
    let (chain, key) = pair();
    mounted.write("tls.crt", &chain);
    let error = cert.reload().await.expect_err("the key is the old one");
    assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
    mounted.write("tls.key", &key[..key.len() / 2]);
    let error = cert.reload().await.expect_err("the key is cut short");
    assert!(matches!(error, TlsError::Content { .. }), "{error}");
    std::fs::remove_file(mounted.path("tls.key")).expect("it is there");
    let error = cert.reload().await.expect_err("the key is gone");
    assert!(matches!(error, TlsError::Read { .. }), "{error}");
    assert_eq!(leaf(&cert), before);
    mounted.write("tls.key", &key);
    assert!(cert.reload().await.expect("whole again"));
    assert_ne!(leaf(&cert), before);
}

#[tokio::test]
async fn what_is_no_certificate_says_which_file_and_never_its_content() {
    let (chain, key) = pair();
    let mounted = Mounted::new(&(key.clone(), key));
    let error = mounted
        .load()
        .await
        .expect_err("a key where the chain should be");
    assert!(error.to_string().contains("tls.crt"), "{error}");
    mounted.write("tls.crt", &chain);
    mounted.write(
        "tls.key",
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
    );
    let message = mounted.load().await.expect_err("no key").to_string();
    assert!(
        message.contains("tls.key") && !message.contains("hunter2"),
        "{message}"
    );
}

#[test]
fn a_certificate_made_at_start_names_the_service_and_loopback() {
    use x509_parser::prelude::GeneralName;

    let names = ["taffrail.shop.svc".to_owned()];
    let cert = ServingCert::self_signed(&names, NOW).expect("legal names");
    let der = leaf(&cert);
    let (_, x509) = X509Certificate::from_der(&der).expect("X.509");
    let san = x509.subject_alternative_name().expect("well-formed");
    let names = &san.expect("it has names").value.general_names;
    for name in ["localhost", "taffrail.shop.svc"] {
        assert!(names.contains(&GeneralName::DNSName(name)), "{names:?}");
    }
    assert!(names.contains(&GeneralName::IPAddress(&[127, 0, 0, 1])));
    let expected: jiff::Timestamp = "2036-01-01T00:00:00Z".parse().expect("a time");
    assert_eq!(cert.not_after().ms(), expected.as_millisecond());
    let ca = cert.ca_pem().expect("it was made");
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"));
}

#[test]
fn a_pair_that_is_handed_over_replaces_the_one_in_use_only_when_it_is_sound() {
    let (chain, key) = pair();
    let cert = ServingCert::from_pem(chain.as_bytes(), key.as_bytes()).expect("a sound pair");
    assert_eq!(cert.ca_pem(), None);
    let before = leaf(&cert);
    let again = cert.replace(chain.as_bytes(), key.as_bytes());
    assert!(!again.expect("a sound pair"), "it is the same");

    let (other, other_key) = pair();
    let error = cert
        .replace(other.as_bytes(), key.as_bytes())
        .expect_err("the key is of another certificate");
    assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
    let error = cert
        .replace(b"", other_key.as_bytes())
        .expect_err("there is no certificate");
    assert!(error.to_string().contains("tls.crt"), "{error}");
    assert_eq!(leaf(&cert), before);

    let replaced = cert.replace(other.as_bytes(), other_key.as_bytes());
    assert!(replaced.expect("a sound pair"));
    assert_ne!(leaf(&cert), before);
}
