//! Probes: when one is due, how often it must fail, and one look. HTTP, HTTPS (unverified, as in a kubelet) and TCP.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

/// Where a probe looks.
#[derive(Debug, Clone)]
pub(super) struct Target<'a> {
    pub(super) address: Ipv4Addr,
    pub(super) container: &'a Container,
}

/// Looks again and again, and tells `verdict` whenever enough looks in a row agree; ends when it returns false.
pub(super) async fn watch(
    probe: &Probe,
    target: &Target<'_>,
    mut verdict: impl FnMut(anyhow::Result<()>) -> bool,
) {
    let seconds = |value: Option<i32>, default: u64| {
        let value = value.and_then(|value| u64::try_from(value).ok());
        Duration::from_secs(value.unwrap_or(default))
    };
    let timeout = seconds(probe.timeout_seconds, 1);
    tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let mut due =
        tokio::time::interval(seconds(probe.period_seconds, 10).max(Duration::from_secs(1)));
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut successes, mut failures) = (0, 0);
    loop {
        due.tick().await;
        let look = tokio::time::timeout(timeout, look(probe, target)).await;
        let look = look.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in {timeout:?}")));
        (successes, failures) = match look {
            Ok(()) => (successes + 1, 0),
            Err(_) => (0, failures + 1),
        };
        let enough = match look {
            Ok(()) => probe.success_threshold.unwrap_or(1) <= successes,
            Err(_) => probe.failure_threshold.unwrap_or(3) <= failures,
        };
        if enough && !verdict(look) {
            return;
        }
    }
}

async fn look(probe: &Probe, target: &Target<'_>) -> anyhow::Result<()> {
    if let Some(get) = &probe.http_get {
        return look_http(get, target).await;
    }
    let Some(tcp) = &probe.tcp_socket else {
        bail!("the node knows httpGet and tcpSocket probes only");
    };
    TcpStream::connect((target.address, port(&tcp.port, target.container)?)).await?;
    Ok(())
}

async fn look_http(get: &HTTPGetAction, target: &Target<'_>) -> anyhow::Result<()> {
    let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let port = port(&get.port, target.container)?;
    let path = get.path.as_deref().unwrap_or("/");
    // A new connection for each look, as a kubelet does.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .context("building a client")?;
    let mut request = client.get(format!("{scheme}://{}:{port}{path}", target.address));
    for header in get.http_headers.iter().flatten() {
        request = request.header(&header.name, &header.value);
    }
    let status = request.send().await?.status().as_u16();
    match status {
        200..400 => Ok(()),
        _ => bail!("status {status}"),
    }
}

fn port(port: &IntOrString, container: &Container) -> anyhow::Result<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let named = ports.filter(|port| port.name.as_ref() == Some(name));
            let number = named.map(|port| port.container_port).next();
            number.with_context(|| format!("the container has no port {name}"))?
        }
    };
    u16::try_from(number).context("reading a port")
}
