//! The four charts of the live picture: load, latency, CPU, replicas. Decides what is drawn and which figures stand in
//! a heading; [`chart`](super::chart) knows how.

use ratatui::style::Stylize;
use ratatui::text::{Line, Span};

use crate::demo::picture::chart::{Chart, Layer};
use crate::demo::picture::ink::{Ink, Role};
use crate::demo::timeline::scale::Scale;
use crate::demo::timeline::{Run, Sample, text};

/// The charts of `run` over `0..=end_s`.
pub(super) struct Panels<'a> {
    pub(super) run: &'a Run,
    pub(super) ink: Ink,
    pub(super) end_s: f64,
}

impl Panels<'_> {
    /// What was asked and what was answered.
    pub(super) fn load(&self) -> Chart<'_> {
        let ink = self.ink;
        let most = self.most(|s| Some(s.offered_rps.max(s.done_rps).max(s.error_rps)));
        let scale = Scale::linear(most, 3);
        let mut heading = vec![Span::raw("Load ").bold()];
        if let Some(now) = self.run.samples.last() {
            heading.push(Span::styled(
                format!("{:.0}/s offered", now.offered_rps),
                ink.word(Role::Offered),
            ));
            if 0.0 < now.error_rps {
                heading.push(Span::styled(
                    format!(" {:.0} failed", now.error_rps),
                    ink.word(Role::Bad),
                ));
            }
            heading.push(Span::styled(
                format!(" {:.0} answered", now.done_rps),
                ink.word(Role::Good),
            ));
        }
        let layers = vec![
            Layer::fill(
                ink.color(Role::Offered),
                &scale,
                self.line(|s| Some(s.offered_rps)),
            ),
            Layer::lines(
                ink.color(Role::Good),
                &scale,
                self.line(|s| Some(s.done_rps)),
            ),
            Layer::lines(
                ink.color(Role::Bad),
                &scale,
                self.line(|s| (0.0 < s.error_rps).then_some(s.error_rps)),
            ),
        ];
        self.chart(
            heading,
            scale,
            |v| format!("{}/s", text::number(v)),
            None,
            layers,
        )
    }

    /// What clients saw and what the HPA reads, against the objective.
    pub(super) fn latency(&self) -> Chart<'_> {
        let (run, ink) = (self.run, self.ink);
        let objective_ms = run.objective.latency_ms;
        let judged = |s: &Sample| run.judged_ms(s);
        let most = self.most(judged).max(self.most(|s| s.metric_ms));
        let scale = Scale::latency(objective_ms / 5.0, most, objective_ms, 3);
        let over = |s: &Sample| judged(s).filter(|ms| objective_ms < *ms);
        let mut heading = vec![Span::raw("Latency ").bold()];
        if let Some(now) = run.samples.last() {
            let role = if over(now).is_some() {
                Role::Bad
            } else {
                Role::Good
            };
            let value = judged(now).map_or("unknown".to_owned(), text::latency);
            heading.push(Span::styled(
                format!("{} {value}", run.judged().name()),
                ink.word(role),
            ));
            let read = now.metric_ms.map_or("nothing".to_owned(), text::latency);
            heading.push(Span::styled(
                format!(" HPA reads {read}"),
                ink.word(Role::Metric),
            ));
        }
        let layers = vec![
            Layer::level(ink.color(Role::Target), &scale, objective_ms),
            Layer::lines(ink.color(Role::Metric), &scale, self.line(|s| s.metric_ms)),
            Layer::lines(ink.color(Role::Good), &scale, self.line(judged)),
            Layer::lines(ink.color(Role::Bad), &scale, self.line(over)),
        ];
        self.chart(heading, scale, text::latency, Some(objective_ms), layers)
    }

    /// CPU against the HPA's target.
    pub(super) fn cpu(&self) -> Chart<'_> {
        let ink = self.ink;
        let target = f64::from(self.run.cpu_target_percent);
        let scale = Scale::linear(self.most(|s| s.cpu_utilization_percent).max(100.0), 2);
        let now = self
            .run
            .samples
            .last()
            .and_then(|sample| sample.cpu_utilization_percent);
        let value = now.map_or("unknown".to_owned(), |percent| format!("{percent:.0} %"));
        let heading = vec![
            Span::raw("CPU ").bold(),
            Span::styled(value, ink.word(Role::Cpu)),
            Span::styled(format!(" target {target:.0} %"), ink.word(Role::Target)),
            Span::styled(" of the request", Ink::soft()),
        ];
        let layers = vec![
            Layer::level(ink.color(Role::Target), &scale, target),
            Layer::lines(
                ink.color(Role::Cpu),
                &scale,
                self.line(|s| s.cpu_utilization_percent),
            ),
        ];
        let chart = self.chart(
            heading,
            scale,
            |v| format!("{} %", text::number(v)),
            Some(target),
            layers,
        );
        Chart {
            time_axis: true,
            ..chart
        }
    }

    /// Replicas wanted and ready, and what CPU alone would have asked for.
    pub(super) fn replicas(&self) -> Chart<'_> {
        let ink = self.ink;
        let wanted = |s: &Sample| Some(f64::from(s.replicas_spec));
        let ready = |s: &Sample| Some(f64::from(s.replicas_ready));
        let cpu_only = |s: &Sample| s.cpu_only_replicas.map(f64::from);
        let most = self
            .most(wanted)
            .max(self.most(ready))
            .max(self.most(cpu_only));
        let scale = Scale::counts(most.max(3.0) as u32, 3);
        let mut heading = vec![Span::raw("Replicas ").bold()];
        if let Some(now) = self.run.samples.last() {
            heading.push(Span::styled(
                format!("{} wanted", now.replicas_spec),
                ink.word(Role::Wanted),
            ));
            heading.push(Span::styled(
                format!(" {} ready", now.replicas_ready),
                ink.word(Role::Good),
            ));
            if let Some(n) = now.cpu_only_replicas {
                heading.push(Span::styled(format!(" CPU alone {n}"), ink.word(Role::Cpu)));
            }
        }
        let layers = vec![
            Layer::fill(ink.color(Role::Good), &scale, self.line(ready)),
            Layer::lines(ink.color(Role::Cpu), &scale, self.line(cpu_only)),
            Layer::lines(ink.color(Role::Wanted), &scale, self.line(wanted)),
        ];
        Chart {
            time_axis: true,
            ..self.chart(heading, scale, text::number, None, layers)
        }
    }

    fn chart<'a>(
        &self,
        heading: Vec<Span<'a>>,
        scale: Scale,
        label: fn(f64) -> String,
        target: Option<f64>,
        layers: Vec<Layer>,
    ) -> Chart<'a> {
        let target = target.map(|target| (target, self.ink.word(Role::Target)));
        Chart {
            heading: Line::from(heading),
            scale,
            label,
            end_s: self.end_s,
            target,
            layers,
            time_axis: false,
        }
    }

    fn line(
        &self,
        value: impl Fn(&Sample) -> Option<f64>,
    ) -> impl Iterator<Item = (f64, Option<f64>)> {
        self.run
            .samples
            .iter()
            .map(move |sample| (sample.t_s, value(sample)))
    }

    fn most(&self, value: impl Fn(&Sample) -> Option<f64>) -> f64 {
        self.run
            .samples
            .iter()
            .filter_map(value)
            .fold(0.0, f64::max)
    }
}
