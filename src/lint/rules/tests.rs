//! The table holds what it says: every rule finds its own mistake in its wrong example and nothing in its right one.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::lint::check::{self, Verdict};
use crate::lint::objects::Read;
use crate::lint::page::Page;
use crate::lint::rule::{self, Rule, Severity};
use crate::lint::world::Beside;

fn lint(text: &str, page: Option<&str>) -> (Read, Verdict) {
    let mut read = Read::default();
    read.add_text("example.yaml", text.to_owned());
    let mut beside = Beside::default();
    if let Some(page) = page {
        beside
            .pages
            .insert("users".to_owned(), Page::new(page.into()));
    }
    let verdict = check::check(&read, &beside);
    (read, verdict)
}

fn found(rule: &Rule, text: &str) -> (Vec<String>, Vec<String>) {
    let (read, verdict) = lint(text, rule.page);
    assert!(read.unread.is_empty(), "{}: {:?}", rule.id, read.unread);
    let said = |finding: &rule::Finding| {
        format!(
            "{} at {:?} {}: {} ({}) -> {}",
            finding.rule.id, finding.at, finding.path, finding.what, finding.why, finding.fix
        )
    };
    let (own, others): (Vec<_>, Vec<_>) = verdict
        .findings
        .iter()
        .partition(|finding| finding.rule.id == rule.id);
    let others = others
        .into_iter()
        .filter(|finding| finding.rule.severity == Severity::Error);
    (
        own.into_iter().map(said).collect(),
        others.map(said).collect(),
    )
}

