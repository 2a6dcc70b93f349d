//! What was seen of a service, whoever saw it: how it answered at each load on a pod, how long its pods took to start,
//! how much CPU they used, and what was asked of it. A recording and an adapter's samples both become this; it fits
//! nothing.

/// Points of a curve at most: loads are told apart as finely as a figure of it would show.
const POINTS_MAX: usize = 14;

/// Requests that a point needs at least: below it a quantile is chance.
const REQUESTS_MIN: f64 = 60.0;

/// Pods of one service at most: what says more is no number of pods.
pub(super) const PODS_MAX: f64 = 100_000.0;

/// Pods whose start is looked for at most: more would not tell the quantile of their times any better.
const STARTUPS_MAX: usize = 5_000;

/// How the service answered at one load.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(super) struct Point {
    /// Requests per second and ready pod.
    pub(super) load: f64,
    /// Ready pods, on average.
    pub(super) pods: f64,
    /// Requests behind it.
    pub(super) requests: f64,
    /// The objective's quantile, in seconds.
    pub(super) quantile_s: Option<f64>,
    /// The mean latency, in seconds.
    pub(super) mean_s: Option<f64>,
    /// The median latency, in seconds.
    pub(super) median_s: Option<f64>,
    /// Whether lines grew longer and longer: its latencies say only that it was too much.
    pub(super) is_over: bool,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Observed {
    /// By load, ascending.
    pub(super) points: Vec<Point>,
    /// From a pod's being wanted to its being ready, in seconds, ascending.
    pub(super) startups_s: Vec<f64>,
    /// How exactly those are known, in seconds.
    pub(super) startup_resolution_s: f64,
    /// CPU of a pod in per cent of its request, for one request per second.
    pub(super) cpu_percent: Option<f64>,
    /// Requests per second from a moment on, in seconds from the first.
    pub(super) traffic: Vec<(f64, f64)>,
}

/// How many times as long as without load typical latencies are where lines grow.
const OVER: f64 = 4.0;

/// And where they have come to an end again.
const OVER_NO_MORE: f64 = 2.0;

/// Loads that differ by less than this factor are one load by chance.
const ALIKE: f64 = 1.1;

/// Whether lines grew in each of these stretches of time, given its load and its typical latency; `None` for one in which
/// they only came to an end again: what is slow there is so because of a load before.
pub(super) fn settled(stretches: &[(f64, Option<f64>)]) -> Vec<Option<bool>> {
    let mut typical: Vec<f64> = stretches
        .iter()
        .filter_map(|(_, typical)| *typical)
        .collect();
    typical.sort_by(f64::total_cmp);
    // A tenth from below, so that one lucky stretch does not make all others slow.
    let Some(base) = typical.get(typical.len() / 10).copied() else {
        return vec![Some(false); stretches.len()];
    };
    let mut over: Option<f64> = None;
    let settled = stretches.iter().map(|(load, typical)| {
        let times = typical.map_or(1.0, |typical| typical / base);
        if OVER <= times && over.is_none_or(|most| most <= load * ALIKE) {
            over = Some(over.unwrap_or(0.0).max(*load));
            return Some(true);
        }
        if OVER_NO_MORE < times && over.is_some() {
            return None;
        }
        over = None;
        Some(false)
    });
    settled.collect()
}

/// Which of [`POINTS_MAX`] equal steps of load each of these belongs to.
pub(super) fn steps(loads: impl Iterator<Item = f64> + Clone) -> impl Fn(f64) -> usize {
    let low = loads.clone().fold(f64::INFINITY, f64::min);
    let high = loads.fold(0.0, f64::max);
    let width = ((high - low) / POINTS_MAX as f64).max(f64::MIN_POSITIVE);
    move |load| (((load - low) / width) as usize).min(POINTS_MAX - 1)
}

/// One point for each step of load: latencies by their geometric mean, weighted by requests.
pub(super) fn merged(points: &[Point]) -> Vec<Point> {
    let step = steps(points.iter().map(|point| point.load));
    let mut groups: Vec<Vec<&Point>> = vec![Vec::new(); 2 * POINTS_MAX];
    for point in points {
        // Loads that were too much are kept apart from those that were not.
        groups[2 * step(point.load) + usize::from(point.is_over)].push(point);
    }
    groups.iter().filter_map(|group| merge(group)).collect()
}

fn merge(group: &[&Point]) -> Option<Point> {
    let requests: f64 = group.iter().map(|point| point.requests).sum();
    let mean = |of: fn(&Point) -> f64| {
        let sum: f64 = group.iter().map(|point| of(point) * point.requests).sum();
        sum / requests
    };
    let geometric = |of: fn(&Point) -> Option<f64>| {
        let known = || {
            group
                .iter()
                .filter_map(|point| Some((of(point)?, point.requests)))
        };
        let weight: f64 = known().map(|(_, weight)| weight).sum();
        let sum: f64 = known().map(|(value, weight)| value.ln() * weight).sum();
        (0.0 < weight).then(|| (sum / weight).exp())
    };
    Some(Point {
        load: mean(|point| point.load),
        pods: mean(|point| point.pods),
        requests,
        quantile_s: geometric(|point| point.quantile_s),
        mean_s: geometric(|point| point.mean_s),
        median_s: geometric(|point| point.median_s),
        is_over: group.iter().all(|point| point.is_over),
    })
    .filter(is_enough)
}

