//! The conditions of an object: each a question with the answer True, False or Unknown, a reason for programs and a
//! sentence for people. All are asked so that True is good. The order is that in which a thing can fail: the first that
//! is not True is where to begin.
//!
//! Sentences name objects, fields and counts, and no address: whoever reads the object need not know those.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff;

use crate::cluster::crd::ServedValue;
use crate::cluster::discover::{LeftOut, PodsFound};
use crate::engine::snapshot::{ServiceView, State};
use crate::model::health::FailureReason;
use crate::model::time::Timestamp;

use super::desired::{Facts, MESSAGE_CHARS_MAX, cut};

#[cfg(test)]
mod tests;

/// A histogram whose bounds around the objective are this close has no need of one at it: what is read between them is
/// off by less than the 10 % that the HPA ignores.
const FINE_BOUNDS: f64 = 1.1;

/// The last condition: whether values are served.
pub(super) const READY: &str = "Ready";

/// A condition before it has a time.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Answer {
    question: &'static str,
    is_true: Option<bool>,
    reason: &'static str,
    message: String,
}

// === impl Answer ===

impl Answer {
    fn yes(question: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(question, Some(true), reason, message)
    }

    fn no(question: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(question, Some(false), reason, message)
    }

    fn unknown(question: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(question, None, reason, message)
    }

    fn new(
        question: &'static str,
        is_true: Option<bool>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            question,
            is_true,
            reason,
            message: message.into(),
        }
    }

    fn is_no(&self) -> bool {
        self.is_true == Some(false)
    }

    /// With the time of its last transition: that of `before` while the status is the same.
    fn at(self, generation: i64, before: &[Condition], now: Timestamp) -> Condition {
        let status = match self.is_true {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let same = before
            .iter()
            .find(|condition| condition.type_ == self.question && condition.status == status);
        Condition {
            last_transition_time: same.map_or_else(
                || time(now),
                |condition| condition.last_transition_time.clone(),
            ),
            message: cut(&self.message, MESSAGE_CHARS_MAX),
            observed_generation: Some(generation),
            reason: self.reason.to_owned(),
            status: status.to_owned(),
            type_: self.question.to_owned(),
        }
    }
}

/// Every condition that applies to the object, in a fixed order.
pub(super) fn conditions(
    facts: Facts<'_>,
    values: &[ServedValue],
    before: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let view = facts.view();
    let finding = facts.finding;
    let mut answers = vec![spec_valid(facts)];
    answers.push(secrets_readable(&finding.secrets));
    if let Some(pods) = &finding.pods {
        answers.push(pods_found(pods, &facts.id.namespace));
    }
    answers.push(sources_reachable(view));
    if finding.pods.is_some() {
        answers.push(histogram_found(view));
    }
    // Where values are absent, an objective that cannot be resolved is no cause of it.
    let blocker = answers
        .iter()
        .find(|answer| answer.is_no() && is_blocking(answer, facts));
    let ready = ready(view, values, blocker);
    answers.extend(view.and_then(objective_resolvable));
    answers.push(ready);
    answers
        .into_iter()
        .map(|answer| answer.at(finding.generation, before, now))
        .collect()
}

/// Whether conditions are the same but for their sentences and times.
pub(super) fn are_alike(old: &[Condition], new: &[Condition]) -> bool {
    let is_alike = |(old, new): (&Condition, &Condition)| {
        old.type_ == new.type_ && old.status == new.status && old.reason == new.reason
    };
    old.len() == new.len() && old.iter().zip(new).all(is_alike)
}

/// A wrong spec stops nothing while an earlier one is in force.
fn is_blocking(answer: &Answer, facts: Facts<'_>) -> bool {
    answer.question != "SpecValid" || facts.finding.in_force.is_none()
}

fn spec_valid(facts: Facts<'_>) -> Answer {
    let question = "SpecValid";
    let finding = facts.finding;
    match (&finding.problem, finding.in_force) {
        (None, _) => Answer::yes(question, "Valid", "the spec is in force"),
        (Some(problem), Some(generation)) => Answer::no(
            question,
            "PreviousInForce",
            format!("{problem}; generation {generation} stays in force"),
        ),
        (Some(problem), None) => Answer::no(question, "Invalid", problem),
    }
}

fn secrets_readable(missing: &[String]) -> Answer {
    let question = "SecretsReadable";
    match missing {
        [] => Answer::yes(question, "AllRead", "no secret is missing"),
        [one] => Answer::no(question, "SecretMissing", one),
        [first, others @ ..] => Answer::no(
            question,
            "SecretMissing",
            format!("{first} (and {} more)", others.len()),
        ),
    }
}

