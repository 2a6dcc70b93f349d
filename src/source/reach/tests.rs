//! Tricky addresses, and who may reach them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use tokio::net::TcpListener;

use super::*;

fn bounds(redis: &[&str]) -> Bounds {
    Bounds {
        allows_loopback: false,
        api_server: vec!["10.96.0.1:443".parse().unwrap()],
        redis: redis.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

/// Whether an address passes, whatever name it had.
fn passes(bounds: &Bounds, address: &str) -> bool {
    let ip: IpAddr = address.parse().unwrap();
    bounds
        .check_address(SocketAddr::new(ip, 6379), Named::Allowed)
        .is_ok()
}

/// How connecting ended: the failure's reason, or that the network had its say.
async fn connect(bounds: Bounds, host: &str, port: u16, purpose: Purpose) -> Result<(), String> {
    match Reach::within(bounds).connect(host, port, purpose).await {
        Ok(_) => Ok(()),
        Err(Unreached::Forbidden(failure)) => {
            assert_eq!(failure.reason, FailureReason::Forbidden);
            Err(failure.message)
        }
        Err(Unreached::Failed(error)) => Err(format!("network: {error}")),
    }
}

#[test]
fn no_spelling_of_a_forbidden_address_passes() {
    let bounds = bounds(&["*"]);
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "10.96.0.1",
        "::",
        "::1",
        "fe80::1",
        "febf::1",
        "ff02::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:10.96.0.1",
        "::169.254.169.254",
        "::ffff:0:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::127.0.0.1",
        "2002:a9fe:a9fe::1",
    ] {
        assert!(!passes(&bounds, address), "{address}");
    }
}

#[test]
fn addresses_of_pods_pass() {
    let bounds = bounds(&[]);
    for address in [
        "10.0.0.7",
        "10.96.0.2",
        "100.64.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "8.8.8.8",
        "169.253.255.255",
        "169.255.0.0",
        "223.255.255.255",
        "fd00::1",
        "fec0::1",
        "2001:db8::1",
        "::ffff:10.0.0.7",
    ] {
        assert!(passes(&bounds, address), "{address}");
    }
}

proptest! {
    #[test]
    fn an_ipv4_address_is_of_one_kind_however_ipv6_writes_it(bits: u32) {
        let ip = Ipv4Addr::from(bits);
        let [a, b, c, d] = ip.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        for written in [
            ip.to_ipv6_mapped(),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        ] {
            prop_assert_eq!(address::kind(ip.into()), address::kind(written.into()));
            prop_assert!(address::same(ip.into(), written.into()));
        }
    }

    #[test]
    fn a_range_holds_the_addresses_with_its_first_bits(start: u32, ip: u32, bits in 0u8..=32) {
        let pattern: Pattern = format!("{}/{bits}", Ipv4Addr::from(start)).parse().unwrap();
        let shift = 32 - u32::from(bits);
        let expected = start.checked_shr(shift).unwrap_or(0) == ip.checked_shr(shift).unwrap_or(0);
        let address = SocketAddr::new(Ipv4Addr::from(ip).into(), 1);
        prop_assert_eq!(pattern.allows_address(address), expected);
    }

    #[test]
    fn no_pattern_whatever_makes_it_panic(text in "[*.:/\\[\\]0-9a-fé-]{0,20}") {
        let _ = text.parse::<Pattern>();
    }
}

#[tokio::test]
async fn a_host_is_judged_by_what_it_resolves_to() {
    // What getaddrinfo reads as an address: decimal, hexadecimal, octal and short forms, and a scope.
    for host in [
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0",
        "localhost",
        "::ffff:127.0.0.1",
    ] {
        for purpose in [Purpose::Page, Purpose::Redis] {
            let error = connect(bounds(&["*"]), host, 6379, purpose).await;
            let error = error.expect_err(host);
            assert!(error.contains("may not be read"), "{host}: {error}");
        }
    }
    // Whether a machine's resolver knows the interface or not, nobody is connected to.
    assert!(
        connect(bounds(&["*"]), "fe80::1%eth0", 6379, Purpose::Redis)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_message_names_the_flag_and_not_the_address() {
    let error = connect(bounds(&["*"]), "localhost", 6379, Purpose::Redis)
        .await
        .unwrap_err();
    assert!(error.contains(ALLOW_LOOPBACK_FLAG), "{error}");
    assert!(
        !error.contains("127.0.0.1") && !error.contains("::1"),
        "{error}"
    );
    let error = connect(bounds(&[]), "db", 6379, Purpose::Redis)
        .await
        .unwrap_err();
    assert!(error.contains(ALLOW_REDIS_FLAG), "{error}");
}

#[tokio::test]
async fn loopback_may_be_allowed_and_the_api_server_there_stays_forbidden() {
    let redis = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, api_port) = (
        redis.local_addr().unwrap().port(),
        api.local_addr().unwrap().port(),
    );
    let bounds = Bounds {
        allows_loopback: true,
        api_server: vec![api.local_addr().unwrap()],
        redis: vec!["127.0.0.0/8".parse().unwrap()],
    };
    for purpose in [Purpose::Page, Purpose::Redis] {
        assert_eq!(
            connect(bounds.clone(), "127.0.0.1", port, purpose).await,
            Ok(())
        );
        let error = connect(bounds.clone(), "127.0.0.1", api_port, purpose).await;
        assert!(error.unwrap_err().contains("API server"));
    }
}

#[tokio::test]
async fn anywhere_is_anywhere() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let reach = Reach::anywhere();
    let connected = reach.connect("127.0.0.1", port, Purpose::Redis).await;
    assert!(connected.is_ok());
}

#[test]
fn a_name_is_allowed_as_the_operator_wrote_it() {
    for (pattern, host, port, allowed) in [
        ("redis.shop.svc", "redis.shop.svc", 6379, true),
        ("redis.shop.svc", "Redis.Shop.Svc.", 6380, true),
        (
            "redis.shop.svc",
            "redis.shop.svc.cluster.local",
            6379,
            false,
        ),
        ("redis.shop.svc", "redis", 6379, false),
        ("*.shop.svc:6379", "redis.shop.svc", 6379, true),
        ("*.shop.svc:6379", "redis-0.redis.shop.svc", 6379, true),
        ("*.shop.svc:6379", "redis.shop.svc", 6380, false),
        ("*.shop.svc", "shop.svc", 6379, false),
        ("*.shop.svc", ".shop.svc", 6379, false),
        ("*.shop.svc", "evilshop.svc", 6379, false),
        ("*.shop.svc", "redis.shop.svc.evil.com", 6379, false),
        ("*", "anything", 1, true),
        ("*:6379", "anything", 1, false),
    ] {
        let pattern: Pattern = pattern.parse().unwrap();
        assert_eq!(
            pattern.allows_name(host, port),
            allowed,
            "{pattern} {host}:{port}"
        );
    }
}

#[test]
fn a_range_allows_by_the_resolved_address_only() {
    let ranges = bounds(&["10.0.0.0/8", "[fd00::7]:6379", "192.168.1.7:6379"]);
    let named = ranges.check_name("db", 6379, Purpose::Redis).unwrap();
    assert_eq!(named, Named::OnlyByRange);
    for (address, allowed) in [
        ("10.1.2.3:1", true),
        ("[::ffff:10.1.2.3]:1", true),
        ("11.0.0.1:1", false),
        ("10.96.0.1:1", false),
        ("192.168.1.7:6379", true),
        ("192.168.1.7:1", false),
        ("[fd00::7]:6379", true),
        ("[fd00::8]:6379", false),
    ] {
        let checked = ranges.check_address(address.parse().unwrap(), named);
        assert_eq!(checked.is_ok(), allowed, "{address}");
    }
    // With no range at that port nothing is resolved.
    let names = bounds(&["redis.shop.svc", "10.0.0.0/8:1"]);
    assert!(names.check_name("db", 6379, Purpose::Redis).is_err());
    assert!(names.check_name("db", 6379, Purpose::Page).is_ok());
}

#[test]
fn what_is_no_pattern_is_refused() {
    use PatternError as E;
    for (text, error) in [
        ("", E::Host(String::new())),
        ("*shop.svc", E::Host("*shop.svc".into())),
        ("a*.svc", E::Host("a*.svc".into())),
        ("redis..svc", E::Host("redis..svc".into())),
        ("redis://db", E::Range("redis://db".into())),
        ("redis:0", E::Port("redis:0".into())),
        ("redis:70000", E::Port("redis:70000".into())),
        ("10.0.0.0/33", E::Range("10.0.0.0/33".into())),
        ("10.0.0/8", E::Range("10.0.0/8".into())),
        ("10.0.0.0/8:x", E::Port("10.0.0.0/8:x".into())),
    ] {
        assert_eq!(text.parse::<Pattern>(), Err(error), "{text}");
    }
}
