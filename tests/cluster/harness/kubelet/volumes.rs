//! A pod's volumes, as directories that its containers get mounted: Secrets, ConfigMaps, fields of the pod, tokens of its
//! service account, and empty ones. Files are replaced all at once when their source changes, as a kubelet does it: each
//! name is a link through `..data`, and `..data` a link that is moved to a new directory.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccount,
    ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use kube::api::{Api, PostParams};
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::{Node, environment};

/// Path and content of each file of a volume.
type Files = BTreeMap<String, Vec<u8>>;

/// The volumes of one pod.
pub(super) struct Volumes {
    dir: PathBuf,
    address: Ipv4Addr,
    /// What was written last, by volume, and how often it was.
    written: BTreeMap<String, (usize, Files)>,
    /// Tokens are asked for once: they last longer than any test.
    tokens: BTreeMap<String, Vec<u8>>,
}

impl Volumes {
    /// None yet; their files will lie below `dir`.
    pub(super) fn new(dir: PathBuf, address: Ipv4Addr) -> Self {
        Self {
            dir,
            address,
            written: BTreeMap::new(),
            tokens: BTreeMap::new(),
        }
    }

    /// Where a container's mounts come from and go to.
    pub(super) fn mounts(&self, container: &Container) -> anyhow::Result<Vec<(PathBuf, String)>> {
        let mut mounts = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let path = &mount.mount_path;
            if mount.sub_path.is_some() || mount.sub_path_expr.is_some() {
                bail!("the node does not know subPath ({path})");
            }
            // Programs run on this machine's own files, in which no directory can be made.
            let own = ["/run/", "/var/run/", "/etc/"];
            if !own.iter().any(|own| path.starts_with(own)) && !Path::new(path).is_dir() {
                bail!("the node mounts below {own:?} or where a directory is, not at {path}");
            }
            mounts.push((self.dir.join(&mount.name), path.clone()));
        }
        Ok(mounts)
    }

    /// Writes the volumes whose sources have changed, all at first.
    pub(super) async fn refresh(&mut self, node: &Node, pod: &Pod) -> anyhow::Result<()> {
        for volume in pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten())
        {
            let files = self
                .files(node, pod, volume)
                .await
                .with_context(|| format!("volume {}", volume.name))?;
            let dir = self.dir.join(&volume.name);
            let Some(files) = files else {
                std::fs::create_dir_all(dir)?;
                continue;
            };
            let before = self.written.get(&volume.name);
            if before.is_some_and(|(_, before)| *before == files) {
                continue;
            }
            let version = before.map_or(0, |(version, _)| version + 1);
            write(&dir, version, &files)?;
            self.written.insert(volume.name.clone(), (version, files));
        }
        Ok(())
    }

    /// The files of a volume; `None` for one that is the pod's to fill.
    async fn files(
        &mut self,
        node: &Node,
        pod: &Pod,
        volume: &Volume,
    ) -> anyhow::Result<Option<Files>> {
        if volume.empty_dir.is_some() {
            return Ok(None);
        }
        let namespace = pod.namespace().unwrap_or_default();
        let files = if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            let optional = secret.optional == Some(true);
            chosen(
                secret_files(node, &namespace, name, optional).await?,
                secret.items.as_deref(),
            )?
        } else if let Some(map) = &volume.config_map {
            let optional = map.optional == Some(true);
            chosen(
                map_files(node, &namespace, &map.name, optional).await?,
                map.items.as_deref(),
            )?
        } else if let Some(fields) = &volume.downward_api {
            self.field_files(pod, fields.items.as_deref())?
        } else if let Some(projected) = &volume.projected {
            let mut files = Files::new();
            for source in projected.sources.iter().flatten() {
                files.extend(self.projected(node, pod, source).await?);
            }
            files
        } else {
            bail!("the node knows secret, configMap, downwardAPI, projected and emptyDir only");
        };
        Ok(Some(files))
    }

    async fn projected(
        &mut self,
        node: &Node,
        pod: &Pod,
        source: &VolumeProjection,
    ) -> anyhow::Result<Files> {
        let namespace = pod.namespace().unwrap_or_default();
        if let Some(token) = &source.service_account_token {
            let content = match self.tokens.get(&token.path) {
                Some(content) => content.clone(),
                None => request_token(node, pod, token).await?,
            };
            self.tokens.insert(token.path.clone(), content.clone());
            Ok(Files::from([(token.path.clone(), content)]))
        } else if let Some(map) = &source.config_map {
            let optional = map.optional == Some(true);
            chosen(
                map_files(node, &namespace, &map.name, optional).await?,
                map.items.as_deref(),
            )
        } else if let Some(secret) = &source.secret {
            let optional = secret.optional == Some(true);
            chosen(
                secret_files(node, &namespace, &secret.name, optional).await?,
                secret.items.as_deref(),
            )
        } else if let Some(fields) = &source.downward_api {
            self.field_files(pod, fields.items.as_deref())
        } else {
            bail!("the node knows no such projected source")
        }
    }

    fn field_files(
        &self,
        pod: &Pod,
        items: Option<&[DownwardAPIVolumeFile]>,
    ) -> anyhow::Result<Files> {
        let mut files = Files::new();
        for item in items.into_iter().flatten() {
            let field = item
                .field_ref
                .as_ref()
                .context("the node knows fieldRef only")?;
            let value = environment::field_of(pod, &field.field_path, self.address)?;
            files.insert(item.path.clone(), value.into_bytes());
        }
        Ok(files)
    }
}

