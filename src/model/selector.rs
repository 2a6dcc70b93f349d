//! The Kubernetes label selector: parsed from a query string, matched against labels.

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
    /// A selector of these requirements.
    pub fn new(requirements: Vec<Requirement>) -> Self {
        Self { requirements }
    }

    /// The requirements, in the order written.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
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
