//! One request to the delegate: TLS that is verified, a token, and an answer that is JSON of a bearable size. It knows
//! nothing of places, deadlines or what failures add up to.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT, VIA};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::VIA_US;
use super::failure::Failure;
use super::flags::{DelegateSpec, DelegateUrl};
use crate::api::reply;

/// The most an answer may hold. One value is some 200 bytes, so this is thousands of them for one metric of one
/// namespace; and as many answers as are in flight are in memory at once.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The most a token file may hold; a projected token has about 1 KiB.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// How long a connection is kept for the next request: longer than the 15 s between two syncs of an HPA, shorter than
/// the 90 s after which Kubernetes' own servers close it, perhaps just as a request is on its way.
const IDLE: Duration = Duration::from_secs(60);

/// Connections kept so. Syncs come spread over time.
const IDLE_CONNECTIONS: usize = 8;

type Connections = legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// Enough of a file to notice that it was replaced; `None` when it cannot be looked at.
type Stamp = Option<(SystemTime, u64)>;

/// The delegate as an HTTP client sees it.
pub(super) struct Client {
    spec: DelegateSpec,
    trusted: Mutex<Trusted>,
}

/// Connections of one set of authorities.
struct Trusted {
    stamp: Stamp,
    connections: Connections,
}

/// An answer that may be passed on.
#[derive(Debug)]
pub(in super::super) struct Answer {
    pub(in super::super) code: StatusCode,
    pub(in super::super) content_type: HeaderValue,
    pub(in super::super) body: Bytes,
}

/// Why the delegate's authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read, or a certificate in it is broken.
    #[error("--delegate-ca-file {}: {error}", file.display())]
    CaFile {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// Nothing to verify the delegate's certificate with.
    #[error("this machine has no certificate authorities; set --delegate-ca-file")]
    NoAuthorities,
    /// TLS itself.
    #[error("TLS for --delegate: {0}")]
    Tls(#[from] rustls::Error),
}

// === impl Client ===

impl Client {
    pub(super) fn open(spec: DelegateSpec) -> Result<Self, OpenError> {
        // Stamped before it is read: a file that changes in between is read once more.
        let stamp = stamp(spec.ca_file.as_deref());
        let connections = connections(&spec)?;
        let trusted = Mutex::new(Trusted { stamp, connections });
        Ok(Self { spec, trusted })
    }

    pub(super) fn url(&self) -> &DelegateUrl {
        &self.spec.url
    }

    /// Asks for a path with query.
    pub(super) async fn get(&self, path: String) -> Result<Answer, Failure> {
        let request = self.request(path)?;
        let response = self.connections().request(request).await;
        let response = response.map_err(|error| Failure::of(&error))?;
        let code = response.status();
        if let StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN = code {
            return Err(Failure::Refused(code));
        }
        if code.is_redirection() {
            return Err(Failure::Redirect(code));
        }
        let Some(content_type) = json_type(response.headers()) else {
            return Err(Failure::NotJson(code));
        };
        Ok(Answer {
            code,
            content_type,
            body: body(response).await?,
        })
    }

    /// JSON is asked for whatever the caller would take: everybody takes it, and it is all we offer ourselves.
    fn request(&self, path: String) -> Result<Request<Empty<Bytes>>, Failure> {
        let path = PathAndQuery::try_from(path).expect("encoded segments and a query that was one");
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = Some(self.spec.url.authority().clone());
        uri.path_and_query = Some(path);
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::from_parts(uri).expect("all three parts are there");
        let headers = request.headers_mut();
        headers.insert(ACCEPT, reply::JSON);
        headers.insert(VIA, VIA_US);
        let agent = concat!("taffrail/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(file) = &self.spec.token_file {
            let bearer = bearer(file)
                .map_err(|error| Failure::NoToken(format!("{}: {error}", file.display())))?;
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok(request)
    }

    /// The connections, new ones when the authorities were replaced. If those cannot be read, the last ones stay.
    fn connections(&self) -> Connections {
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(self.spec.ca_file.as_deref());
        if trusted.stamp != stamp {
            trusted.stamp = stamp;
            match connections(&self.spec) {
                Ok(connections) => {
                    trusted.connections = connections;
                    tracing::info!("The delegate's authorities were read again");
                }
                Err(error) => {
                    tracing::error!(%error, "The delegate's new authorities cannot be used; the last ones stay in force");
                }
            }
        }
        trusted.connections.clone()
    }
}

/// The content type, when it is plain JSON. Its parameters do not matter to those who read it.
fn json_type(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(CONTENT_TYPE)?;
    let media = value.to_str().ok()?.split(';').next()?.trim();
    // We asked for no encoding, and would not pass its name on.
    let is_plain = !headers.contains_key(CONTENT_ENCODING);
    (is_plain && media.eq_ignore_ascii_case("application/json")).then(|| value.clone())
}

async fn body(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let limited = Limited::new(response.into_body(), BODY_BYTES_MAX);
    match limited.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLarge),
        Err(error) => Err(Failure::BrokenOff(error.to_string())),
    }
}

