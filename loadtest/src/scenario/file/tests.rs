//! Files as people write them, whole and broken.

use super::load::IN_FLIGHT_DEFAULT;
use super::*;
use crate::scenario::{Action, Discovery, Executor, HttpVersion, Placing};

/// The example of the documentation, with every section.
const WHOLE: &str = r#"
apiVersion: loadtest/v1
name: checkout
description: A step, and back.
seed: 42
target:
  url: http://checkout.shop.svc:8080/buy
  discovery: endpoints
  connections: { perEndpoint: 8, maxAge: 30s, maxAgeJitter: 0.2, maxRequests: 0, onEndpointAdd: rebalance, preconnect: true }
  http: { version: "1.1", timeout: 5s, expect: [200] }
requests:
  - { name: buy,  weight: 3, method: POST, path: /buy, headers: {Authorization: "Bearer ${env:TOKEN}"}, body: '{"sku": {{seq}}}' }
  - { name: list, path: /items }
observe:
  hpa: { namespace: shop, name: checkout }
  metricInterval: 2s
demand: { rpsPerPod: 120 }
app: { workers: 8, serviceTime: 40ms, startup: 10s }
hpa: hpa.yaml
scenarios:
  main:
    executor: ramping-arrival-rate
    arrivals: poisson
    startRate: 50
    maxInFlight: 2000
    stages:
      - { name: base, target: 50, duration: 2m }
      - { name: step, target: 600, duration: 0s }
      - { name: high, target: 600, duration: 6m }
events:
  - { at: 60s, name: bad, rollout: { app: { startup: never } } }
  - { at: 90s, undo: checkout }
  - { at: 100s, until: 120s, stopRedis: true }
  - { at: 130s, until: 140s, name: adapter_down, stopMetrics: true }
  - { at: 150s, change: { slowdown: 10 } }
  - { at: 160s, mark: noon }
slo: { quantile: 95, target: 300ms, window: 10s }
thresholds:
  'http_req_duration{stage:base}': ['p(95)<200', { threshold: 'p(99)<5000', abortOnFail: true, delayAbortEval: 30s }]
run: { repeat: 3, pass: 2 }
safety: { maxErrorRate: 0.5, for: 30s, allowNamespaces: [shop] }
report: { json: out/run.json, html: out/run.html }
"#;

