//! Whose certificate the adapter serves, and how API servers come to trust it. What is looked up in a cluster is among the
//! cluster's tests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Case, case, cases, refused, texts};
use crate::fixtures::{objects, tools};

const EXTERNAL: &str = "v1beta1.external.metrics.k8s.io";
const INJECT: &str = "cert-manager.io/inject-ca-from";
const INJECT_FROM_SECRET: &str = "cert-manager.io/inject-ca-from-secret";

/// A text of a Secret or an APIService.
fn decoded(value: &Value) -> String {
    let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The DNS names of a certificate, PEM.
fn names(pem: &str) -> Vec<String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        other => panic!("{other}"),
    };
    names.value.general_names.iter().map(dns).collect()
}

/// The Secret that the pods mount.
fn mounted(case: &Case) -> &str {
    let volumes = case.pod()["volumes"].as_array().unwrap();
    let tls = volumes
        .iter()
        .find(|volume| volume["name"] == "tls")
        .unwrap();
    tls["secret"]["secretName"].as_str().unwrap()
}

#[test]
fn d_03_insecure_and_a_bundle_never_meet() {
    for case in cases() {
        for api_service in case.all("APIService") {
            let is_insecure = api_service["spec"]["insecureSkipTLSVerify"] == true;
            assert_eq!(is_insecure, case.name == "insecure", "only when asked for");
            let annotations = &api_service["metadata"]["annotations"];
            let is_verified = !api_service["spec"]["caBundle"].is_null()
                || !annotations[INJECT].is_null()
                || !annotations[INJECT_FROM_SECRET].is_null();
            assert!(
                !(is_insecure && is_verified),
                "{}: {api_service}",
                case.name
            );
        }
    }
}

#[test]
fn d_05_the_certificate_is_for_every_name_of_the_service_of_any_release() {
    let output = tools::stdout(
        "helm",
        &[
            "template",
            "blue",
            super::CHART,
            "--namespace=7scaling",
            "--set=tls.mode=helm,tls.clusterDomain=corp.example",
        ],
    );
    let objects = objects::read(&output);
    let expected = [
        "blue-taffrail",
        "blue-taffrail.7scaling",
        "blue-taffrail.7scaling.svc",
        "blue-taffrail.7scaling.svc.corp.example",
    ];
    let secret = objects::one(&objects, "Secret", "blue-taffrail-tls");
    assert_eq!(names(&decoded(&secret["data"]["tls.crt"])), expected);

    let case = case("cert-manager");
    let expected = expected.map(|name| {
        name.replace("blue-taffrail", "taffrail")
            .replace("7scaling", "taffrail")
            .replace("corp.example", "cluster.local")
    });
    let certificate = case.one("Certificate", "taffrail");
    assert_eq!(texts(&certificate["spec"]["dnsNames"]), expected);
}

#[test]
fn by_default_the_adapter_fills_in_an_empty_secret_and_the_bundle() {
    let case = case("default");
    let secret = case.one("Secret", "taffrail-certificate");
    assert!(secret["data"].is_null() && secret["stringData"].is_null());
    assert!(case.has_arg("--certificate-secret=taffrail-certificate"));
    let spec = &case.one("APIService", EXTERNAL)["spec"];
    assert!(
        spec["caBundle"].is_null(),
        "else each upgrade would take it away"
    );
}

#[test]
fn cert_manager_makes_an_authority_unless_there_is_an_issuer() {
    let own = case("cert-manager");
    assert_eq!(own.all("Issuer").len(), 2);
    let leaf = &own.one("Certificate", "taffrail")["spec"];
    assert_eq!(
        leaf["issuerRef"],
        json!({"kind": "Issuer", "name": "taffrail-ca"})
    );
    assert_eq!(own.one("Certificate", "taffrail-ca")["spec"]["isCA"], true);
    assert_eq!(leaf["secretName"], mounted(own));
    let other = case("cert-manager-issuer");
    assert_eq!(other.all("Issuer").len(), 0);
    let leaf = &other.one("Certificate", "taffrail")["spec"];
    assert_eq!(leaf["issuerRef"]["kind"], "ClusterIssuer");
    assert_eq!(leaf["issuerRef"]["name"], "platform");
    for case in [own, other] {
        for api_service in case.all("APIService") {
            let inject = &api_service["metadata"]["annotations"][INJECT];
            assert_eq!(
                inject, "taffrail/taffrail",
                "namespace and name of the Certificate"
            );
        }
        assert_eq!(case.all("Secret").len(), 0, "cert-manager makes it");
    }
}

#[test]
fn an_existing_secret_is_mounted_and_its_authority_is_the_one_that_is_given() {
    let given = case("existing-secret");
    assert_eq!(mounted(given), "adapter-tls");
    let bundle = decoded(&given.one("APIService", EXTERNAL)["spec"]["caBundle"]);
    assert!(
        bundle.starts_with("-----BEGIN CERTIFICATE-----\n"),
        "{bundle}"
    );
    let injected = case("existing-secret-injected");
    let api_service = injected.one("APIService", EXTERNAL);
    assert_eq!(
        api_service["metadata"]["annotations"][INJECT_FROM_SECRET],
        "taffrail/adapter-tls"
    );
    assert!(api_service["spec"]["caBundle"].is_null());
    // Without either, and without a cluster to look into, it cannot be known, and guessing would break every HPA.
    let said = refused(&["--set=tls.mode=existing-secret,tls.existingSecret.name=adapter-tls"]);
    for part in [
        "Secret taffrail/adapter-tls",
        "tls.existingSecret.caBundle",
        "injectCaFromSecret",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn helm_makes_one_certificate_for_the_pods_and_the_api_servers() {
    let case = case("helm-certificate");
    let secret = case.one("Secret", mounted(case));
    assert_eq!(secret["type"], "kubernetes.io/tls");
    for api_service in case.all("APIService") {
        assert_eq!(api_service["spec"]["caBundle"], secret["data"]["ca.crt"]);
    }
    let der = |key: &str| {
        CertificateDer::from_pem_slice(decoded(&secret["data"][key]).as_bytes()).unwrap()
    };
    let (authority, leaf) = (der("ca.crt"), der("tls.crt"));
    let (_, authority) = X509Certificate::from_der(&authority).unwrap();
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    assert!(authority.is_ca() && !leaf.is_ca());
    assert_eq!(leaf.issuer(), authority.subject());
    let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    assert!((364 * 86_400..=366 * 86_400).contains(&life), "{life} s");
    let renew_at = secret["metadata"]["annotations"]["taffrail.dev/renew-at"]
        .as_str()
        .unwrap();
    let until = renew_at.parse::<i64>().unwrap() - leaf.validity().not_before.timestamp();
    assert!(
        (life * 6 / 10..=life * 7 / 10).contains(&until),
        "two thirds of {life} s: {until} s"
    );
}

#[test]
fn a_mode_and_the_values_of_another_exclude_each_other() {
    for (set, said) in [
        ("tls.mode=existing-secret", "needs tls.existingSecret.name"),
        (
            "tls.existingSecret.name=adapter-tls",
            "tls.mode is self-signed",
        ),
        (
            "tls.mode=selfsigned",
            "'self-signed', 'cert-manager', 'existing-secret', 'helm', 'insecure'",
        ),
    ] {
        let refusal = refused(&["--set", set]);
        assert!(refusal.contains(said), "{set}: {refusal}");
    }
}
