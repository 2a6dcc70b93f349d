//! A load run's recording to what was seen: stretches of it in which no pod came or went, by their load on a pod.

use std::collections::BTreeMap;

use taffrail_loadtest::measured::Slot;
use taffrail_loadtest::recording::{Recording, Service};
use taffrail_loadtest::steps::Steps;

use super::curve::Objective;
use super::points::{self, Observed, Point, settled, startups};

/// Length of a stretch in seconds: long enough for its requests to tell its load, short enough for a ramp.
const STRETCH_S: usize = 10;

/// How long after a pod came or went nothing is taken, in seconds: it has its share of the requests by then, and is warm.
const SETTLE_S: f64 = 10.0;

/// Readings of CPU look back over a minute, in seconds.
const CPU_WINDOW_S: f64 = 60.0;

/// Requests per second below which CPU is what a pod does for itself.
const CPU_LOAD_MIN: f64 = 0.5;

/// A stretch, and its seconds.
type Stretch<'r> = (Point, &'r [Slot]);

/// What `recording` shows of `service`.
pub(super) fn observed(
    recording: &Recording,
    service: &Service,
    objective: &Objective,
) -> Observed {
    let replicas = &service.replicas;
    let ready = [&replicas.ready, &replicas.endpoints]
        .into_iter()
        .find(|steps| !steps.is_empty());
    let wanted = [&replicas.spec, &replicas.desired]
        .into_iter()
        .find(|steps| !steps.is_empty());
    let slots = &service.load.slots;
    let traffic = slots.iter().enumerate();
    let traffic = traffic.map(|(second, slot)| (second as f64, slot.counts.offered as f64));
    Observed {
        points: ready.map_or_else(Vec::new, |ready| curve(slots, ready, objective)),
        startups_s: match (wanted, ready) {
            (Some(wanted), Some(ready)) => startups(&known(wanted), &known(ready)),
            _ => Vec::new(),
        },
        startup_resolution_s: 1.0,
        cpu_percent: ready.and_then(|ready| cpu(service, ready)),
        traffic: smoothed(&traffic.collect::<Vec<_>>(), recording.about.duration_s),
    }
}

fn known(steps: &Steps) -> Vec<(f64, u32)> {
    let steps = steps.steps().iter();
    steps
        .filter_map(|step| Some((step.t_s, step.value?)))
        .collect()
}

/// The latencies at each load, all requests of one step of load together, so that their quantiles are true.
fn curve(slots: &[Slot], ready: &Steps, objective: &Objective) -> Vec<Point> {
    let stretches: Vec<Stretch<'_>> = slots
        .chunks_exact(STRETCH_S)
        .enumerate()
        .filter_map(|(n, slots)| {
            let pods = pods(ready, (n * STRETCH_S) as f64)?;
            Some((stretch(slots, pods, objective)?, slots))
        })
        .collect();
    let typical: Vec<_> = stretches
        .iter()
        .map(|(point, _)| (point.load, point.median_s))
        .collect();
    let step = points::steps(stretches.iter().map(|(point, _)| point.load));
    let mut groups: BTreeMap<(usize, bool), Vec<&Stretch<'_>>> = BTreeMap::new();
    for (stretch, is_over) in stretches.iter().zip(settled(&typical)) {
        if let Some(is_over) = is_over {
            groups
                .entry((step(stretch.0.load), is_over))
                .or_default()
                .push(stretch);
        }
    }
    let points = groups.into_iter().filter_map(|((_, is_over), group)| {
        let slots: Vec<&Slot> = group.iter().flat_map(|(_, slots)| slots.iter()).collect();
        let pods: f64 = group.iter().map(|(point, _)| point.pods).sum();
        let load: f64 = group.iter().map(|(point, _)| point.load * point.pods).sum();
        Some(Point {
            load: load / pods,
            pods: pods / group.len() as f64,
            is_over,
            ..latencies(&slots, objective)?
        })
    });
    points.filter(points::is_enough).collect()
}

/// The pods of a stretch, if none came or went in it or just before.
fn pods(ready: &Steps, from_s: f64) -> Option<f64> {
    let to_s = from_s + STRETCH_S as f64;
    let around = (from_s - SETTLE_S)..to_s;
    let pods = ready.at(from_s).filter(|pods| 0 < *pods)?;
    let alone = ready.min(around.clone()) == Some(pods) && ready.max(around) == Some(pods);
    // A run that begins with pods that were always there has nothing before it.
    alone.then(|| f64::from(pods))
}

fn stretch(slots: &[Slot], pods: f64, objective: &Objective) -> Option<Point> {
    let all: Vec<&Slot> = slots.iter().collect();
    let point = latencies(&all, objective)?;
    let load = point.requests / slots.len() as f64 / pods;
    Some(Point {
        load,
        pods,
        ..point
    })
}

