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

use self::grammar::{Aggregation, Rule, Subject, ThresholdError};
use super::{Finding, Group, Outcome};
use crate::measured::{Counts, Latencies};
use crate::recording::{Recording, Service};
use crate::scenario::{Scenario, Threshold};

/// Requests that must have ended within the span of the safety rule: a share of fewer says little, and one failed
/// request at the very beginning must not end a run.
const SAFETY_REQUESTS_MIN: u64 = 20;

/// How exactly a latency is known, as a share of it: the three digits of its histogram.
const RESOLUTION: f64 = 0.001;

/// What a threshold looks at.
#[derive(Debug, Default)]
struct Cut {
    counts: Counts,
    latency: Latencies,
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
        (SAFETY_REQUESTS_MIN <= ended && safety.max_error_rate < share).then(|| {
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

/// Why the run ended for its safety: the first second at which [`safety_stop`] would have ended it, of a run that did
/// end early.
#[must_use]
pub fn first_safety_stop(recording: &Recording) -> Option<String> {
    let loads = || recording.services.values().map(|service| &service.load);
    let early = recording.about.interrupted || loads().any(|load| load.interrupted);
    let seconds = loads().map(|load| load.slots.len()).max().unwrap_or(0);
    (1..=seconds)
        .filter(|_| early)
        .find_map(|second| safety_stop(recording, second as f64))
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
    let mut finding = Finding {
        name: format!("{key}: {condition}"),
        service: String::new(),
        group: Group::Threshold,
        outcome: Outcome::Inconclusive,
        marginal: false,
        value: None,
        limit: condition.to_owned(),
        unit: String::new(),
        resolution: 0.0,
        from_s: None,
        to_s: None,
        sentence: String::new(),
    };
    match Rule::read(key, condition) {
        Ok(rule) => match cut(recording, &rule, end_s) {
            Ok(cut) => weigh(&mut finding, key, &rule, &cut),
            Err(sentence) => finding.sentence = sentence,
        },
        Err(error) => finding.sentence = error.to_string(),
    }
    finding
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
    let end_s = end_s.min(recording.about.duration_s);
    let mut cut = Cut::default();
    let mut all = Vec::new();
    for (name, service) in services(recording, rule)? {
        let mut ranges = seconds_of(recording, rule, name, end_s);
        all.append(&mut ranges.clone());
        if let Some(kind) = rule
            .request
            .as_ref()
            .and_then(|kind| service.load.requests.get(kind))
        {
            cut.add(&kind.counts, &kind.latency);
            continue;
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
    cut.seconds = all.iter().map(ExactSizeIterator::len).sum::<usize>() as f64;
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
    let Some(name) = &rule.stage else {
        return vec![0..second(end_s)];
    };
    recording
        .stages
        .iter()
        .filter(|stage| stage.name == *name && stage.service == service)
        .map(|stage| second(stage.start_s)..second(stage.end_s.min(end_s)))
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
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::measured::{ErrorClass, Measured, RequestMeasured, Slot};
    use crate::recording::{About, Generator, SCHEMA_VERSION, Stage};
    use crate::scenario::Span;

    /// A second with this many answers after 1 ms, 2 ms, and so on, and this many errors without an answer.
    fn slot(ok: u64, errors: u64) -> Slot {
        let mut latency = Latencies::default();
        for ms in 1..=ok {
            latency.record(Duration::from_millis(ms));
        }
        let mut counts = Counts::default();
        counts.offered = ok + errors;
        counts.ok = ok;
        for _ in 0..errors {
            counts.count_error(ErrorClass::ServerStatus);
        }
        Slot::new(counts, &latency)
    }

    /// Services with these seconds; the stage `high` is from 2 s to 4 s of each.
    fn recording(services: &[(&str, Vec<Slot>)], key: &str, threshold: &str) -> Recording {
        let longest = services.iter().map(|(_, slots)| slots.len()).max();
        let mut recording = Recording {
            schema_version: SCHEMA_VERSION,
            about: About {
                duration_s: longest.unwrap_or(0) as f64,
                ..About::default()
            },
            scenario: Scenario::default(),
            stages: Vec::new(),
            services: BTreeMap::new(),
            generator: Generator::default(),
            events: Vec::new(),
        };
        for (name, slots) in services {
            recording.stages.push(Stage {
                name: "high".to_owned(),
                load: "main".to_owned(),
                service: (*name).to_owned(),
                start_s: 2.0,
                end_s: 4.0,
            });
            let service = Service {
                load: Measured {
                    slots: slots.clone(),
                    ..Measured::default()
                },
                ..Service::default()
            };
            recording.services.insert((*name).to_owned(), service);
            recording
                .scenario
                .services
                .insert((*name).to_owned(), crate::scenario::Service::default());
        }
        let threshold = Threshold {
            threshold: threshold.to_owned(),
            abort_on_fail: true,
            delay_abort_eval: Span::from_secs(3),
        };
        recording
            .scenario
            .thresholds
            .insert(key.to_owned(), vec![threshold]);
        recording
    }

    fn judged(services: &[(&str, Vec<Slot>)], key: &str, threshold: &str) -> Finding {
        judge(&recording(services, key, threshold)).remove(0)
    }

    #[test]
    fn each_metric_is_counted_as_it_is_called() {
        let seconds = vec![
            slot(10, 0),
            slot(10, 0),
            slot(80, 20),
            slot(10, 0),
            slot(10, 0),
        ];
        for (key, threshold, expected) in [
            ("http_req_duration", "min<1000", 1.0),
            ("http_req_duration{stage:high}", "med<1000", 45.0),
            (
                "http_req_duration",
                "avg<1000",
                (4.0 * 55.0 + 3240.0) / 120.0,
            ),
            ("http_req_failed", "rate<1", 20.0 / 140.0),
            ("http_req_failed{stage:high}", "rate<1", 20.0 / 110.0),
            ("http_reqs", "count>1", 140.0),
            ("http_reqs", "rate>1", 28.0),
            ("iterations{stage:high,service:a}", "rate>1", 55.0),
            ("dropped_iterations", "count<1", 0.0),
        ] {
            let finding = judged(&[("a", seconds.clone())], key, threshold);
            let value = finding.value.unwrap();
            assert!(
                (value / expected - 1.0).abs() < 0.002 || value == expected,
                "{finding:?}"
            );
            assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
        }
    }

    #[test]
    fn a_failed_request_took_forever_in_a_quantile() {
        let seconds = vec![slot(95, 5)];
        let finding = judged(&[("a", seconds.clone())], "http_req_duration", "p(95)<200");
        assert_eq!(
            (finding.outcome, finding.value.map(f64::round)),
            (Outcome::Pass, Some(95.0))
        );
        let finding = judged(&[("a", seconds)], "http_req_duration", "p(96)<200");
        assert_eq!((finding.outcome, finding.value), (Outcome::Fail, None));
        assert!(
            finding.sentence.contains("5 of 100 failed"),
            "{}",
            finding.sentence
        );
    }

    #[test]
    fn services_count_together_unless_one_is_named() {
        let services = [("a", vec![slot(10, 0)]), ("b", vec![slot(30, 0)])];
        let count = |key: &str| judged(&services, key, "count>1").value;
        assert_eq!(count("http_reqs"), Some(40.0));
        assert_eq!(count("http_reqs{service:b}"), Some(30.0));
        let rate = judged(&services, "http_reqs", "rate>1").value;
        assert_eq!(rate, Some(40.0), "a second of two services is one second");
    }

    #[test]
    fn a_kind_of_request_has_its_own_numbers() {
        let mut recording = recording(
            &[("a", vec![slot(10, 0)])],
            "http_reqs{request:buy}",
            "count>=3",
        );
        assert_eq!(judge(&recording)[0].outcome, Outcome::Inconclusive);
        let mut counts = Counts::default();
        counts.ok = 3;
        counts.offered = 3;
        let buy = RequestMeasured {
            counts,
            ..RequestMeasured::default()
        };
        let load = &mut recording.services.get_mut("a").unwrap().load;
        load.requests.insert("buy".to_owned(), buy);
        let kind = serde_json::json!({
            "name": "buy", "weight": 1, "method": "GET", "path": "/", "headers": {}, "body": null, "expectBody": null
        });
        let played = recording.scenario.services.get_mut("a").unwrap();
        played.requests.push(serde_json::from_value(kind).unwrap());
        assert_eq!(judge(&recording)[0].value, Some(3.0));
    }

    #[test]
    fn what_cannot_be_told_neither_passes_nor_fails() {
        let seconds = vec![slot(0, 0); 5];
        for (key, threshold, expected) in [
            ("http_req_duration", "p(95)<1", Outcome::Skipped),
            ("http_req_failed", "rate<1", Outcome::Skipped),
            ("http_reqs", "count<1", Outcome::Pass),
            ("http_reqs{stage:low}", "count<1", Outcome::Inconclusive),
            ("http_reqs{service:z}", "count<1", Outcome::Inconclusive),
            ("http_requests", "count<1", Outcome::Inconclusive),
        ] {
            let finding = judged(&[("a", seconds.clone())], key, threshold);
            assert_eq!(finding.outcome, expected, "{finding:?}");
        }
    }

    #[test]
    fn a_limit_within_the_resolution_is_marginal() {
        let marginal = |limit| {
            let finding = judged(&[("a", vec![slot(1000, 0)])], "http_req_duration", limit);
            (finding.outcome, finding.marginal)
        };
        assert_eq!(marginal("max<1001"), (Outcome::Pass, true));
        assert_eq!(marginal("max<1100"), (Outcome::Pass, false));
        assert_eq!(marginal("max<900"), (Outcome::Fail, false));
    }

    #[test]
    fn a_threshold_ends_a_run_when_its_delay_is_over() {
        let seconds = vec![
            slot(10, 10),
            slot(10, 10),
            slot(10, 0),
            slot(10, 0),
            slot(1000, 0),
        ];
        let recording = recording(&[("a", seconds)], "http_req_failed", "rate<0.2");
        assert_eq!(
            aborts(&recording, 2.9),
            None,
            "it is not looked at before 3 s"
        );
        let why = aborts(&recording, 3.0).unwrap();
        assert!(why.contains("rate<0.2 does not hold"), "{why}");
        assert_eq!(aborts(&recording, 5.0), None);
    }

    #[test]
    fn the_safety_rule_needs_its_whole_span_and_some_requests() {
        let mut good_then_bad = recording(
            &[(
                "a",
                vec![slot(20, 0), slot(0, 20), slot(0, 20), slot(5, 15)],
            )],
            "http_reqs",
            "count>0",
        );
        good_then_bad.scenario.safety.max_error_rate = 0.8;
        good_then_bad.scenario.safety.for_ = Span::from_secs(2);
        assert_eq!(
            safety_stop(&good_then_bad, 1.0),
            None,
            "the span is not over"
        );
        assert_eq!(
            safety_stop(&good_then_bad, 2.0),
            None,
            "half is not more than 80 %"
        );
        let why = safety_stop(&good_then_bad, 3.0).unwrap();
        assert!(
            why.contains("100.0 % of the requests to a failed in the 2s before 3 s"),
            "{why}"
        );
        good_then_bad.scenario.safety.max_error_rate = 1.0;
        assert_eq!(safety_stop(&good_then_bad, 3.0), None, "1 never stops");

        let mut few = recording(
            &[("a", vec![slot(0, 9), slot(0, 9)])],
            "http_reqs",
            "count>0",
        );
        few.scenario.safety.max_error_rate = 0.1;
        few.scenario.safety.for_ = Span::from_secs(2);
        assert_eq!(safety_stop(&few, 2.0), None);
    }
}
