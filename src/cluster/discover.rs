//! What is wanted, as the cluster says it: `RequestMetrics` objects and the pods they select, watched and joined to
//! services. Nothing is forgotten because the API server is away: the last complete sets stay in force until newer
//! complete ones replace them, and sources go on reading the pods they know.
//!
//! Pods are watched namespace by namespace, only where an object selects some. One watch of the whole cluster would need
//! a role that reads every pod, and would decode each change of 30,000 pods where those of ten namespaces matter; and a
//! namespace whose pods may not be read costs itself alone. Within a namespace there is one watch of all pods: several
//! objects share it, and the API has no selector that says "any of these". A pod costs some 350 bytes.

mod ask;
mod findings;
mod join;
mod objects;
mod pods;
pub(super) mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch as channel};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use self::join::{Joined, Known, join};
use self::objects::Objects;
use self::pods::{PODS_MAX, Pods};
use self::watch::{Loss, News, follow};
use super::pod::{Templates, WirePod};
use super::secrets;
use crate::clock;
use crate::config::Service;
use crate::metrics::Metrics;
use crate::source::secret::{SecretKey, SecretStore};

pub use self::ask::PodsAsked;
pub use self::findings::{
    EXAMPLES_MAX, Finding, Findings, LeftOut, PodsFound, REVISIONS_MAX, Revision,
};

/// Changes are gathered for this long: a rollout changes pods many times a second, and a join looks at all of them. A
/// new pod is read within a second all the same.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// What a join took, times this, is the least between two: with as many objects and pods as may be held one takes
/// seconds, and who changes a pod all the time must not keep a processor busy with them.
const REST_SHARE: u32 = 4;

/// The first set waits no longer for a namespace whose list is slow: the others are complete.
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// Namespaces whose pods are watched. Each is a connection's stream and a request a minute.
const NAMESPACES_MAX: usize = 500;

/// Messages that may wait. Watches wait when it is full, and the API server with them.
const MESSAGES_MAX: usize = 1_024;

/// What discovery is wired to.
pub struct Wiring {
    /// Talks to the API server.
    pub client: Client,
    /// Where secrets that objects name are put.
    pub secrets: SecretStore,
    /// The services wanted.
    pub services: channel::Sender<Arc<Vec<Service>>>,
    /// What was found for each object.
    pub findings: channel::Sender<Arc<Findings>>,
    /// What happened is counted here.
    pub metrics: Arc<Metrics>,
    /// Whether single pods can be asked for, by name and labels.
    pub names_pods: bool,
    /// Who asks which pods there are.
    pub asked: mpsc::Receiver<PodsAsked>,
}

/// What watches say, and which.
enum Message {
    Objects(Box<News<DynamicObject>>),
    Pods {
        namespace: Arc<str>,
        /// Tells a watch from an earlier one of the same namespace.
        nth: u64,
        news: Box<News<WirePod>>,
    },
}

/// Everything that is known, and the watches that it is known from.
struct Discovery {
    client: Client,
    messages: mpsc::Sender<Message>,
    metrics: Arc<Metrics>,
    names_pods: bool,
    objects: Objects,
    /// A list of objects that is not complete yet.
    incoming: Option<Objects>,
    are_objects_synced: bool,
    objects_lost: Option<Loss>,
    namespaces: BTreeMap<Arc<str>, Namespace>,
    /// Namespaces with objects that no watch is left for.
    unwatched: BTreeSet<Arc<str>>,
    templates: Templates,
    /// Watches begun.
    begun: u64,
    /// Whether anything was published yet.
    is_published: bool,
}

/// The pods of one namespace and their watch, which ends with it.
struct Namespace {
    pods: Pods,
    lost: Option<Loss>,
    nth: u64,
    _watch: AbortOnDropHandle<()>,
}

/// Watches until `stop`, and publishes services and findings whenever they change.
pub async fn run(wiring: Wiring, stop: CancellationToken) {
    stop.run_until_cancelled(discover(wiring)).await;
}

