//! From the replicas that metrics want to the replicas they get: stabilization, rates, bounds.
//!
//! With `behavior` and without are two sets of rules, not one with two sets of defaults: they differ in how far one pod
//! may grow, and in what an earlier recommendation can hold. The memory they need (recommendations, scale events) is the
//! controller's, slot for slot, so that what it forgets is forgotten here.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conditions::Reason;
use super::spec::{Behavior, DOWNSCALE_STABILIZATION, Policy, PolicyUnit, Rules, Select, Spec};
use crate::model::time::{Timestamp, maybe_seconds};

/// Most recommendations or events kept. An hour, the longest window, is 240 syncs of 15 s; a demo that syncs each second
/// still fits.
const MEMORY_MAX: usize = 4096;

/// Without `behavior`, one sync may at most double the replicas,
const SCALE_UP_FACTOR: i32 = 2;
/// or bring them to 4, whichever is more.
const SCALE_UP_MINIMUM: i32 = 4;

/// What is remembered from sync to sync. Slots of what is too old are written over, so that nothing here is in the order
/// of time. An [`Autoscaler`](super::Autoscaler) made with it goes on exactly as the one it was taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What the metrics wanted, a window long and longer.
    pub recommendations: Vec<Recommendation>,
    /// What scaling up added. Empty without `behavior`.
    pub ups: Vec<ScaleEvent>,
    /// What scaling down removed. Empty without `behavior`.
    pub downs: Vec<ScaleEvent>,
}

/// What the metrics wanted at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    /// When.
    pub at: Timestamp,
    /// How many replicas, before any limit.
    pub replicas: i32,
}

/// A change of the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleEvent {
    /// When.
    pub at: Timestamp,
    /// How many pods were added or removed.
    pub change: i32,
    /// Whether it was older than its direction's longest period when the next one was noted: its slot is free.
    #[serde(default)]
    pub outdated: bool,
}

/// What a recommendation became after looking at earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stabilized {
    /// What the metrics want now.
    pub from: i32,
    /// What is aimed at.
    pub to: i32,
    /// `ReadyForNewScale`, `ScaleUpStabilized` or `ScaleDownStabilized`.
    pub reason: Reason,
    /// The earlier recommendation that holds longest at `to`, where there is one, and for how long it will.
    pub held_by: Option<(Recommendation, Duration)>,
}

/// What the aim became after bounds and rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limited {
    /// The replicas to have.
    pub to: i32,
    /// `DesiredWithinRange`, or what cut the aim.
    pub reason: Reason,
    /// The policy that cut it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Whether `selectPolicy: Disabled` cut it, which no policy and no time changes.
    pub disabled: bool,
    /// When a rate cut it: how long until earlier changes begin to leave the policy's period. `None` where there were
    /// none, so that the next sync may go further.
    #[serde(
        rename = "freesInSeconds",
        with = "maybe_seconds",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub frees_in: Option<Duration>,
}

// === impl Memory ===

impl Memory {
    /// Notes the replicas found in the first sync, as if metrics had wanted them: a restart must not scale down at once.
    //= horizontal.go recordInitialRecommendation
    pub(super) fn begin(&mut self, now: Timestamp, replicas: i32) {
        if self.recommendations.is_empty() {
            self.recommendations
                .push(Recommendation { at: now, replicas });
        }
    }

    /// Notes a change that was made. Without `behavior` no rule looks at it.
    //= horizontal.go storeScaleEvent
    pub(super) fn scaled(
        &mut self,
        now: Timestamp,
        behavior: Option<&Behavior>,
        from: i32,
        to: i32,
    ) {
        let Some(behavior) = behavior else { return };
        let (events, rules) = if from < to {
            (&mut self.ups, &behavior.scale_up)
        } else {
            (&mut self.downs, &behavior.scale_down)
        };
        // Only this direction's periods count, though the other direction's rules look at the events too.
        let longest = rules
            .policies
            .iter()
            .map(|policy| policy.period)
            .max()
            .unwrap_or_default();
        for event in events.iter_mut() {
            event.outdated |= event.at < now - longest;
        }
        let old = events.iter().rposition(|event| event.outdated);
        let change = to.saturating_sub(from).saturating_abs();
        put(
            events,
            old,
            ScaleEvent {
                at: now,
                change,
                outdated: false,
            },
        );
    }

