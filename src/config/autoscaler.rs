//! A HorizontalPodAutoscaler object to the [`Spec`] that [`crate::hpa`] follows.
//!
//! Fills in the defaults that the API server would, and refuses, naming the field, what cannot be decided on. It does not
//! validate as the API server does: fields that do not bear on a decision (`scaleTargetRef`, selectors, `target.type`
//! beside a target that is clear without it, unknown ones) are passed over, whatever they hold.

mod selectors;

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use crate::hpa::{
    Behavior, MetricSpec, Policy, PolicyUnit, ResourceTarget, Rules, Select, Spec, Target,
};
use crate::model::quantity::{self, QuantityError};

pub use self::selectors::selectors;

/// Bounds of `stabilizationWindowSeconds`, in seconds: the API server's.
const WINDOW_SECONDS: RangeInclusive<i32> = 0..=3600;

/// Bounds of `periodSeconds`, in seconds: the API server's.
const PERIOD_SECONDS: RangeInclusive<i32> = 1..=1800;

/// What the API server fills in where an HPA names no metrics: CPU at this share of the request, in per cent.
pub const DEFAULT_CPU_PERCENT: i32 = 80;

/// Why an object is no HPA that could exist.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}: {problem}")]
pub struct SpecError {
    /// The field, as in `spec.metrics[0].external.target.value`.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// It is not there, or null.
    #[error("is missing")]
    Missing,
    /// It is of another kind.
    #[error("must be {0}")]
    MustBe(String),
    /// It is no usable quantity.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// Of two fields that exclude each other both are there, or neither is.
    #[error("must have exactly one of {0} and {1}")]
    NotOne(&'static str, &'static str),
}

/// The spec in `object`: a whole HorizontalPodAutoscaler, or its `spec` alone.
///
/// # Errors
///
/// The first field that the API server would not accept.
pub fn from_value(object: &Value) -> Result<Spec, SpecError> {
    let root = Field {
        value: object,
        path: String::new(),
    };
    let spec = root.get("spec").unwrap_or(root);
    let max_replicas = spec.required("maxReplicas")?.int(1..=i32::MAX)?;
    let min_replicas = match spec.get("minReplicas") {
        Some(min) if min.value.as_i64() == Some(0) => {
            return Err(min.must_be(
                "1 or more: 0 is for clusters with the feature gate HPAScaleToZero, which is off by default and not \
                 followed here",
            ));
        }
        Some(min) => min.int(1..=max_replicas)?,
        None => 1,
    };
    let metrics = match spec.get("metrics") {
        Some(metrics) => metrics
            .items()?
            .map(|field| metric(&field))
            .collect::<Result<Vec<_>, _>>()?,
        None => Vec::new(),
    };
    let metrics = if metrics.is_empty() {
        vec![default_metric()]
    } else {
        metrics
    };
    let behavior = spec
        .get("behavior")
        .map(|field| behavior(&field))
        .transpose()?;
    Ok(Spec {
        min_replicas,
        max_replicas,
        metrics,
        behavior,
    })
}

/// As [`from_value`], from YAML text, of which JSON is a part.
///
/// # Errors
///
/// As [`from_value`]; text that is no YAML is an error of the root.
pub fn from_yaml(text: &str) -> Result<Spec, SpecError> {
    from_value(&object_from_yaml(text)?)
}

/// The object in YAML text, unread.
///
/// # Errors
///
/// Text that is no YAML is an error of the root.
pub fn object_from_yaml(text: &str) -> Result<Value, SpecError> {
    serde_saphyr::from_str(text).map_err(|error| SpecError {
        path: "the object".to_owned(),
        problem: Problem::MustBe(format!("YAML: {error}")),
    })
}

