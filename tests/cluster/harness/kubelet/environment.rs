//! What a container is started with: its program, arguments and environment, with references to the pod's fields, to
//! Secrets and to ConfigMaps resolved, and `$(NAME)` expanded as Kubernetes does.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::{Api, ResourceExt};

use super::Node;
use crate::harness::control_plane::API_PORT;
use crate::harness::sandbox::NODE_ADDRESS;

/// The images that there are, each a program of this workspace.
const IMAGES: &[&str] = &["taffrail", "taffrail-sample-app", "taffrail-loadtest"];

/// Images of others, whose containers say by `command` which of this machine's programs they run.
const FOREIGN_IMAGES: &[&str] = &["redis"];

/// Program, arguments and environment, ready to start.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
}

/// Resolves all that a container's spec refers to. An error is shown in the pod's status, and tried again.
pub(super) async fn resolve(
    node: &Node,
    pod: &Pod,
    container: &Container,
    address: Ipv4Addr,
) -> anyhow::Result<Start> {
    let environment = environment(node, pod, container, address).await?;
    let expanded = |args: &Option<Vec<String>>| -> Vec<String> {
        let args = args.iter().flatten();
        args.map(|arg| expand(arg, &environment)).collect()
    };
    let image = program(container.image.as_deref().unwrap_or_default())?;
    let mut args = expanded(&container.command);
    args.extend(expanded(&container.args));
    let mut program = node.programs_dir.join(image);
    if container
        .command
        .as_ref()
        .is_some_and(|command| !command.is_empty())
    {
        let command = args.remove(0);
        let name = command.rsplit('/').next().unwrap_or_default();
        // An image's own program lies elsewhere here than in the image.
        program = match IMAGES.contains(&name) {
            true => node.programs_dir.join(name),
            false => PathBuf::from(command),
        };
    }
    if program.is_absolute() && !program.exists() {
        bail!(
            "{} is not there; cargo build --workspace --bins builds it",
            program.display()
        );
    }
    Ok(Start {
        program,
        args,
        environment,
    })
}

/// The program of an image: the last part of its name, without tag and digest.
fn program(image: &str) -> anyhow::Result<&str> {
    let name = image.split('@').next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    if !IMAGES.contains(&name) && !FOREIGN_IMAGES.contains(&name) {
        bail!("the node has no image {image:?}, only {IMAGES:?}");
    }
    Ok(name)
}

async fn environment(
    node: &Node,
    pod: &Pod,
    container: &Container,
    address: Ipv4Addr,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut environment = BTreeMap::from([
        ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("HOSTNAME".to_owned(), pod.name_any()),
        (
            "KUBERNETES_SERVICE_HOST".to_owned(),
            NODE_ADDRESS.to_owned(),
        ),
        ("KUBERNETES_SERVICE_PORT".to_owned(), API_PORT.to_string()),
        // Pods have one loopback address here, at which only one of them could listen.
        (
            "TAFFRAIL_METRICS_LISTEN".to_owned(),
            format!("{address}:9464"),
        ),
    ]);
    if container
        .env_from
        .as_ref()
        .is_some_and(|from| !from.is_empty())
    {
        bail!("the node does not know envFrom");
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand(value, &environment)),
            (None, Some(source)) => referred(node, pod, source, address)
                .await
                .with_context(|| format!("environment variable {}", variable.name))?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            environment.insert(variable.name.clone(), value);
        }
    }
    Ok(environment)
}

/// `None` for what is optional and not there.
async fn referred(
    node: &Node,
    pod: &Pod,
    source: &EnvVarSource,
    address: Ipv4Addr,
) -> anyhow::Result<Option<String>> {
    let namespace = pod.namespace().unwrap_or_default();
    if let Some(field) = &source.field_ref {
        return field_of(pod, &field.field_path, address).map(Some);
    }
    let (value, optional, what) = if let Some(wanted) = &source.secret_key_ref {
        let secrets = Api::<Secret>::namespaced(node.client.clone(), &namespace);
        let data = secrets
            .get_opt(&wanted.name)
            .await?
            .and_then(|secret| secret.data);
        let value = data.and_then(|mut data| data.remove(&wanted.key));
        let value = value.map(|value| String::from_utf8_lossy(&value.0).into_owned());
        (
            value,
            wanted.optional,
            format!("key {} of secret {}", wanted.key, wanted.name),
        )
    } else if let Some(wanted) = &source.config_map_key_ref {
        let maps = Api::<ConfigMap>::namespaced(node.client.clone(), &namespace);
        let data = maps.get_opt(&wanted.name).await?.and_then(|map| map.data);
        let value = data.and_then(|mut data| data.remove(&wanted.key));
        (
            value,
            wanted.optional,
            format!("key {} of config map {}", wanted.key, wanted.name),
        )
    } else {
        bail!("the node knows fieldRef, secretKeyRef and configMapKeyRef only");
    };
    match value {
        None if optional != Some(true) => bail!("{what} is not there"),
        value => Ok(value),
    }
}

/// A field of the pod, as the downward API names it.
pub(super) fn field_of(pod: &Pod, path: &str, address: Ipv4Addr) -> anyhow::Result<String> {
    let keyed = |prefix: &str, of: &BTreeMap<String, String>| {
        let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
        Some(of.get(key).cloned().unwrap_or_default())
    };
    let value = match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "spec.nodeName" => super::NODE_NAME.to_owned(),
        "spec.serviceAccountName" => {
            let account = pod
                .spec
                .as_ref()
                .and_then(|spec| spec.service_account_name.clone());
            account.unwrap_or_default()
        }
        "status.podIP" | "status.podIPs" => address.to_string(),
        "status.hostIP" => NODE_ADDRESS.to_owned(),
        _ => keyed("metadata.labels['", pod.labels())
            .or_else(|| keyed("metadata.annotations['", pod.annotations()))
            .with_context(|| format!("the node does not know the field {path}"))?,
    };
    Ok(value)
}

/// `$(NAME)` becomes the variable's value, `$$` a dollar sign; a name that there is not stays as it is.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let reference = after
            .strip_prefix('(')
            .and_then(|after| after.split_once(')'));
        rest = match reference {
            Some((name, after)) => {
                match environment.get(name) {
                    Some(value) => expanded.push_str(value),
                    None => expanded.push_str(&format!("$({name})")),
                }
                after
            }
            None => {
                expanded.push('$');
                after.strip_prefix('$').unwrap_or(after)
            }
        };
    }
    expanded.push_str(rest);
    expanded
}
