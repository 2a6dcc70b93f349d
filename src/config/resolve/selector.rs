//! `spec.source.pods.selector` to the selector that pods are matched with.

use crate::config::document::{At, LabelRequirement, LabelSelector};
use crate::config::field::{Checked, line_of, wrong};
use crate::model::selector::{
    Operator, REQUIREMENTS_MAX, Requirement, SELECTOR_BYTES_MAX, Selector, is_key, is_value,
};

/// The selector. One without a requirement would select every pod of the namespace, which nobody means.
pub(super) fn resolve(written: &At<LabelSelector>) -> Checked<Selector> {
    let refuse = |what: String| {
        let message = format!("spec.source.pods.selector{what}");
        Err(wrong(line_of(written), message))
    };
    let LabelSelector {
        match_labels,
        match_expressions,
    } = &written.value;
    let count = match_labels.len() + match_expressions.len();
    if count == 0 {
        return refuse(
            " is empty and would select every pod; write matchLabels, such as {app: users}"
                .to_owned(),
        );
    }
    if REQUIREMENTS_MAX < count {
        return refuse(format!(
            " has {count} requirements, at most {REQUIREMENTS_MAX} are looked at"
        ));
    }
    let mut requirements = Vec::with_capacity(count);
    for (key, value) in match_labels {
        if !is_key(key) || !is_value(value) {
            return refuse(format!(
                ".matchLabels: no pod can have the label {key:?} with the value {value:?}"
            ));
        }
        requirements.push(Requirement {
            key: key.clone(),
            operator: Operator::In(vec![value.clone()]),
        });
    }
    for requirement in match_expressions {
        requirements.push(expression(requirement)?);
    }
    let selector = Selector::new(requirements);
    // It is sent to the API server as part of a URL.
    if SELECTOR_BYTES_MAX < selector.to_string().len() {
        return refuse(format!(
            " is longer than {SELECTOR_BYTES_MAX} bytes when written in one line"
        ));
    }
    Ok(selector)
}

fn expression(written: &At<LabelRequirement>) -> Checked<Requirement> {
    let LabelRequirement {
        key,
        operator,
        values,
    } = &written.value;
    let refuse = |what: String| {
        let message = format!("spec.source.pods.selector.matchExpressions: {what}");
        Err(wrong(line_of(written), message))
    };
    if !is_key(key) {
        return refuse(format!("no pod can have a label {key:?}"));
    }
    if let Some(value) = values.iter().find(|value| !is_value(value)) {
        return refuse(format!("no label can have the value {value:?}"));
    }
    let operator = match (operator.as_str(), values.is_empty()) {
        ("In", false) => Operator::In(values.clone()),
        ("NotIn", false) => Operator::NotIn(values.clone()),
        ("Exists", true) => Operator::Exists,
        ("DoesNotExist", true) => Operator::DoesNotExist,
        ("In" | "NotIn", true) => {
            return refuse(format!("{operator} of the label {key} needs values"));
        }
        ("Exists" | "DoesNotExist", false) => {
            return refuse(format!("{operator} of the label {key} takes no values"));
        }
        (other, _) => {
            return refuse(format!(
                "operator is {other:?} and must be In, NotIn, Exists or DoesNotExist"
            ));
        }
    };
    Ok(Requirement {
        key: key.clone(),
        operator,
    })
}
