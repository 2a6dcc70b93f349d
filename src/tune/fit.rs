//! A curve through what was seen, and every other curve that explains it nearly as well: what they agree on is known,
//! and where they part is what has to be measured. It says how sure it is; what to do about that is not its to say.

use super::curve::{Balancing, Curve, Objective};
use super::points::{Observed, Point, quantile};

/// Numbers of workers that are tried: the curves of two neighbours differ by less than one can measure.
const WORKERS: [u32; 14] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128];

/// How far a model is from the truth at best, as a share of a latency: a real service is no line before equal workers.
const MODEL_ERROR: f64 = 0.05;

/// Relative deviation of a high quantile of `n` requests, times the root of `n`: that of an exponential tail.
const QUANTILE_NOISE: f64 = 1.5;

/// The same for means and medians.
const MEAN_NOISE: f64 = 1.0;

/// By how much worse than the best a curve may explain what was seen and still be true, in squared deviations: twice the
/// deviation of one parameter.
const ALLOWED: f64 = 4.0;

/// Where lines were seen to grow, a pod was at least this busy.
const OVER_BUSY: f64 = 0.92;

/// How sharply that is held, as a share of the capacity.
const OVER_ERROR: f64 = 0.04;

/// How far the highest possible load may be above the lowest for it to be known.
const SURE: f64 = 1.25;

/// Points that a curve has at least: its parameters are three.
const POINTS_MIN: usize = 4;

/// Halvings of the step with which parameters are looked for: from a factor of two to a fiftieth.
const HALVINGS: usize = 6;

/// A number and the bounds within which it is.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(super) struct Estimate {
    /// The best guess.
    pub(super) value: f64,
    /// Not below this.
    pub(super) low: f64,
    /// Not above this.
    pub(super) high: f64,
}

/// A pod, as far as it is known.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(super) struct Fit {
    /// The curve that explains best what was seen.
    pub(super) best: Curve,
    /// Of those that explain it nearly as well, the one that promises least.
    pub(super) careful: Curve,
    /// Requests per second and pod at which the objective is just met, at `pods` pods.
    pub(super) limit: Estimate,
    /// Requests per second and pod above which a line grows for ever.
    pub(super) capacity: Estimate,
    /// The number of pods that the above holds for.
    pub(super) pods: f64,
    /// How far latencies are from the curve, as a share of them.
    pub(super) residual: f64,
    /// The lowest and the highest load that was seen.
    pub(super) seen: (f64, f64),
    /// The highest load at which the objective was met, and the lowest at which it was missed.
    pub(super) met: Option<f64>,
    /// See [`Fit::met`].
    pub(super) missed: Option<f64>,
    /// What the curve goes through.
    pub(super) points: Vec<Point>,
    /// From a pod's being wanted to its being ready, in seconds.
    pub(super) startup: Option<Startup>,
    /// CPU of a pod in per cent of its request, for one request per second.
    pub(super) cpu_percent: Option<f64>,
}

/// How long pods took to start.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(super) struct Startup {
    /// In nine of ten cases at most, in seconds.
    pub(super) seconds: f64,
    /// How exactly, in seconds.
    pub(super) resolution_s: f64,
    /// How many were seen.
    pub(super) pods: usize,
}

/// Why there is no curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FitError {
    /// Too little was seen.
    #[error("latency was seen at {0} different loads on a pod, and a curve takes {POINTS_MIN}")]
    Points(usize),
}

/// A curve that was tried.
#[derive(Clone, Copy)]
struct Tried {
    curve: Curve,
    /// Squared deviations from what was seen, added up.
    error: f64,
}

// === impl Fit ===

