//! From what a socket or a Redis server says to a [`Failure`]. Nothing of a reply but its error code gets into a message:
//! the rest is the server's text, and may hold anything.

use std::error::Error;
use std::io;

use redis::ServerError;

use super::request::Request;
use crate::model::health::{Failure, FailureReason};

/// Why a socket broke while it was in use.
pub(super) fn from_io(error: &io::Error) -> Failure {
    if is_tls(error) {
        return Failure::new(FailureReason::Tls, format!("tls: {error}"));
    }
    Failure::new(
        FailureReason::Disconnected,
        format!(
            "the connection broke before the answer was whole ({})",
            error.kind()
        ),
    )
}

/// Why no socket could be opened.
pub(super) fn from_connect(error: &io::Error) -> Failure {
    Failure::new(FailureReason::Refused, format!("cannot connect: {error}"))
}

/// Why TLS could not be agreed on.
pub(super) fn from_handshake(error: &io::Error) -> Failure {
    Failure::new(FailureReason::Tls, format!("tls handshake: {error}"))
}

/// The answer cannot be one to `request`.
pub(super) fn malformed(request: &Request<'_>) -> Failure {
    Failure::new(
        FailureReason::Malformed,
        format!("the answer to {} is not one of Redis", asked(request)),
    )
}

/// The server's refusal of `request`.
pub(super) fn from_server(error: &ServerError, request: &Request<'_>) -> Failure {
    let asked = asked(request);
    let detail = error.details().unwrap_or_default();
    let (reason, message) = match error.code() {
        "NOAUTH" => (
            FailureReason::Unauthorized,
            "the server wants a password: set REDIS_PASSWORD or the connection's password"
                .to_owned(),
        ),
        "WRONGPASS" => (
            FailureReason::Unauthorized,
            "the server refused the user name or password".to_owned(),
        ),
        "NOPERM" => (
            FailureReason::Unauthorized,
            format!("the user may not run {asked}: grant it with ACL SETUSER"),
        ),
        "DENIED" => (
            FailureReason::Unauthorized,
            "the server is in protected mode: it answers only its own machine until a password is set"
                .to_owned(),
        ),
        "LOADING" => not_ready("the server is loading its data"),
        "MASTERDOWN" => not_ready("the replica has lost its primary"),
        "BUSY" => not_ready("a script blocks the server"),
        "CLUSTERDOWN" | "TRYAGAIN" => not_ready("the cluster is not ready"),
        "MOVED" | "ASK" => (
            FailureReason::NotFound,
            format!("{asked}: the key lies on another node of a cluster, and only one server is read"),
        ),
        "WRONGTYPE" => (
            FailureReason::NotFound,
            format!("{asked}: the key holds another type"),
        ),
        "NOGROUP" => (
            FailureReason::NotFound,
            format!("{asked}: no such stream or consumer group"),
        ),
        "ERR" if detail.starts_with("max number of clients") => {
            not_ready("the server has its maximum of clients")
        }
        "ERR" if detail.starts_with("no such key") => (
            FailureReason::NotFound,
            format!("{asked}: no such key"),
        ),
        "ERR" if is_unknown_command(detail) => (
            FailureReason::NotFound,
            format!("the server does not know {}", request.name()),
        ),
        "ERR" if matches!(request, Request::Auth { .. }) => (
            FailureReason::Unauthorized,
            "the server refused AUTH: it may have no password set; then remove ours".to_owned(),
        ),
        "ERR" if matches!(request, Request::Select(_)) => (
            FailureReason::NotFound,
            "the server has no database of this number".to_owned(),
        ),
        code => (
            FailureReason::Malformed,
            format!("{asked} was refused with {}", printable(code)),
        ),
    };
    Failure::new(reason, message)
}

/// The server does not have the command: an older one, or one that speaks Redis' protocol but is another.
fn is_unknown_command(detail: &str) -> bool {
    // "unknown command", "unknown subcommand", "Unknown subcommand or wrong number of arguments": versions differ.
    detail
        .get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case("unknown"))
}

fn not_ready(what: &str) -> (FailureReason, String) {
    (
        FailureReason::NotReady,
        format!("the server answers, but not yet: {what}"),
    )
}

/// `LLEN jobs`, so that a person finds the line of the configuration.
fn asked(request: &Request<'_>) -> String {
    match request.key() {
        Some(key) => format!("{} {}", request.name(), key.escape_debug()),
        None => request.name().to_owned(),
    }
}

/// An error code is a short word; whatever else a rogue server sends in its place is not repeated.
fn printable(code: &str) -> &str {
    let is_word = code.len() <= 32 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_word { code } else { "an odd error" }
}

fn is_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| (inner as &(dyn Error + 'static)).is::<rustls::Error>())
}

#[cfg(test)]
mod tests {
    use redis::{Value, parse_redis_value};

    use super::*;

    fn classify(line: &str, request: &Request<'_>) -> Failure {
        let Value::ServerError(error) =
            parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap()
        else {
            panic!("{line} is no error");
        };
        from_server(&error, request)
    }

    #[test]
    fn every_known_refusal_has_its_reason() {
        use FailureReason::{Malformed, NotFound, NotReady, Unauthorized};
        for (line, reason) in [
            ("NOAUTH Authentication required.", Unauthorized),
            ("WRONGPASS invalid username-password pair", Unauthorized),
            ("NOPERM this user has no permissions", Unauthorized),
            ("DENIED Redis is running in protected mode", Unauthorized),
            ("LOADING Redis is loading the dataset in memory", NotReady),
            ("MASTERDOWN Link with MASTER is down", NotReady),
            ("BUSY Redis is busy running a script", NotReady),
            ("CLUSTERDOWN The cluster is down", NotReady),
            ("TRYAGAIN Multiple keys request during rehashing", NotReady),
            ("ERR max number of clients reached", NotReady),
            ("MOVED 3999 127.0.0.1:6381", NotFound),
            (
                "WRONGTYPE Operation against a key holding the wrong kind",
                NotFound,
            ),
            ("NOGROUP No such key 'a' or consumer group 'b'", NotFound),
            ("ERR no such key", NotFound),
            ("ERR unknown command `LLEN`", NotFound),
            ("ERR syntax error", Malformed),
            ("<html> secret", Malformed),
        ] {
            let failure = classify(line, &Request::ListLength("jobs"));
            assert_eq!(failure.reason, reason, "{line}: {failure}");
            // Messages about a key are served to whoever asks: no address in them.
            let leaks = ["secret", "127.0.0.1", "6381"];
            assert!(
                !leaks.iter().any(|leak| failure.message.contains(leak)),
                "{failure}"
            );
        }
    }

    #[test]
    fn a_denied_command_is_named_with_its_key() {
        let failure = classify("NOPERM no", &Request::ListLength("jobs"));
        assert!(failure.message.contains("LLEN jobs"), "{failure}");
    }
}