/// The latencies of these seconds; `None` without any. A failed request is slower than any answer.
fn latencies(slots: &[&Slot], objective: &Objective) -> Option<Point> {
    let mut all: Vec<(f64, u64)> = slots
        .iter()
        .flat_map(|slot| slot.latencies())
        .map(|(latency, count)| (latency.as_secs_f64(), count))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let answered: u64 = all.iter().map(|(_, count)| count).sum();
    let offered: u64 = slots.iter().map(|slot| slot.counts.offered).sum();
    let failed: u64 = slots.iter().map(|slot| slot.counts.failed()).sum();
    if answered == 0 {
        return None;
    }
    let at = |q: f64| {
        let rank = (q * (answered + failed) as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let reached = all.iter().find(|(_, count)| {
            below += count;
            rank <= below
        });
        reached.map(|(latency, _)| *latency)
    };
    let sum: f64 = all
        .iter()
        .map(|(latency, count)| latency * *count as f64)
        .sum();
    Some(Point {
        requests: offered as f64,
        quantile_s: at(objective.quantile),
        mean_s: Some(sum / answered as f64),
        median_s: at(0.5),
        ..Point::default()
    })
}

/// CPU of a pod in per cent of its request for one request per second, as the HPA's readings have it.
fn cpu(service: &Service, ready: &Steps) -> Option<f64> {
    let metric = service
        .metrics
        .iter()
        .find(|metric| metric.name == "cpu" && !metric.is_average)?;
    let mut ratios: Vec<f64> = metric
        .reads
        .iter()
        .filter_map(|read| {
            let from = (read.t_s - CPU_WINDOW_S).max(0.0) as usize;
            let slots = service.load.slots.get(from..read.t_s.max(0.0) as usize)?;
            let requests: u64 = slots.iter().map(|slot| slot.counts.offered).sum();
            let pod_s = ready.integral(from as f64..read.t_s).0;
            let load = requests as f64 / pod_s;
            (CPU_LOAD_MIN <= load && load.is_finite()).then_some(read.value? / load)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    points::quantile(&ratios, 0.5).filter(|ratio| 0.0 < *ratio)
}

/// The mean over ten seconds: what single seconds have above it is chance, and is drawn anew when it is played.
fn smoothed(seconds: &[(f64, f64)], duration_s: f64) -> Vec<(f64, f64)> {
    let within = seconds.iter().filter(|(t_s, _)| *t_s < duration_s);
    let rates: Vec<f64> = within.map(|(_, rate)| *rate).collect();
    let mean = |chunk: &[f64]| chunk.iter().sum::<f64>() / chunk.len() as f64;
    rates
        .chunks(STRETCH_S)
        .enumerate()
        .map(|(n, chunk)| ((n * STRETCH_S) as f64, mean(chunk)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use taffrail_loadtest::scenario::Scenario;

    use super::super::fit::Fit;
    use super::*;
    use crate::sim;
    use crate::simulate::resolve;

    /// Two workers of 50 ms, half of it CPU, and pods that start within 15 s, under a ramp that shows all of that.
    const MEASURED: &str = "
name: users
seed: 3
app: { workers: 2, serviceTime: 50ms, serviceCv: 0.5, cpuShare: 0.5, cpuRequest: 1000, startup: 15s, drain: 2s }
hpa:
  spec:
    minReplicas: 2
    maxReplicas: 4
    metrics:
      - { type: Resource, resource: { name: cpu, target: { type: Utilization, averageUtilization: 75 } } }
scenarios: { main: { profile: 8@30s 8->150@300s } }
";

    #[test]
    fn what_a_pod_takes_and_how_long_it_starts_are_found_in_a_run() {
        let none = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        let scenario = Scenario::read("users.yaml", MEASURED, none).unwrap();
        let (plan, _) = resolve::plan(scenario, none).unwrap();
        let run = sim::play(&plan, &mut |_| ControlFlow::Continue(()));
        let objective = Objective {
            quantile: 0.95,
            latency_s: 0.25,
        };
        let observed = observed(&run, &run.services["users"], &objective);
        let fit = Fit::new(&observed, &objective).unwrap();
        assert!(fit.is_sure(), "{fit:?}");
        assert!((36.0..=44.0).contains(&fit.capacity.value), "40/s: {fit:?}");
        let startup = fit.startup.unwrap();
        assert!((15.0..=16.0).contains(&startup.seconds), "{startup:?}");
        // 25 ms of a core for each request per second, of a core that is requested.
        let cpu = fit.cpu_percent.unwrap();
        assert!((2.2..=2.8).contains(&cpu), "{cpu}");
        let asked: f64 = observed.traffic.iter().map(|(_, rate)| rate * 10.0).sum();
        assert!((asked / 23_940.0 - 1.0).abs() < 0.01, "{asked} requests");
    }
}