async fn discover(wiring: Wiring) {
    let Wiring {
        client,
        secrets,
        services,
        findings,
        metrics,
        names_pods,
        mut asked,
    } = wiring;
    let (messages, mut arriving) = mpsc::channel(MESSAGES_MAX);
    let (wanted, wanted_secrets) = channel::channel(Arc::default());
    let (found, mut secrets_changed) = channel::channel(());
    let _secrets = AbortOnDropHandle::new(tokio::spawn(secrets::run(
        client.clone(),
        wanted_secrets,
        secrets.clone(),
        found,
    )));
    let objects = Api::all_with(client.clone(), &objects::resource());
    let _objects =
        AbortOnDropHandle::new(tokio::spawn(follow(objects, messages.clone(), |news| {
            Message::Objects(Box::new(news))
        })));
    let mut discovery = Discovery::new(client, messages, metrics, names_pods);
    let mut is_first = true;
    let mut rest = DEBOUNCE;
    let mut due: Option<Pin<Box<Sleep>>> = Some(Box::pin(sleep(FIRST_WITHIN)));
    loop {
        let is_change = tokio::select! {
            Some(message) = arriving.recv() => discovery.take(message),
            Ok(()) = secrets_changed.changed() => true,
            Some(question) = asked.recv() => {
                let namespace = discovery.namespaces.get(&question.namespace);
                question.answer(namespace);
                false
            }
            () = passed(&mut due) => {
                due = None;
                // Without the objects there is nothing to publish, however long it takes.
                is_first = is_first && !discovery.are_objects_known();
                if !is_first {
                    let began = clock::instant();
                    discovery.publish(&secrets, &services, &findings);
                    rest = DEBOUNCE.max(REST_SHARE * began.elapsed());
                }
                false
            }
        };
        if is_change {
            wanted.send_if_modified(|before| replace(before, discovery.secrets()));
        }
        if is_first && discovery.is_complete() {
            is_first = false;
            due = None;
            discovery.publish(&secrets, &services, &findings);
        } else if is_change && !is_first && due.is_none() {
            due = Some(Box::pin(sleep(rest)));
        } else if is_first && due.is_none() {
            due = Some(Box::pin(sleep(FIRST_WITHIN)));
        }
    }
}

/// Completes when a timer does; never without one.
async fn passed(timer: &mut Option<Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}

fn replace<T: PartialEq>(before: &mut Arc<T>, now: T) -> bool {
    let is_change = **before != now;
    if is_change {
        *before = Arc::new(now);
    }
    is_change
}

/// The client holds credentials.
impl fmt::Debug for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wiring").finish_non_exhaustive()
    }
}

// === impl Discovery ===

impl Discovery {
    fn new(
        client: Client,
        messages: mpsc::Sender<Message>,
        metrics: Arc<Metrics>,
        names_pods: bool,
    ) -> Self {
        Self {
            client,
            messages,
            metrics,
            names_pods,
            objects: Objects::default(),
            incoming: None,
            are_objects_synced: false,
            objects_lost: None,
            namespaces: BTreeMap::new(),
            unwatched: BTreeSet::new(),
            templates: Templates::default(),
            begun: 0,
            is_published: false,
        }
    }

