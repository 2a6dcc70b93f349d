//! Requests that apps write into Redis because they cannot be scraped: a counter, and a histogram kept as a hash of bound
//! to count. A key that is missing is unknown, not zero: an app that never reported may be down, or write elsewhere.

use std::collections::BTreeMap;

use redis::Value;

use super::fault;
use super::link::{Link, Reply};
use super::request::{NUMBER_BYTES_MAX, Request};
use super::server::{pairs, string};
use super::spec::{BUCKETS_MAX, HistogramKey, ReportedRead};
use crate::model::health::{Failure, FailureReason};
use crate::model::reading::{Reading, SeriesReading};

/// All that is reported is one series; it needs a key that never changes.
const SERIES_KEY: u64 = 0;

/// A reported histogram: ascending bounds in seconds, the last `+Inf`, and cumulative counts.
#[derive(PartialEq, Debug)]
struct Histogram {
    bounds: Vec<f64>,
    counts: Vec<f64>,
}

/// Reads all of it: the hash, if it is small, then the counters.
///
/// # Errors
/// `not_found` for a missing key or one of another type, `malformed` for text that is no count, `too_large` for a hash of
/// too many fields, and whatever the connection fails with.
pub(super) async fn read(
    reported: &ReportedRead,
    link: &mut Link,
    reading: &mut Reading,
) -> Result<(), Failure> {
    let histogram = match &reported.histogram {
        Some(histogram) => {
            let length = link.ask_one(&Request::HashLength(&histogram.key)).await??;
            check_length(&histogram.key, &length)?;
            let fields = link.ask_one(&Request::HashFields(&histogram.key)).await??;
            Some(Histogram::from_fields(histogram, fields)?)
        }
        None => None,
    };
    let requests = match &reported.requests {
        Some(key) => Some(counter(link, key).await?),
        None => None,
    };
    let sum = match &reported.sum {
        Some(sum) => Some(sum.unit.seconds(counter(link, &sum.key).await?)),
        None => None,
    };
    add_series(requests, sum, histogram, reading);
    Ok(())
}

async fn counter(link: &mut Link, key: &str) -> Result<f64, Failure> {
    let reply = link.ask_one(&Request::Number(key)).await?;
    number_of(key, reply)?.ok_or_else(|| missing(key))
}

fn add_series(
    requests: Option<f64>,
    sum: Option<f64>,
    histogram: Option<Histogram>,
    reading: &mut Reading,
) {
    let total = histogram
        .as_ref()
        .and_then(|histogram| histogram.counts.last().copied());
    // A spec has one or the other; one with neither has nothing to say.
    let Some(count) = requests.or(total) else {
        return;
    };
    let first_bucket = reading.bounds.len() as u32;
    if let Some(histogram) = histogram {
        reading.bounds.extend(histogram.bounds);
        reading.counts.extend(histogram.counts);
    }
    reading.series.push(SeriesReading {
        key: SERIES_KEY,
        first_bucket,
        n_buckets: reading.bounds.len() as u32 - first_bucket,
        count,
        sum,
    });
}