fn parse(text: &str) -> Result<Scenario, FileError> {
    Scenario::read("s.yaml", text, |file| match file {
        "hpa.yaml" => Ok("kind: HorizontalPodAutoscaler\nspec: { maxReplicas: 10 }\n".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    })
}

fn errors(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn a_whole_file_is_read_with_everything_in_it() {
    let scenario = parse(WHOLE).unwrap();
    let service = &scenario.services["checkout"];
    let target = service.target.as_ref().unwrap();
    assert_eq!(target.discovery, Discovery::Endpoints);
    assert_eq!(
        (
            target.connections.per_endpoint,
            target.connections.preconnect
        ),
        (8, 4)
    );
    assert_eq!(target.http.version, HttpVersion::Http1);
    assert_eq!(service.requests[0].weight, 3);
    assert_eq!(service.requests[1].method, "GET");
    assert_eq!(service.hpa.as_ref().unwrap()["spec"]["maxReplicas"], 10);
    let main = &scenario.scenarios["main"];
    assert_eq!(
        (main.service.as_str(), main.arrivals),
        ("checkout", Placing::Poisson)
    );
    assert_eq!(scenario.slo.unwrap().quantile, 0.95);
    assert_eq!(scenario.run, Repeat { repeat: 3, pass: 2 });
    let thresholds = &scenario.thresholds["http_req_duration{stage:base}"];
    assert!(!thresholds[0].abort_on_fail && thresholds[1].abort_on_fail);
    let names: Vec<&str> = scenario
        .events
        .iter()
        .map(|event| event.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["bad", "undo", "stopRedis", "adapter_down", "change", "noon"]
    );
}

#[test]
fn a_rollout_is_the_present_version_with_what_is_said_replaced() {
    let scenario = parse(WHOLE).unwrap();
    let Action::Rollout { app, .. } = &scenario.events[0].action else {
        panic!("{:?}", scenario.events[0]);
    };
    assert_eq!(
        (app.startup, app.workers, app.version.as_str()),
        (None, 8, "v2")
    );
    let text = WHOLE.replace(
        "undo: checkout",
        "rollout: { app: { workers: 2, startup: 1s } }",
    );
    let scenario = parse(&text).unwrap();
    let Action::Rollout { app, .. } = &scenario.events[1].action else {
        panic!("{:?}", scenario.events[1]);
    };
    assert_eq!(
        (app.startup, app.version.as_str()),
        (Some(Span::from_secs(1)), "v3")
    );
    assert_eq!(app.service_time, Span::from_millis(40));
}

#[test]
fn what_is_not_said_has_a_default() {
    let scenario =
        parse("name: a\ntarget: http://127.0.0.1:1/\nscenarios: { main: { profile: '5@1s' } }")
            .unwrap();
    assert_eq!(scenario.seed, 1);
    assert_eq!(scenario.run, Repeat::default());
    let target = scenario.services["a"].target.as_ref().unwrap();
    assert_eq!(target.discovery, Discovery::Static);
    assert_eq!(target.http.timeout, Span::from_secs(5));
    assert_eq!(scenario.scenarios["main"].max_in_flight, IN_FLIGHT_DEFAULT);
    for (url, discovery) in [
        ("http://users.shop.svc/", Discovery::Endpoints),
        (
            "http://example.org/",
            Discovery::Dns {
                refresh: Span::from_secs(5),
            },
        ),
        ("http://[::1]:80/", Discovery::Static),
    ] {
        assert_eq!(discovery_of(url), discovery, "{url}");
    }
}

#[test]
fn rates_are_per_time_unit() {
    let text = "name: a\nscenarios: { main: { executor: constant-arrival-rate, rate: 90, timeUnit: 1m, duration: 10s } }";
    let Executor::RampingArrivalRate { start_rate, .. } =
        parse(text).unwrap().scenarios["main"].executor
    else {
        panic!("a constant rate is one stage");
    };
    assert_eq!(start_rate, 1.5);
}

#[test]
fn several_services_have_names_and_loads_say_which() {
    let text = "name: a\nservices: { users: {}, shifts: { app: { calls: { service: users } } } }\n\
                scenarios: { one: { service: users, profile: '5@1s' }, two: { service: shifts, profile: '5~2/1s@9s', startTime: 3s } }";
    let scenario = parse(text).unwrap();
    assert_eq!(scenario.services.len(), 2);
    assert!(matches!(
        scenario.scenarios["two"].executor,
        Executor::Sine { .. }
    ));
    let text = text
        .replace("service: shifts,", "")
        .replace("calls: { service: users }", "calls: { service: user }");
    let errors = errors(&text);
    assert!(
        errors.contains("s.yaml:3: scenarios.two.service: is missing"),
        "{errors}"
    );
    assert!(
        errors.contains(
            "s.yaml:2: services.shifts.app.calls.service: there is no service `user`; there are shifts, users"
        ),
        "{errors}"
    );
}

#[test]
fn every_error_of_a_file_is_told_with_its_line_and_field() {
    let text = "name: a
targets: {}
seed: many
target: { url: 'ftp://x/', http: { timeout: 5 } }
scenarios:
  main:
    stages:
      - { target: -5, duration: soon }
      - { target: 5, duration: 1s, nam: x }
  other: { profile: '5' }
events:
  - { at: 5s, undo: a }
  - { at: 1s, stopRedis: true, undo: a }
slo: { quantile: 195, target: 1s }
";
    let errors = errors(text);
    let expected = [
        "s.yaml:2: targets: unknown field; expected one of apiVersion, app,",
        "s.yaml:3: seed: must be a whole number, and is a text",
        "s.yaml:4: target.url: must begin with http://",
        "s.yaml:4: target.http.timeout: 5 needs a unit: `5s`",
        "s.yaml:8: scenarios.main.stages[0].duration: duration `soon`",
        "s.yaml:9: scenarios.main.stages[1].nam: unknown field; expected one of duration, name, target",
        "s.yaml:10: scenarios.other.profile: stage 1 `5`: there is no `@`",
        "s.yaml:12: events[0].undo: there is no rollout of `a`",
        "s.yaml:13: events[1].at: is before the event above it",
        "s.yaml:13: events[1]: must have one of mark, rollout",
        "s.yaml:14: slo.quantile: 195 is not between",
    ];
    for expected in expected {
        assert!(errors.contains(expected), "no `{expected}` in\n{errors}");
    }
}

#[test]
fn a_file_that_is_wrong_in_one_place_says_so() {
    let cases = [
        ("name: a", "scenarios: is missing"),
        ("- 5", "must be a mapping of fields, and is a list"),
        ("name: [", "s.yaml:"),
        ("name: a\nname: b", "a second `name`"),
        ("name: a/b\nscenarios: {}", "`a/b` is no name"),
        (
            "name: a\nhpa: other.yaml\nscenarios: { m: { profile: 1@1s } }",
            "other.yaml: cannot be read",
        ),
        (
            "name: a\nscenarios: { m: {} }",
            "has no load: write `profile",
        ),
        (
            "name: a\nscenarios: { m: { executor: ramp } }",
            "`ramp` is not one of constant-arrival-rate,",
        ),
        (
            "name: a\nscenarios: { m: { executor: constant-vus, vus: 0, duration: 1s } }",
            "0 is not between 1",
        ),
        (
            "name: a\nscenarios: { m: { profile: 1@1s 5~1/1s@9s } }",
            "a swing stands alone",
        ),
        (
            "name: a\nscenarios: { m: { stages: [{ target: -1, duration: 1s }] } }",
            "rate -1 is not between",
        ),
        (
            "name: a\nscenarios: { m: { stages: [{ name: x, target: 1, duration: 1s }, { name: x, target: 1, duration: 1s }] } }",
            "two are named `x`",
        ),
        (
            "name: a\nscenarios: { m: { profile: 1@1s } }\nthresholds: { x: [5] }",
            "must be a list of texts",
        ),
        (
            "name: a\nscenarios: { m: { profile: 1@1s } }\nevents: [{ at: 0s, change: { slowdown: 1001 } }]",
            "must be above zero and 1000 at most",
        ),
    ];
    for (text, expected) in cases {
        let errors = errors(text);
        assert!(errors.contains(expected), "{text}\n{errors}");
    }
}

#[test]
fn no_error_repeats_what_may_be_a_secret() {
    let text = "name: a
target: { url: 'http://me:hush@x/' }
requests: [{ path: /, headers: { X-Auth-Token: \"hush\\n\" } }]
scenarios: { m: { profile: 1@1s } }";
    let errors = errors(text);
    assert!(
        errors.contains("must not hold a password") && errors.contains("no header may have"),
        "{errors}"
    );
    assert!(!errors.contains("hush"), "{errors}");
}

#[test]
fn a_check_of_a_stage_that_is_not_there_is_refused() {
    let with =
        |scope: &str| format!("{WHOLE}assertions:\n  - never_above_max: {{ scope: {scope} }}\n");
    for scope in ["stage(high)", "event(noon)..stage(base).end"] {
        parse(&with(scope)).unwrap();
    }
    let line = with("run").lines().count();
    for (scope, expected) in [
        (
            "stage(hihg)",
            &["there is no stage `hihg`; there are base, high, step"][..],
        ),
        (
            "event(bade)",
            &[
                "there is no event `bade`; there are adapter_down, bad, change, noon, stopRedis, undo",
            ],
        ),
        (
            "stage(a).start..event(b).end",
            &["there is no stage `a`", "there is no event `b`"],
        ),
    ] {
        let errors = errors(&with(scope));
        for expected in expected {
            let expected = format!("s.yaml:{line}: assertions[0]: {expected}");
            assert!(errors.contains(&expected), "no `{expected}` in\n{errors}");
        }
        assert_eq!(errors.lines().count(), expected.len(), "{errors}");
    }
}

#[test]
fn failed_requests_count_unless_the_scenario_speaks_of_them() {
    let checks = |more: &str| {
        let text = format!("name: a\nscenarios: {{ m: {{ profile: 1@1s }} }}\n{more}");
        let scenario = parse(&text).unwrap();
        serde_json::to_string(&scenario.assertions).unwrap()
    };
    assert!(checks("").contains("error_rate"), "{}", checks(""));
    let own = checks("assertions: [{ error_rate: { max: 1 } }]");
    assert_eq!(own.matches("error_rate").count(), 1, "{own}");
    let threshold = checks("thresholds: { http_req_failed: ['rate<0.5'] }");
    assert_eq!(threshold, "[]");
}

#[test]
fn a_check_that_cannot_be_read_says_at_which_line() {
    let text = "name: a
scenarios: { m: { profile: 1@1s } }
assertions:
  - flap_count: { max: 0 }
  - flap_cuont: { max: 0 }
  - time_to_first_scale_out: { from: stage(high).start, max: 60s }
";
    let errors = errors(text);
    for expected in [
        "s.yaml:5: assertions[1]: ",
        "s.yaml:6: assertions[2]: there is no stage `high`; there is 1/s",
    ] {
        assert!(errors.contains(expected), "no `{expected}` in\n{errors}");
    }
}

#[test]
fn a_timeout_is_within_what_latencies_are_told_apart_in() {
    let with = |timeout: &str| {
        format!(
            "{{target: {{url: http://127.0.0.1:1/, http: {{timeout: {timeout}}}}}, name: users, \
             scenarios: {{main: {{profile: 1@1s}}}}}}"
        )
    };
    for timeout in ["1ms", "10m"] {
        parse(&with(timeout)).unwrap();
    }
    for timeout in ["0s", "999us", "601s", "100000y"] {
        let said = errors(&with(timeout));
        assert!(said.contains("is not between 1ms and 10m"), "{said}");
    }
}

/// All that is said of a text, without the name of its file.
fn all_errors(text: &str) -> Vec<String> {
    let said = errors(text);
    said.lines()
        .map(|line| line.trim_start_matches("s.yaml:").to_owned())
        .collect()
}

#[test]
fn what_cannot_be_is_told_with_its_line() {
    let of = |rest: &str| {
        format!(
            "name: a\nscenarios: {{ m: {{ stages: [{{ name: high, target: 5, duration: 60s }}] }} }}\n{rest}"
        )
    };
    let check = |check: &str| of(&format!("assertions:\n  - {check}"));
    let cases = [
        (
            check("peak_replicas: { between: [8, 3] }"),
            "4: assertions[0]: between: [8, 3] has no number in it; write the fewest first",
        ),
        (
            check("replicas_within: { between: [8, 3], scope: stage(high) }"),
            "4: assertions[0]: between: [8, 3] has no number in it; write the fewest first",
        ),
        (
            check("replicas_within: { between: [3, 8], scope: stage(high), settle: 1m }"),
            "4: assertions[0]: settle: 1m leaves nothing of stage(high), which lasts 1m",
        ),
        (
            check("latency: { scope: stage(high), settle: 2m, stat: p(50), max: 1s }"),
            "4: assertions[0]: settle: 2m leaves nothing of stage(high), which lasts 1m",
        ),
        (
            check("hpa_conditions: { settle: 1h }"),
            "4: assertions[0]: settle: 1h leaves nothing of the run, which lasts 1m",
        ),
        (
            check("metric_health: {}"),
            "4: assertions[0]: has no limit; write max_age, max_gap or max_errors",
        ),
        (
            of("events:\n  - { at: 1s, mark: b }\n  - { at: 61s, mark: c }"),
            "5: events[1].at: 1m1s is after the end of the loads, 1m: it never happens",
        ),
        (
            of("app:\n  calls: { service: a }"),
            "4: app.calls.service: a service cannot wait for itself",
        ),
        (
            of("events:\n  - at: 1s\n    rollout:\n      app: { calls: { service: a } }"),
            "6: events[0].rollout.app.calls.service: a service cannot wait for itself",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(all_errors(&text), [expected], "{text}");
    }
}

#[test]
fn services_that_wait_for_each_other_are_told_once() {
    let text = "name: a
services:
  one: { app: { calls: { service: two } } }
  two: { app: { calls: { service: three } } }
  three: { app: { calls: { service: two } } }
scenarios: { m: { service: one, profile: 1@1s } }";
    let expected = "5: services.three.app.calls.service: three, two, three wait for each other for ever: each calls the next";
    assert_eq!(all_errors(text), [expected]);
}

#[test]
fn one_mistake_is_told_once_and_hides_no_other() {
    let cases: [(&str, &[&str]); 8] = [
        // A stage whose duration is wrong is still there, and one that is misspelt is still misspelt.
        (
            "name: a
scenarios: { m: { stages: [{ name: high, target: 5, duration: soon }] } }
assertions:
  - time_to_first_scale_out: { from: stage(high).start, max: 60s }
  - time_to_first_scale_out: { from: stage(hihg).start, max: 60s }",
            &[
                "2: scenarios.m.stages[0].duration: duration `soon`",
                "5: assertions[1]: there is no stage `hihg`; there is high",
            ],
        ),
        // Two mistakes of one check are two.
        (
            "name: a
scenarios: { m: { stages: [{ name: high, target: 5, duration: 60s }] } }
assertions:
  - time_to_first_scale_out: { from: stage(hihg).start, max: soon }",
            &[
                "4: assertions[0]: duration `soon`",
                "4: assertions[0]: there is no stage `hihg`; there is high",
            ],
        ),
        // An event that cannot be read is still there.
        (
            "name: a
scenarios: { m: { profile: 5@60s } }
events: [{ at: 5s, name: down, stopMetrics: yes please }, { at: never, mark: noon }, { at: 7s, mark: late }]
assertions:
  - fail_safe: { during: event(down) }
  - no_reaction: { scope: event(noon) }
  - fail_safe: { during: event(dwon) }",
            &[
                "3: events[0].stopMetrics: must be true or false, and is a text",
                "3: events[1].at: duration `never`",
                "7: assertions[2]: there is no event `dwon`; there are down, late, noon",
            ],
        ),
        // Who knows what an event is called that has no name?
        (
            "name: a
scenarios: { m: { profile: 5@60s } }
events: [{ at: 5s, nmae: down, stopMetircs: true }]
assertions: [{ fail_safe: { during: event(down) } }]",
            &[
                "3: events[0]: must have one of mark,",
                "3: events[0].nmae: unknown field",
                "3: events[0].stopMetircs: unknown field",
            ],
        ),
        // What a broken rollout did is not held against an undo.
        (
            "name: a
services: { users: {}, shifts: {} }
scenarios: { m: { service: users, profile: 5@60s } }
events:
  - { at: 5s, rollout: { service: user } }
  - { at: 9s, undo: users }",
            &["5: events[0].rollout.service: there is no service `user`; there are shifts, users"],
        ),
        // A profile that cannot be read has stages that nobody knows.
        (
            "name: a
scenarios: { m: { profile: 5@soon } }
events: [{ at: 5m, mark: late }]
assertions: [{ no_reaction: { scope: stage(2) } }]",
            &["2: scenarios.m.profile: stage 1 `5@soon`"],
        ),
        // The name of the scenario is that of its only service.
        (
            "name: a/b
scenarios: { m: { service: users, profile: 5@60s } }
assertions: [{ service: users, flap_count: { max: 0 } }]",
            &["1: name: `a/b` is no name"],
        ),
        // A list of services names none of them.
        (
            "name: a
services: [users]
scenarios: { m: { service: users, profile: 5@60s } }
assertions: [{ service: users, flap_count: { max: 0 } }]",
            &["2: services: must be a mapping of fields, and is a list"],
        ),
    ];
    for (text, expected) in cases {
        let said = all_errors(text);
        assert_eq!(said.len(), expected.len(), "{text}\n{said:#?}");
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.starts_with(expected), "{text}\n{said}");
        }
    }
}

#[test]
fn a_check_and_an_hpa_are_found_again_by_their_lines() {
    let text = "name: a
services:
  users:
    app: { workers: 2 }
    hpa: { spec: { maxReplicas: 3 } }
assertions:
  - flap_count: { max: 0 }

  - monotonic: {}
";
    let lines = Lines::of(text);
    assert_eq!((lines.assertion(0), lines.assertion(1)), (Some(7), Some(9)));
    assert_eq!((lines.assertion(2), lines.hpa("shifts")), (None, None));
    assert_eq!(lines.hpa("users"), Some(5));
}
