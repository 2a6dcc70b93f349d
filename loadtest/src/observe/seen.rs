//! All that was seen of one service, as it comes in: each piece with the moment it was received. A watch that proves
//! nothing for longer than `max_gap` leaves a gap, and what it tells is unknown from its last proof on. Pure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec};

use super::autoscaler;
use super::target::{self, Target};
use crate::recording::{
    Autoscaler, Condition, Event, EventKind, Gap, Metric, MetricKind, Read, Replicas, Service,
    SpecChange,
};
use crate::steps::Steps;

/// Reads of one metric: a day of one every two seconds.
const READS_MAX: usize = 43_200;

/// Steps of one number: one a second for a day.
const STEPS_MAX: usize = 86_400;

/// Backends that are told apart: more pods than an HPA should ever make within a run.
const BACKENDS_MAX: usize = 5_000;

/// Changes of conditions, events, gaps, and stretches in which a backend was ready: far more than a report can show.
const ENTRIES_MAX: usize = 10_000;

/// Changes of a spec: the first one spoils the run.
const CHANGES_MAX: usize = 100;

/// Characters of a message: what `kubectl describe` shows on a few lines.
const TEXT_MAX: usize = 400;

/// What is watched of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watched {
    Hpa,
    Target,
    Endpoints,
}

impl Watched {
    fn what(self) -> &'static str {
        match self {
            Self::Hpa => "HPA",
            Self::Target => "scale target",
            Self::Endpoints => "endpoints",
        }
    }

    fn numbers(self, replicas: &mut Replicas) -> Vec<&mut Steps> {
        match self {
            Self::Hpa => vec![&mut replicas.desired, &mut replicas.current],
            Self::Target => vec![&mut replicas.spec, &mut replicas.ready],
            Self::Endpoints => vec![&mut replicas.endpoints],
        }
    }
}

/// Everything seen of a service; times are seconds from when the observation began.
#[derive(Debug, Default)]
pub(super) struct Seen {
    max_gap_s: f64,
    /// As `HorizontalPodAutoscaler shop/users`.
    hpa_name: String,
    /// As `Deployment shop/users`.
    target_name: String,
    /// When each watch last proved that it tells everything.
    heard: BTreeMap<Watched, Option<f64>>,
    /// Why each watch failed last.
    failures: BTreeMap<Watched, String>,
    hpa_spec: Option<HorizontalPodAutoscalerSpec>,
    specs: Vec<(f64, Autoscaler)>,
    target: Option<Target>,
    /// When the HPA last scaled by its own word, since the Unix epoch.
    last_scale: Option<Duration>,
    service: Service,
    events: Vec<Event>,
    left_out: BTreeSet<&'static str>,
}

/// What is known of a service at a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Live {
    /// Replicas that the HPA wants; `None` while that is unknown, as with all of these.
    pub desired: Option<u32>,
    /// Replicas that the HPA sees.
    pub current: Option<u32>,
    /// Replicas that the target is told to have.
    pub spec: Option<u32>,
    /// Replicas that are ready.
    pub ready: Option<u32>,
    /// Endpoints that take requests.
    pub endpoints: Option<u32>,
    /// The HPA's bounds.
    pub bounds: Option<(u32, u32)>,
    /// The HPA's metrics, in the order of its spec.
    pub metrics: Vec<LiveMetric>,
    /// What is not observed just now.
    pub lost: Vec<&'static str>,
}

/// A metric at a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LiveMetric {
    /// Its name.
    pub name: String,
    /// What was read last; `None` when that was no value.
    pub value: Option<f64>,
    /// Its target, in the same unit.
    pub target: f64,
}

impl Seen {
    /// Nothing yet of these objects.
    pub(super) fn new(max_gap_s: f64, hpa: String, target: String, metrics: Vec<Metric>) -> Self {
        Self {
            max_gap_s,
            hpa_name: hpa,
            target_name: target,
            heard: BTreeMap::from([(Watched::Hpa, None), (Watched::Target, None)]),
            service: Service {
                metrics,
                ..Service::default()
            },
            ..Self::default()
        }
    }

    /// Says that endpoints will be watched, too.
    pub(super) fn expect_endpoints(&mut self) {
        self.heard.insert(Watched::Endpoints, None);
    }

    /// Something that was never seen at all, where there is something.
    pub(super) fn unseen(&self) -> Option<String> {
        let never = self.heard.iter().find(|(_, heard)| heard.is_none());
        never.map(|(watched, _)| match watched {
            Watched::Hpa => self.hpa_name.clone(),
            Watched::Target => self.target_name.clone(),
            Watched::Endpoints => format!("the endpoints of {}", self.target_name),
        })
    }

    /// A watch has failed, and will be tried again.
    pub(super) fn failed(&mut self, watched: Watched, why: String) {
        self.failures.insert(watched, why);
    }