fn pods_found(pods: &PodsFound, namespace: &str) -> Answer {
    let question = "PodsFound";
    let targets = pods.starting + pods.ready + pods.leaving;
    if let Some(problem) = &pods.problem {
        return Answer::no(question, "CannotWatchPods", problem);
    }
    if !pods.is_synced {
        return Answer::unknown(question, "Listing", "the pods are being listed");
    }
    if pods.matched == 0 {
        let message = format!("spec.source.pods.selector selects no pod of namespace {namespace}");
        return Answer::no(question, "NoPods", message);
    }
    let problems = pods.left_out.iter().filter(|(why, _)| why.is_problem());
    let left_out: usize = problems.map(|(_, n)| n).sum();
    let example = pods.examples.iter().find(|(_, why)| why.is_problem());
    match example {
        Some((name, why)) if 0 < left_out => Answer::no(
            question,
            reason_of(*why),
            format!(
                "{left_out} of {} selected pods cannot be read: pod {name} {why}",
                pods.matched
            ),
        ),
        _ => {
            let message = format!(
                "{} pods are selected, {targets} of them are targets",
                pods.matched
            );
            Answer::yes(question, "Found", message)
        }
    }
}

fn reason_of(why: LeftOut) -> &'static str {
    match why {
        LeftOut::HostNetwork => "HostNetwork",
        LeftOut::NoPort => "PortNotFound",
        LeftOut::TooMany => "TooManyPods",
        LeftOut::AddressTaken | LeftOut::NoAddress | LeftOut::Over => "LeftOut",
    }
}

/// Whether the targets answer. One failed read is no news: a target that is still known is not counted.
fn sources_reachable(view: Option<&ServiceView>) -> Answer {
    let question = "SourcesReachable";
    let unread = |message: &str| Answer::unknown(question, "NotReadYet", message);
    let Some(service) = view else {
        return unread("nothing was read yet");
    };
    let coverage = &service.coverage;
    let waited_for = coverage.known + coverage.starting + coverage.unknown;
    if waited_for == 0 {
        return Answer::unknown(
            question,
            "NoTargets",
            "there is no target that should answer",
        );
    }
    // A page without the histogram was reached.
    let mut failures: Vec<(FailureReason, u32)> = coverage
        .failures
        .iter()
        .map(|(reason, n)| (*reason, *n))
        .filter(|(reason, _)| *reason != FailureReason::NotFound)
        .collect();
    failures.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let is_missing_any = 0 < coverage.unknown || coverage.known == 0;
    match failures.first() {
        Some((reason, _)) if is_missing_any => {
            let n: u32 = failures.iter().map(|(_, n)| n).sum();
            let message = format!(
                "{n} of {waited_for} targets cannot be read{}: {}",
                coverage.reasons(),
                advice(*reason)
            );
            Answer::no(question, reason_of_failure(*reason), message)
        }
        _ if coverage.known == 0 && coverage.failures.is_empty() => {
            unread("no target was read twice yet, which a rate needs")
        }
        _ => Answer::yes(
            question,
            "AllAnswer",
            format!("{waited_for} targets answer"),
        ),
    }
}

fn reason_of_failure(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Timeout => "Timeout",
        FailureReason::Refused => "Refused",
        FailureReason::Disconnected => "Disconnected",
        FailureReason::Tls => "TlsFailed",
        FailureReason::Unauthorized => "Unauthorized",
        FailureReason::Status => "BadStatus",
        FailureReason::TooLarge => "TooLarge",
        FailureReason::Malformed => "Malformed",
        FailureReason::NotFound => "NotFound",
        FailureReason::NotReady => "NotReadyYet",
        FailureReason::Forbidden => "Forbidden",
    }
}

/// Where to look first.
fn advice(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Timeout => {
            "they do not answer in time; is a network policy in the way, or spec's timeout too short?"
        }
        FailureReason::Refused => {
            "nobody listens there, or may not be reached; are the port and the network policy right?"
        }
        FailureReason::Disconnected => "they hang up before the answer is whole; see their logs",
        FailureReason::Tls => "TLS fails; are scheme, authority and server name right?",
        FailureReason::Unauthorized => {
            "they refuse the credentials, or a secret could not be read; are the headers right?"
        }
        FailureReason::Status => "they answer with another status than 200; is the path right?",
        FailureReason::TooLarge => "their answers are larger than is read; is the path right?",
        FailureReason::Malformed => "what they answer is no page of metrics; is the path right?",
        FailureReason::NotFound => "what is named in the spec is not there",
        FailureReason::NotReady => "they answer that they are not ready yet",
        FailureReason::Forbidden => {
            "the adapter may not connect there: its operator lists Redis servers with --allow-redis, and loopback, \
             link-local and the API server's addresses are not read"
        }
    }
}

