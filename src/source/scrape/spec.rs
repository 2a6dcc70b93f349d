//! What a target is and how it is read: plain data that a supervisor compares on a reload. Everything here is resolved
//! and checked by the configuration; secrets are named, not held.

use std::fmt;
use std::time::Duration;

use http::HeaderName;
use http::uri::{PathAndQuery, Scheme as UriScheme, Uri};

use crate::exposition;
use crate::model::id::TargetId;
use crate::source::secret::SecretRef;
use crate::source::tls::TlsSpec;

/// The longest a scrape may take by default. A pod that needs more is too busy for its numbers to be of this moment.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// The share of the interval a scrape may take by default: the rest keeps one slow scrape from delaying the next.
const TIMEOUT_SHARE: f64 = 0.8;

/// Uncompressed bytes of one page by default. Pages of large applications have 1 to 5 MB.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One target and everything needed to read it.
#[derive(Clone, PartialEq, Debug)]
pub struct ScrapeSpec {
    /// Who it is.
    pub target: TargetId,
    /// Where its page is.
    pub endpoint: Endpoint,
    /// From one scrape to the next.
    pub interval: Duration,
    /// The deadline of one scrape: connecting, TLS, headers and body together.
    pub timeout: Duration,
    /// What the page is read for.
    pub want: exposition::Want,
    /// What the page may hold.
    pub page_limits: exposition::Limits,
    /// Bytes the page may have, uncompressed.
    pub body_bytes_max: usize,
    /// Headers sent with every request. Of two with one name the later counts, and it replaces one of ours.
    pub headers: Vec<(HeaderName, SecretRef)>,
    /// The `Authorization` header.
    pub auth: Option<Auth>,
    /// Used when the endpoint is `https`.
    pub tls: TlsSpec,
    /// Whether a compressed page is asked for. Off by default: inside a cluster, unpacking costs more than bytes do.
    pub gzip: bool,
}

/// Where a page is. Printing it leaves the query out, which some people put a token into.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// With TLS or without.
    pub scheme: Scheme,
    /// A name or an IP address, the latter without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// As in the request line; starts with `/`.
    pub path_and_query: PathAndQuery,
}

/// With TLS or without.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

/// How we say who we are, in the `Authorization` header.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Auth {
    /// A token.
    Bearer(SecretRef),
    /// A user and a password.
    Basic {
        /// The user name; it must not hold a colon.
        username: SecretRef,
        /// The password.
        password: SecretRef,
    },
}

/// Why a URL cannot be scraped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not a URL.
    #[error("is not a URL such as http://app:8080/metrics")]
    NotUrl,
    /// Another scheme.
    #[error("must start with http:// or https://")]
    Scheme,
    /// A port that TCP does not have.
    #[error("must have a port from 1 to 65535")]
    Port,
    /// `user:password@` in front of the host.
    #[error("must not hold a user or a password; set basic authentication instead")]
    UserInfo,
}

impl ScrapeSpec {
    /// A target read every `interval`, with every other setting at its default.
    pub fn new(
        target: TargetId,
        endpoint: Endpoint,
        interval: Duration,
        want: exposition::Want,
    ) -> Self {
        Self {
            target,
            endpoint,
            interval,
            timeout: default_timeout(interval),
            want,
            page_limits: exposition::Limits::default(),
            body_bytes_max: BODY_BYTES_MAX,
            headers: Vec::new(),
            auth: None,
            tls: TlsSpec::default(),
            gzip: false,
        }
    }

    /// What was sent to prove who we are, for the message of a 401. Names the secrets' places, never their values.
    pub(super) fn credentials(&self) -> String {
        let auth = self.auth.as_ref().map(|auth| match auth {
            Auth::Bearer(token) => format!("the bearer token from {token}"),
            Auth::Basic { password, .. } => {
                format!("basic authentication with the password from {password}")
            }
        });
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| format!("header {name} from {value}"));
        let sent: Vec<String> = auth.into_iter().chain(headers).collect();
        if sent.is_empty() {
            "no credentials were sent".to_owned()
        } else {
            format!("sent were {}", sent.join(", "))
        }
    }
}