    /// Up to now everything was told that `watched` is about.
    pub(super) fn heard(&mut self, watched: Watched, t_s: f64) {
        let before = self.heard.insert(watched, Some(t_s)).flatten();
        let Some(before) = before.filter(|before| self.max_gap_s < t_s - before) else {
            self.failures.remove(&watched);
            return;
        };
        for steps in watched.numbers(&mut self.service.replicas) {
            let last = steps.steps().last().and_then(|step| step.value);
            steps.push(before, None);
            steps.push(t_s, last);
        }
        self.gap(watched, before, Some(t_s));
    }

    fn gap(&mut self, watched: Watched, from_s: f64, to_s: Option<f64>) {
        let why = self.failures.remove(&watched);
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let what = format!("{}{why}", watched.what());
        let gap = Gap { from_s, to_s, what };
        self.keep("gaps", |seen| &mut seen.service.gaps, gap, ENTRIES_MAX);
    }

    /// The HPA is this now.
    pub(super) fn hpa(&mut self, t_s: f64, hpa: &HorizontalPodAutoscaler) {
        self.hpa_spec(t_s, hpa);
        // The API fills in zeros before the controller has looked for the first time.
        let status = hpa
            .status
            .as_ref()
            .filter(|status| status.conditions.is_some());
        let desired = autoscaler::desired(hpa);
        let current = status
            .and_then(|status| status.current_replicas)
            .map(autoscaler::count);
        let before = self.service.replicas.desired.at(f64::INFINITY);
        self.step(|replicas| &mut replicas.desired, t_s, desired);
        self.step(|replicas| &mut replicas.current, t_s, current);
        if let (Some(before), Some(now)) = (before, desired)
            && before != now
        {
            let text = format!("the HPA wants {now} replicas, {before} before");
            self.event(t_s, EventKind::Scaled, text);
        }
        let last_scale = status.and_then(|status| status.last_scale_time.as_ref());
        self.last_scale = last_scale.and_then(|time| Duration::try_from(time.0.as_duration()).ok());
        self.conditions(t_s, hpa);
        for index in 0..self.service.metrics.len() {
            let metric = &self.service.metrics[index];
            // External ones are read as the controller reads them; of the others its word is all there is.
            if metric.kind != MetricKind::External && status.is_some() {
                let value = autoscaler::current(hpa, index, metric);
                let error = value.is_none().then(|| "the HPA has no value".to_owned());
                let read = Read {
                    t_s,
                    value,
                    age_s: None,
                    error,
                };
                self.read(index, read);
            }
        }
    }

    fn hpa_spec(&mut self, t_s: f64, hpa: &HorizontalPodAutoscaler) {
        let before = self.hpa_spec.replace(hpa.spec.clone());
        if before.as_ref() == Some(&hpa.spec) {
            return;
        }
        let spec = (t_s, autoscaler::spec(hpa));
        self.keep(
            "changes of the HPA",
            |seen| &mut seen.specs,
            spec,
            CHANGES_MAX,
        );
        if let Some(before) = before {
            let name = self.hpa_name.clone();
            self.changed(t_s, name, &autoscaler::change(&before, &hpa.spec));
        }
    }

    fn conditions(&mut self, t_s: f64, hpa: &HorizontalPodAutoscaler) {
        let told = hpa
            .status
            .iter()
            .filter_map(|status| status.conditions.as_ref())
            .flatten();
        for condition in told {
            let condition = Condition {
                t_s,
                type_: condition.type_.clone(),
                status: match condition.status.as_str() {
                    "True" => Some(true),
                    "False" => Some(false),
                    _ => None,
                },
                reason: condition.reason.clone().unwrap_or_default(),
                message: bounded(condition.message.as_deref().unwrap_or_default()),
            };
            let mut known = self.service.conditions.iter().rev();
            let before = known.find(|before| before.type_ == condition.type_);
            let is_same = |before: &Condition| {
                (before.status, &before.reason) == (condition.status, &condition.reason)
            };
            if before.is_some_and(|before| is_same(before) && before.message == condition.message) {
                continue;
            }
            if !before.is_some_and(is_same) {
                let text = format!(
                    "{}: {}, {}",
                    condition.type_, condition.reason, condition.message
                );
                self.event(t_s, EventKind::Told, text);
            }
            self.keep(
                "conditions",
                |seen| &mut seen.service.conditions,
                condition,
                ENTRIES_MAX,
            );
        }
    }

    /// The HPA is gone.
    pub(super) fn hpa_gone(&mut self, t_s: f64) {
        if self.hpa_spec.take().is_some() {
            let name = self.hpa_name.clone();
            self.changed(t_s, name, "it was deleted");
        }
        self.step(|replicas| &mut replicas.desired, t_s, None);
        self.step(|replicas| &mut replicas.current, t_s, None);
    }