#[test]
fn every_rule_finds_its_wrong_example_and_not_its_right_one() {
    let mut wrong = Vec::new();
    for rule in rule::all() {
        let (own, _) = found(rule, rule.wrong);
        if own.is_empty() {
            wrong.push(format!("{}: nothing found in\n{}", rule.id, rule.wrong));
        }
        let (own, others) = found(rule, rule.right);
        for said in own.iter().chain(&others) {
            wrong.push(format!("{}: the right example is not: {said}", rule.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_finding_has_its_place_and_says_everything() {
    for rule in rule::all() {
        let (_, verdict) = lint(rule.wrong, rule.page);
        for finding in verdict.findings {
            let at = finding
                .at
                .unwrap_or_else(|| panic!("{}: no place", finding.rule.id));
            assert!(0 < at.line && 0 < at.column);
            for part in [&finding.what, &finding.why, &finding.fix] {
                assert!(!part.is_empty(), "{}", finding.rule.id);
                assert!(
                    !part.contains('\n') && !part.ends_with('.'),
                    "{}: {part}",
                    finding.rule.id
                );
            }
        }
    }
}

#[test]
fn the_table_is_in_order() {
    let mut ids = BTreeSet::new();
    for rule in rule::all() {
        assert!(ids.insert(rule.id), "{} stands twice", rule.id);
        let is_kebab = rule
            .id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit());
        assert!(is_kebab, "{}", rule.id);
        assert!(
            rule.why.ends_with('.') && !rule.title.ends_with('.') && !rule.fix.ends_with('.'),
            "{}",
            rule.id
        );
    }
    assert!(40 <= ids.len(), "{}", ids.len());
}

fn ids(text: &str, page: Option<&str>) -> Vec<&'static str> {
    let (_, verdict) = lint(text, page);
    let findings = verdict.findings.iter();
    findings.map(|finding| finding.rule.id).collect()
}

fn fix_of(id: &str, text: &str, page: Option<&str>) -> String {
    let (_, verdict) = lint(text, page);
    let finding = verdict.findings.into_iter().find(|f| f.rule.id == id);
    finding.unwrap_or_else(|| panic!("no {id}")).fix
}

#[test]
fn numbers_at_the_ends_of_their_range_are_reckoned_with() {
    let endless = "18446744073709551615s";
    let most = i64::MAX;
    for text in [
        service!("interval: ENDLESS"),
        service!("window: ENDLESS", "interval: 5s"),
        service!("window: ENDLESS", "interval: 9223372036854775807s"),
        hpa!("minReplicas: MOST", "maxReplicas: MOST", "metrics:", cpu!()),
        documents!(
            hpa!(
                "minReplicas: -MOST",
                "maxReplicas: MOST",
                "metrics:",
                cpu!()
            ),
            deployment!("  replicas: -5\n", right_container!())
        ),
        documents!(
            hpa!("minReplicas: MOST", "maxReplicas: MOST", "metrics:", cpu!()),
            deployment!("", right_container!()),
            workload!("users-canary", "app: users", "", "")
        ),
    ] {
        let text = text
            .replace("ENDLESS", endless)
            .replace("MOST", &most.to_string());
        lint(&text, None);
    }
}

#[test]
fn what_cannot_be_scaled_is_told_from_what_nobody_showed() {
    let of = |target: &str| {
        right_hpa!().replace("apiVersion: apps/v1, kind: Deployment, name: users", target)
    };
    let shown = deployment!("", right_container!());
    for (target, expected) in [
        ("apiVersion: apps/v1, kind: Deployment, name: users", None),
        (
            "apiVersion: apps/v1, kind: deployment, name: users",
            Some("target-api-version"),
        ),
        (
            "apiVersion: batch/v1, kind: CronJob, name: nightly",
            Some("target-api-version"),
        ),
        (
            "apiVersion: apps/v1, kind: DaemonSet, name: agents",
            Some("target-api-version"),
        ),
        (
            "apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: others",
            None,
        ),
        (
            "apiVersion: apps/v1, kind: Deployment, name: user",
            Some("target-missing"),
        ),
        (
            "apiVersion: apps/v1, kind: Deployment, name: accounts",
            Some("target-unread"),
        ),
    ] {
        let found = ids(&[of(target), shown.to_owned()].join("---\n"), None);
        let of_target = found.iter().find(|id| id.starts_with("target-"));
        assert_eq!(of_target.copied(), expected, "{target}");
    }
    assert!(
        ids(
            &of("apiVersion: apps/v1, kind: Deployment, name: accounts"),
            None
        )
        .is_empty()
    );
}

#[test]
fn pods_that_are_asked_need_a_probe_whatever_they_are_scaled_on() {
    let of = |container: &str| {
        let hpa = hpa!("minReplicas: 2", "maxReplicas: 10", "metrics:", cpu!());
        let text = [
            hpa,
            deployment!("", "        resources: {requests: {cpu: 100m}}\n"),
        ]
        .join("---\n");
        text.replace(
            "        ports: [{name: http, containerPort: 8080}]\n",
            container,
        )
    };
    let with_port = of("        ports: [{name: http, containerPort: 8080}]\n");
    assert!(ids(&with_port, None).contains(&"readiness-missing"));
    let of_a_worker = of("");
    assert_ne!(
        with_port, of_a_worker,
        "the example has its port in other words"
    );
    assert!(!ids(&of_a_worker, None).contains(&"readiness-missing"));
}

#[test]
fn a_worker_gets_nothing_before_it_asks_though_it_is_scraped() {
    let worker = documents!(
        hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            external!(
                "name: redis_backlog, selector: {matchLabels: {service: users, key: mails}}",
                "type: AverageValue, averageValue: \"5\""
            ),
        ),
        deployment!("", "        resources: {requests: {cpu: 100m}}\n")
    );
    assert!(worker.contains("containerPort"), "{worker}");
    assert!(!ids(worker, None).contains(&"readiness-missing"));
}

#[test]
fn what_another_kind_is_called_or_keda_scales_is_no_slip_of_a_name() {
    let accounts = right_hpa!().replace(
        "kind: Deployment, name: users",
        "kind: Deployment, name: accounts",
    );
    let users = deployment!("", right_container!());
    let agents = users.replace("kind: Deployment", "kind: DaemonSet");
    assert_ne!(users, agents);
    let of_keda = [users, scaled_object!("users")].join("---\n");
    for beside in [agents, of_keda] {
        let found = ids(&[accounts.as_str(), &beside].join("---\n"), None);
        assert!(!found.contains(&"target-unread"), "{found:?}");
    }
}

#[test]
fn what_is_refused_is_not_said_to_be_taken_in_another_way() {
    let text = hpa!(
        "minReplicas: 2",
        "maxReplicas: 10",
        "metrics:",
        "- {type: Resource, resource: {name: cpu, target: {type: Utilization, value: \"70\"}}}",
    );
    let found = ids(text, None);
    assert!(found.contains(&"hpa-invalid"), "{found:?}");
    assert!(!found.contains(&"target-type-ignored"), "{found:?}");
}

#[test]
fn a_patch_of_an_hpa_has_only_the_fields_that_it_changes() {
    let patch = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: users, annotations: {a: b}}\n";
    let found = ids(patch, None);
    assert!(!found.contains(&"hpa-unknown-field"), "{found:?}");
}

#[test]
fn keda_may_take_over_its_own_hpa_and_a_vertical_one_what_nobody_scales_on() {
    let keda = |more: &str| [right_hpa!(), scaled_object!("users"), more].join("");
    let beside = |name: &str| {
        let advanced = format!("  advanced: {{horizontalPodAutoscalerConfig: {{name: {name}}}}}\n");
        let text = keda(&advanced).replace("apiVersion: keda.sh", "---\napiVersion: keda.sh");
        ids(&text, None).contains(&"keda-beside-hpa")
    };
    assert!(!beside("users") && beside("other"));
    for (more, is_found) in [
        ("", true),
        ("  updatePolicy: {updateMode: Initial}\n", true),
        ("  updatePolicy: {updateMode: \"Off\"}\n", false),
        (
            "  resourcePolicy: {containerPolicies: [{containerName: users, mode: \"Off\"}]}\n",
            false,
        ),
        (
            "  resourcePolicy: {containerPolicies: [{containerName: sidecar, mode: \"Off\"}]}\n",
            true,
        ),
        (
            "  resourcePolicy: {containerPolicies: [{containerName: \"*\", controlledResources: [cpu]}]}\n",
            true,
        ),
    ] {
        let text = [
            right_hpa!(),
            vertical!(""),
            deployment!("", right_container!()),
        ];
        let text = text.join("---\n").replace(
            "name: users}\n---\napiVersion: apps",
            &format!("name: users}}\n{more}---\napiVersion: apps"),
        );
        assert_eq!(
            ids(&text, None).contains(&"vpa-same-resource"),
            is_found,
            "{more}"
        );
    }
}

#[test]
fn a_list_of_one_kind_says_once_what_its_items_are() {
    let items = "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscalerList
items:
- metadata: {name: users}
  spec:
    scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: users}
    minReplicas: 3
    maxReplicas: 3
    metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]
