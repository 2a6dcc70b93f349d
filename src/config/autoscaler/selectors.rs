//! What an HPA's metrics are selected by, which bears on what is read and not on what is decided.

use serde_json::Value;

use super::{Field, SpecError};
use crate::model::selector::{Operator, Requirement, Selector};

/// The selectors of the metrics of `object`, in their order: an empty one, which selects everything, for a resource and
/// where none is written. Fewer than the spec has metrics when the object names none.
///
/// # Errors
/// The first field that the API server would not accept.
pub fn selectors(object: &Value) -> Result<Vec<Selector>, SpecError> {
    let root = Field {
        value: object,
        path: String::new(),
    };
    let spec = root.get("spec").unwrap_or(root);
    let Some(metrics) = spec.get("metrics") else {
        return Ok(Vec::new());
    };
    let of_metric = |metric: Field<'_>| {
        let mut kinds = ["external", "object", "pods"].into_iter();
        let source = kinds.find_map(|kind| metric.get(kind)?.get("metric"));
        let selector = source.and_then(|metric| metric.get("selector"));
        selector.map_or_else(|| Ok(Selector::default()), |selector| read(&selector))
    };
    metrics.items()?.map(of_metric).collect()
}

fn read(field: &Field<'_>) -> Result<Selector, SpecError> {
    let mut requirements = Vec::new();
    if let Some(labels) = field.get("matchLabels") {
        let map = labels
            .value
            .as_object()
            .ok_or_else(|| labels.must_be("a map of labels"))?;
        for key in map.keys() {
            let value = labels.required(key)?.text()?.to_owned();
            requirements.push(Requirement {
                key: key.clone(),
                operator: Operator::In(vec![value]),
            });
        }
    }
    if let Some(expressions) = field.get("matchExpressions") {
        for expression in expressions.items()? {
            requirements.push(self::expression(&expression)?);
        }
    }
    Ok(Selector::new(requirements))
}

fn expression(field: &Field<'_>) -> Result<Requirement, SpecError> {
    let values = match field.get("values") {
        Some(values) => {
            let text = |value: Field<'_>| value.text().map(str::to_owned);
            values.items()?.map(text).collect::<Result<Vec<_>, _>>()?
        }
        None => Vec::new(),
    };
    let operator = field.required("operator")?;
    let operator = match operator.text()? {
        "In" => Operator::In(values),
        "NotIn" => Operator::NotIn(values),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return Err(operator.must_be("In, NotIn, Exists or DoesNotExist")),
    };
    Ok(Requirement {
        key: field.required("key")?.text()?.to_owned(),
        operator,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(selector: &str) -> Vec<String> {
        let text = format!(
            "spec:\n  metrics:\n  - type: Resource\n    resource: {{}}\n  - type: External\n    external: {{metric: {{name: m{selector}}}}}"
        );
        let object: Value = serde_saphyr::from_str(&text).unwrap();
        selectors(&object)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn each_metric_has_its_selector_as_the_controller_would_send_it() {
        assert_eq!(printed(""), ["", ""]);
        let both = ", selector: {matchLabels: {service: users, quantile: \"0.95\"}, matchExpressions: [{key: key, operator: Exists}]}";
        assert_eq!(printed(both), ["", "key,quantile=0.95,service=users"]);
        assert!(
            selectors(&serde_json::json!({"spec": {}}))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_selector_that_cannot_be_is_refused_by_its_field() {
        let object = serde_json::json!({"spec": {"metrics": [
            {"external": {"metric": {"selector": {"matchLabels": {"quantile": 0.95}}}}},
        ]}});
        let error = selectors(&object).unwrap_err().to_string();
        assert_eq!(
            error,
            "spec.metrics[0].external.metric.selector.matchLabels.quantile: must be a string"
        );
    }
}
