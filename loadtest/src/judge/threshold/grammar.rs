//! The words of a threshold, which are k6's: `http_req_duration{stage:high}` says what is looked at, `p(95)<300` what
//! must hold of it. This reads and prints them; whether they hold is told elsewhere.

use std::fmt;

/// What can be written where a metric is named.
const METRICS: &str =
    "http_req_duration, http_req_failed, http_reqs, dropped_iterations or iterations";

/// Why a threshold could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// The metric has no such name.
    #[error("threshold on `{0}`: there is no such metric; write {METRICS}")]
    Metric(String),
    /// A tag is none that is known, or is written wrongly.
    #[error(
        "threshold on `{key}`: `{tag}` is no tag; write {{stage:NAME}}, {{service:NAME}} or {{request:NAME}}, \
         several with commas, each once"
    )]
    Tag {
        /// The whole key.
        key: String,
        /// The tag.
        tag: String,
    },
    /// Kinds of requests are counted over the whole run alone.
    #[error(
        "threshold on `{0}`: kinds of requests are told apart over the whole run alone; leave out `stage` or `request`"
    )]
    StageOfRequest(String),
    /// Drops have no kind: a request that is not sent is not drawn either.
    #[error("threshold on `{0}`: a dropped request has no kind; leave out `request`")]
    DroppedRequest(String),
    /// The condition is not one.
    #[error(
        "threshold `{0}`: write AGGREGATION OPERATOR NUMBER, as `p(95)<300` or `rate<0.01`; \
         operators are <, <=, >, >=, ==, === and !="
    )]
    Condition(String),
    /// The aggregation does not exist, or not for this metric.
    #[error("threshold `{condition}`: {metric} has {known}")]
    Aggregation {
        /// The whole condition.
        condition: String,
        /// The metric.
        metric: Subject,
        /// The aggregations that the metric has.
        known: &'static str,
    },
}

/// What a threshold is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The time from when a request should have started to its whole answer, in milliseconds.
    Duration,
    /// The share of the requests that ended without a good answer.
    Failed,
    /// Requests sent.
    Requests,
    /// Requests not sent, because too many were in flight.
    Dropped,
    /// Requests that ended, well or not.
    Iterations,
}

/// How many numbers become one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aggregation {
    /// The mean.
    Avg,
    /// The smallest.
    Min,
    /// The `q`-quantile, `q` within 0 and 1: `med`, `max`, and `p(N)` with N within 0 and 100.
    Quantile(f64),
    /// How many.
    Count,
    /// How many per second, or which share.
    Rate,
}

/// How the number is compared with the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `==` and `===`
    Equal,
    /// `!=`
    Unequal,
}

/// A threshold that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What is looked at.
    pub subject: Subject,
    /// In the stages of this name alone.
    pub stage: Option<String>,
    /// Of this service alone.
    pub service: Option<String>,
    /// Of this kind of request alone.
    pub request: Option<String>,
    /// How it becomes a number.
    pub aggregation: Aggregation,
    /// How that is compared.
    pub operator: Operator,
    /// With what: milliseconds for a duration.
    pub limit: f64,
}

impl Subject {
    const ALL: [Self; 5] = [
        Self::Duration,
        Self::Failed,
        Self::Requests,
        Self::Dropped,
        Self::Iterations,
    ];

