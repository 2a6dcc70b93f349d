//! The Kubernetes `Quantity`, as far as the HPA reads it: whole thousandths.
//!
//! Written here for the wire ([`from_value`]), read here as the HPA's decoder reads it ([`parse_milli`]). Arithmetic on
//! quantities is not done: once read they are integers.

use thiserror::Error;

/// The largest magnitude in thousandths that is safe to serve: beyond 2^63 the HPA's conversion wraps
/// to a negative number (`resource.Quantity.MilliValue` ignores its own overflow flag).
pub const MILLI_MAX: i64 = i64::MAX;

/// Decimals of a Quantity: what is finer than a billionth is rounded up when it is read.
const NANO_DECIMALS: i64 = 9;

/// Decimals of the thousandths in which the HPA computes.
const MILLI_DECIMALS: i64 = 3;

/// The most decimal digits a magnitude may have and still surely fit an `i128`.
const DIGITS_MAX: usize = 38;

/// Why a text is no Quantity, or none that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// The text does not follow the grammar.
    #[error("`{0}` is not a quantity: write a number such as 250m, 0.25, 1k or 1Ki")]
    Syntax(String),
    /// The number does not fit 63 bits of thousandths; the HPA would silently read another number.
    #[error("`{0}` is too large: the HPA's 64-bit thousandths end at 9.22e15")]
    TooLarge(String),
}

/// `value` as a Quantity of whole thousandths, rounded to the nearest, in canonical form: `412.5` is `412500m`,
/// `2.0` is `2`. `None` for NaN, an infinity, a negative number or one too large: such a value must not be served.
pub fn from_value(value: f64) -> Option<String> {
    milli_from_value(value).map(from_milli)
}

/// `value` in thousandths, rounded to the nearest. `None` as in [`from_value`].
pub fn milli_from_value(value: f64) -> Option<i64> {
    let milli = (value * 1000.0).round();
    // 2^63 is exact in f64, so `<` excludes precisely what does not fit.
    (value.is_finite() && 0.0 <= milli && milli < MILLI_MAX as f64).then_some(milli as i64)
}

/// `milli` thousandths as a Quantity: `1500` is `1500m`, `2000` is `2`.
pub fn from_milli(milli: i64) -> String {
    if milli % 1000 == 0 {
        (milli / 1000).to_string()
    } else {
        format!("{milli}m")
    }
}

/// A Quantity in thousandths, finer fractions rounded away from zero, as the HPA reads a metric or a target: `1n` and
/// `0.0001` are 1, `1Ki` is 1,024,000.
///
/// # Errors
///
/// A text outside the grammar, or a number that does not fit: see [`QuantityError`].
pub fn parse_milli(text: &str) -> Result<i64, QuantityError> {
    i64::try_from(parse_scaled(text, MILLI_DECIMALS)?)
        .map_err(|_| QuantityError::TooLarge(text.to_owned()))
}

/// A Quantity as the float which `resource.Quantity.AsApproximateFloat64` makes of it, bit for bit: the HPA compares
/// ratios with tolerances read so. The canonical form has an exponent that is a multiple of three, and the float is the
/// product of its mantissa and that power of ten.
///
/// # Errors
///
/// As [`parse_milli`].
pub fn parse_f64(text: &str) -> Result<f64, QuantityError> {
    let nano = parse_scaled(text, NANO_DECIMALS)?;
    let (unit, scale) = [(1_000_000_000, 1.0), (1_000_000, 1e-3), (1_000, 1e-6)]
        .into_iter()
        .find(|(unit, _)| nano % unit == 0)
        .unwrap_or((1, 1e-9));
    Ok((nano / unit) as f64 * scale)
}

/// `text` in units of `10^-decimals`, rounded away from zero.
fn parse_scaled(text: &str, decimals: i64) -> Result<i128, QuantityError> {
    let syntax = || QuantityError::Syntax(text.to_owned());
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let number_len = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_len);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return Err(syntax());
    }
    let (power_of_ten, powers_of_1024) = scale_of(suffix).ok_or_else(syntax)?;
    let mut digits: Vec<u8> = whole
        .bytes()
        .chain(fraction.bytes())
        .map(|d| d - b'0')
        .collect();
    for _ in 0..powers_of_1024 {
        multiply(&mut digits, 1024);
    }
    let fraction_len = i64::try_from(fraction.len()).map_err(|_| syntax())?;
    let shift = power_of_ten.saturating_add(decimals - fraction_len);
    let magnitude =
        shifted(&digits, shift).ok_or_else(|| QuantityError::TooLarge(text.to_owned()))?;
    Ok(if negative { -magnitude } else { magnitude })
}

/// The power of ten and the power of 1024 that a suffix stands for; `None` when there is no such suffix.
fn scale_of(suffix: &str) -> Option<(i64, u32)> {
    Some(match suffix {
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "" => (0, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 1),
        "Mi" => (0, 2),
        "Gi" => (0, 3),
        "Ti" => (0, 4),
        "Pi" => (0, 5),
        "Ei" => (0, 6),
        _ => {
            // `str::parse` takes the sign that an exponent may have, and nothing but digits after it.
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            (exponent.parse().ok()?, 0)
        }
    })
}

