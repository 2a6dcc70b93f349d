//! The way to the API server: a kubeconfig where one is named, else the service account of the pod this runs in, else the
//! user's own kubeconfig. Whether the API server answers is not asked here; whoever uses the client hears of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

/// An API server answers a connection in milliseconds; one that does not in this time is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests are small.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may say nothing: longer than the longest quiet watch. Every single request has its own, shorter one.
const READ_TIMEOUT: Duration = Duration::from_secs(75);

/// Why there is no way to the API server. What is behind it is part of each message, and so no source, which would be
/// printed once more.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A kubeconfig cannot be used.
    #[error("kubeconfig {}: {error}", path.as_deref().unwrap_or(Path::new("$KUBECONFIG or ~/.kube/config")).display())]
    Kubeconfig {
        /// The file; `None` for the user's own.
        path: Option<PathBuf>,
        /// What is wrong with it.
        error: Box<KubeconfigError>,
    },
    /// No client can be made of it.
    #[error("the credentials or the authority of the cluster cannot be used: {0}")]
    Client(Box<kube::Error>),
}

/// Finds the cluster: that of `kubeconfig` or of `context` where one is given, else the one that this is a pod of, else
/// that of the user's own kubeconfig.
///
/// # Errors
/// When a kubeconfig is missing or has no such context, or when its credentials cannot be used.
pub async fn connect(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Client, ConnectError> {
    // Where another provider is installed already, as by a test, it serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let is_named = kubeconfig.is_some() || context.is_some();
    let mut config = match Config::incluster() {
        Ok(config) if !is_named => config,
        _ => from_file(kubeconfig, context).await?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // What a connection was idle before a request is not the fault of its answer.
    config.reset_reader_on_write = true;
    // The HPA reads a metric once and takes a 503 for an answer; a client that tries again would hide it.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))
}

async fn from_file(path: Option<&Path>, context: Option<&str>) -> Result<Config, ConnectError> {
    let failed = |error| ConnectError::Kubeconfig {
        path: path.map(Path::to_owned),
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

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = r#"
apiVersion: v1
kind: Config
clusters:
- {name: c, cluster: {server: "https://127.0.0.1:6443"}}
contexts:
- {name: x, context: {cluster: c, user: u, namespace: shop}}
- {name: y, context: {cluster: c, user: u, namespace: stage}}
current-context: x
users: [{name: u, user: {token: hush}}]
"#;

    #[tokio::test]
    async fn a_context_of_a_kubeconfig_can_be_chosen() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), KUBECONFIG).unwrap();
        for (context, namespace) in [(None, "shop"), (Some("y"), "stage")] {
            let client = connect(Some(file.path()), context).await.unwrap();
            assert_eq!(client.default_namespace(), namespace);
        }
        let error = connect(Some(file.path()), Some("z")).await.err().unwrap();
        let said = error.to_string();
        assert!(said.contains("z") && !said.contains("hush"), "{said}");
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let error = connect(Some(Path::new("no/such/file")), None)
            .await
            .err()
            .unwrap();
        assert!(error.to_string().contains("no/such/file"), "{error}");
    }
}