/// HTTP/1.1 alone: a request that is given up closes its connection, so that the next one does not wait on a path that
/// is dead but was never closed. On HTTP/2 it would, until a ping gives up.
fn connections(spec: &DelegateSpec) -> Result<Connections, OpenError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(spec.ca_file.as_deref())?)
        .with_no_client_auth();
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only();
    let builder = match &spec.server_name {
        Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name.clone())),
        None => builder,
    };
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(builder.enable_http1().build());
    Ok(client)
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, OpenError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca_file else {
        // Machines carry old authorities that no longer parse; the others still count.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() {
            Err(OpenError::NoAuthorities)
        } else {
            Ok(roots)
        };
    };
    let fail = |error: String| OpenError::CaFile {
        file: file.to_owned(),
        error,
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| fail(error.to_string()))?;
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| fail(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(fail("holds no PEM certificate".to_owned()));
    }
    Ok(roots)
}

/// What is sent of a token file. It is read for each request, since Kubernetes rotates it every hour; it is small and
/// in memory, so reading it blocks for microseconds.
fn bearer(file: &Path) -> io::Result<HeaderValue> {
    // A pipe would block its reader.
    if !std::fs::metadata(file)?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut token = String::new();
    let read = File::open(file)?
        .take(TOKEN_BYTES_MAX + 1)
        .read_to_string(&mut token)?;
    let token = token.trim();
    if TOKEN_BYTES_MAX < read as u64 || token.is_empty() {
        return Err(io::Error::other(format!(
            "has no token, or more than {TOKEN_BYTES_MAX} bytes"
        )));
    }
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| io::Error::other("holds what no header may"))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

fn stamp(file: Option<&Path>) -> Stamp {
    let metadata = std::fs::metadata(file?).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_json_is_passed_on_with_its_parameters() {
        let typed = |content_type: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            headers
        };
        for good in [
            "application/json",
            "Application/JSON;charset=utf-8",
            "application/json ; a=b",
        ] {
            assert_eq!(json_type(&typed(good)).unwrap(), good);
        }
        for bad in [
            "",
            "text/html",
            "application/jsonp",
            "application/vnd.kubernetes.protobuf",
            ";",
        ] {
            assert_eq!(json_type(&typed(bad)), None, "{bad}");
        }
        assert_eq!(json_type(&HeaderMap::new()), None);
        let mut packed = typed("application/json");
        packed.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(json_type(&packed), None);
    }

    #[test]
    fn a_token_is_read_without_its_line_end_and_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush\n").unwrap();
        let value = bearer(file.path()).unwrap();
        assert_eq!(value, "Bearer hush");
        assert!(!format!("{value:?}").contains("hush"));
        for bad in ["", "\n", "a\nb", &"x".repeat(65 * 1024)] {
            std::fs::write(file.path(), bad).unwrap();
            let error = bearer(file.path()).unwrap_err().to_string();
            assert!(!error.contains("xx"), "{error}");
        }
        assert!(bearer(Path::new("/dev/zero")).is_err());
        assert!(bearer(Path::new("no/such/token")).is_err());
    }

    #[test]
    fn authorities_that_are_missing_or_none_are_named() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        for file in [empty.path(), Path::new("no/such/ca.pem")] {
            let error = roots(Some(file)).unwrap_err().to_string();
            assert!(error.contains("--delegate-ca-file"), "{error}");
            assert!(error.contains(file.to_str().unwrap()), "{error}");
        }
    }
}
