//! The requests a Redis server itself answers: rate and time from `INFO commandstats`, quantiles from
//! `LATENCY HISTOGRAM`, one series a command. Pure: replies in, series out.
//!
//! A server cannot tell our own reads of backlogs (`TYPE`, `LLEN`, ...) from an app's, and an idle one would never come to
//! rest. So the commands that the backlogs of the same source may send are left out, an app's calls of them included,
//! unless `commands` names them; those that other sources send to the same server do count. Time a client waits in a
//! blocking command is no part of either source.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use redis::Value;

use super::fault;
use super::link::Reply;
use super::request::Request;
use super::spec::ServerRead;
use crate::model::health::Failure;
use crate::model::reading::{Reading, SeriesReading};

/// What is asked, in the order in which [`read`] takes the replies.
pub(super) const REQUESTS: [Request<'static>; 3] = [
    Request::CommandStats,
    Request::LatencyStats,
    Request::LatencyHistogram,
];

/// Commands that administer, watch or replicate a server, or set up a connection: none is an app's request for data. A
/// name stands for its subcommands too. Our own `INFO`, `LATENCY` and `PING` are among them.
const ADMINISTRATION: &[&str] = &[
    "acl",
    "asking",
    "auth",
    "bgrewriteaof",
    "bgsave",
    "client",
    "cluster",
    "command",
    "config",
    "debug",
    "echo",
    "failover",
    "hello",
    "info",
    "lastsave",
    "latency",
    "memory",
    "module",
    "monitor",
    "pfselftest",
    "ping",
    "psubscribe",
    "psync",
    "punsubscribe",
    "quit",
    "readonly",
    "readwrite",
    "replconf",
    "replicaof",
    "reset",
    "restore-asking",
    "role",
    "save",
    "select",
    "shutdown",
    "slaveof",
    "slowlog",
    "ssubscribe",
    "subscribe",
    "sunsubscribe",
    "swapdb",
    "sync",
    "unsubscribe",
    "wait",
    "waitaof",
];

/// Bounds Redis can report that are true upper bounds, in microseconds: the powers of two from 2^10 to 2^29 nanoseconds,
/// each at the upper end of its histogram cell (2^k + 2^(k-7) - 1 ns, cells being 1/128 of their power of two), cut to
/// whole microseconds as Redis prints them. The cell above, printed as 1073741, is no bound: Redis records whatever took
/// longer than a second as one second. Those requests are in `+Inf` here.
const BOUNDS_US: [u32; 20] = bounds_us();

/// Whether quantiles can be had, and if not, why. For the log; the engine sees it by series without buckets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Depth {
    /// Series have buckets.
    Histograms,
    /// The server has no latency histograms: it is older than 7.0, or they are turned off, or we may not read them.
    MeanOnly,
}

/// What the log may have to say of a read.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Findings {
    pub(super) depth: Depth,
    /// Of the commands that were asked for, those without a line: never called since the server started, or misspelt.
    pub(super) never_called: Vec<String>,
}

/// One command's line of `INFO commandstats`.
struct CommandStats<'t> {
    name: &'t str,
    calls: f64,
    seconds: f64,
}

/// One command's entry of `LATENCY HISTOGRAM`.
struct CommandHistogram {
    calls: f64,
    /// Upper bound in microseconds and cumulative count, ascending; only bounds where the count grew.
    buckets: Vec<(i64, f64)>,
}

const fn bounds_us() -> [u32; 20] {
    let mut bounds = [0; 20];
    let mut i = 0;
    while i < bounds.len() {
        let power = 1u64 << (i + 10);
        bounds[i] = ((power + power / 128 - 1) / 1000) as u32;
        i += 1;
    }
    bounds
}

/// Adds the series of all wanted commands; `ours` are those that this source sends itself. A line that cannot be read costs that line and is counted.
///
/// # Errors
/// The refusal of `INFO`, or `malformed`. A refused `LATENCY HISTOGRAM` is no error: means are left.
pub(super) fn read(
    server: &ServerRead,
    ours: &BTreeSet<&str>,
    replies: [Reply; 3],
    reading: &mut Reading,
) -> Result<Findings, Failure> {
    let [stats, tracking, histograms] = replies;
    let stats = text(stats?, &Request::CommandStats)?;
    let histograms = match histograms {
        Ok(reply) if is_tracking(tracking) => Some(histograms_of(reply)?),
        // A histogram that no longer grows beside calls that do would look like no traffic.
        Ok(_) | Err(_) => None,
    };
    let mut never_called = server.commands.clone().unwrap_or_default();
    for line in stats.lines() {
        let Some(line) = line.strip_prefix("cmdstat_") else {
            continue;
        };
        let Some(command) = CommandStats::parse(line) else {
            reading.bad_lines += 1;
            continue;
        };
        never_called.retain(|name| !is_of(command.name, name));
        if server.wants(command.name, ours) {
            add_series(&command, histograms.as_ref(), reading);
        }
    }
    let depth = match histograms {
        Some(_) => Depth::Histograms,
        None => Depth::MeanOnly,
    };
    Ok(Findings {
        depth,
        never_called,
    })
}

