//! A YAML document as a tree in which everything knows its line. It knows the bounds of a document and nothing of what
//! one means; reading the whole tree first is what lets a file be told all its errors at once.

use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Number;
use serde_saphyr::{Error, MessageFormatter, Spanned, UserMessageFormatter};

use super::Problem;

/// Mappings and lists within each other: an HPA written inside a service has ten.
const DEPTH_MAX: usize = 32;

/// Values, names and lists of one document: far above any scenario that a person wrote.
const NODES_MAX: usize = 50_000;

/// What aliases may add, in values: enough to write a service once and use it ten times, and a "billion laughs" ends
/// before it is heard.
const REPLAYED_MAX: usize = 10_000;

/// A value and the line it stands at.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) value: Value,
}

/// What stands there.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// Names with the line of each, in the order of the file.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Reads a document.
    pub(super) fn read(text: &str) -> Result<Self, Problem> {
        let options = serde_saphyr::options! {
            with_snippet: false,
            // A value that begins with an unquoted `!` is a tag to YAML, and would be left out without a word.
            reject_unsupported_tags: true,
            budget: serde_saphyr::budget! {
                max_depth: DEPTH_MAX,
                flow_nesting_limit: DEPTH_MAX,
                max_nodes: NODES_MAX,
                max_events: 2 * NODES_MAX,
            },
            alias_limits: serde_saphyr::alias_limits! {
                max_total_replayed_events: REPLAYED_MAX,
            },
        };
        serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options)
            .map(Self::from)
            .map_err(|error| explain(&error))
    }

    /// What a mapping has under this name; `None` also of what is no mapping.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Value::Map(fields) = &self.value else {
            return None;
        };
        let (_, node) = fields.iter().find(|(written, _)| written == name)?;
        Some(node)
    }

    /// What it is called when another kind was expected.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "empty",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping of fields",
        }
    }

    /// The same as JSON, for what others read.
    pub(super) fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => value.clone().into(),
            Value::Text(value) => value.as_str().into(),
            Value::List(values) => values.iter().map(Self::json).collect(),
            Value::Map(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, node)| (name.clone(), node.json()));
                serde_json::Value::Object(fields.collect())
            }
        }
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self {
            line: spanned.referenced.line(),
            value: spanned.value,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| de::Error::custom("a number must be finite"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(item.into());
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((name, value)) = fields.next_entry::<String, Spanned<Value>>()? {
            map.push((name, value.into()));
        }
        Ok(Value::Map(map))
    }
}

/// The parser's error in words for the one who wrote the file. It never repeats a value, which may be a secret.
fn explain(error: &Error) -> Problem {
    let message = match error {
        Error::AliasError { error, .. } => return explain(error),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("a second `{key}`; one field has one value")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => format!(
            "more than {NODES_MAX} values, or {DEPTH_MAX} levels, or {REPLAYED_MAX} values by alias"
        ),
        other => UserMessageFormatter.format_message(other).into_owned(),
    };
    Problem {
        line: error.location().map_or(0, |location| location.line()),
        field: String::new(),
        message,
    }
}
