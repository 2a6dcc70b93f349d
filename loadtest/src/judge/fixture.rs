//! Recordings for tests, from a few lines: what was seen is said, and all else is as in a run in which nothing happens.

use std::time::Duration;

use crate::measured::{Counts, ErrorClass, Latencies, Slot};
use crate::recording::{
    Autoscaler, Condition, Event, EventKind, Metric, Read, Recording, Service, Stage,
};
use crate::scenario::assertion::Assertion;
use crate::scenario::{Demand, Scenario, Slo, Span};
use crate::steps::Steps;

use super::{Finding, judge};

/// The only service.
pub(super) const SERVICE: &str = "users";

/// A recording in the making: of the service [`SERVICE`], which has an HPA from 2 to 10 pods that scales on a latency of
/// 300 ms.
pub(super) struct Fixture {
    recording: Recording,
}

impl Fixture {
    /// A run of so many seconds in which 100 requests a second had answers within 100 ms, of two ready pods.
    pub(super) fn new(duration_s: u32) -> Self {
        let slo = Slo {
            quantile: 0.95,
            target: Span::from_millis(300),
            window: Span::from_secs(10),
            max_window: Span::from_secs(60),
        };
        let scenario = Scenario {
            name: "fixture".into(),
            slo: Some(slo),
            services: [(SERVICE.to_owned(), crate::scenario::Service::default())].into(),
            ..Scenario::default()
        };
        let recording = Recording {
            schema_version: crate::recording::SCHEMA_VERSION,
            about: crate::recording::About {
                duration_s: f64::from(duration_s),
                ..Default::default()
            },
            scenario,
            stages: Vec::new(),
            services: [(SERVICE.to_owned(), service())].into(),
            generator: Default::default(),
            events: Vec::new(),
        };
        let fixture = Self { recording }
            .desired(&[(-60.0, 2)])
            .ready(&[(-60.0, 2)]);
        fixture.load(0, duration_s, 100, 100)
    }

    /// A stage of the load.
    pub(super) fn stage(mut self, name: &str, start_s: f64, end_s: f64) -> Self {
        self.recording.stages.push(Stage {
            name: name.into(),
            load: "main".into(),
            service: SERVICE.into(),
            start_s,
            end_s,
        });
        self
    }

    /// What a pod can take.
    pub(super) fn demand(mut self, rps_per_pod: f64) -> Self {
        let service = self
            .recording
            .scenario
            .services
            .entry(SERVICE.into())
            .or_default();
        service.demand = Some(Demand { rps_per_pod });
        self
    }

    /// What the HPA wanted, and the scale target was told, from each moment on, instead of two pods.
    pub(super) fn desired(mut self, seen: &[(f64, u32)]) -> Self {
        let replicas = &mut self.service().replicas;
        replicas.desired = steps(seen);
        replicas.spec = steps(seen);
        self
    }

    /// How many pods were ready from each moment on, instead of two.
    pub(super) fn ready(mut self, seen: &[(f64, u32)]) -> Self {
        let replicas = &mut self.service().replicas;
        replicas.ready = steps(seen);
        replicas.current = steps(seen);
        replicas.endpoints = steps(seen);
        self
    }

    /// Nobody saw any replicas between the two moments.
    pub(super) fn unseen(mut self, from_s: f64, to_s: f64) -> Self {
        let replicas = &mut self.service().replicas;
        let all = [
            &mut replicas.desired,
            &mut replicas.spec,
            &mut replicas.current,
            &mut replicas.ready,
            &mut replicas.endpoints,
        ];
        for steps in all {
            let again = steps.at(to_s);
            let before = steps.steps().iter().filter(|step| step.t_s < from_s);
            let after = steps.steps().iter().filter(|step| to_s < step.t_s);
            let between = [(from_s, None), (to_s, again)];
            let before = before.map(|step| (step.t_s, step.value));
            *steps = before
                .chain(between)
                .chain(after.map(|step| (step.t_s, step.value)))
                .collect();
        }
        self
    }

    /// In these seconds `rate` requests each had an answer within `latency_ms`.
    pub(super) fn load(self, from: u32, to: u32, rate: u64, latency_ms: u64) -> Self {
        self.mixed(from, to, &[(rate, latency_ms)], 0)
    }

