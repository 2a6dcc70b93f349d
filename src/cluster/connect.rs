//! The way to the API server: from a pod by its service account, from elsewhere by a kubeconfig. Whether the API server
//! answers is not asked here; whoever uses the client hears of it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{Config, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use tokio::net::lookup_host;

/// A local API server answers a connection in milliseconds; one that does not in this time is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests are small.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The API server ends each watch after this, and it is begun anew where it was: a connection that died without a word
/// is noticed five seconds later. 500 watches make eight requests a second of it.
pub const WATCH_SECONDS: u32 = 60;

/// How long an answer may say nothing: a quiet watch, its end, and time to spare. A list, or a request for a watch, that
/// goes out on a connection whose other end is gone would else hang until TCP gives it up, a quarter of an hour later.
const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);

/// How long to wait for the name of the API server.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster that can be talked to.
#[derive(Clone)]
pub struct Cluster {
    /// Talks to its API server.
    pub client: kube::Client,
    /// Our own namespace: that of the pod, or of the kubeconfig's context.
    pub namespace: String,
    /// Where the API server listens, as far as names tell.
    pub api_server: Vec<SocketAddr>,
}

/// Why there is no way to the API server. What is behind it is part of each message, and so no source, which would be
/// printed once more.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No kubeconfig was named, and this is no pod.
    #[error(
        "this is no pod of a cluster, or one without a service account's token; name a kubeconfig with --kubeconfig ({0})"
    )]
    NoCluster(InClusterError),
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {}: {error}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: Box<KubeconfigError>,
    },
    /// No client can be made of it.
    #[error("the credentials or the authority of the cluster cannot be used: {0}")]
    Client(Box<kube::Error>),
    /// The API server's name has no address.
    #[error("the API server's name {host} cannot be resolved: {error}; check the cluster's DNS")]
    Unresolved {
        /// The name.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
}

/// Finds the cluster: that of `kubeconfig`, or the one this is a pod of.
///
/// # Errors
/// What is missing, and what to do about it.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Cluster, ConnectError> {
    // Where another provider is installed already, as by a test, it serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = match kubeconfig {
        Some(path) => from_file(path).await?,
        None => Config::incluster().map_err(ConnectError::NoCluster)?,
    };
    finish(config).await
}

async fn finish(mut config: Config) -> Result<Cluster, ConnectError> {
    set_timeouts(&mut config);
    let api_server = addresses(&config).await?;
    let namespace = config.default_namespace.clone();
    let client =
        kube::Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))?;
    Ok(Cluster {
        client,
        namespace,
        api_server,
    })
}

/// Finds the cluster for somebody at a terminal: that of `kubeconfig` or of `context` where one is given, else the one this
/// is a pod of, else that of `$KUBECONFIG` or of `~/.kube/config`.
///
/// # Errors
/// As of [`connect`].
pub async fn connect_as_user(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Cluster, ConnectError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let is_named = kubeconfig.is_some() || context.is_some();
    let mut config = match Config::incluster() {
        Ok(config) if !is_named => config,
        _ => from_user(kubeconfig, context).await?,
    };
    // The HPA reads a metric once and takes a 503 for an answer: a second try would hide it.
    config.default_retry = false;
    finish(config).await
}

fn set_timeouts(config: &mut Config) {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // What a connection was idle before a request is not the fault of its answer.
    config.reset_reader_on_write = true;
}

async fn from_file(path: &Path) -> Result<Config, ConnectError> {
    from_user(Some(path), None).await
}

async fn from_user(path: Option<&Path>, context: Option<&str>) -> Result<Config, ConnectError> {
    let failed = |error| ConnectError::Kubeconfig {
        path: path
            .unwrap_or(Path::new("$KUBECONFIG or ~/.kube/config"))
            .to_owned(),
        error: Box::new(error),
    };
    let file = path.map_or_else(Kubeconfig::read, Kubeconfig::read_from);
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    Config::from_custom_kubeconfig(file.map_err(failed)?, &options)
        .await
        .map_err(failed)
}

async fn addresses(config: &Config) -> Result<Vec<SocketAddr>, ConnectError> {
    let url = &config.cluster_url;
    let host = url.host().unwrap_or_default();
    let default_port = if url.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let looked_up = tokio::time::timeout(
        RESOLVE_TIMEOUT,
        lookup_host((bare, url.port_u16().unwrap_or(default_port))),
    );
    let unresolved = |error| ConnectError::Unresolved {
        host: host.to_owned(),
        error,
    };
    match looked_up.await {
        Ok(found) => found.map(Iterator::collect).map_err(unresolved),
        Err(_) => Err(unresolved(io::ErrorKind::TimedOut.into())),
    }
}

/// The client holds credentials.
impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("namespace", &self.namespace)
            .field("api_server", &self.api_server)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = r#"
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443"}}]
contexts: [{name: x, context: {cluster: c, user: u, namespace: monitoring}}]
current-context: x
users: [{name: u, user: {token: hush}}]
"#;

    #[tokio::test]
    async fn a_context_can_be_chosen_and_one_that_is_not_there_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), KUBECONFIG).unwrap();
        let cluster = connect_as_user(Some(file.path()), Some("x")).await.unwrap();
        assert_eq!(cluster.namespace, "monitoring");
        let error = connect_as_user(Some(file.path()), Some("other"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("other"), "{error}");
    }

    #[tokio::test]
    async fn a_kubeconfig_gives_the_namespace_and_the_api_servers_address() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), KUBECONFIG).unwrap();
        let cluster = connect(Some(file.path())).await.unwrap();
        assert_eq!(cluster.namespace, "monitoring");
        assert_eq!(cluster.api_server, ["127.0.0.1:6443".parse().unwrap()]);
        assert!(!format!("{cluster:?}").contains("hush"));
    }

    /// Accepts connections, reads what comes, and never says a word.
    async fn mute() -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        address
    }

    #[tokio::test]
    async fn a_request_to_a_server_that_is_gone_without_a_word_ends() {
        let url = format!("http://{}", mute().await);
        let mut config = Config::new(url.parse().unwrap());
        set_timeouts(&mut config);
        let silent = config.read_timeout.unwrap();
        assert!(
            Duration::from_secs(WATCH_SECONDS.into()) < silent,
            "a quiet watch lives"
        );
        config.read_timeout = Some(silent / 300);
        let client = kube::Client::try_from(config).unwrap();
        let asked = tokio::time::timeout(Duration::from_secs(20), client.apiserver_version());
        assert!(asked.await.expect("it ends by itself").is_err());
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let error = connect(Some(Path::new("no/such/file"))).await.unwrap_err();
        assert!(error.to_string().contains("no/such/file"), "{error}");
        // These tests run in no pod.
        let error = connect(None).await.unwrap_err();
        assert!(error.to_string().contains("--kubeconfig"), "{error}");
    }
}
