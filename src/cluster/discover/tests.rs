//! The join, and what is held between lists. Data in, data out.

use serde_json::{Value, json};

use super::objects::Held;
use super::*;
use crate::hpa;
use crate::model::health::{Failure, FailureReason};
use crate::model::id::ServiceId;
use crate::model::phase::Phase;
use crate::model::selector::Selector;
use crate::model::time::Timestamp;
use crate::source::SourceSpec;

/// An object in `shop` that selects `app: NAME`.
fn object(name: &str, generation: i64) -> Value {
    json!({
        "apiVersion": "taffrail.dev/v1alpha1",
        "kind": "RequestMetrics",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": generation,
            "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {"source": {"pods": {"selector": {"matchLabels": {"app": name}}, "port": "metrics"}}},
    })
}

fn dynamic(json: Value) -> DynamicObject {
    serde_json::from_value(json).unwrap()
}

fn objects(list: impl IntoIterator<Item = Value>) -> Objects {
    let mut objects = Objects::default();
    for json in list {
        objects.take(dynamic(json), None);
    }
    objects
}

/// A ready pod of `users` with its own address, the `n`th to be made.
fn pod(n: u8) -> Value {
    json!({
        "metadata": {
            "name": format!("users-{n}"), "namespace": "shop", "uid": format!("{n:08}-1111"), "resourceVersion": "1",
            "creationTimestamp": format!("2026-01-01T00:00:{n:02}Z"),
            "labels": {"app": "users", "pod-template-hash": "one"},
        },
        "spec": {"containers": [{"ports": [{"name": "metrics", "containerPort": 9090}]}]},
        "status": {
            "phase": "Running", "podIP": format!("10.1.0.{n}"),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}],
        },
    })
}

fn wire(json: Value) -> WirePod {
    serde_json::from_value(json).unwrap()
}

fn pods(list: impl IntoIterator<Item = Value>) -> Pods {
    let mut pods = Pods::default();
    listed(&mut pods, list, PODS_MAX);
    pods
}

fn listed(pods: &mut Pods, list: impl IntoIterator<Item = Value>, room: usize) {
    let mut templates = Templates::default();
    assert!(!pods.take(Event::Init, room, &mut templates));
    for json in list {
        assert!(!pods.take(Event::InitApply(wire(json)), room, &mut templates));
    }
    assert!(pods.take(Event::InitDone, room, &mut templates));
}

fn names(pods: &Pods) -> Vec<&str> {
    pods.held.keys().map(|name| &**name).collect()
}

fn joined(objects: &Objects, pods: &Pods) -> Joined {
    let known = Known {
        pods: pods.held.values().collect(),
        is_synced: pods.is_synced,
        ..Known::default()
    };
    let namespaces = BTreeMap::from([("shop".into(), known)]);
    join(objects, &namespaces, true, |key| {
        Some(Failure::new(
            FailureReason::Unauthorized,
            format!("{key} is missing"),
        ))
    })
}

/// The addresses read for the one service, in order.
fn addresses(joined: &Joined) -> Vec<String> {
    let address = |source: &SourceSpec| match source {
        SourceSpec::Scrape(spec) => spec.endpoint.to_string(),
        SourceSpec::Redis(_) => panic!("no Redis here"),
    };
    joined.services[0].sources.iter().map(address).collect()
}

fn found(joined: &Joined) -> &PodsFound {
    let id = ServiceId::new("shop", "users");
    joined.findings.objects[&id].pods.as_ref().unwrap()
}

