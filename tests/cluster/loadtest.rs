//! The load generator as somebody checks a real HPA with it: finding backends, watching what the cluster does under load,
//! and running from the manifests in `deploy/loadtest` with exactly their rights. What is checked here is what a recording
//! holds, and that an HPA that misbehaves fails a check; the rest of the verdict is tested where no cluster is needed.

mod job;
mod scene;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use taffrail_loadtest::cli::ExitStatus;
use taffrail_loadtest::clock;
use taffrail_loadtest::discovery;
use taffrail_loadtest::observe::{Live, ObserveError, Observer};
use taffrail_loadtest::recording::{Condition, EventKind, MetricKind};
use taffrail_loadtest::scenario::Span;

use self::job::{
    a_job_ends_with_99_where_the_hpa_misbehaves_and_not_where_it_does_not,
    the_manifests_run_a_job_with_exactly_the_rights_it_needs,
};
use self::scene::{LONGER, Scene, bind, by_rate, checker, judged};
use crate::harness::{Cluster, Table, sample, table, until};
use crate::service;

/// Enough for processes to start, for the adapter to read them, and for the HPA controller to act, on a slow machine.
const SOON: Duration = Duration::from_secs(60);

/// A watch that says nothing for so long is lost. Shorter than a scenario would have it, so that the test is short.
const MAX_GAP: Span = Span::from_secs(6);

/// How the load generator is installed.
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/loadtest");

pub(crate) fn tests() -> Table {
    table!("loadtest";
        the_manifests_run_a_job_with_exactly_the_rights_it_needs,
        a_job_ends_with_99_where_the_hpa_misbehaves_and_not_where_it_does_not,
        endpoints_are_followed_as_pods_come_and_go,
        a_recording_holds_what_the_hpa_its_target_and_its_endpoints_did,
        an_hpa_that_misbehaves_is_seen_to,
        missing_rights_are_named_with_the_role_that_gives_them;
        alone:
        an_api_server_that_is_away_leaves_gaps_and_no_zeros,
    )
}

async fn a_recording_holds_what_the_hpa_its_target_and_its_endpoints_did(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let behavior =
        json!({"scaleUp": {"tolerance": "50m"}, "scaleDown": {"stabilizationWindowSeconds": 60}});
    let scene = Scene::with_hpa(cluster, "recording", &by_rate(3, &behavior)).await?;
    // Somebody with the rights of the manifests and no others.
    let client = checker(&scene).await?;
    let is_seen = |live: &Live| live.endpoints == Some(3);
    let (observed, measured) = scene.run(&client, "20@90s", is_seen).await?;

    let web = &observed.services["web"];
    let replicas = &web.replicas;
    let whole = 0.0..measured.elapsed.as_secs_f64();
    for (what, steps) in [
        ("desired", &replicas.desired),
        ("spec", &replicas.spec),
        ("ready", &replicas.ready),
        ("endpoints", &replicas.endpoints),
    ] {
        assert_eq!(steps.at(0.0), Some(1), "{what}: {steps:?}");
        assert_eq!(steps.max(0.0..f64::INFINITY), Some(3), "{what}: {steps:?}");
        assert!(
            steps
                .changes(0.0..f64::INFINITY)
                .all(|change| change.is_up()),
            "{what}: {steps:?}"
        );
    }
    // It is wanted before it is there.
    let first = |steps: &taffrail_loadtest::steps::Steps| {
        steps
            .changes(0.0..f64::INFINITY)
            .next()
            .map(|change| change.t_s)
    };
    assert!(
        first(&replicas.desired) <= first(&replicas.ready),
        "{replicas:?}"
    );
    assert!(
        web.gaps.is_empty() && web.spec_changes.is_empty(),
        "{web:?}"
    );

    let spec = web.autoscaler.as_ref().context("no HPA")?;
    assert_eq!(
        (spec.min_replicas, spec.max_replicas, spec.max_surge),
        (1, 3, 1)
    );
    assert_eq!((spec.tolerance_up, spec.tolerance_down), (0.05, 0.1));
    assert_eq!(
        (
            spec.scale_up.policies.len(),
            spec.scale_down.stabilization_s
        ),
        (2, 60.0)
    );

    let metric = web.metric().context("no metric")?;
    assert_eq!(
        (metric.kind, &*metric.selector),
        (MetricKind::External, "service=web")
    );
    assert!(metric.is_average && metric.target == 5.0, "{metric:?}");
    let values: Vec<f64> = metric.reads.iter().filter_map(|read| read.value).collect();
    // Twenty a second over one to three pods.
    assert!(values.iter().any(|value| 5.0 < *value), "{values:?}");
    assert!(values.iter().all(|value| *value < 40.0), "{values:?}");
    assert!(
        metric.reads.iter().any(|read| whole.contains(&read.t_s)),
        "{metric:?}"
    );
    let ages: Vec<f64> = metric.reads.iter().filter_map(|read| read.age_s).collect();
    assert!(
        !ages.is_empty() && ages.iter().all(|age| *age < 30.0),
        "{ages:?}"
    );

    assert!(
        web.conditions
            .iter()
            .any(|told| told.type_ == "ScalingActive"),
        "{:?}",
        web.conditions
    );
    let kinds = |kind| {
        observed
            .events
            .iter()
            .filter(move |event| event.kind == kind)
            .count()
    };
    assert!(
        0 < kinds(EventKind::Scaled) && 3 <= kinds(EventKind::Endpoint),
        "{:?}",
        observed.events
    );

    // Every pod had its share, and each is known by its name.
    let asked: BTreeSet<String> = measured
        .endpoints
        .keys()
        .map(SocketAddr::to_string)
        .collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    for address in asked {
        let backend = web
            .backends
            .get(&address)
            .with_context(|| format!("{address} is unknown"))?;
        let pod = backend.pod.as_deref().unwrap_or_default();
        assert!(
            pod.starts_with("web-") && !backend.ready.is_empty(),
            "{backend:?}"
        );
    }
    Ok(())
}

