//! What metrics are called in sentences, and how their numbers are written.
//!
//! A measured number is written short; a threshold in full, for it must hold when somebody tries it.

use crate::hpa::{MetricSpec, ResourceTarget, Target, Tolerances};
use crate::model::selector::{Operator, Selector};

use super::facts::Facts;

/// A ratio this near to the edge of a tolerance is written with more decimals: `1.10` could be on either side.
const NEAR_EDGE: f64 = 0.006;

/// In what a metric's thousandths count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths of a second.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Something in a second.
    PerSecond,
    /// Per cent of what is requested.
    Percent,
    /// CPUs.
    Cores,
    /// Bytes.
    Bytes,
    /// Nothing in particular.
    Plain,
}

impl Unit {
    /// The unit that the metric's name tells, or its target.
    pub fn of(metric: &MetricSpec) -> Self {
        let name = metric.name().to_ascii_lowercase();
        let ends_with = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
        match metric {
            MetricSpec::Resource {
                target: ResourceTarget::Utilization(_),
                ..
            } => Self::Percent,
            MetricSpec::Resource { .. } if name == "cpu" => Self::Cores,
            MetricSpec::Resource { .. } if name == "memory" => Self::Bytes,
            _ if ends_with(&["_ms", "_milliseconds"]) => Self::Milliseconds,
            _ if ends_with(&["_seconds"]) => Self::Seconds,
            _ if ends_with(&["_rate", "_per_second", "_rps"]) => Self::PerSecond,
            _ if ends_with(&["_bytes"]) => Self::Bytes,
            _ => Self::Plain,
        }
    }

    /// `milli` thousandths, in full.
    pub fn exact(self, milli: i64) -> String {
        self.write(milli, decimal)
    }

    /// `milli` thousandths, to about three digits.
    pub fn brief(self, milli: i64) -> String {
        self.write(milli, |milli| decimal(rounded(milli)))
    }

    fn write(self, milli: i64, number: impl Fn(i64) -> String) -> String {
        /// A mebibyte in thousandths of a byte.
        const MEBIBYTE_MILLI: i64 = 1024 * 1024 * 1000;
        match self {
            Self::Milliseconds => format!("{} ms", number(milli)),
            // Thousandths of a second read better as such below some seconds.
            Self::Seconds if milli.saturating_abs() < 10_000 => format!("{milli} ms"),
            Self::Seconds => format!("{} s", number(milli)),
            Self::PerSecond => format!("{}/s", number(milli)),
            Self::Percent => format!("{} %", number(milli)),
            Self::Cores => format!("{milli}m CPU"),
            Self::Bytes if MEBIBYTE_MILLI <= milli.saturating_abs() => {
                let mebibytes = milli as f64 / MEBIBYTE_MILLI as f64;
                format!("{} MiB", number((mebibytes * 1000.0).round() as i64))
            }
            Self::Bytes => format!("{} B", number(milli)),
            Self::Plain => number(milli),
        }
    }
}

/// Thousandths as a decimal number, without zeros that say nothing.
fn decimal(milli: i64) -> String {
    let sign = if milli < 0 { "-" } else { "" };
    let (whole, rest) = (milli.unsigned_abs() / 1000, milli.unsigned_abs() % 1000);
    if rest == 0 {
        return format!("{sign}{whole}");
    }
    let text = format!("{sign}{whole}.{rest:03}");
    text.trim_end_matches('0').to_owned()
}

/// `milli` without the decimals beyond its third digit.
fn rounded(milli: i64) -> i64 {
    let step = match milli.unsigned_abs() {
        0..10_000 => 10,
        10_000..100_000 => 100,
        _ => 1000,
    };
    // Saturates where a number so large has no use for its last digits anyway.
    (milli.saturating_add(milli.signum() * step / 2) / step) * step
}

/// A ratio to two decimals; near an edge of its tolerance to four.
pub fn ratio(ratio: f64, tolerances: Tolerances) -> String {
    let edges = [1.0 - tolerances.down, 1.0 + tolerances.up];
    if edges.iter().any(|edge| (ratio - edge).abs() < NEAR_EDGE) {
        format!("{ratio:.4}")
    } else {
        format!("{ratio:.2}")
    }
}

