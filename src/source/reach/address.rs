//! What kind of address it is, however it is written: IPv6 has several ways to say an IPv4 address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds answer with credentials outside the link-local range: AWS over IPv6, Alibaba, Azure's wire server and
/// Oracle. No pod and no Redis has one of these.
const CLOUD: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// A kind of address that no target has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `0.0.0.0/8` and `::`, which connect to this machine.
    Unspecified,
    /// `127.0.0.0/8` and `::1`.
    Loopback,
    /// `169.254.0.0/16` and `fe80::/10`.
    LinkLocal,
    /// One of [`CLOUD`].
    Cloud,
    /// `224.0.0.0/4` and `ff00::/8`.
    Multicast,
    /// `240.0.0.0/4`, broadcast included.
    Reserved,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "the unspecified address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Cloud => "the address of a cloud's metadata",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
        })
    }
}

/// The kind of an address; `None` for one that a target can have.
pub(super) fn kind(ip: IpAddr) -> Option<Kind> {
    let ip = canonical(ip);
    if CLOUD.contains(&ip) {
        return Some(Kind::Cloud);
    }
    match ip {
        IpAddr::V4(ip) => kind_v4(ip),
        IpAddr::V6(ip) if ip.is_unspecified() => Some(Kind::Unspecified),
        IpAddr::V6(ip) if ip.is_loopback() => Some(Kind::Loopback),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(Kind::LinkLocal),
        IpAddr::V6(ip) if ip.is_multicast() => Some(Kind::Multicast),
        IpAddr::V6(_) => None,
    }
}

/// Whether both reach the same host.
pub(super) fn same(a: IpAddr, b: IpAddr) -> bool {
    canonical(a) == canonical(b)
}

/// The IPv4 address within, where an IPv6 address is only another way to write it or the way to it through a gateway.
pub(super) fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => embedded(v6).map_or(ip, IpAddr::V4),
    }
}

fn kind_v4(ip: Ipv4Addr) -> Option<Kind> {
    match ip.octets() {
        [0, ..] => Some(Kind::Unspecified),
        [127, ..] => Some(Kind::Loopback),
        [169, 254, ..] => Some(Kind::LinkLocal),
        [224..=239, ..] => Some(Kind::Multicast),
        [240..=255, ..] => Some(Kind::Reserved),
        _ => None,
    }
}

fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let last = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match ip.segments() {
        // Not an address within one, but IPv6's own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Mapped (RFC 4291, 2.5.5.2), translated (RFC 2765) and, long deprecated, compatible.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low]
        // NAT64's well-known prefix and the local one (RFC 6052, RFC 8215).
        | [0x64, 0xff9b, 0 | 1, _, _, _, high, low]
        // 6to4 (RFC 3056).
        | [0x2002, high, low, ..] => Some(last(high, low)),
        _ => None,
    }
}
