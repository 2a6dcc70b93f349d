//! What is asked: kinds of requests by weight, each with texts in which the number of the request may stand, and what a
//! good answer to it is. Which kind a request is follows from the seed and its number alone, so equal runs ask equal
//! things, on however many threads.

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, InvalidUri, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::Config;
use crate::measured::ErrorClass;
use crate::scenario::HttpVersion;

/// How much of a body is looked at when something is expected in it. Larger answers are read whole all the same.
const BODY_MAX: usize = 64 * 1024;

/// What stands for the number of the request.
const NUMBER: &str = "{{seq}}";

/// A body of a request, whole.
pub(super) type Body = Full<Bytes>;

/// A text in which `{{seq}}` stands for the number of the request in its load, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The pieces between the numbers; one alone when there is no number.
    pieces: Vec<Bytes>,
}

/// Path and query of a request, in which `{{seq}}` may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Template);

/// A kind of request.
#[derive(Debug, Clone)]
pub struct RequestKind {
    /// Its name in [`Measured::requests`](crate::measured::Measured::requests).
    pub name: String,
    /// How often it is sent, against the weights of the others.
    pub weight: u32,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: Path,
    /// Headers beside `Host`. Mark secret values as sensitive, and they are not printed.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Template>,
    /// What the body of a good answer holds, within its first 64 KiB; `None` takes any.
    pub expect_body: Option<String>,
}

/// The requests of a load as they are sent.
#[derive(Debug)]
pub(super) struct Requests {
    kinds: Vec<Prepared>,
    /// The sums of the weights, up to and with each kind.
    weights: Vec<u64>,
    seed: u64,
    expect: Vec<StatusCode>,
}

#[derive(Debug)]
struct Prepared {
    kind: RequestKind,
    /// With `Host`, where the protocol has it among the headers.
    headers: HeaderMap,
    /// What stands before the path: scheme and host in HTTP/2.
    origin: Option<(Scheme, Authority)>,
    /// The same for every number, when it is.
    uri: Option<Uri>,
}

impl Template {
    /// Reads a text. There is nothing that is no template.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let pieces = text.split(NUMBER);
        Self {
            pieces: pieces
                .map(|piece| Bytes::copy_from_slice(piece.as_bytes()))
                .collect(),
        }
    }

    /// The text for request `number`.
    #[must_use]
    pub fn at(&self, number: u64) -> Bytes {
        match &self.pieces[..] {
            [whole] => whole.clone(),
            pieces => Bytes::from(pieces.join(number.to_string().as_bytes())),
        }
    }

    fn is_fixed(&self) -> bool {
        self.pieces.len() == 1
    }
}

impl Path {
    /// Reads path and query.
    ///
    /// # Errors
    /// When it could not be requested, whatever the number.
    pub fn new(text: &str) -> Result<Self, InvalidUri> {
        let path = Self(Template::new(text));
        // Digits cannot spoil a path, but they make it longer.
        Uri::from_maybe_shared(path.0.at(u64::MAX))?;
        Ok(path)
    }

    fn at(&self, number: u64, origin: Option<&(Scheme, Authority)>) -> Uri {
        let path = Uri::from_maybe_shared(self.0.at(number));
        let mut parts = path
            .expect("a number makes no path invalid that was one with the longest number")
            .into_parts();
        if let Some((scheme, authority)) = origin {
            parts.scheme = Some(scheme.clone());
            parts.authority = Some(authority.clone());
        }
        Uri::from_parts(parts).unwrap_or_default()
    }
}

impl From<Uri> for Path {
    /// Path and query of a URI as they are: no number stands in them.
    fn from(uri: Uri) -> Self {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let whole = Bytes::copy_from_slice(path.as_bytes());
        Self(Template {
            pieces: vec![whole],
        })
    }
}

impl RequestKind {
    /// `GET path`, as any number of requests.
    #[must_use]
    pub fn get(path: Path) -> Self {
        Self {
            name: String::new(),
            weight: 1,
            method: Method::GET,
            path,
            headers: HeaderMap::new(),
            body: None,
            expect_body: None,
        }
    }
}

impl Requests {
    pub(super) fn new(config: &Config) -> Self {
        let mut sum = 0;
        let kinds = config.requests.iter();
        Self {
            kinds: kinds.map(|kind| Prepared::new(kind, config)).collect(),
            weights: config
                .requests
                .iter()
                .map(|kind| {
                    sum += u64::from(kind.weight);
                    sum
                })
                .collect(),
            seed: config.seed,
            expect: config.expect.clone(),
        }
    }

    /// Which kind request `number` is.
    pub(super) fn kind(&self, number: u64) -> usize {
        let [.., _, total] = self.weights[..] else {
            return 0;
        };
        let drawn = u128::from(mixed(self.seed, number)) * u128::from(total) >> u64::BITS;
        let kind = self
            .weights
            .partition_point(|weight| u128::from(*weight) <= drawn);
        // Where nothing has a weight, somebody still asked for load.
        kind.min(self.kinds.len() - 1)
    }

    /// Request `number`, which is of this kind.
    pub(super) fn request(&self, kind: usize, number: u64) -> Request<Body> {
        let Some(prepared) = self.kinds.get(kind) else {
            return Request::default();
        };
        let kind = &prepared.kind;
        let body = kind.body.as_ref().map(|body| body.at(number));
        let mut request = Request::new(Full::new(body.unwrap_or_default()));
        *request.method_mut() = kind.method.clone();
        *request.headers_mut() = prepared.headers.clone();
        *request.uri_mut() = match &prepared.uri {
            Some(uri) => uri.clone(),
            None => kind.path.at(number, prepared.origin.as_ref()),
        };
        request
    }

