//! What is wrong with `spec.source.redis`.

use super::*;

#[test]
fn what_redis_is_asked_for_is_checked() {
    let redis = |fields: &[&str]| redis_with(&[&["address: redis"], fields].concat());
    check(&[
        (
            redis(&[]),
            6,
            "spec.source.redis: a redis source needs server, reported or backlog, and not both server and reported",
        ),
        (
            redis(&["server: {}", "reported: {requests: n}"]),
            6,
            "spec.source.redis: a redis source needs server, reported or backlog, and not both server and reported",
        ),
        (
            redis(&["server: {commands: []}"]),
            6,
            "spec.source.redis: server.commands: list at least one command, or leave commands out for all",
        ),
        (
            redis(&["reported: {sum: s}"]),
            6,
            "spec.source.redis: reported needs requests or histogram",
        ),
        (
            redis(&["reported:", "  histogram: {key: h, unit: hours}"]),
            9,
            "spec.source.redis.reported.histogram.unit is \"hours\" and must be seconds or milliseconds",
        ),
        (
            redis(&["reported: {histogram: {key: h, buckets: [2, 1]}}"]),
            6,
            "spec.source.redis: buckets must be 1 to 512 finite numbers, ascending",
        ),
        (
            redis(&["server: {}", "username: {value: reader}"]),
            9,
            "spec.source.redis.username needs a password: Redis takes no user without one",
        ),
        (
            redis(&["server: {}", "database: -1"]),
            9,
            "spec.source.redis.database is -1 and must be 0 or more, and no more than a server has",
        ),
        (
            redis(&["backlog:", "- key: a", "- {key: b, measure: lag}"]),
            10,
            "measure lag of key \"b\" needs the consumer group: set group",
        ),
        (
            redis(&["backlog:", "- {key: b, measure: size}"]),
            9,
            "measure of key \"b\" is \"size\" and must be length, pending, lag or number",
        ),
        (
            redis(&["backlog:", "- {key: b, group: g}"]),
            9,
            "key \"b\" has a consumer group, which only the measures pending and lag look at",
        ),
        (
            redis(&["backlog:", "- key: a", "- {key: b, label: a}"]),
            10,
            "spec.source.redis: two backlogs have the label \"a\": give them a label each",
        ),
        (
            redis(&["backlog:", "- {key: b, label: 'a b'}", "- key: c"]),
            9,
            "spec.source.redis: backlog label \"a b\" must be 1 to 63 letters, digits, '-', '_' or '.', a letter or digit at both ends",
        ),
    ]);
}

#[test]
fn a_redis_address_is_a_host_and_a_port() {
    let must = "spec.source.redis.address must be HOST:PORT, such as redis:6379";
    for (address, hint) in [
        ("redis:0", ""),
        ("redis:port", ""),
        ("redis:", ""),
        (":6379", ""),
        ("[::1", ""),
        ("[::1]6379", ""),
        ("redis:6379/0", ""),
        ("a:b:c", ""),
        (
            "joe:hunter2@redis:6379",
            "; a user and a password go into username and password",
        ),
        (
            "rediss://redis:6379",
            ", without a scheme; TLS is spoken when tls is set, if only to {}",
        ),
    ] {
        let text = redis_with(&[&format!("address: '{address}'"), "server: {}"]);
        check(&[(text, 7, &format!("{must}{hint}"))]);
    }
}
