//! An oracle: who knows what a pod takes and what will be asked, and has the pods for it just in time. What a real HPA
//! costs is told as a multiple of what the oracle's pods do.
//!
//! ```text
//! need(slot) = max(1, ceil(mean rate of the slot / what a pod takes within the objective))
//! pods(slot) = max of need over the slot and those that begin within the lead time after it
//! lead time  = from a pod's start to its being ready, and one sync of the HPA
//! ```
//!
//! This is the plan by slots of the project's evaluation of signals, at its scale of 1: the capacity is measured at the very
//! objective ([`super::capacity`]), so the cheapest plan that meets it is the plan itself. Its pods are billed from
//! their start, and the HPA's are as well.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use taffrail_loadtest::scenario::{Action, App, Slo};
use taffrail_loadtest::steps::Steps;

use super::scaler::SYNC_PERIOD;
use super::{NANOS_PER_S, Plan, capacity};

/// The length of a slot in seconds: how often an HPA decides.
const SLOT_S: usize = (SYNC_PERIOD / NANOS_PER_S) as usize;

/// Slack before one more pod is needed: 600 requests a second at 120 for a pod are 5 pods, whatever binary fractions say.
const SLACK: f64 = 1e-6;

const HOUR_S: f64 = 3600.0;

/// What one who knows the future would have for a load.
#[derive(Clone, Debug, PartialEq)]
pub struct Oracle {
    /// The rate in each second, and what a pod takes then, in requests per second.
    seconds: Vec<(f64, f64)>,
    /// What each slot needs.
    needed: Vec<u32>,
    /// What there is in each slot.
    pods: Vec<u32>,
}

/// From a moment on, in seconds, how the services behave.
type Epoch = (f64, BTreeMap<String, App>);

impl Oracle {
    /// For `rates`, the requests per second in each second, where a pod takes `per_pod` and there is one `lead` after it
    /// was wanted.
    #[must_use]
    pub fn new(rates: &[f64], per_pod: f64, lead: Duration) -> Self {
        let seconds = rates.iter().map(|rate| (*rate, per_pod)).collect();
        Self::of_seconds(seconds, lead)
    }

    fn of_seconds(seconds: Vec<(f64, f64)>, lead: Duration) -> Self {
        let needed: Vec<u32> = seconds.chunks(SLOT_S).map(need).collect();
        let ahead = (lead.as_secs_f64() / SLOT_S as f64).ceil() as usize;
        let held = |slot: usize| {
            let end = (slot + ahead + 1).min(needed.len());
            needed[slot..end].iter().copied().max().unwrap_or(1)
        };
        let pods = (0..needed.len()).map(held).collect();
        Self {
            seconds,
            needed,
            pods,
        }
    }

    /// Its pods times hours, until `until_s` seconds from the first request's moment.
    #[must_use]
    pub fn pod_hours(&self, until_s: f64) -> f64 {
        let until_s = until_s.min(self.seconds.len() as f64);
        let slots = self.pods.iter().zip(0..);
        let within = slots.map(|(pods, slot)| {
            let left_s = until_s - (slot * SLOT_S) as f64;
            f64::from(*pods) * left_s.clamp(0.0, SLOT_S as f64)
        });
        within.sum::<f64>() / HOUR_S
    }

    /// Its pods over time.
    #[must_use]
    pub fn steps(&self) -> Steps {
        let mut steps = Steps::default();
        for (pods, slot) in self.pods.iter().zip(0..) {
            steps.push((slot * SLOT_S) as f64, Some(*pods));
        }
        steps
    }

    /// The most pods that it ever has, at least one.
    #[must_use]
    pub fn max_pods(&self) -> u32 {
        self.pods.iter().copied().max().unwrap_or(1)
    }

    /// The same of a stretch of time, in seconds.
    #[must_use]
    pub fn max_pods_within(&self, run: &Range<f64>) -> u32 {
        let first = run.start.max(0.0) as usize / SLOT_S;
        let end = (run.end.max(0.0).ceil() as usize).div_ceil(SLOT_S);
        let pods = self.pods.iter().skip(first).take(end.saturating_sub(first));
        pods.copied().max().unwrap_or(1)
    }

    /// When the load needs more than so many pods for the first time, in seconds; `None` when it never does.
    #[must_use]
    pub fn first_above(&self, pods: u32) -> Option<f64> {
        self.first_above_within(pods, &(0.0..f64::INFINITY))
    }

