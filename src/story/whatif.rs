//! What would change the replicas, found by deciding again.
//!
//! Everything here asks [`crate::hpa`] what it would do at the next sync, and nothing has a formula of its own: the scale
//! as it was decided, the pods and values as they are, but for the one thing that is said to be otherwise. A metric's
//! threshold is where its own proposal, alone and after every window and period has passed, moves the replicas; how long
//! that takes is then tried from what the HPA remembers.

mod reading;

use std::time::Duration;

use serde::Serialize;

use crate::hpa::{
    Autoscaler, Memory, MetricSpec, Observation, Recommendation, SYNC_PERIOD, Select, Spec, Target,
};
use crate::model::time::{Timestamp, maybe_seconds};

use self::reading::{drop_pods, ready_pod};
use super::facts::Facts;

/// Longer ago than any window or period reaches, which an hour ends.
const LONG_AGO: Duration = Duration::from_secs(2 * 3600);

/// Most pods that are made up to see what they would do. No HPA is known that has more, and facts come from outside.
const PODS_MAX: usize = 10_000;

/// Something that would change the replicas, or the reason why nothing of a kind does. Metrics are indices into the facts';
/// values are thousandths as the metric is read: a total for External and Object metrics, else the average of a pod, and
/// thousandths of a per cent for utilization.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Change {
    /// More replicas when this metric alone reads at least so much.
    More {
        /// Which metric.
        metric: usize,
        /// The lowest value that does it.
        at_least_milli: i64,
        /// The replicas it asks for.
        to: i32,
        /// How long the value must last, from the facts' sync on; zero is the next sync, and `None` not known.
        #[serde(rename = "afterSeconds", serialize_with = "maybe_seconds::serialize")]
        after: Option<Duration>,
    },
    /// Fewer replicas when all metrics read at most so much.
    Fewer {
        /// What each metric that has a value would have to read.
        needs: Vec<Need>,
        /// The metrics that have no value now, and would have to ask for no more.
        unread: Vec<usize>,
        /// The replicas that are left.
        to: i32,
        /// As in `More`.
        #[serde(rename = "afterSeconds", serialize_with = "maybe_seconds::serialize")]
        after: Option<Duration>,
    },
    /// Other replicas when nothing changes but the time.
    Waiting {
        /// How many.
        to: i32,
        /// When, from the facts' sync on; zero is the next sync.
        #[serde(rename = "afterSeconds", serialize_with = "maybe_seconds::serialize")]
        after: Option<Duration>,
    },
    /// More replicas when this metric still reads the same once all the pods there are to be are ready.
    WhenReady {
        /// Which metric.
        metric: usize,
        /// How many.
        to: i32,
    },
    /// Nothing adds a pod.
    NoMore {
        /// Why.
        why: Stop,
    },
    /// Nothing removes a pod.
    NoFewer {
        /// Why.
        why: Stop,
    },
}

/// What one metric would have to read for fewer replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Need {
    /// Which metric.
    pub metric: usize,
    /// The highest value that does it.
    pub at_most_milli: i64,
    /// Whether it reads no more than that now.
    pub met: bool,
}

/// Why no value changes the replicas in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stop {
    /// `minReplicas` or `maxReplicas` is reached.
    Bound,
    /// `selectPolicy: Disabled`.
    Disabled,
    /// Autoscaling is off: there are no replicas.
    Off,
    /// This metric asks for no other number, whatever it reads.
    Metric(usize),
    /// No metric can be read.
    Unread,
}

/// The next sync of the HPA of some facts.
struct Next<'a> {
    facts: &'a Facts,
    /// The replicas there are to be now.
    desired: i32,
    /// The HPA after the facts' sync; `None` where it is not known what it remembers.
    autoscaler: Option<Autoscaler>,
    /// What it sees if nothing changes.
    observed: Observation,
}

/// What would change the replicas that `facts` left: what time alone does first, then what adds pods, then what removes
/// them.
pub fn changes(facts: &Facts) -> Vec<Change> {
    let next = Next::new(facts);
    if next.desired == 0 {
        return vec![
            Change::NoMore { why: Stop::Off },
            Change::NoFewer { why: Stop::Off },
        ];
    }
    let mut changes: Vec<Change> = next.waiting().into_iter().collect();
    changes.extend(next.when_ready());
    changes.extend(next.more());
    changes.push(next.fewer());
    changes
}

// === impl Next ===

