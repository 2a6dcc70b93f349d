//! Quantiles of classic histograms, to the letter of Prometheus' `histogram_quantile`.
//!
//! Buckets come as ascending upper bounds, the last `+Inf`, with cumulative counts beside them. Counts may fall where
//! they should rise (buckets scraped at different instants, pods of different versions): they are repaired as
//! Prometheus repairs them. Nothing is allocated: the repair is a running maximum, taken again in each pass.

/// Two neighbouring counts that differ by less than this share of their sum are the same count with float noise.
/// Source: `smallDeltaTolerance` in Prometheus' `promql/quantile.go`.
const NOISE_SHARE: f64 = 1e-12;

/// The `q`-quantile. `None` where Prometheus says NaN or an infinity: `q` outside 0..=1, no observation, fewer than
/// two buckets, a highest bound that is not `+Inf`.
///
/// Within a bucket the observations are taken as evenly spread; the lowest bucket starts at zero when its bound is
/// positive; a rank in the `+Inf` bucket yields the highest finite bound, since nothing more is known.
pub fn histogram_quantile(q: f64, bounds: &[f64], counts: &[f64]) -> Option<f64> {
    let n = bounds.len().min(counts.len());
    if !(0.0..=1.0).contains(&q) || n < 2 || bounds[n - 1] != f64::INFINITY {
        return None;
    }
    let total = Repaired::new(&counts[..n]).last()?;
    if total <= 0.0 || !total.is_finite() {
        return None;
    }
    let rank = q * total;
    let mut below = 0.0;
    for (i, count) in Repaired::new(&counts[..n - 1]).enumerate() {
        if rank <= count {
            return within_bucket(i, bounds, rank - below, count - below);
        }
        below = count;
    }
    Some(bounds[n - 2]).filter(|bound| bound.is_finite())
}

/// The share of observations at or below `bound`, and whether it is exact because a bucket ends there.
/// `None` without an observation. Between two bounds the share is interpolated as `histogram_fraction` does; above
/// the highest finite bound it is that bound's share, since nothing more is known.
pub fn share_at_most(bound: f64, bounds: &[f64], counts: &[f64]) -> Option<(f64, bool)> {
    let n = bounds.len().min(counts.len());
    let total = Repaired::new(&counts[..n])
        .last()
        .filter(|total| 0.0 < *total && total.is_finite())?;
    let (mut lower, mut below) = (0.0, 0.0);
    for (i, count) in Repaired::new(&counts[..n]).enumerate() {
        let upper = bounds[i];
        if bound == upper {
            return Some((count / total, true));
        }
        if bound < upper {
            let inside = if upper.is_finite() && lower < upper {
                (bound - lower) / (upper - lower)
            } else {
                0.0
            };
            return Some((
                (below + (count - below) * inside.clamp(0.0, 1.0)) / total,
                false,
            ));
        }
        (lower, below) = (upper, count);
    }
    Some((1.0, false))
}

/// The place of `rank` within bucket `i`, both counted from the bucket's start.
fn within_bucket(i: usize, bounds: &[f64], rank: f64, inside: f64) -> Option<f64> {
    let upper = bounds[i];
    if i == 0 && upper <= 0.0 {
        return Some(upper).filter(|bound| bound.is_finite());
    }
    let lower = if i == 0 { 0.0 } else { bounds[i - 1] };
    // q = 0 with an empty lowest bucket is 0/0 in Prometheus too; absent is the honest reading of its NaN.
    let value = lower + (upper - lower) * (rank / inside);
    value.is_finite().then_some(value)
}

/// Counts made to rise: each at least the one before, differences of float noise flattened.
/// Source: `ensureMonotonicAndIgnoreSmallDeltas` in Prometheus' `promql/quantile.go`.
struct Repaired<'c> {
    counts: std::slice::Iter<'c, f64>,
    previous: Option<f64>,
}

impl<'c> Repaired<'c> {
    fn new(counts: &'c [f64]) -> Self {
        Self {
            counts: counts.iter(),
            previous: None,
        }
    }
}

impl Iterator for Repaired<'_> {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        let count = *self.counts.next()?;
        let repaired = match self.previous {
            Some(previous) if count < previous || is_noise(previous, count) => previous,
            _ => count,
        };
        self.previous = Some(repaired);
        Some(repaired)
    }
}