/// Whether latency histograms grow now: the section has a line for each command then, if only for our own `INFO`.
/// Servers older than 7.0 have no such section.
fn is_tracking(reply: Reply) -> bool {
    reply
        .and_then(|value| text(value, &Request::LatencyStats))
        .is_ok_and(|section| section.contains("latency_percentiles_usec_"))
}

fn add_series(
    command: &CommandStats<'_>,
    histograms: Option<&HashMap<String, CommandHistogram>>,
    reading: &mut Reading,
) {
    let first_bucket = reading.bounds.len() as u32;
    if let Some(histograms) = histograms {
        let histogram = histograms.get(&command.name.to_ascii_lowercase());
        for bound in BOUNDS_US {
            reading.bounds.push(f64::from(bound) / 1e6);
            reading
                .counts
                .push(histogram.map_or(0.0, |histogram| histogram.at(bound)));
        }
        reading.bounds.push(f64::INFINITY);
        reading
            .counts
            .push(histogram.map_or(0.0, |histogram| histogram.calls));
    }
    reading.series.push(SeriesReading {
        key: series_key(command.name),
        first_bucket,
        n_buckets: reading.bounds.len() as u32 - first_bucket,
        count: command.calls,
        sum: Some(command.seconds),
    });
}

/// The same in every read, whatever the letters' case.
fn series_key(command: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    command.to_ascii_lowercase().hash(&mut hasher);
    hasher.finish()
}

/// Whether `name` is that of `command`, or of the command whose subcommand it is.
fn is_of(command: &str, name: &str) -> bool {
    let family = command.split('|').next().unwrap_or(command);
    name.eq_ignore_ascii_case(command) || name.eq_ignore_ascii_case(family)
}

impl ServerRead {
    fn wants(&self, command: &str, ours: &BTreeSet<&str>) -> bool {
        match &self.commands {
            Some(commands) => commands.iter().any(|name| is_of(command, name)),
            None => !ADMINISTRATION
                .iter()
                .chain(ours)
                .any(|name| is_of(command, name)),
        }
    }
}

impl<'t> CommandStats<'t> {
    /// `get:calls=12,usec=34,usec_per_call=2.83,...`, less the prefix. Fields beyond the first two differ by version.
    fn parse(line: &'t str) -> Option<Self> {
        let (name, fields) = line.split_once(':')?;
        let field = |wanted: &str| -> Option<f64> {
            let (_, value) = fields
                .split(',')
                .filter_map(|field| field.split_once('='))
                .find(|(name, _)| *name == wanted)?;
            let value: u64 = value.trim().parse().ok()?;
            Some(value as f64)
        };
        Some(Self {
            name,
            calls: field("calls")?,
            seconds: field("usec")? / 1e6,
        })
    }
}

impl CommandHistogram {
    /// The requests at or below `bound`. Redis leaves out bounds where the count did not grow: the one before holds.
    fn at(&self, bound: u32) -> f64 {
        self.buckets
            .iter()
            .take_while(|(listed, _)| *listed <= i64::from(bound))
            .last()
            .map_or(0.0, |(_, count)| *count)
    }

    /// `["calls", 3, "histogram_usec", [1, 2, 33816, 3]]`.
    fn from_value(value: Value) -> Option<Self> {
        let mut calls = None;
        let mut buckets = None;
        for (name, value) in pairs(value)? {
            match (string(name)?.as_str(), value) {
                ("calls", Value::Int(count)) => calls = Some(count as f64),
                ("histogram_usec", listed) => buckets = buckets_of(listed),
                _ => {}
            }
        }
        let (calls, buckets) = (calls?, buckets?);
        let ascends = buckets.is_sorted_by(|low, high| low.0 < high.0 && low.1 <= high.1);
        let whole = buckets
            .iter()
            .all(|(_, count)| 0.0 <= *count && *count <= calls);
        (ascends && whole).then_some(Self { calls, buckets })
    }
}