async fn an_hpa_that_misbehaves_is_seen_to(cluster: &Cluster) -> anyhow::Result<()> {
    let none = json!({"stabilizationWindowSeconds": 0});
    let flapping = json!({"scaleUp": none, "scaleDown": none});
    let too_low = Scene::with_hpa(cluster, "too-low", &by_rate(2, &Value::Null)).await?;
    let flaps = Scene::with_hpa(cluster, "flaps", &by_rate(3, &flapping)).await?;
    let (too_low, flaps) = tokio::join!(max_too_low(&too_low), flapping_policies(&flaps));
    too_low?;
    flaps
}

/// Its maximum is too low, and then its metric is gone.
async fn max_too_low(scene: &Scene<'_>) -> anyhow::Result<()> {
    let client = checker(scene).await?;
    let namespace = format!("--namespace={}", scene.namespace);
    // Once it has done what it may.
    let delete = async {
        service::ready(scene.cluster, &scene.namespace, "web", 2).await?;
        tokio::time::sleep(LONGER).await;
        let delete = ["delete", "requestmetrics/web", &namespace];
        scene.cluster.kubectl().run(delete).await
    };
    let is_seen = |live: &Live| {
        live.desired == Some(2) && live.metrics.iter().all(|metric| metric.value.is_none())
    };
    let (ran, deleted) = tokio::join!(scene.run(&client, "30@90s", is_seen), delete);
    deleted?;
    let (observed, _) = ran?;
    let web = &observed.services["web"];
    assert_eq!(web.replicas.desired.max(0.0..f64::INFINITY), Some(2));
    // Before the load it was the minimum that limited it.
    let limited = |told: &Condition| {
        told.type_ == "ScalingLimited"
            && told.status == Some(true)
            && told.reason == "TooManyReplicas"
    };
    assert!(web.conditions.iter().any(limited), "{:?}", web.conditions);
    let metric = web.metric().context("no metric")?;
    let above = metric
        .reads
        .iter()
        .filter(|read| read.value.is_some_and(|value| metric.target < value));
    assert!(0 < above.count(), "two pods are not enough: {metric:?}");
    let errors: Vec<&str> = metric
        .reads
        .iter()
        .filter_map(|read| read.error.as_deref())
        .collect();
    assert!(
        errors.iter().any(|error| error.starts_with("404: ")),
        "{errors:?}"
    );
    let failed = metric.reads.iter().filter(|read| read.error.is_some());
    assert!(
        failed.clone().all(|read| read.value.is_none()),
        "absent is not zero: {metric:?}"
    );
    Ok(())
}