/// Whether there are requests enough behind a point for its quantiles to be more than chance.
pub(super) fn is_enough(point: &Point) -> bool {
    REQUESTS_MIN <= point.requests
}

/// How long each pod took that was wanted at one moment and ready at a later one: `wanted` and `ready` are numbers of
/// pods from moments on, in order of time.
pub(super) fn startups(wanted: &[(f64, u32)], ready: &[(f64, u32)]) -> Vec<f64> {
    let mut startups = Vec::new();
    let mut left = STARTUPS_MAX;
    for pair in wanted.windows(2) {
        let [(_, from), (at_s, to)] = pair else {
            continue;
        };
        for pod in (*from..*to).take(left).map(|pods| pods + 1) {
            left -= 1;
            // Wanted no more before it was ready: nobody saw it become so.
            let given_up = wanted
                .iter()
                .find(|(t_s, count)| at_s < t_s && *count < pod)
                .map_or(f64::INFINITY, |(t_s, _)| *t_s);
            let before = ready.iter().rev().find(|(t_s, _)| t_s <= at_s);
            let became = ready
                .iter()
                .find(|(t_s, count)| at_s < t_s && pod <= *count);
            // Pods that are ready already belong to ones that are on their way out.
            if before.is_some_and(|(_, count)| *count < pod)
                && let Some((t_s, _)) = became.filter(|(t_s, _)| *t_s < given_up)
            {
                startups.push(t_s - at_s);
            }
        }
    }
    startups.sort_by(f64::total_cmp);
    startups
}

/// The `q`-quantile of ascending numbers; `None` of none.
pub(super) fn quantile(ascending: &[f64], q: f64) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    ascending.get((q * last as f64).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_because_of_a_load_before_says_nothing() {
        let run = [
            (10.0, 40.0),
            (20.0, 44.0),
            (60.0, 400.0),
            (58.0, 900.0),
            (10.0, 700.0),
            (10.0, 90.0),
            (10.0, 41.0),
        ];
        let expected = [
            Some(false),
            Some(false),
            Some(true),
            Some(true),
            None,
            None,
            Some(false),
        ];
        assert_eq!(settled(&run.map(|(load, ms)| (load, Some(ms)))), expected);
        assert_eq!(settled(&[(1.0, None)]), [Some(false)]);
    }

    #[test]
    fn lines_grow_from_four_times_the_typical_latency_on_and_have_ended_at_twice_that() {
        let after = |ms: f64, then: f64| {
            let run = [
                (10.0, 40.0),
                (20.0, 41.0),
                (60.0, ms),
                (10.0, then),
                (10.0, 40.0),
            ];
            let settled = settled(&run.map(|(load, ms)| (load, Some(ms))));
            (settled[2], settled[3])
        };
        assert_eq!(
            after(159.0, 159.0),
            (Some(false), Some(false)),
            "slow, and no more"
        );
        assert_eq!(
            after(161.0, 81.0),
            (Some(true), None),
            "the line is still there"
        );
        assert_eq!(after(161.0, 79.0), (Some(true), Some(false)), "it is gone");
        // As slow at a load that is clearly lower than the one before: that one's line, and not a limit of its own.
        let at = |load: f64| {
            let run = [(10.0, 40.0), (10.0, 40.0), (60.0, 400.0), (load, 400.0)];
            settled(&run.map(|(load, ms)| (load, Some(ms))))[3]
        };
        assert_eq!((at(55.0), at(54.0)), (Some(true), None));
    }

    #[test]
    fn points_of_one_load_are_one_and_those_of_few_requests_none() {
        let point = |load: f64, requests: f64, quantile_s: f64| Point {
            load,
            requests,
            quantile_s: Some(quantile_s),
            ..Point::default()
        };
        let merged = merged(&[
            point(10.0, 100.0, 0.1),
            point(10.1, 300.0, 0.1),
            point(20.0, 10.0, 5.0),
            point(30.0, 100.0, 0.4),
        ]);
        assert_eq!(merged.len(), 2);
        assert!(
            (merged[0].load - 10.075).abs() < 1e-9
                && (merged[0].quantile_s.unwrap() - 0.1).abs() < 1e-9
        );
        assert_eq!(merged[1].load, 30.0);
    }

    #[test]
    fn each_pod_takes_from_its_being_wanted_to_its_being_ready() {
        let wanted = [(0.0, 2), (15.0, 4), (30.0, 5), (45.0, 2), (60.0, 3)];
        let ready = [(0.0, 2), (23.0, 3), (24.0, 4), (45.0, 2), (69.0, 3)];
        // The fifth pod was given up after 15 s, not ready yet.
        assert_eq!(startups(&wanted, &ready), [8.0, 9.0, 9.0]);
        assert_eq!(quantile(&[8.0, 9.0, 9.0], 0.5), Some(9.0));
        assert_eq!(quantile(&[], 0.5), None);
        assert!(startups(&[], &ready).is_empty());
        let absurd = [(0.0, 2), (15.0, u32::MAX), (30.0, 2), (45.0, u32::MAX)];
        assert_eq!(startups(&absurd, &[(0.0, 2), (20.0, 3)]), [5.0]);
    }
}