/// Multiplies a number of decimal digits, most significant first. By hand, because a fraction may have any number of
/// digits and all of them decide whether it is rounded up.
fn multiply(digits: &mut Vec<u8>, factor: u32) {
    let mut carry = 0;
    for digit in digits.iter_mut().rev() {
        carry += u32::from(*digit) * factor;
        *digit = (carry % 10) as u8;
        carry /= 10;
    }
    while 0 < carry {
        digits.insert(0, (carry % 10) as u8);
        carry /= 10;
    }
}

/// `digits * 10^shift`, rounded up. `None` when it has more than [`DIGITS_MAX`] digits.
fn shifted(digits: &[u8], shift: i64) -> Option<i128> {
    let leading = digits.iter().take_while(|d| **d == 0).count();
    let digits = &digits[leading..];
    if digits.is_empty() {
        return Some(0);
    }
    let dropped = usize::try_from(shift.saturating_neg())
        .unwrap_or(0)
        .min(digits.len());
    let appended = usize::try_from(shift).unwrap_or(0);
    let (kept, rest) = digits.split_at(digits.len() - dropped);
    if DIGITS_MAX <= kept.len().saturating_add(appended) {
        return None;
    }
    let zeros = std::iter::repeat_n(&0, appended);
    let magnitude = kept
        .iter()
        .chain(zeros)
        .fold(0, |sum, d| sum * 10 + i128::from(*d));
    Some(magnitude + i128::from(rest.iter().any(|d| *d != 0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_read_as_the_hpa_reads_them() {
        for (text, milli) in [
            ("0", 0),
            ("1", 1000),
            ("1500m", 1500),
            ("0.1234567", 124),
            ("0.0001", 1),
            ("1n", 1),
            ("1u", 1),
            ("0.9999", 1000),
            ("0.30000000000000004", 301),
            ("0.3", 300),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("1e-3", 1),
            ("1e+1", 10_000),
            ("1E", 1_000_000_000_000_000_000_000_i128),
            ("1k", 1_000_000),
            ("1Ki", 1_024_000),
            ("0.1Ki", 102_400),
            ("1.5Mi", 1_572_864_000),
            (".5", 500),
            ("5.", 5000),
            ("+5", 5000),
            ("-0.5", -500),
            ("-0.0001", -1),
            ("12.5", 12500),
            ("0e99999", 0),
            ("1e-99999", 1),
            ("000000000000000000000000000000000000000000001", 1000),
            ("0.000000000000000000000000000000000000000000001Ki", 1),
            ("9223372036854775807m", i128::from(i64::MAX)),
        ] {
            match i64::try_from(milli) {
                Ok(milli) => assert_eq!(parse_milli(text), Ok(milli), "{text}"),
                Err(_) => assert_eq!(
                    parse_milli(text),
                    Err(QuantityError::TooLarge(text.to_owned()))
                ),
            }
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "NaN",
            "Inf",
            "1 000",
            "1,5",
            " 1",
            "1 ",
            "-",
            "+",
            ".",
            "m",
            "1.2.3",
            "1e",
            "1e+",
            "1ee3",
            "1K",
            "1mi",
            "--1",
            "1e1.5",
            "0x10",
            "1e99999999999999999999",
            "\u{0661}",
        ] {
            assert_eq!(
                parse_milli(text),
                Err(QuantityError::Syntax(text.to_owned())),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_would_wrap_in_the_hpa_is_refused() {
        for text in [
            "9223372036854775808m",
            "9.3e15",
            "10P",
            "8Ei",
            "1e99999",
            "-10P",
        ] {
            assert_eq!(
                parse_milli(text),
                Err(QuantityError::TooLarge(text.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn a_tolerance_is_the_float_that_go_makes_of_it() {
        for (text, value) in [
            ("0", 0.0),
            ("0.05", 0.05),
            ("50m", 0.05),
            ("0.1", 0.1),
            ("500u", 500.0 * 1e-6),
            ("1n", 1e-9),
            ("2k", 2000.0),
        ] {
            assert_eq!(parse_f64(text), Ok(value), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(milli in 0..=i64::MAX) {
            prop_assert_eq!(parse_milli(&from_milli(milli)), Ok(milli));
        }

        #[test]
        fn a_value_is_served_to_half_a_thousandth(value in 0.0..1e9_f64) {
            let text = from_value(value).expect("finite, positive and small");
            let read = parse_milli(&text).expect("our own text") as f64 / 1000.0;
            // Half a thousandth, and one rounding of the product.
            prop_assert!((read - value).abs() <= 0.000_501);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-+]?[0-9.]{0,60}[a-zA-Z0-9+-]{0,24}|.*") {
            let _ = parse_milli(&text);
            let _ = parse_f64(&text);
        }

        #[test]
        fn reading_rounds_away_from_zero(whole in 0..1_000_000_i64, fraction in 0..1_000_000_000_i64) {
            let text = format!("{whole}.{fraction:09}");
            let expected = whole * 1000 + (fraction + 999_999) / 1_000_000;
            prop_assert_eq!(parse_milli(&text), Ok(expected));
            prop_assert_eq!(parse_milli(&format!("-{text}")), Ok(-expected));
        }
    }
}
