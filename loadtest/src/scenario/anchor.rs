//! Moments and stretches of a run as a check names them: `stage(high).start`, `first_breach`, `stage(high)`,
//! `event(adapter_down)`, `first_scale_out..end`. Here they are words; [`judge`](crate::judge) finds out when they were.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Anchor {
    /// `start`: the first request.
    #[default]
    Start,
    /// `end`: the loads are over.
    End,
    /// `stage(NAME).start`.
    StageStart(String),
    /// `stage(NAME).end`.
    StageEnd(String),
    /// `first_breach`: the start of the first window in which the objective of latency was missed.
    FirstBreach,
    /// `metric_breach`: the metric was above its target by more than the tolerance for the first time.
    MetricBreach,
    /// `first_scale_out`: the HPA wanted more replicas for the first time.
    FirstScaleOut,
    /// `last_scale_event`: the HPA wanted another number of replicas for the last time.
    LastScaleEvent,
    /// `event(NAME)`: something that the scenario does.
    Event(String),
    /// `event(NAME).end`: that is over.
    EventEnd(String),
}

/// A stretch of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// `run`: from the first request to the end of the loads.
    #[default]
    Run,
    /// `stage(NAME)`.
    Stage(String),
    /// `event(NAME)`: while it lasts.
    Event(String),
    /// `ANCHOR..ANCHOR`: between two moments.
    Between(Anchor, Anchor),
}

/// Why a text names neither a moment nor a stretch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// It is not a moment.
    #[error(
        "`{0}` is no moment of a run; write start, end, stage(NAME).start, stage(NAME).end, event(NAME), \
         event(NAME).end, first_breach, metric_breach, first_scale_out or last_scale_event"
    )]
    NoAnchor(String),
    /// It is not a stretch.
    #[error(
        "`{0}` is no stretch of a run; write run, stage(NAME), event(NAME) or two moments as start..first_breach"
    )]
    NoScope(String),
    /// `stage(high)` is long; a moment is either end of it.
    #[error("`{0}` is a stretch and not a moment; write {0}.start or {0}.end")]
    Stretch(String),
    /// `stage()`.
    #[error("`{0}` has no name between its parentheses")]
    Unnamed(String),
}

impl Anchor {
    /// What it adds to a check's name: nothing for `start`, and `high` for `stage(high).start`.
    #[must_use]
    pub fn tag(&self) -> String {
        match self {
            Self::Start => String::new(),
            Self::StageStart(name) | Self::Event(name) => name.clone(),
            Self::StageEnd(name) | Self::EventEnd(name) => format!("{name}.end"),
            other => other.to_string(),
        }
    }
}

impl Scope {
    /// What it adds to a check's name: nothing for `run`, and `high` for `stage(high)`.
    #[must_use]
    pub fn tag(&self) -> String {
        match self {
            Self::Run => String::new(),
            Self::Stage(name) | Self::Event(name) => name.clone(),
            Self::Between(..) => self.to_string(),
        }
    }
}

impl FromStr for Anchor {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let text = text.trim();
        match text {
            "start" => return Ok(Self::Start),
            "end" => return Ok(Self::End),
            "first_breach" => return Ok(Self::FirstBreach),
            "metric_breach" => return Ok(Self::MetricBreach),
            "first_scale_out" => return Ok(Self::FirstScaleOut),
            "last_scale_event" => return Ok(Self::LastScaleEvent),
            _ => {}
        }
        match call(text)? {
            Some(("stage", name, ".start")) => Ok(Self::StageStart(name.into())),
            Some(("stage", name, ".end")) => Ok(Self::StageEnd(name.into())),
            Some(("stage", _, "")) => Err(AnchorError::Stretch(text.into())),
            Some(("event", name, "" | ".start")) => Ok(Self::Event(name.into())),
            Some(("event", name, ".end")) => Ok(Self::EventEnd(name.into())),
            _ => Err(AnchorError::NoAnchor(text.into())),
        }
    }
}