    /// Takes what a watch says. Returns whether what is wanted or found may have changed.
    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Objects(news) => match *news {
                News::Event(event) => {
                    let is_change = self.take_object(event);
                    if is_change {
                        self.watch_namespaces();
                    }
                    is_change
                }
                News::Lost(loss) => {
                    let advice = match &loss {
                        Loss::Forbidden => {
                            "let the adapter list and watch requestmetrics in all namespaces"
                        }
                        Loss::Unknown => {
                            "apply the resource's definition: taffrail crd | kubectl apply -f -"
                        }
                        Loss::Away(_) => "the objects known stay in force",
                    };
                    warn!(resource = "requestmetrics", error = %loss, "Watch lost; {advice}");
                    self.objects_lost = Some(loss);
                    true
                }
                News::Back => {
                    info!(resource = "requestmetrics", "Watch is back");
                    self.objects_lost = None;
                    true
                }
            },
            Message::Pods {
                namespace,
                nth,
                news,
            } => self.take_pods(&namespace, nth, *news),
        }
    }

    fn take_object(&mut self, event: Event<DynamicObject>) -> bool {
        match event {
            Event::Init => {
                self.incoming = Some(Objects::default());
                false
            }
            Event::InitApply(object) => {
                let incoming = self.incoming.get_or_insert_default();
                incoming.take(object, Some(&self.objects));
                false
            }
            Event::InitDone => {
                if self.are_objects_synced {
                    self.metrics.watch_restarted("requestmetrics");
                }
                self.objects = self.incoming.take().unwrap_or_default();
                self.are_objects_synced = true;
                true
            }
            Event::Apply(object) => self.objects.take(object, None),
            Event::Delete(object) => {
                let id = objects::id(&object);
                id.is_some_and(|id| self.objects.held.remove(&id).is_some())
            }
        }
    }

    fn take_pods(&mut self, name: &Arc<str>, nth: u64, news: News<WirePod>) -> bool {
        let held: usize = self
            .namespaces
            .values()
            .map(|one| one.pods.held.len())
            .sum();
        let Some(namespace) = self.namespaces.get_mut(name) else {
            return false;
        };
        if namespace.nth != nth {
            return false;
        }
        match news {
            News::Event(event) => {
                if matches!(event, Event::InitDone) && namespace.pods.is_synced {
                    self.metrics.watch_restarted("pods");
                }
                let room = PODS_MAX.saturating_sub(held);
                namespace.pods.take(event, room, &mut self.templates)
            }
            News::Lost(loss) => {
                warn!(resource = "pods", namespace = %name, error = %loss, "Watch lost; the pods known stay in force");
                namespace.lost = Some(loss);
                true
            }
            News::Back => {
                info!(resource = "pods", namespace = %name, "Watch is back");
                namespace.lost = None;
                true
            }
        }
    }

    /// Makes the pod watches those of the namespaces where objects select pods.
    fn watch_namespaces(&mut self) {
        let selecting = self.objects.held.iter().filter(|(_, held)| {
            let in_force = held.in_force.as_ref();
            in_force.is_some_and(|in_force| in_force.object.pods.is_some())
        });
        let mut wanted: BTreeSet<Arc<str>> =
            selecting.map(|(id, _)| Arc::clone(&id.namespace)).collect();
        self.namespaces.retain(|name, _| wanted.remove(name));
        self.unwatched.clear();
        for name in wanted {
            if NAMESPACES_MAX <= self.namespaces.len() {
                self.unwatched.insert(name);
                continue;
            }
            let namespace = self.watch(&name);
            self.namespaces.insert(name, namespace);
        }
    }

    fn watch(&mut self, name: &Arc<str>) -> Namespace {
        self.begun += 1;
        let nth = self.begun;
        let api = Api::namespaced(self.client.clone(), name);
        let namespace = Arc::clone(name);
        let wrap = move |news| Message::Pods {
            namespace: Arc::clone(&namespace),
            nth,
            news: Box::new(news),
        };
        Namespace {
            pods: Pods::default(),
            lost: None,
            nth,
            _watch: AbortOnDropHandle::new(tokio::spawn(follow(api, self.messages.clone(), wrap))),
        }
    }

    /// Whether it can be said what is wanted: the objects were listed once, or the cluster does not know the resource, so
    /// that there are none. Then what the adapter is asked beside them is answered all the same.
    fn are_objects_known(&self) -> bool {
        self.are_objects_synced || self.objects_lost == Some(Loss::Unknown)
    }

    /// Whether all that is wanted was listed, or cannot be.
    fn is_complete(&self) -> bool {
        let is_known = |namespace: &Namespace| namespace.pods.is_synced || namespace.lost.is_some();
        self.are_objects_synced && self.namespaces.values().all(is_known)
    }

    /// The secrets that objects in force refer to.
    fn secrets(&self) -> BTreeSet<SecretKey> {
        let in_force = self
            .objects
            .held
            .values()
            .filter_map(|held| held.in_force.as_ref());
        in_force
            .flat_map(|in_force| in_force.object.secrets())
            .collect()
    }

    fn join(&self, secrets: &SecretStore) -> Joined {
        let watched = self.namespaces.iter().map(|(name, namespace)| {
            let known = Known {
                pods: namespace.pods.held.values().collect(),
                is_synced: namespace.pods.is_synced,
                is_full: namespace.pods.is_full,
                problem: namespace.lost.as_ref().map(|loss| pods_lost(name, loss)),
            };
            (Arc::clone(name), known)
        });
        let unwatched = self.unwatched.iter().map(|name| {
            let problem = format!("the pods of more than {NAMESPACES_MAX} namespaces are selected; those of this one are not read");
            let known = Known {
                problem: Some(problem),
                ..Known::default()
            };
            (Arc::clone(name), known)
        });
        let namespaces = watched.chain(unwatched).collect();
        let secret = |key: &_| secrets.get(key).err();
        join(&self.objects, &namespaces, self.names_pods, secret)
    }

    /// Publishes what is new. The first time also when nothing is wanted: that, too, is news to whoever waits to begin.
    fn publish(
        &mut self,
        secrets: &SecretStore,
        services: &channel::Sender<Arc<Vec<Service>>>,
        findings: &channel::Sender<Arc<Findings>>,
    ) {
        let joined = self.join(secrets);
        note_problems(&findings.borrow(), &joined.findings);
        let is_first = !std::mem::replace(&mut self.is_published, true);
        services.send_if_modified(|before| replace(before, joined.services) || is_first);
        findings.send_if_modified(|before| replace(before, joined.findings));
        self.count();
    }

    fn count(&self) {
        let pods = self.namespaces.values();
        let held = pods
            .clone()
            .map(|namespace| namespace.pods.held.len())
            .sum();
        let objects = &self.objects.held;
        let is_wrong = |object: &&objects::Held| object.problem.is_some();
        let wrong = objects.values().filter(is_wrong).count();
        self.metrics.discovered(objects.len(), wrong, held);
        let are_pods_synced = pods
            .clone()
            .all(|namespace| namespace.pods.is_synced && namespace.lost.is_none());
        let are_objects_synced = self.are_objects_synced && self.objects_lost.is_none();
        self.metrics
            .watch_synced("requestmetrics", are_objects_synced);
        self.metrics.watch_synced("pods", are_pods_synced);
    }
}

