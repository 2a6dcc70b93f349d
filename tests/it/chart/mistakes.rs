//! Values that are wrong, as people write them: a key that is no key, another type, two values that cannot both be meant.
//! Each is refused before anything is installed, by a message that names it.

use std::io::Write;

use tempfile::NamedTempFile;

use super::{CHART, cases, refused, rendered};
use crate::fixtures::{objects, tools};

/// What the schema refuses, and what Helm then says. All of them go into one file, since Helm names every one.
const OF_THE_SCHEMA: [(&str, &[&str]); 37] = [
    (
        "replicaCount: 3",
        &["at '': additional properties 'replicaCount' not allowed"],
    ),
    ("replicas: 0", &["'/replicas': minimum: got 0, want 1"]),
    (
        "revisionHistoryLimit: three",
        &["'/revisionHistoryLimit': got string, want integer"],
    ),
    (
        "image: {tags: v1, tag: 1.0, registry: 'https://r.example.com', repository: 'taffrail:v1', digest: 'sha256:abc', pullPolicy: always}",
        &[
            "'/image': additional properties 'tags' not allowed",
            "'/image/tag': got number, want string",
            "'/image/registry': 'https://r.example.com' does not match",
            "'/image/repository': 'taffrail:v1' does not match",
            "'/image/digest': 'sha256:abc' does not match",
            "'/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
        ],
    ),
    (
        "imagePullSecrets: [regcred]",
        &["'/imagePullSecrets/0': got string, want object"],
    ),
    (
        "fullnameOverride: a.b",
        &["'/fullnameOverride': 'a.b' does not match"],
    ),
    (
        "namespaceOverride: Taffrail",
        &["'/namespaceOverride': 'Taffrail' does not match"],
    ),
    (
        "commonLabels: {team: two words, cost centre: '7', tier: 1}",
        &[
            "'/commonLabels/team': 'two words' does not match",
            "'/commonLabels': additional properties 'cost centre' not allowed",
            "'/commonLabels/tier': got number, want string",
        ],
    ),
    (
        "podLabels: {sidecar.istio.io/inject: false}",
        &["'/podLabels/sidecar.istio.io~1inject': got boolean, want string"],
    ),
    (
        "podAnnotations: {port: 9464}",
        &["'/podAnnotations/port': got number, want string"],
    ),
    ("drainDelay: 5", &["'/drainDelay': got number, want string"]),
    (
        "logFormat: logfmt",
        &["'/logFormat': value must be one of 'json', 'text'"],
    ),
    (
        "allowRedis: redis.shop.svc",
        &["'/allowRedis': got string, want array"],
    ),
    (
        "explanations: {scaleTargets: [rollouts]}",
        &["'/explanations/scaleTargets/0': got string, want object"],
    ),
    (
        "delegate: {url: 'http://keda.keda.svc'}",
        &["'/delegate/url': 'http://keda.keda.svc' does not match"],
    ),
    (
        "tls: {mode: selfsigned, clusterDomain: .cluster.local, certManager: {issuer: x, duration: 90d, issuerRef: {kind: Issuer}}}",
        &[
            "'/tls/mode': value must be one of 'self-signed', 'cert-manager'",
            "'/tls/clusterDomain': '.cluster.local' does not match",
            "'/tls/certManager': additional properties 'issuer' not allowed",
            "'/tls/certManager/duration': '90d' does not match",
            "'/tls/certManager/issuerRef': properties 'name' required, if 'kind' exists",
        ],
    ),
    (
        "serviceAccount: {name: My_Account}",
        &["'/serviceAccount/name': 'My_Account' does not match"],
    ),
    ("rbac: false", &["'/rbac': got boolean, want object"]),
    (
        "containerPort: '10250'",
        &["'/containerPort': got string, want integer"],
    ),
    (
        "service: {port: 70000, type: clusterip}",
        &[
            "'/service/port': maximum: got 70,000, want 65,535",
            "'/service/type': value must be one of 'ClusterIP'",
        ],
    ),
    (
        "hostNetwork: true",
        &["'/hostNetwork': got boolean, want object"],
    ),
    (
        "dnsConfig: {nameserver: [10.0.0.10]}",
        &["'/dnsConfig': additional properties 'nameserver' not allowed"],
    ),
    (
        "podSecurityContext: {runAsNonroot: true, runAsUser: nobody}",
        &[
            "'/podSecurityContext': additional properties 'runAsNonroot' not allowed",
            "'/podSecurityContext/runAsUser': got string, want integer",
        ],
    ),
    // What a pod is not told, but a container.
    (
        "securityContext: {fsGroup: 1, privileged: 'yes'}",
        &[
            "'/securityContext': additional properties 'fsGroup' not allowed",
            "'/securityContext/privileged': got string, want boolean",
        ],
    ),
    (
        "resources: {request: {cpu: 1}, requests: {cpu: -1, memory: 64}, limits: {memory: 64m}}",
        &[
            "'/resources': additional properties 'request' not allowed",
            "'/resources/requests/cpu': minimum: got -1, want 0",
            "'/resources/requests/memory': minimum: got 64, want 65,536",
            "'/resources/limits/memory': '64m' does not match",
        ],
    ),
    (
        "livenessProbe: {periodSecond: 5, timeoutSeconds: 0, successThreshold: 2}",
        &[
            "'/livenessProbe': additional properties 'periodSecond' not allowed",
            "'/livenessProbe/timeoutSeconds': minimum: got 0, want 1",
            "'/livenessProbe/successThreshold': maximum: got 2, want 1",
        ],
    ),
    // Helm takes a default away with null; there are none to do without.
    ("startupProbe: null", &["missing property 'startupProbe'"]),
    (
        "readinessProbe: {httpGet: {path: /}}",
        &["'/readinessProbe': additional properties 'httpGet' not allowed"],
    ),
    (
        "nodeSelector: {spot: true}",
        &["'/nodeSelector/spot': got boolean, want string"],
    ),
    (
        "tolerations: [{key: a, operater: Exists}, {key: a, effect: NoScheduling}]",
        &[
            "'/tolerations/0': additional properties 'operater' not allowed",
            "'/tolerations/1/effect': value must be one of",
        ],
    ),
    (
        "affinity: {podAntiAfinity: {}}",
        &["'/affinity': additional properties 'podAntiAfinity' not allowed"],
    ),
    (
        "topologySpreadConstraints: [{topologyKey: zone}]",
        &["'/topologySpreadConstraints/0': missing properties 'maxSkew', 'whenUnsatisfiable'"],
    ),
    // Neither both of a budget's fields, nor a budget with which no node can be drained.
    (
        "podDisruptionBudget: {minAvailable: 1, maxUnavailable: 0}",
        &[
            "'/podDisruptionBudget': additional properties 'minAvailable' not allowed",
            "'/podDisruptionBudget/maxUnavailable': minimum: got 0, want 1",
        ],
    ),
    (
        "networkPolicy: {apiServerCIDRs: [10.0.0.1], egress: {targets: [{namespaceSelecter: {}}]}}",
        &[
            "'/networkPolicy/apiServerCIDRs/0': '10.0.0.1' does not match",
            "'/networkPolicy/egress/targets/0': additional properties 'namespaceSelecter' not allowed",
        ],
    ),
    (
        "metrics: {serviceMonitor: {enable: true, interval: 30}, readers: [prometheus], prometheusRule: {runbookBase: 'a b'}}",
        &[
            "'/metrics/serviceMonitor': additional properties 'enable' not allowed",
            "'/metrics/serviceMonitor/interval': got number, want string",
            "'/metrics/readers/0': got string, want object",
            "'/metrics/prometheusRule/runbookBase': 'a b' does not match",
        ],
    ),
    (
        "extraArgs: [log=debug]",
        &["'/extraArgs/0': 'log=debug' does not match"],
    ),
    (
        "env: [{name: A, valu: x}]",
        &["'/env/0': additional properties 'valu' not allowed"],
    ),
];

