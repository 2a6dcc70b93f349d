//! The Kubernetes `Quantity`, as far as the HPA reads it: whole thousandths.

/// The largest magnitude in thousandths that is safe to serve: beyond 2^63 the HPA's conversion wraps
/// to a negative number (`resource.Quantity.MilliValue` ignores its own overflow flag).
pub const MILLI_MAX: i64 = i64::MAX;

/// `value` as a Quantity of whole thousandths, rounded to the nearest, in canonical form: `412.5` is `412500m`,
/// `2.0` is `2`. `None` for NaN, an infinity, a negative number or one too large: such a value must not be served.
pub fn from_value(value: f64) -> Option<String> {
    let milli = milli_from_value(value)?;
    Some(if milli % 1000 == 0 {
        (milli / 1000).to_string()
    } else {
        format!("{milli}m")
    })
}

/// `value` in thousandths, rounded to the nearest. `None` as in [`from_value`].
pub fn milli_from_value(value: f64) -> Option<i64> {
    let milli = (value * 1000.0).round();
    // 2^63 is exact in f64, so `<` excludes precisely what does not fit.
    (value.is_finite() && 0.0 <= milli && milli < MILLI_MAX as f64).then_some(milli as i64)
}
