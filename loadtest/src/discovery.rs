//! The backends of a target, as a list that changes while a run goes on: looked up once, looked up again every so often,
//! or the ready endpoints of a Service as its EndpointSlices tell them. A client that keeps its connections sees new pods
//! only if somebody tells it of them, and this is who does. It sends no request, and it opens a connection only to learn
//! whether the pods' network can be reached at all.

mod address;
mod endpoints;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use kube::Client;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use self::address::{Authority, look_up};
use crate::cluster::rights::Denied;
use crate::cluster::service::{NoEndpoints, service_of};
use crate::scenario::{Discovery, Span, Target};

pub use self::endpoints::follow as follow_endpoints;

/// How often names are looked up again where pods cannot be reached by their own addresses.
const FALLBACK_REFRESH: Span = Span::from_secs(5);

/// How long connections live then: behind a cluster IP or a load balancer only a new connection sees a new pod. Within
/// 90 s nineteen of twenty connections are new ones.
pub const FALLBACK_MAX_AGE: Span = Span::from_secs(30);

/// How many endpoints are tried before the pods' network counts as out of reach; the first few say it as well as all.
const PROBES_MAX: usize = 4;

/// How long one of them has: a pod in reach answers a connection in milliseconds.
const PROBE_TIME_MAX: Duration = Duration::from_secs(3);

/// The backends of a target. Dropping it ends the search; the list then stays as it is.
#[derive(Debug)]
pub struct Backends {
    /// Those of now. It starts with what was found first, and may be empty where a Service has no ready pod.
    pub addresses: watch::Receiver<Vec<SocketAddr>>,
    /// How they are found, for a report: `endpoints`, `dns`, `static`.
    pub how: String,
    /// What a reader of the report should know, such as a fallback that was taken.
    pub notes: Vec<String>,
    /// How long connections may live at most, where new backends are seen by new connections only.
    pub max_age: Option<Span>,
    again: Arc<Notify>,
    _search: Option<AbortOnDropHandle<()>>,
}

/// Why there are no backends.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The URL cannot be used.
    #[error("target url {url}: {why}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An address is none.
    #[error("address {0} is not one; write 127.0.0.1:8080 or [::1]:8080")]
    Address(String),
    /// A name has no address.
    #[error("{host} cannot be resolved: {why}; inside a cluster a service is NAME.NAMESPACE.svc")]
    Unresolved {
        /// The name.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// Endpoints are wanted of a host that is no Service.
    #[error("discovery endpoints needs a host NAME.NAMESPACE.svc, not {0}; or use discovery dns")]
    NoService(String),
    /// Endpoints are wanted without a cluster.
    #[error("discovery endpoints of {0} needs a cluster: run in one, or name a kubeconfig")]
    NoCluster(String),
    /// The Service has none for this URL.
    #[error(transparent)]
    NoEndpoints(#[from] NoEndpoints),
    /// RBAC stands in the way.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The API server said something else.
    #[error("reading service {service}: {why}")]
    Cluster {
        /// As `shop/users`.
        service: String,
        /// What was said.
        why: String,
    },
    /// Nothing can be reached.
    #[error(
        "no endpoint of {host} can be connected to from here, and the name has no address here either ({why}); run it in \
         the cluster (deploy/loadtest), or name an address that can be reached"
    )]
    OutOfReach {
        /// The URL's host.
        host: String,
        /// What the resolver said.
        why: String,
    },
}

impl DiscoveryError {
    /// Whether the cluster could not be reached or does not allow what is needed, rather than the scenario being wrong.
    #[must_use]
    pub fn is_access(&self) -> bool {
        matches!(
            self,
            Self::Denied(_) | Self::Cluster { .. } | Self::NoCluster(_)
        )
    }
}

impl Backends {
    /// What to notify when a connection could not be opened: names are then looked up again at once, since a Service's
    /// pods may have moved. Addresses that were written down stay, and a watch needs nobody to tell it. Notifying it more
    /// often than it is heard costs nothing.
    #[must_use]
    pub fn again(&self) -> Arc<Notify> {
        Arc::clone(&self.again)
    }

    fn fixed(addresses: Vec<SocketAddr>) -> Self {
        let (_, addresses) = watch::channel(addresses);
        Self {
            addresses,
            how: "static".to_owned(),
            notes: Vec::new(),
            max_age: None,
            again: Arc::default(),
            _search: None,
        }
    }

    fn looked_up(first: Vec<SocketAddr>, authority: Authority, refresh: Span) -> Self {
        let look = move || {
            let authority = authority.clone();
            async move { look_up(&authority).await }
        };
        Self::searched(first, refresh, look)
    }

