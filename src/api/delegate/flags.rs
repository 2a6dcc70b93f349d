//! Which adapter is the delegate, and how it is told who we are: the flags, and what they resolve to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, Scheme};
use rustls::pki_types::ServerName;

/// Where Kubernetes puts the token of a pod's service account.
const POD_TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The adapter that is asked for what we do not know.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct DelegateArgs {
    /// Another external metrics adapter, such as KEDA's, that is asked for metrics Taffrail does not have:
    /// https://HOST[:PORT]. It must let our service account read them
    #[arg(long, env = "TAFFRAIL_DELEGATE", value_name = "URL")]
    delegate: Option<DelegateUrl>,

    /// Authorities that its certificate is verified with, PEM; read again when it changes. Without it, the machine's
    #[arg(
        long,
        env = "TAFFRAIL_DELEGATE_CA_FILE",
        value_name = "FILE",
        requires = "delegate"
    )]
    delegate_ca_file: Option<PathBuf>,

    /// Token that is sent to it; read again for each request. Without it, that of the pod's service account. Whoever
    /// gets that one can use it at the API server too: where the delegate takes another audience, mount a token for it
    #[arg(
        long,
        env = "TAFFRAIL_DELEGATE_TOKEN_FILE",
        value_name = "FILE",
        requires = "delegate"
    )]
    delegate_token_file: Option<PathBuf>,

    /// Name that its certificate must carry, when that is not HOST
    #[arg(
        long,
        env = "TAFFRAIL_DELEGATE_SERVER_NAME",
        value_name = "NAME",
        requires = "delegate",
        value_parser = server_name
    )]
    delegate_server_name: Option<ServerName<'static>>,
}

/// A delegate, resolved.
#[derive(Clone, Debug)]
pub struct DelegateSpec {
    /// Where it is.
    pub url: DelegateUrl,
    /// PEM certificates of the authorities to trust; the machine's when absent.
    pub ca_file: Option<PathBuf>,
    /// The token to send; none is sent when absent.
    pub token_file: Option<PathBuf>,
    /// The name its certificate must carry; the host's when absent.
    pub server_name: Option<ServerName<'static>>,
}

/// `https://HOST[:PORT]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DelegateUrl(Authority);

/// What is wrong with such an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be https://HOST or https://HOST:PORT, without a path or credentials")]
pub struct BadUrl;

impl DelegateArgs {
    /// The delegate, if there is one.
    pub fn resolve(self) -> Option<DelegateSpec> {
        let pod_token = || {
            let path = Path::new(POD_TOKEN_FILE);
            path.exists().then(|| path.to_owned())
        };
        Some(DelegateSpec {
            url: self.delegate?,
            ca_file: self.delegate_ca_file,
            token_file: self.delegate_token_file.or_else(pod_token),
            server_name: self.delegate_server_name,
        })
    }
}

impl DelegateUrl {
    /// Host and port.
    pub(super) fn authority(&self) -> &Authority {
        &self.0
    }
}

impl FromStr for DelegateUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let parts = text.parse::<Uri>().map_err(|_| BadUrl)?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(BadUrl);
        };
        let has_path = parts.path_and_query.is_some_and(|path| path != "/");
        let has_port = authority.as_str() != authority.host();
        let is_sound = scheme == Scheme::HTTPS
            && !has_path
            && !authority.host().is_empty()
            && !authority.as_str().contains('@')
            && (!has_port || authority.port_u16().is_some());
        is_sound.then_some(Self(authority)).ok_or(BadUrl)
    }
}

impl fmt::Display for DelegateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.0)
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delegate_is_a_host_with_or_without_a_port_over_https() {
        for (text, shown) in [
            ("https://keda.keda.svc", "https://keda.keda.svc"),
            ("https://keda.keda.svc:443/", "https://keda.keda.svc:443"),
            ("HTTPS://10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("https://[::1]:6443", "https://[::1]:6443"),
        ] {
            assert_eq!(text.parse::<DelegateUrl>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "keda.keda.svc:443",
            "http://keda.keda.svc",
            "https://keda.keda.svc/apis",
            "https://keda.keda.svc/?x",
            "https://user:hush@keda.keda.svc",
            "https://keda.keda.svc:99999",
            "https://keda.keda.svc:",
        ] {
            assert_eq!(text.parse::<DelegateUrl>(), Err(BadUrl), "{text}");
        }
    }
}
