//! What follows from a recording: when latency was over the objective, whether scaling brought it back, what it
//! cost, and the sentences that say so. Pure arithmetic over a [`Run`].

use serde::Serialize;

use crate::demo::timeline::{Decision, Run, Sample, text};

/// A breach begins with this many seconds in a row over the objective. The p95 of one second is the second or third
/// slowest of some forty requests: alone it is noise.
pub const BREACH_BEGINS_S: f64 = 3.0;

/// A breach ends with this many seconds in a row within the objective, so that one lucky second ends none.
pub const BREACH_ENDS_S: f64 = 5.0;

/// What a run comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Whether the objective was held.
    pub verdict: Verdict,
    /// The verdict for people.
    pub verdict_sentence: String,
    /// All requests that were meant to be sent.
    pub requests_total: u64,
    /// The share of them answered well within the objective's latency, in 0..=1; `None` without requests.
    pub requests_within_objective_ratio: Option<f64>,
    /// Requests that failed or were never answered.
    pub errors_total: u64,
    /// Seconds in which the judged quantile was over the objective, single ones included.
    pub over_objective_seconds: f64,
    /// When latency stayed over the objective, in order of time.
    pub breaches: Vec<Breach>,
    /// Ready pods in the first sample.
    pub replicas_first: u32,
    /// Ready pods in the last sample.
    pub replicas_last: u32,
    /// The most replicas asked for at once.
    pub replicas_peak: u32,
    /// How often the HPA changed the replicas.
    pub decisions_total: usize,
    /// From the first breach to the next scale-out.
    pub scale_out_after_seconds: Option<f64>,
    /// From the first breach to its end.
    pub recovery_seconds: Option<f64>,
    /// The most replicas an HPA with the CPU metric alone would have asked for.
    pub cpu_only_replicas_peak: Option<u32>,
    /// The highest CPU utilization seen, in percent of the request.
    pub cpu_utilization_peak_percent: Option<f64>,
    /// Ready pods, summed over the seconds.
    pub pod_seconds: f64,
    /// The above in words, in the order to read them.
    pub facts: Vec<Fact>,
}

/// Whether a run held its objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was never breached.
    Held,
    /// It was breached, and held again until the end.
    Recovered,
    /// It was still breached at the end.
    NotHeld,
    /// Nothing was asked, so nothing can be said.
    Unknown,
}

/// Latency stayed over the objective.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Breach {
    /// Its first second over the objective.
    pub from_s: f64,
    /// Its first second within it again; `None` when the run ended first.
    pub to_s: Option<f64>,
}

/// One figure of a summary, with the sentence that explains it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it is, in a word or two.
    pub name: &'static str,
    /// The figure, with its unit.
    pub value: String,
    /// What it means.
    pub sentence: String,
}

impl Summary {
    /// Reads a whole run.
    pub fn of(run: &Run) -> Self {
        let breaches = breaches(run);
        let verdict = verdict(run, &breaches);
        let first_breach = breaches.first().copied();
        let scale_out = first_breach.and_then(|breach| first_scale_out(run, breach.from_s));
        let totals = run.totals;
        let mut summary = Self {
            verdict,
            verdict_sentence: String::new(),
            requests_total: totals.requests,
            requests_within_objective_ratio: (totals.requests != 0)
                .then(|| totals.within_objective as f64 / totals.requests as f64),
            errors_total: totals.errors,
            over_objective_seconds: over_objective_seconds(run),
            replicas_first: run
                .samples
                .first()
                .map_or(0, |sample| sample.replicas_ready),
            replicas_last: run.samples.last().map_or(0, |sample| sample.replicas_ready),
            replicas_peak: run
                .samples
                .iter()
                .map(|sample| sample.replicas_spec)
                .max()
                .unwrap_or(0),
            decisions_total: run.decisions.len(),
            scale_out_after_seconds: scale_out
                .zip(first_breach)
                .map(|(out, breach)| out.t_s - breach.from_s),
            recovery_seconds: first_breach.and_then(|breach| Some(breach.to_s? - breach.from_s)),
            cpu_only_replicas_peak: run
                .samples
                .iter()
                .filter_map(|sample| sample.cpu_only_replicas)
                .max(),
            cpu_utilization_peak_percent: run
                .samples
                .iter()
                .filter_map(|sample| sample.cpu_utilization_percent)
                .max_by(f64::total_cmp),
            pod_seconds: run
                .spans()
                .map(|(sample, span_s)| f64::from(sample.replicas_ready) * span_s)
                .sum(),
            breaches,
            facts: Vec::new(),
        };
        summary.verdict_sentence = summary.sentence(run);
        summary.facts = summary.facts_of(run);
        summary
    }

