//! A recording as a cluster gives it, for the tests of reports: a step from 50 to 600 requests per second, two scale-outs,
//! errors meanwhile, a read that failed, a scale-in, two services.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::judge::verdict::{Reason, Verdict};
use crate::judge::{Finding, Group, Outcome};
use crate::measured::{
    Counts, EndpointCounts, ErrorClass, Latencies, Measured, Slot, SlotEndpoint,
};
use crate::recording::{
    About, Autoscaler, Backend, Condition, Event, EventKind, Gap, Generator, GeneratorSecond,
    Metric, MetricKind, Read, Recording, Replicas, SCHEMA_VERSION, Service, Stage, Tier,
};
use crate::scenario::{self, Scenario, Slo, Span};

/// How long the run lasts.
pub(crate) const SECONDS: usize = 900;

/// When the load goes up, and when it goes down again.
const HIGH: std::ops::Range<f64> = 120.0..420.0;

/// Latencies told apart in a second.
const POINTS: u64 = 60;

/// When new pods answer: two after each scale-out.
const FIRST_OK_S: [f64; 6] = [0.1, 0.2, 142.0, 143.0, 157.0, 158.0];

/// The whole recording.
pub(crate) fn recording() -> Recording {
    recording_of(SECONDS)
}

/// The same with another length: the load of its end goes on.
pub(crate) fn recording_of(seconds: usize) -> Recording {
    let end_s = seconds as f64;
    let services = [("users", 1.0), ("orders", 0.25)]
        .map(|(name, share)| (name.to_owned(), service(share, seconds)));
    Recording {
        schema_version: SCHEMA_VERSION,
        about: About {
            tier: Tier::Cluster,
            attempt: 1,
            started: Some("2026-03-01T12:00:00Z".to_owned()),
            duration_s: end_s,
            interrupted: false,
            ended: None,
            version: "0.1.0".to_owned(),
            facts: BTreeMap::from([("kubernetes".to_owned(), "v1.36.3".to_owned())]),
        },
        scenario: scenario(),
        stages: ["users", "orders"]
            .into_iter()
            .flat_map(|name| stages(name, end_s))
            .collect(),
        services: BTreeMap::from(services),
        generator: generator(seconds),
        events: events(),
    }
}

/// What checks might have found in it: one of each outcome, and a marginal one.
pub(crate) fn verdict() -> Verdict {
    Verdict {
        findings: findings(),
        outcome: Outcome::Fail,
        reason: Reason::Failed,
        sentence: "something does not hold: p95 was above 300 ms for 40 s from 2:00 on, limit 30 s (± 1 s)".to_owned(),
    }
}

fn findings() -> Vec<Finding> {
    let finding =
        |name: &str, group, outcome, value, limit: &str, unit: &str, sentence: &str| Finding {
            name: name.to_owned(),
            service: "users".to_owned(),
            group,
            outcome,
            marginal: false,
            value,
            limit: limit.to_owned(),
            unit: unit.to_owned(),
            resolution: 1.0,
            from_s: Some(120.0),
            to_s: Some(160.0),
            sentence: sentence.to_owned(),
        };
    vec![
        Finding {
            marginal: true,
            ..finding(
                "time_to_first_scale_out[high]",
                Group::Reaction,
                Outcome::Pass,
                Some(13.0),
                "<= 14 s",
                "s",
                "The first scale-out came 13 s after the stage high began, limit 14 s (± 1 s).",
            )
        },
        finding(
            "slo_recovery_time[high]",
            Group::Slo,
            Outcome::Fail,
            Some(40.0),
            "<= 30 s",
            "s",
            "p95 was above 300 ms for 40 s from 2:00 on, limit 30 s (± 1 s).",
        ),
        Finding {
            from_s: None,
            to_s: None,
            ..finding(
                "never_above_max",
                Group::Bounds,
                Outcome::Pass,
                Some(6.0),
                "<= 8 pods",
                "pods",
                "There were never more than 6 replicas of at most 8.",
            )
        },
        finding(
            "metric_accuracy",
            Group::Health,
            Outcome::Inconclusive,
            None,
            ">= 0.9",
            "",
            "The metric could not be compared with what clients saw: too few reads.",
        ),
        finding(
            "cost",
            Group::Cost,
            Outcome::Skipped,
            None,
            "<= 2",
            "",
            "No price per pod is given.",
        ),
        Finding {
            service: String::new(),
            from_s: None,
            to_s: None,
            ..finding(
                "offered_load",
                Group::Validity,
                Outcome::Pass,
                Some(0.9996),
                ">= 0.99",
                "",
                "99.96 % of the requests were sent within 100 ms of their moment.",
            )
        },
    ]
}