    /// Backends that `look` finds, every so often and when a connection could not be opened.
    fn searched<F>(
        first: Vec<SocketAddr>,
        refresh: Span,
        look: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Vec<SocketAddr>, String>> + Send,
    {
        let again = Arc::<Notify>::default();
        let (sender, addresses) = watch::channel(first);
        let asked = Arc::clone(&again);
        let search = tokio::spawn(async move {
            address::refresh(look, *refresh, &asked, &sender).await;
        });
        Self {
            addresses,
            how: "dns".to_owned(),
            notes: Vec::new(),
            max_age: None,
            again,
            _search: Some(AbortOnDropHandle::new(search)),
        }
    }
}

/// Finds the backends of `target` as it says, and goes on looking for as long as the result lives. `cluster` is needed
/// for endpoints only.
///
/// Where no endpoint of a Service can be connected to, as from outside of the pods' network, the host's addresses are
/// taken in their place, looked up again and again, and the result says so.
///
/// # Errors
/// When nothing can be found, and what to do about it.
pub async fn start(target: &Target, cluster: Option<&Client>) -> Result<Backends, DiscoveryError> {
    match &target.discovery {
        Discovery::Addresses(listed) => {
            let parsed = listed.iter().map(|address| {
                address
                    .parse()
                    .map_err(|_| DiscoveryError::Address(address.clone()))
            });
            Ok(Backends::fixed(parsed.collect::<Result<_, _>>()?))
        }
        Discovery::Static => {
            let authority = Authority::of(&target.url)?;
            Ok(Backends::fixed(first_look(&authority).await?))
        }
        Discovery::Dns { refresh } => {
            let authority = Authority::of(&target.url)?;
            let first = first_look(&authority).await?;
            Ok(Backends::looked_up(first, authority, *refresh))
        }
        Discovery::Endpoints => of_service(Authority::of(&target.url)?, cluster).await,
    }
}

async fn first_look(authority: &Authority) -> Result<Vec<SocketAddr>, DiscoveryError> {
    look_up(authority)
        .await
        .map_err(|why| DiscoveryError::Unresolved {
            host: authority.host.clone(),
            why,
        })
}

async fn of_service(
    authority: Authority,
    cluster: Option<&Client>,
) -> Result<Backends, DiscoveryError> {
    let host = &authority.host;
    let service = service_of(host).ok_or_else(|| DiscoveryError::NoService(host.clone()))?;
    let client = cluster.ok_or_else(|| DiscoveryError::NoCluster(host.clone()))?;
    let (sender, mut addresses) = watch::channel(Vec::new());
    let selected = endpoints::selected(client, &service, authority.port).await?;
    let search = tokio::spawn(endpoints::follow_selected(
        client.clone(),
        service,
        selected,
        sender,
    ));
    let search = AbortOnDropHandle::new(search);
    // The first list comes within a moment, or the API server fell silent right after it had answered.
    let listed = timeout(endpoints::FIRST_MAX, addresses.changed()).await;
    let first = addresses.borrow_and_update().clone();
    let mut notes = Vec::new();
    if !matches!(listed, Ok(Ok(()))) || first.is_empty() {
        notes.push(format!(
            "{host} had no ready endpoint before the load began"
        ));
    } else if !any_answers(&first).await {
        drop(search);
        return fallen_back(authority, first.len()).await;
    }
    Ok(Backends {
        addresses,
        how: "endpoints".to_owned(),
        notes,
        max_age: None,
        again: Arc::default(),
        _search: Some(search),
    })
}

/// Whether one of the first few takes a connection.
async fn any_answers(endpoints: &[SocketAddr]) -> bool {
    let probes = endpoints.iter().take(PROBES_MAX).map(async |address| {
        let connected = timeout(PROBE_TIME_MAX, TcpStream::connect(address)).await;
        matches!(connected, Ok(Ok(_)))
    });
    join_all(probes).await.contains(&true)
}

async fn fallen_back(authority: Authority, count: usize) -> Result<Backends, DiscoveryError> {
    let host = authority.host.clone();
    let first = look_up(&authority).await;
    let first = first.map_err(|why| DiscoveryError::OutOfReach {
        host: host.clone(),
        why,
    })?;
    let mut backends = Backends::looked_up(first, authority, FALLBACK_REFRESH);
    backends.how = "dns, since no endpoint can be connected to from here".to_owned();
    backends.max_age = Some(FALLBACK_MAX_AGE);
    backends.notes.push(format!(
        "none of the {count} endpoints of {host} could be connected to from here, so its name is looked up every \
         {FALLBACK_REFRESH} and connections live {FALLBACK_MAX_AGE} at most: new pods get traffic later than in the cluster"
    ));
    Ok(backends)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Uri};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::arrivals::{Arrivals, Spacing};
    use crate::engine::{Config, Engine};
    use crate::measured::Measured;
    use crate::sample_app;
    use crate::scenario::{Connections, Http, HttpVersion, OnEndpointAdd};

    fn target(url: &str, discovery: Discovery) -> Target {
        Target {
            url: url.to_owned(),
            discovery,
            connections: Connections {
                per_endpoint: 1,
                max_age: None,
                max_age_jitter: 0.0,
                max_requests: 0,
                on_endpoint_add: OnEndpointAdd::Rebalance,
                preconnect: 0,
            },
            http: Http {
                version: HttpVersion::Http1,
                timeout: Span::from_secs(5),
                expect: Vec::new(),
                ca: None,
                server_name: None,
            },
        }
    }