    /// The verdict, and why: what happened, and what CPU alone would have done about it.
    fn sentence(&self, run: &Run) -> String {
        let objective = text::objective(run.objective.quantile, run.objective.latency_ms);
        let peak = text::replicas(self.replicas_peak);
        let story = match (self.verdict, self.recovery_seconds) {
            (Verdict::Unknown, _) => {
                return "No requests were sent, so nothing can be said.".to_owned();
            }
            (Verdict::Held, _) => {
                format!("The objective ({objective}) held throughout, with up to {peak}.")
            }
            (Verdict::Recovered, Some(seconds)) if self.breaches.len() == 1 => format!(
                "Latency went over the objective ({objective}), the HPA asked for up to {peak}, and after {} the \
                 objective held again.",
                text::span(seconds)
            ),
            (Verdict::Recovered, _) => format!(
                "Latency went over the objective ({objective}) {} times, the HPA asked for up to {peak}, and at the \
                 end the objective held again.",
                self.breaches.len()
            ),
            (Verdict::NotHeld, _) => {
                format!(
                    "Latency was still over the objective ({objective}) at the end, with up to {peak}."
                )
            }
        };
        match self.cpu_only_replicas_peak {
            Some(cpu) if cpu < self.replicas_peak => {
                format!(
                    "{story} CPU alone would have asked for {} at most.",
                    text::replicas(cpu)
                )
            }
            Some(cpu) => format!(
                "{story} CPU alone would have asked for up to {}.",
                text::replicas(cpu)
            ),
            None => story,
        }
    }

    fn facts_of(&self, run: &Run) -> Vec<Fact> {
        let objective = text::objective(run.objective.quantile, run.objective.latency_ms);
        let judged = run.judged().name();
        vec![
            Fact {
                name: "Requests",
                value: text::count(self.requests_total),
                sentence: match self.errors_total {
                    0 => "sent, each at its intended time; none failed.".to_owned(),
                    errors => format!(
                        "sent, each at its intended time; {} failed.",
                        text::count(errors)
                    ),
                },
            },
            Fact {
                name: "Within the objective",
                value: self
                    .requests_within_objective_ratio
                    .map_or("unknown".to_owned(), text::percent),
                sentence: format!(
                    "of the requests were answered within {}.",
                    text::latency(run.objective.latency_ms)
                ),
            },
            Fact {
                name: "Over the objective",
                value: text::span(self.over_objective_seconds),
                sentence: format!(
                    "of {} with {judged} above {}.",
                    text::span(run.end_s()),
                    text::latency(run.objective.latency_ms)
                ),
            },
            self.fact_of_scale_out(),
            self.fact_of_recovery(&objective),
            Fact {
                name: "Replicas",
                value: format!(
                    "{} → {} → {}",
                    self.replicas_first, self.replicas_peak, self.replicas_last
                ),
                sentence: format!(
                    "at the start, at the most and at the end, by {} of the HPA.",
                    match self.decisions_total {
                        1 => "1 decision".to_owned(),
                        n => format!("{n} decisions"),
                    }
                ),
            },
            self.fact_of_cpu(run),
            Fact {
                name: "Pod-seconds",
                value: text::count(self.pod_seconds.round() as u64),
                sentence: format!(
                    "of ready pods; {} all the time would be {}.",
                    text::replicas(self.replicas_peak),
                    text::count((f64::from(self.replicas_peak) * run.end_s()).round() as u64)
                ),
            },
        ]
    }