    /// Its name in a scenario.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Duration => "http_req_duration",
            Self::Failed => "http_req_failed",
            Self::Requests => "http_reqs",
            Self::Dropped => "dropped_iterations",
            Self::Iterations => "iterations",
        }
    }

    fn aggregations(self) -> &'static str {
        match self {
            Self::Duration => "avg, min, max, med and p(N) with N from 0 to 100",
            Self::Failed => "rate, which is a share from 0 to 1",
            Self::Requests | Self::Dropped | Self::Iterations => "count, and rate per second",
        }
    }

    fn has(self, aggregation: Aggregation) -> bool {
        match aggregation {
            Aggregation::Avg | Aggregation::Min | Aggregation::Quantile(_) => {
                self == Self::Duration
            }
            Aggregation::Rate => self != Self::Duration,
            Aggregation::Count => !matches!(self, Self::Duration | Self::Failed),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Aggregation {
    fn read(text: &str) -> Option<Self> {
        match text {
            "avg" => Some(Self::Avg),
            "min" => Some(Self::Min),
            "max" => Some(Self::Quantile(1.0)),
            "med" => Some(Self::Quantile(0.5)),
            "count" => Some(Self::Count),
            "rate" => Some(Self::Rate),
            _ => {
                let percent = number(text.strip_prefix("p(")?.strip_suffix(')')?)?;
                (0.0..=100.0)
                    .contains(&percent)
                    .then_some(Self::Quantile(percent / 100.0))
            }
        }
    }
}

impl Operator {
    /// Longest first: `<=` also begins with `<`.
    const WRITTEN: [(&'static str, Self); 7] = [
        ("===", Self::Equal),
        ("==", Self::Equal),
        ("!=", Self::Unequal),
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("<", Self::Below),
        (">", Self::Above),
    ];

    /// Whether `value` compares so with `limit`.
    #[must_use]
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Above => limit < value,
            Self::AtLeast => limit <= value,
            Self::Equal => value == limit,
            Self::Unequal => value != limit,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = Self::WRITTEN
            .iter()
            .rev()
            .find(|(_, operator)| operator == self);
        f.write_str(written.map_or("", |(text, _)| text))
    }
}

impl Rule {
    /// Reads a threshold: `key` as `http_req_duration{stage:high}`, `condition` as `p(95)<300`.
    ///
    /// # Errors
    /// When one of the two cannot be read, or they do not fit together. The message says what can be written.
    pub fn read(key: &str, condition: &str) -> Result<Self, ThresholdError> {
        let (subject, tags) = read_key(key)?;
        let [stage, service, request] = tags;
        if request.is_some() && stage.is_some() {
            return Err(ThresholdError::StageOfRequest(key.to_owned()));
        }
        if request.is_some() && subject == Subject::Dropped {
            return Err(ThresholdError::DroppedRequest(key.to_owned()));
        }
        let (aggregation, operator, limit) = read_condition(condition, subject)?;
        Ok(Self {
            subject,
            stage,
            service,
            request,
            aggregation,
            operator,
            limit,
        })
    }
}

/// The tags in the order of [`Rule`]: stage, service, request.
type Tags = [Option<String>; 3];

fn read_key(key: &str) -> Result<(Subject, Tags), ThresholdError> {
    let (name, tags) = match key.split_once('{') {
        Some((name, rest)) => {
            let wrong = || ThresholdError::Tag {
                key: key.to_owned(),
                tag: format!("{{{rest}"),
            };
            (
                name,
                Some(rest.trim_end().strip_suffix('}').ok_or_else(wrong)?),
            )
        }
        None => (key, None),
    };
    let subject = Subject::ALL
        .into_iter()
        .find(|subject| subject.as_str() == name.trim())
        .ok_or_else(|| ThresholdError::Metric(name.trim().to_owned()))?;
    let mut read = Tags::default();
    for tag in tags.into_iter().flat_map(|tags| tags.split(',')) {
        let wrong = || ThresholdError::Tag {
            key: key.to_owned(),
            tag: tag.trim().to_owned(),
        };
        let (name, value) = tag.split_once(':').ok_or_else(wrong)?;
        let place = ["stage", "service", "request"]
            .iter()
            .position(|known| *known == name.trim())
            .ok_or_else(wrong)?;
        let value = value.trim();
        if value.is_empty() || read[place].replace(value.to_owned()).is_some() {
            return Err(wrong());
        }
    }
    Ok((subject, read))
}

fn read_condition(
    condition: &str,
    subject: Subject,
) -> Result<(Aggregation, Operator, f64), ThresholdError> {
    let wrong = || ThresholdError::Condition(condition.to_owned());
    let at = condition.find(['<', '>', '=', '!']).ok_or_else(wrong)?;
    let (aggregation, rest) = condition.split_at(at);
    let (operator, limit) = Operator::WRITTEN
        .into_iter()
        .find_map(|(text, operator)| Some((operator, rest.strip_prefix(text)?)))
        .ok_or_else(wrong)?;
    let limit = number(limit.trim()).ok_or_else(wrong)?;
    let aggregation = Aggregation::read(aggregation.trim())
        .filter(|aggregation| subject.has(*aggregation))
        .ok_or_else(|| ThresholdError::Aggregation {
            condition: condition.to_owned(),
            metric: subject,
            known: subject.aggregations(),
        })?;
    Ok((aggregation, operator, limit))
}

/// A number in digits. The words for what is no number, which the standard parser takes, are no limit.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let written = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b".-+eE".contains(&b));
    written
        .then(|| text.parse().ok())?
        .filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(key: &str, condition: &str) -> String {
        Rule::read(key, condition).unwrap_err().to_string()
    }

    #[test]
    fn what_k6_writes_is_read() {
        let rule = Rule::read(
            "http_req_duration{stage:high, service:users}",
            " p(99.9) <= 300.5 ",
        )
        .unwrap();
        assert_eq!(rule.subject, Subject::Duration);
        assert_eq!(rule.stage.as_deref(), Some("high"));
        assert_eq!(rule.service.as_deref(), Some("users"));
        assert_eq!(rule.request, None);
        let Aggregation::Quantile(q) = rule.aggregation else {
            panic!("{rule:?}");
        };
        assert!((q - 0.999).abs() < 1e-12);
        assert_eq!((rule.operator, rule.limit), (Operator::AtMost, 300.5));
    }

    #[test]
    fn each_metric_has_its_aggregations() {
        let known = [
            (
                "http_req_duration",
                &["avg<1", "min<1", "max<1", "med<1", "p(95)<1"][..],
            ),
            ("http_req_failed", &["rate<1"]),
            ("http_reqs", &["count>1", "rate>1"]),
            ("dropped_iterations", &["count==0", "rate<1"]),
            ("iterations", &["count!=0", "rate>=1"]),
        ];
        let all = [
            "avg<1", "min<1", "max<1", "med<1", "p(95)<1", "rate<1", "count>1", "value<1",
            "p(101)<1", "p()<1",
        ];
        for (key, conditions) in known {
            for condition in conditions {
                assert!(Rule::read(key, condition).is_ok(), "{key}: {condition}");
            }
            let aggregation =
                |text: &str| text.split(['<', '>', '=', '!']).next().unwrap().to_owned();
            let names: Vec<_> = conditions.iter().map(|c| aggregation(c)).collect();
            for condition in all.iter().filter(|c| !names.contains(&aggregation(c))) {
                let error = error(key, condition);
                assert!(error.contains(&format!("{key} has ")), "{error}");
            }
        }
    }

    #[test]
    fn an_error_says_what_can_be_written() {
        for (key, condition, expected) in [
            (
                "http_req_waiting",
                "p(95)<1",
                "write http_req_duration, http_req_failed",
            ),
            ("http_reqs{status:200}", "count>1", "`status:200` is no tag"),
            ("http_reqs{stage:a,stage:b}", "count>1", "each once"),
            ("http_reqs{stage:a", "count>1", "{stage:a` is no tag"),
            ("http_reqs{}", "count>1", "is no tag"),
            (
                "http_reqs{stage:a,request:b}",
                "count>1",
                "leave out `stage` or `request`",
            ),
            (
                "dropped_iterations{request:b}",
                "count<1",
                "leave out `request`",
            ),
            ("http_reqs", "count", "write AGGREGATION OPERATOR NUMBER"),
            ("http_reqs", "count=1", "operators are"),
            ("http_reqs", "count<nan", "NUMBER"),
            ("http_reqs", "count<inf", "NUMBER"),
            ("http_reqs", "count<5ms", "NUMBER"),
        ] {
            let error = error(key, condition);
            assert!(error.contains(expected), "{key}: {condition}: {error}");
        }
    }

    #[test]
    fn operators_compare_as_they_read() {
        let holds = |condition: &str| {
            let rule = Rule::read("http_reqs", condition).unwrap();
            [1.0, 2.0, 3.0].map(|value| rule.operator.holds(value, rule.limit))
        };
        assert_eq!(holds("count<2"), [true, false, false]);
        assert_eq!(holds("count<=2"), [true, true, false]);
        assert_eq!(holds("count>2"), [false, false, true]);
        assert_eq!(holds("count>=2"), [false, true, true]);
        assert_eq!(holds("count==2"), [false, true, false]);
        assert_eq!(holds("count===2"), [false, true, false]);
        assert_eq!(holds("count!=2"), [true, false, true]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(key in ".{0,40}", condition in ".{0,20}") {
            let _ = Rule::read(&key, &condition);
            let _ = Rule::read("http_reqs", &condition);
            let _ = Rule::read(&format!("http_reqs{{{key}}}"), "count<1");
        }

        #[test]
        fn a_condition_reads_back(limit in -1e6..1e6_f64, at in 0_usize..7, space in " {0,3}") {
            let (text, operator) = Operator::WRITTEN[at];
            let rule = Rule::read("http_reqs", &format!("rate{space}{text}{space}{limit}")).unwrap();
            prop_assert_eq!((rule.operator, rule.limit), (operator, limit));
        }
    }
}