impl Fit {
    /// Fits a curve for `objective`.
    pub(super) fn new(observed: &Observed, objective: &Objective) -> Result<Self, FitError> {
        let points = &observed.points;
        let steady = points.iter().filter(|point| !point.is_over);
        let told = steady.filter(|point| point.quantile_s.is_some() || point.mean_s.is_some());
        let told = told.count();
        if told < POINTS_MIN {
            return Err(FitError::Points(told));
        }
        let mut tried = Vec::new();
        for balancing in [Balancing::InTurn, Balancing::Random] {
            for workers in WORKERS {
                descend(points, objective, workers, balancing, &mut tried);
            }
        }
        let best = tried.iter().min_by(|a, b| a.error.total_cmp(&b.error));
        let best = *best.ok_or(FitError::Points(told))?;
        // Where even the best is far from what was seen, what is seen is noisier than counted on.
        let scale = (best.error / points.len() as f64).max(1.0);
        let nearly = |tried: &&Tried| tried.error <= best.error + ALLOWED * scale;
        let possible: Vec<Curve> = tried
            .iter()
            .filter(nearly)
            .map(|tried| tried.curve)
            .collect();
        let weight: f64 = points.iter().map(|point| point.requests).sum();
        let pods = points
            .iter()
            .map(|point| point.pods * point.requests)
            .sum::<f64>()
            / weight;
        let limit = |curve: &Curve| curve.limit(pods, objective);
        let careful = possible.iter().min_by(|a, b| limit(a).total_cmp(&limit(b)));
        let misses = |point: &&Point| {
            point.is_over
                || point
                    .quantile_s
                    .is_some_and(|latency_s| objective.latency_s < latency_s)
        };
        let missed = points
            .iter()
            .filter(misses)
            .map(|point| point.load)
            .reduce(f64::min);
        let met = points
            .iter()
            .filter(|point| !misses(point) && missed.is_none_or(|missed| point.load < missed));
        Ok(Self {
            best: best.curve,
            careful: careful.copied().unwrap_or(best.curve),
            limit: estimate(best.curve, &possible, limit),
            capacity: estimate(best.curve, &possible, Curve::capacity),
            pods,
            residual: residual(points, objective, &best.curve),
            seen: (
                points
                    .iter()
                    .map(|point| point.load)
                    .fold(f64::INFINITY, f64::min),
                points.iter().map(|point| point.load).fold(0.0, f64::max),
            ),
            met: met.map(|point| point.load).reduce(f64::max),
            missed,
            points: points.clone(),
            startup: quantile(&observed.startups_s, 0.9).map(|seconds| Startup {
                seconds,
                resolution_s: observed.startup_resolution_s,
                pods: observed.startups_s.len(),
            }),
            cpu_percent: observed.cpu_percent,
        })
    }

    /// Whether the highest load within the objective is known.
    pub(super) fn is_sure(&self) -> bool {
        self.limit.high <= SURE * self.limit.low
    }

    /// The curve to rely on: the best, or the one that promises least where several may be true.
    pub(super) fn curve(&self) -> Curve {
        if self.is_sure() {
            self.best
        } else {
            self.careful
        }
    }
}

fn estimate(best: Curve, possible: &[Curve], of: impl Fn(&Curve) -> f64) -> Estimate {
    let all = || possible.iter().map(&of);
    Estimate {
        value: of(&best),
        low: all().fold(of(&best), f64::min) * (1.0 - MODEL_ERROR),
        high: all().fold(of(&best), f64::max) * (1.0 + MODEL_ERROR),
    }
}

/// Looks for the service time and its spread with which so many workers explain best what was seen, and keeps all that
/// was tried on the way.
fn descend(
    points: &[Point],
    objective: &Objective,
    workers: u32,
    balancing: Balancing,
    tried: &mut Vec<Tried>,
) {
    let fastest = points
        .iter()
        .filter_map(|point| point.mean_s.or(point.median_s).or(point.quantile_s));
    let service_s = fastest.fold(f64::INFINITY, f64::min);
    let mut attempt = |service_s: f64, service_cv: f64| {
        let curve = Curve {
            workers,
            service_s,
            service_cv,
            balancing,
        };
        let one = Tried {
            curve,
            error: error(points, objective, &curve),
        };
        tried.push(one);
        one
    };
    let mut best = attempt(service_s, 0.5);
    let mut step: f64 = 2.0;
    for _ in 0..HALVINGS {
        loop {
            let Curve {
                service_s,
                service_cv,
                ..
            } = best.curve;
            let around = [
                (service_s * step, service_cv),
                (service_s / step, service_cv),
                (service_s, (service_cv * step).min(4.0)),
                (service_s, (service_cv / step).max(0.05)),
                // A longer time with less spread has the same quantile.
                (service_s * step, (service_cv / step).max(0.05)),
                (service_s / step, (service_cv * step).min(4.0)),
            ];
            let next = around.map(|(service_s, service_cv)| attempt(service_s, service_cv));
            let next = next.into_iter().min_by(|a, b| a.error.total_cmp(&b.error));
            match next.filter(|next| next.error < best.error) {
                Some(next) => best = next,
                None => break,
            }
        }
        step = step.sqrt();
    }
}

/// Squared deviations of a curve from what was seen.
fn error(points: &[Point], objective: &Objective, curve: &Curve) -> f64 {
    points
        .iter()
        .map(|point| point_error(point, objective, curve))
        .sum()
}