/// An object as people read it, in YAML that ends with a line break.
///
/// # Errors
///
/// None that an object of JSON has: only what YAML cannot say.
pub fn to_yaml(object: &Value) -> Result<String, serde_saphyr::ser::Error> {
    let mut text = serde_saphyr::to_string(object)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn default_metric() -> MetricSpec {
    MetricSpec::Resource {
        resource: "cpu".to_owned(),
        container: None,
        target: ResourceTarget::Utilization(DEFAULT_CPU_PERCENT),
    }
}

fn metric(field: &Field<'_>) -> Result<MetricSpec, SpecError> {
    let kind = field.required("type")?;
    match kind.text()? {
        "External" => {
            let (metric, target) = named_metric(&field.required("external")?)?;
            // The HPA looks at which of them is there, not at target.type.
            let target = match (target.get("value"), target.get("averageValue")) {
                (Some(value), None) => Target::Value(value.amount()?),
                (None, Some(average)) => Target::AverageValue(average.amount()?),
                _ => return Err(target.problem(Problem::NotOne("value", "averageValue"))),
            };
            Ok(MetricSpec::External { metric, target })
        }
        "Object" => {
            let (metric, target) = named_metric(&field.required("object")?)?;
            let kind = target.required("type")?;
            let target = match kind.text()? {
                "Value" => Target::Value(target.required("value")?.amount()?),
                "AverageValue" => Target::AverageValue(target.required("averageValue")?.amount()?),
                _ => return Err(kind.must_be("Value or AverageValue")),
            };
            Ok(MetricSpec::Object { metric, target })
        }
        "Pods" => {
            let (metric, target) = named_metric(&field.required("pods")?)?;
            Ok(MetricSpec::Pods {
                metric,
                average_milli: target.required("averageValue")?.amount()?,
            })
        }
        "Resource" => resource(&field.required("resource")?, None),
        "ContainerResource" => {
            let source = field.required("containerResource")?;
            let container = source.required("container")?.text()?.to_owned();
            resource(&source, Some(container))
        }
        _ => Err(kind.must_be("External, Object, Pods, Resource or ContainerResource")),
    }
}

/// The name and the target of a metric that has a `metric`.
fn named_metric<'a>(source: &Field<'a>) -> Result<(String, Field<'a>), SpecError> {
    let name = source
        .required("metric")?
        .required("name")?
        .text()?
        .to_owned();
    Ok((name, source.required("target")?))
}

fn resource(source: &Field<'_>, container: Option<String>) -> Result<MetricSpec, SpecError> {
    let resource = source.required("name")?.text()?.to_owned();
    let target = source.required("target")?;
    let target = match (target.get("averageUtilization"), target.get("averageValue")) {
        (Some(share), None) => ResourceTarget::Utilization(share.int(1..=i32::MAX)?),
        (None, Some(average)) => ResourceTarget::AverageValue(average.amount()?),
        _ => {
            let problem = Problem::NotOne("averageUtilization", "averageValue");
            return Err(target.problem(problem));
        }
    };
    Ok(MetricSpec::Resource {
        resource,
        container,
        target,
    })
}

fn behavior(field: &Field<'_>) -> Result<Behavior, SpecError> {
    let direction = |name, defaults| match field.get(name) {
        Some(field) => rules(&field, defaults),
        None => Ok(defaults),
    };
    Ok(Behavior {
        scale_up: direction("scaleUp", Rules::scale_up())?,
        scale_down: direction("scaleDown", Rules::scale_down())?,
    })
}

/// The rules of one direction: `defaults`, where nothing else is said.
fn rules(field: &Field<'_>, defaults: Rules) -> Result<Rules, SpecError> {
    let mut rules = defaults;
    if let Some(window) = field.get("stabilizationWindowSeconds") {
        rules.stabilization = window.seconds(WINDOW_SECONDS)?;
    }
    if let Some(select) = field.get("selectPolicy") {
        rules.select = match select.text()? {
            "Max" => Select::Max,
            "Min" => Select::Min,
            "Disabled" => Select::Disabled,
            _ => return Err(select.must_be("Max, Min or Disabled")),
        };
    }
    if let Some(tolerance) = field.get("tolerance") {
        rules.tolerance = tolerance.tolerance()?;
    }
    if let Some(policies) = field.get("policies") {
        rules.policies = policies
            .items()?
            .map(|field| policy(&field))
            .collect::<Result<_, _>>()?;
        if rules.policies.is_empty() {
            return Err(policies.must_be("at least one policy, or left out"));
        }
    }
    Ok(rules)
}

fn policy(field: &Field<'_>) -> Result<Policy, SpecError> {
    let kind = field.required("type")?;
    let unit = match kind.text()? {
        "Pods" => PolicyUnit::Pods,
        "Percent" => PolicyUnit::Percent,
        _ => return Err(kind.must_be("Pods or Percent")),
    };
    Ok(Policy {
        unit,
        value: field.required("value")?.int(1..=i32::MAX)?,
        period: field.required("periodSeconds")?.seconds(PERIOD_SECONDS)?,
    })
}

