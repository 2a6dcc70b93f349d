//! A `/metrics` page as a test or a check reads it: the value of a named counter, gauge or histogram, summed over the
//! series that carry some labels. It is the only file that names `prometheus_parse`, which misreads label values with
//! commas or equals signs; the pages read here have none.

use prometheus_parse::{Sample, Scrape, Value};

/// The samples of one page.
#[derive(Debug, Clone)]
pub struct Page {
    samples: Vec<Sample>,
}

/// A cumulative histogram, summed over its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper bounds, ascending, and how many observations are at most that; the last bound is infinite.
    pub buckets: Vec<(f64, f64)>,
    /// The sum of all observations.
    pub sum: f64,
    /// The number of observations.
    pub count: f64,
}

impl Page {
    /// Reads a page of either text format. Lines that cannot be read are left out.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        // The time is that of samples without one, and nothing here asks for it.
        let samples = Scrape::parse_at(lines, Default::default())
            .map(|scrape| scrape.samples)
            .unwrap_or_default();
        Self { samples }
    }

    /// The value of the counter or gauge `name`, summed over the series that have all of `labels`; `None` when there is
    /// no such series. A counter's name includes its `_total`.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let values = self
            .series(name, labels)
            .filter_map(|sample| match sample.value {
                Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => Some(value),
                Value::Histogram(_) | Value::Summary(_) => None,
            });
        values.fold(None, |sum: Option<f64>, value| {
            Some(sum.unwrap_or_default() + value)
        })
    }

    /// The histogram `name`, summed over the series that have all of `labels`; `None` when there is none, or when it is
    /// not whole.
    #[must_use]
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Option<Histogram> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.series(name, labels) {
            let Value::Histogram(counts) = &sample.value else {
                continue;
            };
            for bucket in counts {
                match buckets
                    .iter_mut()
                    .find(|(bound, _)| *bound == bucket.less_than)
                {
                    Some((_, count)) => *count += bucket.count,
                    None => buckets.push((bucket.less_than, bucket.count)),
                }
            }
        }
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        buckets
            .last()
            .filter(|(bound, _)| *bound == f64::INFINITY)?;
        let sum = self.value(&format!("{name}_sum"), labels)?;
        let count = self.value(&format!("{name}_count"), labels)?;
        Some(Histogram {
            buckets,
            sum,
            count,
        })
    }

    fn series<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.metric == name)
            .filter(move |sample| {
                labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(label) == Some(value))
            })
    }
}

impl Histogram {
    /// How many observations are at most `bound`; `None` when no bucket ends there.
    #[must_use]
    pub fn at_most(&self, bound: f64) -> Option<f64> {
        self.buckets
            .iter()
            .find(|(upper, _)| *upper == bound)
            .map(|(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# TYPE latency_seconds histogram
latency_seconds_bucket{route="/",code="200",le="0.1"} 3
latency_seconds_bucket{route="/",code="200",le="+Inf"} 4
latency_seconds_sum{route="/",code="200"} 0.5
latency_seconds_count{route="/",code="200"} 4
latency_seconds_bucket{route="/",code="500",le="0.1"} 1
latency_seconds_bucket{route="/",code="500",le="+Inf"} 1
latency_seconds_sum{route="/",code="500"} 0.25
latency_seconds_count{route="/",code="500"} 1
# TYPE in_flight gauge
in_flight 7
# TYPE visits counter
visits_total 12
this is not a line
# EOF
"#;

    #[test]
    fn values_and_histograms_are_summed_over_the_series_that_match() {
        let page = Page::read(PAGE);
        assert_eq!(page.value("in_flight", &[]), Some(7.0));
        assert_eq!(page.value("visits_total", &[]), Some(12.0));
        assert_eq!(page.value("absent", &[]), None);
        let all = page
            .histogram("latency_seconds", &[("route", "/")])
            .unwrap();
        assert_eq!(
            all,
            Histogram {
                buckets: vec![(0.1, 4.0), (f64::INFINITY, 5.0)],
                sum: 0.75,
                count: 5.0
            }
        );
        let failed = page
            .histogram("latency_seconds", &[("code", "500")])
            .unwrap();
        assert_eq!(
            (failed.count, failed.at_most(0.1), failed.at_most(0.2)),
            (1.0, Some(1.0), None)
        );
        assert_eq!(page.histogram("latency_seconds", &[("code", "404")]), None);
    }
}
