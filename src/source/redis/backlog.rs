//! How many items wait under a key. Each backlog is a short conversation, from one request to the next by the reply
//! before; all backlogs of a target hold theirs in the same pipelines. One that fails costs itself only.

use std::collections::BTreeSet;

use redis::Value;

use super::fault;
use super::link::{Link, Reply};
use super::reported::{missing, number_of};
use super::request::Request;
use super::server::{pairs, string};
use super::spec::{BacklogRead, Measure};
use crate::model::health::{Failure, FailureReason};
use crate::model::reading::Backlog;

/// The longest label value Kubernetes accepts in a selector.
const LABEL_BYTES_MAX: usize = 63;

/// The types that have a length or a number, as `TYPE` names them.
const TYPES: [&str; 6] = ["list", "set", "zset", "hash", "stream", "string"];

/// What to do next about one backlog.
#[derive(Debug)]
enum Step<'a> {
    /// Ask this.
    Ask(Request<'a>),
    /// The outcome.
    Done(Result<f64, Failure>),
}

/// Reads all backlogs, in their order.
///
/// # Errors
/// Whatever the connection fails with. What is wrong with one key is in its [`Backlog::items`].
pub(super) async fn read(reads: &[BacklogRead], link: &mut Link) -> Result<Vec<Backlog>, Failure> {
    let mut items: Vec<Option<Result<f64, Failure>>> = vec![None; reads.len()];
    let mut asking: Vec<usize> = (0..reads.len()).collect();
    let mut requests: Vec<Request<'_>> = reads.iter().map(first).collect();
    // At most two rounds: the type of a key leads to its length, and a length is an outcome.
    while !asking.is_empty() {
        let replies = link.ask(&requests).await?;
        let asked = std::mem::take(&mut requests);
        let mut still_asking = Vec::new();
        for ((index, request), reply) in asking.into_iter().zip(asked).zip(replies) {
            match next(&reads[index], &request, reply) {
                Step::Ask(request) => {
                    requests.push(request);
                    still_asking.push(index);
                }
                Step::Done(outcome) => items[index] = Some(outcome),
            }
        }
        asking = still_asking;
    }
    Ok(reads
        .iter()
        .zip(items)
        .filter_map(|(read, items)| {
            Some(Backlog {
                key: read.label().into(),
                items: items?,
            })
        })
        .collect())
}

/// The `key` label for a Redis key: what Kubernetes refuses in a label value becomes `-`, and what is left is cut to 63
/// bytes that begin and end with a letter or a digit. `jobs:{eu}:high` is `jobs--eu--high`; a key of which nothing is left
/// is `key`.
pub fn label_from_key(key: &str) -> String {
    let is_edge = |c: char| c.is_ascii_alphanumeric();
    let fit: String = key
        .chars()
        .map(|c| {
            if is_edge(c) || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    let fit = fit.trim_start_matches(|c| !is_edge(c));
    let fit = &fit[..fit.len().min(LABEL_BYTES_MAX)];
    match fit.trim_end_matches(|c| !is_edge(c)) {
        "" => "key".to_owned(),
        label => label.to_owned(),
    }
}

/// Every command that reading these may send, by its first word. It does not depend on what the keys hold now, so that
/// what is left out of the server's requests stays the same from read to read.
pub(super) fn commands(reads: &[BacklogRead]) -> BTreeSet<&'static str> {
    let word = |request: &Request<'_>| request.name().split(' ').next();
    let mut commands = BTreeSet::new();
    for read in reads {
        let first = first(read);
        commands.extend(word(&first));
        if matches!(first, Request::Type(_)) {
            commands.extend(TYPES.iter().filter_map(|kind| match from_type(read, kind) {
                Step::Ask(request) => word(&request),
                Step::Done(_) => None,
            }));
        }
    }
    commands
}

fn first(read: &BacklogRead) -> Request<'_> {
    let key = read.key.as_str();
    match &read.measure {
        Measure::Auto | Measure::Length => Request::Type(key),
        Measure::Pending { group } => Request::Pending { key, group },
        Measure::Lag { .. } => Request::Groups(key),
        Measure::Number => Request::Number(key),
    }
}

