//! The README and the pages: what they show is run, and what they name is there.
//!
//! A fenced block says by the words after its language what becomes of it. `sh` is run here, without a cluster and
//! without a network; `sh cluster` is run by `tests/cluster/documents.rs`, against a real control plane; `sh elsewhere`
//! can be run by neither, and [`ELSEWHERE`] has each of its lines with the reason. `yaml` is taken as a user would take
//! it, `yaml old` and `yaml foreign` are other projects' or other times' and are only read, and a block whose word is a
//! file's name is that file for the commands of its page.

mod commands;
mod links;
mod manifests;
mod names;
pub(crate) mod page;

use std::collections::BTreeSet;

/// Commands that no test can run as they stand, and who sees to them.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "cargo run --release -- demo",
        ".ci/run runs it, and tests/it/demo.rs a debug build of it",
    ),
    ("tests/run", "it runs this test"),
    (
        "sed 's|image: taffrail:|image: REGISTRY/taffrail:|' deploy/manifests/install.yaml | \
         kubectl apply --server-side -f -",
        "tests/cluster/adapter.rs installs that file; one cluster has one installation",
    ),
    (
        "helm upgrade taffrail deploy/chart --namespace taffrail --values own.values.yaml --force-conflicts \
         --wait --timeout 3m",
        "tests/cluster/install.rs goes over to a certificate from elsewhere so",
    ),
    (
        "kubectl delete apiservice --selector app.kubernetes.io/name=taffrail",
        "tests/cluster/uninstall.rs runs the section of the plain manifests",
    ),
    (
        "kubectl delete --ignore-not-found -f deploy/manifests/install.yaml",
        "tests/cluster/uninstall.rs runs it",
    ),
    (
        "kubectl delete clusterrole,clusterrolebinding --selector app.kubernetes.io/name=taffrail",
        "tests/cluster/uninstall.rs runs it",
    ),
    (
        "kubectl create namespace taffrail",
        "it is the first of three for KEDA, and the test cluster has that namespace",
    ),
    (
        "kubectl get secret kedaorg-certs -n keda -o 'jsonpath={.data.ca\\.crt}' | base64 --decode > ca.crt",
        "it needs KEDA",
    ),
    (
        "kubectl create configmap delegate-ca -n taffrail --from-file=ca.crt",
        "it needs the file of KEDA",
    ),
    (
        "kubectl apply -n shop -f requestmetrics.yaml",
        "it needs KEDA, which is no program of the test cluster",
    ),
    ("kubectl get requestmetrics -n shop", "it needs KEDA"),
    ("kubectl delete scaledobject users -n shop", "it needs KEDA"),
    ("kubectl apply -n shop -f hpa.yaml", "it needs KEDA"),
    (
        "curl -G http://PROMETHEUS:9090/api/v1/query_range -o day.json --data-urlencode \
         'query=sum(rate(http_request_duration_seconds_count{namespace=\"shop\", app=\"users\"}[1m]))' \
         --data-urlencode start=$(date -d '-1 day' +%s) --data-urlencode end=$(date +%s) --data-urlencode step=15",
        "it needs a day of samples; tests/it/tune.rs has such an answer",
    ),
    (
        "curl -G http://PROMETHEUS:9090/api/v1/query_range -o users.json --data-urlencode \
         'query={__name__=~\"taffrail_(request_.*|targets|objective_.*)\", service=\"users\"} or \
         kube_deployment_spec_replicas{namespace=\"shop\", deployment=\"users\"}' \
         --data-urlencode start=$(date -d '-1 day' +%s) --data-urlencode end=$(date +%s) --data-urlencode step=15",
        "it needs a day of samples; tests/it/tune.rs has an answer of Prometheus",
    ),
    (
        "taffrail tune users.json --hpa users-hpa.yaml -o better.yaml --html tune.html",
        "as before",
    ),
    (
        "taffrail demo --scenario loadtest/scenarios/invoices.yaml --speed 10",
        "tests/it/demo.rs plays scenarios for minutes",
    ),
    (
        "kubectl apply -k deploy/loadtest",
        "tests/cluster/loadtest runs that Job for minutes",
    ),
];

#[test]
fn what_cannot_be_run_is_listed_with_its_reason() {
    let shown: BTreeSet<String> = page::documented()
        .iter()
        .flat_map(page::Page::blocks)
        .filter(|block| block.is("sh", &["elsewhere"]))
        .flat_map(|block| block.commands())
        .collect();
    let listed: BTreeSet<String> = ELSEWHERE
        .iter()
        .map(|(command, _)| (*command).to_owned())
        .collect();
    let unlisted: Vec<_> = shown.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&shown).collect();
    assert!(
        unlisted.is_empty() && gone.is_empty(),
        "not listed: {unlisted:#?}\nlisted and not shown: {gone:#?}"
    );
}

#[test]
fn every_block_says_what_it_is() {
    for page in page::documented() {
        for block in page.blocks() {
            let words: Vec<&str> = block.words.iter().map(String::as_str).collect();
            let is_known = match (&*block.language, &*words) {
                ("sh", [] | ["cluster" | "elsewhere"])
                | ("yaml", [] | ["old" | "foreign"])
                | ("text", []) => true,
                ("yaml" | "csv" | "text", [file]) => file.contains('.'),
                _ => false,
            };
            assert!(
                is_known,
                "{}:{}: {} {words:?}",
                page.path, block.line, block.language
            );
        }
    }
}

#[test]
fn the_readme_shows_two_commands_to_begin_with() {
    let readme = page::Page::read("README.md");
    let section = readme.section("Two commands");
    let commands: Vec<String> = section.iter().flat_map(page::Block::commands).collect();
    assert_eq!(commands, ["cargo run --release -- demo", "tests/run"]);
}