";
    assert_eq!(ids(items, None), ["min-equals-max"]);
}

#[test]
fn what_a_cluster_holds_has_only_fields_that_it_knows() {
    let text = rule::by_id("hpa-unknown-field").unwrap().wrong;
    assert!(ids(text, None).contains(&"hpa-unknown-field"));
    let live = text.replace(
        "metadata: {name: users}",
        "metadata: {name: users, uid: 1b2c}",
    );
    assert!(!ids(&live, None).contains(&"hpa-unknown-field"));
}

#[test]
fn a_fix_names_the_field_that_was_meant() {
    for (written, fix) in [
        (
            "stabilisationWindowSeconds",
            "write stabilizationWindowSeconds",
        ),
        (
            "stabilizationwindowseconds",
            "write stabilizationWindowSeconds",
        ),
        ("policy", "write policies"),
        (
            "cooldown",
            "leave it out; there are stabilizationWindowSeconds, selectPolicy, tolerance, policies",
        ),
    ] {
        let text = rule::by_id("hpa-unknown-field").unwrap().wrong;
        let text = text.replace("stabilisationWindowSeconds", written);
        assert_eq!(fix_of("hpa-unknown-field", &text, None), fix, "{written}");
    }
    let invalid = rule::by_id("hpa-invalid").unwrap().wrong;
    let (_, verdict) = lint(&invalid.replace("12", "\"2\""), None);
    let finding = &verdict.findings[0];
    assert_eq!(
        finding.what,
        "spec.minReplicas is \"2\", and must be a whole number from 1 to 10"
    );
    assert_eq!(finding.fix, "minReplicas: a whole number from 1 to 10");
}

#[test]
fn a_store_of_one_pod_is_no_service_to_scale() {
    let caller = |url: &str| {
        documents!(
            right_hpa!(),
            deployment!(
                "",
                concat!(
                    "        env: [{name: STORE_URL, value: \"URL\"}]\n",
                    right_container!()
                )
            ),
            workload!("store", "app: store", "", "")
        )
        .replace("URL, value: \"URL\"", &format!("URL, value: \"{url}\""))
    };
    for (url, is_found) in [
        ("http://store", true),
        ("grpc://store:50051", true),
        ("redis://store:6379/0", false),
        ("postgres://store/users", false),
    ] {
        let found = ids(&caller(url), None).contains(&"downstream-fixed");
        assert_eq!(found, is_found, "{url}");
    }
    let of_a_set = caller("http://store").replace(
        "kind: Deployment\nmetadata: {name: store}",
        "kind: StatefulSet\nmetadata: {name: store}",
    );
    assert!(!ids(&of_a_set, None).contains(&"downstream-fixed"));
}

#[test]
fn a_startup_probe_and_a_probe_that_only_connects_are_good_enough() {
    let starting = documents!(
        right_hpa!(),
        deployment!(
            "",
            "        startupProbe: {httpGet: {path: /, port: http}}\n"
        )
    );
    assert!(!ids(starting, None).contains(&"readiness-missing"));
    let slow = documents!(
        hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            p95!("type: Value, value: \"1500\"")
        ),
        deployment!("", "        readinessProbe: {tcpSocket: {port: http}}\n")
    );
    assert!(!ids(slow, None).contains(&"probe-gives-up-first"));
}

