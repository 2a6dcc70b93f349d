//! Writes down what is seen of a run: the [`Recording`] that is judged. It looks at what others hand it, and puts it on
//! the scenario's clock; it decides nothing.

use std::collections::BTreeMap;

use taffrail_loadtest::arrivals::plan::Plan;
use taffrail_loadtest::judge::threshold;
use taffrail_loadtest::measured::{Measured, SoFar};
use taffrail_loadtest::recording::{
    About, Backend, Condition, Ended, Event, EventKind, Gap, Generator, GeneratorSecond, Read,
    Recording, SCHEMA_VERSION, Tier,
};
use taffrail_loadtest::scenario::{Action, Event as Scripted, Scenario, Span};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;
use crate::hpa::told;

use super::super::Pace;
use super::super::scaler::{Decided, Look};
use super::part::Part;
use super::sending::Waiting;

/// Writes a recording.
pub(super) struct Witness {
    recording: Recording,
    pace: Pace,
    /// The moment of the first request.
    zero: Instant,
    /// CPU seconds of this process at the last look, and when that was.
    cpu: (f64, f64),
    /// What came of the load on each service until now.
    so_far: BTreeMap<String, watch::Receiver<SoFar>>,
}

impl Witness {
    pub(super) fn new(scenario: &Scenario, plans: &[Plan], pace: Pace, attempt: u32) -> Self {
        let mut stages: Vec<_> = plans.iter().flat_map(|plan| plan.stages.clone()).collect();
        stages.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
        let ends = plans.iter().map(|plan| plan.end().as_secs_f64());
        let started = jiff::Timestamp::from_millisecond(clock::now().ms()).ok();
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        let services = scenario.services.keys();
        let facts = BTreeMap::from([(About::SPEED.to_owned(), pace.speed.to_string())]);
        Self {
            recording: Recording {
                schema_version: SCHEMA_VERSION,
                about: About {
                    tier: Tier::Local,
                    attempt,
                    started: started.map(|started| started.to_string()),
                    duration_s: ends.fold(0.0, f64::max),
                    interrupted: false,
                    ended: None,
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    facts,
                },
                scenario: scenario.clone(),
                stages,
                services: services
                    .map(|name| (name.clone(), Default::default()))
                    .collect(),
                generator: Generator {
                    cores,
                    discovery: scenario
                        .services
                        .keys()
                        .map(|name| (name.clone(), "endpoints".to_owned()))
                        .collect(),
                    ..Generator::default()
                },
                events: Vec::new(),
            },
            pace,
            zero: Instant::from_std(clock::instant()),
            cpu: (0.0, 0.0),
            so_far: BTreeMap::new(),
        }
    }

    /// Writes down what a service's HPA is told to do.
    pub(super) fn meet(&mut self, part: &Part) {
        let (Some(hpa), Some(service)) = (&part.hpa, self.recording.services.get_mut(&part.name))
        else {
            return;
        };
        service.autoscaler = Some(told::autoscaler(&hpa.namespace, &hpa.name, &hpa.spec));
        service.metrics = hpa
            .spec
            .metrics
            .iter()
            .zip(&hpa.selectors)
            .map(|(metric, selector)| told::metric(metric, selector.clone()))
            .collect();
        service
            .replicas
            .desired
            .push(0.0, Some(part.replicas_at_first));
    }

    /// The clock of these loads starts at `zero`.
    pub(super) fn begin(&mut self, zero: Instant, loads: &[Waiting]) {
        self.zero = zero;
        self.cpu = (cpu_s(), 0.0);
        let so_far = |load: &Waiting| (load.service().to_owned(), load.so_far.clone());
        self.so_far = loads.iter().map(so_far).collect();
        if self.pace.speed != 1.0 {
            let note = format!(
                "Everything but the requests ran {} times as fast; times are the scenario's.",
                self.pace.speed
            );
            self.recording.generator.notes.push(note);
        }
    }

    /// Seconds of the scenario since then.
    pub(super) fn now_s(&self) -> f64 {
        let since = Instant::from_std(clock::instant()).saturating_duration_since(self.zero);
        since.as_secs_f64() * self.pace.speed
    }

    /// Whether the scenario's safety or a threshold wants the run to end now. It is told once.
    pub(super) fn must_end(&mut self) -> bool {
        let recording = &mut self.recording;
        if recording.about.ended.is_some() || !recording.scenario.may_end_early() {
            return false;
        }
        for (name, so_far) in &mut self.so_far {
            let so_far = so_far.borrow_and_update();
            let load = &mut recording.services.entry(name.clone()).or_default().load;
            load.counts = so_far.counts;
            load.late = so_far.late;
            load.latency = so_far.latency.clone();
            load.slots = so_far.slots.clone();
        }
        let seconds = recording.services.values();
        let known_s = seconds.map(|service| service.load.slots.len()).max();
        let now_s = known_s.unwrap_or_default() as f64;
        let unsafe_now = threshold::safety_stop(recording, now_s).map(Ended::Safety);
        let aborts = || threshold::aborts(recording, now_s).map(Ended::Threshold);
        let ended = unsafe_now.or_else(aborts);
        if let Some(Ended::Safety(why) | Ended::Threshold(why)) = &ended {
            eprintln!("ending the run: {why}");
        }
        recording.about.ended = ended;
        recording.about.ended.is_some()
    }

    pub(super) fn interrupted(&mut self) {
        self.recording.about.interrupted = true;
    }

