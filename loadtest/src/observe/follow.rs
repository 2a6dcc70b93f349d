//! The tasks that watch one service: its HPA, what that scales, the endpoints of its Service, and a reader for each
//! external metric. They write what they hear into [`Seen`], with the moment they heard it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::pinned_kind;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::seen::{Seen, Watched};
use super::target::Target;
use super::{ObserveError, autoscaler, lock, metric};
use crate::clock;
use crate::cluster::rights::{self, Right};
use crate::cluster::service::{SERVICE_LABEL, Selected, Slices, service_of};
use crate::cluster::watching::{News, Watch};
use crate::recording::{MetricKind, Read};
use crate::scenario::{ObjectName, Observe};

/// What one answer may take before the run.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The group of Deployments and StatefulSets, where an HPA does not name one.
const APPS: &str = "apps/v1";

/// What is to be watched of a service; everything was there and readable when it was made.
pub(super) struct Plan {
    client: Client,
    observe: Observe,
    hpa: HorizontalPodAutoscaler,
    kind: ApiResource,
    service: Option<(ObjectName, Selected)>,
}

/// What the tasks of a service share.
#[derive(Clone)]
struct Ground {
    began: Instant,
    seen: Arc<Mutex<Seen>>,
}

impl Ground {
    /// What was seen so far, and the present moment.
    fn now(&self) -> (MutexGuard<'_, Seen>, f64) {
        let seen = lock(&self.seen);
        // The time after the lock: two tasks then write in the order of their times.
        let t_s = clock::instant()
            .saturating_duration_since(self.began)
            .as_secs_f64();
        (seen, t_s)
    }
}

impl Plan {
    /// Finds what `observe` names, and the Service of `url` where that names one.
    pub(super) async fn new(
        client: &Client,
        observe: &Observe,
        url: Option<&str>,
    ) -> Result<Self, ObserveError> {
        let ObjectName { namespace, name } = &observe.hpa;
        let verbs = ["get", "list", "watch"];
        let mut needed: Vec<Right> =
            Right::all("autoscaling", "horizontalpodautoscalers", &verbs).collect();
        rights::check(client, namespace, needed.clone()).await?;
        let hpas = Api::<HorizontalPodAutoscaler>::namespaced(client.clone(), namespace);
        let hpa = found(
            &format!("HorizontalPodAutoscaler {namespace}/{name}"),
            hpas.get(name),
        )
        .await?;
        let kind = kind_of(client, &hpa).await?;
        needed.extend(Right::all(&kind.group, &kind.plural, &["list", "watch"]));
        let scale = format!("{}/scale", kind.plural);
        if !is_of_apps(&kind) {
            needed.extend(Right::all(&kind.group, &scale, &["get"]));
        }
        let metrics = autoscaler::metrics(&hpa.spec);
        for metric in metrics
            .iter()
            .filter(|metric| metric.kind == MetricKind::External)
        {
            needed.extend(Right::all(metric::GROUP, &metric.name, &["list"]));
        }
        rights::check(client, namespace, needed).await?;
        let service = match url.and_then(url_parts) {
            Some((service, port)) => {
                let selected = selected(client, &service, port).await?;
                Some((service, selected))
            }
            None => None,
        };
        Ok(Self {
            client: client.clone(),
            observe: observe.clone(),
            hpa,
            kind,
            service,
        })
    }