#[test]
fn each_selected_pod_is_a_target_with_its_phase() {
    let mut starting = pod(3);
    starting["status"]["conditions"] = json!([]);
    starting["metadata"]["labels"]["pod-template-hash"] = "two".into();
    let mut leaving = pod(2);
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:02:00Z".into();
    let mut other = pod(4);
    other["metadata"]["labels"]["app"] = "shifts".into();
    let joined = joined(
        &objects([object("users", 1)]),
        &pods([starting, other, leaving, pod(1)]),
    );
    assert_eq!(
        addresses(&joined),
        [
            "http://10.1.0.1:9090/metrics",
            "http://10.1.0.2:9090/metrics",
            "http://10.1.0.3:9090/metrics"
        ]
    );
    let service = &joined.services[0];
    let phases: Vec<Phase> = service
        .sources
        .iter()
        .map(|source| service.phases[source.target()])
        .collect();
    assert!(matches!(
        phases[..],
        [Phase::Ready { .. }, Phase::Leaving, Phase::Starting]
    ));
    let named: Vec<&str> = service
        .sources
        .iter()
        .map(|source| &*service.pods[source.target()].name)
        .collect();
    assert_eq!(named, ["users-1", "users-2", "users-3"]);
    let of_first = &service.pods[service.sources[0].target()];
    assert_eq!(of_first.labels["app"], "users");
    let found = found(&joined);
    assert_eq!(
        (found.matched, found.ready, found.leaving, found.starting),
        (3, 1, 1, 1)
    );
    let one = Revision {
        ready: 1,
        leaving: 1,
        starting: 0,
    };
    let two = Revision {
        starting: 1,
        ..Revision::default()
    };
    assert_eq!(
        found.revisions,
        BTreeMap::from([("one".into(), one), ("two".into(), two)])
    );
    assert!(found.left_out.is_empty() && found.is_synced && found.problem.is_none());
}

#[test]
fn pods_that_are_no_targets_are_counted_by_reason() {
    let change = |n, change: fn(&mut Value)| {
        let mut json = pod(n);
        change(&mut json);
        json
    };
    let pods = pods([
        pod(1),
        change(2, |pod| pod["status"]["phase"] = "Succeeded".into()),
        change(3, |pod| pod["status"]["phase"] = "Failed".into()),
        change(4, |pod| pod["status"]["podIP"] = Value::Null),
        change(5, |pod| pod["spec"]["hostNetwork"] = true.into()),
        change(6, |pod| {
            pod["spec"]["containers"][0]["ports"][0]["name"] = "http".into();
        }),
        // Its address went to an older pod that lives.
        change(7, |pod| {
            pod["status"]["podIP"] = "10.1.0.1".into();
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:02:00Z".into();
        }),
    ]);
    let joined = joined(&objects([object("users", 1)]), &pods);
    assert_eq!(addresses(&joined), ["http://10.1.0.1:9090/metrics"]);
    let found = found(&joined);
    assert_eq!((found.matched, found.ready), (7, 1));
    let expected = BTreeMap::from([
        (LeftOut::HostNetwork, 1),
        (LeftOut::NoPort, 1),
        (LeftOut::AddressTaken, 1),
        (LeftOut::NoAddress, 1),
        (LeftOut::Over, 2),
    ]);
    assert_eq!(found.left_out, expected);
    assert_eq!(found.examples.len(), EXAMPLES_MAX);
    assert_eq!(found.examples[0], ("users-5".into(), LeftOut::HostNetwork));
}

#[test]
fn beyond_the_bound_the_oldest_pods_are_read() {
    let nth = |n: usize| {
        let mut json = pod(0);
        json["metadata"]["name"] = format!("users-{:05}", 9999 - n).into();
        json["metadata"]["uid"] = format!("{n:08}").into();
        json["metadata"]["creationTimestamp"] =
            format!("2026-01-01T{:02}:{:02}:00Z", n / 60, n % 60).into();
        json["status"]["podIP"] = format!("10.1.{}.{}", n / 250, n % 250).into();
        json
    };
    let pods = pods((0..=join::TARGETS_MAX).map(nth));
    let joined = joined(&objects([object("users", 1)]), &pods);
    assert_eq!(joined.services[0].sources.len(), join::TARGETS_MAX);
    let youngest: Box<str> = format!("users-{:05}", 9999 - join::TARGETS_MAX).into();
    assert_eq!(found(&joined).examples, [(youngest, LeftOut::TooMany)]);
}