    /// Reads an answer to its end, so that the connection can be used again, and says what is wrong with it.
    pub(super) async fn check(
        &self,
        kind: usize,
        response: Response<Incoming>,
    ) -> Result<(), ErrorClass> {
        let (head, mut body) = response.into_parts();
        let wanted = self
            .kinds
            .get(kind)
            .and_then(|kind| kind.kind.expect_body.as_deref());
        let mut seen = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ErrorClass::Broken)?;
            if let (Some(_), Some(data)) = (wanted, frame.data_ref()) {
                let room = BODY_MAX - seen.len();
                seen.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        judge(head.status, &self.expect)?;
        match wanted {
            Some(wanted) if !holds(&seen, wanted.as_bytes()) => Err(ErrorClass::Unexpected),
            _ => Ok(()),
        }
    }
}

impl Prepared {
    fn new(kind: &RequestKind, config: &Config) -> Self {
        let mut headers = kind.headers.clone();
        let origin = match config.version {
            HttpVersion::Http1 => {
                headers.insert(HOST, config.host.clone());
                None
            }
            HttpVersion::Http2 => origin(&config.host, config.tls.is_some()),
        };
        let path = &kind.path;
        Self {
            uri: path.0.is_fixed().then(|| path.at(0, origin.as_ref())),
            kind: kind.clone(),
            headers,
            origin,
        }
    }
}

fn origin(host: &HeaderValue, tls: bool) -> Option<(Scheme, Authority)> {
    let authority = Authority::try_from(host.as_bytes()).ok()?;
    Some((if tls { Scheme::HTTPS } else { Scheme::HTTP }, authority))
}

/// Without `expect`, every status below 400 is good; a bad status is told by its hundred all the same.
fn judge(status: StatusCode, expect: &[StatusCode]) -> Result<(), ErrorClass> {
    match status.as_u16() {
        _ if expect.contains(&status) => Ok(()),
        400..=499 => Err(ErrorClass::ClientStatus),
        500.. => Err(ErrorClass::ServerStatus),
        _ if expect.is_empty() => Ok(()),
        _ => Err(ErrorClass::Unexpected),
    }
}

fn holds(body: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || body.windows(wanted.len()).any(|window| window == wanted)
}

/// A draw that depends on nothing but the seed and the number: the output function of SplitMix64 (Steele, Lea, Flood,
/// "Fast splittable pseudorandom number generators", 2014), whose every state is good.
fn mixed(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(weights: &[u32]) -> Config {
        let kind = |(index, weight): (usize, &u32)| RequestKind {
            name: format!("kind-{index}"),
            weight: *weight,
            ..RequestKind::get(Path::new("/items/{{seq}}?of={{seq}}").unwrap())
        };
        Config {
            requests: weights.iter().enumerate().map(kind).collect(),
            seed: 7,
            ..Config::new(HeaderValue::from_static("shop:80"), Uri::from_static("/"))
        }
    }

    #[test]
    fn kinds_are_drawn_by_weight_and_always_alike() {
        let requests = Requests::new(&config(&[3, 0, 1]));
        let kinds: Vec<usize> = (0..40_000).map(|number| requests.kind(number)).collect();
        let of = |kind| kinds.iter().filter(|drawn| **drawn == kind).count();
        assert_eq!(of(1), 0);
        assert!(of(0).abs_diff(30_000) < 300, "{} of kind 0", of(0));
        // Written down once: another draw would change every recorded scenario.
        assert_eq!(kinds[..12], [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(Requests::new(&config(&[3])).kind(9), 0);
        assert_eq!(Requests::new(&config(&[0, 0])).kind(9), 1);
    }

    #[test]
    fn the_number_stands_where_it_is_asked_for() {
        let mut config = config(&[1]);
        config.requests[0].body = Some(Template::new("{\"sku\": {{seq}}}"));
        let request = Requests::new(&config).request(0, 42);
        assert_eq!(request.uri(), "/items/42?of=42");
        assert_eq!(request.headers()[HOST], "shop:80");
        assert_eq!(Template::new("{\"sku\": {{seq}}}").at(42), "{\"sku\": 42}");
        config.version = HttpVersion::Http2;
        let request = Requests::new(&config).request(0, 7);
        assert_eq!(request.uri(), "http://shop:80/items/7?of=7");
        assert!(request.headers().is_empty());
        assert!(Path::new("/a b").is_err());
        assert!(Path::new(&"/{{seq}}".repeat(4_000)).is_err());
    }

    #[test]
    fn an_expected_status_is_good_and_another_is_told_by_its_hundred() {
        let status = |code| StatusCode::from_u16(code).unwrap();
        let cases: [(u16, &[u16], _); 8] = [
            (200, &[], Ok(())),
            (304, &[], Ok(())),
            (404, &[], Err(ErrorClass::ClientStatus)),
            (503, &[], Err(ErrorClass::ServerStatus)),
            (404, &[200, 404], Ok(())),
            (503, &[200], Err(ErrorClass::ServerStatus)),
            (204, &[200], Err(ErrorClass::Unexpected)),
            (302, &[200], Err(ErrorClass::Unexpected)),
        ];
        for (code, expect, outcome) in cases {
            let expect: Vec<_> = expect.iter().copied().map(status).collect();
            assert_eq!(
                judge(status(code), &expect),
                outcome,
                "{code} of {expect:?}"
            );
        }
        assert!(holds(b"all is well", b"is") && holds(b"", b""));
        assert!(!holds(b"all is well", b"bad") && !holds(b"a", b"ab"));
    }
}