/// Nothing holds its recommendations back, so each burst takes pods and gives them back.
async fn flapping_policies(scene: &Scene<'_>) -> anyhow::Result<()> {
    let client = checker(scene).await?;
    let mut was_up = false;
    let is_seen = |live: &Live| {
        was_up |= live.desired.is_some_and(|desired| 1 < desired);
        was_up && live.desired == Some(1)
    };
    let bursts = "25@10s 0@20s 25@10s 0@20s";
    let (observed, load) = scene.run(&client, bursts, is_seen).await?;
    let desired = &observed.services["web"].replicas.desired;
    let ups = desired
        .changes(0.0..f64::INFINITY)
        .filter(taffrail_loadtest::steps::Change::is_up)
        .count();
    let downs = desired
        .changes(0.0..f64::INFINITY)
        .filter(|change| !change.is_up())
        .count();
    assert!(1 <= ups && 1 <= downs, "{desired:?}");
    let spec = observed.services["web"]
        .autoscaler
        .as_ref()
        .context("no HPA")?;
    assert_eq!(spec.scale_down.stabilization_s, 0.0);
    let verdict = judged(observed, load, &json!([{"flap_count": {"max": 0}}]))?;
    assert_eq!(
        ExitStatus::from(verdict.reason),
        ExitStatus::Failed,
        "{verdict:#?}"
    );
    Ok(())
}

async fn endpoints_are_followed_as_pods_come_and_go(cluster: &Cluster) -> anyhow::Result<()> {
    let scene = Scene::start(cluster, "endpoints").await?;
    let scenario = scene.scenario()?;
    let target = scenario.services["web"]
        .target
        .clone()
        .context("no target")?;
    let client = cluster.admin();
    let backends = discovery::start(&target, Some(&client)).await?;
    for replicas in [1, 3, 1] {
        scene.scale(replicas).await?;
        let addresses = until("so many endpoints", SOON, async || {
            let addresses = backends.addresses.borrow().clone();
            ensure!(addresses.len() == replicas as usize, "{addresses:?}");
            Ok(addresses)
        })
        .await?;
        // The Service's port is 80.
        assert!(
            addresses
                .iter()
                .all(|address| address.port() == sample::PORT),
            "{addresses:?}"
        );
    }
    let mut wrong = target.clone();
    wrong.url = target.url.replace(".svc/", ".svc:8080/");
    let said = discovery::start(&wrong, Some(&client))
        .await
        .err()
        .context("a port that is none")?;
    assert!(
        said.to_string().contains("has no port 8080; it has 80"),
        "{said}"
    );

    // A Service whose pods nobody can reach from here, as from outside of the pods' network.
    let afar = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "afar"},
        "spec": {"ports": [{"port": 80}]}});
    scene.apply(&afar).await?;
    scene
        .apply(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "afar-1", "labels": {"kubernetes.io/service-name": "afar"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 9}],
            "endpoints": [{"addresses": ["10.200.0.200"]}],
        }))
        .await?;
    wrong.url = target.url.replace("web.", "afar.");
    let said = discovery::start(&wrong, Some(&client))
        .await
        .err()
        .context("out of reach")?;
    let said = said.to_string();
    assert!(
        said.contains("no endpoint of afar.") && said.contains("deploy/loadtest"),
        "{said}"
    );
    Ok(())
}

