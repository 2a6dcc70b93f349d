//! The shadow of each HPA at work: it is told of reads by the API and of objects by the cluster's watch, asks discovery
//! for pods, and says why when the API is asked. All that is decided is decided in [`crate::shadow`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, timeout};

use crate::api::explain::{Explained, Explains, LISTED_MAX, MetricRead};
use crate::clock;
use crate::cluster::autoscalers::News;
use crate::cluster::discover::PodsAsked;
use crate::engine::snapshot::Metric;
use crate::metrics::{Autoscaler, Metrics};
use crate::model::selector::Selector;
use crate::model::time::Timestamp;
use crate::shadow::book::{AUTOSCALERS_MAX, PER_NAMESPACE_MAX, WANTED_BYTES_MAX};
use crate::shadow::sync::Agreement;
use crate::shadow::{Book, Id, Known, Limits, NotKnown, Pods, Read, Served, Wanted};
use crate::story::Explanation;
use crate::story::document::{ChangedByOthers, Record};

/// Reads that may wait to be taken note of: what a controller with its usual rate makes in 50 s. One more is not noted,
/// and counted: a request never waits for this.
const READS_MAX: usize = 1_024;

/// News of objects that may wait; the watch waits when they are too many.
pub(super) const NEWS_MAX: usize = 256;

/// Questions for pods that may wait: there is one at a time.
pub(super) const QUESTIONS_MAX: usize = 1;

/// How long discovery may take to say which pods there are. It is busy for so long only with thousands of objects; then
/// the sync is kept without its pods.
const PODS_WITHIN: Duration = Duration::from_secs(1);

/// How often syncs are looked at that may be over, and counters brought up to date.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Metrics of one HPA that our own metrics name: an HPA reads a handful, and who writes one with thousands must not fill
/// a Prometheus with their labels.
const METRICS_SHOWN_MAX: usize = 10;

/// What is known of HPAs, and who may ask.
pub(super) struct Shadow {
    book: Mutex<Book>,
    reads: mpsc::Sender<Read>,
    metrics: Arc<Metrics>,
    /// The name of this replica: each knows what it saw.
    replica: String,
}

/// Keeps what is known up to date.
pub(super) struct Keeper {
    shadow: Arc<Shadow>,
    reads: mpsc::Receiver<Read>,
    news: mpsc::Receiver<News>,
    pods: mpsc::Sender<PodsAsked>,
}

impl Shadow {
    /// A shadow of nothing yet, and its keeper, who is told `news` and asks for `pods`.
    pub(super) fn new(
        replica: String,
        metrics: Arc<Metrics>,
        news: mpsc::Receiver<News>,
        pods: mpsc::Sender<PodsAsked>,
    ) -> (Arc<Self>, Keeper) {
        let (sender, reads) = mpsc::channel(READS_MAX);
        let shadow = Arc::new(Self {
            book: Mutex::new(Book::new(Limits::default())),
            reads: sender,
            metrics,
            replica,
        });
        let watched = Arc::downgrade(&shadow);
        shadow.metrics.ask_autoscalers(move || {
            let shadow = watched.upgrade();
            shadow.map_or_else(Vec::new, |shadow| shadow.autoscalers())
        });
        let keeper = Keeper {
            shadow: Arc::clone(&shadow),
            reads,
            news,
            pods,
        };
        (shadow, keeper)
    }

    /// Never held over an await, nor while an HPA's hour is decided again.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What our own metrics say of each HPA.
    fn autoscalers(&self) -> Vec<Autoscaler> {
        let book = self.book();
        let all = book.all();
        all.map(|(id, wanted, last_sync)| Autoscaler {
            namespace: Arc::clone(&id.namespace),
            name: Arc::clone(&id.name),
            last_sync,
            metrics: metrics_read(wanted),
        })
        .collect()
    }

    /// What is known of an HPA, worked out beside the book.
    fn known(&self, id: &Id, at: Option<Timestamp>) -> Result<Known, NotKnown> {
        let ring = self.book().known(id).cloned();
        ring?.explain(id, at)
    }

