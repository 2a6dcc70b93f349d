//! What is wanted, from a file: read at the start, and again whenever it changes.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::clock;
use crate::config::Service;
use crate::config::reload::{ConfigFile, Reloaded};
use crate::metrics::Metrics;
use crate::source::reach::Reach;
use crate::source::secret::SecretStore;

use super::api::Front;
use super::{Ground, POLL, Tasks};

/// Reads the file, wants what it says, and goes on looking at it among `tasks`.
///
/// # Errors
/// When it cannot be read, or nothing in it is right.
pub(super) fn begin(
    path: &Path,
    desired: watch::Sender<Arc<Vec<Service>>>,
    metrics: &Arc<Metrics>,
    tasks: &mut Tasks,
) -> anyhow::Result<Ground> {
    let mut file = ConfigFile::new(path);
    let first = read_first(&mut file)?;
    note_reload(metrics, path, &first);
    desired.send_replace(Arc::new(first.services));
    let follow = follow_config(file, desired, Arc::clone(metrics));
    tasks.spawn("following the configuration", follow);
    Ok(Ground {
        front: Front::Machine,
        secrets: SecretStore::default(),
        reach: Reach::anywhere(),
    })
}

/// The first look at the configuration: a person is watching, so what is wrong ends the start if nothing is right.
fn read_first(file: &mut ConfigFile) -> anyhow::Result<Reloaded> {
    let path = file.path().to_owned();
    let read = file
        .poll()
        .with_context(|| format!("reading --config {}", path.display()))?;
    let reloaded = read.context("the first read of a file always brings something")?;
    if reloaded.services.is_empty() && !reloaded.problems.is_empty() {
        let problems: Vec<String> = reloaded.problems.iter().map(ToString::to_string).collect();
        anyhow::bail!("{}: {}", path.display(), problems.join("; "));
    }
    Ok(reloaded)
}

/// Looks at the configuration file for as long as the program runs.
async fn follow_config(
    mut file: ConfigFile,
    desired: watch::Sender<Arc<Vec<Service>>>,
    metrics: Arc<Metrics>,
) {
    let mut readable = true;
    loop {
        tokio::time::sleep(POLL).await;
        match file.poll() {
            Ok(None) => {
                if !readable {
                    info!(file = %file.path().display(), "The configuration can be read again, and has not changed");
                }
                readable = true;
            }
            Ok(Some(reloaded)) => {
                readable = true;
                note_reload(&metrics, file.path(), &reloaded);
                desired.send_replace(Arc::new(reloaded.services));
            }
            Err(error) if readable => {
                readable = false;
                metrics.reloaded(false, clock::now());
                error!(file = %file.path().display(), %error, "The configuration cannot be read; the last one stays in force.");
            }
            Err(_) => {}
        }
    }
}

fn note_reload(metrics: &Metrics, path: &Path, reloaded: &Reloaded) {
    metrics.reloaded(reloaded.problems.is_empty(), clock::now());
    for problem in &reloaded.problems {
        error!(file = %path.display(), %problem, "A document is wrong");
    }
    for kept in &reloaded.kept {
        warn!(service = %kept, "Its previous version stays in force");
    }
    info!(file = %path.display(), services = reloaded.services.len(), "Configuration loaded");
}