/// What is wrong about two values at once, and what the chart then says. What belongs to a trap or to a mode of the
/// certificate is refused in the tests of those.
const OF_TEMPLATES: [(&str, &str); 14] = [
    (
        "fullnameOverride: 'true'",
        "fullnameOverride has to be set to another name: to YAML, true is no text",
    ),
    (
        "commonLabels: {app.kubernetes.io/name: other}",
        "commonLabels has app.kubernetes.io/name, which the chart sets itself: nameOverride and",
    ),
    (
        "commonLabels: {helm.sh/chart: other}",
        "commonLabels has helm.sh/chart, which the chart sets itself: leave it out",
    ),
    (
        "podLabels: {app.kubernetes.io/instance: other}",
        "podLabels has app.kubernetes.io/instance, which the chart sets itself",
    ),
    (
        "env: [{name: POD_IP, value: 10.0.0.1}]",
        "env has POD_IP, which the chart sets itself",
    ),
    (
        "extraArgs: [--allow-loopback, --allow-loopback]",
        "extraArgs has --allow-loopback twice",
    ),
    (
        "tls: {certManager: {issuerRef: {name: platform}}}",
        "tls.certManager.issuerRef is for tls.mode cert-manager, and tls.mode is self-signed",
    ),
    (
        "tls: {mode: cert-manager, certManager: {duration: 24h, renewBefore: 24h}}",
        "tls.certManager.renewBefore 24h is not less than tls.certManager.duration 24h",
    ),
    (
        "updateStrategy: {rollingUpdate: {maxSurge: 0}}",
        "updateStrategy.rollingUpdate has maxUnavailable and maxSurge 0",
    ),
    (
        "drainDelay: 21s",
        "terminationGracePeriodSeconds 30 is less than drainDelay 21s and the ten seconds",
    ),
    (
        "metrics: {plainPort: {enabled: true, port: 10250}}",
        "metrics.plainPort.port and containerPort are both 10250",
    ),
    (
        "metrics: {podMonitor: {enabled: true}}",
        "metrics.podMonitor scrapes metrics.plainPort, which is not enabled",
    ),
    (
        "metrics: {prometheusRule: {enabled: true, disabled: [TaffrailGone]}}",
        "metrics.prometheusRule.disabled names no alert: TaffrailGone",
    ),
    (
        "extraObjects: ['kind: {{ .Values']",
        "cannot parse template \"kind: {{ .Values\"",
    ),
];

