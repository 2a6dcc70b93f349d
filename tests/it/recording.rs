//! A made-up but lifelike run, for the report and the live picture: quiet at 40 requests a second, a rise to 200, a
//! spike to 300, a fall; latency is breached and recovers while CPU stays low; 1 -> 6 -> 2 replicas.

use taffrail::demo::timeline::{
    Decision, Event, Objective, Pod, PodState, Proposal, Run, Sample, Totals,
};

/// Requests a second that one pod answers before they queue.
const POD_RPS: f64 = 55.0;

/// Length of the run in seconds.
pub(crate) const SECONDS: u32 = 160;

/// The run, the same each time.
pub(crate) fn recording() -> Run {
    let decisions = decisions();
    let mut run = Run {
        title: "Taffrail demo: users in shop".to_owned(),
        objective: Objective {
            quantile: 0.95,
            latency_ms: 250.0,
        },
        cpu_target_percent: 70,
        replicas_min: 1,
        replicas_max: 8,
        hpa_yaml: HPA.to_owned(),
        events: events(),
        totals: Totals {
            requests: 21_480,
            within_objective: 19_846,
            errors: 3,
        },
        ..Run::default()
    };
    let mut queue = 0.0;
    let mut window: Vec<f64> = Vec::new();
    for t in 0..SECONDS {
        let wanted = decisions
            .iter()
            .rfind(|d| d.t_s <= f64::from(t))
            .map_or(1, |d| d.to);
        let ready = decisions
            .iter()
            .rfind(|d| d.t_s + 3.0 <= f64::from(t))
            .map_or(1, |d| d.to);
        let offered = offered_rps(t) + 4.0 * wobble(t);
        let capacity = f64::from(ready) * POD_RPS;
        let done = (queue + offered).min(capacity);
        queue = (queue + offered - done).max(0.0);
        let load = (offered / capacity).min(1.0);
        let p95 = 62.0 + 90.0 * load.powi(4) + 9.0 * wobble(t + 3) + 320.0 * queue / capacity;
        window.push(p95);
        let recent = &window[window.len().saturating_sub(10)..];
        let metric = recent.iter().sum::<f64>() / recent.len() as f64;
        let absent = t < 4 || (61..66).contains(&t);
        let cpu_total = 11.0 * done / POD_RPS;
        run.samples.push(Sample {
            t_s: f64::from(t),
            offered_rps: offered,
            done_rps: done,
            error_rps: if t == 63 { 3.0 } else { 0.0 },
            p50_ms: Some(0.42 * p95),
            p95_ms: Some(p95),
            p99_ms: Some(1.5 * p95 + 40.0),
            metric_ms: (!absent).then_some(metric),
            metric_state: if absent { "unknown" } else { "ok" }.to_owned(),
            request_rate: (!absent).then_some(done),
            cpu_utilization_percent: Some(4.0 + cpu_total / f64::from(ready) * 3.0),
            replicas_spec: wanted,
            replicas_ready: ready,
            cpu_only_replicas: Some(if cpu_total < 40.0 { 1 } else { 2 }),
            pods: pods(wanted, ready, done),
        });
    }
    run.decisions = decisions;
    run
}

/// A number in -1..=1 that looks random and is the same each time.
fn wobble(t: u32) -> f64 {
    f64::from(t.wrapping_mul(2_654_435_761) >> 16 & 0xff) / 127.5 - 1.0
}

fn offered_rps(t: u32) -> f64 {
    let t = f64::from(t);
    match t {
        t if t < 25.0 => 40.0,
        t if t < 45.0 => 40.0 + 8.0 * (t - 25.0),
        t if t < 75.0 => 200.0,
        t if t < 95.0 => 300.0,
        t if t < 110.0 => 300.0 - 16.0 * (t - 95.0),
        _ => 60.0,
    }
}

fn pods(wanted: u32, ready: u32, done: f64) -> Vec<Pod> {
    let pod = |i: u32| Pod {
        name: format!("users-{i}"),
        state: match (i < ready, i < wanted) {
            (true, true) => PodState::Ready,
            (true, false) => PodState::Draining,
            (false, _) => PodState::Starting,
        },
        rps: (i < ready).then(|| done / f64::from(ready)),
    };
    (0..wanted.max(ready)).map(pod).collect()
}

fn decisions() -> Vec<Decision> {
    let decision = |(t_s, from, to, reason, message, latency, cpu): (
        f64,
        u32,
        u32,
        &str,
        &str,
        Option<u32>,
        u32,
    )| Decision {
        t_s,
        from,
        to,
        reason: reason.to_owned(),
        message: message.to_owned(),
        metric: Some("request_latency_ms".to_owned()),
        proposals: vec![
            Proposal {
                metric: "cpu".to_owned(),
                replicas: Some(cpu),
            },
            Proposal {
                metric: "request_latency_ms".to_owned(),
                replicas: latency,
            },
        ],
    };
    let above = "New size: 2; reason: external metric request_latency_ms(service=users,quantile=0.95) above target";
    [
        (36.0, 1, 2, "ScaleUpLimit", above, Some(3), 1),
        (
            41.0,
            2,
            4,
            "SucceededRescale",
            "New size: 4; reason: external metric request_latency_ms above target",
            Some(4),
            1,
        ),
        (
            81.0,
            4,
            6,
            "SucceededRescale",
            "New size: 6; reason: external metric request_latency_ms above target",
            Some(6),
            2,
        ),
        (
            128.0,
            6,
            4,
            "ScaleDownLimit",
            "New size: 4; reason: All metrics below target",
            Some(2),
            1,
        ),
        (
            143.0,
            4,
            2,
            "SucceededRescale",
            "New size: 2; reason: All metrics below target",
            Some(2),
            1,
        ),
    ]
    .map(decision)
    .into()
}

fn events() -> Vec<Event> {
    let event = |(t_s, text): (f64, &str)| Event {
        t_s,
        text: text.to_owned(),
    };
    [
        (0.0, "1 pod is ready; load starts at 40 requests per second"),
        (25.0, "load rises to 200 requests per second"),
        (61.0, "users-2 was lost; the metric is absent until its share of the window has passed <again>"),
        (75.0, "load spikes to 300 requests per second"),
        (95.0, "load falls to 60 requests per second"),
    ]
    .map(event)
    .into()
}

const HPA: &str = r#"apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: users, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: users}
  minReplicas: 1
  maxReplicas: 8
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}
  - type: External
    external:
      metric: {name: request_latency_ms, selector: {matchLabels: {service: users, quantile: "0.95"}}}
      target: {type: Value, value: "250"}
"#;
