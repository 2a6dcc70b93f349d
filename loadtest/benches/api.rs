//! How many reads per second one core answers, through the whole router, from a snapshot of 10,000 metrics.
//!
//! `cargo bench --bench api` shows distributions; with `-- --check` it prints reads per second
//! and core, and fails below the goal. Sockets and TLS are left out: they are the kernel's and rustls' cost.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use taffrail::api::{AppState, GROUP_VERSION_PATH, router};
use taffrail::clock;
use taffrail::engine::Objective;
use taffrail::engine::snapshot::{BacklogView, Coverage, Merged, ServiceView, Snapshot, State};
use taffrail::model::id::ServiceId;
use taffrail::model::time::Timestamp;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tower::ServiceExt;

/// Five metrics each.
const SERVICES: usize = 2000;

/// Spread as teams do it.
const NAMESPACES: usize = 20;

/// Reads per second and core.
const GOAL: f64 = 20_000.0;

/// How long `--check` measures.
const CHECK: Duration = Duration::from_secs(3);

/// How long a snapshot is fresh, so how often one is published here.
const REPUBLISH: Duration = Duration::from_secs(1);

/// What a HorizontalPodAutoscaler asks for, and what a person might.
const READS: [(&str, &str); 3] = [
    (
        "latency",
        "request_latency_ms?labelSelector=quantile%3D0.95%2Cservice%3Dservice-0042",
    ),
    ("rate", "request_rate?labelSelector=service%3Dservice-0042"),
    ("namespace", "request_rate"),
];

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--check") {
        return check();
    }
    divan::main();
    ExitCode::SUCCESS
}

#[divan::bench(args = READS.map(|(name, _)| name))]
fn read(bencher: divan::Bencher<'_, '_>, name: &str) {
    let api = Api::new();
    let (_, path) = READS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("one of READS");
    bencher.bench_local(|| {
        api.stay_fresh();
        api.read(path)
    });
}

/// Measures reads of one service, which is what HPAs do; says so, and whether that is enough.
fn check() -> ExitCode {
    let api = Api::new();
    let mut enough = true;
    for (name, path) in READS {
        let began = clock::instant();
        let mut reads = 0_u32;
        while began.elapsed() < CHECK {
            api.stay_fresh();
            for _ in 0..100 {
                black_box(api.read(path));
            }
            reads += 100;
        }
        let per_second = f64::from(reads) / began.elapsed().as_secs_f64();
        println!("{name}: {per_second:.0} reads per second and core");
        // A whole namespace of 100 services is an answer of 100 items, and no HPA's question.
        enough &= name == "namespace" || GOAL <= per_second;
    }
    if enough {
        return ExitCode::SUCCESS;
    }
    println!("the goal is {GOAL:.0}");
    ExitCode::FAILURE
}

/// The router on a runtime of one thread: one core.
struct Api {
    router: Router,
    snapshots: watch::Sender<Arc<Snapshot>>,
    runtime: Runtime,
}

impl Api {
    fn new() -> Self {
        let (snapshots, latest) = watch::channel(Arc::new(snapshot(clock::now())));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        Self {
            router: router(Arc::new(AppState::new(latest))),
            snapshots,
            runtime: runtime.expect("a runtime"),
        }
    }

    /// Publishes a new snapshot when the last one is about to be stale, as the pipeline does every second.
    fn stay_fresh(&self) {
        let now = clock::now();
        let published = self.snapshots.borrow().at();
        if REPUBLISH * 5 < now.since(published) {
            self.snapshots.send_replace(Arc::new(snapshot(now)));
        }
    }

    fn read(&self, path: &str) -> u64 {
        let request = Request::get(format!("{GROUP_VERSION_PATH}/namespaces/team-02/{path}"))
            .header("Accept", "application/vnd.kubernetes.protobuf, */*")
            .header(
                "User-Agent",
                "kube-controller-manager/v1.36.2 (linux/amd64)",
            )
            .header(
                "X-Remote-User",
                "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
            )
            .header("X-Remote-Group", "system:authenticated")
            .body(Body::empty())
            .expect("a request");
        let answer = self.runtime.block_on(self.router.clone().oneshot(request));
        let answer = answer.expect("it never fails");
        assert_eq!(answer.status(), 200);
        let size = axum::body::HttpBody::size_hint(answer.body());
        size.exact().expect("a whole body")
    }
}

/// 2,000 services in 20 namespaces, each with the 14 buckets that client libraries come with.
fn snapshot(at: Timestamp) -> Snapshot {
    let bounds: Arc<[f64]> = [
        0.005,
        0.01,
        0.025,
        0.05,
        0.075,
        0.1,
        0.25,
        0.5,
        0.75,
        1.0,
        2.5,
        5.0,
        7.5,
        f64::INFINITY,
    ]
    .into();
    let service = |i: usize| ServiceView {
        id: ServiceId::new(
            &format!("team-{:02}", i % NAMESPACES),
            &format!("service-{i:04}"),
        ),
        objective: Some(Objective {
            quantile: 0.95,
            latency: Duration::from_millis(250),
        }),
        at,
        state: State::Ok,
        coverage: Coverage {
            known: 3,
            ..Coverage::default()
        },
        windows: vec![Merged {
            window: Duration::from_secs(30),
            requests: 3000.0 + i as f64,
            judged: 3000.0 + i as f64,
            busy_s: Some(300.0),
            cpu_s: None,
            bounds: Arc::clone(&bounds),
            counts: (1..=bounds.len())
                .map(|b| (3000.0 + i as f64) * b as f64 / 14.0)
                .collect(),
            layouts: 1,
        }],
        in_flight: Some((10.0, 0.0)),
        backlogs: vec![BacklogView {
            key: "orders".into(),
            items: Ok(7.0),
        }],
        pods: Vec::new(),
    };
    Snapshot::new(at, (0..SERVICES).map(service).collect())
}