/// The number in a string; `None` when there is no such key.
///
/// # Errors
/// The server's refusal, or `malformed` for what is no finite number from zero up.
pub(super) fn number_of(key: &str, reply: Reply) -> Result<Option<f64>, Failure> {
    let Value::BulkString(bytes) = reply? else {
        return Err(fault::malformed(&Request::Number(key)));
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    std::str::from_utf8(&bytes)
        .ok()
        .filter(|text| text.len() <= NUMBER_BYTES_MAX)
        .and_then(count_from_text)
        .map(Some)
        .ok_or_else(|| {
            let message = format!(
                "key {} does not hold a number from zero up",
                key.escape_debug()
            );
            Failure::new(FailureReason::Malformed, message)
        })
}

fn check_length(key: &str, length: &Value) -> Result<(), Failure> {
    match length {
        Value::Int(0) => Err(missing(key)),
        // One more than the bounds, for `+Inf`.
        Value::Int(fields) if *fields <= BUCKETS_MAX as i64 + 1 => Ok(()),
        Value::Int(fields) => Err(Failure::new(
            FailureReason::TooLarge,
            format!(
                "hash {} has {fields} fields, at most {BUCKETS_MAX} bounds are read",
                key.escape_debug()
            ),
        )),
        _ => Err(fault::malformed(&Request::HashLength(key))),
    }
}

/// No such key.
pub(super) fn missing(key: &str) -> Failure {
    Failure::new(
        FailureReason::NotFound,
        format!("no key {}: nothing was reported yet", key.escape_debug()),
    )
}

impl Histogram {
    /// From the hash's fields. Counts of bounds without a field are zero; of fields without a bound, when bounds are
    /// given, an error, since they would silently lack from the total.
    fn from_fields(spec: &HistogramKey, fields: Value) -> Result<Self, Failure> {
        let bad = |what: &str| {
            let message = format!("hash {}: {what}", spec.key.escape_debug());
            Failure::new(FailureReason::Malformed, message)
        };
        let fields =
            pairs(fields).ok_or_else(|| fault::malformed(&Request::HashFields(&spec.key)))?;
        let mut counts: BTreeMap<Bound, f64> = BTreeMap::new();
        let given = spec.buckets.as_deref();
        for bound in given.unwrap_or_default() {
            counts.insert(Bound(*bound), 0.0);
        }
        for (field, count) in fields {
            let bound = string(field)
                .and_then(|text| bound_from_text(&text))
                .ok_or_else(|| bad("a field is not a bound"))?;
            let count = string(count)
                .and_then(|text| count_from_text(&text))
                .ok_or_else(|| bad("a value is not a count"))?;
            let is_known = counts.contains_key(&Bound(bound)) || bound == f64::INFINITY;
            if given.is_some() && !is_known {
                return Err(bad("a field is none of the given buckets"));
            }
            if counts
                .insert(Bound(bound), count)
                .is_some_and(|old| old != 0.0)
            {
                return Err(bad("two fields are the same bound"));
            }
        }
        if spec.cumulative && !counts.contains_key(&Bound(f64::INFINITY)) {
            return Err(bad("a cumulative histogram needs the field +Inf"));
        }
        counts.entry(Bound(f64::INFINITY)).or_insert(0.0);
        Self::from_counts(spec, counts).ok_or_else(|| {
            bad("a count is lower than that of a lower bound: set cumulative to false, or write the hash in MULTI/EXEC")
        })
    }

    /// `None` for a cumulative histogram whose counts fall.
    fn from_counts(spec: &HistogramKey, counts: BTreeMap<Bound, f64>) -> Option<Self> {
        let bounds = counts
            .keys()
            .map(|bound| spec.unit.seconds(bound.0))
            .collect();
        let mut counts: Vec<f64> = counts.into_values().collect();
        if !spec.cumulative {
            let mut total = 0.0;
            for count in &mut counts {
                total += *count;
                *count = total;
            }
        }
        counts
            .is_sorted_by(|low, high| low <= high)
            .then_some(Self { bounds, counts })
    }
}

/// A bound, ordered. Never NaN; `0` and `-0` are one bound.
#[derive(Clone, Copy, Debug)]
struct Bound(f64);

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0 + 0.0).total_cmp(&(other.0 + 0.0))
    }
}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bound {}

fn bound_from_text(text: &str) -> Option<f64> {
    let bound: f64 = text.trim().parse().ok()?;
    (!bound.is_nan() && bound != f64::NEG_INFINITY).then_some(bound)
}