impl FromStr for Scope {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let text = text.trim();
        if text == "run" {
            return Ok(Self::Run);
        }
        match call(text)? {
            Some(("stage", name, "")) => return Ok(Self::Stage(name.into())),
            Some(("event", name, "")) => return Ok(Self::Event(name.into())),
            _ => {}
        }
        // A name may hold two dots itself, so each place is tried at which the text could be divided.
        let divided = text.match_indices("..").find_map(|(at, dots)| {
            let from: Anchor = text[..at].parse().ok()?;
            let to: Anchor = text[at + dots.len()..].parse().ok()?;
            Some(Self::Between(from, to))
        });
        divided.ok_or_else(|| AnchorError::NoScope(text.into()))
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::End => f.write_str("end"),
            Self::StageStart(name) => write!(f, "stage({name}).start"),
            Self::StageEnd(name) => write!(f, "stage({name}).end"),
            Self::FirstBreach => f.write_str("first_breach"),
            Self::MetricBreach => f.write_str("metric_breach"),
            Self::FirstScaleOut => f.write_str("first_scale_out"),
            Self::LastScaleEvent => f.write_str("last_scale_event"),
            Self::Event(name) => write!(f, "event({name})"),
            Self::EventEnd(name) => write!(f, "event({name}).end"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => f.write_str("run"),
            Self::Stage(name) => write!(f, "stage({name})"),
            Self::Event(name) => write!(f, "event({name})"),
            Self::Between(from, to) => write!(f, "{from}..{to}"),
        }
    }
}

impl Serialize for Anchor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Anchor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Anchor {
    fn schema_name() -> Cow<'static, str> {
        "Anchor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A moment of a run.",
            "examples": ["start", "stage(high).start", "first_breach", "event(adapter_down).end"],
        })
    }
}

impl JsonSchema for Scope {
    fn schema_name() -> Cow<'static, str> {
        "Scope".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A stretch of a run.",
            "examples": ["run", "stage(high)", "event(adapter_down)", "first_scale_out..end"],
        })
    }
}

/// `word(name)rest` in its three parts; `None` when it is not of that form.
fn call(text: &str) -> Result<Option<(&str, &str, &str)>, AnchorError> {
    let Some((word, rest)) = text.split_once('(') else {
        return Ok(None);
    };
    let Some((name, rest)) = rest.split_once(')') else {
        return Ok(None);
    };
    match name.trim() {
        "" => Err(AnchorError::Unnamed(text.into())),
        name => Ok(Some((word.trim(), name, rest))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back_as_it_prints() {
        let texts = [
            "start",
            "end",
            "stage(high).start",
            "stage(very high).end",
            "first_breach",
            "metric_breach",
            "first_scale_out",
            "last_scale_event",
            "event(adapter_down)",
            "event(adapter_down).end",
        ];
        for text in texts {
            let anchor: Anchor = serde_json::from_value(text.into()).unwrap();
            assert_eq!(serde_json::to_value(anchor).unwrap(), text);
        }
    }

    #[test]
    fn a_stretch_reads_back_as_it_prints() {
        let texts = [
            "run",
            "stage(high)",
            "event(a..b)",
            "first_scale_out..end",
            "stage(a..b).start..event(c).end",
        ];
        for text in texts {
            let scope: Scope = serde_json::from_value(text.into()).unwrap();
            assert_eq!(serde_json::to_value(scope).unwrap(), text);
        }
        let between: Scope = "stage(a..b).start..end".parse().unwrap();
        let from = Anchor::StageStart("a..b".into());
        assert_eq!(between, Scope::Between(from, Anchor::End));
    }

    #[test]
    fn what_is_neither_says_what_to_write() {
        let cases = [
            ("stage(high)", "write stage(high).start or stage(high).end"),
            ("stage().start", "has no name"),
            ("stage(high).middle", "is no moment of a run; write start"),
            ("beginning", "is no moment of a run; write start"),
        ];
        for (text, part) in cases {
            let error = text.parse::<Anchor>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        for text in ["high", "start..", "stage(high).start", "a..b"] {
            let error = text.parse::<Scope>().unwrap_err().to_string();
            assert!(
                error.contains("is no stretch of a run; write run"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_tag_is_the_name_that_people_gave() {
        assert_eq!(Anchor::StageStart("high".into()).tag(), "high");
        assert_eq!(Anchor::StageEnd("high".into()).tag(), "high.end");
        assert_eq!(Anchor::FirstBreach.tag(), "first_breach");
        assert_eq!(
            (Anchor::Start.tag(), Scope::Run.tag()),
            (String::new(), String::new())
        );
        assert_eq!(Scope::Stage("high".into()).tag(), "high");
    }
}