#[test]
fn a_fix_is_another_thing_than_what_stands_there() {
    let ratio = rule::by_id("ratio-above-one").unwrap().wrong;
    for (written, fix) in [
        ("5", "value: 50m   # 5 %"),
        ("1", "value: 10m   # 1 %"),
        ("100", "value: 50m   # 5 %; a share below 1"),
    ] {
        let text = ratio.replace("value: \"5\"", &format!("value: \"{written}\""));
        assert_eq!(fix_of("ratio-above-one", &text, None), fix, "{written}");
    }
    let noisy = rule::by_id("quantile-noisy").unwrap().wrong;
    for (written, fix) in [("0.99", "quantile: \"0.95\""), ("0.9", "window: ")] {
        let text = noisy
            .replace("0.99", written)
            .replace("averageValue: \"5\"", "averageValue: 100m");
        let said = fix_of("quantile-noisy", &text, None);
        assert!(said.starts_with(fix), "{written}: {said}");
    }
    let lax = rule::by_id("target-beyond-objective").unwrap().wrong;
    for (written, fix) in [
        ("250", "scaleUp: {tolerance: \"0.1\"}"),
        (
            "400",
            "value: \"250\"   # and scaleUp: {tolerance: \"0.1\"}",
        ),
    ] {
        let text = lax
            .replace("value: \"400\"", &format!("value: \"{written}\""))
            .replace(
                "  metrics:",
                "  behavior: {scaleUp: {tolerance: \"0.3\"}}\n  metrics:",
            );
        assert_eq!(fix_of("target-beyond-objective", &text, None), fix);
    }
}

#[test]
fn a_tolerance_down_of_nothing_counts_where_a_pod_is_less_than_a_tenth() {
    let of = |max: &str| {
        hpa!(
            "minReplicas: 2",
            "maxReplicas: MAX",
            "metrics:",
            cpu!(),
            "behavior: {scaleDown: {tolerance: \"0\"}}"
        )
        .replace("MAX", max)
    };
    assert!(!ids(&of("10"), None).contains(&"tolerance-zero"));
    assert!(ids(&of("40"), None).contains(&"tolerance-zero"));
}

#[test]
fn a_backlog_may_bring_a_service_back_from_nothing() {
    let text = hpa!(
        "minReplicas: 0",
        "maxReplicas: 10",
        "metrics:",
        external!(
            "name: redis_backlog, selector: {matchLabels: {service: users}}",
            "type: AverageValue, averageValue: \"50\""
        )
    );
    assert!(!ids(text, None).contains(&"min-zero"));
}

#[test]
fn probes_are_left_out_beside_what_is_left_out_already() {
    let rule = rule::by_id("probes-counted").unwrap();
    let text = rule
        .right
        .replace("where: 'route!=\"/healthz\"'", "where: 'route!=\"/admin\"'");
    let fix = fix_of("probes-counted", &text, rule.page);
    assert!(
        fix.starts_with("where: 'route!=\"/admin\",route!~\""),
        "{fix}"
    );
    let mended = text.replace("where: 'route!=\"/admin\"'", &fix);
    assert!(!ids(&mended, rule.page).contains(&"probes-counted"));
}

#[test]
fn services_are_named_that_a_selector_takes_in() {
    let service =
        |name: &str| service!("window: 30s").replace("name: users", &format!("name: {name}"));
    let hpa = hpa!(
        "minReplicas: 2",
        "maxReplicas: 10",
        "metrics:",
        external!(
            "name: request_rate, selector: {matchExpressions: [{key: service, operator: In, values: [a, b]}]}",
            "type: AverageValue, averageValue: \"50\""
        )
    );
    let text = [hpa.to_owned(), service("a"), service("b"), service("c")].join("---\n");
    let (_, verdict) = lint(&text, None);
    let summed = verdict
        .findings
        .iter()
        .find(|f| f.rule.id == "series-summed");
    assert_eq!(
        summed.unwrap().what,
        "request_rate is read of 2 services: a, b"
    );
}

proptest! {
    /// Whatever stands in place of a value of an example, and whichever line is missing: no panic.
    #[test]
    fn no_document_is_too_strange(
        rule in 0..rule::all().count(),
        line in 0..20usize,
        value in "(\\PC{0,12}|[0-9]{1,25}|[0-9]{1,20}(ms|s|m|h|d|y)|\\{\\}|\\[\\]|null|-1|1e400|a: b)",
        is_gone in any::<bool>(),
    ) {
        let rule = rule::all().nth(rule).unwrap();
        let mut lines: Vec<String> = rule.wrong.lines().map(str::to_owned).collect();
        let index = line % lines.len();
        if is_gone {
            lines.remove(index);
        } else if let Some((name, _)) = lines[index].clone().rsplit_once(": ") {
            lines[index] = format!("{name}: {value}");
        }
        lint(&lines.join("\n"), rule.page);
    }
}
