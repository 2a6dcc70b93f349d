//! Documents that are wrong: the line, and what is said of it.

mod redis;

use proptest::prelude::*;

use super::*;

/// What cannot be missed in a message.
const SECRET: &str = "hunter2";

/// Checks the one problem of each text, which is that of the service `shop/users`.
fn check(cases: &[(String, u64, &str)]) {
    for (text, line, message) in cases {
        let expected = format!("line {line}: RequestMetrics shop/users: {message}");
        assert_eq!(problems(text), [expected], "{text}");
        assert!(parse(text).services.is_empty(), "{text}");
    }
}

#[test]
fn an_unknown_field_is_named_with_those_that_are_known() {
    check(&[
        (
            users_with("objective:", "objectve:"),
            10,
            "unknown field objectve, expected one of source, window, interval, objective",
        ),
        (
            users_with("spec:", "sepc:"),
            4,
            "unknown field sepc, expected one of apiVersion, kind, metadata, spec, status",
        ),
        (
            users_with("latency:", "p:"),
            10,
            "unknown field p, expected one of quantile, latency",
        ),
        (
            redis_with(&["address: redis", "backlog:", "- {name: mails}"]),
            9,
            "unknown field name, expected one of key, label, measure, group",
        ),
    ]);
}

#[test]
fn a_field_is_there_once_and_of_its_kind() {
    check(&[
        (
            users_with("quantile: 0.95, ", ""),
            10,
            "the field quantile is missing",
        ),
        (
            users_with("window: 30s", "window: 30s\n  window: 40s"),
            10,
            "a second window; one field has one value",
        ),
        (
            users_with("window: 30s", "window: [30s]"),
            9,
            "window must be a text",
        ),
        (
            users_with("[users:8080]", "users:8080"),
            7,
            "targets must be a list",
        ),
        (
            users_with("{quantile: 0.95, latency: 250ms}", "p95"),
            10,
            "objective must be a mapping of fields",
        ),
        (users_with("0.95", "p95"), 10, "quantile must be a number"),
        (pods_with(&["gzip: maybe"]), 8, "gzip must be true or false"),
        (
            redis_with(&["server: {}", "database: one"]),
            8,
            "database must be a whole number",
        ),
    ]);
}

#[test]
fn the_kind_counts_before_the_fields_of_another() {
    check(&[
        (
            users_with("taffrail.dev/v1alpha1", "taffrail.dev/v1"),
            1,
            "apiVersion is \"taffrail.dev/v1\" and must be taffrail.dev/v1alpha1",
        ),
        (
            users_with("kind: RequestMetrics", "kind: RequestMetric"),
            2,
            "kind is \"RequestMetric\" and must be RequestMetrics",
        ),
        (
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: users, namespace: shop}\nspec: {maxReplicas: 3}".to_owned(),
            1,
            "apiVersion is \"autoscaling/v2\" and must be taffrail.dev/v1alpha1",
        ),
    ]);
}

#[test]
fn a_name_that_is_no_label_value_is_nobodys() {
    let must = "must be 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit";
    let long = "a".repeat(64);
    for name in ["Users", "users.v2", "-users", "users-", "''", &long] {
        let text = users_with("name: users", &format!("name: {name}"));
        let shown = name.trim_matches('\'');
        assert_eq!(
            problems(&text),
            [format!("line 3: metadata.name is {shown:?} and {must}")]
        );
        assert_eq!(parse(&text).problems[0].service, None);
    }
    assert_eq!(
        problems(&users_with("namespace: shop", "namespace: a/b")),
        [format!("line 3: metadata.namespace is \"a/b\" and {must}")]
    );
    let just = users_with("name: users", &format!("name: {}", "a".repeat(63)));
    assert_eq!(problems(&just), [""; 0]);
}

