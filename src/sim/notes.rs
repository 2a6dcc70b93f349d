//! What is kept of a run: the [`Recording`] that checks and reports read, written as a cluster's observer would write
//! it. Nothing happens because of what is noted here.

use std::time::Duration;

use taffrail_loadtest::measured::ErrorClass;
use taffrail_loadtest::measured::recorder::{EndpointIndex, Finished, Recorder};
use taffrail_loadtest::recording::{
    About, Backend, Condition, Event, EventKind, Gap, Generator, GeneratorSecond, Read, Recording,
    SCHEMA_VERSION, Service, Stage, Tier,
};
use taffrail_loadtest::scenario;

use crate::hpa::{self, Decision, Path};

use super::pod::Pod;
use super::scaler::Reading;
use super::{NANOS_PER_S, Plan, seconds};

/// Events told one by one: a run in which pods come and go every second for a day has more, and nobody reads them.
const EVENTS_MAX: usize = 20_000;

/// Requests are of one kind here: what differs between kinds is what a server does, and it is not simulated.
const ONLY_KIND: usize = 0;

/// What is kept of a run.
#[derive(Debug)]
pub(super) struct Notes {
    services: Vec<Kept>,
    events: Vec<Event>,
    seconds: Vec<GeneratorSecond>,
    stages: Vec<Stage>,
    duration_s: f64,
}

/// What is kept of a service.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) name: String,
    pub(super) recorder: Recorder,
    pub(super) seen: Service,
    /// The conditions at the last sync.
    conditions: hpa::Conditions,
}

impl Kept {
    pub(super) fn new(name: &str, recorder: Recorder, seen: Service) -> Self {
        Self {
            name: name.to_owned(),
            recorder,
            seen,
            conditions: hpa::Conditions::default(),
        }
    }
}

impl Notes {
    pub(super) fn new(services: Vec<Kept>, plan: &Plan) -> Self {
        let stages = plan.stages();
        let duration_s = plan.duration().as_secs_f64();
        Self {
            services,
            events: Vec::new(),
            seconds: Vec::new(),
            stages,
            duration_s,
        }
    }

    // --- Requests.

    /// As which endpoint the requests of a pod are recorded; `None` where there are too many to tell apart. One that
    /// was there before the first request is not young.
    pub(super) fn number(&mut self, pod: &Pod, was_there: bool) -> Option<EndpointIndex> {
        let recorder = &mut self.services[pod.service].recorder;
        if was_there {
            recorder.were_there([pod.address]);
        }
        recorder.endpoint(pod.address)
    }

    /// A request should have started at `intended`; `is_sent` when it may.
    pub(super) fn offered(&mut self, service: usize, intended: i64, is_sent: bool) {
        let in_flight_max = if is_sent { usize::MAX } else { 0 };
        self.services[service]
            .recorder
            .offer(moment(intended), ONLY_KIND, in_flight_max);
    }

    /// A request that was sent has ended.
    pub(super) fn finished(
        &mut self,
        service: usize,
        intended: i64,
        now: i64,
        pod: Option<&Pod>,
        outcome: Option<Result<(), ErrorClass>>,
    ) {
        // One that was given up at the end of the run is unfinished for ever.
        let Some(outcome) = outcome else { return };
        let latency = moment(now - intended);
        self.services[service].recorder.finished(&Finished {
            intended: moment(intended),
            kind: ONLY_KIND,
            lag: Duration::ZERO,
            latency,
            raw: pod.map(|_| latency),
            endpoint: pod.and_then(|pod| pod.endpoint),
            retried: false,
            outcome,
        });
    }

    /// A second has begun, and the next request of each service comes no earlier than it.
    pub(super) fn second(&mut self, now: i64, in_flight: usize) {
        if now < 0 {
            return;
        }
        for service in &mut self.services {
            service.recorder.expect_next(moment(now));
            service.recorder.pass(now as u64 / NANOS_PER_S as u64);
        }
        if 0 < now {
            self.seconds.push(GeneratorSecond {
                t_s: seconds(now),
                in_flight: in_flight as u64,
                ..GeneratorSecond::default()
            });
        }
    }

    // --- The scaled.

    /// The scale target is to have so many replicas.
    pub(super) fn scaled(&mut self, service: usize, now: i64, replicas: u32) {
        self.services[service]
            .seen
            .replicas
            .spec
            .push(seconds(now), Some(replicas));
    }

    /// A pod became a ready endpoint, or is none any more; there are `endpoints` now.
    pub(super) fn endpoint(&mut self, pod: &Pod, now: i64, is_up: bool, endpoints: usize) {
        let seen = &mut self.services[pod.service].seen;
        let count = u32::try_from(endpoints).ok();
        // Whoever is ready and not told to end is an endpoint, so the two numbers never differ.
        seen.replicas.ready.push(seconds(now), count);
        seen.replicas.endpoints.push(seconds(now), count);
        let backend = seen
            .backends
            .entry(pod.address.to_string())
            .or_insert_with(|| Backend {
                pod: Some(pod.name.to_string()),
                ready: Vec::new(),
            });
        if is_up {
            backend.ready.push(Gap {
                from_s: seconds(now),
                ..Gap::default()
            });
        } else if let Some(last) = backend.ready.last_mut() {
            last.to_s = Some(seconds(now));
        }
        if 0 < now {
            let text = if is_up {
                "is a ready endpoint"
            } else {
                "was taken out"
            };
            self.event(
                pod.service,
                now,
                EventKind::Endpoint,
                format!("{} {text}", pod.name),
            );
        }
    }

