//! What would change the replicas, in words.

use std::time::Duration;

use serde::Serialize;

use crate::hpa::{MetricSpec, Target};

use super::facts::MetricFacts;
use super::reasons::{Told, multiplies_ready_pods, span};
use super::whatif::{Change, Need, Stop};
use super::words::{Unit, count};

/// A [`Change`] and its words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prospect {
    /// What it is.
    #[serde(flatten)]
    pub change: Change,
    /// As a sentence without its full stop.
    pub text: String,
}

/// Which side of a threshold is meant.
#[derive(Clone, Copy)]
enum Side {
    AtLeast,
    AtMost,
}

impl Told<'_> {
    /// The changes that are worth telling, in words.
    pub(super) fn prospects(self, changes: Vec<Change>) -> Vec<Prospect> {
        let waits_to = changes.iter().find_map(|change| match change {
            Change::Waiting { to, .. } => Some(*to),
            _ => None,
        });
        let told = changes.into_iter().filter_map(|change| {
            let text = self.prospect(&change, waits_to)?;
            Some(Prospect { change, text })
        });
        told.collect()
    }

    /// `None` where it is what happens anyway.
    fn prospect(self, change: &Change, waits_to: Option<i32>) -> Option<String> {
        let now = self.facts.replicas();
        Some(match change {
            Change::Waiting { to, after } => {
                let way = if now < *to { "scale-out" } else { "scale-in" };
                let when = match after {
                    Some(Duration::ZERO) | None => "at the next sync".to_owned(),
                    Some(after) => format!("in {}", span(*after)),
                };
                format!("{way} to {to} {when} if nothing changes")
            }
            Change::WhenReady { metric, to } => format!(
                "scale-out to {to} if {} still reads {} when all {now} pods are ready",
                self.label(*metric),
                self.now(*metric)
            ),
            Change::More {
                metric,
                at_least_milli,
                to,
                after,
            } => {
                // Above it already: told as what happens if nothing changes.
                let rises = waits_to.is_some_and(|waits_to| now < waits_to);
                if rises && self.reads_at_least(*metric, *at_least_milli) {
                    return None;
                }
                let at = self.threshold(*metric, *at_least_milli, Side::AtLeast);
                let more = some_more(to.saturating_sub(now), *to);
                if self.facts.memory.is_none() && self.reads_at_least(*metric, *at_least_milli) {
                    let reads = self.now(*metric);
                    return Some(format!(
                        "{more} at the next sync, if policies let it: {at} is enough, and it reads {reads}"
                    ));
                }
                let ready = self.ready(*metric);
                format!("{more} at {at}{ready}{}", self.once(*after, "policies let"))
            }
            Change::Fewer {
                needs,
                unread,
                to,
                after,
            } => {
                let falls = waits_to.is_some_and(|waits_to| waits_to < now);
                if falls && needs.iter().all(|need| need.met) {
                    return None;
                }
                let fewer = some_fewer(now.saturating_sub(*to), *to);
                format!("{fewer} when {}", self.needed(needs, unread, *after))
            }
            Change::NoMore { why } => format!("nothing adds a pod: {}", self.stop(*why, "more")),
            Change::NoFewer { why } => {
                format!("nothing removes a pod: {}", self.stop(*why, "fewer"))
            }
        })
    }

    /// With how many ready pods a threshold holds, where it hangs on them and they are not those there are to be.
    fn ready(self, metric: usize) -> String {
        let ready = self.facts.ready_pods();
        let spec = self.facts.spec.metrics.get(metric);
        if spec.is_some_and(multiplies_ready_pods)
            && i64::from(ready) != i64::from(self.facts.replicas())
        {
            format!(" with {}", count(ready, "ready pod"))
        } else {
            String::new()
        }
    }

    /// What all metrics need, and how long.
    fn needed(self, needs: &[Need], unread: &[usize], after: Option<Duration>) -> String {
        let read = needs.iter().map(|need| self.need(need));
        let back = unread.iter().map(|metric| {
            let label = self.label(*metric);
            format!("{label} has a value again and asks for no more")
        });
        let all = read.chain(back).collect::<Vec<_>>().join(" and ");
        // Nobody knows what a metric without a value will ask for, so nothing is said of when.
        let once = if unread.is_empty() {
            self.once(after, "stabilization lets")
        } else {
            String::new()
        };
        format!("{all}{once}")
    }

    fn need(self, need: &Need) -> String {
        let threshold = self.threshold(need.metric, need.at_most_milli, Side::AtMost);
        if need.met {
            format!("{threshold} (it reads {})", self.now(need.metric))
        } else {
            threshold
        }
    }

    /// How long a value must last; `rules` is what may make it wait.
    fn once(self, after: Option<Duration>, rules: &str) -> String {
        match after {
            Some(Duration::ZERO) => String::new(),
            Some(after) => format!(", once that has lasted {}", span(after)),
            None if self.facts.memory.is_none() => format!(", once {rules} it"),
            None => String::new(),
        }
    }

    fn stop(self, why: Stop, direction: &str) -> String {
        let spec = &self.facts.spec;
        match (why, direction) {
            (Stop::Bound, "more") => format!("maxReplicas is {}", spec.max_replicas),
            (Stop::Bound, _) => format!("minReplicas is {}", spec.min_replicas),
            (Stop::Disabled, "more") => "scaleUp.selectPolicy is Disabled".to_owned(),
            (Stop::Disabled, _) => "scaleDown.selectPolicy is Disabled".to_owned(),
            (Stop::Off, _) => "there are no replicas, so autoscaling is off".to_owned(),
            (Stop::Unread, _) => "no metric has a value".to_owned(),
            (Stop::Metric(metric), _) => format!(
                "with these pods no value of {} asks for {direction}",
                self.label(metric)
            ),
        }
    }

    fn label(self, metric: usize) -> String {
        self.labels.get(metric).cloned().unwrap_or_default()
    }

    /// What a metric reads now, in full: for an average per replica, the total.
    fn now(self, metric: usize) -> String {
        let (Some(spec), Some(facts)) = (
            self.facts.spec.metrics.get(metric),
            self.facts.metrics.get(metric),
        ) else {
            return String::new();
        };
        match facts.read_milli() {
            Some(milli) => Unit::of(spec).brief(milli),
            None => "nothing".to_owned(),
        }
    }

    fn reads_at_least(self, metric: usize, milli: i64) -> bool {
        let facts = self.facts.metrics.get(metric);
        let now = facts.and_then(MetricFacts::read_milli);
        now.is_some_and(|now| milli <= now)
    }

    /// `p95 > 263 ms`: strictly where the number beside it is the rounder one.
    fn threshold(self, metric: usize, milli: i64, side: Side) -> String {
        let Some(spec) = self.facts.spec.metrics.get(metric) else {
            return String::new();
        };
        let (beside, strict, loose) = match side {
            Side::AtLeast => (milli.saturating_sub(1), ">", ">="),
            Side::AtMost => (milli.saturating_add(1), "<", "<="),
        };
        let unit = Unit::of(spec);
        let (sign, shown) = if zeros(milli) < zeros(beside) {
            (strict, unit.exact(beside))
        } else {
            (loose, unit.exact(milli))
        };
        let of_all = match spec {
            MetricSpec::External {
                target: Target::AverageValue(_),
                ..
            }
            | MetricSpec::Object {
                target: Target::AverageValue(_),
                ..
            } => " in total",
            _ => "",
        };
        format!("{} {sign} {shown}{of_all}", self.label(metric))
    }
}

/// `one more pod (7)`.
fn some_more(number: i32, to: i32) -> String {
    match number {
        1 => format!("one more pod ({to})"),
        _ => format!("{number} more pods ({to})"),
    }
}

/// `one fewer pod (5)`.
fn some_fewer(number: i32, to: i32) -> String {
    match number {
        1 => format!("one fewer pod ({to})"),
        _ => format!("{number} fewer pods ({to})"),
    }
}

/// The zeros at the end of a number.
fn zeros(number: i64) -> u32 {
    if number == 0 {
        return u32::MAX;
    }
    let (mut number, mut zeros) = (number, 0);
    while number % 10 == 0 {
        number /= 10;
        zeros += 1;
    }
    zeros
}