    /// The same of a stretch of time: its beginning, where the load needs them already.
    #[must_use]
    pub fn first_above_within(&self, pods: u32, run: &Range<f64>) -> Option<f64> {
        let first = run.start.max(0.0) as usize / SLOT_S;
        let mut needed = self.needed.iter().skip(first);
        let start = (first + needed.position(|needed| pods < *needed)?) * SLOT_S;
        // Within the slot, where it jumps; what only its mean shows, shows from its beginning.
        let seconds = self.seconds.iter().skip(start).take(SLOT_S);
        let jump = seconds
            .take_while(|second| need(&[**second]) <= pods)
            .count();
        let at_s = (start + if jump < SLOT_S { jump } else { 0 }) as f64;
        let at_s = at_s.max(run.start);
        (at_s < run.end).then_some(at_s)
    }
}

impl Plan {
    /// The oracle of a service: `None` where nothing tells its rate, as with users who wait for answers, and where no
    /// number of pods meets `slo`. What a pod takes is the scenario's `demand`, and tried out where it says none; a new
    /// version or a change of a service's speed is known, too, but for what more pods do not cure.
    #[must_use]
    pub fn oracle(&self, service: &str, slo: Slo) -> Option<Oracle> {
        let spec = self.scenario.services.get(service)?;
        let length_s = self.duration().as_secs_f64().ceil() as usize;
        let rates = (0..length_s).map(|second| self.rate(service, second as f64 + 0.5));
        let rates: Vec<f64> = rates.collect::<Option<_>>()?;
        let startup = spec.app.as_ref().and_then(|app| app.startup);
        let lead = *startup.unwrap_or_default() + crate::hpa::SYNC_PERIOD;
        if let Some(demand) = spec.demand.filter(|demand| 0.0 < demand.rps_per_pod) {
            return Some(Oracle::new(&rates, demand.rps_per_pod, lead));
        }
        // What was tried once is as it was: most changes are taken back.
        let mut tried: Vec<(BTreeMap<String, App>, Option<f64>)> = Vec::new();
        let mut known: Vec<(f64, f64)> = Vec::new();
        for (from_s, apps) in self.epochs() {
            let apps = concerned(&apps, service);
            let before = tried.iter().find(|(tried, _)| *tried == apps);
            let per_pod = before.map_or_else(|| capacity::of(&apps, service, slo), |tried| tried.1);
            known.extend(per_pod.map(|per_pod| (from_s, per_pod)));
            tried.push((apps, per_pod));
        }
        let (first, rest) = known.split_first()?;
        let per_pod = |second: usize| {
            let at = rest.partition_point(|(from_s, _)| *from_s <= second as f64);
            at.checked_sub(1).map_or(first.1, |place| rest[place].1)
        };
        let seconds = rates.into_iter().zip((0..).map(per_pod)).collect();
        Some(Oracle::of_seconds(seconds, lead))
    }

    /// Requests per second on a service at a moment, from its loads and from the services that call it.
    fn rate(&self, service: &str, t_s: f64) -> Option<f64> {
        let own = self
            .load_plans()
            .iter()
            .filter(|load| load.service == service);
        let own = own.map(|load| load.rate_at(Duration::from_secs_f64(t_s)));
        let callers = self.scenario.services.iter().filter(|(_, caller)| {
            let calls = caller.app.as_ref().and_then(|app| app.calls.as_ref());
            calls.is_some_and(|calls| calls.service == service)
        });
        let called = callers.map(|(caller, _)| self.rate(caller, t_s));
        own.chain(called).sum()
    }

    /// How all services behave from the beginning on, and from each event on that changes it.
    fn epochs(&self) -> Vec<Epoch> {
        let mut versions: BTreeMap<String, Vec<App>> = BTreeMap::new();
        for (name, service) in &self.scenario.services {
            versions.insert(name.clone(), service.app.iter().cloned().collect());
        }
        let mut slow: BTreeMap<&str, f64> = BTreeMap::new();
        let mut moments: Vec<(f64, &Action, bool)> = Vec::new();
        for event in &self.scenario.events {
            moments.push((event.at.seconds(), &event.action, true));
            let until = event
                .until
                .map(|until| (until.seconds(), &event.action, false));
            moments.extend(until);
        }
        moments.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut epochs = vec![(0.0, present(&versions, &slow))];
        for (at_s, action, begins) in moments {
            match action {
                // One that is never ready changes nothing but who is waited for.
                Action::Rollout { service, app } if begins => {
                    let app = Some(app.as_ref()).filter(|app| app.startup.is_some());
                    if let Some(versions) = versions.get_mut(service) {
                        let present = versions.last().cloned();
                        versions.extend(app.cloned().or(present));
                    }
                }
                Action::Undo { service } if begins => {
                    if let Some(versions) = versions.get_mut(service) {
                        versions.pop();
                    }
                }
                // More pods are no cure for one that is slow: the next request is with it all the same.
                Action::Change {
                    service,
                    slowdown,
                    pods: None,
                } => {
                    slow.insert(service, if begins { *slowdown } else { 1.0 });
                }
                _ => continue,
            }
            epochs.push((at_s, present(&versions, &slow)));
        }
        epochs
    }
}