/// A file of values; it is gone with what is returned.
fn values(yaml: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

#[test]
fn a_key_that_is_none_and_a_value_of_another_kind_are_refused_by_name() {
    let all: Vec<&str> = OF_THE_SCHEMA.iter().map(|(yaml, _)| *yaml).collect();
    let said = refused(&["--values", path(&values(&all.join("\n")))]);
    for (yaml, expected) in OF_THE_SCHEMA {
        for part in expected {
            assert!(said.contains(part), "{yaml}: no {part:?} in:\n{said}");
        }
    }
    // The slash between registry and repository is the chart's.
    let said = refused(&["--set=image.registry=ghcr.io/acme/"]);
    let part = "'/image/registry': 'ghcr.io/acme/' does not match";
    assert!(said.contains(part), "{said}");
}

#[test]
fn values_that_cannot_both_be_meant_are_refused_by_name() {
    for (yaml, expected) in OF_TEMPLATES {
        let said = refused(&["--values", path(&values(yaml))]);
        assert!(said.contains(expected), "{yaml}: {said}");
    }
    let said = refused(&["--set=hostUsers=false", "--kube-version=1.32.0"]);
    assert!(
        said.contains("hostUsers false needs Kubernetes 1.33"),
        "{said}"
    );
}

#[test]
fn a_release_or_a_namespace_that_no_object_could_be_named_by_is_refused() {
    for (release, namespace, expected) in [
        (
            "7x",
            "taffrail",
            "fullnameOverride has to be set for release 7x",
        ),
        ("taffrail", "Taffrail", "Taffrail is no name of a namespace"),
    ] {
        let output = tools::run(
            "helm",
            &["template", release, CHART, "--namespace", namespace],
        );
        assert!(!output.status.success(), "{release} in {namespace}");
        let said = tools::said(&output);
        assert!(said.contains(expected), "{said}");
    }
}

/// The program refuses a flag that stands there twice, so the pods would never start.
#[test]
fn no_flag_that_the_chart_writes_can_be_given_again() {
    let own = cases().iter().flat_map(|case| case.args());
    let mut flags: Vec<&str> = own
        .filter_map(|arg| arg.strip_prefix("--")?.split('=').next())
        // The case everything gives it as an extra one.
        .filter(|flag| *flag != "allow-loopback")
        .collect();
    flags.sort_unstable();
    flags.dedup();
    assert!(15 < flags.len(), "{flags:?}");
    let file = format!("{}/{CHART}/templates/validate.yaml", tools::ROOT);
    let known = std::fs::read_to_string(file).unwrap();
    for flag in flags {
        assert!(
            known.contains(&format!("\"{flag}\" \"")),
            "{flag} could be given again"
        );
    }
    let said = refused(&["--set=extraArgs={--log=debug}"]);
    assert!(
        said.contains("extraArgs has --log, which the chart sets itself: set logLevel"),
        "{said}"
    );
}

/// What may look wrong and is not.
#[test]
fn what_is_unusual_and_right_arrives_as_it_was_written() {
    let yaml = "
replicas: 1
commonLabels: {app.kubernetes.io/part-of: scaling, example.com/empty: ''}
podLabels: {app.kubernetes.io/version: '3'}
image: {registry: 'r.example.com:5000/team', tag: '1.0'}
nodeSelector: null
resources: {requests: {cpu: 1, memory: 134217728, ephemeral-storage: 1Gi}, limits: {cpu: 1.5}}
tolerations: [{operator: Exists}, {key: a, value: b, effect: NoExecute, tolerationSeconds: 60}]
podDisruptionBudget: {maxUnavailable: 50%}
verticalPodAutoscaler: {enabled: true, updateMode: Auto}
podSecurityContext: {supplementalGroups: [7], fsGroupChangePolicy: OnRootMismatch}
securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}
extraArgs: [--allow-loopback, --replica=one]
env: [{name: my.variable-1, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
logLevel: 'taffrail=debug # quiet: no'
tls:
  mode: existing-secret
  existingSecret:
    name: adapter-tls
    caBundle: |
      # The first - of two.
      subject=CN = one
      -----BEGIN CERTIFICATE-----
      QUJD
      -----END CERTIFICATE-----

      # The second.
      -----BEGIN CERTIFICATE-----
      QUJD
      -----END CERTIFICATE-----
# Keys whose values are all commented out.
imagePullSecrets:
podAnnotations:
deploymentAnnotations:
allowRedis:
extraVolumes:
extraVolumeMounts:
extraObjects:
metrics:
  readers:
";
    let objects = rendered(&["--values", path(&values(yaml))]);
    let pod = &objects::one(&objects, "Deployment", "taffrail")["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/version"], "3");
    let pod = &pod["spec"];
    assert!(pod["nodeSelector"].is_null(), "{pod:#}");
    assert_eq!(pod["tolerations"][1]["tolerationSeconds"], 60);
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "r.example.com:5000/team/taffrail:1.0");
    assert_eq!(container["resources"]["requests"]["memory"], 134_217_728);
    let args = container["args"].as_array().unwrap();
    for arg in ["--log=taffrail=debug # quiet: no", "--replica=one"] {
        assert!(args.iter().any(|it| *it == arg), "{args:?}");
    }
    assert_eq!(objects::of_kind(&objects, "PodDisruptionBudget").count(), 0);
}

#[test]
fn a_repository_may_have_its_registry_before_it_and_its_port() {
    let objects = rendered(&["--set=image.repository=localhost:5001/taffrail,image.tag=v1"]);
    let pod = &objects::one(&objects, "Deployment", "taffrail")["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "localhost:5001/taffrail:v1");
}