    // --- The scaling.

    /// An HPA has synced, of a target that had `current` pods.
    pub(super) fn decided(&mut self, service: usize, now: i64, current: u32, decision: &Decision) {
        let kept = &mut self.services[service];
        let replicas = &mut kept.seen.replicas;
        replicas
            .desired
            .push(seconds(now), u32::try_from(decision.desired).ok());
        replicas.current.push(seconds(now), Some(current));
        let mut told = Vec::new();
        for (type_, condition) in decision.conditions.iter() {
            let same = |(other, before): &(&str, &hpa::Condition)| {
                *other == type_
                    && (before.status, before.reason) == (condition.status, condition.reason)
            };
            if kept.conditions.iter().any(|before| same(&before)) {
                continue;
            }
            kept.seen.conditions.push(Condition {
                t_s: seconds(now),
                type_: type_.to_owned(),
                status: Some(condition.status),
                reason: condition.reason.to_string(),
                message: condition.message.clone(),
            });
            if type_ == "ScalingActive" && !condition.status {
                told.push(format!("{}: {}", condition.reason, condition.message));
            }
        }
        kept.conditions = decision.conditions.clone();
        for text in told {
            self.event(service, now, EventKind::Told, text);
        }
        if decision.current != decision.desired {
            self.event(service, now, EventKind::Scaled, sentence(decision));
        }
    }

    /// Whoever watches has read the metrics.
    pub(super) fn read(&mut self, service: usize, now: i64, readings: Vec<Reading>) {
        for (metric, reading) in self.services[service].seen.metrics.iter_mut().zip(readings) {
            let (value, error) = match reading.value {
                Ok(value) => (Some(value), None),
                Err(said) => (None, Some(said)),
            };
            metric.reads.push(Read {
                t_s: seconds(now),
                value,
                age_s: reading.age_s,
                error,
            });
        }
    }

    /// The scenario does something.
    pub(super) fn marked(&mut self, event: &scenario::Event) {
        self.events.push(Event {
            t_s: event.at.seconds(),
            service: None,
            kind: EventKind::Mark,
            name: event.name.clone(),
            until_s: event.until.map(scenario::Span::seconds),
            text: did(&event.action),
        });
    }

    fn event(&mut self, service: usize, now: i64, kind: EventKind, text: String) {
        if EVENTS_MAX <= self.events.len() {
            return;
        }
        self.events.push(Event {
            t_s: seconds(now),
            service: Some(self.services[service].name.clone()),
            kind,
            name: String::new(),
            until_s: None,
            text,
        });
    }

    /// The whole of it, at the end of the run.
    pub(super) fn finish(self, plan: &Plan, now: i64, interrupted: bool) -> Recording {
        let names = self
            .services
            .iter()
            .map(|kept| (kept.name.clone(), "endpoints".to_owned()));
        let generator = Generator {
            cores: 1.0,
            seconds: self.seconds,
            discovery: names.collect(),
            notes: vec!["This is a simulation: time, pods and requests were computed.".to_owned()],
        };
        let services = self.services.into_iter().map(|kept| {
            let (load, _) = kept.recorder.finish(moment(now), interrupted);
            (kept.name, Service { load, ..kept.seen })
        });
        let facts = [(
            "simulation".to_owned(),
            "nothing of this run was real".to_owned(),
        )];
        Recording {
            schema_version: SCHEMA_VERSION,
            about: About {
                tier: Tier::Virtual,
                attempt: 1,
                started: None,
                duration_s: self.duration_s,
                interrupted,
                ended: None,
                version: plan.version.clone(),
                facts: facts.into(),
            },
            scenario: plan.scenario.redacted(),
            stages: self.stages,
            services: services.collect(),
            generator,
            events: self.events,
        }
    }
}

/// What the scenario did, in a sentence.
fn did(action: &scenario::Action) -> String {
    use scenario::Action;
    match action {
        Action::Mark => "a mark of the scenario".to_owned(),
        Action::Rollout { service, app } => {
            format!("{service} is rolled out as version {}", app.version)
        }
        Action::Undo { service } => format!("the last rollout of {service} is undone"),
        Action::Change {
            service,
            slowdown,
            pods,
        } => {
            let which = match pods {
                None => String::new(),
                Some(1) => "a pod of ".to_owned(),
                Some(pods) => format!("each of {pods} pods of "),
            };
            format!("{which}{service} is {slowdown} times as slow as at first")
        }
        Action::StopRedis => "Redis is stopped".to_owned(),
        Action::StopMetrics => "the adapter is stopped".to_owned(),
    }
}

/// Why an HPA scaled, in a sentence.
fn sentence(decision: &Decision) -> String {
    let Decision {
        current,
        desired,
        path,
        ..
    } = decision;
    let why = match path {
        Path::AboveMax => "there were more than the most".to_owned(),
        Path::BelowMin => "there were fewer than the fewest".to_owned(),
        _ => {
            let conditions = &decision.conditions;
            let limited = conditions
                .scaling_limited
                .as_ref()
                .filter(|limited| limited.status);
            let said = limited.or(conditions.scaling_active.as_ref());
            said.map(|said| said.message.clone()).unwrap_or_default()
        }
    };
    format!("{current} to {desired} replicas: {why}")
}

fn moment(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