#[test]
fn a_bad_object_costs_itself_and_keeps_the_version_that_was_right() {
    let mut held = objects([object("users", 1), object("shifts", 1)]);
    let mut bad = object("users", 2);
    bad["spec"]["window"] = "30".into();
    held.take(dynamic(bad.clone()), None);
    let joined_now = joined(&held, &pods([pod(1)]));
    assert_eq!(joined_now.services.len(), 2);
    let finding = &joined_now.findings.objects[&ServiceId::new("shop", "users")];
    assert_eq!((finding.generation, finding.in_force), (2, Some(1)));
    assert!(
        finding.problem.as_ref().unwrap().contains("spec.window"),
        "{finding:?}"
    );
    assert_eq!(finding.pods.as_ref().unwrap().ready, 1);
    // A complete list in between changes nothing of that.
    let mut relisted = Objects::default();
    relisted.take(dynamic(bad.clone()), Some(&held));
    assert_eq!(
        relisted.held[&ServiceId::new("shop", "users")]
            .in_force
            .as_ref()
            .unwrap()
            .generation,
        1
    );
    // Deleted and made anew it is another object, which was never right.
    bad["metadata"]["uid"] = "another".into();
    relisted.take(dynamic(bad), None);
    let joined_now = joined(&relisted, &pods([pod(1)]));
    assert!(joined_now.services.is_empty());
    let finding = &joined_now.findings.objects[&ServiceId::new("shop", "users")];
    assert_eq!((finding.in_force, finding.pods.as_ref()), (None, None));
    // Mended, nothing is wrong.
    relisted.take(dynamic(object("users", 3)), None);
    assert_eq!(relisted.held.values().next().unwrap().problem, None);
}

#[test]
fn any_json_for_an_object_costs_itself_only() {
    for spec in [
        json!(null),
        json!([]),
        json!("x"),
        json!({"source": 7}),
        json!({"source": {"pods": null}}),
    ] {
        let mut bad = object("users", 1);
        bad["spec"] = spec;
        let held = objects([bad, object("shifts", 1)]);
        assert_eq!(joined(&held, &Pods::default()).services.len(), 1);
    }
}

#[test]
fn missing_secrets_are_found() {
    let mut json = object("users", 1);
    json["spec"]["source"]["pods"]["bearerToken"] =
        json!({"secretKeyRef": {"name": "users-token", "key": "token"}});
    let joined = joined(&objects([json]), &Pods::default());
    let finding = joined.findings.objects.values().next().unwrap();
    assert_eq!(
        finding.secrets,
        ["secret shop/users-token, key token is missing"]
    );
}

#[test]
fn a_namespace_that_cannot_be_listed_says_so_and_costs_no_other() {
    let mut elsewhere = object("users", 1);
    elsewhere["metadata"]["namespace"] = "dark".into();
    let held = objects([object("users", 1), elsewhere]);
    let shop = pods([pod(1)]);
    let known = |pods: &'static Pods| Known {
        pods: pods.held.values().collect(),
        is_synced: true,
        ..Known::default()
    };
    let shop: &'static Pods = Box::leak(Box::new(shop));
    let dark = Known {
        problem: Some(pods_lost("dark", &Loss::Forbidden)),
        ..Known::default()
    };
    let namespaces = BTreeMap::from([("shop".into(), known(shop)), ("dark".into(), dark)]);
    let joined = join(&held, &namespaces, false, |_| None);
    let found = |namespace| {
        let id = ServiceId::new(namespace, "users");
        joined.findings.objects[&id].pods.clone().unwrap()
    };
    assert_eq!((found("shop").ready, found("shop").problem), (1, None));
    let problem = found("dark").problem.unwrap();
    assert!(problem.contains("kubectl -n dark create role"), "{problem}");
    assert!(!found("dark").is_synced);
    assert_eq!(joined.services.len(), 2);
    let is_nameless = |service: &crate::config::Service| service.pods.is_empty();
    assert!(
        joined.services.iter().all(is_nameless),
        "nobody wants names"
    );
}

#[test]
fn the_old_set_stays_until_a_new_list_is_complete() {
    let mut pods = pods([pod(1), pod(2)]);
    let mut templates = Templates::default();
    let mut take = |pods: &mut Pods, event| pods.take(event, PODS_MAX, &mut templates);
    take(&mut pods, Event::Init);
    take(&mut pods, Event::InitApply(wire(pod(3))));
    assert_eq!(names(&pods), ["users-1", "users-2"]);
    // The list broke off; the next one begins from nothing.
    take(&mut pods, Event::Init);
    take(&mut pods, Event::InitApply(wire(pod(2))));
    assert_eq!(names(&pods), ["users-1", "users-2"]);
    assert!(take(&mut pods, Event::InitDone));
    assert_eq!(names(&pods), ["users-2"]);
}