    #[tokio::test]
    async fn given_addresses_are_taken_whatever_the_host_is() {
        let given = ["127.0.0.1:80", "[::1]:81"].map(str::to_owned).to_vec();
        let given = target("http://shop.example/", Discovery::Addresses(given));
        let backends = start(&given, None).await.unwrap();
        let found: Vec<_> = backends
            .addresses
            .borrow()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["127.0.0.1:80", "[::1]:81"]);
        let wrong = target(
            "http://shop/",
            Discovery::Addresses(vec!["shop".to_owned()]),
        );
        let said = start(&wrong, None).await.unwrap_err().to_string();
        assert!(said.starts_with("address shop is not one"), "{said}");
    }

    #[tokio::test]
    async fn a_name_is_resolved_with_the_port_of_its_scheme() {
        for (url, discovery, port, how) in [
            ("http://localhost/buy", Discovery::Static, 80, "static"),
            ("https://localhost", Discovery::Static, 443, "static"),
            (
                "http://localhost:8080",
                Discovery::Dns {
                    refresh: Span::from_secs(1),
                },
                8080,
                "dns",
            ),
        ] {
            let backends = start(&target(url, discovery), None).await.unwrap();
            let found = backends.addresses.borrow().clone();
            assert!(
                !found.is_empty() && found.iter().all(|found| found.port() == port),
                "{found:?}"
            );
            assert!(
                found.iter().all(|found| found.ip().is_loopback()),
                "{found:?}"
            );
            assert_eq!(backends.how, how);
        }
    }

    /// A sample app that closes its port when it is told to stop.
    async fn app(stop: &CancellationToken) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = sample_app::Config {
            service_time: Duration::from_millis(1),
            ..sample_app::Config::default()
        };
        let stop = stop.clone().cancelled_owned();
        tokio::spawn(sample_app::run(listener, config, stop));
        address
    }

    /// What comes of three seconds of load on `backends`, of whom one goes after the first.
    async fn played(backends: &Backends, goes: &CancellationToken) -> Measured {
        let config = Config::new(HeaderValue::from_static("shop"), Uri::from_static("/"));
        let engine = Engine::new(config).with_unreachable(backends.again());
        let arrivals = Arrivals::new(&"50@3s".parse().unwrap(), Spacing::Uniform);
        let (addresses, cancel) = (backends.addresses.clone(), CancellationToken::new());
        let running = tokio::spawn(engine.run(arrivals, addresses, cancel));
        tokio::time::sleep(Duration::from_secs(1)).await;
        goes.cancel();
        running.await.unwrap()
    }

    #[tokio::test]
    async fn a_backend_that_closes_its_port_has_its_name_looked_up_again_at_once() {
        let (goes, stays) = (CancellationToken::new(), CancellationToken::new());
        let (old, new) = (app(&goes).await, app(&stays).await);
        // By itself the name would be looked up in an hour.
        let moved = move || async move { Ok(vec![new]) };
        let backends = Backends::searched(vec![old], Span::from_secs(3600), moved);
        let measured = played(&backends, &goes).await;
        assert_eq!(*backends.addresses.borrow(), [new]);
        let by_new = measured.endpoints.get(&new).map_or(0, |counts| counts.ok);
        assert!(0 < by_new, "{:?}", measured.counts);
    }

    #[tokio::test]
    async fn addresses_that_were_written_down_stay_and_the_other_one_answers() {
        let (goes, stays) = (CancellationToken::new(), CancellationToken::new());
        let both = [app(&goes).await, app(&stays).await];
        let listed = Discovery::Addresses(both.map(|address| address.to_string()).to_vec());
        let backends = start(&target("http://shop/", listed), None).await.unwrap();
        let measured = played(&backends, &goes).await;
        assert_eq!(*backends.addresses.borrow(), both);
        assert_eq!(measured.counts.ok + measured.counts.errors(), 150);
        assert!(
            0 < measured.retried,
            "whoever met the closed port tried the other one"
        );
        assert!(measured.counts.errors() < 10, "{:?}", measured.counts);
    }

    #[tokio::test]
    async fn what_cannot_be_found_says_what_to_do() {
        for (url, discovery, said) in [
            ("/buy", Discovery::Static, "no host"),
            ("ftp://host/", Discovery::Static, "http://"),
            (
                "http://none.invalid/",
                Discovery::Static,
                "none.invalid cannot be resolved",
            ),
            (
                "http://localhost/",
                Discovery::Endpoints,
                "NAME.NAMESPACE.svc",
            ),
            (
                "http://users.shop.svc/",
                Discovery::Endpoints,
                "needs a cluster",
            ),
        ] {
            let error = start(&target(url, discovery), None)
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains(said), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn a_network_is_in_reach_when_one_endpoint_takes_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        assert!(any_answers(&[closed, open]).await);
        assert!(!any_answers(&[closed]).await);
        let authority = Authority::of("http://localhost:8080").unwrap();
        let backends = fallen_back(authority, 3).await.unwrap();
        assert_eq!(backends.max_age, Some(FALLBACK_MAX_AGE));
        assert!(backends.how.starts_with("dns"), "{}", backends.how);
        assert!(
            backends.notes[0].contains("none of the 3 endpoints"),
            "{:?}",
            backends.notes
        );
    }
}