    /// Starts the tasks.
    pub(super) fn begin(self, began: Instant, tasks: &mut JoinSet<()>) -> Arc<Mutex<Seen>> {
        let Self {
            client,
            observe,
            hpa,
            kind,
            service,
        } = self;
        let namespace = observe.hpa.namespace.clone();
        let target = hpa.spec.scale_target_ref.name.clone();
        let metrics = autoscaler::metrics(&hpa.spec);
        let mut seen = Seen::new(
            observe.max_gap.seconds(),
            format!("HorizontalPodAutoscaler {namespace}/{}", observe.hpa.name),
            format!("{} {namespace}/{target}", kind.kind),
            metrics.clone(),
        );
        if service.is_some() {
            seen.expect_endpoints();
        }
        let seen = Arc::new(Mutex::new(seen));
        let ground = Ground {
            began,
            seen: Arc::clone(&seen),
        };
        let hpas = Api::namespaced(client.clone(), &namespace);
        let hpas = Watch::named(hpas, &observe.hpa.name, *observe.max_gap);
        tasks.spawn(follow_hpa(hpas, ground.clone()));
        let targets = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &kind);
        let watch = Watch::named(targets.clone(), &target, *observe.max_gap);
        tasks.spawn(follow_target(
            watch,
            targets,
            kind.kind,
            target,
            ground.clone(),
        ));
        if let Some((service, selected)) = service {
            let slices = Api::<EndpointSlice>::namespaced(client.clone(), &service.namespace);
            let labels = format!("{SERVICE_LABEL}={}", service.name);
            let watch = Watch::labelled(slices, &labels, *observe.max_gap);
            tasks.spawn(follow_endpoints(watch, selected, ground.clone()));
        }
        for (index, metric) in metrics.into_iter().enumerate() {
            if metric.kind == MetricKind::External {
                let reader = Reader {
                    client: client.clone(),
                    namespace: namespace.clone(),
                    name: metric.name,
                    selector: metric.selector,
                    is_average: metric.is_average,
                    index,
                };
                tasks.spawn(reader.follow(*observe.metric_interval, ground.clone()));
            }
        }
        seen
    }
}

/// The Service that a URL names, and the URL's port.
fn url_parts(url: &str) -> Option<(ObjectName, u16)> {
    let url: http::Uri = url.parse().ok()?;
    let default_port = if url.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let service = service_of(url.host()?)?;
    Some((service, url.port_u16().unwrap_or(default_port)))
}

async fn selected(
    client: &Client,
    service: &ObjectName,
    port: u16,
) -> Result<Selected, ObserveError> {
    let ObjectName { namespace, name } = service;
    let mut needed: Vec<Right> = Right::all("", "services", &["get"]).collect();
    needed.extend(Right::all(
        "discovery.k8s.io",
        "endpointslices",
        &["list", "watch"],
    ));
    rights::check(client, namespace, needed).await?;
    let services = Api::<Service>::namespaced(client.clone(), namespace);
    let service = found(&format!("Service {namespace}/{name}"), services.get(name)).await?;
    Ok(Selected::new(&service, port)?)
}

/// An object that must be there.
async fn found<T>(
    what: &str,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<T, ObserveError> {
    let why = match timeout(ANSWER_MAX, answer).await {
        Ok(Ok(object)) => return Ok(object),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
            return Err(ObserveError::Missing(what.to_owned()));
        }
        Ok(Err(kube::Error::Api(status))) => format!("the API server answers {}", status.code),
        Ok(Err(_)) => "the API server does not answer".to_owned(),
        Err(_) => format!("the API server does not answer within {ANSWER_MAX:?}"),
    };
    Err(ObserveError::Unreachable {
        what: what.to_owned(),
        why,
    })
}

/// How the API server calls what an HPA scales.
async fn kind_of(
    client: &Client,
    hpa: &HorizontalPodAutoscaler,
) -> Result<ApiResource, ObserveError> {
    let target = &hpa.spec.scale_target_ref;
    let version = target.api_version.as_deref().unwrap_or(APPS);
    match (version, target.kind.as_str()) {
        (APPS, "Deployment") => Ok(ApiResource::erase::<Deployment>(&())),
        (APPS, "StatefulSet") => Ok(ApiResource::erase::<StatefulSet>(&())),
        (APPS, "ReplicaSet") => Ok(ApiResource::erase::<ReplicaSet>(&())),
        (version, kind) => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let gvk = GroupVersionKind::gvk(group, version, kind);
            let what = format!("kind {kind} of {group}/{version}");
            let (kind, _) = found(&what, pinned_kind(client, &gvk)).await?;
            Ok(kind)
        }
    }
}

fn is_of_apps(kind: &ApiResource) -> bool {
    kind.api_version == APPS
}

/// What a watch of one object says of it.
enum Object<K> {
    Is(Box<K>),
    Gone,
    Same,
    Lost,
}