#[test]
fn a_pod_that_was_ready_stays_so_across_a_list() {
    let mut pods = pods([pod(1)]);
    let mut flapped = pod(1);
    flapped["status"]["conditions"][0]["status"] = "False".into();
    listed(&mut pods, [flapped], PODS_MAX);
    assert!(matches!(pods.held["users-1"].phase(), Phase::Ready { .. }));
}

#[test]
fn changes_that_change_nothing_held_are_no_changes() {
    let mut pods = pods([pod(1)]);
    let mut templates = Templates::default();
    let mut heartbeat = pod(1);
    heartbeat["metadata"]["resourceVersion"] = "99".into();
    assert!(!pods.take(Event::Apply(wire(heartbeat)), PODS_MAX, &mut templates));
    assert!(pods.take(Event::Apply(wire(pod(2))), PODS_MAX, &mut templates));
    // Its successor came under the same name before the news of its end.
    let mut successor = pod(2);
    successor["metadata"]["uid"] = "another".into();
    assert!(pods.take(
        Event::Apply(wire(successor.clone())),
        PODS_MAX,
        &mut templates
    ));
    assert!(!pods.take(Event::Delete(wire(pod(2))), PODS_MAX, &mut templates));
    assert!(pods.take(Event::Delete(wire(successor)), PODS_MAX, &mut templates));
    assert_eq!(names(&pods), ["users-1"]);
}