fn scenario() -> Scenario {
    let demand = Some(scenario::Demand { rps_per_pod: 120.0 });
    let service = scenario::Service {
        demand,
        ..scenario::Service::default()
    };
    Scenario {
        name: "checkout-step".to_owned(),
        description: "Twelve times the load at once, and back again.".to_owned(),
        seed: 42,
        services: ["users", "orders"]
            .map(|name| (name.to_owned(), service.clone()))
            .into(),
        slo: Some(Slo {
            quantile: 0.95,
            target: Span::from_millis(300),
            window: Span::from_secs(10),
            max_window: Span::from_secs(60),
        }),
        ..Scenario::default()
    }
}

fn stages(service: &str, end_s: f64) -> Vec<Stage> {
    [
        ("base", 0.0, HIGH.start),
        ("high", HIGH.start, HIGH.end),
        ("idle", HIGH.end, end_s),
    ]
    .map(|(name, start_s, end_s)| Stage {
        name: name.to_owned(),
        load: service.to_owned(),
        service: service.to_owned(),
        start_s,
        end_s,
    })
    .into()
}

fn service(share: f64, seconds: usize) -> Service {
    let end_s = seconds as f64;
    let steps = |steps: &[(f64, u32)]| steps.iter().map(|(t_s, n)| (*t_s, Some(*n))).collect();
    let ready = steps(&[(-5.0, 2), (141.0, 4), (156.0, 6), (726.0, 2)]);
    let load = load(share, seconds);
    let backends = load.endpoints.iter().map(|(address, counts)| {
        let to_s = (2 <= counts.index).then_some(725.0);
        let from_s = counts.first_ok_s.unwrap_or_default() - 1.0;
        let backend = Backend {
            pod: Some(format!("users-7d4b9c-{}", counts.index)),
            ready: vec![Gap {
                from_s,
                to_s,
                what: String::new(),
            }],
        };
        (address.to_string(), backend)
    });
    Service {
        autoscaler: Some(Autoscaler {
            namespace: "shop".to_owned(),
            name: "users".to_owned(),
            min_replicas: 2,
            max_replicas: 8,
            tolerance_up: 0.1,
            tolerance_down: 0.1,
            sync_period_s: 15.0,
            ..Autoscaler::default()
        }),
        replicas: Replicas {
            desired: steps(&[(-5.0, 2), (133.0, 4), (148.0, 6), (725.0, 2)]),
            current: steps(&[(-5.0, 2), (134.0, 4), (149.0, 6), (726.0, 2)]),
            spec: steps(&[(-5.0, 2), (133.0, 4), (148.0, 6), (725.0, 2)]),
            endpoints: steps(&[(-5.0, 2), (141.5, 4), (156.5, 6), (725.5, 2)]),
            ready,
        },
        metrics: vec![metric(end_s)],
        conditions: vec![Condition {
            t_s: -5.0,
            type_: "ScalingActive".to_owned(),
            status: Some(true),
            reason: "ValidMetricFound".to_owned(),
            message: "the HPA was able to calculate".to_owned(),
        }],
        backends: backends.collect(),
        gaps: vec![Gap {
            from_s: 600.0,
            to_s: Some(620.0),
            what: "replicas".to_owned(),
        }],
        spec_changes: Vec::new(),
        load,
    }
}

/// A number that JSON keeps to its last bit.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn metric(end_s: f64) -> Metric {
    let reads = (0..)
        .map(|i| f64::from(i) * 2.0)
        .take_while(|t_s| *t_s < end_s);
    let value = |t_s: f64| match t_s {
        t if (120.0..170.0).contains(&t) => Some(340.0 + 400.0 * ((t - 120.0) / 16.0).sin().abs()),
        t if (300.0..320.0).contains(&t) => None,
        t => Some(90.0 + 20.0 * (t / 25.0).sin()),
    };
    Metric {
        name: "request_latency_ms".to_owned(),
        selector: "service=users,quantile=0.95".to_owned(),
        kind: MetricKind::External,
        target: 250.0,
        is_average: false,
        reads: reads
            .map(|t_s| Read {
                t_s,
                value: value(t_s).map(hundredths),
                age_s: Some(1.5),
                error: value(t_s).is_none().then(|| "404: no metrics".to_owned()),
            })
            .collect(),
    }
}

