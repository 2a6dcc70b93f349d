//! The pages as a reader follows them, from an empty cluster to an empty cluster: every block that says `sh cluster`, as
//! it stands, in a shell whose kubectl, helm and taffrail see the control plane of these tests. On the way every object
//! that a page shows is given to its API server. `tests/it/documents.rs` says how blocks are marked.

#[expect(
    dead_code,
    reason = "what links and names are checked with is used where no cluster is needed"
)]
#[path = "../it/documents/page.rs"]
mod page;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;

use self::page::{Block, Page};
use crate::harness::{Cluster, Table, table};
use crate::uninstall;

/// Sections in the order in which they are followed; without sections, a whole page.
const JOURNEY: &[(&str, &[&str])] = &[
    (
        "README.md",
        &["In a cluster, in five minutes", "The first HPA"],
    ),
    ("deploy/docs/tuning.md", &[]),
    ("deploy/docs/tenancy.md", &[]),
    ("deploy/docs/certificates.md", &[]),
    ("deploy/docs/coexistence.md", &[]),
    // And once more from the beginning, as the page for platform teams has it.
    ("README.md", &["Uninstall"]),
    ("deploy/docs/install.md", &[]),
    ("deploy/docs/uninstall.md", &[]),
];

/// The namespace that the pages put the service into.
const SHOP: &str = "shop";

/// A page's commands wait for minutes at most, and say so themselves.
const BLOCK_TIME_MAX: Duration = Duration::from_secs(200);

/// What comes before a block's commands. Rights are known to an API server, and an HPA's state to everybody, a moment after
/// they have changed: who is told too early looks again.
const BEFORE: &str = r#"set -euo pipefail
again() {
  local looks=60
  until command "$@"; do
    looks=$((looks - 1))
    [ $looks -gt 0 ] || return 1
    sleep 1
  done
}
kubectl() { case $1 in auth) again kubectl "$@" ;; *) command kubectl "$@" ;; esac; }
taffrail() { case $1 in lint | explain) again taffrail "$@" ;; *) command taffrail "$@" ;; esac; }
"#;

/// What a page's folder has of a clone of the repository.
const CLONED: &[&str] = &["deploy", "dashboards"];

pub(crate) fn tests() -> Table {
    table!("documents";; alone:
        the_pages_lead_from_an_empty_cluster_to_an_empty_cluster,
    )
}

async fn the_pages_lead_from_an_empty_cluster_to_an_empty_cluster(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    every_block_is_on_the_way()?;
    uninstall::removed(cluster).await?;
    let result = follow(cluster).await;
    // Whatever became of it, others find the cluster as they left it.
    let shop = [
        "delete",
        "namespace",
        SHOP,
        "--ignore-not-found",
        "--timeout=100s",
    ];
    let kubectl = cluster.kubectl();
    let deleted = kubectl.run(shop).await;
    result?;
    deleted.context("the service's namespace is held up")?;
    uninstall::nothing_is_left(cluster).await
}

/// That no block which says that it is run here is forgotten.
fn every_block_is_on_the_way() -> anyhow::Result<()> {
    for page in page::documented() {
        for block in page.blocks().iter().filter(|block| is_for_here(block)) {
            let is_there = JOURNEY.iter().any(|(path, sections)| {
                *path == page.path && (sections.is_empty() || sections.contains(&&*block.heading))
            });
            ensure!(
                is_there,
                "{}:{} is not in the journey",
                page.path,
                block.line
            );
        }
    }
    Ok(())
}

fn is_for_here(block: &Block) -> bool {
    block.is("sh", &["cluster"])
}

async fn follow(cluster: &Cluster) -> anyhow::Result<()> {
    for (step, (path, sections)) in JOURNEY.iter().enumerate() {
        let page = Page::read(path);
        let folder = tempfile::tempdir().context("making a directory")?;
        prepare(&page, folder.path()).await?;
        let mut blocks = page.blocks();
        blocks.retain(|block| {
            is_for_here(block) && (sections.is_empty() || sections.contains(&&*block.heading))
        });
        ensure!(!blocks.is_empty(), "{path} has nothing to run");
        for block in blocks {
            let at = format!("{path}:{}", block.line);
            let run = run(cluster, &block.text, folder.path());
            run.await.with_context(|| at)?;
        }
        if step == 0 {
            every_object_is_taken(cluster).await?;
        }
    }
    Ok(())
}

/// What the page's commands find in their folder: a clone, and the files that the page shows.
async fn prepare(page: &Page, folder: &Path) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let there = CLONED.iter().filter(|path| root.join(path).exists());
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--parents"])
        .args(there)
        .arg(folder)
        .current_dir(root);
    let output = copy.output().await.context("copying")?;
    ensure!(output.status.success(), "{output:?}");
    for block in page.blocks() {
        if let Some(file) = block.file() {
            let file = folder.join(file);
            let parent = file.parent().context("a file without a folder")?;
            std::fs::create_dir_all(parent).context("making a folder")?;
            std::fs::write(file, &block.text).context("writing a file")?;
        }
    }
    Ok(())
}

/// Runs a block's lines until one fails, and says which.
async fn run(cluster: &Cluster, script: &str, folder: &Path) -> anyhow::Result<()> {
    let kubectl = cluster.kubectl();
    let programs = Path::new(env!("CARGO_BIN_EXE_taffrail")).parent();
    let tools = kubectl.program().parent();
    let (Some(programs), Some(tools)) = (programs, tools) else {
        anyhow::bail!("programs without a folder");
    };
    let script = format!(
        "{BEFORE}export PATH={}:{}:$PATH\nset -x\n{script}",
        programs.display(),
        tools.display()
    );
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &script])
        .current_dir(folder)
        .env("HOME", folder)
        .env("KUBECONFIG", kubectl.kubeconfig())
        .kill_on_drop(true);
    let output = tokio::time::timeout(BLOCK_TIME_MAX, shell.output());
    let output = output.await.context("not done in time")??;
    ensure!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Gives every object of every page to the API server, which checks it and keeps nothing; and that it no longer knows the
/// version that the page on migration calls dead.
async fn every_object_is_taken(cluster: &Cluster) -> anyhow::Result<()> {
    let apply = [
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "--namespace",
        SHOP,
        "--filename=-",
    ];
    let kubectl = cluster.kubectl();
    let (mut taken, mut dead) = (0, 0);
    for page in page::documented() {
        for block in page.blocks() {
            let at = format!("{}:{}", page.path, block.line);
            if is_whole(&block) {
                taken += 1;
                let said = kubectl.run_with(apply, &block.text);
                said.await.with_context(|| at)?;
            } else if block.text.contains("apiVersion: autoscaling/v2beta1") {
                dead += 1;
                let refused = kubectl.run_with(apply, &block.text).await;
                let said = refused.err().with_context(|| at)?.to_string();
                ensure!(said.contains("no matches for kind"), "{said}");
            }
        }
    }
    ensure!(10 < taken && dead == 1, "{taken} taken, {dead} refused");
    Ok(())
}

/// Whether a block is of objects of Kubernetes, and not a part of one or something else's.
fn is_whole(block: &Block) -> bool {
    let is_meant = block.is("yaml", &[]) || block.language == "yaml" && block.file().is_some();
    let is_elsewhere =
        block.text.contains("namespace: internal") || block.text.contains("kind: Kustomization");
    is_meant
        && !is_elsewhere
        && block.text.starts_with("apiVersion: ")
        && !block.text.starts_with("apiVersion: loadtest/")
}
