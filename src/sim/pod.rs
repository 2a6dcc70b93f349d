//! One pod of a service: workers behind a bounded queue, what it counts of its requests as the sample app counts them,
//! and the CPU it used. What happens to a request is the world's to say; here is what the pod holds and shows.

use std::collections::VecDeque;
use std::sync::Arc;

// An address is a name here: nothing is opened.
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use taffrail_loadtest::measured::recorder::EndpointIndex;
use taffrail_loadtest::sample_app::LATENCY_BOUNDS_S;
use taffrail_loadtest::service_time::ServiceTimes;

use crate::hpa;
use crate::model::matcher::Matchers;
use crate::model::reading::{Reading, SeriesReading};

use super::requests::Ref;
use super::{NANOS_PER_S, timestamp};

/// The port of every pod; they differ in their addresses.
const PORT: u16 = 8080;

/// How the answer to a request ended, as pods count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// 200.
    Ok,
    /// 401: the token was missing.
    Unauthorized,
    /// 499: who asked went away.
    Gone,
    /// 502: the call to another service failed.
    BadGateway,
    /// 503: the queue was full, or the call took too long.
    Unavailable,
}

impl Code {
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Self; 5] = [
        Self::Ok,
        Self::Unauthorized,
        Self::Gone,
        Self::BadGateway,
        Self::Unavailable,
    ];

    /// The number, as a label's value.
    fn label(self) -> &'static str {
        match self {
            Self::Ok => "200",
            Self::Unauthorized => "401",
            Self::Gone => "499",
            Self::BadGateway => "502",
            Self::Unavailable => "503",
        }
    }

    /// Which codes `matchers` let through, given the labels that the sample app's histogram has.
    pub(super) fn matched(matchers: &Matchers) -> [bool; Self::ALL.len()] {
        Self::ALL.map(|code| {
            matchers.matches(|name| match name {
                "route" => Some("/"),
                "method" => Some("GET"),
                "code" => Some(code.label()),
                _ => None,
            })
        })
    }
}

/// A pod. Times are in nanoseconds.
#[derive(Debug)]
pub(super) struct Pod {
    /// The service it is of, and which of its versions it runs.
    pub(super) service: usize,
    pub(super) version: u32,
    pub(super) name: Arc<str>,
    pub(super) address: SocketAddr,
    /// As which its requests are recorded, once it is an endpoint.
    pub(super) endpoint: Option<EndpointIndex>,
    /// When it started, became ready, was told to end, and ended.
    pub(super) started: i64,
    pub(super) ready: Option<i64>,
    pub(super) deleted: Option<i64>,
    pub(super) ended: bool,
    /// Its requests: all, those with a worker, and those that wait for one.
    pub(super) in_flight: u32,
    pub(super) busy: usize,
    pub(super) waiting: Line,
    /// Its connections to the service that it calls, and the requests that wait for one.
    pub(super) calls: usize,
    pub(super) connecting: Line,
    pub(super) times: ServiceTimes,
    /// Times as slow as others of its version.
    pub(super) slowdown: f64,
    pub(super) cpu_s: f64,
    pub(super) cpu_request_milli: i64,
    latencies: [Latencies; Code::ALL.len()],
}

/// Requests that wait, first come first served. One that went away meanwhile leaves its place in the line, and is
/// passed over.
#[derive(Debug, Default)]
pub(super) struct Line {
    places: VecDeque<Ref>,
    waiting: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Latencies {
    buckets: [u64; LATENCY_BOUNDS_S.len() + 1],
    sum_s: f64,
}

impl Line {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    pub(super) fn join(&mut self, request: Ref) {
        self.places.push_back(request);
        self.waiting += 1;
    }

    /// Somebody in the line went away.
    pub(super) fn leave(&mut self) {
        self.waiting -= 1;
    }

    /// The first of whom `waits` holds.
    pub(super) fn next(&mut self, waits: impl Fn(Ref) -> bool) -> Option<Ref> {
        let first = std::iter::from_fn(|| self.places.pop_front()).find(|place| waits(*place))?;
        self.waiting -= 1;
        Some(first)
    }
}

impl Pod {
    /// The pod number `number` of a run, which starts at `started`.
    pub(super) fn new(
        (service, version): (usize, u32),
        name: Arc<str>,
        number: u32,
        started: i64,
        times: ServiceTimes,
        cpu_request: u32,
    ) -> Self {
        Self {
            service,
            version,
            name,
            address: address(number),
            endpoint: None,
            started,
            ready: None,
            deleted: None,
            ended: false,
            in_flight: 0,
            busy: 0,
            waiting: Line::default(),
            calls: 0,
            connecting: Line::default(),
            times,
            slowdown: 1.0,
            cpu_s: 0.0,
            cpu_request_milli: i64::from(cpu_request),
            latencies: Default::default(),
        }
    }

