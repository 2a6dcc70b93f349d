//! A Kubernetes quantity as a number: `250m`, `1.5`, `2Ki`, `3e2`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Suffixes and their factors.
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// The number; `None` for what is no quantity.
pub(super) fn number(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.trim();
    let known = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (digits, factor) = known.unwrap_or((text, 1.0));
    // What the standard library takes beyond numbers: `inf`, `nan`.
    let is_number = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let number: f64 = digits.parse().ok().filter(|_| is_number)?;
    let value = number * factor;
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_the_api_writes_them() {
        for (text, expected) in [
            ("250", Some(250.0)),
            ("250m", Some(0.25)),
            ("1500u", Some(0.0015)),
            ("1.5", Some(1.5)),
            ("-3", Some(-3.0)),
            ("3e2", Some(300.0)),
            ("1E3", Some(1000.0)),
            ("2E", Some(2e18)),
            ("2Ki", Some(2048.0)),
            ("100M", Some(1e8)),
            ("", None),
            ("m", None),
            ("inf", None),
            ("NaN", None),
            ("1e999", None),
            ("12 apples", None),
        ] {
            assert_eq!(number(&Quantity(text.to_owned())), expected, "{text:?}");
        }
    }
}