    /// Looks at earlier recommendations, and notes this one.
    pub(super) fn stabilize(
        &mut self,
        now: Timestamp,
        behavior: Option<&Behavior>,
        current: i32,
        wanted: i32,
    ) -> Stabilized {
        let up_from = now - behavior.map_or(Duration::ZERO, |b| b.scale_up.stabilization);
        let down_window = behavior.map_or(DOWNSCALE_STABILIZATION, |b| b.scale_down.stabilization);
        let down_from = now - down_window;
        let (to, held_reason) = match behavior {
            Some(_) => self.between_recent(current, wanted, up_from, down_from),
            None => (
                self.highest_recent(wanted, down_from),
                Reason::ScaleDownStabilized,
            ),
        };
        let held = to != wanted;
        let window_from = if to < wanted { up_from } else { down_from };
        let held_by = held.then(|| self.holder(wanted, to, window_from)).flatten();
        let old = self
            .recommendations
            .iter()
            .rposition(|rec| rec.at < up_from && rec.at < down_from);
        put(
            &mut self.recommendations,
            old,
            Recommendation {
                at: now,
                replicas: wanted,
            },
        );
        Stabilized {
            from: wanted,
            to,
            reason: if held {
                held_reason
            } else {
                Reason::ReadyForNewScale
            },
            held_by: held_by.map(|rec| (rec, rec.at.since(window_from))),
        }
    }

    //= horizontal.go stabilizeRecommendation
    fn highest_recent(&self, wanted: i32, from: Timestamp) -> i32 {
        let recent = self.recommendations.iter().filter(|rec| from <= rec.at);
        recent.map(|rec| rec.replicas).fold(wanted, i32::max)
    }

    /// The aim is what there is, moved only as far as every recent recommendation agrees.
    //= horizontal.go stabilizeRecommendationWithBehaviors
    fn between_recent(
        &self,
        current: i32,
        wanted: i32,
        up_from: Timestamp,
        down_from: Timestamp,
    ) -> (i32, Reason) {
        let (mut up, mut down) = (wanted, wanted);
        for rec in &self.recommendations {
            if up_from < rec.at {
                up = up.min(rec.replicas);
            }
            if down_from < rec.at {
                down = down.max(rec.replicas);
            }
        }
        let reason = if current <= wanted {
            Reason::ScaleUpStabilized
        } else {
            Reason::ScaleDownStabilized
        };
        // Not `clamp`, which panics where the bounds cross; here the lower one is the weaker.
        (current.max(up).min(down), reason)
    }

    /// The newest recommendation since `from` that keeps the aim at `to` rather than nearer to `wanted`.
    fn holder(&self, wanted: i32, to: i32, from: Timestamp) -> Option<Recommendation> {
        let holds = |rec: &&Recommendation| {
            from <= rec.at
                && if to < wanted {
                    rec.replicas <= to
                } else {
                    to <= rec.replicas
                }
        };
        self.recommendations
            .iter()
            .filter(holds)
            .copied()
            .max_by_key(|rec| rec.at)
    }

    /// Cuts `aim` by the bounds and, with `behavior`, by its policies.
    pub(super) fn limit(&self, now: Timestamp, spec: &Spec, current: i32, aim: i32) -> Limited {
        let within = Limited::at(aim, Reason::DesiredWithinRange);
        let Some(behavior) = &spec.behavior else {
            return limit_by_doubling(spec, current, aim).unwrap_or(within);
        };
        let cut = if current < aim {
            self.limit_up(now, spec, &behavior.scale_up, current)
        } else if aim < current {
            self.limit_down(now, spec, &behavior.scale_down, current)
        } else {
            within
        };
        let is_cut = (current < aim && cut.to < aim) || (aim < current && aim < cut.to);
        if is_cut { cut } else { within }
    }

