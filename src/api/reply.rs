//! Bodies: JSON with a newline at the end, indented for people, and documents that know their own ETag.

use std::fmt::Write as _;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, USER_AGENT, VARY};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::Serialize;

use crate::model::time::Timestamp;

use super::{GroupVersion, query};

/// Plain JSON, without parameters, as Kubernetes' own servers write it.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `{}`.
#[derive(Serialize)]
pub(super) struct Empty {}

/// What is answered to a read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<V> {
    kind: &'static str,
    api_version: &'static str,
    metadata: ListMetadata,
    items: Vec<V>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_item_count: Option<usize>,
}

impl<V> List<V> {
    pub(super) fn new(one: GroupVersion, items: Vec<V>) -> Self {
        Self {
            kind: one.list_kind(),
            api_version: one.name(),
            metadata: ListMetadata {
                remaining_item_count: None,
            },
            items,
        }
    }

    /// The same of a list that has so many more, if any.
    pub(super) fn with_more(mut self, more: usize) -> Self {
        self.metadata.remaining_item_count = (0 < more).then_some(more);
        self
    }
}

/// A body that never changes while the program runs, in both forms.
#[derive(Debug)]
pub(super) struct Document {
    content_type: HeaderValue,
    compact: Tagged,
    indented: Tagged,
}

#[derive(Debug)]
struct Tagged {
    body: Bytes,
    etag: HeaderValue,
}

impl Document {
    /// A document of plain JSON.
    pub(super) fn json(content: &impl Serialize) -> Self {
        Self::of_type(JSON, content)
    }

    /// A document with its own media type.
    pub(super) fn of_type(content_type: HeaderValue, content: &impl Serialize) -> Self {
        Self {
            content_type,
            compact: Tagged::new(write(content, false)),
            indented: Tagged::new(write(content, true)),
        }
    }

    /// The compact form's ETag, without quotes.
    pub(super) fn hash(&self) -> &str {
        let quoted = self.compact.etag.to_str().unwrap_or_default();
        quoted.trim_matches('"')
    }

    /// The document, or 304 when the client already has it.
    pub(super) fn answer(&self, uri: &Uri, headers: &HeaderMap) -> Response {
        let form = if wants_indent(uri, headers) {
            &self.indented
        } else {
            &self.compact
        };
        let mut response = if form.is_known_to(headers) {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            let mut response = Response::new(Body::from(form.body.clone()));
            let content_type = self.content_type.clone();
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            response
        };
        let out = response.headers_mut();
        out.insert(ETAG, form.etag.clone());
        out.insert(VARY, HeaderValue::from_static("Accept"));
        // A cache may keep it, but must ask each time: the next version of the program has other documents.
        out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

impl Tagged {
    fn new(body: Vec<u8>) -> Self {
        let etag = format!("\"{:016X}\"", fnv1a(&body));
        Self {
            body: body.into(),
            etag: HeaderValue::try_from(etag).expect("quoted hexadecimal is a header value"),
        }
    }

    fn is_known_to(&self, headers: &HeaderMap) -> bool {
        let known = headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"));
        known
            .into_iter()
            .any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes())
    }
}

/// FNV-1a, 64 bits: it tells a handful of documents apart between versions of the program; nothing secret hangs on it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// JSON as a body, which ends with a newline.
pub(super) fn write(content: &impl Serialize, indent: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(256);
    let written = if indent {
        serde_json::to_writer_pretty(&mut body, content)
    } else {
        serde_json::to_writer(&mut body, content)
    };
    written.expect("our own types have string keys, and memory takes every byte");
    body.push(b'\n');
    body
}

/// A JSON response. It is of now, so no cache may keep it.
pub(super) fn json(code: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A line or more of text for people and probes.
pub(super) fn text(code: StatusCode, lines: String) -> Response {
    let mut response = json(code, lines);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

fn empty(code: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

/// Whether a person reads: `?pretty=true`, or else the user agent of a terminal or a browser.
pub(super) fn wants_indent(uri: &Uri, headers: &HeaderMap) -> bool {
    match uri.query().and_then(|raw| query::raw_value(raw, "pretty")) {
        Some(value) if !value.is_empty() => {
            matches!(value, "1" | "t" | "T" | "true" | "True" | "TRUE")
        }
        _ => headers.get(USER_AGENT).is_some_and(|agent| {
            let people: [&[u8]; 3] = [b"curl", b"Wget", b"Mozilla/5.0"];
            people
                .iter()
                .any(|prefix| agent.as_bytes().starts_with(prefix))
        }),
    }
}

/// RFC 3339 in UTC, in whole seconds as Kubernetes writes times: `2026-08-22T10:15:30Z`.
pub(super) fn whole_seconds(at: Timestamp) -> Option<String> {
    let second = at.ms().div_euclid(1000);
    let at = jiff::Timestamp::from_second(second).ok()?;
    Some(at.to_string())
}

/// One line of a health report.
pub(super) fn line(lines: &mut String, content: std::fmt::Arguments<'_>) {
    lines
        .write_fmt(content)
        .expect("a String takes every write");
    lines.push('\n');
}
