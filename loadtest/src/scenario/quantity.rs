//! The numbers of checks as people write them: a quantile as `p(95)`, a share as `99.5%`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A quantile, written in percent as `p(95)` or `95`; `med` is `p(50)`, and `max` is `p(100)`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Quantile {
    /// Above 0 and at most 100. Kept as it was written, so that `p(99.9)` prints as that.
    percent: f64,
}

/// A part of a whole within 0 and 1, written as `0.995` or `99.5%`.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct Share(f64);

/// Why something is no such number.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuantityError {
    /// It is no quantile.
    #[error(
        "`{0}` is no quantile; write p(95) or 95 for it, above 0 and at most 100, or med or max"
    )]
    Quantile(String),
    /// It is no share.
    #[error("`{0}` is no share; write 0.995 or 99.5% for it, within 0 and 1")]
    Share(String),
}

impl Quantile {
    /// The median.
    pub const MEDIAN: Self = Self { percent: 50.0 };

    /// The largest.
    pub const MAX: Self = Self { percent: 100.0 };

    /// This many percent.
    ///
    /// # Errors
    ///
    /// When `percent` is not above 0 and at most 100.
    pub fn from_percent(percent: f64) -> Result<Self, QuantityError> {
        if 0.0 < percent && percent <= 100.0 {
            Ok(Self { percent })
        } else {
            Err(QuantityError::Quantile(percent.to_string()))
        }
    }

    /// Above 0 and at most 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        self.percent / 100.0
    }
}

impl Share {
    /// This part of the whole.
    ///
    /// # Errors
    ///
    /// When `share` is not within 0 and 1.
    pub fn new(share: f64) -> Result<Self, QuantityError> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(QuantityError::Share(share.to_string()))
        }
    }

    /// Within 0 and 1.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for Quantile {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        match text.trim() {
            "med" => return Ok(Self::MEDIAN),
            "max" => return Ok(Self::MAX),
            _ => {}
        }
        let within = text
            .trim()
            .strip_prefix("p(")
            .and_then(|rest| rest.strip_suffix(')'));
        let percent = within.and_then(|percent| percent.trim().parse().ok());
        let quantile = percent.and_then(|percent| Self::from_percent(percent).ok());
        quantile.ok_or_else(|| QuantityError::Quantile(text.into()))
    }
}

impl FromStr for Share {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let share = match text.trim().strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
            None => text.trim().parse(),
        };
        let share = share.ok().and_then(|share| Self::new(share).ok());
        share.ok_or_else(|| QuantityError::Share(text.into()))
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p({})", self.percent)
    }
}

impl Serialize for Quantile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for Quantile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(NumberOrText)? {
            Written::Number(percent) => Self::from_percent(percent),
            Written::Text(text) => text.parse(),
        }
        .map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(NumberOrText)? {
            Written::Number(share) => Self::new(share),
            Written::Text(text) => text.parse(),
        }
        .map_err(de::Error::custom)
    }
}

impl JsonSchema for Quantile {
    fn schema_name() -> Cow<'static, str> {
        "Quantile".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number"], "examples": ["p(95)", 95, "med", "max"]})
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number"], "examples": [0.995, "99.5%"]})
    }
}

/// What stands in a file.
enum Written {
    Number(f64),
    Text(String),
}

struct NumberOrText;

impl Visitor<'_> for NumberOrText {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a text")
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Written, E> {
        Ok(Written::Number(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Written, E> {
        Ok(Written::Number(number as f64))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Written, E> {
        Ok(Written::Number(number as f64))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
        Ok(Written::Text(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_quantile_reads_back_as_it_prints() {
        for (written, printed) in [
            (json!("p(95)"), "p(95)"),
            (json!("p(99.9)"), "p(99.9)"),
            (json!(95), "p(95)"),
            (json!(99.9), "p(99.9)"),
            (json!("med"), "p(50)"),
            (json!("max"), "p(100)"),
        ] {
            let quantile: Quantile = from_value(written).unwrap();
            assert_eq!(serde_json::to_value(quantile).unwrap(), printed);
            assert_eq!(from_value::<Quantile>(printed.into()).unwrap(), quantile);
        }
        assert_eq!("p(95)".parse::<Quantile>().unwrap().fraction(), 0.95);
    }

    #[test]
    fn a_share_is_a_number_or_a_percentage() {
        for written in [json!(0.995), json!("99.5%"), json!("0.995")] {
            assert_eq!(from_value::<Share>(written).unwrap().get(), 0.995);
        }
        assert_eq!(from_value::<Share>(json!(1)).unwrap().get(), 1.0);
    }

    #[test]
    fn what_is_out_of_range_says_what_to_write() {
        for written in [
            json!(0),
            json!(101),
            json!("p95"),
            json!("p(0)"),
            json!("p(x)"),
            json!(-5),
        ] {
            let error = from_value::<Quantile>(written).unwrap_err().to_string();
            assert!(error.contains("write p(95)"), "{error}");
        }
        for written in [
            json!(1.5),
            json!("150%"),
            json!("most"),
            json!("NaN"),
            json!(-1),
        ] {
            let error = from_value::<Share>(written).unwrap_err().to_string();
            assert!(error.contains("write 0.995"), "{error}");
        }
    }
}
