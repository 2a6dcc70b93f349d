//! The run as lines of text, for a pipe, a log or a terminal that cannot show the picture: a line every few seconds,
//! and one for each decision and event.

use crate::demo::timeline::{Run, Sample, Summary, text};

/// Says of a growing run what has not been said yet.
#[derive(Debug)]
pub struct Plain {
    every_s: f64,
    next_s: f64,
    decisions: usize,
    events: usize,
}

impl Plain {
    /// One line about the state of things every `every_s` seconds of the run; above zero.
    pub fn new(every_s: f64) -> Self {
        Self {
            every_s: every_s.max(1.0),
            next_s: 0.0,
            decisions: 0,
            events: 0,
        }
    }

    /// The new lines at `now_s`, in order of time, without line ends.
    pub fn lines(&mut self, run: &Run, now_s: f64) -> Vec<String> {
        let mut lines: Vec<(f64, String)> = Vec::new();
        for event in run.events.iter().skip(self.events) {
            lines.push((event.t_s, event.text.clone()));
        }
        for decision in run.decisions.iter().skip(self.decisions) {
            let (from, to) = (decision.from, decision.to);
            lines.push((
                decision.t_s,
                format!(
                    "HPA {from} -> {to}, {}: {}",
                    decision.reason, decision.message
                ),
            ));
        }
        (self.events, self.decisions) = (run.events.len(), run.decisions.len());
        if let Some(sample) = run.samples.last().filter(|_| self.next_s <= now_s) {
            self.next_s = ((now_s / self.every_s).floor() + 1.0) * self.every_s;
            lines.push((now_s, state(run, sample)));
        }
        lines.sort_by(|a, b| a.0.total_cmp(&b.0));
        lines
            .into_iter()
            .map(|(t_s, line)| format!("{:>5}  {line}", text::moment(t_s)))
            .collect()
    }
}

/// The end of a run in lines: the verdict, then each figure with its sentence.
pub fn ending(summary: &Summary) -> Vec<String> {
    let facts = summary
        .facts
        .iter()
        .map(|fact| format!("  {:<21} {} {}", fact.name, fact.value, fact.sentence));
    std::iter::once(summary.verdict_sentence.clone())
        .chain(facts)
        .collect()
}

/// One sample in one line.
fn state(run: &Run, sample: &Sample) -> String {
    let judged = run.judged_ms(sample);
    let over = judged.is_some_and(|ms| run.objective.latency_ms < ms);
    let unknown = || "unknown".to_owned();
    format!(
        "load {:.0}/s, {} {}{}, HPA reads {} ({}), CPU {}, {} of {} ready",
        sample.offered_rps,
        run.judged().name(),
        judged.map_or_else(unknown, text::latency),
        if over {
            format!(" OVER {}", text::latency(run.objective.latency_ms))
        } else {
            String::new()
        },
        sample.metric_ms.map_or("nothing".to_owned(), text::latency),
        sample.metric_state,
        sample
            .cpu_utilization_percent
            .map_or_else(unknown, |percent| format!("{percent:.0} %")),
        sample.replicas_ready,
        text::replicas(sample.replicas_spec),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::timeline::{Decision, Event, Objective};

    #[test]
    fn each_decision_is_told_once_and_the_state_every_few_seconds() {
        let mut run = Run {
            objective: Objective {
                quantile: 0.95,
                latency_ms: 250.0,
            },
            ..Run::default()
        };
        let mut plain = Plain::new(5.0);
        let mut told = Vec::new();
        for t in 0..8 {
            run.samples.push(Sample {
                t_s: f64::from(t),
                offered_rps: 40.0,
                p95_ms: (t != 0).then_some(312.0),
                metric_state: "ok".to_owned(),
                replicas_spec: 2,
                replicas_ready: 1,
                ..Sample::default()
            });
            if t == 3 {
                run.events.push(Event {
                    t_s: 2.5,
                    text: "load rises".to_owned(),
                });
                run.decisions.push(Decision {
                    t_s: 3.0,
                    from: 1,
                    to: 2,
                    reason: "SucceededRescale".to_owned(),
                    message: "New size: 2".to_owned(),
                    ..Decision::default()
                });
            }
            told.extend(plain.lines(&run, f64::from(t)));
        }
        let expected = [
            " 0:00  load 40/s, p95 unknown, HPA reads nothing (ok), CPU unknown, 1 of 2 replicas ready",
            " 0:03  load rises",
            " 0:03  HPA 1 -> 2, SucceededRescale: New size: 2",
            " 0:05  load 40/s, p95 312 ms OVER 250 ms, HPA reads nothing (ok), CPU unknown, 1 of 2 replicas ready",
        ];
        assert_eq!(told, expected);
    }
}