fn next<'a>(read: &'a BacklogRead, asked: &Request<'_>, reply: Reply) -> Step<'a> {
    match asked {
        Request::Type(_) => match reply.map(string) {
            Ok(Some(kind)) => from_type(read, &kind),
            Ok(None) => Step::Done(Err(fault::malformed(asked))),
            Err(failure) => Step::Done(Err(failure)),
        },
        Request::Pending { .. } => Step::Done(reply.and_then(|value| pending(asked, &value))),
        Request::Groups(_) => Step::Done(reply.and_then(|value| lag(read, asked, value))),
        Request::Number(key) => {
            Step::Done(number_of(key, reply).and_then(|items| match read.measure {
                // Its type was asked a moment ago: it went, or was left empty, in between.
                Measure::Auto => Ok(items.unwrap_or(0.0)),
                _ => items.ok_or_else(|| missing(key)),
            }))
        }
        _ => Step::Done(reply.and_then(|value| length(asked, &value))),
    }
}

/// The request that counts what a key of this type holds.
fn from_type<'a>(read: &'a BacklogRead, kind: &str) -> Step<'a> {
    let key = read.key.as_str();
    match kind {
        // Redis deletes a list with its last element, so there is nothing to tell an empty one from.
        "none" => Step::Done(Ok(0.0)),
        "list" => Step::Ask(Request::ListLength(key)),
        "set" => Step::Ask(Request::SetLength(key)),
        "zset" => Step::Ask(Request::SortedSetLength(key)),
        "hash" => Step::Ask(Request::HashLength(key)),
        "stream" => Step::Ask(Request::StreamLength(key)),
        "string" if read.measure == Measure::Auto => Step::Ask(Request::Number(key)),
        _ => Step::Done(Err(Failure::new(
            FailureReason::NotFound,
            format!("key {} holds a type without a length", key.escape_debug()),
        ))),
    }
}

fn length(asked: &Request<'_>, value: &Value) -> Result<f64, Failure> {
    match value {
        Value::Int(items) if 0 <= *items => Ok(*items as f64),
        _ => Err(fault::malformed(asked)),
    }
}

/// `[pending, lowest id, highest id, consumers]`.
fn pending(asked: &Request<'_>, value: &Value) -> Result<f64, Failure> {
    match value {
        Value::Array(summary) => length(asked, summary.first().unwrap_or(&Value::Nil)),
        _ => Err(fault::malformed(asked)),
    }
}

fn lag(read: &BacklogRead, asked: &Request<'_>, value: Value) -> Result<f64, Failure> {
    let Measure::Lag { group: wanted } = &read.measure else {
        return Err(fault::malformed(asked));
    };
    let Value::Array(groups) = value else {
        return Err(fault::malformed(asked));
    };
    for group in groups {
        let (mut name, mut lag) = (None, None);
        for (field, value) in pairs(group).ok_or_else(|| fault::malformed(asked))? {
            match string(field).as_deref() {
                Some("name") => name = string(value),
                Some("lag") => lag = Some(value),
                _ => {}
            }
        }
        if name.as_deref() == Some(wanted) {
            return lag_of(read, asked, lag);
        }
    }
    Err(Failure::new(
        FailureReason::NotFound,
        format!(
            "stream {} has no consumer group {}",
            read.key.escape_debug(),
            wanted.escape_debug()
        ),
    ))
}