    fn fact_of_scale_out(&self) -> Fact {
        let (value, sentence) = match (self.scale_out_after_seconds, self.breaches.first()) {
            (Some(seconds), _) => (
                text::span(seconds),
                "from the first breach to the next scale-out.",
            ),
            (None, Some(_)) => ("none".to_owned(), "after the first breach."),
            (None, None) => (
                "not needed".to_owned(),
                "since the objective was never breached.",
            ),
        };
        Fact {
            name: "First scale-out",
            value,
            sentence: sentence.to_owned(),
        }
    }

    fn fact_of_recovery(&self, objective: &str) -> Fact {
        let (value, sentence) = match (self.recovery_seconds, self.breaches.first()) {
            (Some(seconds), _) => (
                text::span(seconds),
                format!("from the first breach until {objective} held again."),
            ),
            (None, Some(_)) => (
                "none".to_owned(),
                format!("{objective} did not hold again before the end."),
            ),
            (None, None) => (
                "not needed".to_owned(),
                format!("{objective} was never breached."),
            ),
        };
        Fact {
            name: "Recovery",
            value,
            sentence,
        }
    }

    fn fact_of_cpu(&self, run: &Run) -> Fact {
        let Some(replicas) = self.cpu_only_replicas_peak else {
            let sentence =
                "CPU was not measured, so what it alone would have done is not known.".to_owned();
            return Fact {
                name: "CPU alone",
                value: "unknown".to_owned(),
                sentence,
            };
        };
        let target = run.cpu_target_percent;
        let peak = self
            .cpu_utilization_peak_percent
            .map_or(String::new(), |peak| format!(" CPU peaked at {peak:.0} %."));
        Fact {
            name: "CPU alone",
            value: text::replicas(replicas),
            sentence: format!(
                "is the most that an HPA with only the CPU target of {target} % would have asked for.{peak}"
            ),
        }
    }
}

/// How one second stands to the objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Within,
    Over,
    /// Load was offered and nothing came back. At a request a second that is chance; for seconds on end it is a
    /// breach, so it counts towards one but is not over the objective by itself.
    Silent,
}

fn standing(run: &Run, sample: &Sample) -> Standing {
    match run.judged_ms(sample) {
        Some(ms) if run.objective.latency_ms < ms => Standing::Over,
        None if 0.0 < sample.offered_rps && sample.done_rps <= 0.0 => Standing::Silent,
        Some(_) | None => Standing::Within,
    }
}

/// When latency stayed over the objective, in order of time; the last breach may be open.
pub fn breaches(run: &Run) -> Vec<Breach> {
    let mut breaches: Vec<Breach> = Vec::new();
    // The unbroken run of seconds that stand alike: where it began, and how long it has lasted.
    let (mut alike, mut since_s, mut lasted_s) = (None, 0.0, 0.0);
    for (sample, span_s) in run.spans() {
        let within = standing(run, sample) == Standing::Within;
        if alike != Some(within) {
            (alike, since_s, lasted_s) = (Some(within), sample.t_s, 0.0);
        }
        lasted_s += span_s;
        let open = breaches.last_mut().filter(|breach| breach.to_s.is_none());
        match open {
            Some(breach) if within && BREACH_ENDS_S <= lasted_s => breach.to_s = Some(since_s),
            None if !within && BREACH_BEGINS_S <= lasted_s => breaches.push(Breach {
                from_s: since_s,
                to_s: None,
            }),
            _ => {}
        }
    }
    breaches
}

fn verdict(run: &Run, breaches: &[Breach]) -> Verdict {
    match breaches.last() {
        _ if run.samples.iter().all(|sample| sample.offered_rps <= 0.0) => Verdict::Unknown,
        None => Verdict::Held,
        Some(Breach { to_s: Some(_), .. }) => Verdict::Recovered,
        Some(Breach { to_s: None, .. }) => Verdict::NotHeld,
    }
}

fn first_scale_out(run: &Run, from_s: f64) -> Option<&Decision> {
    run.decisions
        .iter()
        .find(|decision| from_s <= decision.t_s && decision.from < decision.to)
}

