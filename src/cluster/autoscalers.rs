//! The HPAs that read metrics of ours, watched for whoever shadows them: what they are to do, what their status says,
//! and which pods they count.
//!
//! The objects of all namespaces are watched, since an HPA is not known before it is seen, and those that read nothing
//! of ours are dropped as they arrive. Which pods one counts is in its target's scale (`status.selector`), as the HPA
//! controller itself reads it: a `get` when the HPA is first seen, and every ten minutes after. A selector hardly ever
//! changes; whatever else a scale has shows in the HPA's own status.

mod object;
mod targets;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use self::targets::Targets;
use super::discover::watch::{Loss, News as Watched, follow};
use crate::metrics::Metrics;
use crate::model::selector::Selector;
use crate::shadow::book::WANTED_BYTES_MAX;
use crate::shadow::{Id, Object};

/// Messages of the watch that may wait; it waits when they are too many, and the API server with it.
const MESSAGES_MAX: usize = 256;

/// How often targets are looked at whose turn has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const RESOURCE: &str = "horizontalpodautoscalers";

/// What the watch is wired to.
pub struct Wiring {
    /// Talks to the API server.
    pub client: Client,
    /// Who is told.
    pub news: mpsc::Sender<News>,
    /// What happened is counted here.
    pub metrics: Arc<Metrics>,
}

/// What is new of HPAs.
#[derive(Debug)]
pub enum News {
    /// An HPA of ours, as it is now.
    Object(Id, Box<Object>),
    /// What selects the pods that an HPA counts.
    Selector(Id, Arc<Selector>),
    /// An HPA is gone, or reads nothing of ours any more.
    Gone(Id),
    /// These are all there are.
    All(BTreeSet<Id>),
    /// The watch is lost: what HPAs do from now on is not seen.
    Lost,
    /// It is back, and what was missed is told next.
    Back,
}

/// Everything that is known between two messages of the watch.
struct Autoscalers {
    news: mpsc::Sender<News>,
    metrics: Arc<Metrics>,
    targets: Targets,
    /// A list that is not complete yet.
    incoming: Option<BTreeSet<Id>>,
    is_synced: bool,
}

/// Nobody listens any more.
struct Unheard;

/// Watches until `stop`, and tells what is new.
pub async fn run(wiring: Wiring, stop: CancellationToken) {
    stop.run_until_cancelled(watch(wiring)).await;
}

async fn watch(wiring: Wiring) {
    let Wiring {
        client,
        news,
        metrics,
    } = wiring;
    let (messages, mut arriving) = mpsc::channel(MESSAGES_MAX);
    let kind = GroupVersionKind::gvk("autoscaling", "v2", "HorizontalPodAutoscaler");
    let resource = ApiResource::from_gvk_with_plural(&kind, RESOURCE);
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let _watch = AbortOnDropHandle::new(tokio::spawn(follow(objects, messages, |news| news)));
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut autoscalers = Autoscalers {
        news,
        metrics,
        targets: Targets::new(client),
        incoming: None,
        is_synced: false,
    };
    loop {
        let heard = tokio::select! {
            Some(message) = arriving.recv() => autoscalers.take(message).await,
            (id, selector) = autoscalers.targets.next() => autoscalers.tell(News::Selector(id, selector)).await,
            _ = looks.tick() => {
                autoscalers.targets.look();
                Ok(())
            }
        };
        if heard.is_err() {
            return;
        }
    }
}

impl Autoscalers {
    async fn take(&mut self, message: Watched<DynamicObject>) -> Result<(), Unheard> {
        match message {
            Watched::Event(event) => self.take_event(event).await,
            Watched::Lost(loss) => {
                let advice = match &loss {
                    Loss::Forbidden => {
                        "let the adapter list and watch horizontalpodautoscalers in all namespaces, or run it with \
                         --no-explanations"
                    }
                    _ => "what is known stays",
                };
                warn!(resource = RESOURCE, error = %loss, "Watch lost; {advice}");
                self.metrics.watch_synced(RESOURCE, false);
                self.tell(News::Lost).await
            }
            Watched::Back => {
                info!(resource = RESOURCE, "Watch is back");
                self.metrics.watch_synced(RESOURCE, self.is_synced);
                self.tell(News::Back).await
            }
        }
    }

    async fn take_event(&mut self, event: Event<DynamicObject>) -> Result<(), Unheard> {
        match event {
            Event::Init => {
                self.incoming = Some(BTreeSet::new());
                Ok(())
            }
            Event::InitApply(object) | Event::Apply(object) => self.take_object(&object).await,
            Event::InitDone => {
                if std::mem::replace(&mut self.is_synced, true) {
                    self.metrics.watch_restarted(RESOURCE);
                }
                self.metrics.watch_synced(RESOURCE, true);
                let all = self.incoming.take().unwrap_or_default();
                self.targets.retain(&all);
                self.tell(News::All(all)).await
            }
            Event::Delete(object) => match object::id(&object) {
                Some(id) => self.forget(id).await,
                None => Ok(()),
            },
        }
    }

    async fn take_object(&mut self, object: &DynamicObject) -> Result<(), Unheard> {
        let Some(id) = object::id(object) else {
            return Ok(());
        };
        let Some((target, read)) = object::read(object) else {
            return self.forget(id).await;
        };
        if let Some(incoming) = &mut self.incoming {
            incoming.insert(id.clone());
        }
        // Of one that there is no room for the book is told all the same: it counts it.
        if read.wanted.bytes() <= WANTED_BYTES_MAX {
            self.targets.want(&id, target);
        } else {
            self.targets.forget(&id);
        }
        self.tell(News::Object(id, Box::new(read))).await
    }

    async fn forget(&mut self, id: Id) -> Result<(), Unheard> {
        // Most HPAs read nothing of ours, and nobody ever heard of them.
        if self.targets.forget(&id) {
            return self.tell(News::Gone(id)).await;
        }
        Ok(())
    }

    async fn tell(&self, news: News) -> Result<(), Unheard> {
        self.news.send(news).await.map_err(|_| Unheard)
    }
}

/// The client holds credentials.
impl fmt::Debug for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wiring").finish_non_exhaustive()
    }
}
