//! What Prometheus answers to `/api/v1/query_range` for the adapter's own metrics, to samples.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{SAMPLES_MAX, Sample, Samples, SamplesError};

#[derive(Deserialize)]
struct Answer {
    /// Why there is none.
    error: Option<String>,
    data: Option<Matrix>,
}

#[derive(Deserialize)]
struct Matrix {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

impl Series {
    fn name(&self) -> &str {
        self.metric
            .get("__name__")
            .map(String::as_str)
            .unwrap_or_default()
    }

    /// A label as the adapter said it: where the scrape has one of the same name, Prometheus keeps ours as `exported_`.
    fn label(&self, name: &str) -> &str {
        let exported = self.metric.get(&format!("exported_{name}"));
        exported
            .or(self.metric.get(name))
            .map(String::as_str)
            .unwrap_or_default()
    }
}

/// The series of an answer.
fn series(text: &str) -> Result<Vec<Series>, SamplesError> {
    let answer: Answer =
        serde_json::from_str(text).map_err(|error| SamplesError::Json(error.to_string()))?;
    match (answer.data, answer.error) {
        (_, Some(error)) => Err(SamplesError::Refused(error)),
        (Some(data), None) => Ok(data.result),
        (None, None) => Err(SamplesError::Json("it has no data".to_owned())),
    }
}

/// The only series of an answer as a trace: what the traffic is, whoever measured it.
pub(in super::super) fn rates(text: &str) -> Result<String, SamplesError> {
    let all = series(text)?;
    let [only] = all.as_slice() else {
        return Err(SamplesError::Rates(all.len()));
    };
    let lines = only
        .values
        .iter()
        .map(|(t_s, rps)| format!("{t_s},{rps}\n"));
    Ok(std::iter::once("t_seconds,rps\n".to_owned())
        .chain(lines)
        .collect())
}

/// Reads the samples of `service`, or of the only one there is.
pub(in super::super) fn read(text: &str, service: Option<&str>) -> Result<Samples, SamplesError> {
    let all = series(text)?;
    let (ours, others): (Vec<&Series>, Vec<&Series>) = all
        .iter()
        .partition(|series| series.name().starts_with("taffrail_"));
    let ours = || {
        ours.iter()
            .filter(move |series| service.is_none_or(|service| series.label("service") == service))
    };
    let services: BTreeSet<_> = ours()
        .map(|series| (series.label("namespace"), series.label("service")))
        .collect();
    if 1 < services.len() {
        let told: Vec<String> = services
            .iter()
            .map(|(namespace, name)| format!("{namespace}/{name}"))
            .collect();
        return Err(SamplesError::Services(told.join(", ")));
    }
    let of = |name: &str| means(ours().filter(|series| series.name() == name).copied());
    let needed = |name: &'static str| {
        let series = of(name);
        if series.is_empty() {
            Err(SamplesError::Series(name))
        } else {
            Ok(series)
        }
    };
    let rates = needed("taffrail_request_rate")?;
    let latencies = needed("taffrail_request_latency_seconds")?;
    let is_known = |series: &&&Series| {
        series.name() == "taffrail_targets" && series.label("standing") == "known"
    };
    let pods = means(ours().filter(is_known).copied());
    if pods.is_empty() {
        return Err(SamplesError::Series("taffrail_targets"));
    }
    if SAMPLES_MAX < rates.len() {
        return Err(SamplesError::Many);
    }
    let concurrency = of("taffrail_request_concurrency");
    let is_desired = |series: &&Series| {
        [
            "kube_horizontalpodautoscaler_status_desired_replicas",
            "kube_deployment_spec_replicas",
        ]
        .contains(&series.name())
    };
    let desired = means(others.into_iter().filter(is_desired));
    let samples = rates.iter().map(|(ms, rps)| Sample {
        t_s: *ms as f64 / 1000.0,
        rps: Some(*rps),
        pods: pods.get(ms).copied(),
        quantile_s: latencies.get(ms).copied(),
        concurrency: concurrency.get(ms).copied(),
        desired: desired.get(ms).copied(),
        ..Sample::default()
    });
    let last = |name: &str| of(name).into_values().next_back();
    Ok(Samples {
        samples: samples.collect(),
        quantile: None,
        objective_s: last("taffrail_objective_latency_seconds"),
        cpu_s: last("taffrail_request_cpu_seconds"),
        service: services.first().map(|(_, name)| (*name).to_owned()),
    })
}

