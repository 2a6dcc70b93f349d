//! The Kubernetes label selector: parsed from a query string, matched against labels, printed in canonical form.
//!
//! The grammar is that of `k8s.io/apimachinery/pkg/labels`, which is what an HPA's client prints. `=` and `in` of one
//! value are one operator here, since nothing tells them apart but the spelling.

use std::fmt;

mod parse;
#[cfg(test)]
mod tests;

pub use parse::{
    REQUIREMENTS_MAX, SELECTOR_BYTES_MAX, SelectorError, is_dns_subdomain, is_key, is_value,
};

/// Requirements that must all hold; none at all selects everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What must hold of its value.
    pub operator: Operator,
}

/// What must hold of a label's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operator {
    /// `k=v`, `k==v`, `k in (a,b)`: the label is there with one of the values.
    In(Vec<String>),
    /// `k!=v`, `k notin (a,b)`: the label is absent, or has none of the values.
    NotIn(Vec<String>),
    /// `k`: the label is there.
    Exists,
    /// `!k`: the label is absent.
    DoesNotExist,
    /// `k>n`: the label is an integer above `n`.
    GreaterThan(i64),
    /// `k<n`: the label is an integer below `n`.
    LessThan(i64),
}

impl Selector {
    /// A selector of these requirements, put in order: equal selectors print alike however they were written.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements
            .iter_mut()
            .for_each(|requirement| requirement.operator.sort());
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements }
    }

    /// Reads what stands behind `labelSelector=`, decoded. Empty text selects everything.
    ///
    /// # Errors
    /// Text outside the grammar, a key or value that no label can have, or more than [`SELECTOR_BYTES_MAX`] bytes or
    /// [`REQUIREMENTS_MAX`] requirements.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::parse(text).map(Self::new)
    }

    /// The requirements, in the order of their keys.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The only value that the label `key` may have, where a requirement leaves it a single one.
    pub fn only(&self, key: &str) -> Option<&str> {
        let mut of_key = self.requirements.iter().filter(|one| one.key == key);
        of_key.find_map(|requirement| match &requirement.operator {
            Operator::In(values) if values.len() == 1 => Some(values[0].as_str()),
            _ => None,
        })
    }

    /// Whether every requirement holds, `get` giving a label's value.
    pub fn matches<'l>(&self, get: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(get(&requirement.key)))
    }
}

impl Requirement {
    /// Whether it holds for a label's value, `None` being a label that is not there.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let integer = || value.and_then(|text| text.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Operator::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(bound) => integer().is_some_and(|n| *bound < n),
            Operator::LessThan(bound) => integer().is_some_and(|n| n < *bound),
        }
    }
}

impl Operator {
    /// Sorts a set of values and drops what stands there twice: `k in (b,a,b)` is `k in (a,b)`.
    fn sort(&mut self) {
        if let Self::In(values) | Self::NotIn(values) = self {
            values.sort();
            values.dedup();
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if 0 < i {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.operator {
            Operator::In(values) => match values.as_slice() {
                [value] => write!(f, "{key}={value}"),
                values => write!(f, "{key} in ({})", values.join(",")),
            },
            Operator::NotIn(values) => match values.as_slice() {
                [value] => write!(f, "{key}!={value}"),
                values => write!(f, "{key} notin ({})", values.join(",")),
            },
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan(bound) => write!(f, "{key}>{bound}"),
            Operator::LessThan(bound) => write!(f, "{key}<{bound}"),
        }
    }
}