#[test]
fn pods_are_told_as_an_hpa_counts_them() {
    let mut starting = pod(3);
    starting["status"] = json!({"phase": "Pending"});
    let mut leaving = pod(2);
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:02:00Z".into();
    leaving["status"]["startTime"] = "2026-01-01T00:00:30Z".into();
    let mut other = pod(4);
    other["metadata"]["labels"]["app"] = "shifts".into();
    let mut pods = pods([starting, other, leaving, pod(1)]);
    let selector = Selector::parse("app=users").unwrap();
    let told = |pods: &Pods| -> Vec<(String, hpa::Phase, bool, bool)> {
        let matched = ask::matched(pods, &selector).unwrap();
        let each = matched.iter().map(|pod| {
            let name = pod.name.clone();
            (name, pod.phase, pod.deleted, pod.is_ready())
        });
        each.collect()
    };
    let running =
        |n: u8, deleted, is_ready| (format!("users-{n}"), hpa::Phase::Running, deleted, is_ready);
    let pending = ("users-3".to_owned(), hpa::Phase::Pending, false, false);
    assert_eq!(
        told(&pods),
        [
            running(1, false, true),
            running(2, true, true),
            pending.clone()
        ]
    );
    let matched = ask::matched(&pods, &selector).unwrap();
    assert_eq!(
        matched[1].started,
        Some(Timestamp::from_ms(1_767_225_630_000))
    );

    // Readiness that comes and goes is no news to whoever reads it, but to an HPA it is.
    let mut unready = pod(1);
    unready["status"]["conditions"][0]["status"] = "False".into();
    unready["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:09:00Z".into();
    let mut templates = Templates::default();
    assert!(!pods.take(Event::Apply(wire(unready)), PODS_MAX, &mut templates));
    assert_eq!(
        told(&pods),
        [running(1, false, false), running(2, true, true), pending]
    );
    assert!(
        ask::matched(&Pods::default(), &selector).is_none(),
        "nothing was listed"
    );
}

#[test]
fn no_more_pods_are_held_than_there_is_room_for() {
    let mut held = Pods::default();
    listed(&mut held, [pod(1), pod(2)], 1);
    assert!(held.is_full);
    assert_eq!(names(&held), ["users-1"]);
    let mut templates = Templates::default();
    assert!(!held.take(Event::Apply(wire(pod(2))), 0, &mut templates));
    // One that is held may change without room for more.
    let mut leaving = pod(1);
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:02:00Z".into();
    assert!(held.take(Event::Apply(wire(leaving)), 0, &mut templates));
    listed(&mut held, [pod(1)], 5);
    assert!(!held.is_full);
}

#[test]
fn beyond_the_bound_the_oldest_objects_are_held_in_whatever_order_they_come() {
    let mut held = objects([object("users", 1)]);
    let one = held.held.values().next().unwrap().clone();
    let minute =
        |n: usize| Timestamp::from_ms(one.created.ms() + 60_000 * i64::try_from(n).unwrap());
    for n in 1..objects::OBJECTS_MAX {
        let held_one = Held {
            created: minute(n),
            ..one.clone()
        };
        held.held
            .insert(ServiceId::new("shop", &format!("s{n:05}")), held_one);
    }
    let last = |n: usize| ServiceId::new("shop", &format!("s{n:05}"));
    let youngest = last(objects::OBJECTS_MAX - 1);
    assert!(held.held.contains_key(&youngest) && !held.is_full);
    held.take(dynamic(object("old", 1)), None);
    assert!(held.is_full && !held.held.contains_key(&youngest));
    let mut late = object("late", 1);
    late["metadata"]["creationTimestamp"] = "2036-01-01T00:00:00Z".into();
    held.take(dynamic(late), None);
    assert!(!held.held.contains_key(&ServiceId::new("shop", "late")));
    assert!(held.held.contains_key(&ServiceId::new("shop", "old")));
    assert_eq!(held.held.len(), objects::OBJECTS_MAX);
}

#[test]
fn a_namespace_with_most_objects_takes_no_place_from_another() {
    let mut held = objects([object("users", 1)]);
    let (id, one) = held.held.pop_first().unwrap();
    for n in 0..objects::OBJECTS_MAX {
        let id = ServiceId::new("greedy", &format!("s{n:05}"));
        held.held.insert(id, one.clone());
    }
    let mut late = object("users", 1);
    late["metadata"]["creationTimestamp"] = "2036-01-01T00:00:00Z".into();
    held.take(dynamic(late), None);
    assert!(held.is_full && held.held.contains_key(&id));
    assert_eq!(held.held.len(), objects::OBJECTS_MAX);
}

#[test]
fn objects_that_select_the_same_pods_share_their_namespaces_targets() {
    let pods = pods((0..250).map(|n| {
        let mut json = pod(1);
        json["metadata"]["name"] = format!("users-{n}").into();
        json["metadata"]["uid"] = format!("{n:08}").into();
        json["status"]["podIP"] = format!("10.1.0.{n}").into();
        json
    }));
    let many = join::NAMESPACE_TARGETS_MAX / 250 + 1;
    let mut held = objects([object("users", 1)]);
    let (_, one) = held.held.pop_first().unwrap();
    for n in 0..many {
        let id = ServiceId::new("shop", &format!("s{n:05}"));
        held.held.insert(id, one.clone());
    }
    let joined = joined(&held, &pods);
    let read: usize = joined.services.iter().map(|s| s.sources.len()).sum();
    assert_eq!(read, join::NAMESPACE_TARGETS_MAX);
    let last = joined.findings.objects.last_key_value().unwrap().1;
    let left_out = &last.pods.as_ref().unwrap().left_out;
    assert_eq!(left_out[&LeftOut::TooMany], 250);
}

#[tokio::test]
async fn a_cluster_without_the_definition_has_no_objects_and_one_that_hides_them_may() {
    let unused = tower::service_fn(async |_: http::Request<kube::client::Body>| {
        Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("unused"))
    });
    let metrics = Arc::new(Metrics::new(channel::channel(Arc::default()).1));
    let (messages, _arriving) = mpsc::channel(1);
    let mut discovery = Discovery::new(Client::new(unused, "default"), messages, metrics, false);
    assert!(!discovery.are_objects_known(), "nobody was asked yet");
    for (loss, is_known) in [
        (Loss::Forbidden, false),
        (Loss::Away("the API server answers 503".to_owned()), false),
        (Loss::Unknown, true),
    ] {
        let lost = Box::new(News::Lost(loss.clone()));
        discovery.take(Message::Objects(lost));
        assert_eq!(discovery.are_objects_known(), is_known, "{loss}");
    }
}

#[test]
fn a_change_of_an_objects_status_is_none_of_what_is_wanted() {
    let mut held = objects([object("users", 1)]);
    let mut newer = object("users", 1);
    newer["metadata"]["resourceVersion"] = "2".into();
    newer["status"] = json!({"state": "ok"});
    assert!(!held.take(dynamic(newer.clone()), None));
    newer["metadata"]["generation"] = 2.into();
    assert!(held.take(dynamic(newer.clone()), None));
    newer["metadata"]["uid"] = "another".into();
    assert!(held.take(dynamic(newer), None), "deleted and made anew");
}