async fn missing_rights_are_named_with_the_role_that_gives_them(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("rights").await?;
    let scene = Scene { cluster, namespace };
    scene.apply(&sample::deployment("web", 1, &[])).await?;
    scene.apply(&sample::service("web")).await?;
    let mut hpa = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"}});
    hpa["spec"] = by_rate(3, &Value::Null);
    hpa["spec"]["scaleTargetRef"] =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    scene.apply(&hpa).await?;
    let user = format!("nobody-of-{}", scene.namespace);
    let client = cluster.client_as(&user, None).await?;
    let scenario = scene.scenario()?;

    let denied = Observer::start(&client, &scenario)
        .await
        .err()
        .context("no rights at all")?;
    assert!(denied.is_access(), "{denied}");
    let said = denied.to_string();
    let (missing, role) = said.split_once('\n').context("no role")?;
    assert!(
        missing.contains("watch horizontalpodautoscalers.autoscaling"),
        "{missing}"
    );
    assert!(missing.contains("get services"), "{missing}");

    // The Role that is printed is enough.
    cluster.kubectl().apply(&scene.namespace, role).await?;
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user});
    bind(&scene, &subject).await?;
    let observer = until("the role to be in force", SOON, async || {
        Ok(Observer::start(&client, &scenario).await?)
    })
    .await?;
    drop(observer);

    let mut missing = scenario.clone();
    if let Some(observe) = missing
        .services
        .get_mut("web")
        .and_then(|web| web.observe.as_mut())
    {
        observe.hpa.name = "none".to_owned();
    }
    let missing = Observer::start(&client, &missing)
        .await
        .err()
        .context("no such HPA")?;
    assert!(
        matches!(missing, ObserveError::Missing(_)) && !missing.is_access(),
        "{missing}"
    );

    // Nobody is where the run wants to begin.
    let mut early = scenario;
    early.preconditions.replicas.insert("web".to_owned(), 7);
    early.preconditions.timeout = Span::from_secs(1);
    let observer = Observer::start(&client, &early).await?;
    let unmet = observer
        .preconditions(&early, |_| ())
        .await
        .err()
        .context("seven replicas")?;
    assert!(unmet.to_string().contains("ready, not 7"), "{unmet}");
    Ok(())
}

async fn an_api_server_that_is_away_leaves_gaps_and_no_zeros(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let scene = Scene::with_hpa(cluster, "away", &by_rate(3, &Value::Null)).await?;
    let scenario = scene.scenario()?;
    let observer = Observer::start(&cluster.admin(), &scenario).await?;
    observer.preconditions(&scenario, |_| ()).await?;
    let zero = clock::instant();
    cluster.stop_api_server().await?;
    let is_lost = |is_wanted: bool| {
        let live = observer.live().remove("web").unwrap_or_default();
        let all = [live.desired, live.spec, live.ready, live.endpoints];
        let lost = live.lost.len() == 3 && all.iter().all(Option::is_none);
        let known = live.lost.is_empty() && all.iter().all(|number| *number == Some(1));
        ensure!(if is_wanted { lost } else { known }, "{live:?}");
        Ok(())
    };
    let lost = until("nothing to be known", SOON, async || is_lost(true)).await;
    cluster.start_api_server().await?;
    lost?;
    until("everything to be known", SOON, async || is_lost(false)).await?;

    let observed = observer.finish(zero);
    let web = &observed.services["web"];
    let whats: BTreeSet<&str> = web
        .gaps
        .iter()
        .filter_map(|gap| gap.what.split(':').next())
        .collect();
    assert_eq!(
        whats,
        BTreeSet::from(["HPA", "endpoints", "scale target"]),
        "{:?}",
        web.gaps
    );
    for gap in &web.gaps {
        let to_s = gap.to_s.context("it is over")?;
        assert!(MAX_GAP.seconds() < to_s - gap.from_s, "{gap:?}");
        let within = f64::midpoint(gap.from_s, to_s);
        let replicas = &web.replicas;
        if gap.what.starts_with("HPA") {
            assert_eq!(replicas.desired.at(within), None, "{replicas:?}");
        }
    }
    let replicas = &web.replicas;
    for steps in [
        &replicas.desired,
        &replicas.spec,
        &replicas.ready,
        &replicas.endpoints,
    ] {
        assert_eq!(
            steps.min(f64::NEG_INFINITY..f64::INFINITY),
            Some(1),
            "{steps:?}"
        );
        assert_eq!(
            steps.changes(f64::NEG_INFINITY..f64::INFINITY).count(),
            0,
            "{steps:?}"
        );
    }
    Ok(())
}
