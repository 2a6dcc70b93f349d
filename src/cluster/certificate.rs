//! The authority and serving certificate that replicas share in one Secret, so that API servers need to trust one
//! authority however many replicas there are.
//!
//! Every replica reads the Secret each minute and serves what it finds; whichever sees first that something is due
//! makes it, and the first to write wins, since a write is refused once the Secret has changed. What to do is decided
//! in `decide` from the Secret and the time, and the time is the API server's: it is the one that judges
//! certificates, so a replica whose clock is wrong neither replaces good ones nor makes bad ones. The Secret is never
//! created here: the manifests create it empty, and rights on its one name are enough.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::GroupVersion;
use crate::api::tls::{ServingCert, TlsError};
use crate::clock;
use crate::metrics::Metrics;
use crate::model::time::Timestamp;

use super::api_service::{Follower, Seen, Standing};
use super::request::{RequestError, within_deadline};

mod content;
mod decide;
mod issue;
mod store;

use content::Shared;
use decide::{Decision, Why, decide};
use store::Store;

/// How often the Secret is read. Kubelets refresh mounted Secrets about as often, and Kubernetes' own servers promise
/// a new certificate within a minute.
const INTERVAL: Duration = Duration::from_secs(60);

/// How soon after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How often in a row somebody else may write first. One replica always succeeds, so each turn is lost to another
/// replica, and what it wrote is then there to be served.
const CONFLICTS_MAX: u32 = 5;

/// How much one look can find due: an authority, a certificate, and both again when that authority was unsuitable.
const DECISIONS_MAX: u32 = 5;

/// Where the adapter stands in the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The adapter's own namespace.
    pub namespace: String,
    /// Its Service.
    pub service: String,
    /// The domain of the cluster's names, usually `cluster.local`.
    pub cluster_domain: String,
    /// The Secret that its replicas share, in the same namespace.
    pub secret: String,
}