fn over_objective_seconds(run: &Run) -> f64 {
    run.spans()
        .filter(|(sample, _)| standing(run, sample) == Standing::Over)
        .map(|(_, span_s)| span_s)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::timeline::{Objective, Totals};

    /// A run of one sample a second with these p95s, in milliseconds, against an objective of 250 ms.
    fn run(p95s: &[Option<f64>]) -> Run {
        let sample = |(t, p95): (usize, &Option<f64>)| Sample {
            t_s: t as f64,
            offered_rps: 40.0,
            done_rps: if p95.is_some() { 40.0 } else { 0.0 },
            p95_ms: *p95,
            replicas_spec: 2,
            replicas_ready: 2,
            ..Sample::default()
        };
        Run {
            objective: Objective {
                quantile: 0.95,
                latency_ms: 250.0,
            },
            samples: p95s.iter().enumerate().map(sample).collect(),
            totals: Totals {
                requests: 1000,
                within_objective: 900,
                errors: 0,
            },
            ..Run::default()
        }
    }

    fn seconds(spans: &[(f64, usize)]) -> Vec<Option<f64>> {
        spans
            .iter()
            .flat_map(|(ms, n)| std::iter::repeat_n(Some(*ms), *n))
            .collect()
    }

    #[test]
    fn single_seconds_over_the_objective_are_counted_but_breach_nothing() {
        let summary = Summary::of(&run(&seconds(&[
            (90.0, 5),
            (400.0, 2),
            (90.0, 5),
            (251.0, 1),
            (250.0, 5),
        ])));
        assert_eq!(
            (summary.verdict, summary.over_objective_seconds),
            (Verdict::Held, 3.0)
        );
        assert_eq!(summary.breaches, []);
        assert_eq!(summary.requests_within_objective_ratio, Some(0.9));
        assert_eq!(summary.pod_seconds, 36.0);
    }

    #[test]
    fn a_breach_ends_where_the_objective_holds_again_and_not_with_one_lucky_second() {
        let mut recovered = run(&seconds(&[
            (90.0, 10),
            (400.0, 6),
            (90.0, 4),
            (400.0, 2),
            (90.0, 20),
        ]));
        recovered.decisions = [(5.0, 1, 2), (13.0, 2, 4)]
            .map(|(t_s, from, to)| Decision {
                t_s,
                from,
                to,
                ..Decision::default()
            })
            .into();
        let summary = Summary::of(&recovered);
        assert_eq!(summary.verdict, Verdict::Recovered);
        assert_eq!(
            summary.breaches,
            [Breach {
                from_s: 10.0,
                to_s: Some(22.0)
            }]
        );
        assert_eq!(
            (summary.scale_out_after_seconds, summary.recovery_seconds),
            (Some(3.0), Some(12.0))
        );
        assert!(
            summary
                .verdict_sentence
                .contains("after 12 s the objective held again"),
            "{summary:?}"
        );
    }

    #[test]
    fn latency_over_the_objective_at_the_end_is_not_held() {
        let summary = Summary::of(&run(&seconds(&[(90.0, 10), (400.0, 6), (90.0, 4)])));
        assert_eq!(
            (summary.verdict, summary.recovery_seconds),
            (Verdict::NotHeld, None)
        );
    }

    #[test]
    fn seconds_without_any_answer_are_a_breach_though_no_latency_is_known() {
        let summary = Summary::of(&run(&[&seconds(&[(90.0, 4)])[..], &[None; 4]].concat()));
        assert_eq!(summary.verdict, Verdict::NotHeld);
        assert_eq!(
            summary.breaches,
            [Breach {
                from_s: 4.0,
                to_s: None
            }]
        );
    }

    #[test]
    fn nothing_asked_is_not_a_success() {
        assert_eq!(Summary::of(&Run::default()).verdict, Verdict::Unknown);
    }

    #[test]
    fn the_json_is_one_object_on_one_line_with_units_in_its_names() {
        let json = run(&seconds(&[(90.0, 3)])).to_json();
        assert!(!json.contains('\n'));
        let whole: serde_json::Value = serde_json::from_str(&json).expect("is JSON");
        assert_eq!(whole["summary"]["verdict"], "held");
        assert_eq!(whole["samples"][2]["p95_ms"], 90.0);
        assert_eq!(whole["objective"]["latency_ms"], 250.0);
    }
}
