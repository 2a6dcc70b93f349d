//! Values and timestamps of a sample.
//!
//! A value is what Prometheus takes: `strconv.ParseFloat` without the letters of hexadecimal floats and without
//! underscores. Three forms that Rust reads and Prometheus does not are refused: `+NaN`, `-NaN` and a decimal too
//! large for 64 bits, which Rust rounds to an infinity.

use super::Format;

/// Digits that fit a whole number exactly into an `f64`: counts are nearly always such, and are read the short way.
const EXACT_DIGITS: usize = 15;

/// A value, a `le` or a `quantile`. NaN and the infinities are values; what they mean is for the caller.
pub(super) fn value(text: &str) -> Option<f64> {
    if let Some(whole) = whole(text.as_bytes()) {
        return Some(whole as f64);
    }
    let value: f64 = text.parse().ok()?;
    let signed_nan = value.is_nan() && text.starts_with(['+', '-']);
    let overflowed = value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit());
    (!overflowed && !signed_nan).then_some(value)
}

/// A timestamp in milliseconds: text has whole milliseconds, OpenMetrics has seconds with a fraction.
pub(super) fn timestamp_ms(text: &str, format: Format) -> Option<i64> {
    match format {
        Format::Text => text.parse().ok(),
        // The cast saturates; a time that far away is as good as any other that nobody uses.
        Format::OpenMetrics => value(text)
            .filter(|seconds| seconds.is_finite())
            .map(|seconds| (seconds * 1000.0) as i64),
    }
}

fn whole(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || EXACT_DIGITS < digits.len() {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_that_prometheus_takes() {
        for (text, expected) in [
            ("0", 0.0),
            ("42", 42.0),
            ("-0", 0.0),
            ("+7", 7.0),
            ("1e3", 1000.0),
            ("1E-3", 0.001),
            (".5", 0.5),
            ("5.", 5.0),
            ("999999999999999", 999_999_999_999_999.0),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
            ("+Inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("Infinity", f64::INFINITY),
            ("1e-400", 0.0),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
        assert!(value("NaN").is_some_and(f64::is_nan));
        assert!(value("nan").is_some_and(f64::is_nan));
    }

    #[test]
    fn what_prometheus_refuses_is_refused() {
        for text in [
            "", "wtf", "1_0", "0x10", "0x1p4", "1p4", "1e400", "-1e400", "+NaN", "-nan", "1e", ".",
            "--1", "1 ", "Inf1", "١",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn a_timestamp_is_in_the_unit_of_its_format() {
        for (text, format, expected) in [
            ("1700000000123", Format::Text, Some(1_700_000_000_123)),
            ("-5", Format::Text, Some(-5)),
            ("1.5", Format::Text, None),
            ("99999999999999999999", Format::Text, None),
            ("1700000000.5", Format::OpenMetrics, Some(1_700_000_000_500)),
            ("1700000000", Format::OpenMetrics, Some(1_700_000_000_000)),
            ("NaN", Format::OpenMetrics, None),
            ("Inf", Format::OpenMetrics, None),
        ] {
            assert_eq!(timestamp_ms(text, format), expected, "{text} {format:?}");
        }
    }
}
