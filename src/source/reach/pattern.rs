//! The operator's words for servers that may be read: a name, all names below one, or a range of addresses, each with
//! one port or with any.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::address::canonical;

/// `redis.shop.svc`, `*.shop.svc:6379`, `10.0.0.0/8`, `10.0.0.7:6379` or `*`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    hosts: Hosts,
    /// Any when absent.
    port: Option<u16>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Hosts {
    /// Every host.
    All,
    /// The host of this name, as it is written: `redis` and `redis.shop.svc` are two names.
    Name(String),
    /// Every name that ends with this, its leading dot included.
    Below(String),
    /// Every address with the same first bits.
    Range { start: IpAddr, bits: u8 },
}

/// Why a pattern cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatternError {
    /// A port that TCP does not have.
    #[error("{0:?} must have a port from 1 to 65535, or none")]
    Port(String),
    /// A range that is none.
    #[error("{0:?} must be a range such as 10.0.0.0/8 or fd00::/8")]
    Range(String),
    /// Neither a name nor an address.
    #[error(
        "{0:?} must be a host name, *.DOMAIN, an address or a range, each with or without :PORT"
    )]
    Host(String),
}

impl Pattern {
    /// Whether it allows a host as it is written.
    pub(super) fn allows_name(&self, host: &str, port: u16) -> bool {
        let host = plain(host);
        self.has_port(port)
            && match &self.hosts {
                Hosts::All => true,
                Hosts::Name(name) => *name == host,
                Hosts::Below(end) => end.len() < host.len() && host.ends_with(end),
                // The address is checked when it is known, whatever name it has.
                Hosts::Range { .. } => false,
            }
    }

    /// Whether it may allow an address at this port.
    pub(super) fn is_range(&self, port: u16) -> bool {
        matches!(self.hosts, Hosts::Range { .. }) && self.has_port(port)
    }

    /// Whether its range holds an address.
    pub(super) fn allows_address(&self, address: SocketAddr) -> bool {
        let Hosts::Range { start, bits } = self.hosts else {
            return false;
        };
        self.has_port(address.port())
            && match (start, canonical(address.ip())) {
                (IpAddr::V4(start), IpAddr::V4(ip)) => {
                    let differing = u32::from(start) ^ u32::from(ip);
                    u32::from(bits) <= differing.leading_zeros()
                }
                (IpAddr::V6(start), IpAddr::V6(ip)) => {
                    let differing = u128::from(start) ^ u128::from(ip);
                    u32::from(bits) <= differing.leading_zeros()
                }
                _ => false,
            }
    }

    fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if let Some((start, rest)) = text.split_once('/') {
            return range(text, start, rest);
        }
        let (host, port) = split_port(text)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            let bits = bits_of(ip);
            let hosts = Hosts::Range { start: ip, bits };
            return Ok(Self { hosts, port });
        }
        let hosts = match plain(host) {
            all if all == "*" => Hosts::All,
            host => match host.strip_prefix('*') {
                Some(end) if end.starts_with('.') && is_name(&end[1..]) => {
                    Hosts::Below(end.to_owned())
                }
                None if is_name(&host) => Hosts::Name(host),
                _ => return Err(PatternError::Host(text.to_owned())),
            },
        };
        Ok(Self { hosts, port })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::All => f.write_str("*")?,
            Hosts::Name(name) => f.write_str(name)?,
            Hosts::Below(end) => write!(f, "*{end}")?,
            Hosts::Range { start, bits } => write!(f, "{start}/{bits}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Names as DNS compares them: without case, and without the dot that ends a complete one.
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.split('.').all(is_label)
}

fn range(text: &str, start: &str, rest: &str) -> Result<Pattern, PatternError> {
    let refuse = || PatternError::Range(text.to_owned());
    let (bits, port) = split_port(rest).map_err(|_| PatternError::Port(text.to_owned()))?;
    let start: IpAddr = start.parse().map_err(|_| refuse())?;
    let bits: u8 = bits.parse().map_err(|_| refuse())?;
    if bits_of(start) < bits {
        return Err(refuse());
    }
    let hosts = Hosts::Range { start, bits };
    Ok(Pattern { hosts, port })
}

/// `HOST`, `HOST:PORT`, `[IPV6]:PORT`, or a bare IPv6 address.
fn split_port(text: &str) -> Result<(&str, Option<u16>), PatternError> {
    if text.parse::<Ipv6Addr>().is_ok() || text.ends_with(']') {
        return Ok((text, None));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Ok((text, None));
    };
    match port.parse() {
        Ok(port) if 0 < port => Ok((host, Some(port))),
        _ => Err(PatternError::Port(text.to_owned())),
    }
}

fn bits_of(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => u8::try_from(Ipv4Addr::BITS).unwrap_or(u8::MAX),
        IpAddr::V6(_) => u8::try_from(Ipv6Addr::BITS).unwrap_or(u8::MAX),
    }
}
