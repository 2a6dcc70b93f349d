//! Thresholds in k6's words, over the whole run or over the stages of a name. They count as k6 does, but for two things:
//! latency is from the moment a request should have started, and in a quantile a failed request took forever, so that a
//! server does not get fast by failing.
//!
//! Two rules end a run early, a threshold that says so and the scenario's safety. Both are here as functions of what was
//! seen so far, so that the verdict afterwards finds the same reason for the end.

pub mod grammar;

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use self::grammar::{Aggregation, Operator, Rule, Subject, ThresholdError};
use super::context::ended_s;
use super::{Finding, Group, Outcome, cut_short};
use crate::measured::{Counts, Latencies};
use crate::recording::{Recording, Service};
use crate::scenario::{Scenario, Scope, Threshold};

/// How exactly a latency is known, as a share of it: the three digits of its histogram.
const RESOLUTION: f64 = 0.001;

/// What a threshold looks at.
#[derive(Debug, Default)]
struct Cut {
    counts: Counts,
    latency: Latencies,
    /// Of the wall's clock, on which rates are.
    seconds: f64,
}

impl Cut {
    /// Requests that ended, well or not.
    fn ended(&self) -> u64 {
        self.counts.ok + self.counts.errors()
    }

    /// The number of a rule; `None` when there is nothing to take it of, infinity when it is a failed request's time.
    fn value(&self, subject: Subject, aggregation: Aggregation) -> Option<f64> {
        let count = match subject {
            Subject::Duration => return self.duration_ms(aggregation),
            Subject::Failed => {
                return (0 < self.ended())
                    .then(|| self.counts.errors() as f64 / self.ended() as f64);
            }
            Subject::Requests => self.counts.offered - self.counts.dropped,
            Subject::Dropped => self.counts.dropped,
            Subject::Iterations => self.ended(),
        } as f64;
        match aggregation {
            Aggregation::Rate => (0.0 < self.seconds).then(|| count / self.seconds),
            _ => Some(count),
        }
    }

    fn duration_ms(&self, aggregation: Aggregation) -> Option<f64> {
        let latency = match aggregation {
            Aggregation::Avg => self.latency.mean(),
            Aggregation::Min => self.latency.quantile(0.0),
            Aggregation::Quantile(q) => return self.quantile_ms(q),
            Aggregation::Count | Aggregation::Rate => None,
        };
        latency.map(millis)
    }

    /// The quantile of all that ended. Good answers are the lowest latencies there are: a timeout took longer than any,
    /// and other errors have none.
    fn quantile_ms(&self, q: f64) -> Option<f64> {
        let rank = ((q * self.ended() as f64).ceil() as u64).max(1);
        if self.ended() == 0 {
            return None;
        }
        if self.counts.ok < rank {
            return Some(f64::INFINITY);
        }
        let within = (rank as f64 - 0.5) / self.latency.count() as f64;
        self.latency.quantile(within).map(millis)
    }

    fn add(&mut self, counts: &Counts, latency: &Latencies) {
        self.counts.add(counts);
        for (micros, count) in latency.sparse() {
            self.latency
                .record_many(Duration::from_micros(micros.into()), count.into());
        }
    }
}

/// Reads every threshold of a scenario, for its check before a run.
///
/// # Errors
/// The first that cannot be read.
pub fn check(scenario: &Scenario) -> Result<(), ThresholdError> {
    scenario
        .thresholds
        .iter()
        .flat_map(|(key, conditions)| conditions.iter().map(move |one| (key, one)))
        .try_for_each(|(key, one)| Rule::read(key, &one.threshold).map(drop))
}

/// What came of every threshold of the scenario.
#[must_use]
pub fn judge(recording: &Recording) -> Vec<Finding> {
    written(recording)
        .map(|(key, threshold)| finding(recording, key, threshold, f64::INFINITY))
        .collect()
}

/// Why the run must end at `now_s`, when a threshold with `abortOnFail` does not hold of what was seen until then.
#[must_use]
pub fn aborts(recording: &Recording, now_s: f64) -> Option<String> {
    written(recording)
        .filter(|(_, threshold)| {
            threshold.abort_on_fail && threshold.delay_abort_eval.seconds() <= now_s
        })
        .map(|(key, threshold)| finding(recording, key, threshold, now_s))
        .find(|finding| finding.outcome == Outcome::Fail)
        .map(|finding| finding.sentence)
}

