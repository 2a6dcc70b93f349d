//! How latency grows with load on one pod: a line of requests before a few workers. Formulas in place of a simulation, so
//! that thousands of pods can be tried for a fit: Erlang's C for who waits, Allen and Cunneen's correction for how
//! long, a lognormal service time behind it. It knows nothing of HPAs.

/// Equally likely service times that stand for all of them below a limit; what is above it is taken exactly.
const TIMES: usize = 48;

/// Steps of a bisection: what is looked for is found to a ten-thousandth of itself.
const HALVINGS: usize = 16;

/// The highest utilization that has a latency: above it a line grows faster than any run is long.
pub(super) const BUSY_MAX: f64 = 0.995;

/// The longest latency looked for, in service times.
const LATENCY_MAX: f64 = 20_000.0;

/// Below this a service time is as good as constant, and the lognormal distribution has no shape.
const CV_MIN: f64 = 0.02;

/// How requests reach pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Balancing {
    /// Each pod in turn: what reaches one of many pods comes evenly.
    InTurn,
    /// Any pod: what reaches one comes as it comes to all.
    Random,
}

/// One pod.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(super) struct Curve {
    /// Requests worked on at once.
    pub(super) workers: u32,
    /// Mean service time, in seconds.
    pub(super) service_s: f64,
    /// Coefficient of variation of the service time.
    pub(super) service_cv: f64,
    /// How requests reach it.
    pub(super) balancing: Balancing,
}

/// What users were promised.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(super) struct Objective {
    /// Within 0 and 1.
    pub(super) quantile: f64,
    /// In seconds.
    pub(super) latency_s: f64,
}

/// The wait for a worker: for whom there is one, and how long it is for them on average, in seconds.
#[derive(Clone, Copy)]
struct Wait {
    share: f64,
    mean_s: f64,
}

// === impl Objective ===

impl Objective {
    /// The share of requests that may be slower.
    pub(super) fn budget(&self) -> f64 {
        1.0 - self.quantile
    }

    pub(super) fn latency_ms(&self) -> f64 {
        self.latency_s * 1000.0
    }
}

// === impl Curve ===

impl Curve {
    /// Requests per second at which all workers are always busy.
    pub(super) fn capacity(&self) -> f64 {
        f64::from(self.workers) / self.service_s
    }

    /// The `q`-quantile of latency in seconds; at a load that no line survives that of the highest that one does.
    pub(super) fn quantile(&self, load: f64, pods: f64, q: f64) -> f64 {
        let times = self.times();
        let wait = self.wait(load, pods);
        let over = |latency_s: f64| self.share_over_with(&times, wait, latency_s);
        let (mut low, mut high) = (0.0, self.service_s);
        while 1.0 - q < over(high) && high < self.service_s * LATENCY_MAX {
            low = high;
            high *= 2.0;
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            match 1.0 - q < over(middle) {
                true => low = middle,
                false => high = middle,
            }
        }
        f64::midpoint(low, high)
    }

    /// The mean latency in seconds.
    pub(super) fn mean(&self, load: f64, pods: f64) -> f64 {
        let wait = self.wait(load, pods);
        self.service_s + wait.share * wait.mean_s
    }

    /// The highest load, in requests per second, at which the objective holds; 0 when it does not even without any.
    pub(super) fn limit(&self, pods: f64, objective: &Objective) -> f64 {
        let (mut low, mut high) = (0.0, BUSY_MAX * self.capacity());
        let times = self.times();
        let holds = |load: f64| {
            let over = self.share_over_with(&times, self.wait(load, pods), objective.latency_s);
            over <= objective.budget()
        };
        if !holds(0.0) {
            return 0.0;
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            match holds(middle) {
                true => low = middle,
                false => high = middle,
            }
        }
        low
    }

    /// By how many per cent the `q`-quantile grows when the load grows by one, at `load`: its elasticity.
    pub(super) fn elasticity(&self, load: f64, pods: f64, q: f64) -> f64 {
        const STEP: f64 = 0.02;
        let [below, above] =
            [1.0 - STEP, 1.0 + STEP].map(|share| self.quantile(load * share, pods, q).ln());
        (above - below) / ((1.0 + STEP) / (1.0 - STEP)).ln()
    }