    /// In these seconds `rate` requests each had an answer within `latency_ms`, and `failed` a 503.
    pub(super) fn failing(
        self,
        from: u32,
        to: u32,
        rate: u64,
        latency_ms: u64,
        failed: u64,
    ) -> Self {
        self.mixed(from, to, &[(rate, latency_ms)], failed)
    }

    /// In these seconds so many requests each had an answer within so many milliseconds, and `failed` had a 503.
    pub(super) fn mixed(mut self, from: u32, to: u32, answers: &[(u64, u64)], failed: u64) -> Self {
        let mut latencies = Latencies::default();
        for (count, millis) in answers {
            latencies.record_many(Duration::from_millis(*millis), *count);
        }
        let ok = answers.iter().map(|(count, _)| count).sum();
        let mut counts = Counts::default();
        (counts.offered, counts.ok) = (ok + failed, ok);
        (0..failed).for_each(|_| counts.count_error(ErrorClass::ServerStatus));
        let slots = &mut self.service().load.slots;
        let seconds = from as usize..to as usize;
        slots.resize(slots.len().max(seconds.end), Slot::default());
        slots[seconds].fill(Slot::new(counts, &latencies));
        self
    }

    /// The adapter's value from each moment on, read every 2 s to the end of the run, at an age of 1 s; `None` is an
    /// error.
    pub(super) fn metric(mut self, values: &[(f64, Option<f64>)]) -> Self {
        let reads = (0..)
            .map(|n| f64::from(n) * 2.0)
            .take_while(|t_s| *t_s <= self.recording.about.duration_s);
        let read = |t_s: f64| {
            let value = values
                .iter()
                .rev()
                .find(|(from_s, _)| *from_s <= t_s)
                .and_then(|(_, value)| *value);
            Read {
                t_s,
                value,
                age_s: value.map(|_| 1.0),
                error: value.is_none().then(|| "404".into()),
            }
        };
        let metric = Metric {
            name: "request_latency_ms".into(),
            target: 300.0,
            reads: reads.map(read).collect(),
            ..Metric::default()
        };
        self.service().metrics = vec![metric];
        self
    }

    /// A condition of the HPA from a moment on.
    pub(super) fn condition(
        mut self,
        t_s: f64,
        type_: &str,
        status: Option<bool>,
        reason: &str,
    ) -> Self {
        self.service().conditions.push(Condition {
            t_s,
            type_: type_.into(),
            status,
            reason: reason.into(),
            message: String::new(),
        });
        self
    }

    /// Something that the scenario does.
    pub(super) fn event(mut self, name: &str, t_s: f64, until_s: Option<f64>) -> Self {
        self.recording.events.push(Event {
            t_s,
            service: None,
            kind: EventKind::Mark,
            name: name.into(),
            until_s,
            text: name.into(),
        });
        self
    }

    /// Anything else.
    pub(super) fn with(mut self, change: impl FnOnce(&mut Recording)) -> Self {
        change(&mut self.recording);
        self
    }

    /// What was seen of the service.
    pub(super) fn service(&mut self) -> &mut Service {
        self.recording
            .services
            .get_mut(SERVICE)
            .expect("the fixture has it")
    }

    /// The recording.
    pub(super) fn recording(self) -> Recording {
        self.recording
    }

    /// The findings of one assertion, written as in a file but in JSON: `{"flap_count": {"max": 0}}`.
    pub(super) fn findings(&self, assertion: serde_json::Value) -> Vec<Finding> {
        let assertion: Assertion = serde_json::from_value(assertion).expect("an assertion");
        let mut recording = self.recording.clone();
        let name = assertion.check.name();
        recording.scenario.assertions = vec![assertion];
        let of_check = |finding: &Finding| finding.name.split(['[', ' ']).next() == Some(name);
        judge(&recording).into_iter().filter(of_check).collect()
    }

    /// The one finding of one assertion.
    pub(super) fn finding(&self, assertion: serde_json::Value) -> Finding {
        let mut findings = self.findings(assertion);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.remove(0)
    }
}

fn service() -> Service {
    Service {
        autoscaler: Some(Autoscaler {
            name: SERVICE.into(),
            min_replicas: 2,
            max_replicas: 10,
            max_surge: 1,
            sync_period_s: 15.0,
            tolerance_up: 0.1,
            tolerance_down: 0.1,
            ..Autoscaler::default()
        }),
        ..Service::default()
    }
}

fn steps(seen: &[(f64, u32)]) -> Steps {
    seen.iter()
        .map(|(t_s, value)| (*t_s, Some(*value)))
        .collect()
}