    /// The scale target is this now.
    pub(super) fn target(&mut self, t_s: f64, target: Target) {
        self.step(|replicas| &mut replicas.spec, t_s, target.spec);
        self.step(|replicas| &mut replicas.ready, t_s, target.ready);
        let before = self.target.replace(target);
        let Some((before, after)) = before.as_ref().zip(self.target.as_ref()) else {
            return;
        };
        if before.template != after.template {
            let change = target::change(&before.template, &after.template);
            let name = self.target_name.clone();
            self.changed(t_s, name, &change);
        }
    }

    /// The scale target is gone.
    pub(super) fn target_gone(&mut self, t_s: f64) {
        if self.target.take().is_some() {
            let name = self.target_name.clone();
            self.changed(t_s, name, "it was deleted");
        }
        self.step(|replicas| &mut replicas.spec, t_s, None);
        self.step(|replicas| &mut replicas.ready, t_s, None);
    }

    /// These endpoints take requests now, each with its pod's name.
    pub(super) fn endpoints(&mut self, t_s: f64, ready: &BTreeMap<SocketAddr, Option<String>>) {
        let count = u32::try_from(ready.len()).unwrap_or(u32::MAX);
        self.step(|replicas| &mut replicas.endpoints, t_s, Some(count));
        let ready: BTreeMap<String, &Option<String>> = ready
            .iter()
            .map(|(address, pod)| (address.to_string(), pod))
            .collect();
        let mut told = Vec::new();
        for (address, backend) in &mut self.service.backends {
            let open = backend
                .ready
                .last_mut()
                .filter(|stretch| stretch.to_s.is_none());
            if let Some(open) = open.filter(|_| !ready.contains_key(address)) {
                open.to_s = Some(t_s);
                told.push(format!(
                    "{} takes no more requests",
                    named(address, backend.pod.as_deref())
                ));
            }
        }
        for (address, pod) in ready {
            let backends = &mut self.service.backends;
            if BACKENDS_MAX <= backends.len() && !backends.contains_key(&address) {
                self.left_out.insert("backends");
                continue;
            }
            let backend = backends.entry(address.clone()).or_default();
            // An address may be given to another pod, which then is the one that is met there.
            backend.pod = pod.clone().or(backend.pod.take());
            if backend
                .ready
                .last()
                .is_some_and(|stretch| stretch.to_s.is_none())
            {
                continue;
            }
            told.push(format!(
                "{} takes requests",
                named(&address, backend.pod.as_deref())
            ));
            let stretch = Gap {
                from_s: t_s,
                ..Gap::default()
            };
            if backend.ready.len() < ENTRIES_MAX {
                backend.ready.push(stretch);
            } else {
                self.left_out
                    .insert("stretches in which a backend was ready");
            }
        }
        for text in told {
            self.event(t_s, EventKind::Endpoint, text);
        }
    }

    /// A metric was read.
    pub(super) fn read(&mut self, index: usize, mut read: Read) {
        read.error = read.error.as_deref().map(bounded);
        let Some(metric) = self.service.metrics.get_mut(index) else {
            return;
        };
        if metric.reads.len() < READS_MAX {
            metric.reads.push(read);
        } else {
            self.left_out.insert("reads of a metric");
        }
    }

    /// What is known at `t_s`.
    pub(super) fn live(&self, t_s: f64) -> Live {
        let lost = |watched: Watched| {
            let heard = self.heard.get(&watched).copied().flatten();
            heard.is_none_or(|heard| self.max_gap_s < t_s - heard)
        };
        let replicas = &self.service.replicas;
        let number = |watched: Watched, steps: &Steps| steps.at(t_s).filter(|_| !lost(watched));
        let metrics = self.service.metrics.iter().map(|metric| LiveMetric {
            name: metric.name.clone(),
            value: metric.reads.last().and_then(|read| read.value),
            target: metric.target,
        });
        Live {
            desired: number(Watched::Hpa, &replicas.desired),
            current: number(Watched::Hpa, &replicas.current),
            spec: number(Watched::Target, &replicas.spec),
            ready: number(Watched::Target, &replicas.ready),
            endpoints: number(Watched::Endpoints, &replicas.endpoints),
            bounds: self
                .specs
                .last()
                .map(|(_, spec)| (spec.min_replicas, spec.max_replicas)),
            metrics: metrics.collect(),
            lost: self
                .heard
                .keys()
                .filter(|watched| lost(**watched))
                .map(|watched| watched.what())
                .collect(),
        }
    }

