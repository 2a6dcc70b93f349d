//! Who may be connected to. Addresses in a cluster come from tenants, and the adapter stands where tenants do not: what
//! they could not reach themselves they must not reach through it.
//!
//! The rules are checked on the address that is then connected to, so a name that resolves to something else the next
//! moment gains nothing. Without a cluster the configuration is the operator's own, and there is no rule.

mod address;
mod pattern;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpStream, lookup_host};

use self::address::Kind;
use crate::model::health::{Failure, FailureReason};

pub use self::pattern::{Pattern, PatternError};

/// The flag that lists the Redis servers which may be read; messages name it.
pub const ALLOW_REDIS_FLAG: &str = "--allow-redis";

/// The flag that allows loopback addresses; messages name it.
pub const ALLOW_LOOPBACK_FLAG: &str = "--allow-loopback";

/// Who may be connected to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reach(Option<Arc<Bounds>>);

/// The rules of a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bounds {
    /// Whether loopback addresses may be read: for a cluster whose pods are processes of one machine.
    pub allows_loopback: bool,
    /// Where the API server listens: never a target. On a loopback address only the port is its own.
    pub api_server: Vec<SocketAddr>,
    /// The Redis servers that may be read. None when empty.
    pub redis: Vec<Pattern>,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A pod's page, at an address that the cluster gave it.
    Page,
    /// A Redis server, at an address that a tenant wrote.
    Redis,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Unreached {
    /// The rules forbid it.
    Forbidden(Failure),
    /// It was tried, or its name could not be resolved.
    Failed(io::Error),
}

impl Reach {
    /// Anywhere: for a configuration that is the operator's own.
    pub fn anywhere() -> Self {
        Self(None)
    }

    /// Only where `bounds` allow.
    pub fn within(bounds: Bounds) -> Self {
        Self(Some(Arc::new(bounds)))
    }

    /// Connects to the first allowed address of `host` that answers.
    ///
    /// # Errors
    /// When the rules allow none of its addresses, it has none, or none answers.
    pub(super) async fn connect(
        &self,
        host: &str,
        port: u16,
        purpose: Purpose,
    ) -> Result<TcpStream, Unreached> {
        let Some(bounds) = &self.0 else {
            return TcpStream::connect((host, port))
                .await
                .map_err(Unreached::Failed);
        };
        let named = bounds.check_name(host, port, purpose)?;
        let mut unreached = None;
        // A literal address needs no resolver; any other way to spell one is the resolver's to read, and ours to check.
        for address in lookup_host((host, port)).await.map_err(Unreached::Failed)? {
            let connected = match bounds.check_address(address, named) {
                Ok(()) => TcpStream::connect(address).await.map_err(Unreached::Failed),
                Err(failure) => Err(Unreached::Forbidden(failure)),
            };
            match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => unreached = Some(error),
            }
        }
        Err(unreached
            .unwrap_or_else(|| Unreached::Failed(io::Error::other("the host name has no address"))))
    }
}

impl Unreached {
    /// The failure it is, with the words of whoever tried for what the network said.
    pub(super) fn into_failure(self, failed: impl FnOnce(&io::Error) -> Failure) -> Failure {
        match self {
            Self::Forbidden(failure) => failure,
            Self::Failed(error) => failed(&error),
        }
    }
}

/// What is still to be asked of the resolved address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Named {
    /// Nothing but that it is of no forbidden kind.
    Allowed,
    /// That a range of the operator's allows it, too.
    OnlyByRange,
}

impl Bounds {
    /// Checks what was written, before anything is resolved: the resolver is no tenant's to ask, either.
    fn check_name(&self, host: &str, port: u16, purpose: Purpose) -> Result<Named, Unreached> {
        if purpose == Purpose::Page
            || self
                .redis
                .iter()
                .any(|pattern| pattern.allows_name(host, port))
        {
            return Ok(Named::Allowed);
        }
        if self.redis.iter().any(|pattern| pattern.is_range(port)) {
            return Ok(Named::OnlyByRange);
        }
        Err(Unreached::Forbidden(not_listed()))
    }

    fn check_address(&self, address: SocketAddr, named: Named) -> Result<(), Failure> {
        let kind = address::kind(address.ip());
        let of_api_server = self.api_server.iter().any(|own| {
            address::same(own.ip(), address.ip())
                && (kind != Some(Kind::Loopback) || own.port() == address.port())
        });
        if of_api_server {
            return Err(forbidden("it is the API server's; name another address"));
        }
        match kind {
            None => {}
            Some(Kind::Loopback) if self.allows_loopback => {}
            Some(Kind::Loopback) => {
                let why = format!(
                    "it is a loopback address, read only when the adapter has {ALLOW_LOOPBACK_FLAG}"
                );
                return Err(forbidden(&why));
            }
            Some(kind) => {
                return Err(forbidden(&format!(
                    "it is {kind}, which is never read; name another address"
                )));
            }
        }
        let in_range = || {
            self.redis
                .iter()
                .any(|pattern| pattern.allows_address(address))
        };
        if named == Named::OnlyByRange && !in_range() {
            return Err(not_listed());
        }
        Ok(())
    }
}

/// A refusal. Tenants read it: the resolved address, which may be none of their business, is not in it.
fn forbidden(why: &str) -> Failure {
    Failure::new(
        FailureReason::Forbidden,
        format!("the address may not be read: {why}"),
    )
}

fn not_listed() -> Failure {
    Failure::new(
        FailureReason::Forbidden,
        format!(
            "this Redis server may not be read: ask the cluster's operator to list it with {ALLOW_REDIS_FLAG}"
        ),
    )
}