/// Keeps the Secret, the APIServices' bundles and the certificate served in step.
#[derive(Debug)]
pub struct SelfManaged {
    store: Store,
    place: Place,
    names: Vec<String>,
    api_services: Vec<Follower>,
    metrics: Arc<Metrics>,
    /// The authority that the APIServices were seen to trust, and since when.
    trusted: Option<(CertificateDer<'static>, Instant)>,
    /// What was said to be wrong with the Secret.
    faults: Vec<String>,
    /// Whether the last write of a bundle failed.
    is_untold: bool,
    /// Whether the last write of the Secret failed.
    is_unwritten: bool,
    /// Whether the last round failed.
    is_broken: bool,
}

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The Secret is not there.
    #[error("there is no Secret {namespace}/{secret}; apply the manifests, which create it empty")]
    Absent {
        /// Its namespace.
        namespace: String,
        /// Its name.
        secret: String,
    },
    /// The Secret could not be read or written.
    #[error("cannot {verb} Secret {namespace}/{secret}: {error}")]
    Request {
        /// `get` or `update`, as RBAC calls it.
        verb: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        secret: String,
        /// Why.
        error: RequestError,
    },
    /// Others kept writing it.
    #[error("Secret {namespace}/{secret} was changed by others {CONFLICTS_MAX} times in a row")]
    Contended {
        /// Its namespace.
        namespace: String,
        /// Its name.
        secret: String,
    },
    /// An authority could not be made.
    #[error("cannot make an authority: {0}")]
    Authority(#[from] rcgen::Error),
    /// Not even an authority just made could issue a serving certificate.
    #[error("cannot make a serving certificate for {}", names.join(", "))]
    Leaf {
        /// For whom.
        names: Vec<String>,
    },
    /// What was found or made cannot be served.
    #[error(transparent)]
    Serve(#[from] TlsError),
}

/// What is served.
struct Pair {
    chain_pem: String,
    key_pem: String,
}

// === impl Place ===

impl Place {
    /// Every name under which the Service is reached; the aggregation layer asks for the one that ends in `.svc`.
    pub fn names(&self) -> Vec<String> {
        let (service, namespace) = (&self.service, &self.namespace);
        vec![
            service.clone(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.{}", self.cluster_domain),
        ]
    }
}

// === impl SelfManaged ===

impl SelfManaged {
    /// For the adapter at `place`, to which the APIServices of `served` lead. Needs `get` and `update` on the Secret,
    /// `get` and `patch` on the APIServices.
    pub fn new(
        client: &Client,
        place: Place,
        served: &[GroupVersion],
        metrics: Arc<Metrics>,
    ) -> Self {
        let follower = |one: &GroupVersion| {
            let (namespace, service) = (&place.namespace, &place.service);
            Follower::new(
                client.clone(),
                *one,
                namespace,
                service,
                Arc::clone(&metrics),
            )
        };
        Self {
            api_services: served.iter().map(follower).collect(),
            store: Store::new(client.clone(), &place.namespace, &place.secret),
            names: place.names(),
            place,
            metrics,
            trusted: None,
            faults: Vec::new(),
            is_untold: false,
            is_unwritten: false,
            is_broken: false,
        }
    }

    /// The certificate to begin with. Tries until there is one: without it no API server would listen.
    pub async fn start(&mut self) -> ServingCert {
        loop {
            let round = self.round().await;
            let cert = round.and_then(|pair| {
                let (chain, key) = (pair.chain_pem.as_bytes(), pair.key_pem.as_bytes());
                Ok(ServingCert::from_pem(chain, key)?)
            });
            match cert {
                Ok(cert) => {
                    self.is_broken = false;
                    self.tell(&cert);
                    return cert;
                }
                Err(error) => self.say(&error),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Keeps `cert` to what the Secret holds, until `stop`.
    pub async fn run(mut self, cert: Arc<ServingCert>, stop: CancellationToken) {
        let mut wait = INTERVAL;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let replaced = self.round().await.and_then(|pair| {
                let (chain, key) = (pair.chain_pem.as_bytes(), pair.key_pem.as_bytes());
                Ok(cert.replace(chain, key)?)
            });
            wait = match replaced {
                Ok(is_new) => {
                    if is_new || self.is_broken {
                        self.tell(&cert);
                    }
                    self.is_broken = false;
                    INTERVAL
                }
                Err(error) => {
                    self.say(&error);
                    RETRY
                }
            };
        }
    }

    fn tell(&self, cert: &ServingCert) {
        self.metrics.certificate_reloaded(true);
        self.metrics.certificate(cert.not_after());
        let not_after = jiff::Timestamp::from_millisecond(cert.not_after().ms());
        let not_after = not_after.ok().map(tracing::field::display);
        info!(secret = %self.place.secret, not_after, "Serving certificate loaded");
    }

    fn say(&mut self, error: &SharedError) {
        self.metrics.certificate_reloaded(false);
        if !self.is_broken {
            warn!(%error, "The certificate that replicas share could not be loaded; trying on");
        }
        self.is_broken = true;
    }

    /// One look at everything. APIServices are read before the Secret: one is patched only if it has not changed since,
    /// so a replica that was held up between the two cannot put an old bundle over a newer one. Where it has changed,
    /// as it does each time its availability does, everything is read again.
    async fn round(&mut self) -> Result<Pair, SharedError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut seen = Vec::with_capacity(self.api_services.len());
            for api_service in &mut self.api_services {
                seen.push(api_service.read().await);
            }
            let shared = self.agree(&seen).await?;
            let is_overtaken = self.trust(&seen, &shared.bundle()).await;
            if is_overtaken && tries < CONFLICTS_MAX {
                continue;
            }
            let leaf = shared.leaf.expect("agreed on only with a leaf");
            return Ok(Pair {
                chain_pem: leaf.certificate.pem(),
                key_pem: leaf.key_pem,
            });
        }
    }

    /// Returns whether an APIService changed since it was seen.
    async fn trust(&mut self, seen: &[Option<Seen>], bundle: &str) -> bool {
        let (mut is_overtaken, mut is_untold) = (false, false);
        for (api_service, seen) in self.api_services.iter().zip(seen) {
            let Some(seen) = seen else {
                continue;
            };
            match api_service.trust(seen, bundle).await {
                Ok(()) => {}
                Err(error) if error.is_conflict() => is_overtaken = true,
                Err(error) => {
                    if !self.is_untold {
                        warn!(
                            apiservice = api_service.name(),
                            %error,
                            "Cannot put the authority into the APIService's caBundle; API servers may refuse us"
                        );
                    }
                    is_untold = true;
                }
            }
        }
        self.is_untold = is_untold;
        is_overtaken
    }

    /// What the Secret holds, after whatever was due. It has a serving certificate.
    async fn agree(&mut self, seen: &[Option<Seen>]) -> Result<Shared, SharedError> {
        for _ in 0..CONFLICTS_MAX {
            let (mut secret, now) = self.read_secret().await?;
            let mut content = secret.data.take().unwrap_or_default();
            let mut shared = Shared::read(&content);
            self.say_faults(&shared);
            let trusted_for = self.trusted_for(&shared, seen);
            let done = settle(&mut shared, now, &self.names, trusted_for)?;
            if done.is_empty() {
                return Ok(shared);
            }
            let found = Shared::read(&content);
            // Whatever else somebody keeps in this Secret is not ours to remove.
            content.retain(|key, _| !content::KEYS.contains(&key.as_str()));
            content.extend(shared.write());
            secret.data = Some(content);
            match within_deadline(self.store.update(&secret)).await {
                Ok(()) => {
                    self.is_unwritten = false;
                    self.say_done(&done);
                    return Ok(shared);
                }
                Err(error) if error.is_conflict() => {}
                Err(error) if found.leaf.is_some() => {
                    self.say_unwritten(&self.failed("update", error));
                    return Ok(found);
                }
                Err(error) => return Err(self.failed("update", error)),
            }
        }
        Err(SharedError::Contended {
            namespace: self.place.namespace.clone(),
            secret: self.place.secret.clone(),
        })
    }

    /// How long every APIService of ours has trusted the newest authority, as far as was seen from here. One that could
    /// not be read may be ours.
    fn trusted_for(&mut self, shared: &Shared, seen: &[Option<Seen>]) -> Option<Duration> {
        let newest = &shared.authorities.first()?.der;
        if !is_trusted(newest, seen) {
            self.trusted = None;
            return None;
        }
        let now = clock::instant();
        let since = match &self.trusted {
            Some((known, since)) if known == newest => *since,
            _ => now,
        };
        self.trusted = Some((newest.clone(), since));
        Some(now.duration_since(since))
    }

    /// The Secret, and the API server's time.
    async fn read_secret(&self) -> Result<(Secret, Timestamp), SharedError> {
        match within_deadline(self.store.get()).await {
            Ok(read) => Ok(read),
            Err(error) if error.is_not_found() => Err(SharedError::Absent {
                namespace: self.place.namespace.clone(),
                secret: self.place.secret.clone(),
            }),
            Err(error) => Err(self.failed("get", error)),
        }
    }

    fn failed(&self, verb: &'static str, error: RequestError) -> SharedError {
        SharedError::Request {
            verb,
            namespace: self.place.namespace.clone(),
            secret: self.place.secret.clone(),
            error,
        }
    }

    /// What is there can be served for now, so this is no failure of the round.
    fn say_unwritten(&mut self, error: &SharedError) {
        self.metrics.certificate_reloaded(false);
        if !self.is_unwritten {
            warn!(%error, "A new certificate is due and cannot be kept; serving the one that is there");
        }
        self.is_unwritten = true;
    }

    fn say_faults(&mut self, shared: &Shared) {
        if self.faults == shared.faults {
            return;
        }
        for fault in &shared.faults {
            warn!(secret = %self.place.secret, %fault, "Something in the shared Secret cannot be used");
        }
        self.faults.clone_from(&shared.faults);
    }

    fn say_done(&self, done: &[Decision]) {
        let secret = &self.place.secret;
        for decision in done {
            match decision {
                Decision::Keep => {}
                Decision::ReplaceAuthority(why) => {
                    info!(%secret, %why, "Made a new authority for the serving certificate");
                }
                Decision::IssueLeaf(why, names) => {
                    info!(%secret, %why, ?names, "Made a new serving certificate");
                }
                Decision::DropAuthorities => {
                    info!(%secret, "Dropped authorities of which no certificate is left");
                }
            }
        }
    }
}

/// The key never prints.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// Whether every APIService of ours trusts an authority, and there is one. One that could not be read may be ours.
fn is_trusted(authority: &CertificateDer<'_>, seen: &[Option<Seen>]) -> bool {
    let trusts = |seen: &Seen| {
        let mut trusted = CertificateDer::pem_slice_iter(&seen.bundle).flatten();
        trusted.any(|trusted| trusted == *authority)
    };
    let is_ours = |seen: &&Seen| seen.standing == Standing::Ours;
    seen.iter().all(Option::is_some)
        && seen.iter().flatten().any(|seen| is_ours(&seen))
        && seen.iter().flatten().filter(is_ours).all(trusts)
}

/// Does everything that is due, and says what it was. An authority that cannot issue what is needed (one that somebody
/// put there for another purpose) is replaced as well.
fn settle(
    shared: &mut Shared,
    now: Timestamp,
    names: &[String],
    mut trusted_for: Option<Duration>,
) -> Result<Vec<Decision>, SharedError> {
    let mut done = Vec::new();
    let mut has_issued = false;
    for _ in 0..DECISIONS_MAX {
        let decision = match decide(shared, now, names, trusted_for) {
            Decision::Keep => return Ok(done),
            Decision::IssueLeaf(..) if has_issued => Decision::ReplaceAuthority(Why::Unsuitable),
            decision => decision,
        };
        match &decision {
            Decision::Keep => {}
            Decision::ReplaceAuthority(_) => {
                issue::replace_authority(shared, now)?;
                (trusted_for, has_issued) = (None, false);
            }
            Decision::IssueLeaf(_, names) => {
                has_issued = true;
                // Where the authority was the reason, the next turn replaces it.
                if issue::issue_leaf(shared, now, names.clone()).is_err() {
                    shared.leaf = None;
                }
            }
            Decision::DropAuthorities => shared.authorities.truncate(1),
        }
        done.push(decision);
    }
    let names = names.to_vec();
    Err(SharedError::Leaf { names })
}

#[cfg(test)]
mod tests;