impl<'a> Next<'a> {
    fn new(facts: &'a Facts) -> Self {
        let desired = facts.replicas();
        let mut observed = facts.observation();
        let leaving = observed.spec_replicas.saturating_sub(desired);
        drop_pods(&mut observed, usize::try_from(leaving).unwrap_or(0));
        observed.spec_replicas = desired;
        observed.status_replicas = desired;
        let autoscaler = facts.memory.is_some().then(|| {
            let mut autoscaler = facts.autoscaler();
            autoscaler.decide(facts.at, &facts.observation());
            autoscaler.scaled(facts.at, facts.spec_replicas, desired);
            autoscaler
        });
        Self {
            facts,
            desired,
            autoscaler,
            observed,
        }
    }

    /// What happens if nothing but the time changes.
    fn waiting(&self) -> Option<Change> {
        let (after, to) = self.first(&self.observed, |to| to != self.desired)?;
        Some(Change::Waiting {
            to,
            after: Some(after),
        })
    }

    /// What a metric that multiplies ready pods asks for when all are ready and it reads the same: the most of any.
    fn when_ready(&self) -> Option<Change> {
        let missing = usize::try_from(self.desired).unwrap_or(0);
        let ready = usize::try_from(self.facts.ready_pods()).unwrap_or(0);
        if missing <= ready || PODS_MAX < missing {
            return None;
        }
        let mut observed = self.observed.clone();
        observed.pods = (0..missing)
            .map(|index| ready_pod(index, self.facts.at))
            .collect();
        let metrics = self.facts.spec.metrics.iter().enumerate();
        let multiplying = metrics.filter(|(_, metric)| {
            matches!(
                metric,
                MetricSpec::External {
                    target: Target::Value(_),
                    ..
                } | MetricSpec::Object {
                    target: Target::Value(_),
                    ..
                }
            )
        });
        let (to, metric) = multiplying
            .map(|(index, _)| (self.settled(index, &observed), index))
            .max_by_key(|(to, index)| (*to, std::cmp::Reverse(*index)))?;
        (self.desired < to).then_some(Change::WhenReady { metric, to })
    }

    /// For each metric, what it would have to read for more replicas.
    fn more(&self) -> Vec<Change> {
        let spec = &self.facts.spec;
        if spec.max_replicas <= self.desired {
            return vec![Change::NoMore { why: Stop::Bound }];
        }
        let rules = spec.behavior.as_ref().map(|behavior| &behavior.scale_up);
        if rules.is_some_and(|rules| rules.select == Select::Disabled) {
            return vec![Change::NoMore {
                why: Stop::Disabled,
            }];
        }
        let metrics = 0..spec.metrics.len();
        let each = metrics.clone().filter_map(|metric| {
            let value = self.lowest_that_adds(metric)?;
            let observed = self.reading(metric, value)?;
            let lasts = self.first(&observed, |to| self.desired < to);
            Some(Change::More {
                metric,
                at_least_milli: self.as_milli(metric, value),
                to: self.settled(metric, &observed),
                after: lasts.map(|(after, _)| after),
            })
        });
        let changes: Vec<Change> = each.collect();
        if !changes.is_empty() {
            return changes;
        }
        let mut read = metrics.filter(|metric| self.value(*metric).is_some());
        let why = read.next().map_or(Stop::Unread, Stop::Metric);
        vec![Change::NoMore { why }]
    }

    /// What all metrics would have to read for fewer replicas.
    fn fewer(&self) -> Change {
        let spec = &self.facts.spec;
        if self.desired <= spec.min_replicas {
            return Change::NoFewer { why: Stop::Bound };
        }
        let rules = spec.behavior.as_ref().map(|behavior| &behavior.scale_down);
        if rules.is_some_and(|rules| rules.select == Select::Disabled) {
            return Change::NoFewer {
                why: Stop::Disabled,
            };
        }
        let mut needs = Vec::new();
        let mut unread = Vec::new();
        let mut observed = self.observed.clone();
        let mut to = spec.min_replicas;
        for metric in 0..spec.metrics.len() {
            let Some(now) = self.value(metric) else {
                unread.push(metric);
                continue;
            };
            let Some(highest) = self.highest_that_removes(metric) else {
                let why = Stop::Metric(metric);
                return Change::NoFewer { why };
            };
            let met = now <= highest;
            if !met && let Some(read) = self.reading(metric, highest) {
                observed.answers[metric].clone_from(&read.answers[metric]);
            }
            to = to.max(self.settled(metric, &observed));
            needs.push(Need {
                metric,
                at_most_milli: self.as_milli(metric, highest),
                met,
            });
        }
        if needs.is_empty() {
            return Change::NoFewer { why: Stop::Unread };
        }
        let lasts = self.first(&observed, |to| to < self.desired);
        Change::Fewer {
            needs,
            unread,
            to,
            after: lasts.map(|(after, _)| after),
        }
    }