    /// The load at which the `q`-quantile is `latency_s`.
    pub(super) fn load_at(&self, pods: f64, q: f64, latency_s: f64) -> f64 {
        self.limit(
            pods,
            &Objective {
                quantile: q,
                latency_s,
            },
        )
    }

    /// The squared coefficient of variation of the times between the requests that one of `pods` gets.
    fn arrival_cv2(&self, pods: f64) -> f64 {
        match self.balancing {
            Balancing::InTurn => 1.0 / pods.max(1.0),
            Balancing::Random => 1.0,
        }
    }

    fn wait(&self, load: f64, pods: f64) -> Wait {
        let capacity = self.capacity();
        let busy = (load / capacity).clamp(0.0, BUSY_MAX);
        // Allen and Cunneen: a wait grows with the variance of arrivals and of service times.
        let variance = f64::midpoint(self.arrival_cv2(pods), self.service_cv.powi(2));
        Wait {
            share: erlang_c(self.workers, busy),
            mean_s: variance / (capacity * (1.0 - busy)),
        }
    }

    fn share_over_with(&self, times: &[f64; TIMES], wait: Wait, latency_s: f64) -> f64 {
        let waited = |time: &&f64| **time < latency_s;
        let waits: f64 = times
            .iter()
            .take_while(waited)
            .map(|time| (-(latency_s - time) / wait.mean_s.max(f64::MIN_POSITIVE)).exp())
            .sum();
        (self.service_over(latency_s) + wait.share * waits / TIMES as f64).min(1.0)
    }

    /// The share of service times above `latency_s`.
    fn service_over(&self, latency_s: f64) -> f64 {
        if latency_s <= 0.0 {
            return 1.0;
        }
        let (location, shape) = self.lognormal();
        1.0 - normal_below((latency_s.ln() - location) / shape)
    }

    /// Equally likely service times, ascending.
    fn times(&self) -> [f64; TIMES] {
        let (location, shape) = self.lognormal();
        std::array::from_fn(|i| {
            let q = (i as f64 + 0.5) / TIMES as f64;
            (location + shape * normal_quantile(q)).exp()
        })
    }

    /// Mean and deviation of the logarithm.
    fn lognormal(&self) -> (f64, f64) {
        let variance = (1.0 + self.service_cv.max(CV_MIN).powi(2)).ln();
        (self.service_s.ln() - variance / 2.0, variance.sqrt())
    }
}

/// The share of requests that find all of `workers` busy, each of which is `busy` of the time: Erlang's C, by the
/// recursion of his B, in which nothing overflows.
fn erlang_c(workers: u32, busy: f64) -> f64 {
    let offered = busy * f64::from(workers);
    if offered <= 0.0 {
        return 0.0;
    }
    let blocked = (1..=workers).fold(1.0, |blocked, n| {
        offered * blocked / (f64::from(n) + offered * blocked)
    });
    blocked / (1.0 - busy * (1.0 - blocked))
}

/// The standard normal distribution below `z`, to 1e-7 (Abramowitz and Stegun 7.1.26).
fn normal_below(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let terms = [
        0.254_829_592,
        -0.284_496_736,
        1.421_413_741,
        -1.453_152_027,
        1.061_405_429,
    ];
    let polynomial = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    let above = polynomial * (-x * x).exp() / 2.0;
    if z < 0.0 { above } else { 1.0 - above }
}

