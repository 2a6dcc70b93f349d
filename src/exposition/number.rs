//! Values and timestamps of a sample.
//!
//! A value is what Prometheus takes: `strconv.ParseFloat` without the letters of hexadecimal floats and without
//! underscores. Three forms that Rust reads and Prometheus does not are refused: `+NaN`, `-NaN` and a decimal too
//! large for 64 bits, which Rust rounds to an infinity.

use super::Format;

/// Digits that fit a whole number exactly into an `f64`. Counts and bounds nearly always have fewer, and are read the
/// short way.
const EXACT_DIGITS: usize = 15;

/// The powers of ten by which up to [`EXACT_DIGITS`] decimals are divided, each exact in an `f64`.
const TENS: [f64; EXACT_DIGITS + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// A value, a `le` or a `quantile`. NaN and the infinities are values; what they mean is for the caller.
pub(super) fn value(text: &str) -> Option<f64> {
    if let Some(value) = short(text.as_bytes()) {
        return Some(value);
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

/// Digits with at most one point among them. Both the digits as a whole number and the power of ten are exact, so the
/// division rounds once, to the nearest `f64`, as a parser must.
fn short(text: &[u8]) -> Option<f64> {
    if EXACT_DIGITS + 1 < text.len() {
        return None;
    }
    let (mut digits, mut decimals) = (0_u64, None);
    for (nth, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digits = digits * 10 + u64::from(byte - b'0'),
            b'.' if decimals.is_none() => decimals = Some(text.len() - nth - 1),
            _ => return None,
        }
    }
    let n_digits = text.len() - usize::from(decimals.is_some());
    if !(1..=EXACT_DIGITS).contains(&n_digits) {
        return None;
    }
    let whole = digits as f64;
    Some(decimals.map_or(whole, |decimals| whole / TENS[decimals]))
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
            ("0.005", 0.005),
            ("000000000000.001", 0.001),
            ("2.50", 2.5),
            ("999999999999999", 999_999_999_999_999.0),
            ("0.1234567890123456", 0.123_456_789_012_345_6),
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
            "1.2.3", "..1", "--1", "1 ", "Inf1", "١",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_short_decimal_is_read_to_the_bit(text in r"[0-9]{0,16}\.?[0-9]{0,16}") {
            proptest::prop_assert_eq!(value(&text), text.parse().ok(), "{}", text);
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