    /// Whether the target's pods are being replaced.
    pub(super) fn is_rolling(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.is_rolling)
    }

    /// When the HPA last scaled by its own word, since the Unix epoch.
    pub(super) fn last_scale(&self) -> Option<Duration> {
        self.last_scale
    }

    /// Why the HPA does not scale, in its own words; `None` while it does, as far as is known.
    pub(super) fn inactive(&self) -> Option<String> {
        let mut told = self.service.conditions.iter().rev();
        let active = told.find(|told| told.type_ == "ScalingActive")?;
        let is_inactive = active.status == Some(false);
        is_inactive.then(|| format!("{}, {}", active.reason, active.message))
    }

    /// When the number that the HPA wants last changed before our eyes.
    pub(super) fn last_change_s(&self) -> Option<f64> {
        let changes = self
            .service
            .replicas
            .desired
            .changes(f64::NEG_INFINITY..f64::INFINITY);
        changes.last().map(|change| change.t_s)
    }

    /// All of it, with times from `zero_s` on; what was seen before has a negative time, and changes of a spec before it
    /// are none. With it what happened, and what was left out.
    pub(super) fn finish(mut self, zero_s: f64, end_s: f64) -> (Service, Vec<Event>, Vec<String>) {
        for (watched, heard) in std::mem::take(&mut self.heard) {
            if let Some(heard) = heard.filter(|heard| self.max_gap_s < end_s - heard) {
                for steps in watched.numbers(&mut self.service.replicas) {
                    steps.push(heard, None);
                }
                self.gap(watched, heard, None);
            }
        }
        let max_surge = |spec: &Autoscaler| {
            self.target
                .as_ref()
                .map_or(0, |target| target.max_surge(spec.max_replicas))
        };
        let at_zero = self.specs.iter().rev().find(|(t_s, _)| *t_s <= zero_s);
        let spec = at_zero.or(self.specs.first()).map(|(_, spec)| Autoscaler {
            max_surge: max_surge(spec),
            ..spec.clone()
        });
        let mut service = self.service;
        service.autoscaler = spec;
        shift(&mut service, zero_s);
        service.spec_changes.retain(|change| 0.0 <= change.t_s);
        for event in &mut self.events {
            event.t_s -= zero_s;
        }
        let notes = self.left_out.into_iter();
        let notes =
            notes.map(|what| format!("some {what} were left out, since there were too many"));
        (service, self.events, notes.collect())
    }

    fn step(&mut self, of: impl Fn(&mut Replicas) -> &mut Steps, t_s: f64, value: Option<u32>) {
        let steps = of(&mut self.service.replicas);
        if steps.steps().len() < STEPS_MAX {
            steps.push(t_s, value);
        } else {
            self.left_out.insert("changes of replicas");
        }
    }

    fn event(&mut self, t_s: f64, kind: EventKind, text: String) {
        let event = Event {
            t_s,
            service: None,
            kind,
            name: String::new(),
            until_s: None,
            text,
        };
        self.keep("events", |seen| &mut seen.events, event, ENTRIES_MAX);
    }

    fn changed(&mut self, t_s: f64, object: String, text: &str) {
        let text = bounded(text);
        let change = SpecChange { t_s, object, text };
        self.keep(
            "changes of a spec",
            |seen| &mut seen.service.spec_changes,
            change,
            CHANGES_MAX,
        );
    }

    fn keep<T>(
        &mut self,
        what: &'static str,
        list: impl Fn(&mut Self) -> &mut Vec<T>,
        entry: T,
        max: usize,
    ) {
        let list = list(self);
        if list.len() < max {
            list.push(entry);
        } else {
            self.left_out.insert(what);
        }
    }
}

fn named(address: &str, pod: Option<&str>) -> String {
    pod.map_or_else(|| address.to_owned(), |pod| format!("{pod} ({address})"))
}

/// As much of a text as a report takes.
fn bounded(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Counts every time from `zero_s`.
fn shift(service: &mut Service, zero_s: f64) {
    let replicas = &mut service.replicas;
    for steps in [
        &mut replicas.desired,
        &mut replicas.current,
        &mut replicas.spec,
        &mut replicas.ready,
        &mut replicas.endpoints,
    ] {
        *steps = steps
            .steps()
            .iter()
            .map(|step| (step.t_s - zero_s, step.value))
            .collect();
    }
    let reads = service
        .metrics
        .iter_mut()
        .flat_map(|metric| &mut metric.reads);
    reads.for_each(|read| read.t_s -= zero_s);
    service
        .conditions
        .iter_mut()
        .for_each(|condition| condition.t_s -= zero_s);
    service
        .spec_changes
        .iter_mut()
        .for_each(|change| change.t_s -= zero_s);
    let stretches = service
        .backends
        .values_mut()
        .flat_map(|backend| &mut backend.ready);
    for gap in stretches.chain(&mut service.gaps) {
        gap.from_s -= zero_s;
        gap.to_s = gap.to_s.map(|to_s| to_s - zero_s);
    }
}
