//! An API server that answers what a test tells it to, counts what it is asked, and fails on demand: the ConfigMap with
//! its watch, token reviews and access reviews. What a real one answers is for the tests in `tests/cluster`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::watch;

const CONFIG_MAP: &str = "extension-apiserver-authentication";

/// How reviews are answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Allows,
    Denies,
    /// Every review fails with this code.
    Fails(u16),
    /// As [`Mood::Fails`] with 503, once; then it allows.
    FailsOnce,
    Hangs,
}

/// The API server.
#[derive(Clone)]
pub(crate) struct ControlPlane {
    /// The version and the entries of the ConfigMap; no entries, no ConfigMap.
    config: Arc<watch::Sender<(u64, Option<BTreeMap<String, String>>)>>,
    mood: Arc<Mutex<Mood>>,
    /// The specs of all reviews, by kind.
    reviews: Arc<Mutex<Vec<(String, Value)>>>,
}

impl ControlPlane {
    /// One with this ConfigMap, that allows everything.
    pub(crate) fn new(entries: Option<BTreeMap<String, String>>) -> Self {
        Self {
            config: Arc::new(watch::Sender::new((1, entries))),
            mood: Arc::new(Mutex::new(Mood::Allows)),
            reviews: Arc::default(),
        }
    }

    /// What the adapter talks to it with.
    pub(crate) fn client(&self) -> kube::Client {
        let plane = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let plane = plane.clone();
            async move { Ok::<_, Infallible>(plane.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    pub(crate) fn configure(&self, entries: BTreeMap<String, String>) {
        self.config
            .send_modify(|config| *config = (config.0 + 1, Some(entries)));
    }

    pub(crate) fn be(&self, mood: Mood) {
        *self.mood.lock().expect("nobody panics with it") = mood;
    }

    /// The specs of all reviews of this kind so far.
    pub(crate) fn reviews(&self, kind: &str) -> Vec<Value> {
        let reviews = self.reviews.lock().expect("nobody panics with it");
        let of_kind = reviews.iter().filter(|(of, _)| of == kind);
        of_kind.map(|(_, spec)| spec.clone()).collect()
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        if parts.uri.path().ends_with("/configmaps") {
            assert!(
                query.contains(&format!("metadata.name%3D{CONFIG_MAP}")),
                "{query}"
            );
            return if query.contains("watch=true") {
                self.watch(query)
            } else {
                self.list()
            };
        }
        let body = body.collect().await.expect("a whole body").to_bytes();
        let mut review: Value = serde_json::from_slice(&body).expect("JSON");
        let kind = review["kind"].as_str().expect("a kind").to_owned();
        let spec = review["spec"].clone();
        let mood = {
            let mut reviews = self.reviews.lock().expect("nobody panics with it");
            reviews.push((kind.clone(), spec.clone()));
            let mut mood = self.mood.lock().expect("nobody panics with it");
            let now = *mood;
            if now == Mood::FailsOnce {
                *mood = Mood::Allows;
            }
            now
        };
        let code = match mood {
            Mood::Hangs => pending().await,
            Mood::Fails(code) => code,
            Mood::FailsOnce => 503,
            Mood::Allows | Mood::Denies => {
                review["status"] = if kind == "TokenReview" {
                    whose(&spec)
                } else {
                    json!({"allowed": mood == Mood::Allows})
                };
                return json_answer(201, &review);
            }
        };
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "message": "on purpose", "reason": "on purpose"});
        json_answer(code, &status)
    }

    fn list(&self) -> Response<Body> {
        let (version, entries) = self.config.borrow().clone();
        let items: Vec<_> = entries
            .iter()
            .map(|data| config_map(version, data))
            .collect();
        let list = json!({"kind": "ConfigMapList", "apiVersion": "v1", "items": items,
            "metadata": {"resourceVersion": version.to_string()}});
        json_answer(200, &list)
    }

    /// Every change after the version that the watcher knows.
    fn watch(&self, query: &str) -> Response<Body> {
        let known = query.split("resourceVersion=").nth(1).expect("a version");
        let known: u64 = known
            .split('&')
            .next()
            .unwrap_or_default()
            .parse()
            .expect("digits");
        let changes = futures_util::stream::unfold(
            (self.config.subscribe(), known),
            |(mut config, known)| async move {
                let (version, entries) = {
                    let changed = config.wait_for(|(version, _)| known < *version).await;
                    changed.ok()?.clone()
                };
                let object = config_map(version, &entries.unwrap_or_default());
                let line = format!("{}\n", json!({"type": "MODIFIED", "object": object}));
                Some((Ok::<_, Infallible>(Bytes::from(line)), (config, version)))
            },
        );
        Response::new(Body::from_stream(changes.boxed()))
    }
}

/// The only token anybody has.
pub(crate) const TOKEN: &str = "a-good-token";

fn whose(spec: &Value) -> Value {
    if spec["token"] != TOKEN {
        return json!({"authenticated": false, "error": "unknown"});
    }
    let (name, group) = (
        "system:serviceaccount:shop:reader",
        "system:serviceaccounts",
    );
    json!({"authenticated": true, "user": {"username": name, "uid": "7", "groups": [group]}})
}

fn config_map(version: u64, data: &BTreeMap<String, String>) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "data": data, "metadata": {
        "name": CONFIG_MAP, "namespace": "kube-system", "resourceVersion": version.to_string()}})
}

fn json_answer(code: u16, body: &Value) -> Response<Body> {
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("legal parts")
}