/// Its inverse, to 1e-8 (Acklam's rational approximation).
fn normal_quantile(q: f64) -> f64 {
    /// Below this share, and above one less it, the tail's formula holds.
    const TAIL: f64 = 0.024_25;
    const A: [f64; 6] = [
        -39.696_830_286_653_76,
        220.946_098_424_520_5,
        -275.928_510_446_968_7,
        138.357_751_867_269,
        -30.664_798_066_147_16,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -54.476_098_798_224_06,
        161.585_836_858_040_9,
        -155.698_979_859_886_6,
        66.801_311_887_719_72,
        -13.280_681_552_885_72,
        1.0,
    ];
    const C: [f64; 6] = [
        -0.007_784_894_002_430_293,
        -0.322_396_458_041_136_5,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        0.007_784_695_709_041_462,
        0.322_467_129_070_039_8,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    let polynomial = |terms: &[f64], x: f64| terms.iter().fold(0.0, |sum, term| sum * x + term);
    let tail = |q: f64| {
        let x = (-2.0 * q.ln()).sqrt();
        polynomial(&C, x) / polynomial(&D, x)
    };
    match q {
        q if q < TAIL => tail(q),
        q if 1.0 - TAIL < q => -tail(1.0 - q),
        q => {
            let x = (q - 0.5).powi(2);
            (q - 0.5) * polynomial(&A, x) / polynomial(&B, x)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(workers: u32, service_cv: f64) -> Curve {
        Curve {
            workers,
            service_s: 0.04,
            service_cv,
            balancing: Balancing::Random,
        }
    }

    #[test]
    fn erlang_c_is_what_tables_say() {
        for (workers, busy, expected) in [(1, 0.5, 0.5), (2, 0.5, 1.0 / 3.0), (10, 0.8, 0.409_18)] {
            let share = erlang_c(workers, busy);
            assert!(
                (share - expected).abs() < 1e-4,
                "{workers} at {busy}: {share}"
            );
        }
        assert_eq!(erlang_c(3, 0.0), 0.0);
        assert!(erlang_c(1_000, 0.99).is_finite());
    }

    #[test]
    fn the_normal_distribution_is_what_tables_say() {
        for (q, z) in [(0.5, 0.0), (0.95, 1.644_854), (0.01, -2.326_348)] {
            assert!((normal_quantile(q) - z).abs() < 1e-5, "{q}");
            assert!((normal_below(z) - q).abs() < 1e-6, "{z}");
        }
    }

    #[test]
    fn without_load_a_request_takes_its_service_time() {
        let curve = curve(2, 1.0);
        // A lognormal time with mean 40 ms and a coefficient of 1 has its 0.95-quantile at 111 ms.
        assert!((curve.quantile(0.0, 1.0, 0.95) - 0.1112).abs() < 0.0005);
        assert!((curve.mean(0.0, 1.0) - 0.04).abs() < 1e-9);
        assert!(curve.elasticity(0.01, 1.0, 0.95) < 0.01);
    }

    #[test]
    fn the_limit_is_where_the_quantile_is_the_promised_latency() {
        for workers in [1, 2, 16] {
            let curve = curve(workers, 1.0);
            let objective = Objective {
                quantile: 0.99,
                latency_s: 0.3,
            };
            let limit = curve.limit(1.0, &objective);
            assert!(limit < curve.capacity());
            let latency_s = curve.quantile(limit, 1.0, 0.99);
            assert!(
                (latency_s / 0.3 - 1.0).abs() < 0.01,
                "{workers}: {latency_s}"
            );
        }
        // Two workers, 40 ms: 31 requests per second within 300 ms for 99 of 100, as a simulation of them has it.
        let limit = curve(2, 1.0).load_at(1.0, 0.99, 0.3);
        assert!((28.0..=34.0).contains(&limit), "{limit}");
        assert_eq!(curve(2, 1.0).load_at(1.0, 0.95, 0.01), 0.0);
    }

    #[test]
    fn a_quantile_is_deaf_at_low_load_and_violent_near_the_knee() {
        let curve = curve(16, 1.0);
        let at = |busy: f64| curve.elasticity(busy * curve.capacity(), 1.0, 0.95);
        assert!(
            at(0.5) < 0.1 && 2.0 < at(0.95),
            "{} and {}",
            at(0.5),
            at(0.95)
        );
    }

    #[test]
    fn pods_asked_in_turn_take_more() {
        let random = curve(2, 1.0);
        let in_turn = Curve {
            balancing: Balancing::InTurn,
            ..random
        };
        let [random, alone, many] = [(random, 8.0), (in_turn, 1.0), (in_turn, 8.0)]
            .map(|(curve, pods)| curve.load_at(pods, 0.95, 0.25));
        assert!((random - alone).abs() < 1e-9 && random < many);
    }
}
