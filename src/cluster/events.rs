//! What `kubectl get events` and `kubectl describe requestmetrics` tell of the past: that a condition changed. Never
//! what it is, over and over.
//!
//! An event that comes too soon after the last one of its kind is not lost but owed: it is told when its minute is over,
//! if it still holds by then. So a condition that goes to and fro makes few events, and the last one is true.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tracing::{info, warn};

use crate::cluster::crd::RequestMetrics;
use crate::model::id::ServiceId;

use super::bucket::Bucket;
use super::request::{RequestError, WRITER, within_deadline};

/// Between two events of one object and reason.
pub(super) const SAME_EVENT_EVERY: Duration = Duration::from_secs(60);

/// Events a second, of all objects together: each is an object of the API server for an hour, so this is 18,000 at most.
pub(super) const EVENTS_PER_SECOND: f64 = 5.0;

/// Events that may come at once.
pub(super) const EVENTS_BURST: u32 = 25;

/// Bytes of an event's note, which the API server limits.
const NOTE_BYTES_MAX: usize = 1_024;

/// The condition whose becoming true is told even the first time: that of the others goes without saying.
const READY: &str = "Ready";

/// The reason of a [`READY`] that is false because nothing was tried yet. It is no news of an object that is new.
const NOT_READ_YET: &str = "NotReadYet";

/// One event to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Notice {
    /// Whether somebody should have a look.
    pub(super) is_warning: bool,
    /// For programs and for columns.
    pub(super) reason: String,
    /// For people.
    pub(super) note: String,
}

/// What was told of every object. Pure: time is an argument.
#[derive(Debug)]
pub(super) struct Told {
    objects: BTreeMap<ServiceId, Object>,
    bucket: Bucket,
}

#[derive(Debug, Default)]
struct Object {
    /// The answer and its reason by condition, as last told.
    answers: BTreeMap<String, (bool, String)>,
    /// When an event of a reason was last told. Reasons are few and fixed.
    reasons: BTreeMap<String, Instant>,
}

/// Sends events.
pub(super) struct Announcer {
    recorder: Recorder,
    is_failing: bool,
}

// === impl Told ===

impl Default for Told {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            bucket: Bucket::new(EVENTS_PER_SECOND, EVENTS_BURST),
        }
    }
}

impl Told {
    /// Takes conditions that an earlier process wrote for told.
    pub(super) fn assume(&mut self, id: &ServiceId, conditions: &[Condition]) {
        let object = self.objects.entry(id.clone()).or_default();
        for condition in conditions {
            if let Some(is_true) = answer(condition) {
                let told = (is_true, condition.reason.clone());
                object.answers.insert(condition.type_.clone(), told);
            }
        }
    }

    /// What is to be told of an object whose status now says `conditions`. Each counts as told.
    pub(super) fn news(
        &mut self,
        id: &ServiceId,
        conditions: &[Condition],
        now: Instant,
    ) -> Vec<Notice> {
        if !self.objects.contains_key(id) {
            self.objects.insert(id.clone(), Object::default());
        }
        let Some(object) = self.objects.get_mut(id) else {
            return Vec::new();
        };
        let mut news = Vec::new();
        for condition in conditions {
            let Some(is_true) = answer(condition) else {
                continue;
            };
            let told = object.answers.get(&condition.type_);
            let is_known = told.is_some_and(|(was_true, reason)| {
                *was_true == is_true && *reason == condition.reason
            });
            if is_known {
                continue;
            }
            if is_news(condition, is_true, told) {
                let notice = Notice::of(condition, is_true);
                let is_soon = object
                    .reasons
                    .get(&notice.reason)
                    .is_some_and(|at| now < *at + SAME_EVENT_EVERY);
                if is_soon || self.bucket.take(1, now) == 0 {
                    continue;
                }
                object.reasons.insert(notice.reason.clone(), now);
                news.push(notice);
            }
            let answer = (is_true, condition.reason.clone());
            object.answers.insert(condition.type_.clone(), answer);
        }
        news
    }

    /// The object is gone, or another by the same name.
    pub(super) fn forget(&mut self, id: &ServiceId) {
        self.objects.remove(id);
    }
}