#[test]
fn windows_intervals_and_deadlines_have_their_bounds() {
    let window = |written: &str| users_with("window: 30s", written);
    check(&[
        (
            window("window: 30"),
            9,
            "spec.window is \"30\" and needs a unit: 30ms or 30s",
        ),
        (
            window("window: soon"),
            9,
            "spec.window is \"soon\" and must be a duration such as 30s or 250ms",
        ),
        (
            window("window: 11m"),
            9,
            "spec.window is \"11m\" and must be from 200ms to 10m",
        ),
        (
            window("window: 9s"),
            9,
            "spec.window (9s) must be at least 2 times spec.interval (5s), since a rate needs two reads",
        ),
        (
            window("interval: 10s\n  window: 15s"),
            10,
            "spec.window (15s) must be at least 2 times spec.interval (10s), since a rate needs two reads",
        ),
        (
            window("interval: 99ms"),
            9,
            "spec.interval is \"99ms\" and must be from 100ms to 5m",
        ),
        (
            // Twice as long does not fit a duration.
            window("interval: 584542046090 years"),
            9,
            "spec.interval is \"584542046090 years\" and must be from 100ms to 5m",
        ),
        (
            pods_with(&["timeout: 0s"]),
            8,
            "spec.source.pods.timeout is \"0s\" and must be from 1ms to 5s",
        ),
        (
            redis_with(&["server: {}", "timeout: 6s"]),
            8,
            "spec.source.redis.timeout is \"6s\" and must be from 1ms to 5s",
        ),
    ]);
}

#[test]
fn an_objective_that_cannot_be_meant_says_what_may_be() {
    let quantile = |written: &str| users_with("0.95", written);
    let latency = |written: &str| users_with("250ms", written);
    check(&[
        (
            quantile("95"),
            10,
            "spec.objective.quantile is 95 and must be above 0 and below 1; did you mean 0.95?",
        ),
        (
            quantile("99.9"),
            10,
            "spec.objective.quantile is 99.9 and must be above 0 and below 1; did you mean 0.999?",
        ),
        (
            quantile("1"),
            10,
            "spec.objective.quantile is 1 and must be above 0 and below 1; most take 0.95",
        ),
        (
            quantile(".nan"),
            10,
            "spec.objective.quantile is NaN and must be above 0 and below 1; most take 0.95",
        ),
        (
            latency("250"),
            10,
            "spec.objective.latency is \"250\" and needs a unit: 250ms or 250s",
        ),
        (
            latency("0s"),
            10,
            "spec.objective.latency is \"0s\" and must be from 1us to 10m",
        ),
        (
            latency("-1s"),
            10,
            "spec.objective.latency is \"-1s\" and must be a duration such as 30s or 250ms",
        ),
    ]);
}

#[test]
fn a_document_has_one_source_that_is_read_here() {
    let one = "spec.source needs exactly one of pods and redis";
    check(&[
        (
            pods_with(&[]).replace("  window", "    redis: {server: {}}\n  window"),
            6,
            one,
        ),
        (
            users_with(
                "source:\n    pods:\n      targets: [users:8080]\n      histogram: http_request_duration_seconds",
                "source: {}",
            ),
            5,
            one,
        ),
        (
            redis_with(&[]).replace("redis:", "prometheus: {query: up}"),
            6,
            "spec.source.prometheus is not read yet; use pods or redis",
        ),
        (
            users_with(
                "targets: [users:8080]",
                "selector: {matchLabels: {app: users}}\n      port: metrics",
            ),
            7,
            "spec.source.pods.selector needs a cluster; in a file, list the addresses in spec.source.pods.targets",
        ),
        (
            pods_with(&["port: metrics"]),
            8,
            "spec.source.pods.port goes with a selector, which needs a cluster; in a file, write the port of each of spec.source.pods.targets",
        ),
    ]);
}

#[test]
fn a_metric_is_named_without_blanks_or_braces() {
    let line = "and must be the name of a metric, without blanks or braces";
    check(&[
        (
            pods_with(&["histogram: \"\""]),
            8,
            &format!("spec.source.pods.histogram is \"\" {line}"),
        ),
        (
            pods_with(&["histogram: request seconds"]),
            8,
            &format!("spec.source.pods.histogram is \"request seconds\" {line}"),
        ),
        (
            pods_with(&["inFlight: 'busy{pool=1}'"]),
            8,
            &format!("spec.source.pods.inFlight is \"busy{{pool=1}}\" {line}"),
        ),
        (
            pods_with(&["cpu: cpu_seconds}"]),
            8,
            &format!("spec.source.pods.cpu is \"cpu_seconds}}\" {line}"),
        ),
    ]);
}

