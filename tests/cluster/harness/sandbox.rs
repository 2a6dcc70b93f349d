//! The namespaces that a run lives in: users, network, mounts and processes of its own, so that nothing of the machine is
//! touched and nothing outlives the run. The binary starts itself again as the first process of the new namespaces; when
//! that one ends, for whatever reason, the kernel kills all others in it.
//!
//! The second copy's standard input is a pipe from the first, which never writes: its end says that the first is gone.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::Context;
use taffrail::clock;

use super::runner::Half;

/// Says to a second copy that it is one, and where the control plane's programs are.
const BIN_DIR: &str = "TAFFRAIL_CLUSTER_BIN_DIR";

/// Says to a second copy which tests are its own.
const HALF: &str = "TAFFRAIL_CLUSTER_HALF";

/// The addresses of the cluster. Loopback addresses would not do: the API server refuses them in EndpointSlices.
const NETWORK: &str = "10.200.0.0/16";

/// The node's own address: the API server's, and the source of connections that choose none. Without it a connection's
/// source would be its destination, and a connection to a port nobody listens on could meet itself.
pub(crate) const NODE_ADDRESS: &str = "10.200.0.1";

/// The ports that connections are made from: below those that anything here listens on for long, as on a real node.
const EPHEMERAL_PORTS: &str = "20000 29999";

/// Where the control plane's programs are, inside of the namespaces; `None` outside.
pub(crate) fn bin_dir() -> Option<PathBuf> {
    clock::env(BIN_DIR).map(PathBuf::from)
}

/// Which tests to run, inside of the namespaces; `None` outside.
pub(crate) fn half() -> Option<Half> {
    let word = clock::env(HALF)?;
    Half::ALL.into_iter().find(|half| half.word() == word)
}

/// Builds the control plane if it is missing, then runs this binary again for each half, inside of new namespaces. One after
/// the other: two cores keep the deadlines of one cluster's tests, and what scales on latency notices a second one.
pub(crate) fn enter(halves: &[Half]) -> anyhow::Result<ExitCode> {
    let bin_dir = control_plane_programs()?;
    check_pods_programs()?;
    let mut code = 0;
    for half in halves {
        let mut child = copy(&bin_dir, *half)?;
        // `wait` would close the pipe first, and with it end the run.
        let pipe = child.stdin.take();
        let status = child.wait().context("waiting for the tests")?;
        drop(pipe);
        let ended = status.code().and_then(|code| u8::try_from(code).ok());
        code = code.max(ended.unwrap_or(1));
    }
    Ok(ExitCode::from(code))
}

fn copy(bin_dir: &Path, half: Half) -> anyhow::Result<Child> {
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .args(["--pid", "--mount-proc", "--fork", "--kill-child"])
        .arg(std::env::current_exe().context("finding this binary")?)
        .args(std::env::args_os().skip(1))
        .env(BIN_DIR, bin_dir)
        .env(HALF, half.word())
        .stdin(Stdio::piped())
        .spawn()
        .context("starting unshare, of Debian's util-linux")
}

/// Prepares the namespaces, as their first process.
pub(crate) fn prepare() -> anyhow::Result<()> {
    run("ip", &["link", "set", "lo", "up"])?;
    run("ip", &["address", "add", NODE_ADDRESS, "dev", "lo"])?;
    run(
        "ip",
        &[
            "route",
            "add",
            "local",
            NETWORK,
            "dev",
            "lo",
            "src",
            NODE_ADDRESS,
        ],
    )?;
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", EPHEMERAL_PORTS)
        .context("choosing the ports of connections")
}

/// Calls `gone` when the first copy is gone. The thread ends with the process.
pub(crate) fn watch_parent(gone: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        gone();
    });
}

/// The directory that `tests/controlplane/build` prints, which it fills when it is empty.
fn control_plane_programs() -> anyhow::Result<PathBuf> {
    let build = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/controlplane/build");
    let output = Command::new(build)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {build}"))?;
    if !output.status.success() {
        anyhow::bail!("{build} failed: {}", output.status);
    }
    let printed = String::from_utf8(output.stdout).context("reading a directory's name")?;
    Ok(PathBuf::from(printed.trim()))
}

/// The sample app and the load generator belong to another package, whose programs cargo does not build for these tests.
/// Building them from here would do it with this test's environment, in which build scripts see a change each time.
fn check_pods_programs() -> anyhow::Result<()> {
    for name in ["taffrail-sample-app", "taffrail-loadtest"] {
        let program = programs_dir().join(name);
        if !program.exists() {
            anyhow::bail!(
                "{} is not there: run cargo build --workspace --bins first, as tests/run does",
                program.display()
            );
        }
    }
    Ok(())
}

/// Where cargo put our own program, and with it those of the pods.
pub(crate) fn programs_dir() -> PathBuf {
    let mut taffrail = PathBuf::from(env!("CARGO_BIN_EXE_taffrail"));
    taffrail.pop();
    taffrail
}

fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("running {program}: is it installed? (tests/run installs it)"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("{program} {}: {said}", args.join(" "));
    }
    Ok(())
}