    /// A sync as it is served. Its facts, which hold every pod, are for who asks for one HPA.
    fn say(&self, known: Known, with_facts: bool) -> Explained {
        let record = Record {
            replica: self.replica.clone(),
            watched_since: known.since,
            newest: known.newest,
            syncs: known.syncs,
            agreement: known.agreement.as_str().to_owned(),
            presumed: known.presumed,
            changed_by_others: known.changed_by_others.map(|from| ChangedByOthers {
                from,
                to: known.facts.spec_replicas,
            }),
        };
        let content = [
            ("explanation", json!(Explanation::new(&known.facts))),
            ("keptSince", json!(known.oldest)),
            ("partedCount", json!(known.parted)),
            ("record", json!(record)),
        ];
        let facts = with_facts.then(|| ("facts", json!(known.facts)));
        let content = content.into_iter().chain(facts);
        let content = content.map(|(field, value)| (field.to_owned(), value));
        Explained {
            namespace: known.facts.namespace,
            name: known.facts.name,
            at: known.facts.at,
            content: Map::from_iter(content),
        }
    }
}

impl Explains for Shadow {
    fn read(&self, read: MetricRead) {
        let MetricRead {
            at,
            namespace,
            metric,
            selector,
            answer,
        } = read;
        let read = Read {
            at,
            namespace,
            metric: metric.name(),
            selector,
            answer: answer.map(|items| Served {
                values_milli: items.values_milli,
                oldest: items.oldest,
                state: items.state,
            }),
        };
        if self.reads.try_send(read).is_err() {
            self.metrics.shadow_dropped("reads", 1);
        }
    }

    fn explain(
        &self,
        namespace: &str,
        name: &str,
        at: Option<Timestamp>,
    ) -> Result<Explained, String> {
        let id = Id::new(namespace, name);
        let known = self.known(&id, at);
        known
            .map(|known| self.say(known, true))
            .map_err(|why| refusal(&id, &self.replica, why))
    }

    fn explain_all(
        &self,
        namespace: &str,
        is_wanted: &dyn Fn() -> bool,
    ) -> (Vec<Explained>, usize) {
        let ids: Vec<Id> = self.book().names(namespace).cloned().collect();
        let (listed, more) = ids.split_at(ids.len().min(LISTED_MAX));
        let listed = listed.iter().take_while(|_| is_wanted());
        let known = listed.filter_map(|id| self.known(id, None).ok());
        let said = known.map(|known| self.say(known, false));
        (said.collect(), more.len())
    }
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").finish_non_exhaustive()
    }
}

impl Keeper {
    /// Takes in what comes, for ever.
    pub(super) async fn run(mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Reads before news: the status that ends a sync is written after the sync's reads.
                biased;
                Some(read) = self.reads.recv() => self.read(read).await,
                Some(news) = self.news.recv() => self.hear(news).await,
                _ = looks.tick() => self.look(),
            }
        }
    }

    async fn read(&self, read: Read) {
        let Some(id) = self.shadow.book().whose(&read).cloned() else {
            return;
        };
        let pods = self.pods(&id).await;
        self.shadow.book().read(&id, read, pods);
    }

    async fn hear(&self, news: News) {
        match news {
            News::Object(id, object) => {
                let pods = self.pods(&id).await;
                self.shadow.book().apply(clock::now(), &id, *object, pods);
            }
            News::Selector(id, selector) => self.shadow.book().select(&id, selector),
            News::Gone(id) => self.shadow.book().remove(&id),
            News::All(ids) => self.shadow.book().retain(&ids),
            News::Lost => self.shadow.book().lose(),
            News::Back => self.shadow.book().see_again(clock::now()),
        }
    }

    /// The pods that an HPA counts now, as far as is known.
    async fn pods(&self, id: &Id) -> Option<Pods> {
        let selector = self.shadow.book().selector(id)?;
        let (answer, told) = oneshot::channel();
        let asked = PodsAsked {
            namespace: Arc::clone(&id.namespace),
            selector,
            answer,
        };
        let ask = async {
            self.pods.send(asked).await.ok()?;
            told.await.ok()?
        };
        timeout(PODS_WITHIN, ask).await.ok()?
    }

    fn look(&self) {
        let metrics = &self.shadow.metrics;
        let mut book = self.shadow.book();
        book.tick(clock::now());
        let counts = book.take_counts();
        metrics.autoscalers_held(book.len());
        metrics.shadow_held(book.syncs(), book.bytes());
        drop(book);
        for (agreement, syncs) in Agreement::ALL.into_iter().zip(counts.decisions) {
            metrics.shadow_decided(agreement.as_str(), syncs);
        }
        metrics.shadow_changed_by_others(counts.changes_by_others);
        metrics.shadow_dropped("syncs", counts.forgotten_syncs);
        metrics.shadow_dropped("autoscalers", counts.refused_autoscalers);
        metrics.shadow_dropped("autoscalers_of_namespace", counts.refused_of_namespace);
        metrics.shadow_dropped("autoscalers_too_large", counts.refused_too_large);
        metrics.shadow_dropped("reads", 0);
    }
}

