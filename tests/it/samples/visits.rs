//! `visits`: an app and its Redis.

use serde_json::{Value, json};

use super::{SAMPLES, all, at, container, list, render, text, variable};
use crate::fixtures::{objects, tools};

const ENVIRONMENTS: [&str; 2] = ["visits/dev", "visits/prod"];

#[test]
fn v_01_the_app_listens_on_3000_and_finds_redis_by_the_name_of_its_service() {
    for environment in ENVIRONMENTS {
        let render = render(environment);
        let app = container(render.one("Deployment", "visits"));
        assert_eq!(at(app, "/ports/0/containerPort"), 3000);
        let db = container(render.one("StatefulSet", "db"));
        assert_eq!(at(db, "/ports/0/containerPort"), 6379);
        let service = render.one("Service", "db");
        assert_eq!(at(service, "/spec/ports/0/port"), 6379);
        let selected = at(service, "/spec/selector");
        let labels = at(
            render.one("StatefulSet", "db"),
            "/spec/template/metadata/labels",
        );
        assert_eq!(
            selected["app.kubernetes.io/name"],
            labels["app.kubernetes.io/name"]
        );
        let config = objects::of_kind(&render.objects, "ConfigMap")
            .next()
            .unwrap();
        assert_eq!(
            config["data"],
            json!({"REDIS_HOST": "db", "REDIS_PORT": "6379"})
        );
    }
}

#[test]
fn v_02_settings_come_from_a_config_map_and_credentials_from_a_secret() {
    for environment in ENVIRONMENTS {
        let render = render(environment);
        let app = container(render.one("Deployment", "visits"));
        let config = objects::of_kind(&render.objects, "ConfigMap")
            .next()
            .unwrap();
        for name in ["REDIS_HOST", "REDIS_PORT"] {
            let from = at(variable(app, name), "/valueFrom/configMapKeyRef");
            assert_eq!(
                *from,
                json!({"name": config["metadata"]["name"], "key": name})
            );
        }
        for (name, key) in [
            ("REDIS_USERNAME", "username"),
            ("REDIS_PASSWORD", "password"),
        ] {
            let from = at(variable(app, name), "/valueFrom/secretKeyRef");
            assert_eq!(*from, json!({"name": "redis", "key": key}));
        }
    }
}

#[test]
fn v_13_redis_is_reached_by_the_app_and_by_nobody_else() {
    for environment in ENVIRONMENTS {
        let policy = render(environment).one("NetworkPolicy", "db");
        assert_eq!(
            at(policy, "/spec/ingress"),
            &json!([{
                "from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "visits"}}}],
                "ports": [{"protocol": "TCP", "port": "redis"}],
            }])
        );
        // And it calls nobody.
        assert!(at(policy, "/spec/egress").is_null());
    }
}

#[test]
fn v_13_the_password_is_in_no_argument_and_redis_has_one_user_who_may_count() {
    let db = container(render("visits/dev").one("StatefulSet", "db"));
    let script = text(db, "/args/0");
    assert!(script.contains("user default off"), "{script}");
    let user = script.lines().find(|line| line.contains(" ~visits "));
    assert!(
        user.is_some_and(|user| user.ends_with("+@connection +incr +info +latency|histogram")),
        "{script}"
    );
    let mount = list(db, "/volumeMounts").find(|mount| mount["name"] == "password");
    assert_eq!(mount.unwrap()["readOnly"], true);
    for variable in list(db, "/env") {
        assert_eq!(variable["name"], "POD_IP");
    }
}

/// The component that reads Redis, too, in an overlay of its own.
fn with_redis_rate() -> Vec<Value> {
    let dir = tempfile::tempdir_in(format!("{}/{SAMPLES}/visits/overlays", tools::ROOT)).unwrap();
    let kustomization = "resources: [../dev]\ncomponents: [../../components/redis-rate]\n";
    std::fs::write(dir.path().join("kustomization.yaml"), kustomization).unwrap();
    objects::read(&tools::kustomize(dir.path().to_str().unwrap()))
}

#[test]
fn v_13_who_scales_on_the_rate_of_redis_lets_the_adapter_in_and_gives_it_one_secret() {
    let objects = with_redis_rate();
    let hpa = objects::one(&objects, "HorizontalPodAutoscaler", "visits");
    let metrics: Vec<&str> = list(hpa, "/spec/metrics")
        .map(|metric| text(metric, "/external/metric/selector/matchLabels/service"))
        .collect();
    assert_eq!(metrics, ["", "visits", "visits-redis"]);
    let source = at(
        objects::one(&objects, "RequestMetrics", "visits-redis"),
        "/spec/source/redis",
    );
    assert_eq!(source["address"], "db:6379");
    let role = objects::one(&objects, "Role", "taffrail-redis");
    assert_eq!(
        role["rules"],
        json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["redis"], "verbs": ["get"]}])
    );
    let policy = objects::one(&objects, "NetworkPolicy", "db-adapter");
    let peers: Vec<&Value> = list(policy, "/spec/ingress/0/from").collect();
    assert_eq!(peers.len(), 1);
    assert!(peers[0]["namespaceSelector"].is_object() && peers[0]["podSelector"].is_object());
}

#[test]
fn v_06_one_command_is_enough_in_dev_and_production_wants_its_secret_made() {
    let secret = render("visits/dev").one("Secret", "redis");
    for key in ["username", "password"] {
        assert!(secret["data"][key].is_string());
    }
    let is_named = |render: &&super::Render| ENVIRONMENTS.contains(&render.name.as_str());
    for render in all().iter().filter(is_named) {
        let services = objects::of_kind(&render.objects, "Service");
        for service in services {
            assert!(at(service, "/spec/type").is_null(), "ClusterIP is enough");
        }
    }
}