async fn secret_files(
    node: &Node,
    namespace: &str,
    name: &str,
    optional: bool,
) -> anyhow::Result<Files> {
    let secrets = Api::<Secret>::namespaced(node.client.clone(), namespace);
    match secrets.get_opt(name).await? {
        None if !optional => bail!("secret {name} is not there"),
        secret => {
            let data = secret.and_then(|secret| secret.data).unwrap_or_default();
            Ok(data
                .into_iter()
                .map(|(key, value)| (key, value.0))
                .collect())
        }
    }
}

async fn map_files(
    node: &Node,
    namespace: &str,
    name: &str,
    optional: bool,
) -> anyhow::Result<Files> {
    let maps = Api::<ConfigMap>::namespaced(node.client.clone(), namespace);
    match maps.get_opt(name).await? {
        None if !optional => bail!("config map {name} is not there"),
        map => {
            let data = map.and_then(|map| map.data).unwrap_or_default();
            let files = data.into_iter();
            Ok(files
                .map(|(key, value)| (key, value.into_bytes()))
                .collect())
        }
    }
}

/// All files, or the chosen ones under the names that they are given.
fn chosen(mut files: Files, items: Option<&[KeyToPath]>) -> anyhow::Result<Files> {
    let Some(items) = items else {
        return Ok(files);
    };
    let mut chosen = Files::new();
    for item in items {
        let content = files.remove(&item.key);
        let content = content.with_context(|| format!("there is no key {}", item.key))?;
        chosen.insert(item.path.clone(), content);
    }
    Ok(chosen)
}

/// A token bound to the pod, which dies with it.
async fn request_token(
    node: &Node,
    pod: &Pod,
    token: &ServiceAccountTokenProjection,
) -> anyhow::Result<Vec<u8>> {
    let namespace = pod.namespace().unwrap_or_default();
    let accounts = Api::<ServiceAccount>::namespaced(node.client.clone(), &namespace);
    let account = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.service_account_name.as_deref());
    let audiences: Vec<&String> = token.audience.iter().collect();
    let request: TokenRequest = serde_json::from_value(json!({"spec": {
        "audiences": audiences,
        "expirationSeconds": token.expiration_seconds.unwrap_or(3600),
        "boundObjectRef": {
            "apiVersion": "v1",
            "kind": Pod::kind(&()),
            "name": pod.name_any(),
            "uid": pod.uid(),
        },
    }}))?;
    let account = account.unwrap_or("default");
    let granted = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await?;
    let token = granted.status.and_then(|status| status.token);
    let token = token.context("a token request without an answer")?;
    Ok(token.into_bytes())
}

fn write(dir: &Path, version: usize, files: &Files) -> anyhow::Result<()> {
    let name = format!("..{version}");
    let content = dir.join(&name);
    for (path, data) in files {
        let file = content.join(path);
        std::fs::create_dir_all(file.parent().unwrap_or(&content))?;
        std::fs::write(file, data)?;
    }
    std::fs::create_dir_all(&content)?;
    // Moved in one step: a reader sees all old files or all new ones.
    let moving = dir.join("..data_tmp");
    std::os::unix::fs::symlink(&name, &moving)?;
    std::fs::rename(&moving, dir.join("..data"))?;
    for path in files.keys() {
        let top = path.split('/').next().unwrap_or(path);
        let link = dir.join(top);
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(Path::new("..data").join(top), link)?;
        }
    }
    Ok(())
}