/// What is wrong with the pods of a namespace, and what to do about it.
fn pods_lost(namespace: &str, loss: &Loss) -> String {
    match loss {
        Loss::Forbidden => format!(
            "the adapter may not list and watch the pods of this namespace; grant it: kubectl -n {namespace} create role \
             taffrail-pods --verb=list,watch --resource=pods, then kubectl -n {namespace} create rolebinding \
             taffrail-pods --role=taffrail-pods --serviceaccount=NAMESPACE:NAME, those of the adapter's service account"
        ),
        loss => format!("{loss}; the pods known last are read on"),
    }
}

/// Logs objects that went wrong, and those that were mended.
fn note_problems(before: &Findings, now: &Findings) {
    if now.is_full && !before.is_full {
        warn!(
            objects = now.objects.len(),
            "More RequestMetrics than are held: of the namespaces that have most, the youngest are left out"
        );
    }
    for (id, finding) in &now.objects {
        let known = before
            .objects
            .get(id)
            .and_then(|known| known.problem.as_ref());
        match &finding.problem {
            problem if problem.as_ref() == known => {}
            Some(problem) => {
                let is_kept = finding.in_force.is_some();
                warn!(service = %id, %problem, previous_version_stays = is_kept, "RequestMetrics is wrong");
            }
            None => info!(service = %id, "RequestMetrics is right now"),
        }
    }
}