#[test]
fn targets_that_cannot_be_scraped_say_why() {
    let targets = |second: &str| {
        users_with(
            "targets: [users:8080]",
            &format!("targets:\n      - users:8080\n      - {second}"),
        )
    };
    let many: Vec<String> = (0..1001).map(|n| format!("t{n}:80")).collect();
    check(&[
        (
            users_with("[users:8080]", "[]"),
            6,
            "spec.source.pods.targets is empty; list addresses such as 10.0.0.7:8080",
        ),
        (
            users_with("[users:8080]", &format!("[{}]", many.join(", "))),
            6,
            "spec.source.pods.targets has 1001 entries, at most 1000 are read for one document",
        ),
        (
            targets("http://users:8080/metrics?token=hunter2"),
            9,
            "http://users:8080/metrics stands twice in spec.source.pods.targets",
        ),
        (
            targets("users:808080"),
            9,
            "this entry of spec.source.pods.targets must have a port from 1 to 65535",
        ),
        (
            targets("ftp://users"),
            9,
            "this entry of spec.source.pods.targets must start with http:// or https://",
        ),
        (
            targets("http://joe:hunter2@users"),
            9,
            "this entry of spec.source.pods.targets must not hold a user or a password; set basic authentication instead",
        ),
        (
            pods_with(&["scheme: ftp"]),
            8,
            "spec.source.pods.scheme is \"ftp\" and must be http or https",
        ),
    ]);
}

#[test]
fn fields_of_a_scrape_are_checked_before_it_begins() {
    check(&[
        (
            pods_with(&["where: 'route!=/healthz'"]),
            8,
            "spec.source.pods.where: at character 8: expected a value in quotes",
        ),
        (
            pods_with(&["headers:", "  X Token: {env: TOKEN}"]),
            9,
            "spec.source.pods.headers.X Token: this is no header name",
        ),
        (
            pods_with(&["headers:", "  X-Token: {env: A}", "  x-token: {env: B}"]),
            10,
            "spec.source.pods.headers.x-token: a second header of this name",
        ),
        (
            pods_with(&[
                "bearerToken: {env: A}",
                "basicAuth: {username: {env: B}, password: {env: C}}",
            ]),
            8,
            "spec.source.pods has bearerToken and basicAuth; a request has one of them",
        ),
        (
            pods_with(&["tls: {certFile: /crt}"]),
            8,
            "spec.source.pods.tls.certFile and spec.source.pods.tls.keyFile belong together",
        ),
    ]);
}

#[test]
fn a_secret_comes_from_one_place_outside_the_cluster() {
    let token = |written: &str| pods_with(&["headers:", &format!("  X-Token: {written}")]);
    let one = "spec.source.pods.headers.X-Token needs exactly one of file, env and value";
    check(&[
        (token("{file: /a, env: B}"), 9, one),
        (token("{}"), 9, one),
        // To YAML this is an anchor, of nothing.
        (token("{value: &hunter2 }"), 9, one),
        (
            token("{secretKeyRef: {name: users-token, key: token}}"),
            9,
            "spec.source.pods.headers.X-Token.secretKeyRef needs a cluster; use file or env",
        ),
        (token(SECRET), 9, "X-Token must be a mapping of fields"),
        (
            redis_with(&["server: {}", "password: {value: a, env: B}"]),
            8,
            "spec.source.redis.password needs exactly one of file, env and value",
        ),
    ]);
}