/// A value, and the way to it.
#[derive(Clone)]
struct Field<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Field<'a> {
    /// The field `name`, unless it is missing or null, which mean the same to Kubernetes.
    fn get(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Self {
            value,
            path: self.path_to(name),
        })
    }

    fn required(&self, name: &str) -> Result<Self, SpecError> {
        self.get(name).ok_or_else(|| SpecError {
            path: self.path_to(name),
            problem: Problem::Missing,
        })
    }

    fn items(&self) -> Result<impl Iterator<Item = Self> + use<'a>, SpecError> {
        let items = self
            .value
            .as_array()
            .ok_or_else(|| self.must_be("a list"))?;
        let path = self.path.clone();
        Ok(items.iter().enumerate().map(move |(index, value)| Self {
            value,
            path: format!("{path}[{index}]"),
        }))
    }

    fn text(&self) -> Result<&'a str, SpecError> {
        self.value.as_str().ok_or_else(|| self.must_be("a string"))
    }

    fn int(&self, range: RangeInclusive<i32>) -> Result<i32, SpecError> {
        let int = self.value.as_i64().and_then(|int| i32::try_from(int).ok());
        int.filter(|int| range.contains(int)).ok_or_else(|| {
            self.must_be(&format!(
                "a whole number from {} to {}",
                range.start(),
                range.end()
            ))
        })
    }

    fn seconds(&self, range: RangeInclusive<i32>) -> Result<Duration, SpecError> {
        Ok(Duration::from_secs(u64::from(
            self.int(range)?.unsigned_abs(),
        )))
    }

    /// The text of a quantity, which may stand as a bare number.
    fn quantity(&self) -> Result<String, SpecError> {
        match self.value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(self.must_be("a quantity")),
        }
    }

    /// A positive quantity in thousandths.
    fn amount(&self) -> Result<i64, SpecError> {
        let milli =
            quantity::parse_milli(&self.quantity()?).map_err(|error| self.problem(error.into()))?;
        if 0 < milli {
            Ok(milli)
        } else {
            Err(self.must_be("more than 0"))
        }
    }

    /// A quantity that is not negative, as a ratio.
    fn tolerance(&self) -> Result<f64, SpecError> {
        let tolerance =
            quantity::parse_f64(&self.quantity()?).map_err(|error| self.problem(error.into()))?;
        if 0.0 <= tolerance {
            Ok(tolerance)
        } else {
            Err(self.must_be("0 or more"))
        }
    }

    fn path_to(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn must_be(&self, what: &str) -> SpecError {
        self.problem(Problem::MustBe(what.to_owned()))
    }

    fn problem(&self, problem: Problem) -> SpecError {
        SpecError {
            path: self.path.clone(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_whole_object_and_its_spec_alone_mean_the_same() {
        let spec = json!({
            "scaleTargetRef": {"kind": "Deployment", "name": "web"},
            "maxReplicas": 20,
            "metrics": [
                {"type": "External", "external": {
                    "metric": {"name": "p95", "selector": {"matchLabels": {"route": "a"}}},
                    "target": {"type": "Value", "value": "250m"}}},
                {"type": "Resource", "resource": {
                    "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
            ],
        });
        let expected = Spec {
            min_replicas: 1,
            max_replicas: 20,
            metrics: vec![
                MetricSpec::External {
                    metric: "p95".to_owned(),
                    target: Target::Value(250),
                },
                MetricSpec::Resource {
                    resource: "cpu".to_owned(),
                    container: None,
                    target: ResourceTarget::Utilization(70),
                },
            ],
            behavior: None,
        };
        assert_eq!(from_value(&spec), Ok(expected.clone()));
        let object = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": spec});
        assert_eq!(from_yaml(&object.to_string()), Ok(expected));
    }

    #[test]
    fn an_empty_behavior_is_the_defaults_and_none_is_none() {
        let with = from_value(&json!({"maxReplicas": 2, "behavior": {}})).unwrap();
        assert_eq!(with.behavior, Some(Behavior::default()));
        let without =
            from_value(&json!({"maxReplicas": 2, "behavior": null, "metrics": []})).unwrap();
        assert_eq!(without.behavior, None);
        assert_eq!(without.metrics, [default_metric()]);
    }

    #[test]
    fn what_behavior_says_replaces_one_default_each() {
        let spec = from_value(&json!({"maxReplicas": 2, "behavior": {
            "scaleUp": {"selectPolicy": "Min", "tolerance": "50m"},
            "scaleDown": {"stabilizationWindowSeconds": 0,
                          "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]},
        }}))
        .unwrap();
        let expected = Behavior {
            scale_up: Rules {
                select: Select::Min,
                tolerance: 0.05,
                ..Rules::scale_up()
            },
            scale_down: Rules {
                stabilization: Duration::ZERO,
                policies: vec![Policy {
                    unit: PolicyUnit::Percent,
                    value: 10,
                    period: Duration::from_secs(60),
                }],
                ..Rules::scale_down()
            },
        };
        assert_eq!(spec.behavior, Some(expected));
    }

    #[test]
    fn every_kind_of_metric_is_read() {
        let target = json!({"type": "AverageValue", "averageValue": 10});
        let metrics = json!([
            {"type": "External", "external": {"metric": {"name": "e"}, "target": target}},
            {"type": "Object", "object": {"metric": {"name": "o"}, "target": target}},
            {"type": "Pods", "pods": {"metric": {"name": "p"}, "target": target}},
            {"type": "Resource", "resource": {"name": "memory", "target": target}},
            {"type": "ContainerResource",
             "containerResource": {"name": "cpu", "container": "web", "target": target}},
        ]);
        let spec = from_value(&json!({"maxReplicas": 2, "metrics": metrics})).unwrap();
        let average = ResourceTarget::AverageValue(10_000);
        assert_eq!(
            spec.metrics,
            [
                MetricSpec::External {
                    metric: "e".to_owned(),
                    target: Target::AverageValue(10_000)
                },
                MetricSpec::Object {
                    metric: "o".to_owned(),
                    target: Target::AverageValue(10_000)
                },
                MetricSpec::Pods {
                    metric: "p".to_owned(),
                    average_milli: 10_000
                },
                MetricSpec::Resource {
                    resource: "memory".to_owned(),
                    container: None,
                    target: average
                },
                MetricSpec::Resource {
                    resource: "cpu".to_owned(),
                    container: Some("web".to_owned()),
                    target: average,
                },
            ]
        );
    }

    #[test]
    fn an_error_names_the_field_and_what_it_must_be() {
        let external = |target: Value| {
            json!({"spec": {"maxReplicas": 5, "metrics": [
                {"type": "External", "external": {"metric": {"name": "m"}, "target": target}}]}})
        };
        let cpu = |target: Value| {
            json!({"maxReplicas": 5, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": target}}]})
        };
        for (object, message) in [
            (json!({}), "maxReplicas: is missing"),
            (json!({"spec": {}}), "spec.maxReplicas: is missing"),
            (
                json!({"maxReplicas": "5"}),
                "maxReplicas: must be a whole number from 1 to 2147483647",
            ),
            (
                json!({"maxReplicas": 5, "minReplicas": 0}),
                "minReplicas: must be 1 or more: 0 is for clusters with the feature gate HPAScaleToZero, which is off by default \
                 and not followed here",
            ),
            (
                json!({"maxReplicas": 5, "minReplicas": 6}),
                "minReplicas: must be a whole number from 1 to 5",
            ),
            (
                json!({"maxReplicas": 5, "metrics": [{"type": "Latency"}]}),
                "metrics[0].type: must be External, Object, Pods, Resource or ContainerResource",
            ),
            (
                external(json!({"type": "Value"})),
                "spec.metrics[0].external.target: must have exactly one of value and averageValue",
            ),
            (
                external(json!({"type": "Value", "value": "1", "averageValue": "1"})),
                "spec.metrics[0].external.target: must have exactly one of value and averageValue",
            ),
            (
                cpu(json!({"type": "Utilization"})),
                "metrics[0].resource.target: must have exactly one of averageUtilization and averageValue",
            ),
            (
                cpu(json!({"averageUtilization": 50, "averageValue": "1"})),
                "metrics[0].resource.target: must have exactly one of averageUtilization and averageValue",
            ),
            (
                external(json!({"value": "0"})),
                "spec.metrics[0].external.target.value: must be more than 0",
            ),
            (
                external(json!({"value": "1,5"})),
                "spec.metrics[0].external.target.value: `1,5` is not a quantity: \
              write a number such as 250m, 0.25, 1k or 1Ki",
            ),
            (
                json!({"maxReplicas": 5, "behavior": {"scaleUp": {"policies": []}}}),
                "behavior.scaleUp.policies: must be at least one policy, or left out",
            ),
            (
                json!({"maxReplicas": 5, "behavior": {"scaleDown": {"tolerance": "-0.1"}}}),
                "behavior.scaleDown.tolerance: must be 0 or more",
            ),
            (
                json!({"maxReplicas": 5, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 3601}}}),
                "behavior.scaleDown.stabilizationWindowSeconds: must be a whole number from 0 to 3600",
            ),
        ] {
            assert_eq!(from_value(&object).unwrap_err().to_string(), message);
        }
    }
}
