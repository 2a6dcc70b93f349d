//! Names to addresses: which host and port a URL means, and its addresses now and later.

use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use tokio::net::lookup_host;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::DiscoveryError;

/// How long a lookup may take; a resolver that is there answers in milliseconds.
const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// Addresses of one name at most: more than any resolver gives in an answer.
const ADDRESSES_MAX: usize = 1_000;

/// The shortest time between two lookups, however often a connection fails: a resolver must not feel a load test.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    /// Without brackets around an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Authority {
    pub(super) fn of(url: &str) -> Result<Self, DiscoveryError> {
        let wrong = |why| DiscoveryError::Url {
            url: url.to_owned(),
            why,
        };
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
        let host = uri.host().ok_or_else(|| wrong("it has no host"))?;
        let default_port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(wrong("it must begin with http:// or https://")),
        };
        Ok(Self {
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: uri.port_u16().unwrap_or(default_port),
        })
    }
}

/// All addresses of a host, in order and each once; why not, where there are none.
pub(super) async fn look_up(authority: &Authority) -> Result<Vec<SocketAddr>, String> {
    let found = timeout(LOOKUP_MAX, lookup_host((&*authority.host, authority.port))).await;
    let found = found.map_err(|_| format!("no answer within {LOOKUP_MAX:?}"))?;
    let found = found.map_err(|error| error.to_string())?;
    let mut addresses: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    addresses.sort_unstable();
    addresses.dedup();
    match addresses.is_empty() {
        true => Err("it has no address".to_owned()),
        false => Ok(addresses),
    }
}

/// Looks again after `every` and whenever `again` says so, for ever. A lookup that fails changes nothing: the pods that
/// were there may well be there still.
pub(super) async fn refresh<F>(
    look: impl Fn() -> F,
    every: Duration,
    again: &Notify,
    addresses: &watch::Sender<Vec<SocketAddr>>,
) where
    F: Future<Output = Result<Vec<SocketAddr>, String>>,
{
    let pause = PAUSE_MIN.min(every);
    loop {
        sleep(pause).await;
        tokio::select! {
            () = sleep(every.saturating_sub(pause)) => {}
            () = again.notified() => {}
        }
        if let Ok(found) = look().await {
            addresses.send_if_modified(|before| {
                let changed = *before != found;
                *before = found;
                changed
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Enough on a machine that stands still now and then.
    const SOON: Duration = Duration::from_secs(20);

    fn addresses(hosts: &[u8]) -> Vec<SocketAddr> {
        hosts
            .iter()
            .map(|host| SocketAddr::from(([127, 0, 0, *host], 80)))
            .collect()
    }

    async fn told(receiver: &mut watch::Receiver<Vec<SocketAddr>>) -> Vec<SocketAddr> {
        timeout(SOON, receiver.changed()).await.unwrap().unwrap();
        receiver.borrow_and_update().clone()
    }

    #[tokio::test]
    async fn a_name_is_looked_up_again_and_a_failure_changes_nothing() {
        let answers = Mutex::new(vec![
            Ok(addresses(&[3])),
            Err("gone".to_owned()),
            Ok(addresses(&[1, 2])),
            Ok(addresses(&[1])),
        ]);
        let look = async || {
            answers
                .lock()
                .unwrap()
                .pop()
                .unwrap_or(Err("no more".to_owned()))
        };
        let (sender, mut receiver) = watch::channel(addresses(&[1]));
        let again = Notify::new();
        let seen = async {
            assert_eq!(
                told(&mut receiver).await,
                addresses(&[1, 2]),
                "the same again is no news"
            );
            assert_eq!(
                told(&mut receiver).await,
                addresses(&[3]),
                "a failure is none either"
            );
        };
        tokio::select! {
            () = refresh(look, Duration::from_millis(20), &again, &sender) => {}
            () = seen => {}
        }
    }

    #[tokio::test]
    async fn a_failed_connect_has_a_name_looked_up_before_its_time() {
        let (sender, mut receiver) = watch::channel(addresses(&[1]));
        let again = Notify::new();
        again.notify_one();
        let look = async || Ok(addresses(&[2]));
        tokio::select! {
            () = refresh(look, Duration::from_secs(3600), &again, &sender) => {}
            found = told(&mut receiver) => assert_eq!(found, addresses(&[2])),
        }
    }

    #[test]
    fn an_ipv6_address_is_a_host_without_its_brackets() {
        let authority = Authority::of("http://[::1]:8080/x").unwrap();
        assert_eq!((&*authority.host, authority.port), ("::1", 8080));
    }
}
