//! Lines with more points than a page has columns: of each column the least and the most are drawn, so that no spike is
//! hidden and a long run is still a small file.

use super::svg::Point;

/// Columns of a chart: as many as a wide screen shows of it.
pub(super) const COLUMNS: usize = 1000;

/// Of each column of `end_s / columns` its least and its most point, in order of time. A column without any value is a
/// gap. Points must be in order of time.
pub(super) fn thinned(points: &[Point], end_s: f64, columns: usize) -> Vec<Point> {
    if points.len() <= 2 * columns {
        return points.to_vec();
    }
    let column = |t_s: f64| (t_s / end_s * columns as f64).floor() as i64;
    let mut thin = Vec::with_capacity(2 * columns);
    for chunk in points.chunk_by(|(a, _), (b, _)| column(*a) == column(*b)) {
        let known = || {
            chunk
                .iter()
                .filter_map(|(t_s, value)| Some((*t_s, (*value)?)))
        };
        let least = known().min_by(|a, b| a.1.total_cmp(&b.1));
        let most = known().max_by(|a, b| a.1.total_cmp(&b.1));
        match (least, most) {
            (Some(a), Some(b)) if a == b => thin.push((a.0, Some(a.1))),
            (Some(a), Some(b)) => {
                let (first, second) = if a.0 <= b.0 { (a, b) } else { (b, a) };
                thin.extend([(first.0, Some(first.1)), (second.0, Some(second.1))]);
            }
            _ => thin.push((chunk[0].0, None)),
        }
    }
    thin
}

/// The mean of each column, for what is stacked or summed: there the extremes of neighbours do not fit together.
pub(super) fn means(points: &[Point], end_s: f64, columns: usize) -> Vec<Point> {
    let width_s = (end_s / columns as f64).max(1.0);
    let column = |t_s: f64| (t_s / width_s).floor();
    let chunks = points.chunk_by(|(a, _), (b, _)| column(*a) == column(*b));
    let mean = |chunk: &[Point]| {
        let known: Vec<f64> = chunk.iter().filter_map(|(_, value)| *value).collect();
        let middle_s = (column(chunk[0].0) + 0.5) * width_s;
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        (middle_s, (!known.is_empty()).then_some(mean))
    };
    chunks.map(mean).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_spike_of_one_second_in_a_day_is_drawn() {
        let points: Vec<Point> = (0..86_400)
            .map(|t| (f64::from(t), Some(if t == 54_321 { 9000.0 } else { 90.0 })))
            .collect();
        let thin = thinned(&points, 86_400.0, COLUMNS);
        assert!(thin.len() <= 2 * COLUMNS);
        assert_eq!(
            thin.iter().filter(|point| point.1 == Some(9000.0)).count(),
            1
        );
    }

    #[test]
    fn a_long_gap_stays_one_and_a_mean_is_of_what_is_known() {
        let value = |t: u32| (!(4_000..6_000).contains(&t)).then_some(f64::from(t % 2) * 10.0);
        let points: Vec<Point> = (0..10_000).map(|t| (f64::from(t), value(t))).collect();
        let thin = thinned(&points, 10_000.0, 100);
        assert_eq!(thin.iter().filter(|point| point.1.is_none()).count(), 20);
        let means = means(&points, 10_000.0, 100);
        assert_eq!(means.len(), 100);
        assert_eq!((means[0], means[50]), ((50.0, Some(5.0)), (5050.0, None)));
    }

    proptest! {
        #[test]
        fn the_extremes_and_the_order_survive(values in proptest::collection::vec(proptest::option::of(-1e6..1e6), 1..500)) {
            let points: Vec<Point> = values.iter().enumerate().map(|(t, value)| (t as f64, *value)).collect();
            let thin = thinned(&points, values.len() as f64, 20);
            let most = |points: &[Point]| points.iter().filter_map(|p| p.1).max_by(f64::total_cmp);
            let least = |points: &[Point]| points.iter().filter_map(|p| p.1).min_by(f64::total_cmp);
            prop_assert_eq!((most(&thin), least(&thin)), (most(&points), least(&points)));
            prop_assert!(thin.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