    /// The replicas and endpoints of a service, as they are now.
    pub(super) fn see(&mut self, part: &Part) {
        let t_s = self.now_s();
        self.generator(t_s);
        let Some(service) = self.recording.services.get_mut(&part.name) else {
            return;
        };
        let ready: Vec<_> = part.fleet.ready_pods().collect();
        let replicas = &mut service.replicas;
        replicas.spec.push(t_s, Some(part.fleet.spec()));
        replicas.current.push(t_s, Some(part.fleet.replicas()));
        replicas.ready.push(t_s, Some(part.fleet.ready()));
        replicas.endpoints.push(t_s, Some(ready.len() as u32));
        for (name, address) in &ready {
            let backend = service
                .backends
                .entry(address.to_string())
                .or_insert_with(|| Backend {
                    pod: Some((*name).to_owned()),
                    ready: Vec::new(),
                });
            if backend
                .ready
                .last()
                .is_none_or(|stretch| stretch.to_s.is_some())
            {
                backend.ready.push(Gap {
                    from_s: t_s,
                    ..Gap::default()
                });
            }
        }
        for (address, backend) in &mut service.backends {
            let is_ready = ready.iter().any(|(_, ready)| ready.to_string() == *address);
            if let Some(stretch) = backend.ready.last_mut().filter(|_| !is_ready) {
                stretch.to_s.get_or_insert(t_s);
            }
        }
    }

    /// What this process used since the last second of the scenario. The adapter is part of it, so the generator used
    /// less.
    fn generator(&mut self, t_s: f64) {
        let (used_s, since_s) = self.cpu;
        if t_s < since_s + self.pace.speed.max(1.0) {
            return;
        }
        let now_s = cpu_s();
        let wall_s = (t_s - since_s) / self.pace.speed;
        self.recording.generator.seconds.push(GeneratorSecond {
            t_s,
            cpu: (now_s - used_s) / wall_s,
            throttled: 0,
            in_flight: 0,
        });
        self.cpu = (now_s, t_s);
    }

    /// What an HPA could read now.
    pub(super) fn looked(&mut self, service: &str, looks: &[Look]) {
        let (t_s, speed) = (self.now_s(), self.pace.speed);
        let Some(service) = self.recording.services.get_mut(service) else {
            return;
        };
        for (metric, look) in service.metrics.iter_mut().zip(looks) {
            metric.reads.push(Read {
                t_s,
                value: look.value,
                age_s: look.age.map(|age| age.as_secs_f64() * speed),
                error: look.error.clone(),
            });
        }
    }

    /// One sync of an HPA.
    pub(super) fn decided(&mut self, name: &str, decided: &Decided) {
        let t_s = self.now_s();
        let Some(service) = self.recording.services.get_mut(name) else {
            return;
        };
        service.replicas.desired.push(t_s, Some(decided.replicas));
        for (kind, condition) in decided.decision.conditions.iter() {
            let (status, reason) = (Some(condition.status), format!("{:?}", condition.reason));
            let last = service
                .conditions
                .iter()
                .rev()
                .find(|last| last.type_ == kind);
            if last.is_none_or(|last| last.status != status || last.reason != reason) {
                service.conditions.push(Condition {
                    t_s,
                    type_: kind.to_owned(),
                    status,
                    reason,
                    message: condition.message.clone(),
                });
            }
        }
        let (from, to) = (decided.decision.current, decided.decision.desired);
        if from != to {
            let metric = decided.metric.as_deref().unwrap_or("bounds");
            self.note(
                EventKind::Scaled,
                Some(name),
                format!("{from} to {to} replicas, by {metric}"),
            );
        }
    }

    /// A pod came or went.
    pub(super) fn endpoint(&mut self, service: &str, text: String) {
        self.note(EventKind::Endpoint, Some(service), text);
    }

    /// Something that the scenario does.
    pub(super) fn event(&mut self, event: &Scripted) {
        let (service, text) = match &event.action {
            Action::Mark => (None, event.name.clone()),
            Action::Rollout { service, app } => (
                Some(service),
                format!("{service} gets version {}", app.version),
            ),
            Action::Undo { service } => (Some(service), format!("{service} goes back a version")),
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
                let text = format!("{which}{service} is {slowdown} times as slow");
                (Some(service), text)
            }
            Action::StopRedis => (None, "Redis is stopped".to_owned()),
            Action::StopMetrics => (None, "the adapter has no values".to_owned()),
        };
        self.note(EventKind::Mark, service.map(String::as_str), text);
        if let Some(mark) = self.recording.events.last_mut() {
            mark.name.clone_from(&event.name);
            mark.until_s = event.until.map(Span::seconds);
        }
    }

    fn note(&mut self, kind: EventKind, service: Option<&str>, text: String) {
        let t_s = self.now_s();
        eprintln!(
            "{t_s:>6.0} s  {}{text}",
            service.map_or(String::new(), |name| format!("{name}: "))
        );
        self.recording.events.push(Event {
            t_s,
            service: service.map(str::to_owned),
            kind,
            name: String::new(),
            until_s: None,
            text,
        });
    }

    /// The whole recording, with what came of the loads.
    pub(super) fn finish(mut self, measured: BTreeMap<String, Measured>) -> Recording {
        for (name, measured) in measured {
            if let Some(service) = self.recording.services.get_mut(&name) {
                service.load = measured;
            }
        }
        self.recording
    }
}

/// CPU seconds that this process has used.
fn cpu_s() -> f64 {
    taffrail_loadtest::clock::process_cpu().as_secs_f64()
}