/// The metrics of ours that an HPA reads, in a fixed order, each with the service that its selector names. Of a custom
/// metric the object is not kept, so its service is not known.
fn metrics_read(wanted: &Wanted) -> Vec<(&'static str, String)> {
    let read = wanted.spec.metrics.iter().zip(&wanted.selectors);
    let ours = read.filter_map(|(metric, selector)| {
        let metric = Metric::from_name(metric.name())?;
        let selector = Selector::parse(selector).unwrap_or_default();
        let service = selector.only("service").unwrap_or_default();
        Some((metric.name(), service.to_owned()))
    });
    let ours: BTreeSet<_> = ours.collect();
    ours.into_iter().take(METRICS_SHOWN_MAX).collect()
}

/// Why nothing is known of an HPA, for whoever asks.
fn refusal(id: &Id, replica: &str, why: NotKnown) -> String {
    let time = |at: Timestamp| at.to_rfc3339().unwrap_or_default();
    match why {
        NotKnown::Autoscaler => {
            format!("no HorizontalPodAutoscaler {id} is known that reads a metric of Taffrail")
        }
        NotKnown::NoRoom => format!(
            "HorizontalPodAutoscaler {id} is not watched, for want of room: at most {AUTOSCALERS_MAX} HPAs are, \
             {PER_NAMESPACE_MAX} of them in one namespace, and none whose metrics take more than {WANTED_BYTES_MAX} bytes"
        ),
        NotKnown::Yet { since } => format!(
            "replica {replica} watches HorizontalPodAutoscaler {id} since {}, and has seen no sync of it yet: it does one \
             every 15 s",
            time(since)
        ),
        NotKnown::Before { since, oldest } => format!(
            "what replica {replica} remembers of HorizontalPodAutoscaler {id} begins at {}; it watches it since {}, and \
             keeps an hour",
            time(oldest),
            time(since)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::facts::ScaleTarget;

    fn wanted(metrics: &[(&str, &str)]) -> Wanted {
        let external = |(metric, _): &(&str, &str)| json!({"type": "External", "metric": metric, "target": {"valueMilli": 1}});
        let metrics_json: Vec<_> = metrics.iter().map(external).collect();
        let spec = json!({"minReplicas": 1, "maxReplicas": 5, "metrics": metrics_json});
        Wanted {
            target: ScaleTarget {
                kind: "Deployment".to_owned(),
                name: "web".to_owned(),
            },
            spec: serde_json::from_value(spec).unwrap(),
            selectors: metrics
                .iter()
                .map(|(_, selector)| (*selector).to_owned())
                .collect(),
        }
    }

    #[test]
    fn our_own_metrics_name_each_service_that_an_hpa_reads_once() {
        let read = metrics_read(&wanted(&[
            ("Request_Rate", "service=users"),
            ("request_latency_ms", "quantile=0.95,service=users"),
            ("request_latency_ms", "quantile=0.5,service=users"),
            ("redis_backlog", "service in (mail,print)"),
            ("queue_length", "service=users"),
        ]));
        let of = |metric, service: &str| (metric, service.to_owned());
        assert_eq!(
            read,
            [
                of("redis_backlog", ""),
                of("request_latency_ms", "users"),
                of("request_rate", "users"),
            ]
        );
    }

    #[test]
    fn an_hpa_with_a_thousand_metrics_has_no_thousand_series() {
        let selectors: Vec<String> = (0..1_000).map(|n| format!("service=s{n}")).collect();
        let metrics: Vec<(&str, &str)> = selectors
            .iter()
            .map(|selector| ("request_rate", selector.as_str()))
            .collect();
        assert_eq!(metrics_read(&wanted(&metrics)).len(), METRICS_SHOWN_MAX);
    }
}