async fn object<K>(watch: &mut Watch<K>) -> Object<K>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    match watch.next().await {
        News::All(objects) => objects
            .into_iter()
            .next()
            .map_or(Object::Gone, |object| Object::Is(Box::new(object))),
        News::Applied(object) => Object::Is(Box::new(object)),
        News::Deleted(_) => Object::Gone,
        News::Alive => Object::Same,
        News::Failed(_) => Object::Lost,
    }
}

async fn follow_hpa(mut watch: Watch<HorizontalPodAutoscaler>, ground: Ground) {
    loop {
        let heard = object(&mut watch).await;
        let (mut seen, t_s) = ground.now();
        if !matches!(heard, Object::Lost) {
            seen.heard(Watched::Hpa, t_s);
        }
        match heard {
            Object::Is(hpa) => seen.hpa(t_s, &hpa),
            Object::Gone => seen.hpa_gone(t_s),
            Object::Same | Object::Lost => {}
        }
    }
}

async fn follow_target(
    mut watch: Watch<DynamicObject>,
    targets: Api<DynamicObject>,
    kind: String,
    name: String,
    ground: Ground,
) {
    loop {
        let heard = object(&mut watch).await;
        let target = match &heard {
            Object::Is(object) => {
                let json = serde_json::to_value(&**object).unwrap_or_default();
                let mut target = Target::read(&kind, &json);
                if target.spec.is_none() {
                    target.spec = scale(&targets, &name).await;
                }
                Some(target)
            }
            _ => None,
        };
        let (mut seen, t_s) = ground.now();
        if !matches!(heard, Object::Lost) {
            seen.heard(Watched::Target, t_s);
        }
        match target {
            Some(target) => seen.target(t_s, target),
            None if matches!(heard, Object::Gone) => seen.target_gone(t_s),
            None => {}
        }
    }
}

/// `spec.replicas` by the subresource that the HPA itself uses; `None` when it cannot be read.
async fn scale(targets: &Api<DynamicObject>, name: &str) -> Option<u32> {
    let scale = timeout(ANSWER_MAX, targets.get_scale(name))
        .await
        .ok()?
        .ok()?;
    let replicas = scale.spec?.replicas.unwrap_or_default();
    u32::try_from(replicas).ok()
}

async fn follow_endpoints(mut watch: Watch<EndpointSlice>, selected: Selected, ground: Ground) {
    let mut slices = Slices::default();
    loop {
        let news = watch.next().await;
        let is_lost = matches!(news, News::Failed(_));
        let is_news = slices.hear(news);
        let (mut seen, t_s) = ground.now();
        if !is_lost {
            seen.heard(Watched::Endpoints, t_s);
        }
        if is_news {
            seen.endpoints(t_s, &selected.ready(slices.all()));
        }
    }
}

/// Reads one external metric again and again.
struct Reader {
    client: Client,
    namespace: String,
    name: String,
    selector: String,
    is_average: bool,
    index: usize,
}

impl Reader {
    async fn follow(self, every: Duration, ground: Ground) {
        let mut ticks = interval(every.max(Duration::from_millis(100)));
        // A read that takes long delays those after it, and is not made up for by a burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Self {
                client,
                namespace,
                name,
                selector,
                ..
            } = &self;
            let answer = metric::read(client, namespace, name, selector, clock::since_epoch).await;
            let (mut seen, t_s) = ground.now();
            let answer = answer.and_then(|value| self.in_unit(value, seen.live(t_s).current));
            seen.read(
                self.index,
                match answer {
                    Ok(value) => Read {
                        t_s,
                        value: Some(value.value),
                        age_s: value.age_s,
                        error: None,
                    },
                    Err(error) => Read {
                        t_s,
                        value: None,
                        age_s: None,
                        error: Some(error),
                    },
                },
            );
        }
    }

    /// The value in the target's unit: the controller divides what is an average per pod by the pods it sees.
    fn in_unit(&self, value: metric::Value, current: Option<u32>) -> Result<metric::Value, String> {
        if !self.is_average {
            return Ok(value);
        }
        let current = current.filter(|current| 0 < *current);
        let pods = current.ok_or("it is not known over how many pods to average")?;
        Ok(metric::Value {
            value: value.value / f64::from(pods),
            ..value
        })
    }
}