impl Endpoint {
    /// The endpoint of an absolute URL. The port defaults to the scheme's, the path to `/`.
    ///
    /// # Errors
    /// When it is no `http` or `https` URL, or carries a user.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let uri: Uri = url.parse().map_err(|_| EndpointError::NotUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(EndpointError::NotUrl);
        };
        let scheme = if *scheme == UriScheme::HTTP {
            Scheme::Http
        } else if *scheme == UriScheme::HTTPS {
            Scheme::Https
        } else {
            return Err(EndpointError::Scheme);
        };
        if authority.as_str().contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let host = authority.host();
        let port = match authority.as_str()[host.len()..].strip_prefix(':') {
            None => scheme.default_port(),
            Some(_) => authority.port_u16().ok_or(EndpointError::Port)?,
        };
        if host.is_empty() {
            return Err(EndpointError::NotUrl);
        }
        if port == 0 {
            return Err(EndpointError::Port);
        }
        Ok(Self {
            scheme,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            path_and_query: uri
                .path_and_query()
                .cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
        })
    }

    /// The `Host` header: an IPv6 address in brackets, the port only when it is not the scheme's.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        let (open, close) = if host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        if *port == self.scheme.default_port() {
            format!("{open}{host}{close}")
        } else {
            format!("{open}{host}{close}:{port}")
        }
    }
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let authority = self.authority();
        write!(f, "{scheme}://{authority}{}", self.path_and_query.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The deadline of a scrape that is made every `interval`: four fifths of it, at most [`TIMEOUT_MAX`].
pub fn default_timeout(interval: Duration) -> Duration {
    interval.mul_f64(TIMEOUT_SHARE).min(TIMEOUT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_endpoints() {
        for (url, host, port, path, authority) in [
            (
                "http://app:8080/metrics",
                "app",
                8080,
                "/metrics",
                "app:8080",
            ),
            (
                "http://10.0.0.7/m?a=b",
                "10.0.0.7",
                80,
                "/m?a=b",
                "10.0.0.7",
            ),
            ("https://app", "app", 443, "/", "app"),
            ("https://app:80/", "app", 80, "/", "app:80"),
            ("http://[::1]:9090/m", "::1", 9090, "/m", "[::1]:9090"),
            ("http://[::1]/m", "::1", 80, "/m", "[::1]"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(endpoint.host, host, "{url}");
            assert_eq!(endpoint.port, port, "{url}");
            assert_eq!(endpoint.path_and_query.as_str(), path, "{url}");
            assert_eq!(endpoint.authority(), authority, "{url}");
        }
    }

    #[test]
    fn urls_that_cannot_be_scraped_say_why() {
        for (url, error) in [
            ("", EndpointError::NotUrl),
            ("app:8080", EndpointError::NotUrl),
            ("/metrics", EndpointError::NotUrl),
            ("http://app:99999/", EndpointError::Port),
            ("http://app:0/", EndpointError::Port),
            ("http://:80/", EndpointError::NotUrl),
            ("redis://app/0", EndpointError::Scheme),
            ("http://joe:hush@app/", EndpointError::UserInfo),
        ] {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn a_query_is_sent_but_never_printed() {
        let endpoint = Endpoint::parse("http://app/metrics?token=hush").unwrap();
        assert_eq!(endpoint.path_and_query.as_str(), "/metrics?token=hush");
        assert_eq!(endpoint.to_string(), "http://app/metrics");
        assert_eq!(format!("{endpoint:?}"), "http://app/metrics");
    }

    #[test]
    fn the_default_deadline_leaves_room_before_the_next_scrape() {
        assert_eq!(
            default_timeout(Duration::from_secs(1)),
            Duration::from_millis(800)
        );
        assert_eq!(default_timeout(Duration::from_secs(60)), TIMEOUT_MAX);
    }
}