fn lag_of(read: &BacklogRead, asked: &Request<'_>, lag: Option<Value>) -> Result<f64, Failure> {
    let key = read.key.escape_debug();
    match lag {
        Some(Value::Nil) => Err(Failure::new(
            FailureReason::NotReady,
            format!(
                "Redis does not know the lag of stream {key}: entries were deleted, or the group was set to another \
                 place; it knows again once the group has caught up"
            ),
        )),
        Some(value) => length(asked, &value),
        None => Err(Failure::new(
            FailureReason::NotFound,
            format!("the server does not say the lag of stream {key}: Redis does from 7.0 on"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn read_of(measure: Measure) -> BacklogRead {
        BacklogRead {
            key: "jobs".to_owned(),
            label: None,
            measure,
        }
    }

    fn lag_in(fields: Vec<Value>) -> Result<f64, FailureReason> {
        let read = read_of(Measure::Lag {
            group: "workers".to_owned(),
        });
        let reply = Ok(Value::Array(vec![Value::Array(fields)]));
        match next(&read, &first(&read), reply) {
            Step::Done(outcome) => outcome.map_err(|failure| failure.reason),
            Step::Ask(request) => panic!("asks {request:?}"),
        }
    }

    #[test]
    fn a_null_lag_is_unknown_and_not_zero() {
        let group = |lag: Option<Value>| {
            let mut fields = vec![bulk("name"), bulk("workers")];
            fields.extend(lag.into_iter().flat_map(|lag| [bulk("lag"), lag]));
            lag_in(fields)
        };
        assert_eq!(group(Some(Value::Int(3))), Ok(3.0));
        assert_eq!(group(Some(Value::Nil)), Err(FailureReason::NotReady));
        assert_eq!(group(None), Err(FailureReason::NotFound));
        assert_eq!(group(Some(bulk("three"))), Err(FailureReason::Malformed));
        assert_eq!(
            lag_in(vec![
                bulk("name"),
                bulk("others"),
                bulk("lag"),
                Value::Int(1)
            ]),
            Err(FailureReason::NotFound)
        );
    }

    #[test]
    fn a_type_leads_to_its_own_length_and_a_missing_key_is_empty() {
        for (kind, command) in [
            ("list", "LLEN"),
            ("set", "SCARD"),
            ("zset", "ZCARD"),
            ("hash", "HLEN"),
            ("stream", "XLEN"),
            ("string", "GETRANGE"),
        ] {
            match from_type(&read_of(Measure::Auto), kind) {
                Step::Ask(request) => assert_eq!(request.name(), command),
                Step::Done(outcome) => panic!("{kind}: {outcome:?}"),
            }
        }
        let outcome = |measure, kind| match from_type(&read_of(measure), kind) {
            Step::Done(outcome) => outcome.map_err(|failure| failure.reason),
            Step::Ask(request) => panic!("asks {request:?}"),
        };
        assert_eq!(outcome(Measure::Auto, "none"), Ok(0.0));
        assert_eq!(
            outcome(Measure::Length, "string"),
            Err(FailureReason::NotFound)
        );
        assert_eq!(
            outcome(Measure::Auto, "ReJSON-RL"),
            Err(FailureReason::NotFound)
        );
    }

    #[test]
    fn the_commands_that_may_be_sent_follow_from_the_measure() {
        let group = || "workers".to_owned();
        for (measure, expected) in [
            (Measure::Auto, "GETRANGE HLEN LLEN SCARD TYPE XLEN ZCARD"),
            (Measure::Length, "HLEN LLEN SCARD TYPE XLEN ZCARD"),
            (Measure::Number, "GETRANGE"),
            (Measure::Pending { group: group() }, "XPENDING"),
            (Measure::Lag { group: group() }, "XINFO"),
        ] {
            let commands: Vec<_> = commands(&[read_of(measure)]).into_iter().collect();
            assert_eq!(commands.join(" "), expected);
        }
        assert!(commands(&[]).is_empty());
    }

    #[test]
    fn a_negative_length_is_not_one() {
        assert!(length(&Request::ListLength("jobs"), &Value::Int(-1)).is_err());
    }

    #[test]
    fn a_key_becomes_a_label() {
        for (key, label) in [
            ("jobs", "jobs"),
            ("jobs:{eu}:high", "jobs--eu--high"),
            ("_queue.", "queue"),
            ("größe", "gr--e"),
            (":::", "key"),
        ] {
            assert_eq!(label_from_key(key), label);
        }
        assert_eq!(label_from_key(&"a".repeat(70)).len(), LABEL_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn every_label_is_one_for_kubernetes_and_stays_itself(key in any::<String>()) {
            let label = label_from_key(&key);
            let bytes = label.as_bytes();
            prop_assert!(!bytes.is_empty() && bytes.len() <= LABEL_BYTES_MAX);
            prop_assert!(bytes[0].is_ascii_alphanumeric());
            prop_assert!(bytes[bytes.len() - 1].is_ascii_alphanumeric());
            prop_assert!(bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b)));
            prop_assert_eq!(label_from_key(&label), label);
        }
    }
}