    /// The lowest value above its target at which a metric asks for more replicas. Above the target proposals only rise
    /// with the value, and at it nothing is asked for.
    fn lowest_that_adds(&self, metric: usize) -> Option<i64> {
        self.value(metric)?;
        let adds = |value| {
            let observed = self.reading(metric, value);
            observed.is_some_and(|observed| self.desired < self.settled(metric, &observed))
        };
        let target = self.target(metric)?;
        let mut low = target;
        let mut high = target.saturating_add(1).max(1);
        while !adds(high) {
            low = high;
            high = high.checked_mul(2)?;
        }
        Some(bisect(low, high, adds))
    }

    /// The highest value below its target at which a metric asks for fewer replicas.
    fn highest_that_removes(&self, metric: usize) -> Option<i64> {
        let removes = |value| {
            let observed = self.reading(metric, value);
            observed.is_some_and(|observed| self.settled(metric, &observed) < self.desired)
        };
        let target = self.target(metric)?;
        let stays = bisect(-1, target, |value| !removes(value));
        (0 < stays).then_some(stays - 1)
    }

    /// What the HPA would decide if it had this metric alone, and everything it remembers had passed.
    fn settled(&self, metric: usize, observed: &Observation) -> i32 {
        let only = |index: usize| index == metric;
        let spec = Spec {
            metrics: pick(&self.facts.spec.metrics, only),
            ..self.facts.spec.clone()
        };
        let observed = Observation {
            answers: pick(&observed.answers, only),
            ..observed.clone()
        };
        let memory = Memory {
            // Not empty, or the replicas there are would be noted as if they had just been asked for.
            recommendations: vec![Recommendation {
                at: self.facts.at - LONG_AGO,
                replicas: self.desired,
            }],
            ..Memory::default()
        };
        let mut autoscaler = Autoscaler::resume(spec, memory);
        autoscaler.decide(self.facts.at, &observed).desired
    }

    /// When a sync first decides on a number that is `wanted`, if it sees `observed` each time, and on which. `None` where
    /// it never does, or something else happens before.
    fn first(
        &self,
        observed: &Observation,
        wanted: impl Fn(i32) -> bool,
    ) -> Option<(Duration, i32)> {
        let mut autoscaler = self.autoscaler.clone()?;
        let mut from = Duration::ZERO;
        while from <= self.horizon() {
            let until = from + SYNC_PERIOD;
            let before = autoscaler.clone();
            let to = autoscaler.decide(self.facts.at + until, observed).desired;
            if to != self.desired {
                let changes = |ms: i64| {
                    let at = Timestamp::from_ms(self.facts.at.ms().saturating_add(ms));
                    wanted(before.clone().decide(at, observed).desired)
                };
                return wanted(to).then(|| {
                    // The next sync is due at `until`, but clocks differ: it is the one that comes after `from`, and the
                    // first may come at once.
                    let low = if from.is_zero() { -1 } else { whole_ms(from) };
                    let ms = bisect(low, whole_ms(until), changes);
                    (Duration::from_millis(ms.unsigned_abs()), to)
                });
            }
            from = until;
        }
        None
    }

    /// As long as anything that is remembered can matter.
    fn horizon(&self) -> Duration {
        // A window, then a period that the window's last change began.
        self.facts.spec.memory().saturating_mul(2).min(LONG_AGO)
    }
}

/// The smallest number above `low`, and not above `high`, for which `holds`, given that it holds at `high` and from some
/// number on.
fn bisect(mut low: i64, mut high: i64, holds: impl Fn(i64) -> bool) -> i64 {
    while low + 1 < high {
        let middle = i64::midpoint(low, high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

fn whole_ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn pick<T: Clone>(items: &[T], wanted: impl Fn(usize) -> bool) -> Vec<T> {
    let items = items.iter().enumerate();
    items
        .filter(|(index, _)| wanted(*index))
        .map(|(_, item)| item.clone())
        .collect()
}