fn load(share: f64, seconds: usize) -> Measured {
    let mut load = Measured {
        timeout: Duration::from_secs(5),
        ..Measured::default()
    };
    for (index, first_ok_s) in (0u16..).zip(FIRST_OK_S) {
        let address = SocketAddr::from(([10, 0, 0, index as u8 + 1], 8080));
        let counts = EndpointCounts {
            index,
            first_ok_s: Some(first_ok_s),
            ok: 0,
            errors: 0,
        };
        load.endpoints.insert(address, counts);
    }
    for second in 0..seconds {
        // What comes after the end repeats what was before it, which is soon made.
        let slot = match load.slots.get(second - second.min(200)) {
            Some(before) if SECONDS <= second => before.clone(),
            _ => slot(second as f64, share, &mut load.latency),
        };
        load.counts.add(&slot.counts);
        for seen in &slot.endpoints {
            let mut endpoints = load.endpoints.values_mut();
            let counts = endpoints.find(|counts| counts.index == seen.index).unwrap();
            counts.ok += u64::from(seen.ok);
            counts.errors += u64::from(seen.errors);
        }
        load.slots.push(slot);
    }
    load.planned = load.counts.offered;
    load
}

fn slot(t_s: f64, share: f64, all: &mut Latencies) -> Slot {
    let pods: Vec<u16> = (0u16..)
        .zip(FIRST_OK_S)
        .filter(|(index, first)| *first <= t_s.max(1.0) && (*index < 2 || t_s < 725.0))
        .map(|(index, _)| index)
        .collect();
    let high = HIGH.contains(&t_s);
    let offered = (share * if high { 600.0 } else { 50.0 } + 3.0 * (t_s / 7.0).sin()) as u64;
    let load_per_pod = offered as f64 / share / pods.len() as f64;
    let median_ms = if 130.0 < load_per_pod {
        420.0 + 3.0 * (load_per_pod - 130.0)
    } else {
        60.0 + 0.3 * load_per_pod
    };
    let failed = if 250.0 < load_per_pod {
        offered / 20
    } else {
        0
    };
    let mut counts = Counts::default();
    (counts.offered, counts.ok) = (offered, offered - failed);
    (0..failed).for_each(|i| {
        counts.count_error(if i % 3 == 0 {
            ErrorClass::Timeout
        } else {
            ErrorClass::ServerStatus
        });
    });
    let mut latencies = Latencies::default();
    for i in 0..POINTS {
        // The logistic curve is near enough to the normal one for a long tail.
        let share = (i as f64 + 0.5) / POINTS as f64;
        let z = (share / (1.0 - share)).ln() / 1.702;
        let ms = median_ms * (0.35 * z + 0.05 * (t_s / 5.0).sin()).exp();
        let count = counts.ok * (i + 1) / POINTS - counts.ok * i / POINTS;
        latencies.record_many(Duration::from_secs_f64(ms / 1e3), count);
        all.record_many(Duration::from_secs_f64(ms / 1e3), count);
    }
    let mut slot = Slot::new(counts, &latencies);
    let each = |index: &u16| SlotEndpoint {
        index: *index,
        ok: (counts.ok / pods.len() as u64) as u32,
        errors: (failed / pods.len() as u64) as u32,
    };
    slot.endpoints = pods.iter().map(each).collect();
    slot
}

fn generator(seconds: usize) -> Generator {
    let second = |t: usize| {
        let high = HIGH.contains(&(t as f64));
        GeneratorSecond {
            t_s: t as f64 + 1.0,
            cpu: hundredths(if high { 0.42 } else { 0.06 } + 0.02 * (t as f64 / 9.0).sin()),
            throttled: 0,
            in_flight: if high { 90 } else { 4 },
        }
    };
    Generator {
        cores: 2.0,
        seconds: (0..seconds).map(second).collect(),
        discovery: ["users", "orders"]
            .map(|name| (name.to_owned(), "endpoints".to_owned()))
            .into(),
        notes: vec!["orders: no metric is read, its HPA has none.".to_owned()],
    }
}

fn events() -> Vec<Event> {
    let scaled = |t_s, text: &str| Event {
        t_s,
        service: Some("users".to_owned()),
        kind: EventKind::Scaled,
        name: String::new(),
        until_s: None,
        text: text.to_owned(),
    };
    vec![
        scaled(133.0, "users: 2 → 4 replicas"),
        scaled(148.0, "users: 4 → 6 replicas"),
        Event {
            kind: EventKind::Mark,
            name: "adapter_down".to_owned(),
            until_s: Some(320.0),
            ..scaled(300.0, "The adapter was stopped.")
        },
        scaled(725.0, "users: 6 → 2 replicas"),
    ]
}