/// What the slot of these seconds needs.
fn need(seconds: &[(f64, f64)]) -> u32 {
    let pods: f64 = seconds.iter().map(|(rate, per_pod)| rate / per_pod).sum();
    (pods / seconds.len().max(1) as f64 - SLACK).ceil().max(1.0) as u32
}

/// The versions that are wanted, as slow as they are.
fn present(
    versions: &BTreeMap<String, Vec<App>>,
    slow: &BTreeMap<&str, f64>,
) -> BTreeMap<String, App> {
    let app = |(name, versions): (&String, &Vec<App>)| {
        let mut app = versions.last()?.clone();
        let times = slow.get(name.as_str()).copied().unwrap_or(1.0);
        // What is too long for a number is the longest there is.
        app.service_time = Duration::try_from_secs_f64(app.service_time.seconds() * times)
            .unwrap_or(Duration::MAX)
            .into();
        Some((name.clone(), app))
    };
    versions.iter().filter_map(app).collect()
}

/// A service and those that it calls, by way of others, too.
fn concerned(apps: &BTreeMap<String, App>, service: &str) -> BTreeMap<String, App> {
    let mut concerned = BTreeMap::new();
    let mut next = Some(service);
    while let Some((name, app)) = next.and_then(|name| apps.get_key_value(name)) {
        if concerned.insert(name.clone(), app.clone()).is_some() {
            break;
        }
        next = app.calls.as_ref().map(|calls| calls.service.as_str());
    }
    concerned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_load_needs_what_a_division_says() {
        // 250 requests a second at 100 for a pod: three pods for an hour.
        let oracle = Oracle::new(&[250.0; 3600], 100.0, Duration::from_secs(30));
        assert!((oracle.pod_hours(3600.0) - 3.0).abs() < 1e-9);
        assert!((oracle.pod_hours(1800.0) - 1.5).abs() < 1e-9);
        assert_eq!((oracle.max_pods(), oracle.first_above(2)), (3, Some(0.0)));
        assert_eq!(oracle.first_above(3), None);
        let exact = Oracle::new(&[300.0; 60], 100.0, Duration::ZERO);
        assert_eq!(exact.max_pods(), 3, "not one more for a fraction");
        let none = Oracle::new(&[0.0; 60], 100.0, Duration::ZERO);
        assert_eq!(none.max_pods(), 1, "somebody must answer");
    }

    #[test]
    fn pods_are_there_for_the_lead_time_before_a_step_and_not_after_it() {
        let mut rates = vec![50.0; 300];
        rates[127..217].fill(380.0);
        let oracle = Oracle::new(&rates, 100.0, Duration::from_secs(30));
        assert_eq!(oracle.first_above(1), Some(127.0), "the second of the jump");
        // The slot from 120 s on is partly high: seven seconds of 50 and eight of 380 are 2.26 pods. Two slots ahead.
        assert_eq!(oracle.first_above_within(1, &(0.0..120.0)), None);
        assert_eq!(
            oracle.first_above_within(1, &(150.0..300.0)),
            Some(150.0),
            "what came before a stretch is none of its"
        );
        assert_eq!(oracle.first_above_within(1, &(240.0..300.0)), None);
        assert_eq!(oracle.max_pods_within(&(0.0..60.0)), 1);
        assert_eq!(oracle.max_pods_within(&(150.0..300.0)), 4);
        assert_eq!(oracle.pods[5..16], [1, 3, 4, 4, 4, 4, 4, 4, 4, 3, 1]);
        assert_eq!(oracle.needed[7..16], [1, 3, 4, 4, 4, 4, 4, 3, 1]);
    }
}