/// The mean at each millisecond: two replicas of the adapter say the same, nearly.
fn means<'s>(series: impl Iterator<Item = &'s Series>) -> BTreeMap<i64, f64> {
    let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (t_s, value) in series.flat_map(|series| &series.values) {
        if let Some(value) = value.parse().ok().filter(|value: &f64| value.is_finite()) {
            let sum = sums.entry((t_s * 1000.0) as i64).or_default();
            *sum = (sum.0 + value, sum.1 + 1.0);
        }
    }
    sums.into_iter()
        .map(|(ms, (sum, count))| (ms, sum / count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, labels: &str, values: &str) -> String {
        format!(r#"{{"metric":{{"__name__":"{name}"{labels}}},"values":[{values}]}}"#)
    }

    fn answer(series: &[String]) -> String {
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{}]}}}}"#,
            series.join(",")
        )
    }

    /// A service's series; its labels are `exported_` where Prometheus has such ones of its own.
    fn of_service(prefix: &str, namespace: &str) -> Vec<String> {
        let labels = format!(r#","{prefix}namespace":"{namespace}","{prefix}service":"users""#);
        let series = |name: &str, more: &str, values: &str| {
            series(
                &format!("taffrail_{name}"),
                &format!("{labels}{more}"),
                values,
            )
        };
        vec![
            series(
                "request_rate",
                r#","instance":"a""#,
                r#"[100,"30"],[115,"30"]"#,
            ),
            series("request_rate", r#","instance":"b""#, r#"[100,"34"]"#),
            series(
                "targets",
                r#","standing":"known""#,
                r#"[100,"2"],[115,"2"]"#,
            ),
            series(
                "targets",
                r#","standing":"unknown""#,
                r#"[100,"0"],[115,"0"]"#,
            ),
            series("request_latency_seconds", "", r#"[100,"0.1"],[115,"NaN"]"#),
            series("objective_latency_seconds", "", r#"[100,"0.25"]"#),
            series("request_concurrency", "", r#"[100,"1.6"]"#),
        ]
    }

    #[test]
    fn two_replicas_of_the_adapter_are_one_and_labels_are_ours_where_prometheus_has_its_own() {
        for prefix in ["", "exported_"] {
            let mut all = of_service(prefix, "shop");
            all.push(series(
                "kube_deployment_spec_replicas",
                r#","service":"kube-state-metrics""#,
                r#"[100,"3"]"#,
            ));
            let read = read(&answer(&all), None).unwrap();
            assert_eq!(
                (read.objective_s, read.service.as_deref()),
                (Some(0.25), Some("users"))
            );
            let first = read.samples[0];
            assert_eq!(
                (first.rps, first.pods, first.quantile_s),
                (Some(32.0), Some(2.0), Some(0.1))
            );
            assert_eq!(
                (first.desired, read.samples[1].quantile_s),
                (Some(3.0), None)
            );
            let points = read.observed(None).points;
            let first = points.iter().find(|point| point.load == 16.0).unwrap();
            assert!(
                (first.mean_s.unwrap() - 0.05).abs() < 1e-9,
                "by Little's law"
            );
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_said() {
        let refused =
            |text: &str, service: Option<&str>| read(text, service).unwrap_err().to_string();
        let users = of_service("", "shop");
        assert!(refused("{}", None).contains("query_range"));
        assert!(
            refused(&answer(&users), Some("shifts")).contains("no series taffrail_request_rate")
        );
        assert!(
            refused(&answer(&users[..2]), None)
                .contains("no series taffrail_request_latency_seconds")
        );
        let two = [users, of_service("", "dev")].concat();
        assert!(refused(&answer(&two), Some("users")).contains("dev/users, shop/users"));
    }
}