fn buckets_of(value: Value) -> Option<Vec<(i64, f64)>> {
    pairs(value)?
        .into_iter()
        .map(|pair| match pair {
            (Value::Int(bound), Value::Int(count)) => Some((bound, count as f64)),
            _ => None,
        })
        .collect()
}

fn histograms_of(value: Value) -> Result<HashMap<String, CommandHistogram>, Failure> {
    pairs(value)
        .and_then(|commands| {
            commands
                .into_iter()
                .map(|(name, histogram)| {
                    let name = string(name)?.to_ascii_lowercase();
                    Some((name, CommandHistogram::from_value(histogram)?))
                })
                .collect()
        })
        .ok_or_else(|| fault::malformed(&Request::LatencyHistogram))
}

/// A map, which is a flat array in the version of the protocol that a connection starts with.
pub(super) fn pairs(value: Value) -> Option<Vec<(Value, Value)>> {
    let Value::Array(flat) = value else {
        return None;
    };
    if flat.len() % 2 != 0 {
        return None;
    }
    let mut flat = flat.into_iter();
    let mut pairs = Vec::with_capacity(flat.len() / 2);
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        pairs.push((name, value));
    }
    Some(pairs)
}

/// A string, whichever way it was sent.
pub(super) fn string(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn text(value: Value, request: &Request<'_>) -> Result<String, Failure> {
    string(value).ok_or_else(|| fault::malformed(request))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::FailureReason;

    const TRACKING: &str =
        "# Latencystats\r\nlatency_percentiles_usec_info:p50=1.003,p99=1.003,p99.9=1.003\r\n";

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn ints(numbers: &[i64]) -> Value {
        Value::Array(numbers.iter().copied().map(Value::Int).collect())
    }

    fn histogram(name: &str, calls: i64, buckets: &[i64]) -> Vec<Value> {
        let entry = vec![
            bulk("calls"),
            Value::Int(calls),
            bulk("histogram_usec"),
            ints(buckets),
        ];
        vec![bulk(name), Value::Array(entry)]
    }

    fn read_of(
        server: &ServerRead,
        stats: &str,
        tracking: &str,
        histograms: Reply,
    ) -> Result<(Reading, Depth), Failure> {
        let mut reading = Reading::default();
        let replies = [Ok(bulk(stats)), Ok(bulk(tracking)), histograms];
        let findings = read(server, &BTreeSet::new(), replies, &mut reading)?;
        Ok((reading, findings.depth))
    }

    #[test]
    fn the_grid_is_what_redis_prints() {
        // Printed by redis-server 7.0.15 for commands of 1 us to half a second.
        assert_eq!(
            BOUNDS_US,
            [
                1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113, 4227, 8454, 16908, 33816, 67633,
                135266, 270532, 541065
            ]
        );
    }

    #[test]
    fn left_out_bounds_repeat_the_count_below_and_the_layout_is_always_the_same() {
        let stats = "# Commandstats\r\ncmdstat_get:calls=7,usec=90,usec_per_call=12.86\r\n\
                     cmdstat_set:calls=1,usec=2000000,usec_per_call=2000000.00\r\n";
        let histograms = [
            histogram("get", 7, &[4, 2, 33, 6, 66, 7]),
            histogram("set", 1, &[1_073_741, 1]),
        ]
        .concat();
        let (reading, depth) = read_of(
            &ServerRead::default(),
            stats,
            TRACKING,
            Ok(Value::Array(histograms)),
        )
        .unwrap();
        assert_eq!(depth, Depth::Histograms);
        let [get, set] = reading.series.as_slice() else {
            panic!("{:?}", reading.series);
        };
        assert_eq!((get.count, get.sum), (7.0, Some(90e-6)));
        assert_eq!(reading.bounds_of(get), reading.bounds_of(set));
        let counts = reading.counts_of(get);
        assert_eq!(
            counts[..8],
            [0.0, 0.0, 2.0, 2.0, 2.0, 6.0, 7.0, 7.0],
            "{counts:?}"
        );
        assert_eq!(*counts.last().unwrap(), 7.0);
        // Two seconds are beyond every bound, though Redis files them under 1.07 s.
        let slow = reading.counts_of(set);
        assert!(slow[..slow.len() - 1].iter().all(|count| *count == 0.0));
        assert_eq!(*slow.last().unwrap(), 1.0);
        assert_eq!(*reading.bounds_of(set).last().unwrap(), f64::INFINITY);
    }

    #[test]
    fn administration_is_left_out_with_its_subcommands_unless_named() {
        let stats = "cmdstat_config|get:calls=1,usec=1\r\ncmdstat_ping:calls=1,usec=1\r\n\
                     cmdstat_xgroup|create:calls=2,usec=1\r\ncmdstat_GET:calls=3,usec=1\r\n";
        let counts = |commands: Option<&[&str]>| -> Vec<f64> {
            let server = ServerRead {
                commands: commands
                    .map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            };
            let (reading, _) = read_of(&server, stats, TRACKING, Ok(Value::Array(vec![]))).unwrap();
            reading.series.iter().map(|series| series.count).collect()
        };
        assert_eq!(counts(None), [2.0, 3.0]);
        assert_eq!(counts(Some(&["get"])), [3.0]);
        assert_eq!(counts(Some(&["xgroup", "PING"])), [1.0, 2.0]);
        assert_eq!(counts(Some(&["xgroup|destroy"])), [0.0; 0]);
    }

    #[test]
    fn a_command_that_was_never_called_is_found() {
        let stats = "cmdstat_get:calls=3,usec=1\r\ncmdstat_xgroup|create:calls=1,usec=1\r\n";
        let never_called = |names: &[&str]| {
            let server = ServerRead {
                commands: Some(names.iter().map(|&name| name.to_owned()).collect()),
            };
            let replies = [
                Ok(bulk(stats)),
                Ok(bulk(TRACKING)),
                Ok(Value::Array(vec![])),
            ];
            let reading = &mut Reading::default();
            read(&server, &BTreeSet::new(), replies, reading)
                .unwrap()
                .never_called
        };
        assert_eq!(never_called(&["GET", "gett", "xgroup"]), ["gett"]);
        assert_eq!(never_called(&["xgroup|create", "get"]), [""; 0]);
    }

    #[test]
    fn what_we_send_ourselves_is_left_out_unless_named() {
        let stats = "cmdstat_type:calls=9,usec=36\r\ncmdstat_xinfo|groups:calls=8,usec=1\r\n\
                     cmdstat_get:calls=3,usec=1\r\n";
        let counts = |commands: Option<Vec<String>>| -> Vec<f64> {
            let mut reading = Reading::default();
            let replies = [
                Ok(bulk(stats)),
                Ok(bulk(TRACKING)),
                Ok(Value::Array(vec![])),
            ];
            let ours = BTreeSet::from(["TYPE", "XINFO"]);
            read(&ServerRead { commands }, &ours, replies, &mut reading).unwrap();
            reading.series.iter().map(|series| series.count).collect()
        };
        assert_eq!(counts(None), [3.0]);
        let named = vec!["type".to_owned(), "xinfo|groups".to_owned()];
        assert_eq!(counts(Some(named)), [9.0, 8.0]);
    }

    #[test]
    fn without_growing_histograms_there_are_means_only() {
        let stats = "cmdstat_get:calls=3,usec=6\r\n";
        let frozen = Ok(Value::Array(histogram("get", 1, &[4, 1])));
        let refused = Err(Failure::new(FailureReason::NotFound, "unknown"));
        for (tracking, histograms) in [("# Latencystats\r\n", frozen), ("", refused)] {
            let (reading, depth) =
                read_of(&ServerRead::default(), stats, tracking, histograms).unwrap();
            assert_eq!(depth, Depth::MeanOnly);
            assert_eq!(reading.series[0].n_buckets, 0);
            assert_eq!(reading.series[0].count, 3.0);
            assert_eq!(reading.series[0].sum, Some(6e-6));
        }
    }

    #[test]
    fn a_bad_line_costs_that_line_and_a_bad_histogram_the_read() {
        let stats = "cmdstat_get:calls=x,usec=6\r\ncmdstat_odd\r\ncmdstat_set:calls=1,usec=6\r\n\
                     other:1\r\n";
        let (reading, _) = read_of(
            &ServerRead::default(),
            stats,
            TRACKING,
            Ok(Value::Array(vec![])),
        )
        .unwrap();
        assert_eq!((reading.series.len(), reading.bad_lines), (1, 2));
        for falling in [
            histogram("get", 7, &[4, 6, 33, 2]),
            histogram("get", 7, &[33, 1, 4, 2]),
            histogram("get", 1, &[4, 2]),
            histogram("get", 1, &[4]),
            vec![bulk("get")],
        ] {
            let reply = Ok(Value::Array(falling));
            let failure = read_of(&ServerRead::default(), stats, TRACKING, reply).unwrap_err();
            assert_eq!(failure.reason, FailureReason::Malformed);
        }
    }
}
