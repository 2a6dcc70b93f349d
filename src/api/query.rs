//! The query string of a read: which parameters count, and how they are encoded.

use std::borrow::Cow;

use super::status::Status;

/// What a read asks beside its path. Parameters that only make sense for stored objects (`limit`, `continue`,
/// `resourceVersion`, `timeoutSeconds`) are passed over, as Kubernetes' own metrics servers do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Query<'q> {
    /// `labelSelector`, decoded; empty when it is not there.
    pub(super) label_selector: Cow<'q, str>,
    /// `metricLabelSelector`, likewise.
    pub(super) metric_label_selector: Cow<'q, str>,
}

impl<'q> Query<'q> {
    /// Reads the part behind the question mark.
    ///
    /// # Errors
    /// A watch is a 405, since metrics have no changes to report. A field selector, a selector given twice, or bytes that
    /// are no text are a 400: answering half of a question would give the HPA a wrong number.
    pub(super) fn parse(raw: &'q str) -> Result<Self, Status> {
        let (mut selector, mut metric_selector) = (None, None);
        for (name, value) in pairs(raw) {
            match name {
                "labelSelector" if selector.is_some() => {
                    return Err(Status::bad_request(
                        "labelSelector is given twice".to_owned(),
                    ));
                }
                "labelSelector" => selector = Some(decode(value)?),
                "metricLabelSelector" if metric_selector.is_some() => {
                    return Err(Status::bad_request(
                        "metricLabelSelector is given twice".to_owned(),
                    ));
                }
                "metricLabelSelector" => metric_selector = Some(decode(value)?),
                "watch" if is_true(value) => {
                    return Err(Status::method_not_allowed(
                        "metrics cannot be watched".to_owned(),
                    ));
                }
                "fieldSelector" if !value.is_empty() => {
                    return Err(Status::bad_request(
                        "metrics have no fields to select by: use labelSelector".to_owned(),
                    ));
                }
                _ => {}
            }
        }
        Ok(Self {
            label_selector: selector.unwrap_or_default(),
            metric_label_selector: metric_selector.unwrap_or_default(),
        })
    }
}

/// The first value of `name` as it stands, not decoded.
pub(super) fn raw_value<'q>(raw: &'q str, name: &str) -> Option<&'q str> {
    pairs(raw).find(|(n, _)| *n == name).map(|(_, value)| value)
}

/// Every value of `name`, decoded; those that cannot be are left out.
pub(super) fn values<'q>(raw: &'q str, name: &str) -> impl Iterator<Item = Cow<'q, str>> {
    let of_name = pairs(raw).filter(move |(n, _)| *n == name);
    of_name.filter_map(|(_, value)| decode(value).ok())
}

/// Whether the query asks to watch.
pub(super) fn is_watch(raw: &str) -> bool {
    pairs(raw).any(|(name, value)| name == "watch" && is_true(value))
}

/// No parameter that counts has a name that needs encoding, so names are compared as they stand.
fn pairs(raw: &str) -> impl Iterator<Item = (&str, &str)> {
    raw.split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// How Kubernetes turns a query parameter into a boolean: all but `0` and `false` is true, the empty value too.
fn is_true(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

/// A form-encoded value: `+` is a space, `%2C` a comma.
fn decode(value: &str) -> Result<Cow<'_, str>, Status> {
    if !value.bytes().any(|b| b == b'%' || b == b'+') {
        return Ok(Cow::Borrowed(value));
    }
    let bad = || Status::bad_request("the query is not percent-encoded UTF-8".to_owned());
    unescape(value, b' ').map(Cow::Owned).ok_or_else(bad)
}

/// Percent-encoded UTF-8 as text; `plus` is what `+` stands for: a space in a query, itself anywhere else.
pub(super) fn unescape(value: &str, plus: u8) -> Option<String> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => decoded.push(plus),
            b'%' => {
                let [high, low, after @ ..] = rest else {
                    return None;
                };
                let digit = |b: &u8| char::from(*b).to_digit(16);
                decoded.push((digit(high)? * 16 + digit(low)?) as u8);
                rest = after;
            }
            other => decoded.push(*other),
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_encoding_of_the_hpa_controller_is_read() {
        let raw =
            "labelSelector=quantile%3D0.95%2Croute+notin+%28healthz%2creadyz%29%2Cservice%3Dweb";
        let query = Query::parse(raw).expect("a legal query");
        assert_eq!(
            query.label_selector,
            "quantile=0.95,route notin (healthz,readyz),service=web"
        );
    }

    #[test]
    fn an_encoding_that_is_cut_short_or_no_text_is_refused() {
        for value in ["%", "%2", "%zz", "a%fg", "%ff", "%2B%"] {
            assert!(decode(value).is_err(), "{value}");
        }
        assert_eq!(decode("a%2Bb+c%C3%BC").expect("legal"), "a+b c\u{fc}");
    }

    #[test]
    fn a_watch_is_what_kubernetes_takes_for_one() {
        for raw in [
            "watch=true",
            "watch=1",
            "watch",
            "watch=",
            "limit=1&watch=yes",
        ] {
            assert!(is_watch(raw) && Query::parse(raw).is_err(), "{raw}");
        }
        for raw in ["", "watch=false", "watch=0", "watch=False", "watched=true"] {
            assert!(!is_watch(raw) && Query::parse(raw).is_ok(), "{raw}");
        }
    }

    #[test]
    fn two_selectors_are_refused_and_parameters_of_stored_objects_are_passed_over() {
        assert!(Query::parse("labelSelector=a&labelSelector=b").is_err());
        assert!(Query::parse("fieldSelector=metadata.name%3Da").is_err());
        let query = Query::parse("limit=5&resourceVersion=0&timeoutSeconds=9&labelSelector=a&x=%");
        assert_eq!(query.expect("legal").label_selector, "a");
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused_and_never_panics(raw in any::<String>()) {
            let _ = Query::parse(&raw);
            let _ = decode(&raw);
        }

        #[test]
        fn what_is_encoded_byte_by_byte_decodes_to_itself(text in any::<String>()) {
            let encoded: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
            prop_assert_eq!(decode(&encoded).expect("it is encoded"), text);
        }
    }
}