/// `1 replica`, `2 replicas`.
pub fn count(number: impl Into<i64>, noun: &str) -> String {
    let number = number.into();
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// What each metric of `facts` is called, in the spec's order: `p95` for a latency's quantile, `CPU`, or its own name;
/// with its selector where two would be called the same.
pub fn labels(facts: &Facts) -> Vec<String> {
    let selector_of = |index: usize| {
        let metric = facts.metrics.get(index);
        metric.map_or("", |metric| metric.selector.as_str())
    };
    let metrics = facts.spec.metrics.iter().enumerate();
    let short: Vec<String> = metrics
        .map(|(index, metric)| label(metric, selector_of(index)))
        .collect();
    let is_twice = |label: &String| 1 < short.iter().filter(|other| *other == label).count();
    let full = short.iter().enumerate().map(|(index, label)| {
        let selector = selector_of(index);
        if is_twice(label) && !selector.is_empty() {
            format!("{label} of {selector}")
        } else {
            label.clone()
        }
    });
    full.collect()
}

fn label(metric: &MetricSpec, selector: &str) -> String {
    let name = metric.name();
    match metric {
        MetricSpec::Resource { container, .. } => {
            let resource = if name == "cpu" { "CPU" } else { name };
            match container {
                Some(container) => format!("{resource} of container {container}"),
                None => resource.to_owned(),
            }
        }
        _ if name.to_ascii_lowercase().contains("latency") => {
            latency(selector).unwrap_or_else(|| name.to_owned())
        }
        _ => name.to_owned(),
    }
}

/// `p95` of a selector with `quantile=0.95`, `mean latency` of one with `quantile=mean`.
fn latency(selector: &str) -> Option<String> {
    let selector = Selector::parse(selector).ok()?;
    let quantile = selector
        .requirements()
        .iter()
        .find(|requirement| requirement.key == "quantile")?;
    let Operator::In(values) = &quantile.operator else {
        return None;
    };
    match values.as_slice() {
        [value] if value == "mean" => Some("mean latency".to_owned()),
        [value] => {
            let quantile: f64 = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
            // A label such as 0.999 has few digits, which the product must keep.
            Some(format!(
                "p{}",
                decimal((quantile * 100_000.0).round() as i64)
            ))
        }
        _ => None,
    }
}

/// A metric's target: `250 ms`, `80/s for each replica`.
pub fn target(metric: &MetricSpec) -> String {
    let unit = Unit::of(metric);
    match metric {
        MetricSpec::External { target, .. } | MetricSpec::Object { target, .. } => match target {
            Target::Value(milli) => unit.exact(*milli),
            Target::AverageValue(milli) => format!("{} for each replica", unit.exact(*milli)),
        },
        MetricSpec::Pods { average_milli, .. } => unit.exact(*average_milli),
        MetricSpec::Resource { target, .. } => match target {
            ResourceTarget::Utilization(percent) => unit.exact(i64::from(*percent) * 1000),
            ResourceTarget::AverageValue(milli) => unit.exact(*milli),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(name: &str) -> MetricSpec {
        MetricSpec::External {
            metric: name.to_owned(),
            target: Target::Value(1000),
        }
    }

    #[test]
    fn a_quantile_of_a_latency_is_called_by_it() {
        for (name, selector, label_) in [
            ("request_latency_ms", "quantile=0.95,service=users", "p95"),
            ("request_latency_ms", "quantile=0.999", "p99.9"),
            ("request_latency_ms", "quantile in (0.5)", "p50"),
            ("request_latency_ms", "quantile=mean", "mean latency"),
            ("request_latency_ms", "quantile=2", "request_latency_ms"),
            (
                "request_latency_ms",
                "quantile in (0.5,0.9)",
                "request_latency_ms",
            ),
            ("request_latency_ms", "(((", "request_latency_ms"),
            ("request_rate", "quantile=0.95", "request_rate"),
        ] {
            assert_eq!(
                label(&external(name), selector),
                label_,
                "{name} {selector}"
            );
        }
    }

    #[test]
    fn numbers_have_their_unit_and_thresholds_all_their_digits() {
        for (name, milli, exact, brief) in [
            ("request_latency_ms", 347_218, "347.218 ms", "347 ms"),
            ("request_latency_ms", 31_960, "31.96 ms", "32 ms"),
            ("request_latency_ms", 5_000, "5 ms", "5 ms"),
            ("http_seconds", 347, "347 ms", "347 ms"),
            ("http_seconds", 12_500, "12.5 s", "12.5 s"),
            ("request_rate", 120_001, "120.001/s", "120/s"),
            ("depth", 1, "0.001", "0"),
            ("heap_bytes", 536_870_912_000, "512 MiB", "512 MiB"),
            (
                "depth",
                i64::MAX,
                "9223372036854775.807",
                "9223372036854775",
            ),
            ("depth", -400, "-0.4", "-0.4"),
        ] {
            let unit = Unit::of(&external(name));
            assert_eq!(unit.exact(milli), exact, "{name} {milli}");
            assert_eq!(unit.brief(milli), brief, "{name} {milli}");
        }
    }

    #[test]
    fn a_ratio_at_the_edge_shows_on_which_side_it_is() {
        let tolerances = Tolerances::default();
        assert_eq!(ratio(1.388, tolerances), "1.39");
        assert_eq!(ratio(1.102, tolerances), "1.1020");
        assert_eq!(ratio(0.898, tolerances), "0.8980");
    }
}