/// Whether two counts differ by float noise only. Source: `almost.Equal` in Prometheus' `util/almost`.
fn is_noise(a: f64, b: f64) -> bool {
    if a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < NOISE_SHARE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < NOISE_SHARE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INF: f64 = f64::INFINITY;

    #[track_caller]
    fn check(q: f64, buckets: &[(f64, f64)], expect: Option<f64>) {
        let (bounds, counts): (Vec<f64>, Vec<f64>) = buckets.iter().copied().unzip();
        let got = histogram_quantile(q, &bounds, &counts);
        match (got, expect) {
            (Some(got), Some(expect)) => assert!(
                (got - expect).abs() <= 1e-9 * expect.abs(),
                "{got} is not {expect}"
            ),
            _ => assert_eq!(got, expect),
        }
    }

    #[test]
    fn five_buckets_interpolate_within_the_one_that_holds_the_rank() {
        let buckets = [
            (0.1, 2.0),
            (1.0, 1.0),
            (10.0, 5.0),
            (100.0, 4.0),
            (1000.0, 9.0),
            (INF, 8.0),
        ];
        // The counts fall twice and are repaired to 2 2 5 5 9 9.
        check(0.01, &buckets, Some(0.0045));
        check(0.5, &buckets, Some(8.5));
        check(0.99, &buckets, Some(979.75));
    }

    #[test]
    fn a_rank_beyond_the_highest_finite_bound_yields_that_bound() {
        check(0.99, &[(0.1, 1.0), (0.2, 2.0), (INF, 100.0)], Some(0.2));
    }

    #[test]
    fn a_lowest_bound_at_or_below_zero_is_itself_the_answer() {
        check(0.1, &[(-1.0, 5.0), (INF, 5.0)], Some(-1.0));
        check(0.1, &[(0.0, 5.0), (2.0, 10.0), (INF, 10.0)], Some(0.0));
    }

    #[test]
    fn what_prometheus_calls_nan_or_infinite_is_absent() {
        let buckets = [(0.1, 1.0), (INF, 2.0)];
        check(f64::NAN, &buckets, None);
        check(-0.1, &buckets, None);
        check(1.1, &buckets, None);
        check(0.5, &[(0.1, 0.0), (INF, 0.0)], None);
        check(0.5, &[(INF, 5.0)], None);
        check(0.5, &[(0.1, 1.0), (0.2, 2.0)], None);
        check(0.5, &[], None);
        check(0.0, &[(0.1, 0.0), (0.2, 5.0), (INF, 5.0)], None);
        check(0.5, &[(-INF, 5.0), (1.0, 6.0), (INF, 6.0)], None);
        check(0.9, &[(-INF, 5.0), (INF, 6.0)], None);
    }

    #[test]
    fn float_noise_between_counts_does_not_move_the_quantile() {
        let noisy = 2.0 + 1e-13;
        check(1.0, &[(0.1, 2.0), (0.2, noisy), (INF, 2.0)], Some(0.1));
    }

    #[test]
    fn the_share_is_exact_on_a_bound_and_interpolated_between_two() {
        let (bounds, counts) = ([0.0, 2.0, 4.0, 6.0, INF], [0.0, 1.0, 2.0, 3.0, 3.0]);
        assert_eq!(
            share_at_most(4.0, &bounds, &counts),
            Some((2.0 / 3.0, true))
        );
        let (share, exact) = share_at_most(3.5, &bounds, &counts).unwrap();
        assert!((share - 0.583_333_333_333).abs() < 1e-9 && !exact);
        assert_eq!(
            share_at_most(3.0, &[1.0, INF], &[1.0, 4.0]),
            Some((0.25, false))
        );
        assert_eq!(share_at_most(1.0, &[1.0, INF], &[0.0, 0.0]), None);
    }

    proptest! {
        #[test]
        fn a_quantile_lies_within_the_bounds_and_rises_with_q(
            steps in prop::collection::vec((0.001f64..10.0, 0u32..1000), 1..20), q in 0.0f64..=1.0, more in 0.0f64..=1.0,
        ) {
            let mut bounds = Vec::new();
            let mut counts = Vec::new();
            let (mut bound, mut count) = (0.0, 0.0);
            for (width, inside) in steps {
                bound += width;
                count += f64::from(inside);
                bounds.push(bound);
                counts.push(count);
            }
            let highest = bound;
            bounds.push(INF);
            counts.push(count);
            let high_q = q + (1.0 - q) * more;
            if let (Some(low), Some(high)) = (histogram_quantile(q, &bounds, &counts), histogram_quantile(high_q, &bounds, &counts)) {
                prop_assert!(0.0 <= low && low <= high + 1e-9 && high <= highest + 1e-9);
            }
        }
    }
}
