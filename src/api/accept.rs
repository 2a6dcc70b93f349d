//! Content negotiation: JSON is all there is, and the aggregated discovery form of it where that is asked for.
//!
//! A range with `as=` asks for another object than the one at hand (a table, partial metadata). There are none for
//! metrics, so such a range is passed over and the next one counts, as in Kubernetes' own servers.

use http::HeaderMap;
use http::header::ACCEPT;

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// `application/json`.
    Plain,
    /// `application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList`.
    Aggregated,
}

/// One media range of an `Accept` header.
#[derive(Default)]
struct Range<'h> {
    media: &'h str,
    kind: Option<&'h str>,
    group: Option<&'h str>,
    version: Option<&'h str>,
    /// In thousandths, as in `q=0.8`.
    quality: u16,
}

/// Whether plain JSON will do.
pub(super) fn takes_json(headers: &HeaderMap) -> bool {
    best(headers, |range| range.is_json().then_some(Form::Plain)).is_some()
}

/// Which form of the group list is wanted most; `None` when neither will do.
pub(super) fn discovery_form(headers: &HeaderMap) -> Option<Form> {
    best(headers, |range| {
        if range.is_aggregated() {
            return Some(Form::Aggregated);
        }
        range.is_json().then_some(Form::Plain)
    })
}

/// The form of the range with the highest quality, the first of equals. No `Accept` at all takes anything.
fn best(headers: &HeaderMap, form_of: impl Fn(&Range<'_>) -> Option<Form>) -> Option<Form> {
    let mut best: Option<(u16, Form)> = None;
    let mut asked = false;
    for value in headers.get_all(ACCEPT) {
        let Ok(value) = value.to_str() else {
            asked = true;
            continue;
        };
        for range in value.split(',').filter(|range| !range.trim().is_empty()) {
            asked = true;
            let range = Range::parse(range);
            let Some(form) = form_of(&range).filter(|_| 0 < range.quality) else {
                continue;
            };
            if best.is_none_or(|(quality, _)| quality < range.quality) {
                best = Some((range.quality, form));
            }
        }
    }
    if asked {
        best.map(|(_, form)| form)
    } else {
        Some(Form::Plain)
    }
}

impl<'h> Range<'h> {
    fn parse(text: &'h str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self {
            media: parts.next().unwrap_or_default(),
            quality: 1000,
            ..Self::default()
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "as" => range.kind = Some(value.trim()),
                "g" => range.group = Some(value.trim()),
                "v" => range.version = Some(value.trim()),
                "q" => range.quality = quality(value.trim()),
                _ => {}
            }
        }
        range
    }

    fn is_json(&self) -> bool {
        let takes = ["application/json", "application/*", "*/*"]
            .iter()
            .any(|media| media.eq_ignore_ascii_case(self.media));
        takes && self.kind.is_none()
    }

    fn is_aggregated(&self) -> bool {
        self.media.eq_ignore_ascii_case("application/json")
            && self.kind == Some("APIGroupDiscoveryList")
            && self.group == Some("apidiscovery.k8s.io")
            && self.version == Some("v2")
    }
}

/// A weight in thousandths. One that is not a number from 0 to 1 is taken for 0: the range is passed over.
fn quality(text: &str) -> u16 {
    let weight: Option<f32> = text.parse().ok();
    match weight {
        Some(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &[&str]) -> HeaderMap {
        accept
            .iter()
            .map(|value| (ACCEPT, value.parse().expect("a header value")))
            .collect()
    }

    #[test]
    fn json_will_do_for_every_client_that_kubernetes_has() {
        for accept in [
            &[][..],
            &[""],
            &["*/*"],
            &["application/*"],
            &["application/json"],
            &["Application/JSON; charset=utf-8"],
            &["application/vnd.kubernetes.protobuf, */*"],
            &["application/vnd.kubernetes.protobuf,application/json;q=0.5"],
            &["application/json;as=Table;v=v1;g=meta.k8s.io,application/json"],
            &["text/html", "application/json"],
        ] {
            assert!(takes_json(&headers(accept)), "{accept:?}");
        }
    }

    #[test]
    fn what_is_not_offered_is_refused() {
        for accept in [
            "application/vnd.kubernetes.protobuf",
            "text/html",
            "application/yaml",
            "application/json;as=Table;v=v1;g=meta.k8s.io",
            "application/json;q=0",
            "application/json;q=many",
            "application/jsonp",
        ] {
            assert!(!takes_json(&headers(&[accept])), "{accept:?}");
        }
    }

    #[test]
    fn aggregated_discovery_is_version_2_alone() {
        let aggregated = |v: &str| {
            format!("application/json;g=apidiscovery.k8s.io;v={v};as=APIGroupDiscoveryList")
        };
        let form = |accept: String| discovery_form(&headers(&[&accept]));
        let (v2, beta) = (aggregated("v2"), aggregated("v2beta1"));
        assert_eq!(form(format!("{v2},{beta}")), Some(Form::Aggregated));
        assert_eq!(form(format!("{beta},{v2}")), Some(Form::Aggregated));
        assert_eq!(
            form(format!("{v2},application/json")),
            Some(Form::Aggregated)
        );
        assert_eq!(form(format!("{beta},application/json")), Some(Form::Plain));
        assert_eq!(
            form(format!("{v2};q=0.5,application/json")),
            Some(Form::Plain)
        );
        assert_eq!(form(beta), None);
        assert_eq!(form("*/*".to_owned()), Some(Form::Plain));
    }
}