/// Whether an answer other than the one told is worth an event.
fn is_news(condition: &Condition, is_true: bool, told: Option<&(bool, String)>) -> bool {
    let is_ready = condition.type_ == READY;
    match told {
        None if is_true => is_ready,
        None => !is_ready || condition.reason != NOT_READ_YET,
        Some((was_true, _)) if *was_true != is_true => true,
        // Why it is not ready is told by the condition that is the cause.
        Some(_) => !is_true && !is_ready,
    }
}

/// `None` while it is unknown, which is no event: what follows is.
fn answer(condition: &Condition) -> Option<bool> {
    match condition.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

// === impl Notice ===

impl Notice {
    /// Named after the condition where that is true, and after the trouble where it is not.
    fn of(condition: &Condition, is_true: bool) -> Self {
        let reason = match (is_true, condition.type_.as_str()) {
            (false, READY) => "NotReady".to_owned(),
            (true, _) => condition.type_.clone(),
            (false, _) => condition.reason.clone(),
        };
        let mut note = condition.message.clone();
        let most = NOTE_BYTES_MAX.min(note.len());
        let end = (0..=most).rev().find(|end| note.is_char_boundary(*end));
        note.truncate(end.unwrap_or_default());
        Self {
            is_warning: !is_true,
            reason,
            note,
        }
    }
}

// === impl Announcer ===

impl Announcer {
    /// `instance` is the name of this replica.
    pub(super) fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter {
            controller: WRITER.to_owned(),
            instance: Some(instance),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            is_failing: false,
        }
    }

    /// Sends one event. One that cannot be sent is lost: the status says the same.
    pub(super) async fn announce(&mut self, id: &ServiceId, uid: &str, notice: Notice) {
        let event = Event {
            type_: if notice.is_warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: notice.reason,
            note: Some(notice.note),
            action: "Evaluate".to_owned(),
            secondary: None,
        };
        let regarding = ObjectReference {
            api_version: Some(RequestMetrics::api_version(&()).into_owned()),
            kind: Some(RequestMetrics::kind(&()).into_owned()),
            namespace: Some(id.namespace.to_string()),
            name: Some(id.name.to_string()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let sent = within_deadline(async {
            match self.recorder.publish(&event, &regarding).await {
                Err(error) if is_about_the_past(&error) => Ok(()),
                sent => sent,
            }
        });
        self.say(sent.await);
    }

    fn say(&mut self, sent: Result<(), RequestError>) {
        match sent {
            Ok(()) if self.is_failing => info!("Events can be written again"),
            Ok(()) => {}
            Err(error) if !self.is_failing => {
                let advice = match &error {
                    RequestError::Refused { code: 403, .. } => {
                        "allow create and patch on events of events.k8s.io"
                    }
                    _ => "the status of the objects says the same",
                };
                warn!(%error, advice, "Events cannot be written");
                self.is_failing = true;
                return;
            }
            Err(_) => return,
        }
        self.is_failing = false;
    }
}

/// Whether an event failed because what it is about, or the event that it continues, is going or gone.
fn is_about_the_past(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let is_terminating = status.details.as_ref().is_some_and(|details| {
        let mut causes = details.causes.iter();
        causes.any(|cause| cause.reason == "NamespaceTerminating")
    });
    status.code == 404 || is_terminating
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use proptest::prelude::*;

    fn users() -> ServiceId {
        ServiceId::new("shop", "users")
    }

    fn condition(type_: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: format!("{reason} it is"),
            observed_generation: None,
            last_transition_time: Time(k8s_openapi::jiff::Timestamp::default()),
        }
    }

    fn reasons(news: &[Notice]) -> Vec<&str> {
        news.iter().map(|notice| notice.reason.as_str()).collect()
    }

    #[test]
    fn a_new_object_is_told_when_it_is_ready_and_not_before() {
        let start = crate::clock::instant();
        let mut told = Told::default();
        let first = [
            condition("SpecValid", "True", "Valid"),
            condition("SourcesReachable", "Unknown", NOT_READ_YET),
            condition(READY, "False", NOT_READ_YET),
        ];
        assert_eq!(told.news(&users(), &first, start), []);
        let second = [
            condition("SpecValid", "True", "Valid"),
            condition("SourcesReachable", "True", "AllAnswer"),
            condition(READY, "True", "Served"),
        ];
        let news = told.news(&users(), &second, start);
        assert_eq!(
            news,
            [Notice {
                is_warning: false,
                reason: READY.to_owned(),
                note: "Served it is".to_owned()
            }]
        );
        // Never again while it stays.
        for s in 0..1_000 {
            let now = start + Duration::from_secs(s);
            assert_eq!(told.news(&users(), &second, now), []);
        }
    }

    #[test]
    fn trouble_is_told_by_its_reason_and_so_is_its_end() {
        let start = crate::clock::instant();
        let mut told = Told::default();
        let mut news = |at: u64, found: &Condition, ready: &Condition| {
            let conditions = [found.clone(), ready.clone()];
            told.news(&users(), &conditions, start + Duration::from_secs(at))
        };
        let missing = condition("HistogramFound", "False", "HistogramNotFound");
        let not_ready = condition(READY, "False", "HistogramNotFound");
        let first = news(0, &missing, &not_ready);
        assert_eq!(reasons(&first), ["HistogramNotFound", "NotReady"]);
        assert!(first.iter().all(|notice| notice.is_warning));
        // Unknown in between changes nothing.
        let unknown = condition("HistogramFound", "Unknown", NOT_READ_YET);
        assert_eq!(news(1, &unknown, &not_ready), []);
        let other = condition("HistogramFound", "False", "NoBuckets");
        assert_eq!(reasons(&news(2, &other, &not_ready)), ["NoBuckets"]);
        let found = condition("HistogramFound", "True", "Found");
        let ready = condition(READY, "True", "Served");
        assert_eq!(reasons(&news(3, &found, &ready)), ["HistogramFound", READY]);
    }

    #[test]
    fn what_goes_to_and_fro_is_told_once_a_minute_and_the_last_word_is_true() {
        let start = crate::clock::instant();
        let mut told = Told::default();
        let mut all = Vec::new();
        for s in 0..=300 {
            let is_true = s % 2 == 1 || 240 <= s;
            let ready = if is_true {
                condition(READY, "True", "Served")
            } else {
                condition(READY, "False", "Timeout")
            };
            all.extend(told.news(&users(), &[ready], start + Duration::from_secs(s)));
        }
        assert!(all.len() <= 10, "{} events in five minutes", all.len());
        assert_eq!(all.last().map(|notice| notice.is_warning), Some(false));
    }

    #[test]
    fn after_a_restart_nothing_is_told_twice() {
        let start = crate::clock::instant();
        let conditions = [
            condition("HistogramFound", "False", "HistogramNotFound"),
            condition(READY, "True", "Served"),
        ];
        let mut told = Told::default();
        told.assume(&users(), &conditions);
        assert_eq!(told.news(&users(), &conditions, start), []);
        told.forget(&users());
        assert_eq!(told.news(&users(), &conditions, start).len(), 2);
    }

    #[test]
    fn a_note_is_cut_between_characters() {
        let mut long = condition(READY, "True", "Served");
        long.message = "x".to_owned() + &"é".repeat(1_000);
        let notice = Notice::of(&long, true);
        assert_eq!(notice.note.len(), NOTE_BYTES_MAX - 1);
    }

    proptest! {
        #[test]
        fn no_reason_is_told_twice_within_its_minute(
            steps in proptest::collection::vec((0u64..20, any::<bool>(), 0usize..3), 1..300),
        ) {
            let start = crate::clock::instant();
            let mut told = Told::default();
            let mut last: BTreeMap<String, Duration> = BTreeMap::new();
            let mut now = Duration::ZERO;
            for (wait, is_true, reason) in steps {
                now += Duration::from_secs(wait);
                let status = if is_true { "True" } else { "False" };
                let reason = ["Timeout", "Refused", "BadStatus"][reason];
                let conditions = [condition("SourcesReachable", status, reason), condition(READY, status, reason)];
                for notice in told.news(&users(), &conditions, start + now) {
                    if let Some(before) = last.insert(notice.reason, now) {
                        prop_assert!(SAME_EVENT_EVERY <= now - before);
                    }
                }
            }
        }
    }
}