fn count_from_text(text: &str) -> Option<f64> {
    let count: f64 = text.trim().parse().ok()?;
    (count.is_finite() && 0.0 <= count).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::unit::Unit;

    fn spec(cumulative: bool, buckets: Option<&[f64]>) -> HistogramKey {
        HistogramKey {
            key: "latency".to_owned(),
            unit: Unit::Milliseconds,
            cumulative,
            buckets: buckets.map(<[f64]>::to_vec),
        }
    }

    fn hash(fields: &[(&str, &str)]) -> Value {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        Value::Array(
            fields
                .iter()
                .flat_map(|(field, count)| [text(field), text(count)])
                .collect(),
        )
    }

    #[test]
    fn single_counts_add_up_in_the_order_of_their_bounds() {
        let fields = hash(&[("1000", "1"), ("50", "4"), ("+Inf", "2"), ("250", "3")]);
        let histogram = Histogram::from_fields(&spec(false, None), fields).unwrap();
        assert_eq!(histogram.bounds, [0.05, 0.25, 1.0, f64::INFINITY]);
        assert_eq!(histogram.counts, [4.0, 7.0, 8.0, 10.0]);
    }

    #[test]
    fn a_bucket_without_a_field_yet_keeps_the_layout() {
        let given = spec(false, Some(&[50.0, 250.0, 1000.0]));
        let early = Histogram::from_fields(&given, hash(&[("250.0", "3")])).unwrap();
        let late = Histogram::from_fields(&given, hash(&[("250", "3"), ("inf", "1")])).unwrap();
        assert_eq!(early.bounds, late.bounds);
        assert_eq!(early.counts, [0.0, 3.0, 3.0, 3.0]);
        assert_eq!(late.counts, [0.0, 3.0, 3.0, 4.0]);
    }

    #[test]
    fn cumulative_counts_are_taken_as_they_are() {
        let fields = hash(&[("50", "4"), ("250", "7"), ("+Inf", "9")]);
        let histogram = Histogram::from_fields(&spec(true, None), fields).unwrap();
        assert_eq!(histogram.counts, [4.0, 7.0, 9.0]);
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        for (spec, fields) in [
            (spec(false, None), vec![("fast", "1")]),
            (spec(false, None), vec![("nan", "1")]),
            (spec(false, None), vec![("-inf", "1")]),
            (spec(false, None), vec![("50", "many")]),
            (spec(false, None), vec![("50", "-1")]),
            (spec(false, None), vec![("50", "inf")]),
            (spec(false, None), vec![("50", "1"), ("50.0", "1")]),
            (spec(false, Some(&[50.0])), vec![("60", "1")]),
            (spec(true, None), vec![("50", "1")]),
            (spec(true, None), vec![("50", "5"), ("+Inf", "2")]),
        ] {
            let failure = Histogram::from_fields(&spec, hash(&fields)).unwrap_err();
            assert_eq!(failure.reason, FailureReason::Malformed, "{fields:?}");
        }
    }

    #[test]
    fn a_hash_of_more_fields_than_a_histogram_has_is_not_fetched() {
        let reason = |fields| check_length("h", &Value::Int(fields)).map_err(|f| f.reason);
        assert_eq!(reason(12), Ok(()));
        assert_eq!(reason(0), Err(FailureReason::NotFound));
        assert_eq!(reason(1_000_000), Err(FailureReason::TooLarge));
    }

    #[test]
    fn a_number_is_read_or_refused() {
        use FailureReason::Malformed;
        let too_long = "1".repeat(NUMBER_BYTES_MAX + 1);
        for (text, want) in [
            ("12", Ok(Some(12.0))),
            (" 1.5\n", Ok(Some(1.5))),
            ("", Ok(None)),
            ("twelve", Err(Malformed)),
            ("-3", Err(Malformed)),
            ("nan", Err(Malformed)),
            ("inf", Err(Malformed)),
            (too_long.as_str(), Err(Malformed)),
        ] {
            let reply = Ok(Value::BulkString(text.as_bytes().to_vec()));
            let got = number_of("n", reply).map_err(|failure| failure.reason);
            assert_eq!(got, want, "{text:?}");
        }
    }
}
