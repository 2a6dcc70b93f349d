//! Puts what pods, clients and the HPA say on one clock: the [`Run`] that is drawn and reported.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use taffrail_loadtest::measured::{Measured, Progress};

use crate::clock;
use crate::hpa::{Path, Reason, Spec};

use super::Seen;
use super::fleet::{self, Fleet};
use super::scaler::Decided;
use super::timeline::{self, Event, Run, Sample, Totals};
use super::{Pace, scaler};

/// The objective, as the documents and the HPA have it.
const OBJECTIVE: timeline::Objective = timeline::Objective {
    quantile: 0.95,
    latency_ms: 250.0,
};

/// Records a run.
pub(super) struct Recorder {
    start: Instant,
    run: Run,
    /// Looks whose second clients have not spoken of yet, which takes them two seconds.
    waiting: VecDeque<Sample>,
    visits_rate_peak: f64,
}

impl Recorder {
    pub(super) fn new(pace: Pace, hpa_yaml: &str, spec: &Spec, visits: &str) -> Self {
        let run = Run {
            title: "Taffrail demo: latency beside CPU".to_owned(),
            simulated: false,
            objective: OBJECTIVE,
            cpu_target_percent: 70,
            replicas_min: u32::try_from(spec.min_replicas).unwrap_or(1),
            replicas_max: u32::try_from(spec.max_replicas).unwrap_or(1),
            hpa_yaml: hpa_yaml.to_owned(),
            ..Run::default()
        };
        let mut recorder = Self {
            start: clock::instant(),
            run,
            waiting: VecDeque::new(),
            visits_rate_peak: 0.0,
        };
        recorder.event_at(0.0, visits.to_owned());
        if pace.speed != 1.0 {
            let sync = pace.wall(scaler::SYNC_PERIOD);
            recorder.event_at(0.0, format!("Everything runs {} times as fast: the HPA looks every {:.1} s instead of every 15 s.", pace.speed, sync.as_secs_f64()));
        }
        recorder
    }

    /// The clock of the record starts now.
    pub(super) fn begin(&mut self) {
        self.start = clock::instant();
    }

    /// When it started.
    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// Seconds since then.
    pub(super) fn now_s(&self) -> f64 {
        (clock::instant() - self.start).as_secs_f64()
    }

    pub(super) fn run(&self) -> &Run {
        &self.run
    }

    /// One second's look at metrics and pods. It is recorded once clients have said their part of that second, so that
    /// a sample is always whole.
    pub(super) fn second(&mut self, seen: &Seen, fleet: &Fleet, visits_rate: Option<f64>) {
        self.visits_rate_peak = self.visits_rate_peak.max(visits_rate.unwrap_or(0.0));
        let pod = |pod: &fleet::Pod| timeline::Pod {
            name: pod.name().to_owned(),
            state: pod.state(),
            rps: None,
        };
        self.waiting.push_back(Sample {
            t_s: self.now_s(),
            metric_ms: seen.latency_ms,
            metric_state: if seen.latency_ms.is_some() {
                "ok"
            } else {
                "absent"
            }
            .to_owned(),
            request_rate: seen.rate,
            cpu_utilization_percent: seen.cpu_percent,
            replicas_spec: fleet.replicas(),
            replicas_ready: fleet.ready(),
            cpu_only_replicas: Some(seen.cpu_only_replicas),
            pods: fleet.pods().iter().map(pod).collect(),
            ..Sample::default()
        });
    }

    /// What clients saw of one second.
    pub(super) fn load(&mut self, second: &Progress) {
        // A machine that stood still for a moment looked less often than clients have seconds to tell of.
        let nth = |sample: &Sample| sample.t_s.round() as u64;
        while self
            .waiting
            .front()
            .is_some_and(|sample| nth(sample) < second.second)
        {
            self.waiting.pop_front();
        }
        if self.waiting.front().map(nth) != Some(second.second) {
            return;
        }
        let Some(mut sample) = self.waiting.pop_front() else {
            return;
        };
        let ms = |latency: Option<Duration>| latency.map(|latency| latency.as_secs_f64() * 1000.0);
        sample.offered_rps = second.counts.offered as f64;
        sample.done_rps = second.counts.ok as f64;
        sample.error_rps = (second.counts.errors() + second.counts.dropped) as f64;
        (sample.p50_ms, sample.p95_ms, sample.p99_ms) =
            (ms(second.p50), ms(second.p95), ms(second.p99));
        self.run.samples.push(sample);
    }

    pub(super) fn event(&mut self, text: String) {
        self.event_at(self.now_s(), text);
    }

    fn event_at(&mut self, t_s: f64, text: String) {
        self.run.events.push(Event { t_s, text });
    }

    /// A sync of the HPA: a decision when it scaled, an event when it could not.
    pub(super) fn decided(&mut self, decided: &Decided) {
        let decision = &decided.decision;
        let conditions = &decision.conditions;
        if let (Path::Failed { .. }, Some(active)) = (&decision.path, &conditions.scaling_active) {
            self.event(format!("{:?}: {}", active.reason, active.message));
        }
        if decision.current == decision.desired {
            return;
        }
        // SucceededRescale is what every change says; what limited it says more.
        let limited = conditions
            .scaling_limited
            .as_ref()
            .filter(|limited| limited.status && limited.reason != Reason::DesiredWithinRange);
        let said = limited.or(conditions.able_to_scale.as_ref());
        let metric = decided.metric.as_deref().unwrap_or("none");
        let direction = if decision.current < decision.desired {
            "above target"
        } else {
            "below target"
        };
        let because = if decision.current < decision.desired {
            format!("{metric} {direction}")
        } else {
            format!("All metrics {direction}")
        };
        self.run.decisions.push(timeline::Decision {
            t_s: self.now_s(),
            from: u32::try_from(decision.current).unwrap_or(0),
            to: u32::try_from(decision.desired).unwrap_or(0),
            reason: said
                .map(|said| format!("{:?}", said.reason))
                .unwrap_or_default(),
            message: format!("New size: {}; reason: {because}", decision.desired),
            metric: decided.metric.clone(),
            proposals: decided.proposals.clone(),
        });
    }

    /// The totals, from the whole of what clients saw.
    pub(super) fn finish(&mut self, load: &Measured) {
        if 0.0 < self.visits_rate_peak {
            let peak = self.visits_rate_peak;
            self.event(format!("Redis counted up to {peak:.0} visits a second, by its own command statistics as the adapter reads them"));
        }
        let objective = Duration::from_secs_f64(OBJECTIVE.latency_ms / 1000.0);
        self.run.totals = Totals {
            requests: load.counts.offered,
            within_objective: load.within(objective),
            errors: load.counts.errors() + load.counts.dropped,
        };
    }
}