/// Why the run must end at `now_s` for the sake of whoever uses the service: for the whole span before it, a larger share
/// of the requests failed than the scenario's safety allows. Requests still under way count as neither.
#[must_use]
pub fn safety_stop(recording: &Recording, now_s: f64) -> Option<String> {
    let safety = &recording.scenario.safety;
    let from_s = now_s - safety.for_.seconds();
    if 1.0 <= safety.max_error_rate || from_s < 0.0 {
        return None;
    }
    recording.services.iter().find_map(|(name, service)| {
        let counts = counts_between(service, from_s, now_s);
        let ended = counts.ok + counts.errors();
        let share = counts.errors() as f64 / ended as f64;
        (0 < ended && safety.max_error_rate < share).then(|| {
            format!(
                "{:.1} % of the requests to {name} failed in the {} before {now_s:.0} s, and the scenario's safety \
                 allows {:.1} %",
                share * 100.0,
                safety.for_,
                safety.max_error_rate * 100.0,
            )
        })
    })
}

fn counts_between(service: &Service, from_s: f64, to_s: f64) -> Counts {
    let mut sum = Counts::default();
    let slots = &service.load.slots;
    let (from, to) = (second(from_s), second(to_s).min(slots.len()));
    for slot in slots.get(from..to).unwrap_or_default() {
        sum.add(&slot.counts);
    }
    sum
}

fn written(recording: &Recording) -> impl Iterator<Item = (&str, &Threshold)> {
    recording
        .scenario
        .thresholds
        .iter()
        .flat_map(|(key, all)| all.iter().map(move |one| (key.as_str(), one)))
}

fn finding(recording: &Recording, key: &str, threshold: &Threshold, end_s: f64) -> Finding {
    let condition = threshold.threshold.trim();
    let name = format!("{key}: {condition}");
    let mut finding = Finding {
        outcome: Outcome::Inconclusive,
        limit: condition.to_owned(),
        ..Finding::blank(name, "", Group::Threshold)
    };
    let rule = Rule::read(key, condition).map_err(|error| error.to_string());
    match rule.and_then(|rule| Ok((cut(recording, &rule, end_s)?, rule))) {
        Ok((cut, rule)) => {
            weigh(&mut finding, key, &rule, &cut);
            // One that may end a run is judged by what was seen when it does.
            if finding.outcome == Outcome::Fail && !threshold.abort_on_fail {
                take_back(&mut finding, recording, &rule);
            }
        }
        Err(sentence) => finding.sentence = sentence,
    }
    finding
}

/// Takes back a failure that might be none, because the run was told to stop before the end of what the rule looks at. A
/// count that is too high stays too high.
fn take_back(finding: &mut Finding, recording: &Recording, rule: &Rule) {
    let is_upper = matches!(rule.operator, Operator::Below | Operator::AtMost);
    let stays = rule.aggregation == Aggregation::Count && is_upper;
    let ended = second(ended_s(recording));
    let is_cut_short = |name: &String| {
        let looked_at = seconds_of(recording, rule, name, recording.about.duration_s);
        looked_at.iter().any(|range| ended < range.end)
    };
    let services = services(recording, rule).unwrap_or_default();
    if recording.about.interrupted && !stays && services.iter().any(|(name, _)| is_cut_short(name))
    {
        let scope = rule.stage.clone().map_or(Scope::Run, Scope::Stage);
        finding.outcome = Outcome::Inconclusive;
        finding.sentence += &cut_short::before_the_end_of(recording, &scope);
    }
}

fn weigh(finding: &mut Finding, key: &str, rule: &Rule, cut: &Cut) {
    let condition = finding.limit.clone();
    let Some(value) = cut.value(rule.subject, rule.aggregation) else {
        finding.outcome = Outcome::Skipped;
        finding.sentence = format!("no request of {key} ended, so {condition} has nothing to say");
        return;
    };
    let duration = rule.subject == Subject::Duration;
    let unit = if duration { "ms" } else { "" };
    let holds = rule.operator.holds(value, rule.limit);
    finding.outcome = if holds { Outcome::Pass } else { Outcome::Fail };
    finding.unit = unit.to_owned();
    if value.is_finite() {
        finding.value = Some(value);
        finding.resolution = if duration { value * RESOLUTION } else { 0.0 };
        finding.marginal = holds && duration && (value - rule.limit).abs() <= finding.resolution;
    }
    let shown = if value.is_finite() {
        format!("{} {unit}", (value * 1e3).round() / 1e3)
            .trim_end()
            .to_owned()
    } else {
        let (failed, ended) = (cut.counts.errors(), cut.ended());
        format!("that of a failed request, as {failed} of {ended} failed")
    };
    let verb = if holds { "holds" } else { "does not hold" };
    finding.sentence = format!("{condition} {verb} of {key}: it was {shown}");
}