fn histogram_found(view: Option<&ServiceView>) -> Answer {
    let question = "HistogramFound";
    let Some(service) = view else {
        return Answer::unknown(question, "NotReadYet", "nothing was read yet");
    };
    let coverage = &service.coverage;
    let lacking = coverage.failures.get(&FailureReason::NotFound);
    if let Some(n) = lacking.copied().filter(|n| 0 < *n) {
        let message = format!(
            "{n} pages lack the histogram, or have several and spec.source.pods.histogram names none; \
             an app may print it only after its first request"
        );
        return Answer::no(question, "HistogramNotFound", message);
    }
    match service.base() {
        Some(base) if 0.0 < base.requests && base.bounds.is_empty() => Answer::no(
            question,
            "NoBuckets",
            "the pages have no buckets, or none in common, so only quantile=mean can be served",
        ),
        Some(_) => Answer::yes(question, "Found", "the pages have the histogram"),
        None => Answer::unknown(question, "NotReadYet", "no page was read lately"),
    }
}

/// Whether the buckets can tell if the objective holds; `None` while there are none, or no objective.
fn objective_resolvable(service: &ServiceView) -> Option<Answer> {
    let question = "ObjectiveResolvable";
    let objective = service.objective?;
    if service.base()?.bounds.is_empty() {
        return None;
    }
    let latency = humantime::format_duration(objective.latency);
    let ms = |seconds: f64| format!("{} ms", (seconds * 1e6).round() / 1e3);
    Some(match service.missing_bound() {
        None => Answer::yes(
            question,
            "BoundAtObjective",
            format!("a bucket bound is at the objective of {latency}"),
        ),
        Some((Some(below), Some(above))) if above <= below * FINE_BOUNDS => Answer::yes(
            question,
            "FineBuckets",
            format!("the buckets around the objective of {latency} are fine"),
        ),
        Some((below, Some(above))) => {
            let nearest = below.map_or_else(
                || format!("the lowest is {}", ms(above)),
                |below| format!("the nearest are {} and {}", ms(below), ms(above)),
            );
            let message = format!(
                "no bucket bound is at the objective of {latency} ({nearest}), so slow_request_ratio and latencies \
                 around it are estimates; give the histogram a bound there"
            );
            Answer::no(question, "NoBoundAtObjective", message)
        }
        Some((highest, None)) => {
            let highest = highest.map_or_else(String::new, |bound| format!(", {}", ms(bound)));
            let message = format!(
                "the objective of {latency} is above the highest bucket bound{highest}, which no quantile exceeds, so \
                 an HPA would never see it missed; give the histogram bounds at and above the objective"
            );
            Answer::no(question, "ObjectiveAboveBuckets", message)
        }
    })
}

fn ready(view: Option<&ServiceView>, values: &[ServedValue], blocker: Option<&Answer>) -> Answer {
    let absent: Vec<&ServedValue> = values
        .iter()
        .filter(|value| value.value.is_none())
        .collect();
    if absent.len() < values.len() {
        return match (view.map(|service| &service.state), absent.first()) {
            (Some(State::Partial { known, of }), _) => Answer::yes(
                READY,
                "ServedInPart",
                format!("values are served of {known} of {of} targets"),
            ),
            (_, Some(value)) => Answer::yes(
                READY,
                "ServedInPart",
                format!(
                    "{} of {} values are served; {} is not",
                    values.len() - absent.len(),
                    values.len(),
                    value.metric
                ),
            ),
            _ => Answer::yes(READY, "Served", "all values are served"),
        };
    }
    if let Some(blocker) = blocker {
        return Answer::no(READY, blocker.reason, &blocker.message);
    }
    let why = match view.map(|service| &service.state) {
        Some(State::Unknown(why)) => why,
        Some(_) => "nothing it names was read",
        None => "it was not read yet",
    };
    Answer::no(
        READY,
        "NotReadYet",
        format!("nothing is served, because {why}"),
    )
}

/// Whole seconds, as Kubernetes writes them.
fn time(now: Timestamp) -> Time {
    Time(jiff::Timestamp::from_second(now.ms().div_euclid(1000)).unwrap_or_default())
}