    //= horizontal.go convertDesiredReplicasWithBehaviorRate
    fn limit_up(&self, now: Timestamp, spec: &Spec, rules: &Rules, current: i32) -> Limited {
        let rate = self.rate(now, rules, current, Direction::Up);
        // More pods than the policies allow may have come in the period by other hands: that removes none.
        let to = rate.to.max(current);
        if to < spec.max_replicas {
            Limited { to, ..rate }
        } else {
            Limited::at(spec.max_replicas, Reason::TooManyReplicas)
        }
    }

    //= horizontal.go convertDesiredReplicasWithBehaviorRate
    fn limit_down(&self, now: Timestamp, spec: &Spec, rules: &Rules, current: i32) -> Limited {
        let rate = self.rate(now, rules, current, Direction::Down);
        let to = rate.to.min(current);
        if spec.min_replicas < to {
            Limited { to, ..rate }
        } else {
            Limited::at(spec.min_replicas, Reason::TooFewReplicas)
        }
    }

    /// As far as the policies of one direction allow, which may be short of `current`.
    //= horizontal.go calculateScaleUpLimitWithScalingRules, calculateScaleDownLimitWithBehaviors
    fn rate(&self, now: Timestamp, rules: &Rules, current: i32, direction: Direction) -> Limited {
        let reason = match direction {
            Direction::Up => Reason::ScaleUpLimit,
            Direction::Down => Reason::ScaleDownLimit,
        };
        let allowed = rules
            .policies
            .iter()
            .map(|policy| (self.allowed(now, policy, current, direction), policy));
        let chosen = match (rules.select, direction) {
            (Select::Disabled, _) => None,
            (Select::Max, Direction::Up) | (Select::Min, Direction::Down) => {
                allowed.max_by_key(|(to, _)| *to)
            }
            (Select::Min, Direction::Up) | (Select::Max, Direction::Down) => {
                allowed.min_by_key(|(to, _)| *to)
            }
        };
        let Some((to, policy)) = chosen else {
            return Limited {
                disabled: rules.select == Select::Disabled,
                ..Limited::at(current, reason)
            };
        };
        let events = if direction == Direction::Up {
            &self.ups
        } else {
            &self.downs
        };
        let from = now - policy.period;
        let oldest = events
            .iter()
            .map(|event| event.at)
            .filter(|at| from < *at)
            .min();
        Limited {
            to,
            reason,
            policy: Some(*policy),
            disabled: false,
            frees_in: oldest.map(|at| at.since(from)),
        }
    }

    /// As far as one policy allows, from the replicas at its period's start.
    fn allowed(&self, now: Timestamp, policy: &Policy, current: i32, direction: Direction) -> i32 {
        let from = now - policy.period;
        let start = current
            .saturating_sub(changed(&self.ups, from))
            .saturating_add(changed(&self.downs, from));
        let share = f64::from(policy.value) / 100.0;
        match (policy.unit, direction) {
            // As the controller adds: where somebody writes the largest int32 for "no limit" it wraps, and no pod comes.
            (PolicyUnit::Pods, Direction::Up) => start.wrapping_add(policy.value),
            (PolicyUnit::Pods, Direction::Down) => start.saturating_sub(policy.value),
            // Rounded up, or a small share of few pods would never add one.
            (PolicyUnit::Percent, Direction::Up) => {
                (f64::from(start) * (1.0 + share)).ceil() as i32
            }
            (PolicyUnit::Percent, Direction::Down) => (f64::from(start) * (1.0 - share)) as i32,
        }
    }
}

// === impl Stabilized ===

/// The message of the `AbleToScale` condition.
impl fmt::Display for Stabilized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, .. } = self;
        match (self.reason, self.held_by) {
            (Reason::ReadyForNewScale, _) => {
                write!(f, "the metrics want {from} and nothing holds that back")
            }
            (_, Some((rec, left))) => write!(
                f,
                "the metrics want {from}, but wanted {} within the window: {to} for {} s more unless they change",
                rec.replicas,
                left.as_secs()
            ),
            (_, None) => write!(
                f,
                "the metrics want {from}; earlier recommendations hold at {to}"
            ),
        }
    }
}