#[test]
fn what_is_no_yaml_says_where() {
    for (text, problem) in [
        ("x", "line 1: this must be a mapping of fields"),
        ("- a\n- b", "line 1: this must be a mapping of fields"),
        ("a: 1", "line 1: the field apiVersion is missing"),
        (
            "apiVersion: a\nkind: b\nmetadata: {}",
            "line 3: the field name is missing",
        ),
        (
            "a:\n\tc: d",
            "line 2: indented with a tab; YAML takes spaces only",
        ),
        ("{", "line 1: unclosed bracket '{'"),
        ("\0", "line 1: unexpected character: `\\u{0}'"),
    ] {
        assert_eq!(problems(text), [problem], "{text}");
    }
}

#[test]
fn a_secret_in_the_wrong_place_is_never_repeated() {
    for written in [
        "bearerToken: hunter2",
        "bearerToken: {hunter2}",
        "bearerToken: {hunter2: hunter2}",
        "bearerToken: {value: hunter2, hunter2}",
        "bearerToken: {value: hunter2, value: hunter2}",
        "bearerToken: {value: [hunter2]}",
        "bearerToken: {value: {hunter2: 1, hunter2: 2}}",
        "bearerToken: {value: hunter2, env: A}",
        "bearerToken: {value: !hunter2 }",
        "bearerToken: {value: !hunter2}",
        "bearerToken: {value: *hunter2}",
        "bearerToken: {value: &hunter2}",
        "bearerToken: {value: @hunter2}",
        "bearerToken: {value: 'hunter2}",
        "bearerToken: {value: \"hunter2\\q\"}",
        "bearerToken: {value: hunter2: hunter2}",
        "bearerToken: {value: !!binary hunter2}",
        "bearerToken: {value: !!int hunter2}",
        "bearerToken: {file: [hunter2]}",
        "bearerToken: [hunter2]",
        "headers: hunter2",
        "headers: {A: hunter2}",
        "basicAuth: {username: {value: joe}, password: hunter2}",
    ] {
        let parsed = parse(&pods_with(&[written]));
        assert_eq!(parsed.problems.len(), 1, "{written}");
        let said = format!("{parsed:?}");
        assert!(!said.contains(SECRET), "{said}");
    }
    let text = pods_with(&["bearerToken: {value: hunter2}"]);
    let document: document::RequestMetrics = yaml::read(&text).unwrap_or_else(|_| panic!());
    assert!(!format!("{document:?}").contains(SECRET));
    assert!(!format!("{:?}", parse(&text)).contains(SECRET));
}

#[test]
fn a_wrong_value_is_repeated_as_far_as_a_log_can_bear() {
    let text = users_with("30s", &"é".repeat(10_000));
    let message = parse(&text).problems.remove(0).message;
    assert_eq!(message.chars().count(), MESSAGE_CHARS_MAX + "...".len());
    assert!(message.ends_with("..."));
}

#[test]
fn what_multiplies_or_nests_without_end_is_refused() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        laughs.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    let annotations = |value: &str| {
        users_with(
            "namespace: shop}",
            &format!("namespace: shop, annotations: {{\n {value}}}}}"),
        )
    };
    let nested = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = format!("a: [{}]", "x,".repeat(100_000));
    for text in [laughs, annotations(&nested), annotations(&long)] {
        let problems = problems(&text);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].len() < 200, "{}", problems[0]);
    }
    assert_eq!(
        problems(&annotations(&long)),
        ["line 4: the document has more than 50000 values, or 32 levels, or 10000 values by alias"]
    );
}

proptest! {
    #[test]
    fn any_text_is_documents_or_problems(text in ".*") {
        parse(&text);
    }

    /// Texts that get past the first line of a document.
    #[test]
    fn any_change_of_a_document_is_one_or_a_problem(
        at in 0..USERS.len(),
        length in 0_usize..20,
        insert in "[-a-z0-9:{}\\[\\],&*!|>'\"#%@ \t\n.é]{0,12}",
    ) {
        let text = format!("{}{insert}{}", &USERS[..at], USERS.get(at + length..).unwrap_or_default());
        let parsed = parse(&text);
        let lines = text.lines().count() as u64 + 1;
        for problem in &parsed.problems {
            prop_assert!(Some(1) <= problem.line && problem.line <= Some(lines), "{problem}");
        }
        prop_assert!(!parsed.services.is_empty() || !parsed.problems.is_empty());
    }
}
