//! kubectl and kubeconfig files: the cluster as one of its users sees it, with that user's certificate.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::config::{KubeConfigOptions, Kubeconfig as KubeKubeconfig};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::control_plane::API_PORT;
use super::pki::{Identity, Pki};
use super::sandbox::NODE_ADDRESS;

/// A kubeconfig file's content: the cluster, and who one is in it.
#[derive(Debug, Clone)]
pub(crate) struct Kubeconfig(Value);

impl Kubeconfig {
    /// For whoever `identity` names.
    pub(crate) fn new(pki: &Pki, identity: &Identity) -> Self {
        Self(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://{NODE_ADDRESS}:{API_PORT}"),
                "certificate-authority-data": BASE64.encode(pki.cluster.pem()),
            }}],
            "users": [{"name": "test", "user": {
                "client-certificate-data": BASE64.encode(&identity.certificate),
                "client-key-data": BASE64.encode(&identity.key),
            }}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }))
    }

    /// As a file has it; JSON is YAML.
    pub(crate) fn to_text(&self) -> String {
        self.0.to_string()
    }

    /// A client of the same user.
    pub(crate) async fn client(&self) -> anyhow::Result<kube::Client> {
        let kubeconfig: KubeKubeconfig =
            serde_json::from_value(self.0.clone()).context("reading a kubeconfig")?;
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(kube::Client::try_from(config)?)
    }
}

/// kubectl, or a program that is called alike, as one user.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

/// What kubectl said.
#[derive(Debug)]
pub(crate) struct Output {
    /// Whether it ended with 0.
    pub(crate) success: bool,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Kubectl {
    /// kubectl of `bin_dir` with the kubeconfig written to the file `kubeconfig`.
    pub(crate) fn new(
        bin_dir: &Path,
        kubeconfig: PathBuf,
        content: &Kubeconfig,
    ) -> anyhow::Result<Self> {
        std::fs::write(&kubeconfig, content.to_text()).context("writing a kubeconfig")?;
        Ok(Self {
            program: bin_dir.join("kubectl"),
            kubeconfig,
        })
    }

    /// Helm, as the same user.
    pub(crate) fn helm(&self) -> Self {
        Self {
            program: self.program.with_file_name("helm"),
            kubeconfig: self.kubeconfig.clone(),
        }
    }

    /// The program itself, beside which helm is.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The file with its kubeconfig.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs it, whatever comes of it.
    pub(crate) async fn try_run<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<Output> {
        self.with_input(args, "").await
    }

    /// Runs it and gives its standard output; an error with its standard error when it fails.
    pub(crate) async fn run<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<String> {
        self.try_run(args).await?.successful()
    }

    /// Applies YAML or JSON, in `namespace` where the objects name none.
    pub(crate) async fn apply(&self, namespace: &str, manifest: &str) -> anyhow::Result<String> {
        let args = ["apply", "--namespace", namespace, "--filename", "-"];
        loop {
            let output = self.with_input(args, manifest).await?;
            // It looks first and creates then; in between another test may have created the same.
            if output.success || !output.stderr.contains("(AlreadyExists)") {
                return output.successful();
            }
        }
    }

    /// As [`Self::try_run`], with this on its standard input.
    pub(crate) async fn try_run_with<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &str,
    ) -> anyhow::Result<Output> {
        self.with_input(args, input).await
    }

    /// As [`Self::run`], with this on its standard input.
    pub(crate) async fn run_with<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &str,
    ) -> anyhow::Result<String> {
        self.with_input(args, input).await?.successful()
    }

    async fn with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &str,
    ) -> anyhow::Result<Output> {
        let mut child = Command::new(&self.program)
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(args)
            // Its cache of what the API server has would hide what changed a moment ago.
            .env("KUBECACHEDIR", self.kubeconfig.with_extension("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let mut stdin = child.stdin.take().context("kubectl has no input")?;
        // It may end without reading all; what it says then is what matters.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.context("running kubectl")?;
        Ok(Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Output {
    fn successful(self) -> anyhow::Result<String> {
        if !self.success {
            anyhow::bail!("it failed: {}{}", self.stderr, self.stdout);
        }
        Ok(self.stdout)
    }
}