// === impl Limited ===

impl Limited {
    /// No policy's doing.
    const fn at(to: i32, reason: Reason) -> Self {
        Self {
            to,
            reason,
            policy: None,
            disabled: false,
            frees_in: None,
        }
    }
}

/// The message of the `ScalingLimited` condition.
impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.to;
        match (self.reason, self.policy, self.frees_in) {
            (Reason::TooFewReplicas, ..) => {
                write!(f, "the metrics want fewer than minReplicas, {to}")
            }
            (Reason::TooManyReplicas, ..) => {
                write!(f, "the metrics want more than maxReplicas, {to}")
            }
            (Reason::DesiredWithinRange, ..) => write!(f, "{to} is within bounds and rates"),
            (Reason::ScaleUpLimit, ..) if self.disabled => {
                write!(f, "held at {to}: selectPolicy disables scaling up")
            }
            _ if self.disabled => {
                write!(f, "held at {to}: selectPolicy disables scaling down")
            }
            (_, Some(policy), Some(left)) => {
                write!(
                    f,
                    "held at {to} by the policy {policy}, which frees up in {} s",
                    left.as_secs()
                )
            }
            (_, Some(policy), None) => write!(f, "held at {to} by the policy {policy}"),
            (_, None, _) => write!(f, "held at {to}, as far as one sync may go"),
        }
    }
}

/// Which way the replicas go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// How many pods the events after `from` added, or removed.
//= horizontal.go getReplicasChangePerPeriod
fn changed(events: &[ScaleEvent], from: Timestamp) -> i32 {
    let recent = events.iter().filter(|event| from < event.at);
    recent.fold(0, |sum, event| sum.saturating_add(event.change))
}

/// Puts `item` in the slot of an old one, or at the end; drops the first when there are too many.
fn put<T>(items: &mut Vec<T>, old: Option<usize>, item: T) {
    if let Some(slot) = old.and_then(|old| items.get_mut(old)) {
        *slot = item;
        return;
    }
    if MEMORY_MAX <= items.len() {
        items.remove(0);
    }
    items.push(item);
}

/// The bounds and the rate that hold without `behavior`; `None` when `aim` keeps them.
//= horizontal.go convertDesiredReplicasWithRules
fn limit_by_doubling(spec: &Spec, current: i32, aim: i32) -> Option<Limited> {
    let rate = current
        .saturating_mul(SCALE_UP_FACTOR)
        .max(SCALE_UP_MINIMUM);
    let most = if rate < spec.max_replicas {
        Limited::at(rate, Reason::ScaleUpLimit)
    } else {
        Limited::at(spec.max_replicas, Reason::TooManyReplicas)
    };
    if aim < spec.min_replicas {
        Some(Limited::at(spec.min_replicas, Reason::TooFewReplicas))
    } else {
        (most.to < aim).then_some(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut items = Vec::new();
        for item in 0..MEMORY_MAX + 10 {
            put(&mut items, None, item);
        }
        assert_eq!((items.len(), items[0]), (MEMORY_MAX, 10));
    }

    #[test]
    fn what_is_too_old_to_count_is_written_over() {
        let mut memory = Memory::default();
        let behavior = Behavior::default();
        for sync in 0..1000 {
            let now = Timestamp::from_ms(sync * 15_000);
            memory.stabilize(now, Some(&behavior), 1, 1);
            memory.scaled(now, Some(&behavior), 1, 2);
        }
        // 300 s of syncs and both ends; the default period is 15 s, of which both ends count too.
        let lengths = [
            memory.recommendations.len(),
            memory.ups.len(),
            memory.downs.len(),
        ];
        assert_eq!(lengths, [21, 2, 0]);
    }

    #[test]
    fn without_behavior_no_change_is_remembered() {
        let mut memory = Memory::default();
        memory.scaled(Timestamp::default(), None, 1, 9);
        assert!(memory.ups.is_empty());
    }
}