fn point_error(point: &Point, objective: &Objective, curve: &Curve) -> f64 {
    if point.is_over {
        let busy = point.load / curve.capacity();
        return ((OVER_BUSY - busy).max(0.0) / OVER_ERROR).powi(2);
    }
    let requests = point.requests.sqrt();
    let part = |seen: Option<f64>, noise: f64, said: &dyn Fn() -> f64| {
        let Some(seen) = seen else { return 0.0 };
        let deviation = MODEL_ERROR.hypot(noise / requests);
        ((said() / seen).ln() / deviation).powi(2)
    };
    let Point { load, pods, .. } = *point;
    part(point.quantile_s, QUANTILE_NOISE, &|| {
        curve.quantile(load, pods, objective.quantile)
    }) + part(point.mean_s, MEAN_NOISE, &|| curve.mean(load, pods))
        + part(point.median_s, MEAN_NOISE, &|| {
            curve.quantile(load, pods, 0.5)
        })
}

/// The root of the mean squared deviation of the objective's quantile, as a share of it.
fn residual(points: &[Point], objective: &Objective, curve: &Curve) -> f64 {
    let of = |point: &Point| {
        let seen = point
            .quantile_s
            .or(point.mean_s)
            .filter(|_| !point.is_over)?;
        let said = match point.quantile_s {
            Some(_) => curve.quantile(point.load, point.pods, objective.quantile),
            None => curve.mean(point.load, point.pods),
        };
        Some((said / seen).ln().powi(2))
    };
    let squares: Vec<f64> = points.iter().filter_map(of).collect();
    (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTIVE: Objective = Objective {
        quantile: 0.95,
        latency_s: 0.25,
    };

    fn truth(workers: u32, service_ms: f64, service_cv: f64) -> Curve {
        Curve {
            workers,
            service_s: service_ms / 1000.0,
            service_cv,
            balancing: Balancing::InTurn,
        }
    }

    /// What an adapter would have seen of `curve` up to a share of its capacity.
    fn seen(curve: &Curve, up_to: f64, with_mean: bool) -> Observed {
        let point = |n: u32| {
            let load = curve.capacity() * up_to * f64::from(n) / 10.0;
            Point {
                load,
                pods: 4.0,
                requests: load * 600.0,
                quantile_s: Some(curve.quantile(load, 4.0, 0.95)),
                mean_s: with_mean.then(|| curve.mean(load, 4.0)),
                ..Point::default()
            }
        };
        Observed {
            points: (1..=10).map(point).collect(),
            ..Observed::default()
        }
    }

    #[test]
    fn a_curve_seen_beyond_its_knee_is_found_again() {
        for (truth, with_mean) in [
            (truth(2, 40.0, 1.0), false),
            (truth(16, 94.0, 0.5), true),
            (truth(1, 60.0, 0.3), false),
        ] {
            let fit = Fit::new(&seen(&truth, 0.95, with_mean), &OBJECTIVE).unwrap();
            let expected = truth.limit(4.0, &OBJECTIVE);
            let found = fit.curve().limit(4.0, &OBJECTIVE);
            assert!(
                (found / expected - 1.0).abs() < 0.1,
                "{found} for {expected}: {fit:?}"
            );
            assert!(
                fit.limit.low <= expected && expected <= fit.limit.high,
                "{fit:?}"
            );
            assert!(fit.residual < 0.1, "{fit:?}");
        }
    }

    #[test]
    fn what_was_never_loaded_is_not_known() {
        let truth = truth(4, 60.0, 0.8);
        let fit = Fit::new(&seen(&truth, 0.35, true), &OBJECTIVE).unwrap();
        assert!(!fit.is_sure(), "{fit:?}");
        assert!(fit.missed.is_none() && fit.met.is_some());
        assert!(fit.limit.low <= truth.limit(4.0, &OBJECTIVE));
        assert!(fit.curve().limit(4.0, &OBJECTIVE) <= fit.limit.value);
    }

    #[test]
    fn a_load_at_which_lines_grew_bounds_the_capacity() {
        let truth = truth(4, 60.0, 0.8);
        let mut seen = seen(&truth, 0.6, true);
        seen.points.push(Point {
            load: truth.capacity() * 1.05,
            pods: 4.0,
            requests: 10_000.0,
            is_over: true,
            ..Point::default()
        });
        let fit = Fit::new(&seen, &OBJECTIVE).unwrap();
        assert!(fit.capacity.high < 1.25 * truth.capacity(), "{fit:?}");
    }

    #[test]
    fn a_few_points_make_no_curve() {
        let mut seen = seen(&truth(2, 40.0, 1.0), 0.9, true);
        seen.points.truncate(3);
        assert_eq!(Fit::new(&seen, &OBJECTIVE), Err(FitError::Points(3)));
    }
}