/// What a rule looks at, before `end_s`.
fn cut(recording: &Recording, rule: &Rule, end_s: f64) -> Result<Cut, String> {
    let end_s = end_s.min(ended_s(recording));
    let mut cut = Cut::default();
    let mut all = Vec::new();
    for (name, service) in services(recording, rule)? {
        let mut ranges = seconds_of(recording, rule, name, end_s);
        all.append(&mut ranges.clone());
        let kinds = &service.load.requests;
        if let Some(kind) = rule.request.as_ref().and_then(|kind| kinds.get(kind)) {
            cut.add(&kind.counts, &kind.latency);
            continue;
        }
        // Before its first second is told, or where nobody told kinds apart.
        let declared = recording.scenario.services.get(name);
        if rule.request.is_some() && declared.is_some_and(|service| 1 < service.requests.len()) {
            return Err("nobody told the kinds of requests apart".to_owned());
        }
        merge(&mut ranges);
        for range in ranges {
            let end = range.end.min(service.load.slots.len());
            for slot in service.load.slots.get(range.start..end).unwrap_or_default() {
                cut.counts.add(&slot.counts);
            }
            cut.add(&Counts::default(), &service.load.latencies_of(range));
        }
    }
    merge(&mut all);
    let seconds = all.iter().map(ExactSizeIterator::len).sum::<usize>() as f64;
    cut.seconds = seconds / recording.about.speed();
    Ok(cut)
}

/// The services that a rule looks at, or what is wrong with its tags.
fn services<'a>(
    recording: &'a Recording,
    rule: &Rule,
) -> Result<Vec<(&'a String, &'a Service)>, String> {
    let of_service = |name: &String| rule.service.as_ref().is_none_or(|only| only == name);
    let has_kind = |name: &String| {
        let kinds = recording
            .scenario
            .services
            .get(name)
            .map(|service| &service.requests);
        rule.request.as_ref().is_none_or(|kind| {
            kinds.is_some_and(|kinds| kinds.iter().any(|known| known.name == *kind))
        })
    };
    let of_stage = |name: &String| {
        let mut stages = recording
            .stages
            .iter()
            .filter(|stage| stage.service == *name);
        rule.stage
            .as_ref()
            .is_none_or(|only| stages.any(|stage| stage.name == *only))
    };
    let named = recording
        .services
        .iter()
        .filter(|(name, _)| of_service(name));
    let found: Vec<_> = named
        .filter(|(name, _)| has_kind(name) && of_stage(name))
        .collect();
    if found.is_empty() {
        let stages: BTreeSet<_> = recording
            .stages
            .iter()
            .map(|stage| stage.name.as_str())
            .collect();
        let services: Vec<_> = recording.services.keys().map(String::as_str).collect();
        return Err(format!(
            "there is nothing that the tags of `{}` describe; the services are {}, the stages {}",
            rule.subject,
            services.join(", "),
            stages.into_iter().collect::<Vec<_>>().join(", "),
        ));
    }
    Ok(found)
}

/// The seconds that a rule looks at. A second belongs to the stage in which it begins.
fn seconds_of(recording: &Recording, rule: &Rule, service: &str, end_s: f64) -> Vec<Range<usize>> {
    let run = rule.stage.is_none().then(|| 0..second(end_s));
    let stages = recording
        .stages
        .iter()
        .filter(|stage| rule.stage.as_ref() == Some(&stage.name) && stage.service == service)
        .map(|stage| second(stage.start_s)..second(stage.end_s.min(end_s)));
    run.into_iter()
        .chain(stages)
        .filter(|range| !range.is_empty())
        .collect()
}

/// Sorts ranges and joins those that overlap, so that no second counts twice.
fn merge(ranges: &mut Vec<Range<usize>>) {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, before| {
        let joined = next.start <= before.end;
        if joined {
            before.end = before.end.max(next.end);
        }
        joined
    });
}

/// The first second that begins at `t_s` or after it.
fn second(t_s: f64) -> usize {
    t_s.max(0.0).ceil() as usize
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests;
