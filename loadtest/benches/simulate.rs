//! A simulated day: a service of twenty requests per second in the mean that follows the sun, read every five seconds,
//! under an HPA that syncs every fifteen. And what one more request costs where there are many.
//!
//! `cargo bench --bench simulate` prints a table in CPU time. With `-- --check` it fails when a limit is exceeded. The
//! limit of the day is what its users wait for; that of a request is several times what was measured on a small
//! virtual machine, so that only a real slowdown breaks it.

#[path = "common/rounds.rs"]
mod rounds;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use taffrail::engine::{Objective, ServiceSpec};
use taffrail::hpa::{MetricSpec, Spec, Target};
use taffrail::model::id::ServiceId;
use taffrail::model::matcher::Matchers;
use taffrail::model::selector::Selector;
use taffrail::sim::{Hpa, Of, Outcome, Plan, Source, play};
use taffrail_loadtest::arrivals::plan::Plan as LoadPlan;
use taffrail_loadtest::recording::Recording;
use taffrail_loadtest::scenario::{
    self, App, Executor, Load, Pacing, Placing, Scenario, Slo, Span, Stage,
};

use rounds::{ROUNDS, cpu_seconds, median};

const SERVICE: &str = "users";

const DAY_S: u64 = 24 * 3600;

/// A simulated day. Whoever tries five HPAs waits for five of these.
const DAY_S_MAX: f64 = 1.0;

/// One more request: its arrival, its turn, its work, its answer, and all that is counted of it.
const REQUEST_NS_MAX: f64 = 2_000.0;

/// The figures of a day, for an HPA that is compared with others.
const OUTCOME_MS_MAX: f64 = 500.0;

/// A pod with two workers that take 200 ms each: it answers ten requests a second at most.
fn app() -> App {
    App {
        workers: 2,
        queue: 512,
        service_time: Span::from_millis(200),
        service_cv: 0.5,
        cpu_share: 0.1,
        cpu_request: 500,
        startup: Some(Span::from_secs(20)),
        drain: Span::from_secs(30),
        calls: None,
        redis: false,
        token: None,
        version: "v1.0".to_owned(),
    }
}

fn slo() -> Slo {
    Slo {
        quantile: 0.95,
        target: Span::from_secs(1),
        window: Span::from_secs(30),
        max_window: Span::from_secs(300),
    }
}

fn source() -> Source {
    Source {
        spec: ServiceSpec {
            id: ServiceId::new("shop", SERVICE),
            interval: Duration::from_secs(5),
            window: Duration::from_secs(30),
            objective: Some(Objective {
                quantile: 0.95,
                latency: Duration::from_secs(1),
            }),
            has_requests: true,
        },
        of: Of::Pods {
            service: 0,
            matchers: Matchers::default(),
            in_flight: true,
            cpu: true,
            has_token: false,
        },
    }
}

fn hpa() -> Hpa {
    let selector = Selector::parse("service=users,quantile=0.95").expect("a selector");
    Hpa {
        namespace: "shop".to_owned(),
        name: SERVICE.to_owned(),
        selectors: vec![selector],
        spec: Spec {
            min_replicas: 2,
            max_replicas: 20,
            metrics: vec![MetricSpec::External {
                metric: "request_latency_ms".to_owned(),
                target: Target::Value(1_000_000),
            }],
            behavior: None,
        },
    }
}

fn plan(executor: Executor, app: App, replicas: u32, hpa: Option<Hpa>) -> Plan {
    let service = scenario::Service {
        app: Some(app),
        ..scenario::Service::default()
    };
    let load = Load {
        service: SERVICE.to_owned(),
        executor,
        arrivals: Placing::Poisson,
        max_in_flight: 10_000,
        graceful_stop: Span::from_secs(10),
        start_time: Span::default(),
        pacing: Pacing::default(),
    };
    let mut scenario = Scenario {
        name: "day".to_owned(),
        seed: 1,
        slo: Some(slo()),
        services: BTreeMap::from([(SERVICE.to_owned(), service)]),
        scenarios: BTreeMap::from([("main".to_owned(), load)]),
        ..Scenario::default()
    };
    scenario
        .preconditions
        .replicas
        .insert(SERVICE.to_owned(), replicas);
    let none = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    let loads = LoadPlan::all(&scenario, none).expect("a load");
    let hpas = hpa.map(|hpa| (SERVICE.to_owned(), hpa));
    Plan::new(
        scenario,
        loads,
        vec![source()],
        hpas.into_iter().collect(),
        "bench",
    )
    .expect("a plan")
}

fn day() -> Plan {
    let sine = Executor::Sine {
        mean: 20.0,
        amplitude: 15.0,
        period: Span::from_secs(DAY_S),
        duration: Span::from_secs(DAY_S),
    };
    plan(sine, app(), 3, Some(hpa()))
}

/// Twelve pods of a quick service, at 700 requests a second for so long.
fn busy(seconds: u64) -> Plan {
    let constant = Executor::RampingArrivalRate {
        start_rate: 700.0,
        stages: vec![Stage {
            name: None,
            target: 700.0,
            duration: Span::from_secs(seconds),
        }],
    };
    let quick = App {
        workers: 4,
        service_time: Span::from_millis(40),
        service_cv: 1.0,
        ..app()
    };
    plan(constant, quick, 12, None)
}

fn run(plan: &Plan) -> Recording {
    play(plan, &mut |_| ControlFlow::Continue(()))
}

fn seconds<T>(mut measured: impl FnMut() -> T) -> f64 {
    median((0..ROUNDS).map(|_| cpu_seconds(&mut measured)))
}

/// One line of the table, and whether it is within its limit.
fn line(what: &str, value: f64, unit: &str, limit: f64) -> bool {
    println!("{what:<62} {value:>9.2} {unit:<3} {limit:>7} {unit}");
    value <= limit
}

fn table() -> bool {
    println!(
        "{:<62} {:>9} {:<3} {:>7}",
        "CPU time, medians", "", "", "limit"
    );
    let day = day();
    let recording = run(&day);
    let seen = &recording.services[SERVICE];
    let what = format!(
        "a day: {} requests, {} to {} pods",
        seen.load.counts.offered,
        seen.replicas
            .ready
            .min(0.0..DAY_S as f64)
            .unwrap_or_default(),
        seen.replicas
            .ready
            .max(0.0..DAY_S as f64)
            .unwrap_or_default(),
    );
    let mut ok = line(&what, seconds(|| run(&day)), "s", DAY_S_MAX);
    let oracle = day.oracle(SERVICE, slo());
    let outcome_s = seconds(|| Outcome::of(&recording, SERVICE, Some(slo()), oracle.as_ref()));
    ok &= line("its figures", outcome_s * 1e3, "ms", OUTCOME_MS_MAX);
    let (short, long) = (busy(60), busy(360));
    let more_s = seconds(|| run(&long)) - seconds(|| run(&short));
    ok &= line(
        "one more request, of 700 a second on 12 pods",
        more_s / (300.0 * 700.0) * 1e9,
        "ns",
        REQUEST_NS_MAX,
    );
    ok
}

fn main() -> ExitCode {
    let flag = |name: &str| std::env::args().any(|argument| argument == name);
    // Run as a test: there is nothing to measure.
    if !flag("--bench") {
        return ExitCode::SUCCESS;
    }
    if flag("--once") {
        // For a profiler.
        run(&day());
        return ExitCode::SUCCESS;
    }
    let within_limits = table();
    if flag("--check") && !within_limits {
        eprintln!("a limit is exceeded");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