    /// Whether it counts as one of its Deployment's.
    pub(super) fn is_active(&self) -> bool {
        self.deleted.is_none()
    }

    /// Whether it is Ready and not told to end.
    pub(super) fn serves(&self) -> bool {
        self.ready.is_some() && self.is_active()
    }

    /// Counts an answer that took `nanos`.
    pub(super) fn count(&mut self, code: Code, nanos: i64) {
        let seconds = nanos as f64 / NANOS_PER_S as f64;
        let latencies = &mut self.latencies[code as usize];
        latencies.buckets[LATENCY_BOUNDS_S.partition_point(|bound| *bound < seconds)] += 1;
        latencies.sum_s += seconds;
    }

    /// Writes what its page says of the histogram's series with these codes. That of good answers is there from the
    /// start, the others appear when they count something.
    pub(super) fn read(&self, matched: &[bool; Code::ALL.len()], into: &mut Reading) {
        for (code, latencies) in Code::ALL.into_iter().zip(&self.latencies) {
            let count: u64 = latencies.buckets.iter().sum();
            if !matched[code as usize] || (code != Code::Ok && count == 0) {
                continue;
            }
            into.series.push(SeriesReading {
                key: code as u64,
                first_bucket: into.bounds.len() as u32,
                n_buckets: latencies.buckets.len() as u32,
                count: count as f64,
                sum: Some(latencies.sum_s),
            });
            into.bounds.extend(LATENCY_BOUNDS_S);
            into.bounds.push(f64::INFINITY);
            let mut below = 0;
            into.counts.extend(latencies.buckets.iter().map(|bucket| {
                below += bucket;
                below as f64
            }));
        }
    }

    /// The pod as its HPA sees it.
    pub(super) fn observed(&self) -> hpa::Pod {
        let (status, since) = match self.ready {
            Some(since) => (hpa::ReadyStatus::True, since),
            None => (hpa::ReadyStatus::False, self.started),
        };
        hpa::Pod {
            name: self.name.to_string(),
            phase: hpa::Phase::Running,
            deleted: self.deleted.is_some(),
            started: Some(timestamp(self.started)),
            readiness: Some(hpa::Readiness {
                status,
                since: timestamp(since),
            }),
            requests: [("cpu".to_owned(), self.cpu_request_milli)].into(),
            container_requests: [].into(),
        }
    }
}

/// The address of the pod number `number`: no two alike in any run, which has at most 2^24 pods.
fn address(number: u32) -> SocketAddr {
    let [_, b, c, d] = number.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, b, c, d)), PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        let times = ServiceTimes::new(0.1, 0.0, 1).unwrap();
        Pod::new((0, 0), "app-1".into(), 1, 0, times, 500)
    }

    #[test]
    fn a_page_has_cumulative_buckets_of_the_codes_that_are_wanted() {
        let mut pod = pod();
        for ms in [1, 250, 251, 20_000] {
            pod.count(Code::Ok, ms * 1_000_000);
        }
        pod.count(Code::Unavailable, 0);
        let mut reading = Reading::default();
        pod.read(
            &Code::matched(&Matchers::parse("code!~\"5..\"").unwrap()),
            &mut reading,
        );
        let [series] = reading.series[..] else {
            panic!("{:?}", reading.series);
        };
        assert_eq!(series.count, 4.0);
        assert!((series.sum.unwrap() - 20.502).abs() < 1e-9);
        // At most 5 ms: one; at most 250 ms: two; at most 500 ms: three; the last is above all bounds.
        assert_eq!(
            reading.counts_of(&series),
            [1., 1., 1., 1., 1., 2., 3., 3., 3., 3., 3., 4.]
        );
        reading.clear();
        pod.read(&Code::matched(&Matchers::default()), &mut reading);
        assert_eq!(reading.series.len(), 2);
        assert_eq!(reading.counts_of(&reading.series[1])[0], 1.0);
    }

    #[test]
    fn who_left_the_line_is_passed_over() {
        let mut requests = super::super::requests::Requests::default();
        let request = super::super::requests::Request {
            pod: 0,
            arrived: 0,
            client: super::super::requests::Client::Load {
                load: 0,
                intended: 0,
            },
            stage: super::super::requests::Stage::Waiting,
        };
        let [a, b] = [requests.insert(request), requests.insert(request)];
        let mut line = Line::default();
        line.join(a);
        line.join(b);
        requests.remove(a);
        line.leave();
        assert_eq!(line.len(), 1);
        assert_eq!(line.next(|place| requests.get(place).is_some()), Some(b));
        assert_eq!(line.len(), 0);
        assert_eq!(line.next(|_| true), None);
    }
}
